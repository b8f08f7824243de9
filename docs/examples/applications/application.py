"""What both applications are made of: HTTP/1.1 by the standard library, with streams in both directions.

`PORT` (0 takes a free one) is the only argument of either; the first line of the output is the port. An application ends
with SIGTERM, or when its standard input does: it never outlives who started it.
"""

import http.server
import json
import os
import signal
import sys
import threading


class Application(http.server.BaseHTTPRequestHandler):
    """One connection. Subclasses name their pages in `pages`, by method and path."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # heads and bodies are written apart
    pages = {}

    def respond(self):
        """Answers a request with its page."""
        path = self.path.partition("?")[0]
        page = self.pages.get((self.command, path))
        if page:
            page(self)
        elif (self.command, path) == ("GET", "/healthz"):
            self.answer("text/plain", "well\n")
        else:
            self.close_connection = True  # its body, if there is one, was not read
            self.answer("text/plain", "There is no such page.\n", status=404)

    do_GET = do_POST = do_PUT = respond

    def answer(self, content_type, body, *, status=200):
        """A whole response."""
        body = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer_json(self, value, *, status=200):
        """A whole response in JSON."""
        self.answer("application/json", json.dumps(value) + "\n", status=status)

    def stream(self, content_type, pieces):
        """A response whose end nobody knows; each piece leaves when it is there."""
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def body(self):
        """The pieces of the request's body, as they come."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            yield from self._pieces(int(self.headers.get("Content-Length", 0)))
            return
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield from self._pieces(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers

    def _pieces(self, left):
        while left:
            piece = self.rfile.read1(min(left, 65536))
            if not piece:
                raise ConnectionResetError("the client has gone away")
            left -= len(piece)
            yield piece

    def handle(self):
        """Serves a connection to its end; that of a client that goes away is none of our trouble."""
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            pass

    def log_message(self, *_):
        """Says nothing: the access log is the ingress's."""


def run(application):
    """Serves until told to stop."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), application)
    application.port = server.server_port
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started us
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.buffer.read()
    os._exit(0)  # streams have no end to wait for
