"""curl as the client of responses: streams, old HTTP, trailers, ranges, codings, downloads."""

import gzip
import hashlib
import random
import re
import sys

import pytest

from conftest import needs_proxy
from origin import Gate

MIB = 1 << 20


@pytest.mark.parametrize("version", ["--http1.1", pytest.param("--http2-prior-knowledge", marks=needs_proxy)])
def test_an_event_arrives_while_the_handler_is_open(origin, ringress, curl, version):
    """Promise 1: curl has printed the first event before the origin says anything more."""
    gate = Gate()

    def handle(request):
        request.stream_head()
        request.piece(b"data: one\n\n")
        gate.pass_through()
        request.piece(b"data: two\n\n")
        request.end()

    client = curl(version, "-N", ringress(origin(handle).port).url + "/events")
    client.expect(rb"data: one\n\n")
    assert not gate.is_set() and b"two" not in client.out
    gate.set()
    assert client.run() == b"data: one\n\ndata: two\n\n"


def test_the_head_arrives_before_any_body(origin, ringress, curl):
    """A head that the origin flushed alone is not held back for a first byte of body."""
    gate = Gate()

    def handle(request):
        request.stream_head()
        gate.pass_through()
        request.piece(b"late")
        request.end()

    client = curl("-N", "-v", ringress(origin(handle).port).url)
    client.expect(rb"< HTTP/1.1 200 OK\r\n")
    client.expect(rb"(?i)< content-type: text/event-stream\r\n")
    assert not client.out
    gate.set()
    assert client.run() == b"late"


def test_a_client_of_http_1_0_gets_no_chunks(origin, ringress, curl):
    """A chunked response becomes one that ends with the connection."""

    def handle(request):
        request.stream_head("text/plain")
        for _ in range(10):
            request.piece(b"0123456789")
        request.end()

    client = curl("--http1.0", "-v", ringress(origin(handle).port).url)
    assert client.run() == b"0123456789" * 10
    assert not re.search(rb"(?i)< transfer-encoding", client.err)


def test_trailers_reach_the_client(origin, ringress, curl):
    """Fields after the last chunk are passed on, to HTTP/1.1 clients."""

    def handle(request):
        request.head(fields=[("Transfer-Encoding", "chunked"), ("Trailer", "X-Checksum")])
        request.piece(b"payload")
        request.end([(b"X-Checksum", b"abc123")])

    client = curl("--raw", "-H", "TE: trailers", ringress(origin(handle).port).url)
    assert client.run().endswith(b"\r\n0\r\nX-Checksum: abc123\r\n\r\n")
    client = curl("-D", "-", ringress(origin(handle).port).url)
    assert client.run().endswith(b"X-Checksum: abc123\r\npayload") or client.out.endswith(b"payloadX-Checksum: abc123\r\n")


def test_a_coded_body_passes_through_as_it_is(origin, ringress, curl):
    """`--compressed` is between curl and the origin; not a byte changes on the way."""
    plain = b"a line that repeats itself\n" * 4000
    coded = gzip.compress(plain, mtime=0)

    def handle(request):
        request.reply(coded, fields=[("Content-Encoding", "gzip"), ("X-Asked", request.field("accept-encoding", "-"))])

    url = ringress(origin(handle).port).url
    client = curl("--compressed", "-v", url)
    assert client.run() == plain
    assert re.search(rb"< X-Asked: .*gzip", client.err)
    client = curl("-v", url)
    assert client.run() == coded
    assert b"< X-Asked: -\r\n" in client.err


def test_head_has_a_length_and_no_body(origin, ringress, curl):
    """The connection is good for the next request: nobody waits for 12345 bytes that never come."""

    def handle(request):
        request.reply(b"x" * 12345)

    url = ringress(origin(handle).port).url
    client = curl("-I", "-w", "connects=%{num_connects}\n", url, url)
    text = client.run()
    assert len(re.findall(rb"(?i)content-length: 12345\r\n", text)) == 2
    assert re.findall(rb"connects=(\d)", text) == [b"1", b"0"]


def test_a_range_is_the_origins_business(origin, ringress, curl):
    """206 and `Content-Range` are relayed; so is the refusal of a range."""
    body = bytes(range(256)) * 16

    def handle(request):
        if request.field("range") != "bytes=100-199":
            request.reply(status="416 Range Not Satisfiable", fields=[("Content-Range", "bytes */4096")])
            return
        request.reply(body[100:200], status="206 Partial Content", fields=[("Content-Range", "bytes 100-199/4096")])

    url = ringress(origin(handle).port).url
    client = curl("-v", "-r", "100-199", url)
    assert client.run() == body[100:200]
    assert b"< HTTP/1.1 206 Partial Content\r\n" in client.err
    assert b"< Content-Range: bytes 100-199/4096\r\n" in client.err
    assert curl("-o", "/dev/null", "-w", "%{http_code}", "-r", "9000-", url).run() == b"416"


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_large_download_is_the_same_bytes(origin, ringress, curl, framing, tmp_path):
    """64 MiB in each framing, compared by SHA-256."""
    block = random.Random(framing).randbytes(MIB)
    blocks = 64

    def handle(request):
        if framing == "length":
            request.head(fields=[("Content-Length", blocks * MIB)])
        elif framing == "chunked":
            request.stream_head("application/octet-stream")
        else:
            request.head(fields=[("Connection", "close")])
            request.keep_alive = False
        for _ in range(blocks):
            (request.piece if framing == "chunked" else request.send)(block)
        if framing == "chunked":
            request.end()

    file = tmp_path / "download"
    curl("-o", file, ringress(origin(handle).port).url).run(timeout=60)
    sum_ = hashlib.sha256()
    for _ in range(blocks):
        sum_.update(block)
    with open(file, "rb") as got:
        assert hashlib.file_digest(got, "sha256").hexdigest() == sum_.hexdigest()


def test_a_cut_response_does_not_look_complete(origin, ringress, curl):
    """Promise 4: an origin that dies inside a chunked body makes curl fail, not succeed."""

    def handle(request):
        request.stream_head("text/plain")
        request.piece(b"half")
        request.keep_alive = False

    client = curl("-N", ringress(origin(handle).port).url)
    assert client.wait() in (18, 56)  # partial file, or failure when receiving
    assert client.out == b"half"


@pytest.mark.parametrize("protocol", ["HTTP/1.0", "HTTP/1.1"])
def test_python_http_server_as_origin(start, ringress, curl, tmp_path, protocol):
    """A server that people really put behind a proxy on their first day, in both versions."""
    (tmp_path / "page.txt").write_text("served\n")
    args = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", tmp_path]
    server = start([*args, "--protocol", protocol])
    port = int(server.expect(rb"port (\d+)")[1])
    url = ringress(port).url
    assert curl(url + "/page.txt", url + "/page.txt").run() == b"served\nserved\n"
    assert curl("-o", "/dev/null", "-w", "%{http_code}", url + "/none").run() == b"404"


@needs_proxy
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_curl_introduces_itself(origin, ringress, curl, version):
    """`--haproxy-protocol` sends a line with curl's own ends; where one is asked for, nothing passes without."""
    clients = []

    def handle(request):
        clients.append(request.field("X-Forwarded-For"))
        request.reply(b"welcome")

    url = ringress(origin(handle).port, "--accept-proxy", "127.0.0.0/8").url
    assert curl(version, "--haproxy-protocol", "--interface", "127.0.0.9", url).run() == b"welcome"
    assert clients == ["127.0.0.9"]
    assert curl(version, url).wait() in (16, 52, 55, 56)  # HTTP/2 framing, an empty reply, sending or receiving failed
    assert len(clients) == 1
