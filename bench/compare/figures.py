"""From rounds to medians and ratios."""

from statistics import median

# Whom the targets are about. A relay without HTTP is the floor, not a rival; the names of such begin with FLOOR.
REFERENCES = ("nginx", "nginx-large", "haproxy", "haproxy-splice", "haproxy-large", "nginx-next", "nginx-next-large",
              "haproxy-next", "haproxy-next-splice", "haproxy-next-large")
FLOOR = ("haproxy-tcp", "floor-")
# Figures of a round; all but the rates are better when lower.
FIGURES = ("cpu_us", "per_second", "p50_us", "p99_us", "pss_bytes", "errors", "overdue", "core")
COMPARED = ("cpu_us", "p50_us", "p99_us", "pss_bytes")


def of_round(load, cpu_us, wall_us, pss_bytes, connections):
    """The figures of one round."""
    count = load.get("count") or 0
    return {
        **{name: load.get(name) for name in ("count", "per_second", "p50_us", "p99_us", "errors", "overdue")},
        "cpu_us": cpu_us / count if count else None,
        "cpu_total_us": cpu_us,
        "core": cpu_us / wall_us,
        "pss_bytes": max(0, pss_bytes) / connections,
    }


def medians(rounds):
    """Per peer, the median of every figure."""
    return {peer: {name: median_of(values(mine, name)) for name in FIGURES} for peer, mine in by_peer(rounds).items()}


def ratios(rounds):
    """Per figure, the best rival and every peer's ratio to it: the median of the ratios of each round, so that a
    slow minute of the machine, which hits all peers of a round alike, does not count."""
    mine = by_peer(rounds)
    result = {}
    for name in COMPARED:
        best = best_rival(mine, name)
        if best:
            against = {peer: median_of(round_ratios(own, mine[best], name)) for peer, own in mine.items()}
            result[name] = {"best": best, "ratios": against}
    return result


def best_rival(mine, name):
    rivals = [peer for peer in mine if peer in REFERENCES] or [
        peer for peer in mine if peer != "ringress" and not peer.startswith(FLOOR)
    ]
    known = {peer: median_of(values(mine[peer], name)) for peer in rivals}
    known = {peer: value for peer, value in known.items() if value}
    return min(known, key=known.get, default=None)


def round_ratios(own, best, name):
    others = {one["round"]: one.get(name) for one in best}
    pairs = [(one.get(name), others.get(one["round"])) for one in own]
    return [value / other for value, other in pairs if value is not None and other]


def by_peer(rounds):
    grouped = {}
    for one in rounds:
        grouped.setdefault(one["peer"], []).append(one)
    return grouped


def values(rounds, name):
    return [one[name] for one in rounds if one.get(name) is not None]


def median_of(numbers):
    return median(numbers) if numbers else None


def verdicts(scenario, middle, against):
    """What Ringress is held to in a scenario: (figure, bound, kind, value, best peer)."""
    found = []
    for name, bound, kind in scenario.targets:
        ratio = against.get(name, {})
        value = ratio.get("ratios", {}).get("ringress") if kind == "ratio" else middle.get("ringress", {}).get(name)
        if value is not None:
            found.append((name, bound, kind, value, ratio.get("best")))
    return found
