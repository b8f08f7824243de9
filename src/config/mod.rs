//! The configuration of a running server: immutable and valid by construction.
//!
//! [`crate::flags`] turns the command line, the environment and the configuration file into a [`Config`]; everything
//! downstream reads it and never checks it again. [`group`] is who serves, [`route`] is whose requests they serve.

pub mod file;
pub mod group;
pub mod route;
pub mod value;

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::limits::{self, MessageLimits};
use crate::time::Timeouts;

pub use self::group::Group;
pub use self::route::Route;

/// "Never" for the periods of [`Pool`] and for [`Config::dns_refresh`]: a hundred years. Longer than any
/// period the command line accepts, and short enough that adding it to a point in time cannot overflow.
pub const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Default of [`Config::dns_refresh`].
pub const DNS_REFRESH: Duration = Duration::from_secs(30);
/// Default of [`Config::timeout_status`]: the gateway timeout of RFC 9110 §15.6.5.
pub const TIMEOUT_STATUS: u16 = 504;

/// Everything an operator can set.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where clients are accepted; never empty.
    pub listeners: Vec<Listener>,
    /// Clients are offered HTTP/2.
    pub http2: bool,
    /// TLS towards clients.
    pub tls: Tls,
    /// TLS towards origins.
    pub upstream_tls: UpstreamTls,
    /// Who serves requests.
    pub groups: Vec<Group>,
    /// What becomes of requests; never empty.
    pub routes: Vec<Route>,
    /// Paths are normalised before they are matched and forwarded.
    pub normalize_paths: bool,
    /// Run the built-in origin behind the proxy.
    pub demo: bool,
    /// Worker threads; `None` is one per core of the affinity mask.
    pub workers: Option<NonZeroUsize>,
    /// Pin each worker to one core.
    pub pin: bool,
    /// Client connections at once, all workers together; `None` derives it from the descriptor limit.
    pub max_connections: Option<NonZeroUsize>,
    /// Connections of one client address (of IPv6, its /64) at once, all workers together; `None` is no limit.
    pub max_connections_per_client: Option<NonZeroU32>,
    /// One timeout per phase.
    pub timeouts: Timeouts,
    /// Status of a response made because the origin was too slow: 504, or 503 for those who alert on it.
    pub timeout_status: u16,
    /// Bounds on what a peer may send.
    pub message: MessageLimits,
    /// What is added to forwarded heads, and whom to believe.
    pub forwarding: Forwarding,
    /// Idle upstream connections.
    pub pool: Pool,
    /// Known remainder of a body in bytes from which it is spliced; `None` copies always.
    pub splice_min: Option<u64>,
    /// How often names of upstreams are resolved again; [`NEVER`] is once, at the start.
    pub dns_refresh: Duration,
    /// Where access-log lines go.
    pub access_log: LogTarget,
    /// Shape of an access-log line.
    pub log_format: LogFormat,
    /// Log the query of request targets too; it may hold secrets.
    pub log_query: bool,
    /// What the program says about itself on standard error: a level, or a filter of `tracing-subscriber`.
    pub log_level: String,
    /// Addresses where metrics and probes are served; may be empty.
    pub admin: Vec<SocketAddr>,
    /// Where the process that serves is named.
    pub pid_file: Option<PathBuf>,
}

/// An address to accept clients on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// IP address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// What its clients get.
    pub service: Service,
    /// Peers whose connections begin with a PROXY header, which names the client.
    pub accept_proxy: Vec<IpNet>,
}

/// What clients of a listener get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// The proxy, in the clear.
    Plain,
    /// The proxy, behind a TLS handshake.
    Tls,
    /// A redirect to the first listener with TLS, whatever they ask.
    Redirect,
}

impl Config {
    /// Every upstream of every group.
    pub fn upstreams(&self) -> impl Iterator<Item = &Upstream> {
        self.groups.iter().flat_map(|group| &group.members).map(|member| &member.upstream)
    }

    /// Addresses of listeners with this service.
    pub fn addresses(&self, service: Service) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().filter(move |it| it.service == service).map(|it| it.address)
    }
}

/// An origin as the operator wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// Where it is.
    pub origin: Origin,
    /// How it is spoken to.
    pub scheme: Scheme,
}

/// Where an origin is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// An IP address and a port.
    Address(SocketAddr),
    /// A host name and a port, resolved off the workers.
    Name {
        /// Host name.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A Unix stream socket.
    Unix(PathBuf),
}

/// How an origin is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scheme {
    /// In HTTP/2; else in HTTP/1.1.
    pub http2: bool,
    /// Behind what.
    pub security: Security,
}

/// What protects a connection to an origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Security {
    /// Nothing.
    #[default]
    Clear,
    /// TLS, with a certificate that has to be the origin's.
    Tls,
    /// TLS, with any certificate: whoever is in between can read and change everything.
    TlsUnchecked,
}

