"""Clients that know what they have to get, one thread each, and go on until they are told to stop.

A client does one thing at a time, `turn(random)`. What goes wrong is an exception; `Client.run` asks `excuse` whether
something that was going on meanwhile explains it.
"""

import asyncio
import hashlib
import http.client
import pathlib
import random
import socket
import ssl
import struct
import subprocess
import threading
import time
import traceback

import httpx
from websockets.asyncio.client import connect

from origin import DEADLINE
from rpc import CHANNEL_OPTIONS, Caller

MIB = 1 << 20
WAIT = 60  # seconds of silence after which a client calls it a failure


class Wrong(Exception):
    """The answer is not what it has to be."""


def told(error):
    """An error, and what caused it."""
    said = []
    while error and len(said) < 4:
        last = traceback.extract_tb(error.__traceback__)[-1]
        notes = " ".join(getattr(error, "__notes__", ()))
        said.append(f"{type(error).__name__}: {error} {notes} ({pathlib.Path(last.filename).name}:{last.lineno})")
        error = error.__cause__ or error.__context__
    return " < ".join(said)


class Place:
    """Where the proxy is, what its contents are, and the ledger."""

    def __init__(self, settings, ledger, authority, blob):
        self.settings = settings
        self.ledger = ledger
        self.plain, self.tls = settings.plain, settings.tls
        self.context = self.trust(authority)
        self.authority = authority
        self.blob = blob
        self.stopped = threading.Event()

    @staticmethod
    def trust(authority):
        return ssl.create_default_context(cafile=str(authority))

    def connection(self, tls=False):
        """A client of HTTP/1.1, not connected yet."""
        if tls:
            return http.client.HTTPSConnection("127.0.0.1", self.tls, timeout=WAIT, context=self.context)
        return http.client.HTTPConnection("127.0.0.1", self.plain, timeout=WAIT)

    def url(self, tls):
        return f"https://127.0.0.1:{self.tls}" if tls else f"http://127.0.0.1:{self.plain}"


class Client:
    """One thread of load."""

    pause = 0.2  # seconds between two turns, at most

    def __init__(self, place, number):
        self.place = place
        self.ledger = place.ledger
        self.name = type(self).__name__
        self.random = random.Random(f"{self.name}{number}")
        self.tls = number % 2 == 1
        self.since = 0.0  # when this turn began
        self.opened = 0.0  # when its connection did
        self.thread = threading.Thread(target=self.run, name=f"{self.name}-{number}", daemon=True)

    def run(self):
        try:
            while not self.place.stopped.is_set():
                self.since = self.opened = time.monotonic()
                try:
                    self.turn()
                    self.ledger.count(self.name)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is judged
                    self.judge(error)
                self.place.stopped.wait(self.random.uniform(0, self.pause))
        finally:
            self.close()

    def judge(self, error):
        self.close()
        if why := self.excuse(error):
            self.ledger.explain(self.name, why)
        else:
            took = time.monotonic() - self.since
            self.ledger.fail(self.name, f"{told(error)} (tls {self.tls}, after {took:.2f} s)")
            self.place.stopped.wait(0.5)

    def excuse(self, error):
        """Why that was to be expected; nothing if it was not."""
        return self.cut_by_drain()

    def cut_by_drain(self):
        """Whether an old process has just come to the end of its patience, with a connection that it took."""
        drain_s = self.place.settings.drain_s
        for upgrade in self.ledger.spans("drain", self.opened, linger=drain_s + 3):
            over = time.monotonic() >= upgrade.begun + drain_s - 0.5
            if over and self.opened <= (upgrade.ended or self.opened):
                return "with an old process until --drain-timeout"
        return None

    def turn(self):
        raise NotImplementedError

    def close(self):
        """Whatever is open."""


class Http1(Client):
    """Has one connection that it keeps as long as it is allowed to."""

    def __init__(self, place, number):
        super().__init__(place, number)
        self.connection = place.connection(self.tls)
        self.connected = 0.0

    def ask(self, method, target, body=None, fields=None, *, chunked=False):
        fields = {"X-Client": self.thread.name, **(fields or {})}
        if self.connection.sock is None:
            self.connected = time.monotonic()
        self.opened = self.connected
        self.connection.request(method, target, body=body, headers=fields, encode_chunked=chunked)
        return self.connection.getresponse()

    def fetch(self, target, fields=None, *, status=200, method="GET", body=None):
        reply = self.ask(method, target, body, fields)
        content = reply.read()
        self.need(reply, status)
        return reply, content

    def need(self, reply, status):
        if reply.status != status:
            rest = f"{reply.getheader('Proxy-Status')} endpoint {reply.getheader('X-Endpoint')}"
            raise Wrong(f"status {reply.status}, not {status}: {rest}")

    def close(self):
        self.connection.close()


