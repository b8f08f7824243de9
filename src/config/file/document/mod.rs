//! The tables of a configuration file, as they are written: everything optional that has a default, every value with its
//! place. The documentation of a field here is its line in the reference and what editors show.

mod entries;
mod group;
mod route;

use std::path::PathBuf;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::entries::Entries;
pub use self::group::{
    Check, Ejection, EjectionSetting, Group, Queue, Sticky, WeighedUpstream, WrittenUpstream,
};
pub use self::route::{FieldEdits, Limit, OneOrMore, Redirect, Respond, Retry, Route, RouteTimeouts};
use super::kinds::{
    Connections, Fields, HeadBytes, Idle, LogLevel, Name, PerClient, Refresh, Requirement, TargetBytes,
    TimeoutStatus, Workers,
};
use super::scalar::{Table, Value};
use crate::config::value::duration::{Period, Timeout};
use crate::config::value::listen::Listen;
use crate::config::value::size::BytesLimit;
use crate::config::{LogFormat, LogTarget};

/// The configuration of Ringress.
///
/// Keys are the words of the flags. A flag wins over its `RINGRESS_*` variable, which wins over this file, which wins over
/// the default.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(title = "Configuration of Ringress")]
pub struct Document {
    /// The process: threads, connections, and what is true for every request.
    #[serde(default)]
    pub server: Server,
    /// Addresses where clients are accepted. Without one: `127.0.0.1:8080`, in the clear.
    pub listener: Option<Vec<Table<Listener>>>,
    /// TLS towards clients.
    #[serde(default)]
    pub tls: Tls,
    /// TLS towards upstreams.
    #[serde(default)]
    pub upstream_tls: UpstreamTls,
    /// One timer per phase; `docs/timeouts.md` has the details.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Bounds on what a client may send.
    #[serde(default)]
    pub limits: Limits,
    /// Forwarding fields.
    #[serde(default)]
    pub forwarding: Forwarding,
    /// Idle connections to upstreams; a group may differ.
    #[serde(default)]
    pub pool: Pool,
    /// Logs.
    #[serde(default)]
    pub log: Log,
    /// What is tried again; a route may differ.
    pub retry: Option<Retry>,
    /// Upstreams that can stand in for each other, by name.
    pub groups: Option<Entries<Name, Group>>,
    /// Which requests, and what becomes of them. Of all routes that match a request the most specific one has it: an exact
    /// host before a wildcard before any host, then an exact path before a prefix, a longer prefix before a shorter one,
    /// then one that names methods, then one that names more headers, then the one that is written first.
    pub route: Option<Vec<Table<Route>>>,
}

/// The process: threads, connections, and what is true for every request.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Server {
    /// Worker threads; `"auto"` is one per core of the affinity mask.
    pub workers: Option<Value<Workers>>,
    /// Pin each worker to one core.
    pub pin: Option<Value<bool>>,
    /// Client connections at once, all workers together; `"auto"` derives it from the limit on open files.
    pub max_connections: Option<Value<Connections>>,
    /// Known remainder of a body in bytes from which it is spliced in the kernel rather than copied; `"off"` copies always.
    pub splice_min: Option<Value<BytesLimit>>,
    /// Speak HTTP/2 with clients: by ALPN with TLS, by prior knowledge without.
    pub http2: Option<Value<bool>>,
    /// Normalise paths before they are matched and forwarded: `//`, `.`, `..` and needless escapes are resolved.
    pub normalize_paths: Option<Value<bool>>,
    /// Serve the built-in origin; such a file has neither groups nor routes.
    pub demo: Option<Value<bool>>,
    /// How often names of upstreams are resolved again, `1s` at least; `"off"` resolves them once.
    pub dns_refresh: Option<Value<Refresh>>,
    /// Addresses that serve the status page, `/metrics`, `/healthz`, `/readyz` and orders such as `POST /reload`. They ask
    /// nobody who they are: keep them on loopback.
    pub admin: Option<Vec<Value<Listen>>>,
    /// File that names the process that serves, once it does; an upgrade changes it.
    pub pid_file: Option<Value<PathBuf>>,
}

/// An address where clients are accepted.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Listener {
    /// `IP:PORT`, `[IPv6]:PORT`, `localhost:PORT`, or `:PORT` for every interface.
    pub address: Value<Listen>,
    /// Clients speak TLS; `[tls]` has the certificates.
    pub tls: Option<Value<bool>>,
    /// Every request is answered with a redirect (308) to the first listener with TLS.
    pub redirect: Option<Value<bool>>,
    /// Peers whose connections have to begin with a PROXY header, which names the client; nobody else may send one.
    pub accept_proxy: Option<Vec<Value<IpNet>>>,
}

/// TLS towards clients.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tls {
    /// Authorities in PEM that clients' certificates have to come from. Without it clients are not asked.
    pub client_ca: Option<Value<PathBuf>>,
    /// With `client-ca`: whether a client without a certificate is let in. Without it `required`.
    pub client_auth: Option<Value<Requirement>>,
    /// Certificates. A client is shown the one for the name it asks for, else the first.
    pub certificate: Option<Vec<Table<Certificate>>>,
}

