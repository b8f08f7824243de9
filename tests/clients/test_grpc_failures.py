"""gRPC through the proxy: calls that fail. The client hears why, and the origin hears that nobody waits any more."""

import contextlib
import pathlib
import queue
import socket
import sys

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

import rpc
from certificates import Certificates
from conftest import needs_proxy
from origin import DEADLINE, Gate
from rpc import message, over, values

PROMPTLY = 5  # seconds: much less than any deadline that could pass instead
Code = grpc.StatusCode


@contextlib.contextmanager
def failure(*codes):
    """The error of a call that fails with one of these codes."""
    with pytest.raises(grpc.RpcError) as raised:
        yield raised
    assert raised.value.code() in codes, raised.value


class Waiting:
    """A handler that waits until its call is over for it; `pieces` are answered first."""

    def __init__(self, *pieces):
        self.pieces = pieces
        self.begun = Gate()
        self.over = Gate()
        self.left = None

    def unary(self, _, context):
        self._wait(context)
        return b"late"

    def stream(self, _, context):
        yield from self.pieces
        self._wait(context)

    def _wait(self, context):
        self.left = context.time_remaining()
        gate = over(context)
        self.begun.set()
        gate.pass_through()
        self.over.set()


def test_cancel_before_the_answer(way):
    """The client gives up on a call without answer: the origin's call is over at once."""
    handler = Waiting()
    call = way("unary_unary", handler.unary).future(b"x")
    handler.begun.pass_through()
    call.cancel()
    handler.over.pass_through(PROMPTLY)
    assert call.code() is Code.CANCELLED


def test_cancel_within_a_stream(way):
    """The client gives up in a conversation that both sides have open."""
    handler = Waiting(b"piece")
    outbox = queue.SimpleQueue()
    call = way("stream_stream", handler.stream)(iter(outbox.get, None))
    assert next(call) == b"piece"
    handler.begun.pass_through()
    call.cancel()
    handler.over.pass_through(PROMPTLY)
    with pytest.raises(grpc.RpcError):
        next(call)
    assert call.code() is Code.CANCELLED
    outbox.put(None)


@pytest.mark.parametrize("kind", ("unary", "stream"))
def test_the_clients_deadline(way, kind):
    """Shorter than the proxy's: the origin is told of it, and both sides see it pass."""
    handler = Waiting(b"piece")
    call = way(f"unary_{kind}", getattr(handler, kind), "--request-deadline", "30s")
    with failure(Code.DEADLINE_EXCEEDED):
        list(call(b"x", timeout=0.4))
    assert handler.left < 1
    handler.over.pass_through(PROMPTLY)


@needs_proxy
@pytest.mark.parametrize("flag", ("--request-deadline", "--request-timeout"))
def test_the_proxys_deadline(way, flag):
    """Shorter than the client's, before the head: the client hears DEADLINE_EXCEEDED, the origin's call is over."""
    handler = Waiting()
    call = way("unary_unary", handler.unary, flag, "200ms")
    with failure(Code.DEADLINE_EXCEEDED) as raised:
        call(b"x")
    assert "http_response_timeout" in values(raised.value.trailing_metadata(), "proxy-status")[0]
    handler.over.pass_through(PROMPTLY)


@needs_proxy
@pytest.mark.parametrize("flag", ("--request-deadline", "--stream-idle-timeout"))
def test_the_proxy_cuts_a_stream(way, flag):
    """Within the stream: what came before arrives, then an error, and the origin's call is over."""
    handler = Waiting(b"one", b"two")
    call = way("unary_stream", handler.stream, flag, "300ms")
    replies = call(b"x")
    assert [next(replies), next(replies)] == [b"one", b"two"]
    with failure(Code.DEADLINE_EXCEEDED):
        next(replies)
    handler.over.pass_through(PROMPTLY)


@needs_proxy
def test_a_message_too_large_for_the_proxy(way):
    """RESOURCE_EXHAUSTED, as from a peer that speaks gRPC, and not a bare 413."""
    call = way("unary_unary", lambda request, _: request, "--max-body-bytes", "64KiB")
    with failure(Code.RESOURCE_EXHAUSTED):
        call(bytes(1 << 20))
    assert call(b"small") == b"small"


@needs_proxy
def test_the_proxy_drains(way):
    """SIGTERM: the call that runs ends well, and then the proxy does."""
    gate = Gate()

    def stream(request, _):
        yield request
        gate.pass_through()
        yield b"done"

    replies = way("unary_stream", stream)(b"x")
    assert next(replies) == b"x"
    way.program.process.terminate()
    way.program.expect(rb"draining connections=1")
    gate.set()
    assert list(replies) == [b"done"]
    assert way.program.wait(timeout=DEADLINE) == 0


