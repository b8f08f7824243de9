"""Whether a proxy answers: one request, in the protocol that its listener speaks."""

import http.client
import socket
import ssl
import struct

# RFC 9113 §3.4: the preface, and SETTINGS without a setting.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
HEADERS, GOAWAY = 1, 7
END_STREAM, END_HEADERS = 0x1, 0x4
SECONDS_MAX = 1.0
BODY_BYTES = 100
# A response to a request so small: a greeting, a head, a body.
ANSWER_BYTES_MAX = 1 << 16


def answers(port, setting, certificate):
    """True when the request was answered with 200. A gRPC call is sent whole, so its answer ends too."""
    try:
        if setting.http2:
            return http2(port, "POST" if setting.grpc else "GET")
        return http1(port, certificate if setting.tls else None)
    except (OSError, http.client.HTTPException):
        return False


def http1(port, certificate):
    if certificate:
        context = ssl.create_default_context(cafile=certificate.chain)
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=SECONDS_MAX, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS_MAX)
    try:
        connection.request("GET", f"/bytes/{BODY_BYTES}")
        response = connection.getresponse()
        return response.status == 200 and len(response.read()) == BODY_BYTES
    finally:
        connection.close()


def http2(port, method):
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX) as connection:
        connection.sendall(PREFACE + frame(HEADERS, END_STREAM | END_HEADERS, 1, head(method)))
        got = b""
        while len(got) < ANSWER_BYTES_MAX and (more := connection.recv(1 << 14)):
            got += more
            seen = list(frames(got))
            if any(kind == GOAWAY for kind, *_ in seen):
                return False
            mine = [(kind, flags, payload) for kind, flags, stream, payload in seen if stream == 1]
            if any(kind <= HEADERS and flags & END_STREAM for kind, flags, _ in mine):
                return is_ok(next((payload for kind, _, payload in mine if kind == HEADERS), b""))
    return False


def head(method):
    """HPACK without the dynamic table: places of the static one, and literals."""
    fields = b"\x82\x86" if method == "GET" else b"\x83\x86"
    fields += literal(b"\x04", f"/bytes/{BODY_BYTES}") + literal(b"\x01", "bench.test")
    if method == "POST":
        fields += literal(literal(b"\0", "content-type"), "application/grpc") + literal(literal(b"\0", "te"), "trailers")
    return fields


def literal(before, text):
    return before + bytes([len(text)]) + text.encode()


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def frames(got):
    """Every whole frame: type, flags, stream, payload."""
    while len(got) >= 9:
        length = int.from_bytes(got[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", got[3:9])
        if len(got) < 9 + length:
            return
        yield kind, flags, stream & 0x7FFFFFFF, got[9:9 + length]
        got = got[9 + length:]


def is_ok(block):
    """:status 200 is a place of the static table; changes of the dynamic table's size may come before."""
    return next((byte for byte in block if byte & 0xE0 != 0x20), None) == 0x88
