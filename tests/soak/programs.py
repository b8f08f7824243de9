"""Programs that run beside: the origins, and load in bulk from wrk and h2load."""

import re
import subprocess
import sys
import threading
import time

from program import Program

SOAK = __file__.rsplit("/", 1)[0]
CLIENTS = f"{SOAK}/../clients"
TOOLS = f"{SOAK}/../../.tools"


class Origins:
    """One Node process with all endpoints of a group."""

    def __init__(self, kind, ports, blob, node):
        self.ports = ports
        arguments = [node, f"{SOAK}/origin.cjs", kind, blob, *ports]
        self.program = Program(arguments, env={"NODE_PATH": f"{TOOLS}/node/node_modules"}, stdin=subprocess.PIPE)
        self.program.expect(rb"ready\n")
        self._orders = 0
        self._lock = threading.Lock()

    def order(self, index, mode):
        """Makes an endpoint fail in one way, or work; returns when it does."""
        with self._lock:
            self._orders += 1
            self.program.process.stdin.write(f"{index} {mode}\n".encode())
            self.program.expect(rb"done %d\." % self._orders)

    def end(self):
        self.program.end()


def hypercorn(port, folder):
    """An application server of Python that speaks HTTP/2: echoes bodies, whatever the path.

    By its default it says GOAWAY after a thousand requests on a connection, and forgets those that are under way.
    """
    settings = folder / "hypercorn.toml"
    settings.write_text("keep_alive_max_requests = 1_000_000_000\n")
    arguments = [sys.executable, "-m", "hypercorn", "--bind", f"127.0.0.1:{port}", "--log-level", "warning"]
    arguments += ["--config", settings, "--keep-alive", "60", "asgi_app:app"]
    return Program(arguments, env={"PYTHONPATH": CLIENTS})


class Bulk:
    """A program that asks as fast as it can, in bursts; after each its report is read."""

    def __init__(self, place, name, arguments, judge, *, seconds, pause, follows_goaway=True):
        self.place = place
        self.ledger = place.ledger
        self.name = name
        self.arguments = arguments
        self.judge = judge
        self.seconds = seconds
        self.pause = pause
        self.follows_goaway = follows_goaway
        self.thread = threading.Thread(target=self.run, name=name, daemon=True)

    def run(self):
        while not self.place.stopped.is_set():
            since = time.monotonic()
            arguments = [str(word) for word in self.arguments]
            try:
                # A little nicer than the proxy: it would take all there is.
                done = subprocess.run(
                    ["nice", "-n", "5", *arguments], capture_output=True, text=True, timeout=self.seconds + 60, check=False
                )
                self.read(done, since)
            except subprocess.TimeoutExpired as error:
                self.ledger.fail(self.name, f"it does not end: {error}")
            self.place.stopped.wait(self.pause)

    def read(self, done, since):
        requests, wrong = self.judge(done.stdout)
        self.ledger.count(f"requests of {self.name}", requests)
        if done.returncode != 0:
            wrong = [*wrong, f"exit {done.returncode}: {done.stderr.strip()[-300:]}"]
        # What does not follow a GOAWAY to another connection says that its requests have failed.
        drains = self.ledger.during("drain", since, linger=self.place.settings.drain_s + 3)
        for each in wrong:
            if drains and not self.follows_goaway:
                self.ledger.explain(self.name, "a connection that was told to go away was not replaced")
            else:
                self.ledger.fail(self.name, f"{each} (in {time.monotonic() - since:.1f} s)")


def read_wrk(report):
    """Requests, and lines that speak of errors."""
    requests = re.search(r"(\d+) requests in", report)
    wrong = [line.strip() for line in report.splitlines() if "errors" in line or "Non-2xx" in line]
    return int(requests[1]) if requests else 0, wrong


def read_h2load(report):
    """The same of h2load."""
    line = re.search(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", report)
    if not line:
        return 0, [f"no report: {report[-300:]!r}"]
    done, succeeded, *bad = map(int, line.groups())
    statuses = re.search(r"status codes: (.*)", report)[1]
    fine = not any(bad) and done == succeeded and re.match(r"\d+ 2xx, 0 3xx, 0 4xx, 0 5xx", statuses)
    return succeeded, [] if fine else [f"{line[0]}; {statuses}"]


def bulk(place, smoke):
    """What there is of it."""
    burst, pause = (3, 1) if smoke else (10, 2)
    plain, tls = place.url(False), place.url(True)
    wrk = ["wrk", "--timeout", "30s", "-t", "1"]
    return [
        Bulk(place, "wrk, keep-alive", [*wrk, "-c", 12, "-d", burst, f"{plain}/app/small"], read_wrk,
             seconds=burst, pause=pause),
        Bulk(place, "wrk, keep-alive, TLS", [*wrk, "-c", 4, "-d", burst, f"{tls}/app/small"], read_wrk,
             seconds=burst, pause=pause * 3),
        Bulk(place, "wrk, new connections", [*wrk, "-c", 4, "-d", 2, "-H", "Connection: close", f"{plain}/app/small"],
             read_wrk, seconds=2, pause=pause * 2),
        Bulk(place, "h2load", ["h2load", "-t", 1, "-c", 2, "-m", 8, "-n", 300 if smoke else 3000, f"{plain}/two/small"],
             read_h2load, seconds=20, pause=pause, follows_goaway=False),
        Bulk(place, "h2load, TLS", ["h2load", "-t", 1, "-c", 2, "-m", 8, "-n", 300 if smoke else 3000, f"{tls}/app/small"],
             read_h2load, seconds=20, pause=pause, follows_goaway=False),
    ]
