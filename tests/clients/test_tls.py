"""TLS towards clients, as curl and openssl see it: versions, protocols, names, tickets, client certificates."""

import re

import pytest

from certificates import Certificates
from conftest import needs_proxy

SHOW = "|%{http_version} %{http_code}"
REQUEST = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
SUBJECT = "X-Client-Cert-Subject"

pytestmark = needs_proxy  # the origins here do not speak TLS


def at(port, *names):
    """Has curl find these names at that port of this host."""
    return [word for name in names for word in ("--resolve", f"{name}:{port}:127.0.0.1")]


@pytest.fixture
def fetch(curl, certificates):
    """Starts curl that trusts the test authority alone and prints the body, the version and the status."""
    return lambda *args: curl("--cacert", certificates.ca, "-w", SHOW, *args)


@pytest.fixture
def s_client(start, certificates, tmp_path):
    """What `openssl s_client` says of a connection with one request (or none), to the end of it."""

    def run(port, *args, request=REQUEST, name="localhost"):
        file = tmp_path / "request"
        file.write_text(request)
        server = ["-connect", f"127.0.0.1:{port}", "-CAfile", certificates.ca]
        server += ["-servername", name] if name else ["-noservername"]
        with file.open() as stdin:
            client = start(["openssl", "s_client", *server, *(["-ign_eof"] if request else []), *args], stdin=stdin)
            client.wait()
        return bytes(client.out + client.err).decode(errors="replace")

    return run


@pytest.fixture
def hello(origin):
    """An origin that says who it takes the client for."""
    server = origin(lambda request: request.reply(request.field(SUBJECT, "nobody").encode()))
    return f"127.0.0.1:{server.port}"


@pytest.fixture
def alice(certificates):
    """A client certificate and its key."""
    return certificates.issue("alice", "/O=Example/CN=alice", "DNS:alice.test")


@pytest.mark.parametrize("version", ["--tlsv1.3", "--tls-max=1.2"])
@pytest.mark.parametrize("protocol, number", [("--http2", "2"), ("--http1.1", "1.1")])
def test_curl_agrees_on_a_protocol_in_both_versions(hello, secure, fetch, version, protocol, number):
    """ALPN gives HTTP/2 to who offers it; the certificate is verified by name."""
    port = secure(hello).tls_port()
    client = fetch("-v", *version.split("="), protocol, *at(port, "localhost"), f"https://localhost:{port}/")
    assert client.run() == f"nobody|{number} 200".encode()
    expected = b"TLSv1.2" if "1.2" in version else b"TLSv1.3"
    assert b"SSL connection using " + expected in client.err
    assert b"SSL certificate verify ok" in client.err


def test_a_wrong_name_is_not_verified(hello, secure, fetch):
    """Who asks for another name sees the default certificate, and does not take it."""
    port = secure(hello).tls_port()
    client = fetch(*at(port, "other.test"), f"https://other.test:{port}/")
    assert client.wait() == 60, client.err
    assert fetch(*at(port, "localhost"), "-H", "Host: other.test", f"https://localhost:{port}/").run().endswith(b" 421")


@pytest.mark.parametrize("method", [[], ["-d", "body"]], ids=["GET", "POST"])
def test_curl_follows_the_redirect(origin, secure, fetch, method):
    """From the clear to TLS, with path and query, and with the body: 308 keeps the method."""
    server = origin(lambda request: request.reply(f"{request.method} {request.target} ".encode() + request.body()))
    proxy = secure(f"127.0.0.1:{server.port}", "--http-redirect", "127.0.0.1:0")
    port = int(proxy.program.expect(rb"listening on \S+:(\d+) \(redirects to https\)")[1])
    names = at(port, "localhost") + at(proxy.tls_port(), "localhost")
    shown = ["-w", "|%{http_version} %{http_code} %{num_redirects} %{url_effective}"]
    got = fetch("-L", *names, *method, *shown, f"http://localhost:{port}/a?b=c").run().decode()
    expected = "POST /a?b=c body" if method else "GET /a?b=c "
    assert got == f"{expected}|2 200 1 https://localhost:{proxy.tls_port()}/a?b=c"


@pytest.mark.parametrize("protocol", ["--http2", "--http1.1"])
@pytest.mark.parametrize("auth", ["required", "optional"])
def test_client_certificates(hello, secure, fetch, certificates, alice, auth, protocol):
    """The subject reaches the origin, the client's own word for it never does."""
    url = secure(hello, "--client-ca", certificates.ca, "--client-auth", auth).secure_url
    forged = ["-H", f"{SUBJECT}: CN=root", protocol]
    identity = ["--cert", alice[0], "--key", alice[1]]
    assert fetch(*forged, *identity, url).run().startswith(b"CN=alice,O=Example|")
    if auth == "optional":
        assert fetch(*forged, url).run().startswith(b"nobody|")
    else:
        assert_refused(fetch, url, r"handshake failure|certificate required")


