"""What `/metrics` says is read by the parsers of Prometheus itself, and every metric of the dashboard is one of them."""

import json
import os
import pathlib
import re
import shutil
import urllib.request

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from origin import DEADLINE

ROOT = pathlib.Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "docs/grafana-dashboard.json"
PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=ROOT / ".tools")
# Where a change is judged nothing is skipped: what scripts/tools could not fetch fails there.
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None and "CI" not in os.environ, reason="there is no promtool: see scripts/tools"
)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
UNITS = ("_seconds", "_bytes", "_info")
# Gauges and counters of things, not of amounts with a unit.
THINGS = re.compile(r"_(active|open|connections|endpoints|lifecycle|hanging|serves|timers|idle|version)$")


def fetch(url, **fields):
    with urllib.request.urlopen(urllib.request.Request(url, headers=fields), timeout=DEADLINE) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


@pytest.fixture
def admin(ringress):
    """The admin listener of a proxy that has seen some traffic: its URL."""
    proxy = ringress(None, "--demo", "--admin", "127.0.0.1:0")
    for path in ("/", "/chunked/100000", "/bytes/1000000"):
        fetch(proxy.url + path)
    with pytest.raises(urllib.error.HTTPError):
        fetch(proxy.url + "/status/503")
    return "http://" + proxy.program.expect(rb"ringress admin on (\S+)")[1].decode()


def families(admin, accept, read):
    content_type, text = fetch(admin + "/metrics", Accept=accept)
    assert content_type.split(";")[0] == accept.split(";")[0]
    return {family.name: family for family in read(text)}


def test_both_formats_are_read_and_say_the_same(admin):
    """Names and types are the same; each sample is read as what its family is."""
    plain = families(admin, "text/plain", read_prometheus)
    opened = families(admin, OPENMETRICS, read_openmetrics)
    assert {name: it.type for name, it in plain.items()} == {name: it.type for name, it in opened.items()}
    series = [
        {(sample.name, tuple(sorted(sample.labels.items()))) for it in side.values() for sample in it.samples}
        for side in (plain, opened)
    ]
    assert series[0] == series[1]
    gaps = plain["ringress_route_stream_gap_seconds"]
    assert gaps.type == "histogram" and any(it.labels.get("le") == "+Inf" for it in gaps.samples)


def test_names_and_texts_are_in_order(admin):
    """What a linter would say: help, types, units, and histograms that add up."""
    for name, family in families(admin, "text/plain", read_prometheus).items():
        assert family.documentation.endswith("."), f"{name}: {family.documentation!r} is no sentence"
        assert family.type in ("counter", "gauge", "histogram"), name
        assert re.fullmatch("[a-z][a-z0-9_]*", name) and not name.endswith(("_count", "_sum", "_bucket")), name
        if family.type == "histogram":
            assert name.endswith(("_seconds", "_bytes")), name
            adds_up(family)
        elif family.type == "gauge":
            assert name.endswith(UNITS) or THINGS.search(name), f"{name} has no unit"
        for sample in family.samples:
            assert sample.value >= 0, sample
            if family.type == "counter":
                assert sample.name == name + "_total", sample


def adds_up(family):
    """Counts of buckets do not fall, and the last is the count."""
    series = {}
    for sample in family.samples:
        labels = {key: value for key, value in sample.labels.items() if key != "le"}
        kind = sample.name.removeprefix(family.name)
        series.setdefault(tuple(sorted(labels.items())), {}).setdefault(kind, []).append(sample)
    for labels, kinds in series.items():
        bounds = [float(it.labels["le"]) for it in kinds["_bucket"]]
        counts = [it.value for it in kinds["_bucket"]]
        assert bounds == sorted(set(bounds)) and bounds[-1] == float("inf"), (family.name, labels)
        assert counts == sorted(counts) and counts[-1] == kinds["_count"][0].value, (family.name, labels)
        assert (kinds["_sum"][0].value > 0) <= (counts[-1] > 0), (family.name, labels)


@needs_promtool
def test_promtool_has_nothing_to_say(admin, start, tmp_path):
    """The linter of Prometheus."""
    text = tmp_path / "metrics"
    text.write_text(fetch(admin + "/metrics")[1])
    with text.open("rb") as metrics:
        check = start([PROMTOOL, "check", "metrics"], stdin=metrics)
        status = check.wait()
    assert (status, bytes(check.out + check.err).decode()) == (0, "")


def expressions(panel):
    return [target["expr"] for target in panel.get("targets", [])]


def test_the_dashboard_names_metrics_that_exist(admin):
    """Every metric of every panel is one that is exported, under the name that a query has for it."""
    known = {sample.name for it in families(admin, "text/plain", read_prometheus).values() for sample in it.samples}
    known |= {"ringress_route_errors_total"}  # there with the first error
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [each for panel in dashboard["panels"] for each in expressions(panel)]
    variables = [it["query"] for it in dashboard["templating"]["list"] if it["type"] == "query"]
    texts = queries + [it["query"] if isinstance(it, dict) else it for it in variables]
    named = {name for text in texts for name in re.findall(r"\b(?:ringress|process)_\w+", text)}
    assert named and named <= known, named - known
    assert len(queries) > 20


@needs_promtool
def test_the_queries_of_the_dashboard_and_the_docs_are_well_formed(start, tmp_path):
    """Each as a rule that Prometheus would take."""
    queries = [each for panel in json.loads(DASHBOARD.read_text())["panels"] for each in expressions(panel)]
    block = (ROOT / "docs/metrics.md").read_text().split("## Worth an alert")[1].split("```")[1]
    queries += block.strip().splitlines()
    rules = [{"record": "q", "expr": each.replace("$__rate_interval", "5m"), "labels": {"n": str(n)}}
             for n, each in enumerate(queries)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))  # JSON is YAML
    check = start([PROMTOOL, "check", "rules", file])
    assert check.wait() == 0, bytes(check.out + check.err).decode()
    assert f"{len(queries)} rules found".encode() in check.out


def test_the_dashboard_can_be_imported():
    """Panels have ids of their own, places that do not overlap, and the data source that the import asks for."""
    dashboard = json.loads(DASHBOARD.read_text())
    assert {"title", "uid", "schemaVersion", "panels", "__inputs"} <= dashboard.keys()
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${DS_PROMETHEUS}", panel["title"]
            assert expressions(panel) and all(it["refId"] for it in panel["targets"]), panel["title"]
