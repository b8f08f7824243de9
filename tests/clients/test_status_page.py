"""The status page in Chromium: live figures under load, on a phone, in the dark, while draining.

With RINGRESS_SCREENSHOT=docs/status-page.png, the first test leaves a picture of the page there. Take it of a release build
(RINGRESS_BIN).
"""

import base64
import contextlib
import json
import os
import pathlib
import signal
import urllib.request

import pytest

from conftest import needs_proxy
from origin import DEADLINE
from test_chromium import FLAGS, Page, browsing

pytestmark = needs_proxy

SCREENSHOT = os.environ.get("RINGRESS_SCREENSHOT")
LOAD_S = 60 if SCREENSHOT else 25
# Resolves once the page has drawn what an expression accepts, after each snapshot.
UNTIL = """new Promise((resolve, reject) => {
    const accepted = () => { try { return %s; } catch { return false; } };
    const watch = new MutationObserver(() => accepted() && resolve(true));
    watch.observe(document.body, { attributes: true, attributeFilter: ['data-seen'] });
    setTimeout(() => reject(document.body.innerText), %d000);
    if (accepted()) resolve(true);
})"""


class Watched(Page):
    """A page whose complaints are kept."""

    def __init__(self, connection):
        self.complaints = []
        super().__init__(connection)
        for domain in ("Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        number = next(self.numbers)
        self.connection.send(json.dumps({"id": number, "method": method, "params": params, **self.session}))
        while (answer := json.loads(self.connection.recv(LOAD_S + DEADLINE))).get("id") != number:
            self.hear(answer.get("method"), answer.get("params", {}))
        assert "error" not in answer, answer
        return answer["result"]

    def hear(self, event, params):
        said = event == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert")
        logged = event == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning")
        if said or logged or event == "Runtime.exceptionThrown":
            self.complaints.append(params)

    def until(self, accepted, seconds=DEADLINE):
        """Waits for it."""
        self.evaluate(UNTIL % (accepted, seconds))

    def picture(self, path):
        shot = self.call("Page.captureScreenshot", format="png", optimizeForSpeed=False)
        pathlib.Path(path).write_bytes(base64.b64decode(shot["data"]))


@pytest.fixture
def page(start, tmp_path):
    """A page of a browser that is started for it."""
    flags = [flag for flag in FLAGS if flag != "--ignore-certificate-errors"]
    with browsing(start, tmp_path, flags) as connection:
        yield Watched(connection)


CONFIG = """
[groups.demo]
upstreams = ["127.0.0.1:PORT"]
[[route]]
name = "pages"
group = "demo"
[[route]]
name = "downloads"
path = "/bytes"
group = "demo"
[[route]]
name = "events"
path = "/sse"
group = "demo"
"""


@pytest.fixture
def served(ringress, tmp_path):
    """Three routes to a demo, with a status page: the proxy, and the page's URL."""
    demo = ringress(None, "--demo", "--access-log", "off", workers=1)
    file = tmp_path / "ringress.toml"
    file.write_text(CONFIG.replace("PORT", str(demo.port)))
    proxy = ringress(None, "--config", file, "--admin", "127.0.0.1:0", "--access-log", "off")
    address = proxy.program.expect(rb"ringress admin on (\S+)")[1].decode()
    return proxy, f"http://{address}/"


def total(name):
    """The text of a total, as an expression."""
    return f"document.querySelector('[data-total=\"{name}\"]').textContent"


def figure(route, name):
    """The text of a route's figure, as an expression."""
    return f"document.querySelector('[data-route={route}] [data-value={name}]').textContent"


def points(route, chart):
    """How many points the line of a route's chart has, as an expression."""
    line = f"document.querySelector('[data-route={route}] [data-chart={chart}] polyline')"
    return f"{line}.getAttribute('points').split(' ').length"


@pytest.mark.timeout(200)
def test_figures_are_live_under_load(served, page, start):
    """Requests of wrk and streams are seen in the figures and lines of their routes, and the browser complains of nothing."""
    proxy, url = served
    with contextlib.ExitStack() as streams:
        for _ in range(3):
            stream = streams.enter_context(urllib.request.urlopen(proxy.url + "/sse", timeout=DEADLINE))
            stream.read(1)
        for clients, path in ((4, "/"), (2, "/bytes/300000")):
            start(["wrk", "-t1", f"-c{clients}", f"-d{LOAD_S}s", proxy.url + path])
        page.call("Emulation.setDeviceMetricsOverride", width=1180, height=965, deviceScaleFactor=1, mobile=False)
        page.load(url)
        page.until("document.querySelector('#state').textContent === 'running'")
        page.until(f"parseFloat({total('requests/s')}) > 10")
        page.until(f"{total('active streams')} === '3' && {figure('events', 'streams')} === '3'")
        page.until(f"{figure('pages', 'streams')} === '0' && {figure('downloads', 'streams')} === '0'")
        page.until(f"{points('pages', 'rate')} >= 4 && {points('events', 'gap')} >= 2")
        rows = "document.querySelectorAll('#%s tr').length"
        assert page.evaluate(rows % "workers") == 2 and page.evaluate(rows % "endpoints") == 1
        if SCREENSHOT:
            page.call("Emulation.setScrollbarsHidden", hidden=True)
            page.until(f"{points('pages', 'rate')} >= {LOAD_S * 3 // 4}", LOAD_S)
            page.picture(SCREENSHOT)
    page.until(f"{total('active streams')} === '0'")
    assert page.complaints == []


@pytest.mark.timeout(120)
def test_a_phone_in_the_dark_has_it_all(served, page):
    """Nothing is wider than the screen, and colours follow the device."""
    _, url = served
    ground = "getComputedStyle(document.body).backgroundColor"
    page.call("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    page.load(url)
    page.until("Number(document.body.dataset.seen) >= 2")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    light = page.evaluate(ground)
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert page.evaluate(ground) != light
    assert page.complaints == []


@pytest.mark.timeout(120)
def test_a_drain_has_a_banner(served, page):
    """It is there while a stream is waited for, and gone figures are told as such when the process has ended."""
    proxy, url = served
    page.load(url)
    page.until("document.querySelector('#state').textContent === 'running'")
    assert page.evaluate("document.querySelector('#banner').hidden")
    with urllib.request.urlopen(proxy.url + "/sse", timeout=DEADLINE) as stream:
        stream.read(1)
        os.kill(proxy.program.pid, signal.SIGTERM)
        page.until("!document.querySelector('#banner').hidden")
        assert page.evaluate("document.querySelector('#state').textContent") == "draining"
        assert page.complaints == []
    assert proxy.program.wait() == 0
    gone = "document.querySelector('#state').textContent === 'no connection'"
    page.evaluate(f"new Promise((resolve) => {{ const look = () => ({gone}) ? resolve() : setTimeout(look, 50); look(); }})")


@pytest.mark.timeout(120)
def test_a_page_from_elsewhere_can_neither_read_nor_order(served, page, ringress):
    """The demo's page is another origin: what it sends is refused, and what it gets it cannot read."""
    proxy, url = served
    page.load(proxy.url + "/")
    tried = "fetch('%s%s', %s).then((it) => it.status, () => 'refused')"
    assert page.evaluate(tried % (url, "config", "{}")) == "refused"
    assert page.evaluate(tried % (url, "drain", "{ method: 'POST' }")) == "refused"
    assert page.evaluate(tried % (url, "drain", "{ method: 'POST', mode: 'no-cors' }")) == 0  # opaque
    with urllib.request.urlopen(url + "readyz", timeout=DEADLINE) as ready:
        assert ready.status == 200, "it drains"
