"""The relays of bench/floor: instruments that show where the floor is, not proxies to compare with."""

import subprocess

from .origin import ROOT, TARGET

MODES = {
    "epoll": "epoll_wait, recv, send",
    "epoll-in-ring": "epoll set polled in a ring, recv, send",
    "poll": "one-shot ring poll, recv, send: how Ringress does it",
    "multipoll": "multishot ring poll, recv, send",
    "ring-send": "one-shot ring poll, recv, ring send",
    "ring": "ring recv, ring send",
    "multishot": "multishot ring recv, ring send",
}


PROGRAM = TARGET / "release" / "bench-floor"


def build():
    """Builds bench/floor and returns its program."""
    manifest = str(ROOT / "bench" / "floor" / "Cargo.toml")
    command = ["cargo", "build", "--quiet", "--locked", "--release", "--manifest-path", manifest]
    subprocess.run([*command, "--target-dir", str(TARGET)], check=True)
    return str(PROGRAM)


def missing():
    """Builds the program; None, or why there is none."""
    try:
        build()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"bench/floor cannot be built: {error}"
    return None