class KeepAlive(Http1):
    """Small requests with pauses, on a connection that stays."""

    pause = 1.5

    def turn(self):
        for _ in range(20):
            self.fetch("/app/small")


class Events(Http1):
    """An event stream: every number, and the last line."""

    LONG = 1 / 8  # of streams outlive a drain

    def turn(self):
        longest = self.place.settings.drain_s
        seconds = self.random.uniform(0.3, longest * 0.7)
        if self.random.random() < self.LONG:
            seconds = longest * 1.5
        gap = self.random.choice([20, 100, 300])
        count = max(1, int(seconds * 1000 / gap))
        reply = self.ask("GET", f"/streams/events?count={count}&gap={gap}")
        self.need(reply, 200)
        for wanted in [*map(str, range(count)), "end"]:
            line, empty = reply.readline(), reply.readline()
            if line != f"data: {wanted}\n".encode() or empty != b"\n":
                raise Wrong(f"event {wanted} of {count} is {line!r} {empty!r}")
            self.ledger.count("events")
        if reply.read() != b"":
            raise Wrong("something after the last event")


class Sockets(Client):
    """A WebSocket that echoes. Its client is not the one with threads, which reads and writes TLS at the same time: Python
    3.11 cannot."""

    def turn(self):
        asyncio.run(self.echo())

    async def echo(self):
        until = time.monotonic() + self.random.uniform(0.2, self.place.settings.drain_s * 0.7)
        scheme, port = ("wss", self.place.tls) if self.tls else ("ws", self.place.plain)
        options = {"ssl": self.place.context} if self.tls else {}
        uri = f"{scheme}://127.0.0.1:{port}/streams/socket"
        async with connect(uri, proxy=None, open_timeout=WAIT, max_size=None, compression=None, **options) as client:
            while time.monotonic() < until and not self.place.stopped.is_set():
                message = self.random.randbytes(self.random.choice([0, 5, 200, 5000, 100_000]))
                await client.send(message)
                if await asyncio.wait_for(client.recv(), WAIT) != message:
                    raise Wrong("another message came back")
                self.ledger.count("messages")
                await asyncio.sleep(self.random.uniform(0, 0.1))


class Uploads(Http1):
    """A body of up to 3 MiB, with a length or in chunks; the origin says what its hash is."""

    def turn(self):
        size = self.random.choice([0, 10, 5000, 200_000, 3 * MIB])
        body = self.place.blob[:size] if size else b""
        chunked = self.random.random() < 0.5
        content = (body[at : at + 50_000] for at in range(0, size, 50_000)) if chunked else body
        fields = {"Transfer-Encoding": "chunked"} if chunked else {}
        reply = self.ask("POST", "/streams/upload", content, fields, chunked=chunked)
        answer = reply.read()
        self.need(reply, 200)
        if answer.decode() != hashlib.sha256(body).hexdigest():
            raise Wrong(f"another hash for {size} bytes (chunked {chunked})")
        self.ledger.count("bytes up", size)


class Downloads(Http1):
    """Parts of the blob."""

    def turn(self):
        size = self.random.choice([1, 3000, 100_000, 4 * MIB])
        begin = self.random.randrange(len(self.place.blob) - size)
        _, content = self.fetch("/streams/blob", {"Range": f"bytes={begin}-{begin + size - 1}"}, status=206)
        if content != self.place.blob[begin : begin + size]:
            raise Wrong(f"other bytes, {len(content)} of {size}")
        self.ledger.count("bytes down", size)


