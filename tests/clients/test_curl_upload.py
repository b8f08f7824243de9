"""curl as the client of uploads: `Expect`, chunked from a pipe, early answers."""

import hashlib
import random
import select
import subprocess

import pytest

from origin import Gate

MIB = 1 << 20
REPORT = ("-w", "\n%{http_code} %{size_upload}")


@pytest.fixture
def upload(tmp_path):
    """A file of 10 MiB."""
    file = tmp_path / "upload"
    file.write_bytes(random.Random(7).randbytes(10 * MIB))
    return file


def test_expect_goes_end_to_end(origin, ringress, curl, upload):
    """curl sends nothing before the origin's own 100, and everything after it."""

    def handle(request):
        assert request.field("expect", "").lower() == "100-continue"
        assert not select.select([request.connection.socket], [], [], 0.3)[0], "sent before the 100"
        request.reply(hashlib.sha256(request.body()).hexdigest().encode())

    args = ("-v", "-H", "Expect: 100-continue", "--expect100-timeout", "30", "-T", upload)
    client = curl(*args, ringress(origin(handle).port).url)
    assert client.run(timeout=25).decode() == hashlib.sha256(upload.read_bytes()).hexdigest()
    assert b"< HTTP/1.1 100 Continue\r\n" in client.err


def test_a_refusal_instead_of_100_spares_the_upload(origin, ringress, curl, upload):
    """The origin's 403 reaches curl, which then sends no body."""

    def handle(request):
        request.keep_alive = False
        request.reply(b"no", status="403 Forbidden", fields=[("Connection", "close")])

    args = ("-H", "Expect: 100-continue", "--expect100-timeout", "30", "-T", upload, *REPORT)
    assert curl(*args, ringress(origin(handle).port).url).run() == b"no\n403 0"


def test_an_upload_of_known_length(origin, ringress, curl, upload):
    """10 MiB with `Content-Length` and without `Expect`."""

    def handle(request):
        assert request.field("content-length") == str(10 * MIB)
        request.reply(hashlib.sha256(request.body()).hexdigest().encode())

    client = curl("-H", "Expect:", "--data-binary", f"@{upload}", ringress(origin(handle).port).url)
    assert client.run().decode() == hashlib.sha256(upload.read_bytes()).hexdigest()


def test_a_piped_upload_streams(origin, ringress, curl):
    """`-T -`: what was written to the pipe is at the origin while the pipe is still open."""
    first_seen = Gate()

    def handle(request):
        assert request.field("transfer-encoding") == "chunked"
        got = b""
        for piece in request.pieces():
            got += piece
            if got == b"first ":
                first_seen.set()
        request.reply(got)

    client = curl("-H", "Expect:", "-T", "-", ringress(origin(handle).port).url, stdin=subprocess.PIPE)
    client.process.stdin.write(b"first ")
    first_seen.pass_through()
    client.process.stdin.write(b"second")
    client.process.stdin.close()
    assert client.run() == b"first second"


@pytest.mark.parametrize("linger", [True, False], ids=["origin lingers", "origin slams"])
def test_an_early_413_reaches_a_client_that_uploads(origin, ringress, curl, upload, linger):
    """The origin answers the head alone; curl, which is still sending, reads the answer."""

    def handle(request):
        request.keep_alive = False
        request.reply(b"too large", status="413 Content Too Large", fields=[("Connection", "close")])

    port = origin(handle, linger=linger).port
    args = ("-H", "Expect:", "--limit-rate", "20M", "--data-binary", f"@{upload}", "-w", "\n%{http_code}")
    assert curl(*args, ringress(port).url).run() == b"too large\n413"
