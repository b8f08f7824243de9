// Node's `http2` server, in the clear or with TLS: http2-origin.cjs [CERT KEY]. WebSockets are echoed (RFC 8441).
const fs = require('node:fs');
const http2 = require('node:http2');
const websocket = require('./websocket.cjs');

const held = [];

const routes = {
  // The body comes back as it is, and its trailers behind it.
  '/echo': (stream) => {
    const trailers = { 'x-sum': 'none' };
    stream.on('trailers', (fields) => Object.assign(trailers, { 'x-sum': fields['x-sum'] ?? 'none' }));
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    stream.pipe(stream);
  },
  // One piece at once; the other only when somebody asks for /release.
  '/held': (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'text/plain' });
    stream.write('first ');
    held.push(() => stream.end('last'));
  },
  '/release': (stream) => {
    held.splice(0).forEach((release) => release());
    stream.respond({ ':status': 200 });
    stream.end('released');
  },
};

const tunnel = (stream) => {
  stream.respond({ ':status': 200 });
  const socket = websocket.over(stream, true);
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
};

const [cert, key] = process.argv.slice(2).map((file) => fs.readFileSync(file));
const settings = { enableConnectProtocol: true };
const server = cert ? http2.createSecureServer({ cert, key, settings }) : http2.createServer({ settings });
server.on('stream', (stream, headers) => {
  stream.on('error', (error) => console.error(error));
  if (headers[':protocol'] === 'websocket') return tunnel(stream);
  const route = routes[headers[':path']];
  if (route) return route(stream);
  stream.respond({ ':status': 404 });
  return stream.end();
});
server.listen(0, '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
