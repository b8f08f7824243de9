"""The helper program (origin and load generator): how it is built, and the origin's life."""

import json
import subprocess
from pathlib import Path

from .process import Child

ROOT = Path(__file__).resolve().parents[2]
CRATE = ROOT / "bench" / "load"
TARGET = ROOT / "target" / "bench"


def build_helper():
    """Builds bench/load and returns its program."""
    manifest = str(CRATE / "Cargo.toml")
    command = ["cargo", "build", "--quiet", "--locked", "--release", "--manifest-path", manifest]
    subprocess.run([*command, "--target-dir", str(TARGET)], check=True)
    return TARGET / "release" / "bench-load"


class Origin:
    """The running origin. One serves every peer, one at a time."""

    def __init__(self, helper, cores):
        self.child = Child([str(helper), "origin"], cores, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = json.loads(self.child.process.stdout.readline())["port"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.stop()
