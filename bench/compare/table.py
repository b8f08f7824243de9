"""Results as Markdown."""

from . import figures

NAMES = {"cpu_us": "CPU", "p50_us": "p50", "p99_us": "p99", "pss_bytes": "PSS"}


def markdown(scenario, result):
    """One scenario: a table of medians, who was skipped, and what Ringress is held to."""
    unit = scenario.unit
    noun = "stream" if scenario.load == "stream" else "connection"
    delay = " delay" if scenario.load == "stream" else ""
    head = ["peer", f"CPU µs/{unit}", f"{unit}s/s", f"p50{delay}", f"p99{delay}", f"PSS/{noun}", "errors",
            "core busy", f"{NAMES[scenario.primary]} ratio"]
    primary = result["ratios"].get(scenario.primary, {"best": None, "ratios": {}})
    rows = [row(peer, middle, primary["ratios"].get(peer)) for peer, middle in result["medians"].items()]
    count = len({one["round"] for one in result["rounds"]})
    lines = [f"### {scenario.name}: {result['title']}", "", table(head, rows), ""]
    if primary["best"]:
        lines.append(f"Rounds: {count}; medians, and ratios to {primary['best']}, the best peer of these rounds.")
    lines += [f"Skipped {peer}: {why}." for peer, why in result["skipped"].items()]
    lines += [f"Failed {peer}: {why}" for peer, failures in result["failed"].items() for why in failures]
    lines += [verdict(*one) for one in figures.verdicts(scenario, result["medians"], result["ratios"])]
    return "\n".join(lines) + "\n"


def row(peer, middle, ratio):
    rate = middle["per_second"]
    return [
        peer,
        number(middle["cpu_us"]),
        f"{rate:,.0f}".replace(",", " ") if rate else "–",
        duration(middle["p50_us"]),
        duration(middle["p99_us"]),
        size(middle["pss_bytes"]),
        errors(middle["errors"], middle.get("overdue")),
        f"{middle['core']:.0%}" if middle["core"] is not None else "–",
        f"{ratio:.2f}" if ratio is not None else "–",
    ]


def verdict(name, bound, kind, value, best):
    if kind == "ratio":
        said, held = f"{value:.3f} of {best}", f"{bound:.2f}"
    else:
        said, held = size(value), size(bound)
    return f"Ringress, {NAMES[name]}: {said}; target ≤ {held}: {'met' if value <= bound else 'not met'}."


def table(head, rows):
    ruler = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ruler, *rows])


def errors(failed, overdue):
    """What failed; and, where a rate was not kept, the requests that were due and not made when the round ended."""
    return number(failed) + (f" ({number(overdue)} overdue)" if overdue else "")


def number(value):
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def duration(us):
    if us is None:
        return "–"
    return f"{us:.0f} µs" if us < 1000 else f"{us / 1000:.2f} ms" if us < 100_000 else f"{us / 1000:.0f} ms"


def size(byte_count):
    if byte_count is None:
        return "–"
    return f"{byte_count / 1024:.1f} KiB"
