"""HTTP/2 by prior knowledge, from the programs people use: curl, httpx, h2load."""

import asyncio
import hashlib
import random
import re

import httpx

from conftest import needs_proxy
from origin import DEADLINE, Gate

MIB = 1 << 20
PRIOR = "--http2-prior-knowledge"

pytestmark = needs_proxy  # the origins here speak HTTP/1.1


def test_an_event_arrives_while_the_handler_is_open(origin, ringress, curl):
    """Promise 1, over HTTP/2."""
    gate = Gate()

    def handle(request):
        request.stream_head()
        request.piece(b"data: one\n\n")
        gate.pass_through()
        request.piece(b"data: two\n\n")
        request.end()

    client = curl(PRIOR, "-N", ringress(origin(handle).port).url + "/events")
    client.expect(rb"data: one\n\n")
    assert not gate.is_set() and b"two" not in client.out
    gate.set()
    assert client.run() == b"data: one\n\ndata: two\n\n"


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


def test_h2load_sees_no_error(ringress, start):
    """Sixteen connections of sixteen streams, as fast as it goes."""
    url = ringress(None, "--demo").url + "/bytes/1000"
    report = start(["h2load", "-n", "20000", "-c", "16", "-m", "16", url]).run(timeout=60).decode()
    print(report)
    assert re.search(r"20000 succeeded, 0 failed, 0 errored, 0 timeout", report), report
    assert "status codes: 20000 2xx" in report, report
