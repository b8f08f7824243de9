"""The soak's own test: twenty seconds of it, so that the script does not rot. Long runs are for `scripts/soak` itself."""

import sys

import pytest

from conftest import BINARY, HERE, needs_proxy


@needs_proxy
@pytest.mark.timeout(240)
def test_twenty_seconds_of_everything(start, tmp_path):
    """Few clients, three upgrades; not one error that nothing explains."""
    arguments = ["--minutes", "0.33", "--seed", 1, "--out", tmp_path, "--bin", BINARY]
    soak = start([sys.executable, HERE.parent / "soak/soak.py", *arguments])
    report = soak.run(timeout=220).decode()
    assert "\n0 unexpected errors" in report, report
