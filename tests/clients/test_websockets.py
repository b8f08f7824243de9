"""Python's `websockets` on both ends, and Node's `ws` on one: tunnels after 101."""

import threading

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve

DEADLINE = 20


@pytest.fixture
def websocket_origin():
    """Starts a WebSocket server: `websocket_origin(handler)` is its port."""
    servers = []

    def run(handle):
        server = serve(handle, "127.0.0.1", 0, max_size=None)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        servers.append((server, thread))
        return server.socket.getsockname()[1]

    yield run
    for server, thread in servers:
        server.shutdown()
        thread.join(DEADLINE)


def echo(connection):
    """Sends everything back."""
    for message in connection:
        connection.send(message)


def dial(proxy, **options):
    """A client through the proxy, with no proxy of the environment's in between."""
    return connect(f"ws://{proxy.authority}/chat", proxy=None, open_timeout=DEADLINE, max_size=None, **options)


def test_echo(websocket_origin, ringress):
    """Text and bytes, in order."""
    with dial(ringress(websocket_origin(echo))) as client:
        for message in ["hello", "grüße", b"\x00\xff", "", "bye"]:
            client.send(message)
            assert client.recv(DEADLINE) == message


def test_ping_and_pong_from_either_side(websocket_origin, ringress):
    """Control frames pass in both directions."""

    def handle(connection):
        assert connection.ping().wait(DEADLINE)
        connection.send("the server's ping was answered")
        connection.recv(DEADLINE)

    with dial(ringress(websocket_origin(handle))) as client:
        assert client.ping().wait(DEADLINE)
        assert client.recv(DEADLINE) == "the server's ping was answered"
        client.send("done")


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_message_of_one_mebibyte(websocket_origin, ringress, compression):
    """A message larger than any buffer; with the extension too, since the handshake passes unchanged."""
    message = bytes(range(256)) * 4096
    with dial(ringress(websocket_origin(echo)), compression=compression) as client:
        client.send(message)
        assert client.recv(DEADLINE) == message


def test_the_client_closes(websocket_origin, ringress):
    """Its code and reason reach the server."""
    seen = []
    closed = threading.Event()

    def handle(connection):
        with pytest.raises(ConnectionClosed):
            connection.recv(DEADLINE)
        seen.append((connection.close_code, connection.close_reason))
        closed.set()

    with dial(ringress(websocket_origin(handle))) as client:
        client.close(4001, "had enough")
        assert client.close_code == 4001
    assert closed.wait(DEADLINE) and seen == [(4001, "had enough")]


def test_the_server_closes(websocket_origin, ringress):
    """Its code and reason reach the client."""
    with dial(ringress(websocket_origin(lambda connection: connection.close(4002, "going")))) as client:
        with pytest.raises(ConnectionClosed):
            client.recv(DEADLINE)
        assert (client.close_code, client.close_reason) == (4002, "going")


def test_a_refused_handshake_is_a_plain_response(origin, ringress):
    """Without 101 there is no tunnel, and the origin's status reaches the client."""
    from websockets.exceptions import InvalidStatus

    proxy = ringress(origin(lambda request: request.reply(b"no", status="403 Forbidden")).port)
    with pytest.raises(InvalidStatus) as refused:
        dial(proxy)
    assert refused.value.response.status_code == 403


def test_node_ws_as_origin(node_origin, ringress):
    """Another implementation behind the same tunnel."""
    with dial(ringress(node_origin("ws-origin.cjs"))) as client:
        client.send("over to node")
        assert client.recv(DEADLINE) == "over to node"
        client.send(b"\x01" * 100_000)
        assert client.recv(DEADLINE) == b"\x01" * 100_000
