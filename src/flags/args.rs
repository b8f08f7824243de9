//! The definition of the command line. Help, man page and completions are made from it; the order here is
//! the order there, and in the output of `ringress check`.
//!
//! Every flag has the environment variable `RINGRESS_` + its name in upper case with `_`. Clap appends the
//! default and the variable to each help text.

use std::path::PathBuf;

use clap::builder::ArgPredicate;
use clap::{ArgAction, Args, Parser, Subcommand};
use clap_complete::Shell;
use ipnet::IpNet;

use super::tls::TlsArgs;
use super::words::{self, SendProxy, switch};
use crate::config;
use crate::config::value::duration::{self, Period, Timeout};
use crate::config::value::listen::Listen;
use crate::config::value::number::{self, Auto, Limit};
use crate::config::value::size::{self, BytesLimit};
use crate::config::value::{log, network, upstream};
use crate::config::{LogFormat, LogTarget, Pool, Upstream};
use crate::limits;
use crate::time::Timeouts;

const AFTER_HELP: &str = "\
Durations are written 250ms, 10s, 5m or 1h30m; 0 or off disables. Sizes are written 32768, 64KiB, 1MiB \
(powers of 1024) or 10MB (powers of 1000). A flag wins over its environment variable, which wins over the \
configuration file, which wins over the default; an empty variable counts as unset.

Examples:
  ringress --demo
  ringress --listen 0.0.0.0:8080 --upstream 127.0.0.1:3000
  ringress --config ringress.toml
  ringress --tls-listen :443 --cert chain.pem --key key.pem --http-redirect :80 --upstream 127.0.0.1:3000
  ringress check --upstream app.internal:3000 --timeout-status 503

Exit codes: 0 clean, 1 runtime failure, 2 bad usage or configuration.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "ringress",
    version,
    about = "An HTTP ingress for Linux: every response streams, deadlines are timers on phases and progress",
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// Flags of serving.
    #[command(flatten)]
    pub settings: Settings,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Validate the same flags as for serving, certificates and keys included, and print the effective configuration as a file
    /// for --config
    Check(Box<Settings>),
    /// Print the effective configuration as `check` does, but read no certificates; or what is known about configuration files
    Config(Box<ConfigArgs>),
    /// Have a running server replaced by a new one, without losing a connection, and wait for the outcome
    Upgrade(UpgradeArgs),
    /// Print the man page (roff)
    Man,
    /// Print a completion script
    Completions {
        /// Shell to complete for
        shell: Shell,
    },
}

/// What `ringress config` prints.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    /// Print the JSON schema of configuration files, for editors
    #[arg(long, conflicts_with = "reference")]
    pub schema: bool,
    /// Print the reference of configuration files, in Markdown
    #[arg(long)]
    pub reference: bool,
    /// The same flags as for serving.
    #[command(flatten)]
    pub settings: Settings,
}

/// The server to replace.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct UpgradeArgs {
    /// Process id of the server
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub pid: Option<u32>,
    /// What the server was given as --pid-file
    #[arg(long, value_name = "PATH")]
    pub pid_file: Option<PathBuf>,
}