/// A certificate and its key. They are read again on SIGHUP and when a file changes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Certificate {
    /// Certificate chain in PEM, the server's own first.
    pub cert: Value<PathBuf>,
    /// Private key in PEM.
    pub key: Value<PathBuf>,
}

/// TLS towards upstreams.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct UpstreamTls {
    /// Authorities in PEM that certificates of `https://` and `h2://` upstreams have to come from. Without it: those of
    /// this host.
    pub ca: Option<Value<PathBuf>>,
    /// Certificate chain in PEM to show to upstreams that ask for one.
    pub cert: Option<Value<PathBuf>>,
    /// Private key in PEM of `cert`.
    pub key: Option<Value<PathBuf>>,
}

/// One timer per phase.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Timeouts {
    /// Accept to a connection that speaks: its first byte, or the end of its TLS handshake. Expiry closes it.
    pub handshake: Option<Value<Timeout>>,
    /// First byte of a request to its complete head, in total. Expiry answers 408 and closes.
    pub header: Option<Value<Timeout>>,
    /// Silence of the client while its body is due and no response has begun. Expiry answers 408.
    pub body: Option<Value<Timeout>>,
    /// Connecting to one endpoint, TLS included. Expiry tries the next endpoint, and answers `status` when there is none.
    pub connect: Option<Value<Timeout>>,
    /// Silence of the upstream before its response head. Expiry answers `status`.
    pub request: Option<Value<Timeout>>,
    /// Silence of the upstream inside a response. Expiry cuts the response.
    pub stream_idle: Option<Value<Timeout>>,
    /// No progress towards a client that owes us reads. Expiry cuts the response.
    pub write: Option<Value<Timeout>>,
    /// Silence of both directions of a tunnel (WebSocket, other upgrades). Expiry closes both sides.
    pub tunnel: Option<Value<Timeout>>,
    /// The whole exchange, streams included. Expiry answers `status` before the response head, and cuts after it.
    pub request_deadline: Option<Value<Timeout>>,
    /// Idle client connection between two requests. Expiry closes it.
    pub keepalive: Option<Value<Timeout>>,
    /// After SIGTERM: how long exchanges and streams may finish; `"off"` waits for the last one.
    pub drain: Option<Value<Timeout>>,
    /// Status answered when the upstream was too slow: 503 for alerts that watch for 503.
    pub status: Option<Value<TimeoutStatus>>,
}

/// Bounds on what a client may send.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Limits {
    /// Largest request or response head, `1KiB` to `80KiB`; a larger request is answered 431.
    pub max_head_bytes: Option<Value<HeadBytes>>,
    /// Most fields in one head or trailer section, 1 to 256; more are answered 431.
    pub max_fields: Option<Value<Fields>>,
    /// Longest request target, less than `max-head-bytes`; a longer one is answered 414.
    pub max_target_bytes: Option<Value<TargetBytes>>,
    /// Largest request body; a larger one is answered 413. A route may differ.
    pub max_body_bytes: Option<Value<BytesLimit>>,
    /// Pass field names with `_`, which many origins cannot tell from `-`; otherwise such fields are dropped.
    pub allow_underscores: Option<Value<bool>>,
    /// Connections of one client address (of IPv6, its /64) at once, all workers together.
    pub max_connections_per_client: Option<Value<PerClient>>,
}

/// Forwarding fields.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Forwarding {
    /// Peers whose `X-Forwarded-*`, `Forwarded` and `X-Request-Id` are kept; those of all other peers are replaced.
    pub trusted_proxies: Option<Vec<Value<IpNet>>>,
    /// Also send the `Forwarded` field of RFC 7239.
    pub forwarded: Option<Value<bool>>,
}

/// Idle connections to upstreams, per worker and endpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pool {
    /// Idle connections kept; 0 turns reuse off.
    pub idle_max: Option<Value<Idle>>,
    /// An idle connection is closed after this time; `"off"` leaves that to the upstream.
    pub idle_timeout: Option<Value<Period>>,
    /// A connection older than this is not reused; `"off"` is no limit.
    pub age_max: Option<Value<Period>>,
    /// An HTTP/2 connection that has said nothing for this time while streams run on it is sent a PING; `"off"` asks never.
    pub ping: Option<Value<Period>>,
}

/// Logs.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Log {
    /// Where access-log lines go: a path (SIGUSR1 opens it again), `"-"` for standard output, or `"off"`. With `demo`
    /// standard output, else off.
    pub access: Option<Value<LogTarget>>,
    /// Shape of an access-log line: `key=value` pairs, or a JSON object.
    pub format: Option<Value<LogFormat>>,
    /// Log the query of request targets too; it may hold secrets.
    pub query: Option<Value<bool>>,
    /// What the program says about itself on standard error: error, warn, info, debug, trace, off, or a filter of targets
    /// such as `info,ringress::control=debug`.
    pub level: Option<Value<LogLevel>>,
}
