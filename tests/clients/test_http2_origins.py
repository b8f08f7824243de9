"""Origins of HTTP/2 that are real programs: Node, nginx and Hypercorn. WebSockets by RFC 8441 on either side."""

import hashlib
import json
import random
import re
import socket
import sys

import pytest
from websockets.sync.client import connect

from conftest import HERE, needs_proxy
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


def upstream(scheme, port, certificates):
    """What follows `--upstream` for an origin on this host."""
    return [f"{scheme}://127.0.0.1:{port}", *(["--upstream-ca", certificates.ca] if scheme == "h2" else [])]


@pytest.fixture
def node_http2_at(node_origin, certificates):
    """Starts Node's HTTP/2 server, in the clear (`h2c`) or with TLS (`h2`); gives what follows `--upstream`."""

    def run(scheme):
        tls = [certificates.cert, certificates.key] if scheme == "h2" else []
        return upstream(scheme, node_origin("http2-origin.cjs", *tls), certificates)

    return run


@pytest.fixture(params=["h2c", "h2"])
def node_http2(request, node_http2_at):
    """Node's HTTP/2 server, each way."""
    return node_http2_at(request.param)


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
    url = ringress(None, "--upstream", *node_http2).url
    with content.open("rb") as stdin:
        got = curl(version, "-T", "-", "-X", "POST", "-H", "Expect:", url + "/echo", stdin=stdin).run()
    assert sum_of(got) == sum_of(content.read_bytes())


def test_node_streams(node_http2, ringress, curl):
    """The first piece is here while the handler is open."""
    url = ringress(None, "--upstream", *node_http2).url
    client = curl("-N", url + "/held")
    client.expect(rb"^first $")
    assert curl(url + "/release").run() == b"released"
    assert client.run() == b"first last"


def test_trailers_through_to_node(node_http2, ringress, node, start, tmp_path):
    """Of the request and of the response, from a client of either version."""
    url = ringress(None, "--upstream", *node_http2).url + "/echo"
    from_http1 = json.loads(node("trailers-client.cjs", url).run())
    assert from_http1 == {"status": 200, "body": "payload", "trailers": {"x-sum": "42"}}
    (tmp_path / "body").write_bytes(b"payload")
    nghttp = ["nghttp", "-nv", "--no-content-length", "-d", tmp_path / "body", "--trailer", "x-sum: 42", url]
    assert re.search(rb"recv \(stream_id=\d+\) x-sum: 42\n", start(nghttp).run())


@pytest.mark.parametrize("client_tls", [False, True], ids=["h2c", "tls"])
@pytest.mark.parametrize("scheme", ["http", "h2c", "h2"])
def test_extended_connect_from_node(secure, node, node_origin, node_http2_at, certificates, client_tls, scheme):
    """A WebSocket in a stream of HTTP/2, to an origin that takes it as an Upgrade, and to one that takes it so too."""
    is_http1 = scheme == "http"
    where = [f"127.0.0.1:{node_origin('ws-origin.cjs')}"] if is_http1 else node_http2_at(scheme)
    proxy = secure(*where, "--access-log", "-")
    reached = [proxy.secure_url, certificates.ca] if client_tls else [proxy.url]
    assert json.loads(node("websocket-client.cjs", *reached).run()) == {"echoed": 4, "status": 200, "code": 1000}
    proxy.program.expect(rb" proto=HTTP/2.0 .* tunnel=true ", among=[proxy.program.out])


def test_a_websocket_of_http_1_1_to_node(node_http2, ringress):
    """An Upgrade becomes extended CONNECT at the origin."""
    proxy = ringress(None, "--upstream", *node_http2)
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
    url = ringress(None, "--upstream", *upstream("h2", port, certificates)).url + "/content"
    assert sum_of(curl(version, url).run()) == sum_of(content.read_bytes())
    assert curl(version, "-r", "100-199", url).run() == content.read_bytes()[100:200]
    assert curl(version, "-o", "/dev/null", "-w", "%{http_code}", url + "/none").run() == b"404"


@pytest.fixture(params=["h2c", "h2"])
def hypercorn(request, start, certificates):
    """Hypercorn, each way."""
    tls = ["--certfile", certificates.cert, "--keyfile", certificates.key] if request.param == "h2" else []
    args = [sys.executable, "-m", "hypercorn", "--bind", "127.0.0.1:0", *tls, "asgi_app:app"]
    port = int(start(args, env={"PYTHONPATH": str(HERE)}).expect(rb"Running on \S+:(\d+) ")[1])
    return upstream(request.param, port, certificates)


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_hypercorn_echoes_an_upload(hypercorn, ringress, curl, content, version):
    """Python's own implementation of HTTP/2, with a length this time."""
    url = ringress(None, "--upstream", *hypercorn).url
    got = curl(version, "--data-binary", f"@{content}", "-H", "Expect:", url).run()
    assert sum_of(got) == sum_of(content.read_bytes())


def test_hypercorn_takes_a_websocket(hypercorn, ringress, node):
    """Extended CONNECT on both sides."""
    client = node("websocket-client.cjs", ringress(None, "--upstream", *hypercorn).url)
    assert json.loads(client.run()) == {"echoed": 4, "status": 200, "code": 1000}