/// Every flag, by topic.
#[derive(Args, Debug)]
pub struct Settings {
    /// Listeners and origins.
    #[command(flatten)]
    pub basics: Basics,
    /// TLS on both sides.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// Threads and connections.
    #[command(flatten)]
    pub threads: Threads,
    /// One timer per phase.
    #[command(flatten)]
    pub timeouts: TimeoutArgs,
    /// Bounds on messages.
    #[command(flatten)]
    pub limits: Limits,
    /// Forwarding fields.
    #[command(flatten)]
    pub forwarding: ForwardingArgs,
    /// Connections to origins.
    #[command(flatten)]
    pub pool: PoolArgs,
    /// Logs.
    #[command(flatten)]
    pub logs: Logs,
    /// Metrics and probes.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// The process.
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// Listeners and origins.
#[derive(Args, Debug)]
#[command(next_help_heading = "Basics")]
pub struct Basics {
    /// Configuration file (TOML): listeners, certificates, groups of upstreams, routes, and whatever flags say too; flags and
    /// variables win over it. `ringress config --reference` describes it. Default: none
    #[arg(long, env = "RINGRESS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Address to accept clients on, HTTP/1.1 and HTTP/2 with prior knowledge (h2c): IP:PORT, [IPv6]:PORT, localhost:PORT (127.0.0.1), or :PORT for every
    /// interface, IPv4 and IPv6. Port 0 takes a free one. Repeatable, or separated by commas
    #[arg(
        long,
        env = "RINGRESS_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:8080",
        default_value_if("tls_listen", ArgPredicate::IsPresent, None),
        value_delimiter = ','
    )]
    pub listen: Vec<Listen>,

    /// Origin to send requests to: host:port, IP:port, [IPv6]:port, unix:/path or h2c+unix:/path, or SCHEME://host[:port] with http, https,
    /// h2c (HTTP/2), h2 (HTTP/2 with TLS), and https+insecure or h2+insecure, which check no certificate.
    /// Repeatable, or separated by commas. Required unless --demo or --config is given; no default
    #[arg(
        long, env = "RINGRESS_UPSTREAM", value_name = "ADDR", value_parser = upstream::parse,
        value_delimiter = ','
    )]
    pub upstream: Vec<Upstream>,

    /// Speak HTTP/2 with clients: by ALPN with TLS, by prior knowledge without
    #[arg(
        long, env = "RINGRESS_HTTP2", value_name = "on|off", default_value = "on", value_parser = switch(),
        action = ArgAction::Set, hide_possible_values = true
    )]
    pub http2: bool,

    /// Serve the built-in origin (page, event stream, WebSocket echo, downloads, uploads) instead of an
    /// upstream
    #[arg(
        long, env = "RINGRESS_DEMO", value_name = "on|off", default_value = "off", value_parser = switch(),
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, hide_possible_values = true,
        default_missing_value = "on"
    )]
    pub demo: bool,
}

/// Threads and connections.
#[derive(Args, Debug)]
#[command(next_help_heading = "Threads")]
pub struct Threads {
    /// Worker threads, a count; auto is one per core of the affinity mask
    #[arg(
        long, env = "RINGRESS_WORKERS", value_name = "N|auto", default_value_t = Auto(None),
        value_parser = number::workers
    )]
    pub workers: Auto,

    /// Pin each worker to one core
    #[arg(
        long, env = "RINGRESS_PIN", value_name = "on|off", default_value = "on", value_parser = switch(),
        action = ArgAction::Set, hide_possible_values = true
    )]
    pub pin: bool,

    /// Client connections at once, a count for all workers together; auto derives it from the limit on open
    /// files. When it is reached, new clients wait in the kernel's queue
    #[arg(
        long, env = "RINGRESS_MAX_CONNECTIONS", value_name = "N|auto", default_value_t = Auto(None),
        value_parser = number::connections
    )]
    pub max_connections: Auto,

    /// Known remainder of a body in bytes from which it is spliced in the kernel rather than copied; 0 or off
    /// copies always
    #[arg(
        long, env = "RINGRESS_SPLICE_MIN", value_name = "SIZE",
        default_value_t = BytesLimit(Some(limits::SPLICE_BYTES_MIN))
    )]
    pub splice_min: BytesLimit,
}

