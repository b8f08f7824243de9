"""Promise 2: memory per stream is bounded and does not grow with the response."""

import socket
import threading
import time

import pytest

from conftest import needs_proxy
from origin import DEADLINE, Gate

MIB = 1 << 20
GROWTH_MAX = 16 * MIB
# Both socket buffers of both connections may fill, by default up to 4 MiB to send and 6 MiB to receive each.
IN_FLIGHT_MAX = 32 * MIB


class Stream:
    """An origin's endless chunked response, which counts what it could send."""

    def __init__(self, chunks):
        self.chunks = chunks
        self.sent = 0
        self.ended = Gate()

    def __call__(self, request):
        if request.target == "/small":
            return request.reply(b"small")
        request.connection.socket.settimeout(None)
        chunk = b"100000\r\n" + bytes(MIB) + b"\r\n"
        request.stream_head("application/octet-stream")
        try:
            for _ in range(self.chunks):
                view = memoryview(chunk)
                while view:
                    count = request.connection.socket.send(view)
                    view = view[count:]
                    self.sent += count
            return request.end()
        except OSError:
            request.keep_alive = False
            return None
        finally:
            self.ended.set()


class PeakMemory:
    """Largest resident size of a program while the block runs."""

    def __init__(self, program):
        self.program = program
        self.peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self):
        while not self._done.wait(0.02):
            self.peak = max(self.peak, self.program.rss_bytes())

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join(DEADLINE)


def request(proxy, target):
    """A connection with a request sent on it."""
    client = socket.create_connection(("127.0.0.1", proxy.port), timeout=DEADLINE)
    client.sendall(f"GET {target} HTTP/1.1\r\nHost: {proxy.authority}\r\nConnection: close\r\n\r\n".encode())
    return client


def drain(client, up_to):
    """Bytes read until the end or until `up_to`."""
    buffer, total = bytearray(MIB), 0
    while total < up_to and (count := client.recv_into(buffer)):
        total += count
    return total


def settled(read, seconds=1.0):
    """The value of `read()` once it has not changed for a while."""
    value, since = read(), time.monotonic()
    deadline = since + DEADLINE
    while time.monotonic() - since < seconds:
        assert time.monotonic() < deadline, "never settled"
        time.sleep(0.05)
        if (now := read()) != value:
            value, since = now, time.monotonic()
    return value


@pytest.fixture
def warm(origin, ringress):
    """A proxy that has served a request already: its fixed costs are paid."""

    def run(stream):
        proxy = ringress(origin(stream, forgiving=True).port, workers=1)
        with request(proxy, "/small") as client:
            assert drain(client, MIB)
        return proxy, proxy.program.rss_bytes()

    return run


@needs_proxy
def test_a_gibibyte_passes_through_little_memory(warm):
    """1 GiB in chunks to a client that keeps up."""
    proxy, before = warm(Stream(1024))
    with PeakMemory(proxy.program) as memory, request(proxy, "/large") as client:
        assert drain(client, 1 << 40) > 1024 * MIB
    assert memory.peak - before < GROWTH_MAX


@needs_proxy
def test_a_slow_reader_stalls_the_origin(warm):
    """A client that stops reading stops the origin; when it reads again the stream goes on."""
    stream = Stream(1024)
    proxy, before = warm(stream)
    with PeakMemory(proxy.program) as memory, request(proxy, "/large") as client:
        assert drain(client, 1)
        stalled_at = settled(lambda: stream.sent)
        assert stalled_at < IN_FLIGHT_MAX
        assert drain(client, 64 * MIB) >= 64 * MIB
        assert stream.sent > stalled_at
        settled(lambda: stream.sent)
    assert memory.peak - before < GROWTH_MAX
    stream.ended.pass_through(2)  # the client is gone, so is the origin's reason to send
