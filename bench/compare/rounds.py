"""Runs rounds: one peer, one scenario, one load at a time, peers interleaved."""

import dataclasses
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import figures, load, measure, scenarios
from .peers import Running

WARM_SECONDS = 0.5
# Connections and seconds that touch a proxy's code and pools before its memory is read for the first time.
TOUCH_CONNECTIONS = 8
TOUCH_SECONDS = 0.05
# Share of the weaker peer's maximum at which rate-70 runs; a peer that could hardly keep it up is left out.
RATE_SHARE = 0.7
RATE_FITS = 0.9


@dataclass
class Bench:
    """What all rounds share."""

    peers: dict
    helper: Path
    origin: int
    cores: object
    descriptors: int
    certificate: object
    seconds: float
    rounds: int
    smoke: bool = False
    connections: dict = field(default_factory=dict)
    interval_ms: int = scenarios.EVENT_INTERVAL_MS
    # Median requests/s of small-64 by peer, once known.
    maxima: dict = field(default_factory=dict)


class Samples:
    """What the proxy had used at the moments the load tells of."""

    def __init__(self, pid):
        self.pids = measure.tree(pid)
        self.idle_pss = measure.pss_bytes(self.pids)
        self.cpu, self.at, self.busy_pss = {}, {}, None

    def __call__(self, moment):
        if moment == "middle":
            self.busy_pss = measure.pss_bytes(self.pids)
        else:
            self.at[moment] = time.monotonic()
            self.cpu[moment] = measure.cpu(self.pids)

    def figures(self, seen, connections):
        cpu_us = self.cpu["end"].since(self.cpu["start"])
        wall_us = (self.at["end"] - self.at["start"]) * 1e6
        grown = (self.busy_pss or self.idle_pss) - self.idle_pss
        # What was there before the first connection: who allocates ahead seems to need little per connection.
        before = {"idle_pss_bytes": self.idle_pss}
        return figures.of_round(seen, cpu_us, wall_us, grown, connections) | before


def run_scenario(bench, scenario):
    """All rounds of a scenario. The order of the peers turns by one each round, so that none is always after
    the same neighbour."""
    scenario = adapted(bench, scenario)
    result = {"title": scenario.title, "unit": scenario.unit, "primary": scenario.primary, "settings": {},
              "rounds": [], "skipped": {}, "failed": {}}
    names = [name for name, peer in bench.peers.items() if not skip(result, scenario, peer)]
    options = rate_options(bench, names, result) if scenario.name == "rate-70" else ()
    for number in range(bench.rounds):
        turn = number % max(1, len(names))
        for name in names[turn:] + names[:turn]:
            if name not in result["skipped"]:
                one_round(bench, scenario, name, number, options, result)
    order = {name: place for place, name in enumerate(bench.peers)}
    result["rounds"].sort(key=lambda one: (one["round"], order[one["peer"]]))
    result["medians"] = figures.medians(result["rounds"])
    result["ratios"] = figures.ratios(result["rounds"])
    if scenario.name == "small-64":
        bench.maxima = {peer: middle["per_second"] for peer, middle in result["medians"].items()}
    return scenario, result


def adapted(bench, scenario):
    """The scenario with the run's own numbers in it."""
    connections = bench.connections.get(scenario.name, scenario.connections)
    if bench.smoke:
        connections = scenario.smoke_connections
    fill = {"{interval}": str(bench.interval_ms), "{certificate}": str(bench.certificate.chain)}
    options = tuple(fill.get(option, option) for option in scenario.options)
    target = scenario.target.replace("{interval}", str(bench.interval_ms))
    return dataclasses.replace(scenario, connections=connections, options=options, target=target)


def skip(result, scenario, peer):
    why = scenarios.why_not(scenario, peer)
    if why:
        result["skipped"][peer.name] = why
    return why