/// One timer per phase; `docs/timeouts.md` has the details.
#[derive(Args, Debug)]
#[command(next_help_heading = "Timeouts (durations; 0 or off disables)")]
pub struct TimeoutArgs {
    /// Accept to a connection that speaks: its first byte, or the end of its TLS handshake. Expiry closes it. A PROXY
    /// header that --accept-proxy asks for has it for itself, before that
    #[arg(
        long, env = "RINGRESS_HANDSHAKE_TIMEOUT", value_name = "DURATION",
        default_value_t = Timeout(Timeouts::default().handshake)
    )]
    pub handshake_timeout: Timeout,

    /// First byte of a request to its complete head, in total: a drip feed cannot extend it. Expiry answers
    /// 408 and closes
    #[arg(
        long, env = "RINGRESS_HEADER_TIMEOUT", value_name = "DURATION",
        default_value_t = Timeout(Timeouts::default().header)
    )]
    pub header_timeout: Timeout,

    /// Silence of the client while its body is due and no response has begun; every byte re-arms it. Expiry
    /// answers 408, closes, and aborts the upstream request
    #[arg(
        long, env = "RINGRESS_BODY_TIMEOUT", value_name = "DURATION",
        default_value_t = Timeout(Timeouts::default().body)
    )]
    pub body_timeout: Timeout,

    /// Connecting to one endpoint, TLS included. Expiry tries the next endpoint, and answers --timeout-status when there is
    /// none
    #[arg(
        long, env = "RINGRESS_CONNECT_TIMEOUT", value_name = "DURATION",
        default_value_t = Timeout(Timeouts::default().connect)
    )]
    pub connect_timeout: Timeout,

    /// Silence of the origin before its response head, while it is the one being waited for; upload progress
    /// re-arms it. Expiry answers --timeout-status
    #[arg(
        long, env = "RINGRESS_REQUEST_TIMEOUT", value_name = "DURATION",
        default_value_t = Timeout(Timeouts::default().request)
    )]
    pub request_timeout: Timeout,

    /// Silence of the origin inside a response; every byte re-arms it, and it pauses while the client is the
    /// slow one. Expiry cuts the response
    #[arg(
        long, env = "RINGRESS_STREAM_IDLE_TIMEOUT", value_name = "DURATION",
        default_value_t = Timeout(Timeouts::default().stream_idle)
    )]
    pub stream_idle_timeout: Timeout,

    /// No progress towards a client that owes us reads; every byte it takes re-arms it. Expiry cuts the
    /// response
    #[arg(
        long, env = "RINGRESS_WRITE_TIMEOUT", value_name = "DURATION",
        default_value_t = Timeout(Timeouts::default().write)
    )]
    pub write_timeout: Timeout,

    /// Silence of both directions of a tunnel (WebSocket, other upgrades); any byte either way re-arms it.
    /// Expiry closes both sides
    #[arg(
        long, env = "RINGRESS_TUNNEL_TIMEOUT", value_name = "DURATION",
        default_value_t = Timeout(Timeouts::default().tunnel)
    )]
    pub tunnel_timeout: Timeout,

    /// The whole exchange, streams included; nothing re-arms it. Expiry answers --timeout-status before the
    /// response head, and cuts the response after it
    #[arg(
        long, env = "RINGRESS_REQUEST_DEADLINE", value_name = "DURATION",
        default_value_t = Timeout(Timeouts::default().request_deadline)
    )]
    pub request_deadline: Timeout,

    /// Idle client connection between two requests. Expiry closes it
    #[arg(
        long, env = "RINGRESS_KEEPALIVE_TIMEOUT", value_name = "DURATION",
        default_value_t = Timeout(Timeouts::default().keepalive)
    )]
    pub keepalive_timeout: Timeout,

    /// After SIGTERM: how long exchanges and streams may finish; off waits for the last one
    #[arg(
        long, env = "RINGRESS_DRAIN_TIMEOUT", value_name = "DURATION",
        default_value_t = Timeout(Timeouts::default().drain)
    )]
    pub drain_timeout: Timeout,

    /// Status answered when the origin was too slow, 500 to 599: 503 for alerts that watch for 503
    #[arg(
        long, env = "RINGRESS_TIMEOUT_STATUS", value_name = "STATUS",
        default_value_t = config::TIMEOUT_STATUS, value_parser = number::status
    )]
    pub timeout_status: u16,
}

