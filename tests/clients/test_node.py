"""Node on either side: its `http` server with the keep-alive of 5 s, and `eventsource` as a client."""

import concurrent.futures
import json
import threading
import time

import httpx
import pytest

from conftest import needs_proxy
from origin import DEADLINE, Gate

# The client's own connection must not expire before the upstream one.
OPTIONS = {"trust_env": False, "timeout": DEADLINE, "limits": httpx.Limits(keepalive_expiry=None)}
# Node says 5 s and, since it allows for a late timer, closes after 5 or 6 depending on its version.
IDLE_SECONDS = [3.95, 4.0, 4.05, 4.95, 5.0, 5.05, 5.95, 6.0, 6.05]
LANES = 3


def post(client, url):
    """Number of the upstream connection that served a POST, which no proxy may send twice."""
    reply = client.post(url + "/connection", content=b"x" * 100)
    assert reply.status_code == 200, f"{reply.status_code} {reply.text}"
    assert reply.json()["bytes"] == 100
    return reply.json()["connection"]


@needs_proxy
@pytest.mark.timeout(120)
def test_idle_upstream_connections_never_fail_a_request(node_origin, ringress):
    """Requests come just before, at and after the moment Node closes, on proxies of their own, all at once."""
    port = node_origin("http-origin.cjs")
    urls = {idle: ringress(port, workers=1).url for idle in IDLE_SECONDS}

    def visit(idle):
        with httpx.Client(**OPTIONS) as client:
            post(client, urls[idle])
            for _ in range(3):
                time.sleep(idle)  # the idle time is what this test is about
                post(client, urls[idle])

    with concurrent.futures.ThreadPoolExecutor(len(IDLE_SECONDS) * LANES) as pool:
        lanes = {pool.submit(visit, idle): idle for idle in IDLE_SECONDS for _ in range(LANES)}
        failed = [(lanes[lane], lane.exception()) for lane in lanes if lane.exception()]
    assert not failed


@needs_proxy
def test_a_fresh_upstream_connection_is_reused(node_origin, ringress):
    """The margin before Node's 5 s does not cost reuse a second after a request."""
    url = ringress(node_origin("http-origin.cjs"), workers=1).url
    with httpx.Client(**OPTIONS) as client:
        first = post(client, url)
        time.sleep(1)
        assert post(client, url) == first


def test_flushed_headers_arrive_alone(node_origin, ringress):
    """`flushHeaders()` is a promise to the client; the body follows when the handler goes on."""
    url = ringress(node_origin("http-origin.cjs")).url
    with httpx.Client(**OPTIONS) as client, client.stream("GET", url + "/held") as reply:
        assert reply.status_code == 200  # the head is here, the handler has sent nothing else
        assert httpx.get(url + "/release", trust_env=False).text == "released"
        assert reply.read() == b"first last"


def test_trailers_both_ways(node, node_origin, ringress):
    """Up with the request, down with the response."""
    client = node("trailers-client.cjs", ringress(node_origin("http-origin.cjs")).url + "/trailers")
    assert json.loads(client.run()) == {"status": 200, "body": "payload", "trailers": {"x-sum": "42"}}


def test_eventsource_is_live_and_reconnects(node, origin, ringress):
    """Events arrive while the handler is open; after the end the client comes back where it was."""
    gates = [Gate() for _ in range(3)]
    resumed_after = []
    visits = iter(range(3))
    lock = threading.Lock()

    def handle(request):
        with lock:
            visit = next(visits, None)
        if visit is None:
            return request.reply(status="204 No Content")  # tells an EventSource to stop
        resumed_after.append(request.field("last-event-id"))
        request.stream_head()
        request.piece(b"retry: 50\n\n")
        request.piece(b"id: %d\ndata: visit %d\n\n" % (visit, visit))
        gates[visit].pass_through()
        return request.end()

    client = node("eventsource-client.cjs", ringress(origin(handle).port).url + "/events")
    for visit, gate in enumerate(gates):
        client.expect(b'{"data":"visit %d","lastEventId":"%d"}\n' % (visit, visit))
        gate.set()
    client.expect(rb"error 204")
    assert resumed_after == [None, "0", "1"]