class SlowReaders(Http1):
    """Reads two megabytes a little at a time, for less than a drain."""

    pause = 1.0

    def turn(self):
        size = 2 * MIB
        self.connection.close()
        self.connected = time.monotonic()
        self.connection.connect()
        if not self.tls:
            self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        reply = self.ask("GET", "/streams/blob", fields={"Range": f"bytes=0-{size - 1}"})
        self.need(reply, 206)
        steps = 24
        for step in range(steps):
            part = size // steps if step < steps - 1 else size - (steps - 1) * (size // steps)
            at = step * (size // steps)
            if reply.read(part) != self.place.blob[at : at + part]:
                raise Wrong(f"other bytes in part {step}")
            time.sleep(self.place.settings.drain_s * 0.5 / steps)
        if reply.read() != b"":
            raise Wrong("something after the end")


class Vanishers(Client):
    """Begins things and goes away, with a FIN or a reset. Nothing it could see is an error."""

    BEGINNINGS = [
        b"GET /streams/events?count=1000&gap=50 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /streams/blob HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /streams/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nhello",
        b"GET /streams/blob HTTP/1.1\r\nHo",
        b"GET /narrow/counted?ms=300 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"",
    ]

    def turn(self):
        with socket.create_connection(("127.0.0.1", self.place.plain), timeout=DEADLINE) as client:
            client.sendall(self.random.choice(self.BEGINNINGS))
            time.sleep(self.random.uniform(0, 0.3))
            if self.random.random() < 0.5:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Sessions(Http1):
    """Keeps its cookie. It gets another endpoint only together with another cookie."""

    def __init__(self, place, number):
        super().__init__(place, number)
        self.cookie = self.endpoint = None

    def turn(self):
        for _ in range(5):
            reply, _ = self.fetch("/app/small", {"Cookie": self.cookie} if self.cookie else {})
            new, endpoint = reply.getheader("Set-Cookie"), reply.getheader("X-Endpoint")
            if endpoint != self.endpoint and not new:
                raise Wrong(f"moved from {self.endpoint} to {endpoint} without a cookie")
            if new:
                self.ledger.count("sessions moved" if self.cookie else "sessions")
                self.cookie = new.split(";")[0]
            self.endpoint = endpoint


class Limited(Http1):
    """Asks more often than it may: 200 or 429, and no more than its limit allows."""

    pause = 0.1

    def __init__(self, place, number):
        super().__init__(place, number)
        self.passed = 0
        self.begun = time.monotonic()

    def turn(self):
        reply = self.ask("GET", "/limited/small", fields={"X-Key": self.thread.name})
        reply.read()
        if reply.status == 429 and int(reply.getheader("Retry-After")) >= 1:
            return self.ledger.explain("Limited", "429 where a limit says so")
        self.need(reply, 200)
        self.passed += 1
        # A new process, or another limit, begins anew.
        anew = 1 + self.ledger.counts["upgrades"] + self.ledger.counts["limit changed"]
        if self.passed > 20 * anew + 20 * (time.monotonic() - self.begun):
            raise Wrong(f"{self.passed} requests passed")
        return None


class Narrow(Http1):
    """Waits in the queue before an endpoint that takes only so many at once."""

    pause = 0.02
    AT_ONCE = 4
    VANISHING = 4

    def turn(self):
        _, content = self.fetch("/narrow/counted?ms=10")
        at_once = int(content)
        self.ledger.counts["most at once"] = max(self.ledger.counts["most at once"], at_once)
        if at_once > self.AT_ONCE:
            if self.ledger.during("drain", self.since, linger=self.place.settings.drain_s + 3):
                return self.ledger.explain("Narrow", "two processes, each with its own max-connections")
            # The origin may not have noticed yet that one has vanished, whose place another one has.
            if at_once > self.AT_ONCE + self.VANISHING:
                raise Wrong(f"{at_once} at once")
        return None


class Hangs(Http1):
    """Is sometimes sent to an endpoint that hangs, until that is noticed."""

    def turn(self):
        self.fetch("/hangs/small")

    def excuse(self, error):
        if "http_response_timeout" in str(error) and self.ledger.during("hang", self.since, about="hangs"):
            return "504 of an endpoint that hangs"
        if self.ledger.during("hang", self.since, about="hangs", linger=0.5) and "connection_terminated" in str(error):
            return "502 of a request that an endpoint took, kept, and reset"
        return super().excuse(error)


class Guests(Http1):
    """Routes that come and go: there, or not there, as the file says. Each time on a new connection."""

    def turn(self):
        guest = self.random.randrange(3)
        before = self.place.settings.guests.copy(), self.ledger.counts["changes"]
        self.connection.close()
        reply = self.ask("GET", f"/guest/{guest}", fields={"Connection": "close"})
        reply.read()
        after = self.place.settings.guests.copy(), self.ledger.counts["changes"]
        if before != after or self.ledger.during("change", self.since):
            wanted = {200, 404}
        else:
            wanted = {200} if guest in before[0] else {404}
        if reply.status not in wanted:
            raise Wrong(f"guest {guest} is {reply.status}, not {wanted}: {reply.getheader('Proxy-Status')}")


class Rpc(Client):
    """gRPC: a call that echoes and streams. The channel is kept."""

    def __init__(self, place, number):
        super().__init__(place, number)
        import grpc

        self.grpc = grpc
        options = [*CHANNEL_OPTIONS.items()]
        if self.tls:
            credentials = grpc.ssl_channel_credentials(place.authority.read_bytes())
            self.channel = grpc.secure_channel(f"127.0.0.1:{place.tls}", credentials, options=options)
        else:
            self.channel = grpc.insecure_channel(f"127.0.0.1:{place.plain}", options=options)
        self.call = Caller(self.channel, "unary_stream")

    def turn(self):
        count = self.random.choice([1, 3, 20, 100])
        got = list(self.call(b"%d" % count, timeout=WAIT))
        if got != [b"%d" % number for number in range(count)]:
            raise Wrong(f"{len(got)} of {count} messages")
        self.ledger.count("messages of gRPC", count)

    def judge(self, error):
        # The channel stays: it has to find the way by itself.
        if why := self.excuse(error):
            self.ledger.explain(self.name, why)
        else:
            details = error.code() if isinstance(error, self.grpc.RpcError) else ""
            self.ledger.fail(self.name, f"{details} {told(error)}".replace("\n", " "))
            self.place.stopped.wait(0.5)


class Http2(Client):
    """httpx with HTTP/2: eight things at once on one connection."""

    def __init__(self, place, number):
        super().__init__(place, number)
        self.loop = asyncio.new_event_loop()
        self.client = None

    def turn(self):
        self.loop.run_until_complete(self.several())

    async def several(self):
        if self.client is None:
            self.client = httpx.AsyncClient(
                http1=False, http2=True, trust_env=False, timeout=WAIT,
                verify=self.place.trust(self.place.authority),  # its own, since httpx names HTTP/2 in it
                base_url=self.place.url(self.tls),
            )
        for outcome in await asyncio.gather(*(self.one(number) for number in range(8)), return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def one(self, number):
        # Less than a window: one request of httpx may read, and forget, what another one waits for, which is more window.
        size = self.random.choice([0, 100, 5000, 50_000])
        body = self.place.blob[number : number + size]
        what = self.random.choice([self.small, self.echo, self.upload, self.part])
        for attempt in range(4):
            try:
                await what(body)
                break
            except Exception as error:
                # RFC 9113 §6.8: what a GOAWAY says was not taken may be sent again, and clients have to. For this one a
                # GOAWAY is the end of its connection: it loses what comes behind, responses and PING, and may then wait
                # until the connection is closed. That nothing is lost is for the client of gRPC to show.
                error.add_note(f"{what.__name__} of {len(body)}")
                gone = any(sign in str(error) for sign in ("ConnectionTerminated", "ConnectionState.CLOSED", "Server disc"))
                if attempt == 3 or not gone or not self.moving():
                    raise
                self.ledger.explain(self.name, "sent again after GOAWAY")

    def moving(self):
        return self.ledger.during("drain", self.since, linger=self.place.settings.drain_s + 3)

    def check(self, reply, content, status=200):
        if reply.status_code != status:
            raise Wrong(f"status {reply.status_code} of {reply.url}: {reply.headers.get('proxy-status')}")
        if content is not None and reply.content != content:
            raise Wrong(f"{len(reply.content)} bytes of {reply.url} are not the {len(content)} that were wanted")

    async def small(self, _):
        self.check(await self.client.get("/app/small"), None)

    async def echo(self, body):
        self.check(await self.client.put("/two/echo", content=body), body)

    async def upload(self, body):
        reply = await self.client.post("/streams/upload", content=body)
        self.check(reply, hashlib.sha256(body).hexdigest().encode())

    async def part(self, body):
        size = max(1, len(body))
        reply = await self.client.get("/streams/blob", headers={"Range": f"bytes=0-{size - 1}"})
        self.check(reply, self.place.blob[:size], 206)

    def close(self):
        if self.client is not None:
            client, self.client = self.client, None
            self.loop.run_until_complete(client.aclose())


class Curl(Client):
    """Uploads of any size by HTTP/2, which the other client cannot do; each time on a new connection."""

    pause = 1.0

    def turn(self):
        size = self.random.choice([100_000, 3 * MIB])
        body = self.place.blob[:size]
        options = ["--cacert", str(self.place.authority), "--http2"] if self.tls else ["--http2-prior-knowledge"]
        options += ["--data-binary", "@-", "-H", "Expect:", "--max-time", str(WAIT), "--write-out", " %{http_code}"]
        arguments = ["curl", "-sS", "--noproxy", "*", *options, self.place.url(self.tls) + "/streams/upload"]
        done = subprocess.run(arguments, input=body, capture_output=True, timeout=WAIT + 30, check=False)
        if done.stdout.decode() != f"{hashlib.sha256(body).hexdigest()} 200":
            raise Wrong(f"exit {done.returncode}, {done.stdout[:200]!r}, {done.stderr[:200]!r}")
        self.ledger.count("bytes up", size)


# How many threads of each there are, at full load and in a smoke run.
CAST = [
    (KeepAlive, 6, 2),
    (Events, 16, 4),
    (Sockets, 8, 2),
    (Uploads, 6, 2),
    (Downloads, 4, 2),
    (SlowReaders, 4, 2),
    (Vanishers, 4, 2),
    (Sessions, 4, 2),
    (Limited, 2, 2),
    (Narrow, 12, 6),
    (Hangs, 4, 2),
    (Guests, 2, 1),
    (Rpc, 4, 2),
    (Http2, 4, 2),
    (Curl, 2, 2),
]