/// Bounds on messages.
#[derive(Args, Debug)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Largest request or response head in bytes, 1KiB to 80KiB; a larger request is answered 431
    #[arg(
        long, env = "RINGRESS_MAX_HEAD_BYTES", value_name = "SIZE", default_value = "32KiB",
        value_parser = size::head
    )]
    pub max_head_bytes: usize,

    /// Most fields in one head or trailer section, a count from 1 to 256; more are answered 431
    #[arg(
        long, env = "RINGRESS_MAX_FIELDS", value_name = "N", default_value_t = limits::FIELDS_MAX,
        value_parser = number::fields
    )]
    pub max_fields: usize,

    /// Longest request target in bytes, less than --max-head-bytes; a longer one is answered 414
    #[arg(
        long, env = "RINGRESS_MAX_TARGET_BYTES", value_name = "SIZE", default_value = "8KiB",
        value_parser = size::target
    )]
    pub max_target_bytes: usize,

    /// Largest request body in bytes; a larger one is answered 413. 0 or off is no limit
    #[arg(long, env = "RINGRESS_MAX_BODY_BYTES", value_name = "SIZE", default_value_t = BytesLimit(None))]
    pub max_body_bytes: BytesLimit,

    /// Pass field names with `_`, which many origins cannot tell from `-`; off drops such fields
    #[arg(
        long, env = "RINGRESS_ALLOW_UNDERSCORES", value_name = "on|off", default_value = "off",
        value_parser = switch(), action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        hide_possible_values = true, default_missing_value = "on"
    )]
    pub allow_underscores: bool,

    /// Connections of one client address (of IPv6, its /64) at once, a count for all workers together; 0 or off is no
    /// limit. A connection beyond it is closed at once
    #[arg(
        long, env = "RINGRESS_MAX_CONNECTIONS_PER_CLIENT", value_name = "N|off", default_value_t = Limit(None),
        value_parser = number::limit
    )]
    pub max_connections_per_client: Limit,
}

/// Forwarding fields.
#[derive(Args, Debug)]
#[command(next_help_heading = "Forwarding")]
pub struct ForwardingArgs {
    /// Peers whose X-Forwarded-*, Forwarded and X-Request-Id are kept: networks or addresses; those of all
    /// other peers are replaced. Repeatable, or separated by commas. Default: none
    #[arg(
        long, env = "RINGRESS_TRUSTED_PROXIES", value_name = "CIDR", value_parser = network::parse,
        value_delimiter = ','
    )]
    pub trusted_proxies: Vec<IpNet>,

    /// Also send the Forwarded field of RFC 7239
    #[arg(
        long, env = "RINGRESS_FORWARDED", value_name = "on|off", default_value = "off",
        value_parser = switch(), action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        hide_possible_values = true, default_missing_value = "on"
    )]
    pub forwarded: bool,

    /// Peers whose connections have to begin with a PROXY header (version 1 or 2), which names the client: networks or
    /// addresses of load balancers. On every listener; nobody else may send one. Repeatable, or separated by commas.
    /// Default: none
    #[arg(
        long, env = "RINGRESS_ACCEPT_PROXY", value_name = "CIDR", value_parser = network::parse,
        value_delimiter = ','
    )]
    pub accept_proxy: Vec<IpNet>,

    /// Begin each connection to an origin with a PROXY header of this version. Such a connection serves one request, and
    /// HTTP/2 origins cannot have it
    #[arg(
        long, env = "RINGRESS_SEND_PROXY", value_name = "v1|v2|off", default_value = "off",
        value_parser = words::send_proxy(), hide_possible_values = true
    )]
    pub send_proxy: SendProxy,
}