def test_error_status(way):
    """A status after messages, with a message that has to be percent-encoded, and trailing metadata."""
    text = "größer als 100 %\n終わり"

    def fail(request, context):
        yield request
        context.set_trailing_metadata([("why", "because")])
        context.abort(Code.FAILED_PRECONDITION, text)

    replies = way("unary_stream", fail)(b"x")
    assert next(replies) == b"x"
    with failure(Code.FAILED_PRECONDITION):
        next(replies)
    assert replies.details() == text
    assert values(replies.trailing_metadata(), "why") == ["because"]


def test_status_details(way):
    """google.rpc.Status, with a detail of its own, in `grpc-status-details-bin`."""
    detail = Any()
    detail.Pack(message(bytes(range(256))))
    status = Status(code=Code.RESOURCE_EXHAUSTED.value[0], message="no more", details=[detail] * 3)
    call = way("unary_unary", lambda _, context: context.abort_with_status(rpc_status.to_status(status)))
    with failure(Code.RESOURCE_EXHAUSTED) as raised:
        call(b"x")
    assert rpc_status.from_call(raised.value) == status


def test_unimplemented(way):
    """A method that the origin does not have."""
    way("unary_unary", lambda request, _: request)
    with failure(Code.UNIMPLEMENTED):
        way.caller("unary_unary", method="/ringress.test.Calls/Other")(b"x")


def test_failure_while_the_client_sends(way):
    """The origin fails a call whose client is not done: the client hears it, and with what."""
    ended = Gate()

    def fail(requests, context):
        next(requests)
        context.abort(Code.OUT_OF_RANGE, "enough")

    def messages():
        yield b"first"
        ended.pass_through()

    with failure(Code.OUT_OF_RANGE) as raised:
        way("stream_unary", fail)(messages())
    ended.set()
    assert raised.value.details() == "enough"


def test_an_origin_that_is_not_there(way):
    """UNAVAILABLE, as a response of trailers only that says who made it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        way.connect(taken.getsockname()[1])
        with failure(Code.UNAVAILABLE) as raised:
            way.caller("unary_unary")(b"x")
    if way.program:
        assert "connection_refused" in values(raised.value.trailing_metadata(), "proxy-status")[0]


@needs_proxy
@pytest.mark.parametrize("way", [(False, True), (True, True)], indirect=True, ids=["h2c-tls", "tls-tls"])
def test_an_origin_that_cannot_be_verified(way, tmp_path):
    """An origin with a certificate of somebody else's is not there either."""
    call = way("unary_unary", lambda request, _: request, "--upstream-ca", Certificates(tmp_path).ca)
    with failure(Code.UNAVAILABLE) as raised:
        call(b"x")
    assert "tls_certificate_error" in values(raised.value.trailing_metadata(), "proxy-status")[0]


def test_an_origin_that_dies_within_a_stream(way, start):
    """What came before it arrives, then an error; a stream that was cut never ends well."""
    files = [way.certificates.cert, way.certificates.key] if way.origin_tls else []
    program = start([sys.executable, pathlib.Path(rpc.__file__), "piece", *files])
    way.connect(int(program.expect(rb"listening on (\d+)\n")[1]))
    replies = way.caller("unary_stream")(b"x")
    assert next(replies) == b"piece"
    program.process.kill()
    with failure(Code.UNAVAILABLE):
        next(replies)


def first_answer(call):
    """What grpcio's server gets between its GOAWAY leaving and arriving it accepts and cancels: nobody's fault here."""
    for _ in range(100):
        replies = call(b"x")
        try:
            return list(replies)
        except grpc.RpcError:
            assert replies.code() is Code.CANCELLED, replies
    raise AssertionError("the old origin goes on getting calls")


def test_an_origin_that_restarts(way):
    """GOAWAY: the call that runs ends well at the old origin, later ones go to the new one and do not fail."""
    gate = Gate()

    def old(request, _):
        yield b"old"
        gate.pass_through()
        yield b"done"

    def new(request, _):
        yield b"new"

    server = way.serve("unary_stream", old)
    way.connect(server.port)
    call = way.caller("unary_stream")
    running = call(b"x")
    assert next(running) == b"old"
    left = server.leave()
    way.serve("unary_stream", new, port=server.port)
    assert first_answer(call) == [b"new"]
    for _ in range(20):
        assert list(call(b"x")) == [b"new"]
    gate.set()
    assert list(running) == [b"done"]
    assert left.wait(DEADLINE)
    assert list(call(b"x")) == [b"new"]


@needs_proxy
def test_an_origin_that_comes_back(way):
    """It was stopped between two calls, and is there again for the next but one."""
    server = way.serve("unary_unary", lambda request, _: request)
    way.connect(server.port)
    call = way.caller("unary_unary")
    assert call(b"one") == b"one"
    server.close()
    with failure(Code.UNAVAILABLE):
        call(b"two")
    way.serve("unary_unary", lambda request, _: request, port=server.port)
    assert call(b"three") == b"three"
