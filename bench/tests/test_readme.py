"""The generated part of README.md, from documents made by hand; and that markers and checks keep their word."""

import contextlib
import io
import json
import tempfile
import unittest
from pathlib import Path

from compare import figures, readme, scenarios

MACHINE = {"cpu": "a CPU", "cores": 2, "hypervisor": True, "memory_kib": 8 << 20, "kernel": "6.1", "system": "Debian",
           "load_average": [0.25, 0, 0]}
VERSIONS = {"ringress": "ringress 0.1.0", "nginx": "nginx version: nginx/1.22.1", "commit": "abc1234", "wrk": None,
            "haproxy": "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/"}


def result_of(name, **values):
    """A scenario of three equal rounds; `values` are of its primary figure, by peer."""
    scenario = scenarios.named([name])[0]
    empty = dict.fromkeys(figures.FIGURES)
    rounds = [{**empty, "round": number, "peer": peer.replace("_", "-"), scenario.primary: value}
              for number in range(3) for peer, value in values.items()]
    return {"title": scenario.title, "rounds": rounds, "medians": figures.medians(rounds),
            "ratios": figures.ratios(rounds), "failed": {}}


def document(started="2026-11-21T06:15:31Z", **results):
    return {"started": started, "command": "/x/bench/run --rounds 3 --out /tmp/out --seconds 2", "machine": MACHINE,
            "versions": VERSIONS, "scenarios": {name.replace("_", "-"): one for name, one in results.items()}}


