"""gRPC through the proxy, by grpcio on both sides: calls that succeed, and everything they carry."""

import concurrent.futures
import json
import queue
import random
import threading

import grpc

from origin import DEADLINE, Gate
from rpc import values
from test_memory import settled

MIB = 1 << 20
RETRY_POLICY = {
    "maxAttempts": 5,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
RETRIES = {"methodConfig": [{"name": [{}], "retryPolicy": RETRY_POLICY}]}


def echo(request, _):
    return request


def test_unary(way):
    """A request and its answer; an empty message is one too."""
    call = way("unary_unary", lambda request, _: request.upper())
    assert call(b"hello") == b"HELLO"
    assert call(b"") == b""


def test_server_streaming(way):
    """Each message is read before the origin sends the next; a stream without any ends well too."""
    gates = [Gate() for _ in range(5)]

    def count(request, _):
        for number in range(int(request)):
            yield b"%d" % number
            gates[number].pass_through()

    call = way("unary_stream", count)
    received = []
    for content in call(b"5"):
        received.append(content)
        gates[int(content)].set()
    assert received == [b"0", b"1", b"2", b"3", b"4"]
    assert list(call(b"0")) == []


def test_client_streaming(way):
    """The client sends a message only after the origin has read the one before; the end is seen as one."""
    gates = [Gate() for _ in range(5)]

    def join(requests, _):
        received = []
        for number, content in enumerate(requests):
            received.append(content)
            gates[number].set()
        return b" ".join(received)

    def messages():
        for number, gate in enumerate(gates):
            yield b"%d" % number
            gate.pass_through()

    call = way("stream_unary", join)
    assert call(messages()) == b"0 1 2 3 4"
    assert call(iter(())) == b""


def test_bidirectional(way):
    """The first answer arrives before the client's second message leaves; half-close ends only the client's side."""

    def answer(requests, _):
        for content in requests:
            yield b"heard " + content
        yield b"bye"

    call = way("stream_stream", answer)
    outbox = queue.SimpleQueue()
    replies = call(iter(outbox.get, None))
    for content in (b"one", b"two", b"three"):
        outbox.put(content)
        assert next(replies) == b"heard " + content
    outbox.put(None)
    assert list(replies) == [b"bye"]
    assert replies.code() is grpc.StatusCode.OK


def test_response_head_comes_first(way):
    """The origin's metadata arrives while it has sent no message and the client's side is open."""
    gate = Gate()

    def wait(requests, context):
        context.send_initial_metadata([("early", "yes")])
        gate.pass_through()
        yield from requests

    call = way("stream_stream", wait)
    outbox = queue.SimpleQueue()
    replies = call(iter(outbox.get, None))
    assert values(replies.initial_metadata(), "early") == ["yes"]
    gate.set()
    outbox.put(b"late")
    assert next(replies) == b"late"
    outbox.put(None)
    assert list(replies) == []


def test_answer_before_the_request_ends(way):
    """An origin that has heard enough: its answer and status are the call's, although the client still sends."""
    ended = Gate()

    def first(requests, context):
        return next(requests)

    def messages():
        yield b"first"
        ended.pass_through()

    call = way("stream_unary", first)
    assert call(messages()) == b"first"
    ended.set()


def test_metadata(way):
    """Initial both ways and trailing: text, binary of every byte, repeated keys in order, and the deadline."""
    every_byte = bytes(range(256))
    sent = [("word", "plain"), ("many", "b"), ("many", "a"), ("data-bin", every_byte), ("data-bin", b""), ("data-bin", b"\0")]
    seen = {}

    def reply(request, context):
        metadata = context.invocation_metadata()
        seen.update({name: values(metadata, name) for name, _ in sent}, left=context.time_remaining())
        context.send_initial_metadata(sent)
        context.set_trailing_metadata([(f"last-{name}", value) for name, value in sent])
        return request

    answer, call = way("unary_unary", reply).with_call(b"x", metadata=sent, timeout=15)
    assert answer == b"x"
    expected = {"word": ["plain"], "many": ["b", "a"], "data-bin": [every_byte, b"", b"\0"]}
    assert 10 < seen.pop("left") < 16  # grpcio rounds it up
    assert seen == expected
    for name, contents in expected.items():
        assert values(call.initial_metadata(), name) == contents
        assert values(call.trailing_metadata(), f"last-{name}") == contents


def test_large_messages(way):
    """4 MiB each way, all at once and in a stream."""
    content = random.Random(4).randbytes(4 * MIB)
    call = way("stream_stream", lambda requests, _: requests)
    assert list(call(iter([content, b"small", content]))) == [content, b"small", content]


def test_compression(way):
    """Both sides compress what they send."""
    content = b"compress me " * 20_000

    def reply(request, context):
        context.set_compression(grpc.Compression.Gzip)
        return request

    call = way("unary_unary", reply)
    assert call(content, compression=grpc.Compression.Gzip) == content
    assert call(content, compression=grpc.Compression.Deflate) == content


def test_many_calls_share_one_connection(way):
    """The origin sees all calls of one channel on one connection."""
    peers = set()

    def reply(request, context):
        peers.add(context.peer())
        return request

    call = way("unary_unary", reply)
    for number in range(200):
        assert call(b"%d" % number) == b"%d" % number
    assert len(peers) == 1


def test_two_hundred_calls_at_once(way):
    """All are with the origin together before it answers any, and each gets its own answer."""
    everyone = threading.Barrier(200)

    def reply(request, _):
        everyone.wait(DEADLINE)
        return request

    callers = [way("unary_unary", reply), *(way.caller("unary_unary") for _ in range(3))]
    contents = [b"%d" % number for number in range(200)]
    waiting = [callers[number % 4].future(content) for number, content in enumerate(contents)]
    assert [each.result(DEADLINE) for each in waiting] == contents


def test_more_streams_than_a_connection_takes(way):
    """150 conversations on one channel, a hundred of them open at once; the others follow as these end."""
    arrived = []
    together = Gate()

    def answer(requests, _):
        for content in requests:
            arrived.append(content)
            if len(arrived) >= 100:
                together.set()
            together.pass_through()
            yield content

    call = way("stream_stream", answer)
    contents = [b"%d" % number for number in range(150)]
    # Each is read at once: for grpcio a stream is open until it is read to its end.
    with concurrent.futures.ThreadPoolExecutor(len(contents)) as readers:
        replies = list(readers.map(lambda content: list(call(iter([content]))), contents))
    assert replies == [[content] for content in contents]


def test_an_origin_that_takes_few_streams(way):
    """A hundred calls at once to an origin that allows eight on a connection: with the usual retries all succeed.

    Without retries grpcio loses some, also without a proxy: its server goes on counting streams that it has ended.
    """
    server = way.serve("unary_unary", echo, options={"grpc.max_concurrent_streams": 8})
    way.connect(server.port)
    call = way.caller("unary_unary", settings={"grpc.service_config": json.dumps(RETRIES)})
    contents = [b"%d" % number for number in range(100)]
    waiting = [call.future(content) for content in contents]
    assert [each.result(DEADLINE) for each in waiting] == contents


def test_a_slow_reader_holds_the_origin_back(way):
    """A client that does not read stops the origin, and gets everything when it reads again."""
    content = random.Random(5).randbytes(MIB)
    sent = []

    def stream(request, context):
        for _ in range(int(request)):
            sent.append(None)
            yield content

    call = way("unary_stream", stream)
    replies = call(b"16")
    assert next(replies) == content
    assert settled(lambda: len(sent), 0.3) < 16
    assert all(reply == content for reply in replies)
    assert len(sent) == 16


def test_streams_nobody_reads_hold_no_other_up(way):
    """Fifty calls of one channel are full and unread; a call beside them is answered all the same, and so are they."""
    content = random.Random(6).randbytes(MIB // 4)

    def stream(request, _):
        yield from [content] * int(request)

    call = way("unary_stream", stream)
    unread = [call(b"2") for _ in range(50)]
    for replies in unread:
        replies.initial_metadata()  # it has begun
    assert list(call(b"1")) == [content]
    assert list(unread[0]) == [content] * 2
    for replies in unread:
        replies.cancel()
