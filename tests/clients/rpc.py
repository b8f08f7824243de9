"""gRPC on both sides of the proxy: origins whose handlers the test gives, channels, and the ways between them.

Messages are `google.protobuf.BytesValue`, so that no code is generated. As a program this is an origin that can be
killed: `rpc.py STREAM_PIECE [CERT KEY]` prints its port, and streams one piece to each call and then nothing.
"""

import concurrent.futures
import pathlib
import sys
import types

import grpc
from google.protobuf.wrappers_pb2 import BytesValue

from origin import DEADLINE, Gate

METHOD = "/ringress.test.Calls/Call"
THREADS_MAX = 256
# Settings of this host have no say, channels share nothing, and a lost origin is tried again soon.
CHANNEL_OPTIONS = {
    "grpc.enable_http_proxy": 0,
    "grpc.use_local_subchannel_pool": 1,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 500,
    "grpc.max_receive_message_length": -1,
}
SERVER_OPTIONS = {"grpc.max_receive_message_length": -1}


def over(context):
    """A gate that opens when the call is over for the server, for whatever reason."""
    gate = Gate()
    if not context.add_callback(gate.set):
        gate.set()
    return gate


def values(metadata, name):
    """All values of that name, in order."""
    return [value for key, value in metadata or () if key == name]


def message(content):
    return BytesValue(value=content)


class Service(grpc.GenericRpcHandler):
    """One method, whose handler takes and gives bytes."""

    def __init__(self, kind, behaviour):
        self.handler = getattr(grpc, f"{kind}_rpc_method_handler")(
            behaviour,
            request_deserializer=lambda data: BytesValue.FromString(data).value,
            response_serializer=lambda content: message(content).SerializeToString(),
        )

    def service(self, details):
        return self.handler if details.method == METHOD else None


class Server:
    """A gRPC origin in this process, on a free port or on that given; with TLS if it has certificates."""

    def __init__(self, kind, behaviour, *, certificates=None, port=0, options=()):
        threads = concurrent.futures.ThreadPoolExecutor(THREADS_MAX)
        settings = [*SERVER_OPTIONS.items(), *dict(options).items()]
        self.server = grpc.server(threads, [Service(kind, behaviour)], options=settings)
        address = f"127.0.0.1:{port}"
        if certificates:
            pair = (certificates.key.read_bytes(), certificates.cert.read_bytes())
            self.port = self.server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        else:
            self.port = self.server.add_insecure_port(address)
        self.server.start()

    def leave(self, grace=DEADLINE):
        """GOAWAY and no more connections; calls may end. Gives an event that is set when all have."""
        return self.server.stop(grace)

    def close(self):
        assert self.server.stop(0).wait(DEADLINE), "the gRPC server did not stop"


class Caller:
    """Calls the one method with bytes, for bytes. Every call has a deadline."""

    def __init__(self, channel, kind, method=METHOD):
        self.kind = kind
        self.callable = getattr(channel, kind)(
            method,
            request_serializer=lambda content: message(content).SerializeToString(),
            response_deserializer=lambda data: BytesValue.FromString(data).value,
        )

    def __call__(self, request, *, timeout=DEADLINE, **options):
        return self.callable(request, timeout=timeout, **options)

    def with_call(self, request, *, timeout=DEADLINE, **options):
        return self.callable.with_call(request, timeout=timeout, **options)

    def future(self, request, *, timeout=DEADLINE, **options):
        return self.callable.future(request, timeout=timeout, **options)


class Way:
    """From clients to origins: each side in the clear or with TLS, the proxy between them or not."""

    def __init__(self, client_tls, origin_tls, certificates, ringress):
        self.client_tls = client_tls
        self.origin_tls = origin_tls
        self.certificates = certificates
        self.ringress = ringress
        self.port = None
        self.program = None
        self._channels = []
        self._servers = []

    def __call__(self, kind, behaviour, *flags, options=()):
        """An origin with that handler, the proxy before it, and a caller of it."""
        server = self.serve(kind, behaviour, options=options)
        self.connect(server.port, *flags)
        return self.caller(kind)

    def serve(self, kind, behaviour, **options):
        """Starts an origin."""
        certificates = self.certificates if self.origin_tls else None
        self._servers.append(Server(kind, behaviour, certificates=certificates, **options))
        return self._servers[-1]

    def connect(self, port, *flags):
        """Starts the proxy, if there is one, before an origin at that port."""
        if self.ringress is None:
            self.port = port
            return
        scheme = "h2" if self.origin_tls else "h2c"
        arguments = ["--upstream", f"{scheme}://127.0.0.1:{port}"]
        if self.origin_tls and "--upstream-ca" not in flags:
            arguments += ["--upstream-ca", self.certificates.ca]
        if self.client_tls:
            arguments += ["--tls-listen", "127.0.0.1:0", "--cert", self.certificates.cert, "--key", self.certificates.key]
        proxy = self.ringress(None, *arguments, *flags)
        self.program = proxy.program
        self.port = proxy.tls_port() if self.client_tls else proxy.port

    def caller(self, kind, *, method=METHOD, settings=()):
        """A caller on a channel, hence a connection, of its own."""
        options = [*CHANNEL_OPTIONS.items(), *dict(settings).items()]
        target = f"127.0.0.1:{self.port}"
        if self.client_tls:
            credentials = grpc.ssl_channel_credentials(self.certificates.ca.read_bytes())
            channel = grpc.secure_channel(target, credentials, options=options)
        else:
            channel = grpc.insecure_channel(target, options=options)
        self._channels.append(channel)
        return Caller(channel, kind, method)

    @property
    def url(self):
        return f"{'https' if self.client_tls else 'http'}://127.0.0.1:{self.port}"

    def close(self):
        for each in [*self._channels, *self._servers]:
            each.close()


def main():
    """An origin that never ends its streams."""
    piece, files = sys.argv[1].encode(), [pathlib.Path(name) for name in sys.argv[2:]]
    certificates = types.SimpleNamespace(cert=files[0], key=files[1]) if files else None

    def stream(_, context):
        yield piece
        over(context).wait()

    server = Server("unary_stream", stream, certificates=certificates)
    print(f"listening on {server.port}", flush=True)
    server.server.wait_for_termination()


if __name__ == "__main__":
    main()
