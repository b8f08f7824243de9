"""The soak: everything at once for minutes, and not one error that nothing explains. `scripts/soak --help`."""

import argparse
import os
import pathlib
import random
import signal
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "clients"))

import settings as configuration  # noqa: E402
from certificates_renewed import Renewed  # noqa: E402
from clients import CAST, MIB, Place  # noqa: E402
from ledger import Ledger  # noqa: E402
from programs import Origins, bulk, hypercorn  # noqa: E402
from proxy import Proxy, alive, descriptors, pss_kib  # noqa: E402
from rpc import Server  # noqa: E402
from trouble import Trouble  # noqa: E402

SMOKE_BELOW_S = 60
DESCRIPTORS_MORE_MAX = 16
PSS_MORE_MAX_KIB = 24 * 1024
NODE = os.environ.get("RINGRESS_NODE", "node")


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long there is load (default: 10)")
    parser.add_argument("--bin", type=pathlib.Path, help="the program (default: the newest of target/)")
    parser.add_argument("--seed", type=int, default=None, help="what happens when (default: another one each time)")
    parser.add_argument("--out", type=pathlib.Path, help="where logs go (default: a new folder)")
    parser.add_argument("--access-log", action="store_true", help="keep an access log; it grows to gigabytes")
    return parser.parse_args()


def newest():
    """The program that was built last."""
    found = [path for kind in ("release", "debug") if (path := ROOT / "target" / kind / "ringress").exists()]
    if not found:
        sys.exit("no program: cargo build, or --bin")
    return max(found, key=lambda path: path.stat().st_mtime)


