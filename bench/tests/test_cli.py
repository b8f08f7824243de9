"""What a results file says, and does not."""

import json
import unittest

from compare import cli, figures, origin, scenarios


class Placeless(unittest.TestCase):
    def test_paths_begin_at_the_repository(self):
        command = f"{origin.ROOT}/target/release/ringress --listen=127.0.0.1:1"
        written = cli.placeless({"settings": [command, "/usr/sbin/nginx"]})
        self.assertEqual(json.loads(written)["settings"], ["target/release/ringress --listen=127.0.0.1:1", "/usr/sbin/nginx"])
        self.assertNotIn(str(origin.ROOT), written)


class Judged(unittest.TestCase):
    def complaints(self, **more):
        scenario = scenarios.named(["mixed"])[0]
        one = {**dict.fromkeys(figures.FIGURES, 1.0), "round": 0, "peer": "ringress", "count": 500, "errors": 0.0, **more}
        result = {"rounds": [one], "medians": figures.medians([one])}
        return list(cli.missing_figures(scenario, result))

    def test_a_slow_machine_alone_is_no_failure(self):
        self.assertEqual(self.complaints(overdue=343.0), [])

    def test_an_error_is_one_whether_or_not_the_machine_is_slow(self):
        self.assertEqual(self.complaints(errors=1.0), ["ringress: 1.0 errors"])
        self.assertEqual(self.complaints(errors=1.0, overdue=343.0), ["ringress: 1.0 errors"])

    def test_silence_is_a_failure(self):
        self.assertEqual(self.complaints(count=0, overdue=500.0), ["ringress: no count"])


if __name__ == "__main__":
    unittest.main()