def one_round(bench, scenario, name, number, options, result):
    """One peer's turn. A round that fails is told and kept as a failure: the others go on."""
    folder = Path(tempfile.mkdtemp(prefix="ringress-bench-"))
    # nginx's workers are another user when the bench is root.
    folder.chmod(0o755)
    sys.stderr.write(f"{scenario.name} round {number + 1} {name}\n")
    try:
        figures_of_round, settings = measured(bench, scenario, name, options, folder)
        result["rounds"].append({"round": number, "peer": name, **figures_of_round})
        result["settings"][name] = settings
    except (load.LoadFailed, RuntimeError, OSError) as error:
        result["failed"].setdefault(name, []).append(f"round {number + 1}: {error}")
        sys.stderr.write(f"  failed: {error}\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measured(bench, scenario, name, options, folder):
    others = bench.cores.others
    with Running(bench.peers[name], scenario.setting, bench, folder) as running:
        touch(bench, scenario, running.port)
        samples = Samples(running.child.pid)
        if scenario.warm:
            warm_up(bench, scenario, running.port)
        where = (running.port, scenario, scenario.connections, seconds_of(bench, scenario), others, samples)
        if scenario.load == "wrk":
            seen, command = load.wrk(*where)
        else:
            seen, command = load.helper(bench.helper, *where, options)
        settings = {**running.config(), "load": command}
        return samples.figures(seen, scenario.connections), settings


def warm_up(bench, scenario, port):
    """Lets the proxy fill its pools before anything counts."""
    seconds = 0.1 if bench.smoke else WARM_SECONDS
    warm = dataclasses.replace(scenario, load="exchange", fields=()) if scenario.load == "wrk" else scenario
    load.helper(bench.helper, port, warm, scenario.connections, seconds, bench.cores.others, lambda _: None)


def touch(bench, scenario, port):
    """Brings the proxy's code into memory, so that its pages do not count as memory of connections."""
    setting = scenario.setting
    name = "grpc-bidi" if setting.grpc else "h2-small" if setting.http2 else "tls-small" if setting.tls else "small-64"
    small = adapted(bench, scenarios.named([name])[0])
    small = dataclasses.replace(small, load="exchange") if small.load == "wrk" else small
    load.helper(bench.helper, port, small, TOUCH_CONNECTIONS, TOUCH_SECONDS, bench.cores.others, lambda _: None)


def seconds_of(bench, scenario):
    """Streams need a few intervals, expiring requests a few timeouts."""
    if scenario.load == "stream":
        return max(bench.seconds, 3 * bench.interval_ms / 1000)
    if scenario.name == "timeout-storm":
        return max(bench.seconds, 1.5 * scenario.setting.timeout_s)
    return bench.seconds


def rate_options(bench, names, result):
    """The fixed rate: a share of the weakest maximum among Ringress and its rivals."""
    if bench.smoke:
        return ("--rate", scenarios.SMOKE_RATE)
    known = set(bench.maxima)
    if not known.issuperset(names):
        calibrate(bench, [name for name in names if name not in known])
    weighed = [name for name in names if name in ("ringress", *figures.REFERENCES)] or names
    rate = RATE_SHARE * min((bench.maxima[name] for name in weighed if bench.maxima.get(name)), default=1000)
    for name in names:
        if (bench.maxima.get(name) or 0) * RATE_FITS < rate:
            result["skipped"][name] = f"its maximum of {bench.maxima.get(name) or 0:.0f}/s is below the rate"
    result["title"] += f": {rate:.0f} requests/s"
    return ("--rate", f"{rate:.0f}")


def calibrate(bench, names):
    """Finds maxima with one round of small-64, when that did not run before."""
    only = {name: bench.peers[name] for name in names}
    once = dataclasses.replace(bench, peers=only, rounds=1)
    _, result = run_scenario(once, scenarios.named(["small-64"])[0])
    bench.maxima |= {peer: middle["per_second"] for peer, middle in result["medians"].items()}
