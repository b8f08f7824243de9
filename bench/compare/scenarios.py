"""The scenarios: what is asked, by how many, and which figure decides."""

from dataclasses import dataclass

from .peers import Setting

EVENT_INTERVAL_MS = 2000
SMOKE_INTERVAL_MS = 200
# Requests a second of rate-70 in a smoke run, which has no maximum to take a share of.
SMOKE_RATE = 500


@dataclass(frozen=True)
class Scenario:
    """One load, the same for every peer."""

    name: str
    title: str
    # "wrk", or the kind of bench-load.
    load: str
    target: str
    connections: int
    # What is counted.
    unit: str = "request"
    fields: tuple = ()
    options: tuple = ()
    setting: Setting = Setting()
    # The figure whose ratio to the best peer decides.
    primary: str = "cpu_us"
    # Figure, what it is held to, and whether that is a ratio to the best peer or a number.
    targets: tuple = ()
    # Whether a peer that relays TCP alone has a part.
    tcp: bool = True
    # Whether the same load warms the proxy up first.
    warm: bool = False
    smoke_connections: int = 16


def cpu_target(bound):
    return (("cpu_us", bound, "ratio"),)


CLOSE = ("Connection: close",)
LARGE_TARGET = "/bytes/1048576"
STREAMS = Setting(streams=True)
TLS = Setting(tls=True)
TLS_OPTIONS = ("--tls", "{certificate}")
HTTP2 = Setting(http2=True)
STREAM_TARGETS = (("cpu_us", 0.75, "ratio"), ("p99_us", 1.0, "ratio"), ("pss_bytes", 2560, "number"))