@pytest.mark.parametrize("auth", ["required", "optional"])
def test_a_client_certificate_of_another_authority_is_refused(hello, secure, fetch, certificates, auth, tmp_path):
    """Even where none is required."""
    url = secure(hello, "--client-ca", certificates.ca, "--client-auth", auth).secure_url
    cert, key = Certificates(tmp_path).issue("mallory", "/O=Example/CN=alice", "DNS:alice.test")
    assert_refused(fetch, url, r"unknown ca|decrypt error", "--cert", cert, "--key", key)


def assert_refused(fetch, url, alert, *args):
    """In TLS 1.2 with an alert. A client of TLS 1.3 has sent its request when the alert comes, and may see a reset."""
    old = fetch("--tls-max", "1.2", *args, url)
    assert old.wait() in (35, 56, 98) and re.search(rb"alert (%b)" % alert.encode(), old.err), old.err
    new = fetch("--tlsv1.3", *args, url)
    assert new.wait() in (16, 35, 52, 55, 56, 98) and new.out.endswith(b" 000"), new.err


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_resumes_sessions(hello, secure, s_client, tmp_path, version):
    """On whichever worker the second connection lands: eight of them."""
    port, session = secure(hello).tls_port(), tmp_path / "session"
    first = s_client(port, version, "-sess_out", session)
    assert "New, TLSv1" in first and "nobody" in first, first
    for _ in range(8):
        again = s_client(port, version, "-sess_in", session)
        assert "Reused, TLSv1" in again and "nobody" in again, again


@pytest.mark.parametrize(
    "offered, chosen",
    [
        ("h2,http/1.1", "ALPN protocol: h2"),
        ("http/1.1,h2", "ALPN protocol: h2"),
        ("http/1.1", "ALPN protocol: http/1.1"),
        (None, "No ALPN negotiated"),
    ],
)
def test_openssl_is_given_a_protocol(hello, secure, s_client, offered, chosen):
    """HTTP/2 comes first whatever the client's order; without ALPN there is HTTP/1.1."""
    port = secure(hello).tls_port()
    alpn = ["-alpn", offered] if offered else []
    is_http2 = "h2" in (offered or "")
    said = s_client(port, *alpn, request="" if is_http2 else REQUEST)
    assert chosen in said, said
    assert is_http2 or "nobody" in said, said


def test_openssl_agrees_on_no_protocol(hello, secure, s_client):
    """Who offers only what is not spoken here is refused, in TLS 1.2 with the alert of RFC 7301 §3.2.

    In TLS 1.3 it is due behind the ServerHello, and lost (docs/tls.md, "How it is built").
    """
    port = secure(hello).tls_port()
    assert "SSL alert number 120" in s_client(port, "-tls1_2", "-alpn", "spdy/3", request="")
    assert "no peer certificate available" in s_client(port, "-tls1_3", "-alpn", "spdy/3", request="")


def test_openssl_is_shown_the_certificate_for_the_name(hello, secure, s_client, certificates):
    """Its own, then the wildcard's, then the first; a wildcard is for one label."""
    wild = certificates.issue("wild", "/CN=wild", "DNS:*.example.test")
    exact = certificates.issue("exact", "/CN=exact", "DNS:www.example.test")
    port = secure(hello, pairs=[(certificates.cert, certificates.key), wild, exact]).tls_port()
    shown = {
        name: re.search(r"subject=CN = (.*)", s_client(port, name=name, request=""))[1]
        for name in ["www.example.test", "api.example.test", "a.b.example.test", "localhost", None]
    }
    assert shown == {
        "www.example.test": "exact",
        "api.example.test": "wild",
        "a.b.example.test": "Test server",
        "localhost": "Test server",
        None: "Test server",
    }


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_is_asked_for_a_certificate(hello, secure, s_client, certificates, alice, version):
    """With the names of the authorities, by which programs choose one; nothing is asked for without `--client-ca`."""
    port = secure(hello, "--client-ca", certificates.ca).tls_port()
    said = s_client(port, version, "-cert", alice[0], "-key", alice[1])
    assert re.search(r"Acceptable client certificate CA names\nCN = Test authority\n", said), said
    assert "CN=alice,O=Example" in said, said
    assert "No client certificate CA names sent" in s_client(secure(hello).tls_port(), version)


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_openssl_finds_no_old_version(hello, secure, s_client, version):
    """Refused with an alert; that of rustls is about what else such clients lack."""
    said = s_client(secure(hello).tls_port(), version, "-cipher", "ALL:@SECLEVEL=0")
    assert re.search(r"alert (protocol version|handshake failure)", said), said
    assert "no peer certificate available" in said and "nobody" not in said, said