class Soak:
    """One run."""

    def __init__(self, options):
        self.seconds = options.minutes * 60
        self.smoke = self.seconds < SMOKE_BELOW_S
        self.options = options
        self.seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
        self.folder = options.out or pathlib.Path(tempfile.mkdtemp(prefix="ringress-soak-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.binary = (options.bin or newest()).resolve()
        self.ledger = Ledger(self.folder)
        self.ends = []  # what has to be ended, in order

    def run(self):
        print(f"soak: {self.binary}, {self.options.minutes:g} minutes, seed {self.seed}, logs in {self.folder}", flush=True)
        try:
            self.build()
            self.load()
            self.settle()
        except Exception as error:  # noqa: BLE001 - part of the report
            self.ledger.fail("soak", f"{type(error).__name__}: {error}")
        finally:
            for end in reversed(self.ends):
                end()
        return self.report()

    def build(self):
        """Origins, the proxy, clients."""
        certificates = Renewed(self.folder)
        blob = self.folder / "blob"
        blob.write_bytes(random.Random(1).randbytes(16 * MIB))
        drain_s = 20 if not self.smoke else 3
        plain, tls, admin, *ports = configuration.free_ports(19)
        check, ejection = configuration.CHECK, configuration.EJECTION
        group = configuration.Group
        queue = 'max-connections = 4\nqueue = { max = 500, timeout = "20s" }'
        groups = {
            "app": group("", ports[:4], f'sticky = {{ cookie = "soak" }}\n{check}\n{ejection}'),
            "streams": group("", ports[4:8], f"{check}\n{ejection}"),
            "two": group("h2c://", ports[8:12], f"{check}\n{ejection}"),
            "hangs": group("", ports[12:15], f"{check}\n{ejection}"),
            "narrow": group("", ports[15:16], f"{queue}\nejection = false"),
        }
        self.origins = {}
        for name, each in groups.items():
            # One member of `two` is another program, which does not fail.
            mine = each.ports[:3] if name == "two" else each.ports
            self.origins[name] = Origins("h2c" if name == "two" else "h1", mine, blob, NODE)
            self.ends.append(self.origins[name].end)
        self.ends.append(hypercorn(groups["two"].ports[3], self.folder).end)
        rpc = Server("unary_stream", count_up)
        self.ends.append(rpc.close)
        groups["rpc"] = group("h2c://", [rpc.port], "")
        settings = configuration.Settings(
            plain, tls, admin, certificates.served_cert, certificates.served_key, self.folder / "ringress.pid", drain_s, groups
        )
        self.proxy = Proxy(self.binary, self.folder, settings, self.ledger)
        self.ends.append(self.proxy.end)
        self.proxy.start(self.options.access_log)
        self.place = Place(settings, self.ledger, certificates.ca, blob.read_bytes())
        self.trouble = Trouble(self.place, self.proxy, self.origins, certificates, self.seconds, self.seed)
        self.clients = [kind(self.place, number) for kind, full, few in CAST for number in range(few if self.smoke else full)]

    def load(self):
        """Everything at once."""
        self.proxy.until(lambda: self.trouble.serves("two", self.place.settings.groups["two"].ports[3]), 20, "serving")
        threads = [each.thread for each in [*self.clients, *bulk(self.place, self.smoke)]]
        for thread in threads:
            thread.start()
        time.sleep(min(5.0, self.seconds / 10))  # warm
        self.ledger.note(f"warm: {self.size()}")
        for thread in self.trouble.threads:
            thread.start()
        self.watch()
        self.place.stopped.set()
        self.join([*threads, *self.trouble.threads])

    def watch(self):
        """Looks at the metrics until the time is over."""
        deadline = self.ledger.begun + self.seconds
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 5))
            samples = self.proxy.metrics()
            open_now = samples["ringress_connections_open"]
            failures = sum(self.ledger.unexpected.values())
            self.ledger.note(f"{self.size()}, {open_now:.0f} connections, {failures} unexpected errors")

    def size(self):
        pid = self.proxy.pid
        return f"process {pid}: {descriptors(pid)} descriptors, PSS {pss_kib(pid)} KiB"

    def join(self, threads):
        """Everybody ends what they are doing: streams their last event, bursts their last request."""
        deadline = time.monotonic() + 90
        for thread in threads:
            thread.join(max(0.1, deadline - time.monotonic()))
            if thread.is_alive():
                self.ledger.fail("clients", f"{thread.name} does not end")

    def settle(self):
        """What is left when the load is gone: no old process, no descriptor, no memory that had to go."""
        pid = self.proxy.pid
        drain_s = self.place.settings.drain_s
        old = self.proxy.pids[:-1]
        self.expect("old processes have ended", lambda: not any(map(alive, old)), drain_s + 10, lambda: f"{old}")
        samples = self.proxy.metrics
        self.expect("no client connection", lambda: samples()["ringress_connections_open"] == 0, 30, self.size)
        idle = 'ringress_worker_upstream_idle{worker="%d"}'
        self.expect("no idle upstream connection", lambda: all(samples()[idle % n] == 0 for n in (0, 1)), 30, self.size)
        self.expect("every endpoint serves", self.all_serve, 30, lambda: self.proxy.ask("/upstreams")[1])
        self.expect("no request with an endpoint", self.none_active, 10, lambda: self.proxy.ask("/metrics")[1])
        self.compare(pid)
        panics = self.proxy.total("ringress_connection_panics_total")
        log = self.proxy.log.read_text(errors="replace")
        if panics or "panic:" in log or "panicked" in log:
            self.ledger.fail("panics", f"{panics} counted; see {self.proxy.log}")
        (self.folder / "metrics.txt").write_text(self.proxy.ask("/metrics")[1])

    def compare(self, pid):
        """The process that served, beside one that has done nothing: an upgrade makes one."""
        used = descriptors(pid), pss_kib(pid)
        self.proxy.remember()
        done, said = self.proxy.upgrade()
        if not done:
            return self.ledger.fail("upgrade", said)
        self.expect("the last process has ended", lambda: not alive(pid), self.place.settings.drain_s + 10, lambda: str(pid))
        self.proxy.until(lambda: self.proxy.ask("/readyz")[0] == 200)
        fresh = descriptors(self.proxy.pid), pss_kib(self.proxy.pid)
        self.sizes = f"after the load {used[0]} descriptors and PSS {used[1]} KiB; a fresh process {fresh[0]} and {fresh[1]} KiB"
        if used[0] > fresh[0] + DESCRIPTORS_MORE_MAX or used[1] > fresh[1] + PSS_MORE_MAX_KIB:
            self.ledger.fail("leak", self.sizes)
        return None

    def all_serve(self):
        samples = self.proxy.metrics()
        return all(value == 1 for name, value in samples.items() if name.startswith("ringress_endpoint_serves"))

    def none_active(self):
        return not any(value for name, value in self.proxy.metrics().items() if "_active{" in name)

    def expect(self, what, holds, seconds, detail):
        try:
            self.proxy.until(holds, seconds, what)
        except AssertionError as error:
            self.ledger.fail("settling", f"{error}: {detail()}")

    def report(self):
        """The table; and the exit status."""
        ledger = self.ledger
        rows = [(name, f"{count}") for name, count in sorted(ledger.counts.items())]
        try:
            rows += self.said_by_the_proxy()
        except Exception as error:  # noqa: BLE001 - a run that failed early has less to say
            rows.append(("nothing from the proxy", str(error)))
        rows += [(f"expected: {name}", f"{count}") for name, count in sorted(ledger.expected.items())]
        rows += [(f"UNEXPECTED: {name}", f"{count}") for name, count in sorted(ledger.unexpected.items())]
        width = max(len(name) for name, _ in rows)
        table = "\n".join(f"{name:{width}}  {count:>12}" for name, count in rows)
        bad = sum(ledger.unexpected.values())
        end = f"{getattr(self, 'sizes', '')}\n{bad} unexpected errors in {ledger.now():.0f} s, seed {self.seed}; logs: {self.folder}"
        (self.folder / "report.txt").write_text(f"{table}\n{end}\n")
        print(f"{table}\n{end}", flush=True)
        if bad:
            print((self.folder / "unexpected.log").read_text()[:4000])
        ledger.close()
        return 1 if bad else 0

    def said_by_the_proxy(self):
        """What its log says happened, and its counters."""
        log = self.proxy.log.read_text(errors="replace")
        said = {
            "endpoints ejected": "an upstream endpoint is ejected",
            "endpoints down": "an upstream endpoint is down",
            "endpoints back": "an upstream endpoint is back",
            "endpoints that could not be connected to": "cannot connect to an upstream endpoint",
        }
        rows = [(what, f"{log.count(line)}") for what, line in said.items()]
        names = ["requests", "connections_accepted", "repeats", "requests_limited", "client_aborts", "exchanges_cut",
                 "tunnels", "connection_panics", "accept_pauses"]
        counted = self.proxy.past  # of all processes, each at the end of its service
        return rows + [(f"counter {name}", f"{int(counted.get(f'ringress_{name}_total', 0))}") for name in names]


def count_up(request, context):
    """The gRPC origin: as many messages as it is told."""
    for number in range(int(request)):
        time.sleep(0.005)
        yield b"%d" % number


def interrupt(*_):
    raise KeyboardInterrupt  # what was started is ended on the way out


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    sys.exit(Soak(arguments()).run())
