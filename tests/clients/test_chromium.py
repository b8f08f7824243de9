"""A browser: Chromium, driven by its DevTools protocol, on the page of `--demo`."""

import contextlib
import itertools
import json

import pytest
from websockets.sync.client import connect

from origin import DEADLINE

# With a sandbox it does not start as root, nor in most containers; the certificate is another test's.
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
FLAGS += ["--ignore-certificate-errors", "--no-proxy-server", "--remote-debugging-port=0"]
LOADED = """new Promise((resolve) => {
    if (document.readyState === 'complete') resolve();
    else addEventListener('load', () => resolve());
})"""
WEBSOCKET = """new Promise((resolve, reject) => {
    const socket = new WebSocket(`wss://${location.host}/ws`);
    socket.onopen = () => socket.send('over HTTP/2');
    socket.onmessage = ({ data }) => { socket.close(); resolve(data); };
    socket.onerror = () => reject('the WebSocket failed');
})"""
PROTOCOL = "performance.getEntriesByType('navigation')[0].nextHopProtocol"


class Page:
    """One page of a browser."""

    def __init__(self, connection):
        self.connection = connection
        self.numbers = itertools.count()
        self.session = {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = {"sessionId": attached["sessionId"]}

    def call(self, method, **params):
        """The result of a command."""
        number = next(self.numbers)
        self.connection.send(json.dumps({"id": number, "method": method, "params": params, **self.session}))
        while (answer := json.loads(self.connection.recv(DEADLINE))).get("id") != number:
            pass  # an event
        assert "error" not in answer, answer
        return answer["result"]

    def load(self, url):
        """Loads a page to its end."""
        answer = self.call("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        self.evaluate(LOADED)

    def evaluate(self, expression):
        """The value of an expression, or of the promise that it is."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")


@contextlib.contextmanager
def browsing(start, folder, flags):
    """A browser, as the connection that drives it."""
    browser = start(["chromium", *flags, f"--user-data-dir={folder}/profile", "about:blank"])
    address = browser.expect(rb"DevTools listening on (ws://\S+)", timeout=30)[1].decode()
    with connect(address, proxy=None, open_timeout=DEADLINE, max_size=None) as connection:
        yield connection
        connection.send(json.dumps({"id": -1, "method": "Browser.close"}))
        browser.wait()


@pytest.fixture
def page(start, tmp_path):
    """A page of a browser that is started for it."""
    with browsing(start, tmp_path, FLAGS) as connection:
        yield Page(connection)


def test_a_websocket_shares_the_connection_of_its_page(secure, page):
    """Chromium opens a WebSocket over HTTP/2 (RFC 8441) only on a connection that it has, and that offers it."""
    proxy = secure(None, "--access-log", "-")
    page.load(proxy.secure_url + "/")
    assert page.evaluate(PROTOCOL) == "h2"
    assert page.evaluate(WEBSOCKET) == "over HTTP/2"
    log = proxy.program.out
    loaded = proxy.program.expect(rb" client=(\S+) .* path=/ proto=HTTP/2.0 status=200 ", among=[log])
    tunnel = proxy.program.expect(rb" client=(\S+) .* path=/ws proto=HTTP/2.0 .* tunnel=true ", among=[log])
    assert loaded[1] == tunnel[1], "on connections of their own"
