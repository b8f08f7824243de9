"""The command line of bench/run."""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from . import certificate, figures, machine, origin, peers, plot, scenarios, table
from .rounds import Bench, run_scenario

SMOKE_PEERS = ("ringress", "nginx", "haproxy")
# Figures that must be there in every round, by how the scenario makes its load.
WANTED = ("count", "per_second", "p50_us", "p99_us", "cpu_us")
WANTED_OF_IDLE = ("pss_bytes",)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="bench/run", description="Runs Ringress beside its peers.")
    names = ", ".join(scenario.name for scenario in scenarios.ALL)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"all by default: {names}")
    parser.add_argument("--seconds", type=float, default=5, help="of each round (default 5; wrk takes whole ones)")
    parser.add_argument("--rounds", type=int, default=5, help="of each scenario and peer (default 5)")
    parser.add_argument("--peers", help="names, separated by commas (default: all that are installed, without floor-*)")
    parser.add_argument("--bin", type=Path, default=origin.ROOT / "target/release/ringress", metavar="PATH",
                        help="the Ringress to measure (default target/release/ringress)")
    parser.add_argument("--streams", type=int, help="of the scenario sse (default 2000)")
    parser.add_argument("--idle", type=int, help="connections of the idle scenarios (default 4000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every raw round and all settings there")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write results.json, results.md and ratios.svg there")
    parser.add_argument("--smoke", action="store_true",
                        help="a second of everything with few connections: proves the bench, measures nothing")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or not 0 < options.seconds <= 600:
        parser.error("--rounds from 1, --seconds up to 600")
    try:
        options.chosen = scenarios.named(options.scenarios)
    except ValueError as error:
        parser.error(str(error))
    return options


def main(arguments):
    options = parse(arguments)
    # As Ctrl-C: every `with` on the way out ends its process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(options)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


def run(options):
    cores, descriptors = machine.cores(), machine.raise_descriptors()
    if cores.shared:
        print("Only one core: proxy, origin and load share it, and the figures mean nothing.\n", flush=True)
    os.sched_setaffinity(0, cores.others)
    chosen = installed(options)
    helper = origin.build_helper()
    document = header(chosen, cores)
    results = []
    with origin.Origin(helper, cores.others) as source, tempfile.TemporaryDirectory(prefix="ringress-bench-") as place:
        # nginx's workers are another user when the bench is root.
        Path(place).chmod(0o755)
        shown = certificate.make(Path(place))
        bench = Bench(chosen, helper, source.port, cores, descriptors, shown, options.seconds, options.rounds)
        adjust(bench, options)
        for scenario in options.chosen:
            scenario, result = run_scenario(bench, scenario)
            print(table.markdown(scenario, result), flush=True)
            results.append((scenario, result))
            document["scenarios"][scenario.name] = result
            write(options, document, results)
    return judge(results, options.smoke)


def adjust(bench, options):
    if options.streams:
        bench.connections["sse"] = options.streams
    if options.idle:
        bench.connections |= {scenario.name: options.idle for scenario in scenarios.ALL if scenarios.is_idle(scenario)}
    if options.smoke:
        bench.smoke, bench.seconds, bench.rounds = True, 0.5, 1
        bench.interval_ms = scenarios.SMOKE_INTERVAL_MS


def installed(options):
    """The peers that can run; a line for each that cannot."""
    everyone = peers.all_peers(options.bin.absolute())
    usual = [name for name, peer in everyone.items() if peer.by_default]
    wanted = options.peers.split(",") if options.peers else SMOKE_PEERS if options.smoke else usual
    unknown = [name for name in wanted if name not in everyone]
    if unknown:
        raise SystemExit(f"bench/run: no such peer: {', '.join(unknown)}; there are {', '.join(everyone)}")
    chosen = {}
    for name in everyone:
        if name in wanted:
            missing = everyone[name].missing()
            if missing:
                print(f"Skipped {name}: {missing}.\n", flush=True)
            else:
                chosen[name] = everyone[name]
    if not chosen:
        raise SystemExit("bench/run: no peer to run")
    return chosen


def header(chosen, cores):
    versions = {name: peer.version() for name, peer in chosen.items()}
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": " ".join(sys.argv),
        "machine": machine.describe(),
        "proxy_cores": sorted(cores.proxy),
        "other_cores": sorted(cores.others),
        "versions": {**versions, **machine.tool_versions(origin.ROOT)},
        "scenarios": {},
    }


def write(options, document, results):
    """After every scenario, so that an interrupted run keeps what it has."""
    document = placeless(document)
    if options.json:
        options.json.write_text(document, encoding="utf-8")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "results.json").write_text(document, encoding="utf-8")
        text = "\n".join(table.markdown(*one) for one in results)
        (options.out / "results.md").write_text(text, encoding="utf-8")
        (options.out / "ratios.svg").write_text(plot.svg(results), encoding="utf-8")


def judge(results, smoke):
    """0 when every round gave figures; a smoke run also wants each of them there, and no errors."""
    wrong = []
    for scenario, result in results:
        wrong += [f"{scenario.name}: {peer}: {why}" for peer, failures in result["failed"].items() for why in failures]
        if smoke:
            wrong += [f"{scenario.name}: {line}" for line in missing_figures(scenario, result)]
    for line in wrong:
        sys.stderr.write(f"bench/run: {line}\n")
    if smoke:
        rounds = sum(len(result["rounds"]) for _, result in results)
        print(f"{rounds} passed, {len(wrong)} failed")
    return 1 if wrong else 0


def missing_figures(scenario, result):
    wanted = WANTED_OF_IDLE if scenarios.is_idle(scenario) else WANTED
    for one in result["rounds"]:
        absent = [name for name in wanted if one.get(name) is None or (one[name] == 0 and name != "pss_bytes")]
        if absent:
            yield f"{one['peer']}: no {', '.join(absent)}"
        if one["errors"] != 0:
            yield f"{one['peer']}: {one['errors']} errors"
    if not figures.ratios(result["rounds"]) and len(result["medians"]) > 1 and not scenarios.is_idle(scenario):
        yield "no ratios"


def placeless(document):
    """As JSON, with paths from the root of the repository on: where that lies is nobody's business."""
    return json.dumps(document, indent=1).replace(f"{origin.ROOT}/", "") + "\n"
