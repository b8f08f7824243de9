"""What a results file says, and does not."""

import json
import unittest

from compare import cli, origin


class Placeless(unittest.TestCase):
    def test_paths_begin_at_the_repository(self):
        command = f"{origin.ROOT}/target/release/ringress --listen=127.0.0.1:1"
        written = cli.placeless({"settings": [command, "/usr/sbin/nginx"]})
        self.assertEqual(json.loads(written)["settings"], ["target/release/ringress --listen=127.0.0.1:1", "/usr/sbin/nginx"])
        self.assertNotIn(str(origin.ROOT), written)


if __name__ == "__main__":
    unittest.main()