def folder_of(root, name, **documents):
    folder = Path(root) / name
    folder.mkdir()
    for file, content in documents.items():
        (folder / f"{file}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


class Table(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.root = place.name

    def section(self, **documents):
        return readme.section(folder_of(self.root, "2026-11-21", **documents)).replace("\n", " ")

    def test_a_missed_target_is_said(self):
        text = self.section(results=document(small_64=result_of("small-64", ringress=12.0, nginx=12.5, haproxy=15.0)))
        self.assertIn("| CPU/request | 12 µs | 12.5 µs | 15 µs | 0.96 | ≤ 0.75 | **no** |", text)
        self.assertIn("Targets met: 0 of 1. Not measured: `small-512`,", text)

    def test_rounding_does_not_meet_a_target(self):
        text = self.section(results=document(small_64=result_of("small-64", ringress=75.4, nginx=100.0)))
        self.assertIn("| 75.4 µs | 100 µs | – | 0.754 | ≤ 0.75 | **no** |", text)

    def test_the_best_variant_stands_for_its_family(self):
        peers = {"ringress": 200.0, "nginx": 560.0, "haproxy": 690.0, "nginx_large": 600.0, "haproxy_large": 800.0}
        text = self.section(results=document(**{"1m": result_of("1m", **peers, haproxy_splice=500.0)}))
        self.assertIn("| 200 µs | 560 µs | 500 µs (splice) | 0.40 | ≤ 0.42 | yes |", text)

    def test_a_bound_that_is_no_ratio(self):
        text = self.section(results=document(idle=result_of("idle", ringress=1536.0, nginx=768.0)))
        self.assertIn("| PSS/connection | 1.5 KiB | 0.8 KiB | – | 2.00 | ≤ 1.5 KiB | yes |", text)

    def test_a_scenario_without_a_target_has_its_figure(self):
        text = self.section(results=document(ws=result_of("ws", ringress=11.0, nginx=10.0)))
        self.assertIn("| CPU/message | 11 µs | 10 µs | – | 1.10 | – | – |", text)
        self.assertIn("Targets met: 0 of 0.", text)

    def test_every_target_of_a_scenario_has_a_row(self):
        rounds = [{**one, "cpu_us": 10.0, "p99_us": 100, "pss_bytes": 3000.0}
                  for one in result_of("sse", ringress=1.0, nginx=1.0)["rounds"]]
        result = {"title": "t", "rounds": rounds, "medians": figures.medians(rounds),
                  "ratios": figures.ratios(rounds), "failed": {}}
        text = self.section(results=document(sse=result))
        self.assertEqual([f"| {name} |" in text for name in ("CPU/event", "p99 delay", "PSS/stream")], [True] * 3)
        self.assertIn("Targets met: 1 of 3.", text)

    def test_two_targets_of_one_figure_are_held_apart(self):
        text = self.section(results=document(tls_idle=result_of("tls-idle", ringress=12288.0, nginx=24576.0)))
        self.assertIn("| PSS/connection | 12.0 KiB | 24.0 KiB | – | 0.50 | ≤ 1.00 | yes |", text)
        self.assertIn("| PSS/connection | 12.0 KiB | 24.0 KiB | – | 0.50 | ≤ 10.0 KiB | **no** |", text)

    def test_failures_are_said_and_meet_nothing(self):
        result = result_of("small-64", nginx=10.0) | {"failed": {"ringress": ["round 1: no", "round 2: no"]}}
        text = self.section(results=document(small_64=result))
        self.assertIn("| CPU/request | – | 10 µs | – | – | ≤ 0.75 | **no** |", text)
        self.assertIn("Targets met: 0 of 1.", text)
        self.assertIn("Rounds that failed: `small-64` ringress 2.", text)

    def test_documents_are_merged_and_the_later_run_counts(self):
        late = document("2026-11-21T09:00:00Z", small_64=result_of("small-64", ringress=7.0, nginx=10.0))
        early = document(small_64=result_of("small-64", ringress=9.0, nginx=10.0),
                         conn_close=result_of("conn-close", ringress=9.0, nginx=10.0))
        text = self.section(a=late, b=early)
        self.assertIn("| 7 µs | 10 µs |", text)
        self.assertLess(text.index("`small-64`: "), text.index("`conn-close`: "))
        self.assertIn("Measured `conn-close` on 2026-11-21", text)

    def test_where_it_came_from(self):
        text = self.section(results=document(small_64=result_of("small-64", ringress=7.0, nginx=10.0)))
        self.assertIn("Measured on 2026-11-21 on a CPU, 2 cores of a virtual machine, 8 GiB, Linux 6.1, Debian,", text)
        self.assertIn("with Ringress 0.1.0 (abc1234), nginx 1.22.1, HAProxy 2.6.12-1+deb12u4; 3 rounds", text)
        self.assertIn("`bench/run --rounds 3 --seconds 2`", text)

    def test_a_scenario_that_is_no_more_is_not_left_out_silently(self):
        with self.assertRaises(ValueError):
            self.section(results=document(gone=result_of("ws", ringress=1.0)))


class Place(unittest.TestCase):
    def test_only_what_is_between_the_markers_changes(self):
        text = f"a\n{readme.BEGIN}\nold\n{readme.END}\nb\n"
        self.assertEqual(readme.replaced(text, "new\n"), f"a\n{readme.BEGIN}\nnew\n{readme.END}\nb\n")

    def test_markers_must_be_there_once_and_in_order(self):
        for text in ("", readme.BEGIN, f"{readme.END}{readme.BEGIN}", f"{readme.BEGIN * 2}{readme.END}"):
            with self.assertRaises(ValueError):
                readme.replaced(text, "")

    def test_the_newest_folder_with_results(self):
        with tempfile.TemporaryDirectory() as root:
            for name in ("2026-11-21", "2026-12-02", "2026-02-30"):
                folder_of(root, name, results={})
            (Path(root) / "2027-01-01").mkdir()
            self.assertEqual(readme.newest(Path(root)).name, "2026-12-02")

    def test_a_check_writes_nothing_and_a_second_run_has_nothing_to_do(self):
        with tempfile.TemporaryDirectory() as root:
            result = result_of("small-64", ringress=7.0, nginx=10.0)
            folder = folder_of(root, "2026-11-21", results=document(small_64=result))
            file = Path(root) / "README.md"
            file.write_text(f"{readme.BEGIN}\n{readme.END}\n", encoding="utf-8")
            with contextlib.redirect_stderr(io.StringIO()):
                self.assertEqual(readme.update(file, folder, check=True), 1)
            self.assertNotIn("small-64", file.read_text(encoding="utf-8"))
            self.assertEqual(readme.update(file, folder, check=False), 0)
            self.assertEqual(readme.update(file, folder, check=True), 0)
