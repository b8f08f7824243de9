"""Loads a running proxy and returns what the clients saw: by wrk, or by bench/load for what wrk is not able to do."""

import json
import math
import subprocess
import threading
from pathlib import Path

from .process import Child

SCRIPT = Path(__file__).with_name("report.lua")
# How much longer than asked a load may take until it is taken for stuck.
PATIENCE_SECONDS = 90.0


class LoadFailed(Exception):
    """A load generator gave no figures."""


class Watchdog:
    """Ends a child that takes too long, so that a read from its pipe ends too."""

    def __init__(self, child, seconds):
        self.timer = threading.Timer(seconds, child.process.kill)
        self.timer.daemon = True

    def __enter__(self):
        self.timer.start()

    def __exit__(self, *_):
        self.timer.cancel()


def wrk(port, scenario, connections, seconds, cores, probe):
    """Closed loop. `probe` is told "start", "middle" (connections are there) and "end"."""
    threads = max(1, min(4, len(cores) - 1))
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{math.ceil(seconds)}s", "--timeout", "10s"]
    command += ["-s", str(SCRIPT)]
    for field in scenario.fields:
        command += ["-H", field]
    command.append(f"http://127.0.0.1:{port}{scenario.target}")
    probe("start")
    with Child(command, cores, stdout=subprocess.PIPE) as child:
        with Watchdog(child, seconds + PATIENCE_SECONDS):
            try:
                child.process.wait(seconds / 2)
            except subprocess.TimeoutExpired:
                probe("middle")
            text = child.process.stdout.read()
            child.process.wait()
    probe("end")
    return parsed(text.strip().rpartition("\n")[2]), " ".join(command)


def helper(program, port, scenario, connections, seconds, cores, probe, options=()):
    """By bench-load, whose measurement starts when all connections are up; "middle" is right after its end here."""
    command = [str(program), scenario.load, str(port), "--target", scenario.target]
    command += ["--connections", str(connections), "--seconds", str(seconds)]
    command += [*map(str, scenario.options), *map(str, options)]
    with Child(command, cores, stdin=subprocess.PIPE, stdout=subprocess.PIPE, log=subprocess.STDOUT) as child:
        with Watchdog(child, seconds + PATIENCE_SECONDS):
            parsed(child.process.stdout.readline())
            probe("start")
            child.process.stdin.write("go\n")
            child.process.stdin.flush()
            figures = parsed(child.process.stdout.readline())
            probe("end")
            probe("middle")
    return figures, " ".join(command)


def parsed(line):
    try:
        return json.loads(line)
    except ValueError:
        raise LoadFailed(line.strip() or "the load generator ended without a word") from None
