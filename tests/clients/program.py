"""Child processes whose output can be waited for, and which are always ended, by their own pid."""

import os
import re
import signal
import subprocess
import threading
import time


class Program:
    """A running program. Both outputs are collected from the start, so nothing is missed and no pipe fills."""

    def __init__(self, args, *, env=None, stdin=None):
        self.args = [str(arg) for arg in args]
        self.process = subprocess.Popen(
            self.args,
            env={**os.environ, **(env or {})},
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self.out = bytearray()
        self.err = bytearray()
        self._changed = threading.Condition()
        self._open_outputs = 2
        self._readers = [
            threading.Thread(target=self._collect, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self):
        return self.process.pid

    def _collect(self, pipe, buffer):
        while piece := pipe.read(65536):
            with self._changed:
                buffer += piece
                self._changed.notify_all()
        with self._changed:
            self._open_outputs -= 1
            self._changed.notify_all()

    def expect(self, pattern, *, timeout=10, among=None):
        """The first match of `pattern` in either output, or in that given, as soon as it is there."""

        def found():
            return next(filter(None, (re.search(pattern, text) for text in among or (self.out, self.err))), None)

        deadline = time.monotonic() + timeout
        with self._changed:
            while not (match := found()):
                left = deadline - time.monotonic()
                if left <= 0 or self._open_outputs == 0:
                    why = "in time" if left <= 0 else "before it ended"
                    raise AssertionError(f"{self.args[0]} did not print {pattern!r} {why}\n{self._tails()}")
                self._changed.wait(left)
            return match

    def wait(self, *, timeout=30):
        """Exit status, with both outputs complete."""
        status = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(timeout)
        return status

    def run(self, *, timeout=30):
        """Standard output of a program that must succeed."""
        status = self.wait(timeout=timeout)
        assert status == 0, f"{' '.join(self.args)} exited {status}\n{self._tails()}"
        return bytes(self.out)

    def end(self, *, grace=5):
        """Ends it and whatever it started: politely, then not."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._signal(number)
            try:
                self.process.wait(grace)
                break
            except subprocess.TimeoutExpired:
                continue
        self._signal(signal.SIGKILL)
        if self.process.stdin:
            self.process.stdin.close()

    def _signal(self, number):
        try:
            os.killpg(self.pid, number)  # its own session, hence its own group
        except ProcessLookupError:
            pass

    def rss_bytes(self):
        """Resident memory of the process right now."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError(f"process {self.pid} has no VmRSS")

    def _tails(self):
        out, err = (bytes(text[-2000:]).decode(errors="replace") for text in (self.out, self.err))
        return f"--- stdout\n{out}\n--- stderr\n{err}"
