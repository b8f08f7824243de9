// Node's own `http` server with its defaults, above all the keep-alive of 5 s.
const http = require('node:http');

let connections = 0;
const held = [];

const routes = {
  // Which upstream connection carried this request, and how much came with it.
  '/connection': (request, response) => {
    let bytes = 0;
    request.on('data', (piece) => { bytes += piece.length; });
    request.on('end', () => {
      response.setHeader('Content-Type', 'application/json');
      response.end(JSON.stringify({ connection: request.socket.number, bytes }));
    });
  },
  // A head at once; the body only when somebody asks for /release.
  '/held': (request, response) => {
    response.setHeader('Content-Type', 'text/plain');
    response.flushHeaders();
    held.push(() => {
      response.write('first ');
      response.end('last');
    });
  },
  '/release': (request, response) => {
    held.splice(0).forEach((release) => release());
    response.end('released');
  },
  // The trailers of the request come back as trailers of the response.
  '/trailers': (request, response) => {
    response.setHeader('Trailer', 'X-Sum');
    request.pipe(response, { end: false });
    request.on('end', () => {
      response.addTrailers({ 'X-Sum': request.trailers['x-sum'] ?? 'none' });
      response.end();
    });
  },
};

const server = http.createServer((request, response) => {
  const route = routes[request.url];
  if (route) return route(request, response);
  response.statusCode = 404;
  return response.end();
});
server.on('connection', (socket) => { socket.number = connections++; });
server.listen(0, '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
