"""The site of the README: `scripts/two-applications` serves docs/examples/local.toml, and everything it promises is there.

Nothing has a port of its own choosing; the file is the one of the documentation but for those ports.
"""

import http.client
import json
import os
import re
import signal
import sys
import time

import pytest

from conftest import BINARY, NO_PROXY_SETTINGS, ROOT, needs_proxy

pytestmark = needs_proxy

LIMIT = 5  # orders at once
PATIENCE = 20  # seconds, for what takes two on a quiet machine


class Site:
    """The running script, and where it says that things are."""

    def __init__(self, program):
        self.program = program
        self.banner = program.expect(rb"(?s)Two applications.*whenever it changes", timeout=40)[0].decode()
        self.port = int(re.search(r"shop\.localhost:(\d+)", self.banner)[1])
        self.admin_port = int(re.search(r"http://127\.0\.0\.1:(\d+)/ ", self.banner)[1])
        self.file = re.search(r"(\S+) is read again", self.banner)[1]
        self.victim = int(re.search(r"kill (\d+);", self.banner)[1])

    def open(self, host, target, *, method="GET", body=None, port=None):
        """The head of a response, and its connection."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=PATIENCE)
        connection.request(method, target, body=body, headers={"Host": f"{host}:{port or self.port}"})
        return connection, connection.getresponse()

    def ask(self, host, target, **options):
        """A whole response: status, fields, body."""
        connection, response = self.open(host, target, **options)
        body = response.read()
        connection.close()
        return response.status, response.headers, body

    def admin(self, target):
        """Body of a page of the admin listener."""
        status, _, body = self.ask("localhost", target, port=self.admin_port)
        assert status == 200, (status, body)
        return body


@pytest.fixture
def site(start):
    """Runs the script, with ports of its own."""
    script = ROOT / "scripts/two-applications"
    env = {**NO_PROXY_SETTINGS, "RINGRESS_BIN": BINARY}
    return Site(start([sys.executable, script, "--free-ports", "--workers", 2], env=env))


def test_files_of_the_documentation_are_right(start, tmp_path):
    """The one in the README, the one for production, and the one of this site."""
    [shown] = re.findall(r"(?s)```toml\n(.*?)```", (ROOT / "README.md").read_text())
    (tmp_path / "readme.toml").write_text(shown)
    for file in tmp_path / "readme.toml", *sorted((ROOT / "docs/examples").glob("*.toml")):
        assert b"[[route]]" in start([BINARY, "config", "--config", file]).run()


def until(condition):
    """Waits for `condition()`, and gives what it gave."""
    deadline = time.monotonic() + PATIENCE
    while not (met := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)  # between two looks
    return met


def test_both_applications_answer(site):
    """Each host has its own, and nobody else has any."""
    status, fields, page = site.ask("shop.localhost", "/")
    assert (status, b"<h1>Shop</h1>" in page, fields["X-Frame-Options"]) == (200, True, "DENY")
    assert "Server" not in fields
    status, _, items = site.ask("shop.localhost", "/api/items?page=1")
    assert (status, len(json.loads(items)["items"])) == (200, 3)
    status, _, page = site.ask("chat.localhost", "/")
    assert (status, b"<h1>Chat</h1>" in page) == (200, True)
    status, _, body = site.ask("elsewhere.localhost", "/")
    assert (status, body.startswith(b"There is nothing here.")) == (404, True)


def test_what_the_ingress_answers_itself(site):
    """A redirect that keeps host and query, and a fixed response on both hosts."""
    status, fields, _ = site.ask("shop.localhost", "/v1/items?a=b")
    assert (status, fields["Location"]) == (302, "/api/items?a=b")
    for host in "shop.localhost", "chat.localhost":
        status, _, body = site.ask(host, "/robots.txt")
        assert (status, body) == (200, b"User-agent: *\nDisallow: /\n")


def test_one_order_too_many_is_refused(site):
    """As many as the file says, then 429 and when to come back; the rest of the shop is as ever."""

    def order():
        return site.ask("shop.localhost", "/api/orders", method="POST", body='{"item":"hourglass"}')

    answers = [order() for _ in range(LIMIT + 1)]
    assert [status for status, _, _ in answers] == [201] * LIMIT + [429]
    assert int(answers[-1][1]["Retry-After"]) in (1, 2)
    assert site.ask("shop.localhost", "/api/items")[0] == 200


@pytest.mark.parametrize(("host", "target"), [("chat.localhost", "/events"), ("shop.localhost", "/chat/events")])
def test_events_come_one_by_one(site, host, target):
    """Each is there when it is made, long before the stream ends (it never does); below the shop too."""
    connection, response = site.open(host, target)
    assert response.headers["Content-Type"] == "text/event-stream"
    seen = [response.readline() for _ in range(6)]
    assert [line for line in seen if line.startswith(b"id: ")] == [b"id: 0\n", b"id: 1\n"]
    connection.close()


def test_uploads_are_counted(site):
    """With a length and without one."""
    for body in (b"x" * 100_000, iter([b"x" * 60_000, b"x" * 40_000])):
        status, _, counted = site.ask("chat.localhost", "/upload", method="PUT", body=body)
        assert (status, json.loads(counted)["bytes"]) == (200, 100_000)


def test_the_status_page_and_its_neighbours(site):
    """The page, the endpoints it shows, metrics, and readiness."""
    assert b"<html" in site.admin("/").lower()
    groups = {group["name"]: group["endpoints"] for group in json.loads(site.admin("/upstreams"))["groups"]}
    assert {name: len(endpoints) for name, endpoints in groups.items()} == {"shop": 2, "chat": 1}
    assert b'ringress_route_requests_total{route="shop' in site.admin("/metrics")
    assert site.admin("/readyz")


def test_a_shop_that_ends_is_not_missed(site):
    """Its check finds it, and the other one serves."""
    os.kill(site.victim, signal.SIGTERM)

    def states():
        groups = json.loads(site.admin("/upstreams"))["groups"]
        return sorted(it["health"] for it in groups[0]["endpoints"])

    until(lambda: states() == ["down", "up"])
    assert {site.ask("shop.localhost", "/api/items")[0] for _ in range(5)} == {200}


def test_a_file_that_is_changed_is_served(site):
    """What is wrong is said and not served, and what is right is served without a restart."""
    with open(site.file, encoding="utf-8") as file:
        text = file.read()

    def save(new):
        with open(site.file, "w", encoding="utf-8") as file:
            file.write(new)

    save(text.replace('group = "chat"', 'group = "chess"'))
    site.program.expect(rb"cannot load the configuration again", timeout=PATIENCE)
    assert site.ask("chat.localhost", "/")[0] == 200
    save(text.replace("There is nothing here.", "There is something here."))
    until(lambda: site.ask("elsewhere.localhost", "/")[2].startswith(b"There is something here."))


def test_every_line_of_the_banner_works(site, start):
    """As printed: streams until they say something, the others to a successful end."""
    lines = re.findall(r"(?m)^    ((?:curl|head|for) .*)$", site.banner)
    assert len(lines) == 6, site.banner
    for line in lines:
        command = start(["bash", "-c", line])
        if "curl -N" in line:
            command.expect(rb"data: \d\d:", timeout=PATIENCE, among=[command.out])
            command.end()
        else:
            assert command.run(timeout=60), f"no output from: {line}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_everything_ends(site, number):
    """With a stream still open, which is cut when the drain is over; nothing that was started is left."""
    connection, response = site.open("chat.localhost", "/events")
    assert response.readline() == b"id: 0\n"
    with open(f"/proc/{site.program.pid}/task/{site.program.pid}/children", encoding="ascii") as file:
        children = file.read().split()
    assert len(children) == 4, "three applications and the ingress"
    os.kill(site.program.pid, number)
    assert site.program.wait() == 0
    assert not [pid for pid in children if os.path.exists(f"/proc/{pid}")]
    connection.close()
