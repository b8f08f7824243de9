"""HTTP/2 from the programs people use: curl, httpx, nghttp, h2load; by prior knowledge and over TLS."""

import asyncio
import hashlib
import random
import re

import httpx
import pytest

from conftest import needs_proxy
from origin import DEADLINE, Gate

MIB = 1 << 20
PRIOR = "--http2-prior-knowledge"

pytestmark = needs_proxy  # the origins here speak HTTP/1.1


def test_bodies_pass_byte_for_byte(origin, ringress, curl, tmp_path):
    """Up with and without a length, and down again."""
    content = random.Random(7).randbytes(5 * MIB)
    (tmp_path / "body").write_bytes(content)
    server = origin(lambda request: request.reply(request.body()))
    url = ringress(server.port).url
    for upload in (["--data-binary", f"@{tmp_path}/body"], ["-H", "content-length:", "-T", f"{tmp_path}/body"]):
        echoed = curl(PRIOR, *upload, url).run()
        assert hashlib.sha256(echoed).digest() == hashlib.sha256(content).digest()


def test_many_streams_share_one_connection(origin, ringress):
    """All are open at once before the first is answered, and each gets its own answer."""
    count = 50
    gate = Gate()

    def handle(request):
        if request.target == "/last":
            gate.set()
        gate.pass_through()
        request.reply(request.target.encode())

    async def run(url):
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(http1=False, http2=True, trust_env=False, timeout=DEADLINE, limits=limits) as client:
            waiting = [asyncio.create_task(client.get(f"{url}/{number}")) for number in range(count)]
            await asyncio.sleep(0)
            last = await client.get(f"{url}/last")
            assert (last.http_version, last.text) == ("HTTP/2", "/last")
            return [(await reply).text for reply in waiting]

    url = ringress(origin(handle).port).url
    assert asyncio.run(run(url)) == [f"/{number}" for number in range(count)]


@pytest.fixture(params=["h2c", "tls"])
def url_of(request, secure):
    """Starts the proxy; gives where it is reached, each way: `url_of(upstream)`."""

    def run(upstream, *flags):
        proxy = secure(upstream, *flags)
        return proxy.secure_url if request.param == "tls" else proxy.url

    return run


@pytest.fixture
def nghttp(start):
    """Starts nghttp, which need not know the authority: the tests of TLS are elsewhere."""
    return lambda *args: start(["nghttp", "--no-verify-peer", "--timeout", "20", *args])


def test_nghttp_fetches_several_resources(origin, url_of, nghttp):
    """On one connection, all open before the first is answered."""
    count = 5
    gate = Gate()

    def handle(request):
        if request.target == f"/{count - 1}":
            gate.set()
        gate.pass_through()
        request.reply(request.target.encode())

    url = url_of(f"127.0.0.1:{origin(handle).port}")
    report = nghttp("-nsv", *(f"{url}/{number}" for number in range(count))).run().decode()
    assert report.count("Connected") == 1, report
    # Of each its id, three times, status, size and path.
    rows = re.findall(r"^ +\d+ +\+\S+ +\+\S+ +\S+ +(\d+) +(\d+) (/\d)$", report, re.MULTILINE)
    assert sorted(rows) == [("200", "2", f"/{number}") for number in range(count)], report


def test_nghttp_uploads(origin, url_of, nghttp, tmp_path):
    """5 MiB up and down again, with a length and without."""
    content = random.Random(8).randbytes(5 * MIB)
    (tmp_path / "body").write_bytes(content)
    server = origin(lambda request: request.reply(request.method.encode() + request.body()))
    url = url_of(f"127.0.0.1:{server.port}")
    for length in ([], ["--no-content-length"]):
        assert nghttp("-d", tmp_path / "body", *length, url).run() == b"POST" + content


def test_nghttp_trailers(node_origin, url_of, nghttp, tmp_path):
    """Up with the request, which must not have a length then, and down with the response."""
    url = url_of(f"127.0.0.1:{node_origin('http-origin.cjs')}") + "/trailers"
    (tmp_path / "body").write_bytes(b"payload")
    report = nghttp("-nv", "-d", tmp_path / "body", "--no-content-length", "--trailer", "x-sum: 42", url).run()
    assert re.search(rb"recv \(stream_id=\d+\) x-sum: 42\n", report), report
    assert b"RST_STREAM" not in report, report


def test_h2load_sees_no_error(url_of, start):
    """Sixteen connections of sixteen streams, as fast as it goes."""
    url = url_of(None) + "/bytes/1000"
    report = start(["h2load", "-n", "10000", "-c", "16", "-m", "16", url]).run(timeout=60).decode()
    print(report)
    assert re.search(r"10000 succeeded, 0 failed, 0 errored, 0 timeout", report), report
    assert "status codes: 10000 2xx" in report, report
