"""TLS and HTTP/2: the bench's own look at a proxy, what each peer is told, and who has a part."""

import contextlib
import shutil
import socket
import ssl
import tempfile
import threading
import unittest
from pathlib import Path

from compare import certificate, knock, peers, scenarios
from compare.peers import Place, Setting

HTTP2 = Setting(http2=True)


class Scripted:
    """A server that takes one connection, reads a little and says what it was given."""

    def __init__(self, *said, context=None):
        self.said, self.context = b"".join(said), context
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            connection, _ = self.listener.accept()
            with self.context.wrap_socket(connection, server_side=True) if self.context else connection as stream:
                stream.recv(1 << 14)
                stream.sendall(self.said)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


class Knock(unittest.TestCase):
    SETTINGS = knock.frame(4, 0, 0, b"")
    HEAD = knock.frame(knock.HEADERS, knock.END_HEADERS, 1, b"\x20\x88")

    def asked(self, setting, *said):
        with Scripted(*said) as server:
            return knock.answers(server.port, setting, None)

    def test_http2(self):
        end = knock.frame(0, knock.END_STREAM, 1, b"x" * 100)
        self.assertTrue(self.asked(HTTP2, self.SETTINGS, self.HEAD, end))
        trailers = knock.frame(knock.HEADERS, knock.END_STREAM | knock.END_HEADERS, 1, b"\x00\x01a\x01b")
        self.assertTrue(self.asked(Setting(http2=True, grpc=True), self.SETTINGS, self.HEAD, trailers))

    def test_what_is_no_answer(self):
        not_found = knock.frame(knock.HEADERS, knock.END_STREAM | knock.END_HEADERS, 1, b"\x8d")
        bodyless = knock.frame(0, knock.END_STREAM, 1, b"")
        for said in ((), (self.SETTINGS,), (self.SETTINGS, not_found), (bodyless,), (knock.frame(7, 0, 0, bytes(8)),),
                     (b"HTTP/1.1 400 Bad Request\r\n\r\n",)):
            self.assertFalse(self.asked(HTTP2, *said), said)

    def test_frames_are_whole(self):
        both = self.SETTINGS + self.HEAD
        self.assertEqual(list(knock.frames(both)), [(4, 0, 0, b""), (1, 4, 1, b"\x20\x88")])
        self.assertEqual(len(list(knock.frames(both[:-1]))), 1)

    @unittest.skipUnless(shutil.which("openssl"), "no openssl")
    def test_tls_with_the_certificate_of_the_bench_and_no_other(self):
        response = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            mine, stranger = certificate.make(Path(one)), certificate.make(Path(other))
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(mine.both)
            for trusted in (mine, stranger):
                with Scripted(response, context=context) as server:
                    found = knock.answers(server.port, Setting(tls=True), trusted)
                self.assertEqual(found, trusted is mine)


class Told(unittest.TestCase):
    """What each peer is started with."""

    def config(self, name, setting):
        with tempfile.TemporaryDirectory() as folder:
            shown = certificate.Certificate(Path("/c/chain"), Path("/c/key"), Path("/c/both"))
            place = Place(setting, 1, 2, Path(folder), 20_000, shown)
            words = " ".join(peers.all_peers(Path("ringress"))[name].command(place))
            texts = [path.read_text(encoding="utf-8") for path in Path(folder).iterdir()]
        text = "\n".join([words, *texts])
        text = text.replace(folder, "FOLDER")
        self.assertNotIn("{{", "\n".join(line for line in text.splitlines() if "bench/compare/peers.py" not in line))
        return text

    def test_tls(self):
        wanted = {
            "nginx": ("backlog=4096 ssl;", "ssl_certificate /c/chain;", "proxy_pass http://origin;"),
            "haproxy": ("ssl crt /c/both alpn http/1.1",),
            "caddy": ("https://bench.test:1 {", "tls /c/chain /c/key"),
            "ringress": ("--tls-listen=127.0.0.1:1", "--cert=/c/chain", "--key=/c/key", "--upstream=127.0.0.1:2"),
        }
        self.check(Setting(tls=True), wanted)

    def test_grpc(self):
        wanted = {
            "nginx": ("backlog=4096 http2;", "grpc_pass grpc://origin;"),
            "haproxy": ("backlog 4096 proto h2", "server origin 127.0.0.1:2 proto h2", "option http-no-delay"),
            "caddy": ("protocols h1 h2c", "versions h2c 2", "flush_interval -1"),
            "ringress": ("--listen=127.0.0.1:1", "--upstream=h2c://127.0.0.1:2"),
        }
        self.check(Setting(streams=True, http2=True, grpc=True), wanted)

    def test_neither(self):
        for name in ("nginx", "haproxy", "caddy", "ringress"):
            text = self.config(name, Setting())
            self.assertNotRegex(text, r"http2;|proto h2|h2c:|/c/chain|grpc_pass", name)

    def test_the_next_release_is_the_same_with_its_own_libraries(self):
        folder = peers.NEXT
        for name in ("nginx", "haproxy"):
            one, other = (self.config(each, Setting()) for each in (name, f"{name}-next"))
            libraries = folder / "usr/lib/x86_64-linux-gnu"
            loader = f"{libraries}/ld-linux-x86-64.so.2 --library-path {libraries} {folder}/usr/sbin/"
            self.assertEqual(other, loader + one, name)

    def check(self, setting, wanted):
        for name, lines in wanted.items():
            text = self.config(name, setting)
            for line in lines:
                self.assertIn(line, text, name)


class Part(unittest.TestCase):
    def test_who_speaks_no_more_than_http1_has_no_part(self):
        everyone = peers.all_peers(Path("ringress"))
        for scenario in scenarios.named(["tls-small", "h2-small", "grpc-bidi"]):
            names = [name for name, peer in everyone.items() if not scenarios.why_not(scenario, peer)]
            rivals = ["nginx", "haproxy", "nginx-next", "haproxy-next"]
            self.assertEqual(names, ["ringress", *rivals, "caddy"], scenario.name)

    def test_large_buffers_have_one_in_large_bodies_and_splicing_has_none_under_tls(self):
        everyone = peers.all_peers(Path("ringress"))
        for scenario in scenarios.named(["tls-1m", "h2-1m"]):
            names = [name for name, peer in everyone.items() if not scenarios.why_not(scenario, peer)]
            rivals = ["nginx", "haproxy", "nginx-large", "haproxy-large"]
            newer = ["nginx-next", "haproxy-next", "nginx-next-large", "haproxy-next-large"]
            self.assertEqual(names, ["ringress", *rivals, *newer, "caddy"])


if __name__ == "__main__":
    unittest.main()
