"""The performance table of README.md, generated from the newest committed results.

Nobody writes a figure there by hand: it would outlive the results that it came from."""

import argparse
import json
import math
import re
import shlex
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

from . import figures, scenarios, table

ROOT = Path(__file__).resolve().parents[2]
BEGIN = "<!-- bench:begin -->"
END = "<!-- bench:end -->"
HEAD = ["scenario", "figure", "Ringress", "nginx", "HAProxy", "ratio", "target", "met"]
# Columns of a paragraph.
WIDTH = 110
# Options of bench/run that say where the results went, not what was measured.
PLACES = ("--out", "--json", "--bin")


@dataclass(frozen=True)
class Measured:
    """One scenario as it is, and its result with the document that it stands in."""

    scenario: scenarios.Scenario
    result: dict
    document: dict


@dataclass(frozen=True)
class Row:
    """One figure of a scenario. Without a target, bound and met are None."""

    measured: Measured
    figure: str
    bound: float | None = None
    kind: str | None = None
    met: bool | None = None

    @property
    def ratio(self):
        """To the best peer of these rounds; None when there was none, or its own figure is missing."""
        return self.measured.result["ratios"].get(self.figure, {}).get("ratios", {}).get("ringress")

    def of(self, peer):
        return self.measured.result["medians"].get(peer, {}).get(self.figure)

    def best_of(self, family):
        """The peer of a family, whichever variant has the best median: (value, peer)."""
        peers = [peer for peer in figures.REFERENCES if peer.split("-")[0] == family]
        return min(((self.of(peer), peer) for peer in peers if self.of(peer) is not None), default=(None, family))


def main(arguments):
    parser = argparse.ArgumentParser(prog="bench/readme", description="Writes the figures of README.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if README.md would change")
    options = parser.parse_args(arguments)
    try:
        return update(ROOT / "README.md", newest(ROOT / "bench" / "results"), options.check)
    except ValueError as error:
        sys.stderr.write(f"bench/readme: {error}\n")
        return 1


def update(readme, folder, check):
    """0 when README.md is, or now is, what the results of the folder make of it."""
    text = readme.read_text(encoding="utf-8")
    wanted = replaced(text, section(folder))
    if wanted == text:
        return 0
    if check:
        sys.stderr.write(f"bench/readme: {readme.name} is not what the results make of it: run bench/readme\n")
        return 1
    readme.write_text(wanted, encoding="utf-8")
    return 0


def newest(results):
    """The folder of the latest date that has results."""
    folders = sorted(path.parent for path in results.glob("*/*.json"))
    if not folders:
        raise ValueError(f"no results in {results}")
    return folders[-1]


def replaced(text, generated):
    """The text with what is generated between the markers."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"there must be one {BEGIN} and one {END} behind it")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{generated}{END}{rest.split(END)[1]}"


def section(folder):
    """All that stands between the markers."""
    everything = merged(documents(folder))
    rows = [cells(row) for one in everything for row in rows_of(one)]
    place = f"bench/results/{folder.name}"
    paragraphs = [legend(everything), *provenance(everything), f"Every peer and round: [{place}]({place})."]
    return "\n\n".join([aligned(rows), *map(wrapped, paragraphs)]) + "\n"


def wrapped(paragraph):
    return textwrap.fill(paragraph, WIDTH, break_long_words=False, break_on_hyphens=False)


def documents(folder):
    """Every document of the folder, the oldest run first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda document: document["started"])


def merged(found):
    """Every scenario that was measured, by its latest run, in the order of the bench."""
    latest = {name: Measured(scenario_of(name), result, document)
              for document in found for name, result in document["scenarios"].items()}
    return [latest[scenario.name] for scenario in scenarios.ALL if scenario.name in latest]


def scenario_of(name):
    try:
        return scenarios.named([name])[0]
    except ValueError as error:
        # Left out silently, it could be the one whose target was missed.
        raise ValueError(f"the results have a scenario that the bench has not: {error}") from error


def rows_of(measured):
    """A row for every figure with a target; where there is none, for the one that decides."""
    result = measured.result
    held = figures.verdicts(measured.scenario, result["medians"], result["ratios"])
    values = {(name, kind): value for name, _, kind, value, _ in held}
    # A figure that is missing meets nothing.
    rows = [Row(measured, name, bound, kind, values.get((name, kind), math.inf) <= bound)
            for name, bound, kind in measured.scenario.targets]
    return rows or [Row(measured, measured.scenario.primary)]


def cells(row):
    scenario = row.measured.scenario
    return [
        f"`{scenario.name}`: {row.measured.result['title']}",
        label(scenario, row.figure),
        shown(row.figure, row.of("ringress")),
        *(peer_cell(row, family) for family in ("nginx", "haproxy")),
        "–" if row.ratio is None else ratio_text(row),
        target(row),
        {None: "–", True: "yes", False: "**no**"}[row.met],
    ]


