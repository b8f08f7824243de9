// The endpoints of one group, each of which can be made to fail: origin.cjs h1|h2c BLOB PORT...
// Orders come on standard input, `INDEX MODE`, and each is acknowledged once it holds. Modes:
//   up     everything works
//   stop   does not listen any more; connections that are open are served on
//   kill   does not listen any more, and every connection is reset
//   503    answers 503 to what is safe to ask again
//   sick   answers 503 to probes alone
//   reset  resets a connection when a request has come
//   hang   takes requests and says nothing
const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');
const net = require('node:net');
const readline = require('node:readline');
const { WebSocketServer } = require('ws');

const [kind, blobFile, ...ports] = process.argv.slice(2);
const blob = fs.readFileSync(blobFile);
const SMALL = Buffer.from('small '.repeat(20));

const number = (url, name, fallback) => Number(url.searchParams.get(name) ?? fallback);

// `count` events, `gap` milliseconds apart, numbered, and one that says that these were all.
function events(url, response) {
  const count = number(url, 'count', 10);
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  let next = 0;
  const timer = setInterval(() => {
    if (next < count) response.write(`data: ${next++}\n\n`);
    else response.end('data: end\n\n');
  }, number(url, 'gap', 100));
  response.on('close', () => clearInterval(timer));
}

function digest(request, response) {
  const sum = crypto.createHash('sha256');
  request.on('data', (piece) => sum.update(piece));
  request.on('end', () => response.end(sum.digest('hex')));
}

function download(request, response) {
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
  if (!range) return response.writeHead(200, { 'content-length': blob.length }).end(blob);
  const [from, to] = range.slice(1).map(Number);
  response.writeHead(206, { 'content-range': `bytes ${from}-${to}/${blob.length}`, 'content-length': to - from + 1 });
  return response.end(blob.subarray(from, to + 1));
}

function echo(request, response) {
  response.writeHead(200);
  request.pipe(response);
}

// How many of these are here at once, this one too, is what it answers.
function counted(endpoint, url, response) {
  const now = ++endpoint.present;
  let here = true;
  const leave = () => {
    if (here) endpoint.present -= 1;
    here = false;
  };
  response.on('close', leave);
  setTimeout(() => {
    leave();
    response.end(String(now));
  }, number(url, 'ms', 20));
}

function serve(endpoint, request, response) {
  const url = new URL(request.url, 'http://origin');
  const name = url.pathname.split('/').pop();
  response.on('error', () => {});
  request.on('error', () => {});
  if (endpoint.mode === 'hang') return;
  if (endpoint.mode === 'reset') return kind === 'h1' ? request.socket.resetAndDestroy() : request.stream.session.destroy();
  response.setHeader('x-endpoint', endpoint.port);
  const safe = request.method === 'GET' || request.method === 'HEAD';
  if ((endpoint.mode === '503' && safe) || (endpoint.mode === 'sick' && name === 'healthz')) {
    request.resume();
    response.writeHead(503);
    return response.end();
  }
  if (name === 'events') return events(url, response);
  if (name === 'upload') return digest(request, response);
  if (name === 'blob') return download(request, response);
  if (name === 'echo') return echo(request, response);
  if (name === 'counted') return counted(endpoint, url, response);
  request.resume();
  response.setHeader('content-length', SMALL.length);
  return response.end(SMALL);
}

class Endpoint {
  constructor(port) {
    this.port = Number(port);
    this.mode = 'up';
    this.present = 0;
    this.sockets = new Set();
    const handle = (request, response) => serve(this, request, response);
    if (kind === 'h2c') {
      this.server = http2.createServer(handle);
      this.server.on('session', (session) => {
        session.on('error', () => {});
        this.sockets.add(session);
        session.on('close', () => this.sockets.delete(session));
      });
      this.server.on('sessionError', () => {});
    } else {
      this.server = http.createServer({ keepAliveTimeout: 30_000, requestTimeout: 0 }, handle);
      this.server.on('connection', (socket) => {
        this.sockets.add(socket);
        socket.on('close', () => this.sockets.delete(socket));
      });
      this.server.on('clientError', (error, socket) => socket.destroy());
      const sockets = new WebSocketServer({ server: this.server, maxPayload: 0 });
      sockets.on('connection', (socket) => {
        socket.on('error', () => {});
        socket.on('message', (data, binary) => socket.send(data, { binary }));
      });
    }
  }

  listen() {
    return new Promise((done) => {
      this.server.once('error', (error) => { console.error(error); setTimeout(() => this.listen().then(done), 50); });
      this.server.listen(this.port, '127.0.0.1', 1024, () => { this.server.removeAllListeners('error'); done(); });
    });
  }

  // Of node:net, whose close() leaves idle connections alone. The promise does not wait for those that are open.
  deafen() {
    net.Server.prototype.close.call(this.server);
    if (kind === 'h2c') this.sockets.forEach((session) => session.close()); // GOAWAY, and streams end
  }

  async become(mode) {
    const wasDeaf = this.mode === 'stop' || this.mode === 'kill';
    const hung = this.mode === 'hang';
    this.mode = mode;
    if (mode === 'stop' || mode === 'kill') this.deafen();
    else if (wasDeaf) await this.listen();
    if (mode === 'kill' || hung) {
      this.sockets.forEach((socket) => (socket.resetAndDestroy ?? socket.destroy).call(socket));
    }
  }
}

async function main() {
  const endpoints = ports.map((port) => new Endpoint(port));
  await Promise.all(endpoints.map((endpoint) => endpoint.listen()));
  let orders = 0;
  console.log('ready');
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [index, mode] = line.split(' ');
    await endpoints[index].become(mode);
    console.log(`done ${++orders}.`);
  }
  process.exit(0);
}

main();
