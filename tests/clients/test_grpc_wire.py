"""What gRPC looks like on the wire, with clients that know nothing of it: nothing is added, taken or held back."""

import gzip
import random
import ssl
import struct

import grpc
import httpx

import rpc
from origin import DEADLINE, Gate
from rpc import message

FIELDS = {"content-type": "application/grpc", "te": "trailers"}


def frame(content, flags=0):
    """A message with its prefix, which gRPC and gRPC-Web share."""
    return struct.pack(">BI", flags, len(content)) + content


def post(way, content, fields=(), method=rpc.METHOD):
    """One call as a bare request over HTTP/2, and the bare response."""
    options = {"http1": False, "http2": True, "trust_env": False, "timeout": DEADLINE}
    context = ssl.create_default_context(cafile=way.certificates.ca)
    with httpx.Client(verify=context, **options) as client:
        return client.post(way.url + method, content=content, headers={**FIELDS, **dict(fields)})


def test_messages_keep_their_compression(way):
    """A compressed message arrives as one, and is answered by one: nothing on the way unpacks it."""
    content = b"compress me " * 1000
    seen = []

    def reply(request, context):
        seen.append(request)
        context.set_compression(grpc.Compression.Gzip)
        return request

    way("unary_unary", reply)
    packed = gzip.compress(message(content).SerializeToString())
    answer = post(way, frame(packed, 1), {"grpc-encoding": "gzip", "grpc-accept-encoding": "gzip"})
    assert seen == [content]
    assert answer.headers["grpc-encoding"] == "gzip"
    flags, length = struct.unpack(">BI", answer.content[:5])
    assert (flags, length) == (1, len(answer.content) - 5)
    assert gzip.decompress(answer.content[5:]) == message(content).SerializeToString()


def test_a_response_of_trailers_only(way):
    """Its status comes in the head: what httpx shows of trailers is nothing."""
    way("unary_unary", lambda request, _: request)
    answer = post(way, frame(b""), method="/ringress.test.Calls/Other")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["grpc-status"] == str(grpc.StatusCode.UNIMPLEMENTED.value[0])
    assert "grpc-status" not in post(way, frame(b"")).headers


def test_grpc_web_streams(origin, ringress):
    """gRPC-Web over HTTP/1.1, trailers in the body: each frame is read before the next is sent, byte for byte."""
    frames = [frame(random.Random(7).randbytes(1000)), frame(b"second"), frame(b"grpc-status: 0\r\n", 0x80)]
    gates = [Gate() for _ in frames]
    request_body = frame(b"request")
    kind = "application/grpc-web+proto"

    def handle(request):
        assert request.field("content-type") == kind and request.field("x-grpc-web") == "1"
        assert request.body() == request_body
        request.stream_head(kind)
        for content, gate in zip(frames, gates):
            request.piece(content)
            gate.pass_through()
        request.end()

    url = ringress(origin(handle).port).url + rpc.METHOD
    fields = {"content-type": kind, "x-grpc-web": "1"}
    received = b""
    with httpx.Client(trust_env=False, timeout=DEADLINE) as client:
        with client.stream("POST", url, content=request_body, headers=fields) as answer:
            assert answer.headers["content-type"] == kind
            for piece in answer.iter_raw():
                received += piece
                for count, gate in enumerate(gates, 1):
                    if len(received) >= len(b"".join(frames[:count])):
                        gate.set()
    assert received == b"".join(frames)
