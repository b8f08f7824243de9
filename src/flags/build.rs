//! Settings that are valid one by one to a [`Config`] that is valid as a whole.

use std::collections::HashSet;
use std::net::SocketAddr;

use thiserror::Error;

use super::args::{Basics, Limits, Settings, TimeoutArgs};
use super::tls::{self, TlsError};
use crate::config::value::listen::accepts;
use crate::config::value::size::Bytes;
use crate::config::{
    Config, Forwarding, Group, Listener, LogTarget, Origin, Pool, ProxyVersion, Route, Service, Upstream,
};
use crate::limits::MessageLimits;
use crate::time::Timeouts;

/// Settings that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BuildError {
    /// Neither an origin nor the demo.
    #[error(
        "nothing to serve: give an origin with --upstream, or serve the built-in one with --demo\n\n  \
         ringress --demo\n  ringress --listen 0.0.0.0:8080 --upstream 127.0.0.1:3000"
    )]
    NothingToServe,
    /// An origin and the demo.
    #[error(
        "--demo serves its own origin and takes no --upstream: drop one of them (RINGRESS_DEMO and \
         RINGRESS_UPSTREAM count too)"
    )]
    DemoWithUpstream,
    /// One address twice.
    #[error(
        "--listen, --tls-listen, --http-redirect and --admin name {0} twice: drop one of them (`:PORT` stands for 0.0.0.0:PORT and [::]:PORT)"
    )]
    DuplicateListen(SocketAddr),
    /// A proxy that is its own origin.
    #[error(
        "--upstream {0} is an address of --listen: requests would go round in circles, so give the \
         origin another port, such as --upstream 127.0.0.1:3000"
    )]
    Loop(SocketAddr),
    /// A PROXY header in front of a connection that clients share.
    #[error(
        "--send-proxy names one client at the start of a connection, and clients share those to --upstream {0}: speak \
         HTTP/1.1 with it (http, https), or drop --send-proxy"
    )]
    SharedConnection(Upstream),
    /// A PROXY header for the demo.
    #[error("the origin of --demo takes no PROXY header: drop --demo or --send-proxy")]
    DemoWithSendProxy,
    /// Flags of TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A target that no head can hold.
    #[error(
        "--max-target-bytes {} has to be less than --max-head-bytes {}: give --max-target-bytes {} too",
        Bytes(*.target), Bytes(*.head), Bytes(*.head / 2)
    )]
    TargetExceedsHead {
        /// Bytes of a target.
        target: u64,
        /// Bytes of a head.
        head: u64,
    },
}

/// The configuration that `settings` amount to.
///
/// # Errors
/// Settings that contradict each other.
pub fn config(settings: Settings) -> Result<Config, BuildError> {
    let Settings { basics, tls, threads, timeouts, limits, forwarding, pool, logs, admin, process } =
        settings;
    let Basics { listen, upstream: upstreams, http2, demo, config: _ } = basics;
    check_origins(&upstreams, demo)?;
    if forwarding.send_proxy.0.is_some() {
        check_send_proxy(&upstreams, demo)?;
    }
    let mut listeners = Vec::new();
    let listener = |service| {
        let accept_proxy = forwarding.accept_proxy.clone();
        move |address| Listener { address, service, accept_proxy: accept_proxy.clone() }
    };
    let plain = listen.into_iter().flat_map(|listen| listen.0);
    listeners.extend(plain.map(listener(Service::Plain)));
    listeners.extend(tls.tls_listen.iter().flat_map(|listen| listen.0.clone()).map(listener(Service::Tls)));
    listeners.extend(tls.http_redirect.iter().flat_map(|it| it.0.clone()).map(listener(Service::Redirect)));
    let (tls, upstream_tls) = tls::settings(tls)?;
    let all: Vec<SocketAddr> = listeners.iter().map(|listener| listener.address).collect();
    let admin: Vec<SocketAddr> = admin.admin.into_iter().flat_map(|listen| listen.0).collect();
    check_listen(&[all.as_slice(), &admin].concat())?;
    // Not `admin`: whoever wants to can serve the metrics through the proxy.
    check_loop(&all, &upstreams)?;
    let (timeouts, timeout_status) = (timeout_table(&timeouts), timeouts.timeout_status);
    let message = message_limits(&limits)?;
    let dns_refresh = pool.dns_refresh.0;
    let pool = Pool {
        idle_max: pool.upstream_idle_max,
        idle_timeout: pool.upstream_idle_timeout.0,
        age_max: pool.upstream_age_max.0,
        ping: pool.upstream_ping.0,
    };
    let default_target = if demo { LogTarget::Stdout } else { LogTarget::Off };
    Ok(Config {
        listeners,
        http2,
        tls,
        upstream_tls,
        groups: vec![group(upstreams, pool, forwarding.send_proxy.0)],
        routes: vec![Route::everything(timeouts, message.body_bytes_max)],
        normalize_paths: false,
        demo,
        workers: threads.workers.0,
        pin: threads.pin,
        max_connections: threads.max_connections.0,
        max_connections_per_client: limits.max_connections_per_client.0,
        splice_min: threads.splice_min.0,
        timeout_status,
        timeouts,
        message,
        forwarding: Forwarding {
            trusted_proxies: forwarding.trusted_proxies,
            forwarded: forwarding.forwarded,
        },
        pool,
        dns_refresh,
        access_log: logs.access_log.unwrap_or(default_target),
        log_format: logs.log_format,
        log_query: logs.log_query,
        log_level: logs.log_level,
        admin,
        pid_file: process.pid_file,
    })
}