ALL = (
    Scenario("small-64", "100 B, keep-alive, 64 connections", "wrk", "/bytes/100", 64,
             targets=cpu_target(0.75), warm=True),
    Scenario("small-512", "100 B, keep-alive, 512 connections", "wrk", "/bytes/100", 512,
             targets=cpu_target(0.75), warm=True, smoke_connections=64),
    Scenario("conn-close", "100 B, a new connection per request, 64 at once", "wrk", "/bytes/100", 64,
             fields=CLOSE, targets=cpu_target(0.90), warm=True),
    Scenario("64k", "64 KiB, keep-alive, 64 connections", "wrk", "/bytes/65536", 64,
             targets=cpu_target(0.90), warm=True),
    Scenario("1m", "1 MiB, keep-alive, 64 connections", "wrk", "/bytes/1048576", 64,
             setting=Setting(splices=True), targets=cpu_target(0.42), warm=True),
    Scenario("upload-1m", "uploads of 1 MiB, 32 connections", "exchange", "/sink", 32,
             options=("--upload", 1 << 20), targets=cpu_target(0.60), smoke_connections=8),
    Scenario("sse", "event streams, an event of 96 B every 2 s each", "stream", "/events/{interval}", 2000,
             unit="event", options=("--interval-ms", "{interval}"), setting=STREAMS,
             targets=STREAM_TARGETS, smoke_connections=50),
    Scenario("idle", "connections that did one request and then nothing", "exchange", "/bytes/100", 4000,
             options=("--once",), primary="pss_bytes", targets=(("pss_bytes", 1536, "number"),),
             smoke_connections=100),
    Scenario("ws", "WebSocket echo of 64 B, 64 connections", "echo", "/echo", 64, unit="message",
             setting=Setting(streams=True, tunnel=True)),
    Scenario("slow-readers", "64 KiB to 32 fast clients while 32 others read 1 MiB at 10 KiB/s; the fast ones",
             "exchange", "/bytes/65536", 64, options=("--slow", LARGE_TARGET), primary="p99_us",
             targets=(("p99_us", 1.0, "ratio"),)),
    # At a fixed rate that the weakest peer keeps: flat out, the fastest proxy would only wait for the others' core.
    Scenario("mixed", "100 B beside as many requests for 1 MiB, 1 000 a second in all, 16 connections; the small ones",
             "exchange", "/bytes/100", 16, options=("--beside", LARGE_TARGET, "--rate", 1000), primary="p99_us",
             targets=(("p99_us", 1.0, "ratio"),)),
    Scenario("timeout-storm", "the origin never answers, every request expires after 1 s", "exchange", "/hang",
             500, options=("--expired",), setting=Setting(timeout_s=1), tcp=False),
    Scenario("tls-small", "TLS, 100 B, keep-alive, 64 connections", "exchange", "/bytes/100", 64,
             options=TLS_OPTIONS, setting=TLS, targets=cpu_target(0.70), warm=True),
    Scenario("tls-1m", "TLS, 1 MiB, keep-alive, 64 connections", "exchange", "/bytes/1048576", 64,
             options=TLS_OPTIONS, setting=TLS, targets=cpu_target(0.90), warm=True),
    Scenario("tls-full", "TLS, a new connection with a full handshake for each 100 B, 64 at once", "exchange",
             "/bytes/100", 64, unit="handshake", options=(*TLS_OPTIONS, "--close"), setting=TLS,
             targets=cpu_target(1.0), warm=True),
    Scenario("tls-resumed", "TLS, a new connection with a resumed session for each 100 B, 64 at once", "exchange",
             "/bytes/100", 64, unit="handshake", options=(*TLS_OPTIONS, "--close", "--resumed"), setting=TLS,
             targets=cpu_target(1.0), warm=True),
    Scenario("tls-idle", "TLS, connections that did one request and then nothing", "exchange", "/bytes/100", 4000,
             options=(*TLS_OPTIONS, "--once"), setting=TLS, primary="pss_bytes",
             targets=(("pss_bytes", 1.0, "ratio"), ("pss_bytes", 10240, "number")), smoke_connections=100),
    Scenario("h2-small", "HTTP/2, 100 B, 16 connections of 16 streams", "multiplex", "/bytes/100", 16,
             options=("--body-bytes", 100, "--streams", 16), setting=HTTP2, targets=cpu_target(0.90), warm=True),
    Scenario("h2-1m", "HTTP/2, 1 MiB, 16 connections of 4 streams", "multiplex", "/bytes/1048576", 16,
             options=("--body-bytes", 1 << 20, "--streams", 4), setting=HTTP2, targets=cpu_target(1.0), warm=True),
    Scenario("grpc-bidi", "gRPC, messages of 64 B echoed on 16 connections of 16 calls", "calls", "/bench.Echo/Call",
             16, unit="message", options=("--streams", 16), setting=Setting(streams=True, http2=True, grpc=True),
             targets=cpu_target(1.0), warm=True),
    Scenario("h2-idle", "HTTP/2, connections that did one request and then nothing", "multiplex", "/bytes/100", 4000,
             options=("--body-bytes", 100, "--streams", 1, "--once"), setting=HTTP2, primary="pss_bytes",
             targets=(("pss_bytes", 1.0, "ratio"),), smoke_connections=100),
    Scenario("rate-70", "100 B at 70 % of the weaker peer's maximum, 64 connections", "exchange", "/bytes/100",
             64, primary="p99_us", targets=(("p99_us", 1.0, "ratio"),)),
)


def is_idle(scenario):
    """Its connections do nothing while they are measured: memory is all there is to see."""
    return "--once" in scenario.options


def named(names):
    """Scenarios by name, in their own order; all without names."""
    unknown = set(names) - {scenario.name for scenario in ALL}
    if unknown:
        raise ValueError(f"no such scenario: {', '.join(sorted(unknown))}")
    return [scenario for scenario in ALL if not names or scenario.name in names]


def why_not(scenario, peer):
    """Why a peer has no part in a scenario; None when it has."""
    if peer.only is not None and scenario.name not in peer.only:
        return "its difference shows with large bodies alone"
    if not peer.speaks_http and not scenario.tcp:
        return "it relays TCP and has no answer to give"
    if not peer.speaks_more and (scenario.setting.tls or scenario.setting.http2):
        return "the bench has no settings of it for TLS and HTTP/2"
    if not peer.streams and scenario.setting.streams:
        return "it buffers whole responses: no stream gets through"
    return None