def peer_cell(row, family):
    value, peer = row.best_of(family)
    variant = peer.partition("-")[2]
    return f"{shown(row.figure, value)} ({variant})" if variant else shown(row.figure, value)


def label(scenario, figure):
    stream = scenario.load == "stream"
    if figure == "cpu_us":
        return f"CPU/{scenario.unit}"
    if figure == "pss_bytes":
        return "PSS/stream" if stream else "PSS/connection"
    return table.NAMES[figure] + (" delay" if stream else "")


def shown(figure, value):
    """A value with its unit; a dash when there is none."""
    if value is None:
        return "–"
    if figure == "pss_bytes":
        return table.size(value)
    return f"{table.number(value)} µs" if figure == "cpu_us" else table.duration(value)


def ratio_text(row):
    """Two decimals, unless they would show a target as met that was missed."""
    rounds_to_met = row.kind == "ratio" and not row.met and round(row.ratio, 2) <= row.bound
    return f"{row.ratio:.3f}" if rounds_to_met else f"{row.ratio:.2f}"


def target(row):
    if row.bound is None:
        return "–"
    return f"≤ {row.bound:.2f}" if row.kind == "ratio" else f"≤ {table.size(row.bound)}"


def aligned(rows):
    """The table, its texts to the left and its figures to the right."""
    ruler = ["---", "---", *["---:"] * (len(HEAD) - 3), "---"]
    return "\n".join("| " + " | ".join(line) + " |" for line in [HEAD, ruler, *rows])


def legend(everything):
    """How to read the table, how many targets are met, and what is not in it."""
    rows = [row for one in everything for row in rows_of(one) if row.met is not None]
    met = sum(row.met for row in rows)
    present = {one.scenario.name for one in everything}
    missing = [f"`{scenario.name}`" for scenario in scenarios.ALL if scenario.name not in present]
    texts = ["Medians of the rounds; lower is better. nginx and HAProxy stand in the variant that is best (`large`: "
             "larger buffers; `splice`: `option splice-auto`; `next`: of the release that Debian will have next), and "
             "the ratio is the median of each round's ratio to the better one. "
             f"Targets met: {met} of {len(rows)}."]
    texts += [f"Not measured: {', '.join(missing)}."] if missing else []
    failed = [f"`{one.scenario.name}` {peer} {len(why)}" for one in everything
              for peer, why in one.result["failed"].items()]
    texts += [f"Rounds that failed: {', '.join(failed)}."] if failed else []
    return " ".join(texts)


def provenance(everything):
    """A paragraph per run: when, where, what versions, which command, how many rounds."""
    runs = {one.document["started"]: one.document for one in everything}
    for started, document in sorted(runs.items()):
        mine = [one for one in everything if one.document is document]
        names = "" if len(runs) == 1 else " " + ", ".join(f"`{one.scenario.name}`" for one in mine)
        yield (f"Measured{names} on {started[:10]} on {machine(document['machine'])}, with "
               f"{versions(document['versions'])}; {rounds(mine)} per peer: `{command(document['command'])}`.")


def machine(told):
    cores = f"{told['cores']} cores" + (" of a virtual machine" if told["hypervisor"] else "")
    return (f"{told['cpu']}, {cores}, {told['memory_kib'] / (1 << 20):.0f} GiB, Linux {told['kernel']}, "
            f"{told['system']}, {told.get('congestion_control', 'unknown')} congestion control, "
            f"load average {told['load_average'][0]:.1f} at the start")


def versions(told):
    """Of Ringress, of those it is compared with, and of what makes the load."""
    titles = {"nginx": "nginx", "nginx-next": "nginx next", "haproxy": "HAProxy", "haproxy-next": "HAProxy next",
              "wrk": "wrk"}
    said = [f"{title} {version}" for name, title in titles.items() if (version := number_in(told.get(name)))]
    ours = f"Ringress {number_in(told.get('ringress')) or '–'} ({told.get('commit') or 'no commit'})"
    return ", ".join([ours, *said])


def number_in(line):
    """The version in what a program says about itself."""
    found = re.search(r"\d+(\.\d+)+[\w.+~-]*", line or "")
    return found.group() if found else None


def rounds(mine):
    counts = sorted({len({one["round"] for one in measured.result["rounds"]}) for measured in mine})
    return f"{counts[0]} rounds" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} rounds"


def command(told):
    """The command without the folder it was called in and where it wrote."""
    _, *words = shlex.split(told)
    kept = [word for before, word in zip(["", *words], words, strict=False)
            if before not in PLACES and word.partition("=")[0] not in PLACES]
    return shlex.join(["bench/run", *kept])