/// The one group there is without a configuration file.
pub(super) fn group(upstreams: Vec<Upstream>, pool: Pool, send_proxy: Option<ProxyVersion>) -> Group {
    let members = upstreams.into_iter().map(Into::into).collect();
    Group { send_proxy, ..Group::new("default", members, pool) }
}

fn check_origins(upstreams: &[Upstream], demo: bool) -> Result<(), BuildError> {
    match (demo, upstreams.is_empty()) {
        (true, false) => Err(BuildError::DemoWithUpstream),
        (false, true) => Err(BuildError::NothingToServe),
        (true, true) | (false, false) => Ok(()),
    }
}

fn check_send_proxy(upstreams: &[Upstream], demo: bool) -> Result<(), BuildError> {
    if demo {
        return Err(BuildError::DemoWithSendProxy);
    }
    match upstreams.iter().find(|upstream| upstream.scheme.http2) {
        Some(upstream) => Err(BuildError::SharedConnection(upstream.clone())),
        None => Ok(()),
    }
}

/// No address twice; port 0 is a new port each time.
fn check_listen(listen: &[SocketAddr]) -> Result<(), BuildError> {
    let mut seen = HashSet::new();
    match listen.iter().find(|address| address.port() != 0 && !seen.insert(**address)) {
        Some(address) => Err(BuildError::DuplicateListen(*address)),
        None => Ok(()),
    }
}

fn check_loop(listen: &[SocketAddr], upstreams: &[Upstream]) -> Result<(), BuildError> {
    for upstream in upstreams {
        if let Origin::Address(address) = &upstream.origin
            && listen.iter().any(|listen| accepts(*listen, *address))
        {
            return Err(BuildError::Loop(*address));
        }
    }
    Ok(())
}

fn timeout_table(args: &TimeoutArgs) -> Timeouts {
    Timeouts {
        handshake: args.handshake_timeout.0,
        header: args.header_timeout.0,
        body: args.body_timeout.0,
        connect: args.connect_timeout.0,
        request: args.request_timeout.0,
        stream_idle: args.stream_idle_timeout.0,
        write: args.write_timeout.0,
        tunnel: args.tunnel_timeout.0,
        request_deadline: args.request_deadline.0,
        keepalive: args.keepalive_timeout.0,
        drain: args.drain_timeout.0,
    }
}

fn message_limits(limits: &Limits) -> Result<MessageLimits, BuildError> {
    if limits.max_target_bytes >= limits.max_head_bytes {
        let (target, head) = (limits.max_target_bytes as u64, limits.max_head_bytes as u64);
        return Err(BuildError::TargetExceedsHead { target, head });
    }
    Ok(MessageLimits {
        head_bytes_max: limits.max_head_bytes,
        fields_max: limits.max_fields,
        target_bytes_max: limits.max_target_bytes,
        body_bytes_max: limits.max_body_bytes.0,
        allow_underscores: limits.allow_underscores,
    })
}