impl Scheme {
    /// The scheme as `--upstream` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match (self.http2, self.security) {
            (false, Security::Clear) => "http",
            (false, Security::Tls) => "https",
            (false, Security::TlsUnchecked) => "https+insecure",
            (true, Security::Clear) => "h2c",
            (true, Security::Tls) => "h2",
            (true, Security::TlsUnchecked) => "h2+insecure",
        }
    }

    /// Every scheme.
    pub const ALL: [Scheme; 6] = [
        Scheme { http2: false, security: Security::Clear },
        Scheme { http2: false, security: Security::Tls },
        Scheme { http2: false, security: Security::TlsUnchecked },
        Scheme { http2: true, security: Security::Clear },
        Scheme { http2: true, security: Security::Tls },
        Scheme { http2: true, security: Security::TlsUnchecked },
    ];
}

impl fmt::Display for Upstream {
    /// The form that `--upstream` accepts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, self.scheme.name()) {
            (Origin::Unix(path), "http") => write!(f, "unix:{}", path.display()),
            (Origin::Unix(path), scheme) => write!(f, "{scheme}+unix:{}", path.display()),
            (Origin::Address(address), "http") => address.fmt(f),
            (Origin::Address(address), scheme) => write!(f, "{scheme}://{address}"),
            (Origin::Name { host, port }, "http") => write!(f, "{host}:{port}"),
            (Origin::Name { host, port }, scheme) => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

impl From<SocketAddr> for Upstream {
    /// HTTP/1.1 in the clear.
    fn from(address: SocketAddr) -> Upstream {
        Upstream { origin: Origin::Address(address), scheme: Scheme::default() }
    }
}

/// TLS towards clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates, the default first; empty only if no listener has TLS.
    pub pairs: Vec<KeyPair>,
    /// Whether clients show certificates.
    pub client_auth: ClientAuth,
}

/// A certificate chain and its private key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// File of the chain.
    pub cert: PathBuf,
    /// File of the key.
    pub key: PathBuf,
}

/// Whether clients show certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    Off,
    /// They may; the file has the authorities in PEM.
    Optional(PathBuf),
    /// They must.
    Required(PathBuf),
}

impl ClientAuth {
    /// The file of the authorities.
    #[must_use]
    pub fn ca(&self) -> Option<&PathBuf> {
        match self {
            ClientAuth::Off => None,
            ClientAuth::Optional(ca) | ClientAuth::Required(ca) => Some(ca),
        }
    }
}

/// TLS towards origins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// File of the authorities in PEM; `None` is those of the host.
    pub ca: Option<PathBuf>,
    /// What we show to an origin that asks.
    pub identity: Option<KeyPair>,
}

/// Forwarding fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// Peers whose `X-Forwarded-*`, `Forwarded` and `X-Request-Id` are kept; everybody else's are replaced.
    pub trusted_proxies: Vec<IpNet>,
    /// Also send RFC 7239 `Forwarded`.
    pub forwarded: bool,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl ProxyVersion {
    /// Every version.
    pub const ALL: [ProxyVersion; 2] = [ProxyVersion::V1, ProxyVersion::V2];

    /// The word that `--send-proxy` accepts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ProxyVersion::V1 => "v1",
            ProxyVersion::V2 => "v2",
        }
    }
}

/// Idle upstream connections, per worker and endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Idle connections kept; 0 turns reuse off.
    pub idle_max: usize,
    /// An idle connection is closed after this time; [`NEVER`] leaves that to the origin.
    pub idle_timeout: Duration,
    /// A connection older than this is not reused; [`NEVER`] is no limit.
    pub age_max: Duration,
    /// An HTTP/2 connection that has said nothing for this time while streams run on it is sent a PING; [`NEVER`] asks
    /// never.
    pub ping: Duration,
}

impl Default for Pool {
    fn default() -> Self {
        Pool {
            idle_max: limits::UPSTREAM_IDLE_MAX,
            idle_timeout: Duration::from_secs(60),
            age_max: Duration::from_secs(3600),
            // More often than every five minutes, servers of gRPC take for an attack.
            ping: Duration::from_secs(310),
        }
    }
}

/// Where access-log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// A file, appended to; SIGUSR1 opens it again.
    File(PathBuf),
}

impl fmt::Display for LogTarget {
    /// The form that `--access-log` accepts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogTarget::Off => f.write_str("off"),
            LogTarget::Stdout => f.write_str("-"),
            LogTarget::File(path) => path.display().fmt(f),
        }
    }
}

/// Shape of an access-log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `key=value` pairs.
    Logfmt,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The word that `--log-format` accepts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            LogFormat::Logfmt => "logfmt",
            LogFormat::Json => "json",
        }
    }
}
