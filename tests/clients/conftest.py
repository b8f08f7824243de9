"""Fixtures: origins, the proxy in front of them, and programs, all ended when their test ends.

With RINGRESS_BIN=direct there is no proxy: programs talk straight to the origins. Tests that hold there
prove that a failure with the proxy is the proxy's.
"""

import itertools
import os
import pathlib
import shutil

import pytest

from certificates import Certificates
from origin import Origin
from program import Program
from rpc import Way

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BINARY = os.environ.get("RINGRESS_BIN") or str(ROOT / "target/debug/ringress")
DIRECT = BINARY == "direct"
NODE = os.environ.get("RINGRESS_NODE", "node")
LISTENING = rb"ringress listening on (\S+):(\d+)"
NO_PROXY_SETTINGS = {"no_proxy": "*", "NO_PROXY": "*"}

os.environ["PATH"] += ":/usr/sbin"  # nginx, for who is not root

needs_proxy = pytest.mark.skipif(DIRECT, reason="is about the proxy itself")


class Proxy:
    """Where clients go: the address, and the process behind it (none when direct)."""

    def __init__(self, port, program=None):
        self.port = port
        self.program = program
        self.authority = f"127.0.0.1:{port}"
        self.url = f"http://{self.authority}"

    def tls_port(self):
        """Where it listens with TLS."""
        return int(self.program.expect(rb"listening on \S+:(\d+) \(TLS\)")[1])


@pytest.fixture
def start():
    """Starts a program: `start(arguments, env=…, stdin=…)`."""
    programs = []

    def run(args, **options):
        env = {**NO_PROXY_SETTINGS, **options.pop("env", {})}
        programs.append(Program(args, env=env, **options))
        return programs[-1]

    yield run
    for program in reversed(programs):
        program.end()


@pytest.fixture
def origin():
    """Starts a scripted origin: `origin(handler)`."""
    origins = []

    def run(handle, **options):
        origins.append(Origin(handle, **options))
        return origins[-1]

    yield run
    failures = []
    for each in origins:
        try:
            each.close()
        except Exception as error:  # noqa: BLE001 - all are closed first
            failures.append(error)
    if failures:
        raise failures[0]


@pytest.fixture
def ringress(start):
    """Starts the proxy: `ringress(upstream_port, *flags, workers=…)`; `ringress(None, "--demo")` is the demo."""

    def run(upstream_port, *flags, workers=2):
        if DIRECT and upstream_port is None:
            pytest.skip("is about the proxy itself")
        if DIRECT:
            return Proxy(upstream_port)
        if not shutil.which(BINARY):
            pytest.fail(f"no binary at {BINARY}: run `cargo build`, or name one in RINGRESS_BIN")
        args = [BINARY, "--listen", "127.0.0.1:0", "--workers", workers]
        if upstream_port is not None:
            args += ["--upstream", f"127.0.0.1:{upstream_port}"]
        program = start([*args, *flags])
        return Proxy(int(program.expect(LISTENING)[2]), program)

    return run


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """An authority and a certificate of it for this host."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def secure(ringress, certificates):
    """Starts the proxy with TLS besides: `secure(upstream, *flags, pairs=[(cert, key)])`; no upstream is the demo."""

    def run(upstream, *flags, pairs=None):
        given = ["--upstream", upstream] if upstream else ["--demo"]
        for cert, key in pairs or [(certificates.cert, certificates.key)]:
            given += ["--cert", cert, "--key", key]
        proxy = ringress(None, *given, "--tls-listen", "127.0.0.1:0", *flags)
        proxy.secure_url = f"https://127.0.0.1:{proxy.tls_port()}"
        return proxy

    return run


@pytest.fixture(
    params=itertools.product((False, True), repeat=2),
    ids=lambda sides: "-".join(("h2c", "tls")[tls] for tls in sides),
)
def way(request, certificates, ringress):
    """Each way from a gRPC client to a gRPC origin: `way(kind, handler, *flags)` gives a caller."""
    client_tls, origin_tls = request.param
    if DIRECT and client_tls != origin_tls:
        pytest.skip("without a proxy both sides are the same")
    opened = Way(client_tls, origin_tls, certificates, None if DIRECT else ringress)
    yield opened
    opened.close()


@pytest.fixture
def curl(start):
    """Starts curl: `curl(*arguments)`; use `.run()` for its output."""
    return lambda *args, **options: start(["curl", "-sS", "--max-time", "60", *args], **options)


@pytest.fixture
def node(start):
    """Starts one of the programs in `node/`; an origin among them prints its port."""

    def run(script, *args):
        path = ROOT / ".tools/node/node_modules"
        return start([NODE, HERE / "node" / script, *args], env={"NODE_PATH": str(path)})

    return run


@pytest.fixture
def node_origin(node):
    """Port of a program in `node/` that serves."""

    def run(script, *args):
        return int(node(script, *args).expect(rb"listening on (\d+)\n")[1])

    return run
