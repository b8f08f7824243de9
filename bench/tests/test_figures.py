"""Medians, ratios and how they are shown, from rounds made by hand; and that the clocks read a real process."""

import os
import time
import unittest
import xml.dom.minidom
from pathlib import Path

from compare import figures, floor, measure, peers, plot, scenarios, table


def round_of(number, peer, cpu_us, **more):
    empty = dict.fromkeys(figures.FIGURES)
    return {**empty, "round": number, "peer": peer, "cpu_us": cpu_us, "per_second": 1000.0, "errors": 0, **more}


ROUNDS = [
    # The second round was on a slow machine for everyone; haproxy-tcp is the floor and no rival.
    *(round_of(n, "ringress", 15.0 * slow) for n, slow in enumerate((1, 3, 1))),
    *(round_of(n, "nginx", 20.0 * slow) for n, slow in enumerate((1, 3, 1))),
    *(round_of(n, "haproxy", 30.0 * slow) for n, slow in enumerate((1, 3, 1))),
    *(round_of(n, "haproxy-tcp", 10.0 * slow) for n, slow in enumerate((1, 3, 1))),
]


class Ratios(unittest.TestCase):
    def test_a_slow_round_for_all_does_not_count(self):
        against = figures.ratios(ROUNDS)["cpu_us"]
        self.assertEqual(against["best"], "nginx")
        self.assertEqual(against["ratios"], {"ringress": 0.75, "nginx": 1.0, "haproxy": 1.5, "haproxy-tcp": 0.5})

    def test_rounds_are_paired_by_number(self):
        torn = [one for one in ROUNDS if (one["peer"], one["round"]) != ("ringress", 0)]
        self.assertEqual(figures.ratios(torn)["cpu_us"]["ratios"]["ringress"], 0.75)

    def test_without_nginx_and_haproxy_the_rest_are_rivals(self):
        rounds = [round_of(0, "ringress", 10.0), round_of(0, "caddy", 40.0), round_of(0, "haproxy-tcp", 5.0)]
        rounds.append(round_of(0, "floor-epoll", 4.0))
        self.assertEqual(figures.ratios(rounds)["cpu_us"]["best"], "caddy")
        self.assertEqual(figures.ratios(rounds[:1]), {})

    def test_a_figure_that_nobody_has_is_left_out(self):
        self.assertEqual(list(figures.ratios(ROUNDS)), ["cpu_us"])


class Shown(unittest.TestCase):
    def setUp(self):
        middle, against = figures.medians(ROUNDS), figures.ratios(ROUNDS)
        self.scenario = scenarios.named(["small-64"])[0]
        self.result = {"title": "t", "rounds": ROUNDS, "medians": middle, "ratios": against,
                       "skipped": {"caddy": "no caddy"}, "failed": {}}

    def test_table(self):
        text = table.markdown(self.scenario, self.result)
        self.assertIn("| ringress | 15 | 1 000 | – | – | – | 0 | – | 0.75 |", text)
        self.assertIn("Skipped caddy: no caddy.", text)
        self.assertIn("Ringress, CPU: 0.750 of nginx; target ≤ 0.75: met.", text)

    def test_overdue_requests_stand_beside_errors(self):
        self.assertEqual(table.errors(0, None), "0")
        self.assertEqual(table.errors(0, 0), "0")
        self.assertEqual(table.errors(2, 343), "2 (343 overdue)")

    def test_plot_is_xml_with_a_bar_per_peer(self):
        document = xml.dom.minidom.parseString(plot.svg([(self.scenario, self.result)]))
        self.assertEqual(len(document.getElementsByTagName("rect")), 4)


class Clocks(unittest.TestCase):
    def test_both_clocks_see_our_own_work(self):
        before, start = measure.cpu([os.getpid()]), time.process_time()
        while time.process_time() - start < 0.2:
            pass
        used = measure.cpu([os.getpid()]).since(before)
        self.assertAlmostEqual(used, 200_000, delta=40_000)

    def test_a_thread_that_ended_is_not_lost(self):
        before, after = measure.Cpu(0.0, 500_000.0), measure.Cpu(900_000.0, 600_000.0)
        self.assertEqual(after.since(before), 900_000.0)
        self.assertEqual(measure.Cpu(100_000.0, 104_321.0).since(measure.Cpu(0.0, 0.0)), 104_321.0)

    def test_the_tree_has_its_root(self):
        self.assertIn(os.getpid(), measure.tree(os.getpid()))
        self.assertGreater(measure.pss_bytes([os.getpid()]), 1 << 20)


class Peers(unittest.TestCase):
    def test_instruments_run_only_when_asked_for(self):
        everyone = peers.all_peers(Path("ringress"))
        unasked = [name for name, peer in everyone.items() if not peer.by_default]
        self.assertEqual(unasked, [f"floor-{mode}" for mode in floor.MODES])


class Scenarios(unittest.TestCase):
    def test_names(self):
        self.assertEqual(len({one.name for one in scenarios.ALL}), len(scenarios.ALL))
        with self.assertRaises(ValueError):
            scenarios.named(["smal-64"])
