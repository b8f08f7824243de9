// Uploads in chunks with a trailer; prints body and trailers of the response as one line of JSON.
const http = require('node:http');

const options = { method: 'POST', headers: { Trailer: 'X-Sum', TE: 'trailers' } };
const request = http.request(process.argv[2], options, (response) => {
  let body = '';
  response.setEncoding('utf8');
  response.on('data', (piece) => { body += piece; });
  response.on('end', () => {
    console.log(JSON.stringify({ status: response.statusCode, body, trailers: response.trailers }));
  });
});
request.write('pay');
request.addTrailers({ 'X-Sum': '42' });
request.end('load');
