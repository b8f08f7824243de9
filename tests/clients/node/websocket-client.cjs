// Extended CONNECT (RFC 8441) from Node's `http2`: websocket-client.cjs URL [CA]. Sends some messages, each
// after the echo of the one before, closes, and prints what it saw as one line of JSON.
const fs = require('node:fs');
const http2 = require('node:http2');
const websocket = require('./websocket.cjs');

const [url, ca] = process.argv.slice(2);
const messages = ['hello', 'grüße', Buffer.alloc(300_000, 7), ''];
const seen = { echoed: 0 };

const session = http2.connect(url, ca ? { ca: fs.readFileSync(ca) } : {});
session.on('remoteSettings', ({ enableConnectProtocol }) => {
  if (!enableConnectProtocol) throw new Error('no extended CONNECT');
  const stream = session.request(
    { ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/ws', 'sec-websocket-version': '13' },
    { endStream: false },
  );
  stream.on('response', (headers) => {
    seen.status = headers[':status'];
    const socket = websocket.over(stream, false);
    socket.on('message', (data, isBinary) => {
      const sent = messages[seen.echoed];
      if (isBinary === (typeof sent !== 'string') && data.equals(Buffer.from(sent))) seen.echoed += 1;
      if (seen.echoed < messages.length) socket.send(messages[seen.echoed]);
      else socket.close(1000, 'done');
    });
    socket.on('close', (code) => {
      console.log(JSON.stringify({ ...seen, code }));
      session.close();
    });
    socket.send(messages[0]);
  });
});
