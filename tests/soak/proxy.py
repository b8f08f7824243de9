"""The program under test: its processes one after the other, what it says, and what it uses."""

import ctypes
import http.client
import json
import os
import re
import signal
import subprocess
import time

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: successors become children of this process when their parent ends
SAMPLE = re.compile(r'^([a-zA-Z_:][\w:]*)(\{(?:\w+="(?:[^"\\]|\\.)*",?)*\})? (\S+)$')


def metrics(text):
    """Every sample by its name with labels; a line that is none is an error."""
    samples = {}
    for line in text.splitlines():
        if line.startswith("#") or not line:
            continue
        match = SAMPLE.match(line)
        assert match, f"no sample: {line!r}"
        name = match[1] + (match[2] or "")
        assert name not in samples, f"twice: {name}"
        samples[name] = float(match[3])
    assert samples, "no metrics"
    return samples


def pss_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def alive(pid):
    """Whether it runs: a zombie does not, and is buried."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Proxy:
    """Starts it, and follows its upgrades."""

    def __init__(self, binary, folder, settings, ledger):
        self.binary = str(binary)
        self.folder = folder
        self.settings = settings
        self.ledger = ledger
        self.config = folder / "ringress.toml"
        self.log = folder / "ringress.log"
        self.pids = []
        self.past = {}  # counters of processes that were replaced

    def write(self, text=None):
        """The configuration, at one stroke."""
        new = self.config.with_suffix(".new")
        new.write_text(text or self.settings.text(), encoding="utf-8")
        new.rename(self.config)

    def start(self, access):
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
        self.write()
        arguments = [self.binary, "--config", str(self.config)]
        if access:
            arguments += ["--access-log", str(self.folder / "access.log"), "--log-format", "json"]
        with self.log.open("ab") as log:
            process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pids.append(process.pid)
        self.process = process  # so that nothing collects it before alive() does
        self.until(lambda: b"ringress listening" in self.log.read_bytes() and self.ask("/readyz")[0] == 200)

    @property
    def pid(self):
        return self.pids[-1]

    def until(self, holds, timeout=20, what="ready"):
        """Waits for something; an operator looks now and then."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                if holds():
                    return
            except OSError:
                pass
            if time.monotonic() > deadline or not alive(self.pid):
                raise AssertionError(f"not {what} in {timeout} s; {self.pid} lives: {alive(self.pid)}")
            time.sleep(0.05)

    def ask(self, path, method="GET"):
        """The admin listener: status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.settings.admin, timeout=40)
        try:
            connection.request(method, path)
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        finally:
            connection.close()

    def metrics(self):
        status, text = self.ask("/metrics")
        assert status == 200, status
        return metrics(text)

    def reloads(self, result):
        return self.metrics()[f'ringress_config_reloads_total{{result="{result}"}}']

    def endpoints(self):
        """State of each endpoint by group and port."""
        _, text = self.ask("/upstreams")
        return json.loads(text)

    def upgrade(self):
        """`ringress upgrade`: whether the new process has taken over, and what it said."""
        arguments = [self.binary, "upgrade", "--pid", str(self.pid)]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode == 0:
            pid = int(self.settings.pid_file.read_text())
            assert pid != self.pid, "the file still names the old process"
            self.pids.append(pid)
        return done.returncode == 0, (done.stdout + done.stderr).strip()

    def remember(self):
        """Adds the counters of a process that is about to be replaced."""
        for name, value in self.metrics().items():
            if "_total" in name:
                self.past[name] = self.past.get(name, 0) + value

    def total(self, name):
        """A counter over all processes. What an old one counts while it drains is not in it."""
        return int(self.past.get(name, 0) + self.metrics().get(name, 0))

    def hang_up(self):
        os.kill(self.pid, signal.SIGHUP)

    def end(self):
        """Ends all of them, by their ids."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.pids:
                if alive(pid):
                    os.kill(pid, number)
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline and any(map(alive, self.pids)):
                time.sleep(0.05)
