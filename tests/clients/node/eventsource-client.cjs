// Prints each event as one line of JSON, and reconnects as browsers do, until it is ended.
const { EventSource } = require('eventsource');

const source = new EventSource(process.argv[2]);
source.onopen = () => console.log('open');
source.onmessage = ({ data, lastEventId }) => console.log(JSON.stringify({ data, lastEventId }));
source.onerror = ({ code, message }) => console.log(`error ${code ?? '-'} ${message ?? '-'}`);
