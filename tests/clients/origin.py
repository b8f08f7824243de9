"""A scripted HTTP/1.1 origin: the test says what each request gets, byte by byte and at what moment."""

import socket
import threading
import time

DEADLINE = 20  # seconds that any single wait may take


class Gate(threading.Event):
    """Opened by the test; a handler that waits for it fails rather than hangs."""

    def pass_through(self, timeout=DEADLINE):
        assert self.wait(timeout), "the gate was never opened"


class Request:
    """One request head, and the connection to read its body from and answer on."""

    def __init__(self, connection, method, target, version, fields):
        self.connection = connection
        self.method = method
        self.target = target
        self.version = version
        self.fields = fields
        self.keep_alive = version == "HTTP/1.1" and "close" not in self.field("connection", "").lower()

    def field(self, name, default=None):
        """Value of the first field of that name."""
        return next((value for key, value in self.fields if key == name.lower()), default)

    def body(self):
        """The whole request body; says 100 first if the client waits for it."""
        return b"".join(self.pieces())

    def pieces(self):
        """The request body as it arrives."""
        if self.field("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in self.field("transfer-encoding", "").lower():
            yield from self._chunks()
        elif length := int(self.field("content-length", "0")):
            yield from self._exactly(length)

    def _chunks(self):
        reader = self.connection.reader
        while size := int(reader.readline().split(b";")[0], 16):
            yield from self._exactly(size)
            assert reader.readline() == b"\r\n"
        while reader.readline() not in (b"\r\n", b""):
            pass

    def _exactly(self, left):
        while left:
            piece = self.connection.reader.read1(min(left, 65536))
            if not piece:
                raise ConnectionError("body ended early")
            left -= len(piece)
            yield piece

    def send(self, data):
        self.connection.socket.sendall(data)

    def reply(self, body=b"", *, status="200 OK", fields=(), with_body=True):
        """A complete response with its length."""
        self.head(status, [("Content-Length", len(body)), *fields])
        if with_body and self.method != "HEAD":
            self.send(body)

    def head(self, status="200 OK", fields=()):
        """A response head alone."""
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields), "", ""]
        self.send("\r\n".join(lines).encode())

    def stream_head(self, content_type="text/event-stream"):
        """The head of a stream: chunked, or until close for a client that has no chunks."""
        fields = [("Content-Type", content_type), ("Cache-Control", "no-store")]
        if self.version == "HTTP/1.1":
            fields.append(("Transfer-Encoding", "chunked"))
        else:
            self.keep_alive = False
        self.head(fields=fields)

    def piece(self, data):
        """One piece of a stream."""
        self.send(b"%x\r\n%s\r\n" % (len(data), data) if self.version == "HTTP/1.1" else data)

    def end(self, trailers=()):
        """The end of a stream."""
        if self.version == "HTTP/1.1":
            self.send(b"0\r\n" + b"".join(b"%s: %s\r\n" % pair for pair in trailers) + b"\r\n")


class Connection:
    """One accepted connection."""

    def __init__(self, accepted):
        accepted.settimeout(DEADLINE)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = accepted
        self.reader = accepted.makefile("rb")

    def request(self):
        """The next request, or nothing when the peer is done."""
        line = self.reader.readline()
        if not line:
            return None
        method, target, version = line.decode().split()
        fields = []
        while (field := self.reader.readline()) not in (b"\r\n", b""):
            name, _, value = field.decode("latin-1").partition(":")
            fields.append((name.strip().lower(), value.strip()))
        return Request(self, method, target, version, fields)

    def close(self, *, linger):
        """Ends the connection; lingering lets the peer read the last response although it still sends."""
        try:
            if linger:
                self.socket.shutdown(socket.SHUT_WR)
                until = time.monotonic() + 5
                while time.monotonic() < until and self.socket.recv(65536):
                    pass
        except OSError:
            pass
        self.reader.close()
        self.socket.close()


class Origin:
    """Listens on a free port and runs `handle(request)` for each request, one thread per connection.

    What a handler raises fails the test, unless it is the peer going away and `forgiving` is set.
    """

    def __init__(self, handle, *, forgiving=False, linger=True):
        self.handle = handle
        self.forgiving = forgiving
        self.linger = linger
        self.accepted = 0
        self.failures = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        self._threads = []
        self._connections = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def _accept(self):
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            connection = Connection(accepted)
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection):
        answering = False
        try:
            while request := connection.request():
                answering = True
                self.handle(request)
                answering = False
                if not request.keep_alive:
                    break
        except OSError as error:
            if answering and not self.forgiving:
                self.failures.append(error)
        except Exception as error:  # noqa: BLE001 - shown by close()
            self.failures.append(error)
        connection.close(linger=self.linger)

    def close(self):
        """Ends every connection; the first failure of a handler becomes the test's."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        failures = list(self.failures)
        for connection in self._connections:
            try:
                connection.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join(DEADLINE)
        if failures:
            raise failures[0]