/// Connections to origins.
#[derive(Args, Debug)]
#[command(next_help_heading = "Upstream connections")]
pub struct PoolArgs {
    /// Idle connections kept per endpoint and worker, a count; 0 turns reuse off
    #[arg(
        long, env = "RINGRESS_UPSTREAM_IDLE_MAX", value_name = "N",
        default_value_t = Pool::default().idle_max, value_parser = number::idle
    )]
    pub upstream_idle_max: usize,

    /// A duration after which an idle connection is closed; 0 or off leaves that to the origin
    #[arg(
        long, env = "RINGRESS_UPSTREAM_IDLE_TIMEOUT", value_name = "DURATION",
        default_value_t = Period(Pool::default().idle_timeout)
    )]
    pub upstream_idle_timeout: Period,

    /// A duration after which a connection is not reused; 0 or off is no limit
    #[arg(
        long, env = "RINGRESS_UPSTREAM_AGE_MAX", value_name = "DURATION",
        default_value_t = Period(Pool::default().age_max)
    )]
    pub upstream_age_max: Period,

    /// A duration of silence after which an HTTP/2 connection with streams is sent a PING, and closed if nothing answers
    /// within as long again, 20s at most; 0 or off asks never. Servers of gRPC take less than 5m for an attack
    #[arg(
        long, env = "RINGRESS_UPSTREAM_PING", value_name = "DURATION",
        default_value_t = Period(Pool::default().ping)
    )]
    pub upstream_ping: Period,

    /// A duration after which names of upstreams are resolved again, 1s at least; 0 or off resolves them once
    #[arg(
        long, env = "RINGRESS_DNS_REFRESH", value_name = "DURATION",
        default_value_t = Period(config::DNS_REFRESH), value_parser = duration::refresh
    )]
    pub dns_refresh: Period,
}

/// Logs.
#[derive(Args, Debug)]
#[command(next_help_heading = "Logs")]
pub struct Logs {
    /// Where access-log lines go: a path (SIGUSR1 opens it again), - for standard output, or off. Default:
    /// off, and - with --demo
    #[arg(long, env = "RINGRESS_ACCESS_LOG", value_name = "PATH|-|off", value_parser = log::target)]
    pub access_log: Option<LogTarget>,

    /// Shape of an access-log line: key=value pairs, or a JSON object
    #[arg(
        long, env = "RINGRESS_LOG_FORMAT", value_name = "FORMAT", default_value = "logfmt",
        value_parser = words::log_format()
    )]
    pub log_format: LogFormat,

    /// Log the query of request targets too; it may hold secrets
    #[arg(
        long, env = "RINGRESS_LOG_QUERY", value_name = "on|off", default_value = "off",
        value_parser = switch(), action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        hide_possible_values = true, default_missing_value = "on"
    )]
    pub log_query: bool,

    /// What the program says about itself on standard error: error, warn, info, debug, trace, off, or a
    /// filter of targets such as info,ringress::control=debug
    #[arg(
        long, env = "RINGRESS_LOG_LEVEL", value_name = "LEVEL", default_value = "info",
        value_parser = log::level
    )]
    pub log_level: String,
}

/// Metrics and probes; `docs/metrics.md` has the details.
#[derive(Args, Debug)]
#[command(next_help_heading = "Admin")]
pub struct AdminArgs {
    /// Address to serve the status page, /metrics (Prometheus, OpenMetrics), /healthz, /readyz and orders such as POST /reload
    /// on, as --listen. It asks nobody who they are: keep it on loopback, such as 127.0.0.1:9901. Repeatable, or
    /// separated by commas. Default: none
    #[arg(long, env = "RINGRESS_ADMIN", value_name = "ADDR", value_delimiter = ',')]
    pub admin: Vec<Listen>,
}

/// The process; `docs/upgrade.md` has the details.
#[derive(Args, Debug)]
#[command(next_help_heading = "Process")]
pub struct ProcessArgs {
    /// File that names the process that serves, once it does; SIGUSR2 (ringress upgrade) changes it. Default: none
    #[arg(long, env = "RINGRESS_PID_FILE", value_name = "PATH")]
    pub pid_file: Option<PathBuf>,
}
