"""Child processes that never outlive the bench: each is ended by its pid, whatever happens here."""

import os
import shutil
import signal
import socket
import subprocess
import time

from . import measure

# How long a process may take to end by itself before it is killed.
END_SECONDS_MAX = 2.0


def free_port():
    """A port that is free now, from the kernel. Someone may take it before its user does: users try again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pinned(command, cores):
    """The command on these cores; the kernel ends it should the bench die without doing so."""
    leash = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    return [*leash, "taskset", "-c", ",".join(map(str, sorted(cores))), *command]


class Child:
    """A process and its descendants. Use as a context: it has ended afterwards."""

    def __init__(self, command, cores, env=None, stdin=None, stdout=None, log=None):
        self.command = command
        # A session of its own: Ctrl-C reaches the bench alone, which then ends its children in order.
        self.process = subprocess.Popen(
            pinned(command, cores),
            env=env,
            stdin=stdin or subprocess.DEVNULL,
            stdout=stdout or subprocess.DEVNULL,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Ends the process and what it started."""
        family = {pid: measure.start_time(pid) for pid in measure.tree(self.pid)}
        if self.process.stdin:
            self.process.stdin.close()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        for pid, started in family.items():
            # The start time tells a survivor from an innocent that got its number.
            if pid != self.pid and started is not None and measure.start_time(pid) == started:
                end_orphan(pid)


def end_orphan(pid):
    """A worker whose parent has gone: it may be about to end by itself."""
    time.sleep(0.05)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
