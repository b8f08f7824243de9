"""The configuration file of the proxy under test, as it is at the moment, and broken ones."""

import dataclasses
import random
import socket
import urllib.parse

GUESTS = 3  # routes that come and go


def free_ports(count):
    """Ports that nobody has, below those that the kernel gives to clients: a connection to an endpoint that does not
    listen must not meet a client that happens to have its port."""
    found, sockets = [], []
    while len(found) < count:
        candidate = socket.socket()
        try:
            candidate.bind(("127.0.0.1", random.SystemRandom().randrange(15000, 32000)))
        except OSError:
            candidate.close()
            continue
        sockets.append(candidate)
        found.append(candidate.getsockname()[1])
    for each in sockets:
        each.close()
    return found


@dataclasses.dataclass
class Group:
    """Endpoints, and the text of the keys that its table has besides."""

    scheme: str
    ports: list
    keys: str
    out: set = dataclasses.field(default_factory=set)  # ports that are not in the file
    weights: dict = dataclasses.field(default_factory=dict)

    def label(self, port):
        """How the admin listener calls an endpoint, percent-encoded."""
        return urllib.parse.quote(f"{self.scheme}127.0.0.1:{port}", safe="")

    def upstreams(self):
        members = [port for port in self.ports if port not in self.out]
        return ", ".join(
            f'{{ address = "{self.scheme}127.0.0.1:{port}", weight = {self.weights.get(port, 1)} }}' for port in members
        )


CHECK = 'check = { http = "/healthz", interval = "500ms", timeout = "4s", healthy = 2, unhealthy = 2 }'
EJECTION = 'ejection = { consecutive = 5, base = "1s", max = "4s", window = "4s" }'

RETRY = "retry = { statuses = [503], reset-before-response = true, max = 3, budget-percent = 100 }"

ROUTES = """
[[route]]
name = "app"
path = "/app"
group = "app"
@RETRY@

[[route]]
name = "streams"
path = "/streams"
group = "streams"
@RETRY@

[[route]]
name = "two"
path = "/two"
group = "two"
@RETRY@

[[route]]
name = "rpc"
path = "/ringress.test.Calls"
group = "rpc"

[[route]]
name = "hangs"
path = "/hangs"
group = "hangs"
retry = { max = 3, budget-percent = 100 }
timeouts = { request = "1500ms" }

[[route]]
name = "narrow"
path = "/narrow"
group = "narrow"
""".replace("@RETRY@", RETRY)


@dataclasses.dataclass
class Settings:
    """All that the file says."""

    plain: int
    tls: int
    admin: int
    cert: object
    key: object
    pid_file: object
    drain_s: int
    groups: dict
    version: int = 0
    guests: set = dataclasses.field(default_factory=set)
    limit: int = 5
    balance: str = "least-requests"
    extra: str = ""

    def text(self):
        """The file."""
        return "\n".join([self._head(), *map(self._group, self.groups), ROUTES, self._changing(), self.extra])

    def _head(self):
        return f"""
[server]
workers = 2
pin = false
admin = ["127.0.0.1:{self.admin}"]
pid-file = "{self.pid_file}"

[[listener]]
address = "127.0.0.1:{self.plain}"

[[listener]]
address = "127.0.0.1:{self.tls}"
tls = true

[[tls.certificate]]
cert = "{self.cert}"
key = "{self.key}"

[timeouts]
drain = "{self.drain_s}s"
keepalive = "15s"

[pool]
idle-timeout = "8s"

[limits]
max-connections-per-client = 5000
"""

    def _group(self, name):
        group = self.groups[name]
        balance = f'balance = "{self.balance}"\n' if name == "app" else ""
        return f"\n[groups.{name}]\nupstreams = [{group.upstreams()}]\n{balance}{group.keys}\n"

    def _changing(self):
        routes = f"""
[[route]]
name = "limited"
path = "/limited"
group = "narrow"
replace-prefix = "/narrow"
limit = [{{ key = "header:x-key", requests = {self.limit}, per = "1s", burst = {self.limit} }}]

[[route]]
name = "version"
exact-path = "/version"
respond = {{ body = "{self.version}" }}
response-headers = {{ set = {{ x-version = "{self.version}" }} }}
"""
        for guest in sorted(self.guests):
            routes += f'\n[[route]]\nname = "guest-{guest}"\npath = "/guest/{guest}"\ngroup = "app"\n{RETRY}\n'
        return routes


def broken(random_, text):
    """A file that must be refused, with what is wrong about it, and whether only a new process could take it."""
    return random_.choice([
        ("no TOML", text + "\n[[route\n", False),
        ("an unknown key", text + '\n[[route]]\nname = "x"\ncolour = "red"\n', False),
        ("an unknown group", text + '\n[[route]]\npath = "/x"\ngroup = "nobody"\n', False),
        ("a route twice", text + '\n[[route]]\nname = "app"\npath = "/app2"\ngroup = "app"\n', False),
        ("a certificate that is not there", text.replace('cert = "', 'cert = "/nowhere', 1), False),
        ("an empty group", text + "\n[groups.empty]\nupstreams = []\n", False),
        ("half a file", text[: len(text) // 2] + "\n[", False),
        ("other workers", text.replace("workers = 2", "workers = 1"), True),
        ("another listener", text.replace("[tls.", "[tls.") + '\n[[listener]]\naddress = "127.0.0.1:1"\n', True),
    ])
