// WebSocket frames by `ws` on a stream of HTTP/2 (RFC 8441), for which it has no handshake of its own.
const { WebSocket } = require('ws');

exports.over = (stream, isServer) => {
  const socket = new WebSocket(null, undefined, {});
  socket._isServer = isServer; // only a client masks
  socket.setSocket(stream, Buffer.alloc(0), { maxPayload: 1 << 24 });
  return socket;
};
