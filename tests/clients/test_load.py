"""wrk for a minute: not one error."""

import os
import re

import pytest

SECONDS = int(os.environ.get("RINGRESS_WRK_SECONDS", "60"))


@pytest.mark.timeout(SECONDS + 60)
def test_wrk_sees_no_error(ringress, start):
    """The demo origin through the proxy, both in one process, as fast as it goes."""
    url = ringress(None, "--demo").url + "/bytes/100"
    wrk = start(["wrk", "-t", "2", "-c", 64, "-d", f"{SECONDS}s", "--timeout", "10s", "--latency", url])
    report = wrk.run(timeout=SECONDS + 30).decode()
    print(report)
    assert "Socket errors" not in report, report
    assert "Non-2xx" not in report, report
    assert int(re.search(r"(\d+) requests in", report)[1]) > 100 * SECONDS, report
