"""The floor's relays: in every mode, bytes come out as they went in, an end ends both sides, nothing is leaked."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
import unittest

from compare import floor
from compare.process import free_port

# Past every socket buffer, so that both directions have to wait for room.
LARGE = os.urandom(1 << 16) * 128
# Client and origin are this process, which may have 1 024 descriptors.
PAIRS = 400
DEADLINE_SECONDS = 20.0


class Echo:
    """An origin that sends back what it gets, a connection a thread. `b"!"` alone makes it close, and `b"?"` send a
    lot before that."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=PAIRS)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    @staticmethod
    def serve(connection):
        with connection:
            while (data := connection.recv(1 << 16)) and data not in (b"!", b"?"):
                connection.sendall(data)
            if data == b"?":
                connection.sendall(LARGE)


class Relay:
    """A relay in front of an echo, and the end of both."""

    def __init__(self, mode):
        self.echo, self.port = Echo(), free_port()
        self.process = subprocess.Popen([floor.build(), mode, str(self.port), str(self.echo.port)])

    def __enter__(self):
        self.client().close()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.echo.listener.close()

    def client(self):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_SECONDS)
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise

    def pairs(self):
        """Pairs of connections that are open: all sockets but the listener."""
        folder, sockets = f"/proc/{self.process.pid}/fd", 0
        for name in os.listdir(folder):
            # One may be closed while we look.
            with contextlib.suppress(FileNotFoundError):
                sockets += os.readlink(f"{folder}/{name}").startswith("socket:")
        return (sockets - 1) / 2

    def settles_at(self, pairs):
        """Whether so many are open before long: closing takes a moment."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (now := self.pairs()) != pairs and time.monotonic() < deadline:
            time.sleep(0.005)
        return now == pairs


def exchange(client, data):
    """Sends and reads at once, as fast as each side goes."""
    sender = threading.Thread(target=client.sendall, args=(data,))
    sender.start()
    got = bytearray()
    while len(got) < len(data) and (more := client.recv(1 << 16)):
        got += more
    sender.join()
    return bytes(got)


def in_each_mode(test):
    def run(self):
        for mode in floor.MODES:
            with self.subTest(mode), Relay(mode) as relay:
                test(self, relay)
    return run


class Modes(unittest.TestCase):
    @in_each_mode
    def test_small_messages_on_many_connections(self, relay):
        clients = [relay.client() for _ in range(PAIRS)]
        for turn in range(3):
            for number, client in enumerate(clients):
                client.sendall(b"%d %d" % (turn, number))
            for number, client in enumerate(clients):
                self.assertEqual(client.recv(100), b"%d %d" % (turn, number))
        self.assertTrue(relay.settles_at(PAIRS))
        for client in clients:
            client.close()
        self.assertTrue(relay.settles_at(0))

    @in_each_mode
    def test_large_messages(self, relay):
        with relay.client() as client, relay.client() as other:
            self.assertEqual(exchange(client, LARGE), LARGE)
            self.assertEqual(exchange(other, b"still there"), b"still there")

    @in_each_mode
    def test_an_end_on_either_side_ends_both_and_leaks_nothing(self, relay):
        with relay.client() as client:
            exchange(client, b"first")
            for turn in range(200):
                with relay.client() as other:
                    self.assertEqual(exchange(other, b"abc"), b"abc")
                    if turn % 2:
                        other.sendall(b"!")
                        self.assertEqual(other.recv(1), b"")
            self.assertTrue(relay.settles_at(1))
            self.assertEqual(exchange(client, b"last"), b"last")
        self.assertTrue(relay.settles_at(0))

    @in_each_mode
    def test_what_was_sent_before_the_end_arrives(self, relay):
        with relay.client() as client:
            client.sendall(b"?")
            got = bytearray()
            while more := client.recv(1 << 16):
                got += more
            self.assertEqual(bytes(got), LARGE)

    @in_each_mode
    def test_sigterm_ends_it(self, relay):
        with relay.client() as client:
            exchange(client, b"first")
            relay.process.send_signal(signal.SIGTERM)
            self.assertEqual(relay.process.wait(DEADLINE_SECONDS), -signal.SIGTERM)


if __name__ == "__main__":
    unittest.main()
