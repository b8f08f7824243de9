"""Origins that speak HTTP/2 in real programs: Node, in the clear and with TLS and nginx; WebSockets by RFC 8441."""

import hashlib
import json
import random
import re
import socket

import pytest
from websockets.sync.client import connect

from conftest import needs_proxy
from origin import DEADLINE

MIB = 1 << 20
NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log stderr notice;
events {{ }}
http {{
    access_log off; root {folder};
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {certificates.cert}; ssl_certificate_key {certificates.key};
    }}
}}
"""

pytestmark = needs_proxy  # is about what is between two versions of HTTP


@pytest.fixture(params=["h2c", "h2"])
def node_http2(request, node_origin, certificates):
    """Flags that name Node's HTTP/2 server as the upstream."""
    is_tls = request.param == "h2"
    port = node_origin("http2-origin.cjs", *([certificates.cert, certificates.key] if is_tls else []))
    return ["--upstream", f"{request.param}://127.0.0.1:{port}", *(["--upstream-ca", certificates.ca] if is_tls else [])]


@pytest.fixture
def content(tmp_path):
    """5 MiB in a file."""
    file = tmp_path / "content"
    file.write_bytes(random.Random(7).randbytes(5 * MIB))
    return file


def sum_of(data):
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_node_echoes_an_upload(node_http2, ringress, curl, content, version):
    """Byte for byte, both ways at once, without a length."""
    url = ringress(None, *node_http2).url
    with content.open("rb") as stdin:
        got = curl(version, "-T", "-", "-X", "POST", "-H", "Expect:", url + "/echo", stdin=stdin).run()
    assert sum_of(got) == sum_of(content.read_bytes())


def test_node_streams(node_http2, ringress, curl):
    """The first piece is here while the handler is open."""
    url = ringress(None, *node_http2).url
    client = curl("-N", url + "/held")
    client.expect(rb"^first $")
    assert curl(url + "/release").run() == b"released"
    assert client.run() == b"first last"


def test_trailers_through_to_node(node_http2, ringress, node, start, tmp_path):
    """Of the request and of the response, from a client of either version."""
    url = ringress(None, *node_http2).url + "/echo"
    from_http1 = json.loads(node("trailers-client.cjs", url).run())
    assert from_http1 == {"status": 200, "body": "payload", "trailers": {"x-sum": "42"}}
    (tmp_path / "body").write_bytes(b"payload")
    nghttp = ["nghttp", "-nv", "--no-content-length", "-d", tmp_path / "body", "--trailer", "x-sum: 42", url]
    assert re.search(rb"recv \(stream_id=\d+\) x-sum: 42\n", start(nghttp).run())


@pytest.mark.parametrize("client_tls", [False, True], ids=["h2c", "tls"])
@pytest.mark.parametrize("origin", ["http/1.1", "h2c", "h2"])
def test_extended_connect_from_node(secure, node, node_origin, certificates, client_tls, origin):
    """A WebSocket in a stream of HTTP/2, to an origin that takes it as an Upgrade, and to one that takes it so too."""
    flags = ["--access-log", "-"]
    if origin == "http/1.1":
        upstream = f"127.0.0.1:{node_origin('ws-origin.cjs')}"
    elif origin == "h2c":
        upstream = f"h2c://127.0.0.1:{node_origin('http2-origin.cjs')}"
    else:
        upstream = f"h2://127.0.0.1:{node_origin('http2-origin.cjs', certificates.cert, certificates.key)}"
        flags += ["--upstream-ca", certificates.ca]
    proxy = secure(upstream, *flags)
    where = [proxy.secure_url, certificates.ca] if client_tls else [proxy.url]
    assert json.loads(node("websocket-client.cjs", *where).run()) == {"echoed": 4, "status": 200, "code": 1000}
    proxy.program.expect(rb" proto=HTTP/2.0 .* tunnel=true ", among=[proxy.program.out])


def test_a_websocket_of_http_1_1_to_node(node_http2, ringress):
    """An Upgrade becomes extended CONNECT at the origin."""
    proxy = ringress(None, *node_http2)
    with connect(f"ws://{proxy.authority}/ws", proxy=None, open_timeout=DEADLINE, compression=None) as client:
        for message in ["hello", "grüße", b"\x01" * 300_000, ""]:
            client.send(message)
            assert client.recv(DEADLINE) == message


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_nginx_serves_a_file(start, ringress, curl, certificates, content, version):
    """Over `h2://`; nginx is told its port and cannot be asked for a free one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = content.with_name("nginx.conf")
    config.write_text(NGINX.format(folder=content.parent, port=port, certificates=certificates))
    start(["nginx", "-p", content.parent, "-c", config, "-e", "stderr"]).expect(rb"getrlimit\(RLIMIT_NOFILE\)")
    url = ringress(None, "--upstream", f"h2://127.0.0.1:{port}", "--upstream-ca", certificates.ca).url + "/content"
    assert sum_of(curl(version, url).run()) == sum_of(content.read_bytes())
    assert curl(version, "-r", "100-199", url).run() == content.read_bytes()[100:200]
    assert curl(version, "-o", "/dev/null", "-w", "%{http_code}", url + "/none").run() == b"404"
