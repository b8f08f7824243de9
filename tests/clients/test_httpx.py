"""httpx as the client: reuse of connections, streams both ways, many requests at once."""

import asyncio
import threading

import httpx

from origin import DEADLINE, Gate

OPTIONS = {"trust_env": False, "timeout": DEADLINE}


def test_one_connection_serves_many_requests(origin, ringress):
    """Reuse on both sides: one client connection, and no more upstream connections than workers."""
    server = origin(lambda request: request.reply(request.body() or b"empty"))
    proxy = ringress(server.port, workers=2)
    ports = set()
    with httpx.Client(**OPTIONS) as client:
        for number in range(50):
            body = b"x" * number
            reply = client.post(proxy.url, content=body)
            assert (reply.status_code, reply.content) == (200, body or b"empty")
            ports.add(reply.extensions["network_stream"].get_extra_info("client_addr")[1])
    assert len(ports) == 1
    assert server.accepted == 1  # one client connection lives on one worker, which has one pool


def test_a_download_is_seen_piece_by_piece(origin, ringress):
    """The origin sends a piece only after the client has read the one before."""
    gates = [Gate() for _ in range(5)]

    def handle(request):
        request.stream_head("text/plain")
        for number, gate in enumerate(gates):
            request.piece(b"piece %d" % number)
            gate.pass_through()
        request.end()

    url = ringress(origin(handle).port).url
    with httpx.Client(**OPTIONS) as client, client.stream("GET", url) as reply:
        pieces = []
        for piece in reply.iter_raw():
            pieces.append(piece)
            gates[len(pieces) - 1].set()
    assert pieces == [b"piece %d" % number for number in range(5)]


def test_an_upload_is_seen_piece_by_piece(origin, ringress):
    """The client makes a piece only after the origin has read the one before."""
    gates = [Gate() for _ in range(5)]

    def handle(request):
        count = 0
        for count, piece in enumerate(request.pieces(), 1):
            assert piece == b"piece %d" % (count - 1)
            gates[count - 1].set()
        request.reply(b"%d" % count)

    def body():
        for number, gate in enumerate(gates):
            yield b"piece %d" % number
            gate.pass_through()

    url = ringress(origin(handle).port).url
    with httpx.Client(**OPTIONS) as client:
        assert client.post(url, content=body()).content == b"5"


def test_two_hundred_requests_at_once(origin, ringress):
    """All are with the origin together before it answers any, and each gets its own answer."""
    everyone = threading.Barrier(200)

    def handle(request):
        everyone.wait(DEADLINE)
        request.reply(request.target.encode())

    url = ringress(origin(handle).port).url

    async def fetch_all():
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(limits=limits, **OPTIONS) as client:
            return await asyncio.gather(*(client.get(f"{url}/{number}") for number in range(200)))

    replies = asyncio.run(fetch_all())
    assert [reply.text for reply in replies] == [f"/{number}" for number in range(200)]
    assert {reply.status_code for reply in replies} == {200}


def test_a_client_that_leaves_frees_the_origin(origin, ringress):
    """Closing a stream half-way ends the origin's connection too."""
    left = Gate()

    def handle(request):
        request.stream_head()
        request.piece(b"data: hello\n\n")
        request.connection.socket.recv(1)  # ends when the proxy closes
        left.set()
        request.keep_alive = False

    url = ringress(origin(handle, forgiving=True).port).url
    with httpx.Client(**OPTIONS) as client, client.stream("GET", url) as reply:
        assert next(reply.iter_raw()) == b"data: hello\n\n"
        reply.close()
        left.pass_through(2)
