"""What a newcomer pastes from the banner of `--demo` works."""

import re
import shlex
import time

import pytest

CURL_LINE = re.compile(rb"^  (curl .*)$", re.MULTILINE)


def curl_lines(program):
    """The banner's curl lines, once it has been quiet for a moment."""
    program.expect(rb"(?m)^  curl .*\n")
    seen = -1
    while seen != (seen := len(program.out) + len(program.err)):
        time.sleep(0.3)  # the banner has no end to wait for
    return [line.decode() for text in (program.out, program.err) for line in CURL_LINE.findall(text)]


def is_endless(line):
    """Whether curl is told not to buffer, which the banner does for streams."""
    return any(re.fullmatch(r"--no-buffer|-[a-zA-Z]*N[a-zA-Z]*", word) for word in shlex.split(line))


@pytest.mark.timeout(180)
def test_every_curl_line_of_the_banner_works(ringress, start):
    """Each as printed: streams until they say something, the others to a successful end."""
    proxy = ringress(None, "--demo")
    lines = curl_lines(proxy.program)
    assert len(lines) >= 4, lines
    for line in lines:
        assert proxy.authority in line, f"not at the printed address: {line}"
        command = start(["bash", "-c", line])
        if is_endless(line):
            command.expect(rb"\S", timeout=15, among=[command.out])
            command.end()
        else:
            assert command.run(timeout=30), f"no output from: {line}"
