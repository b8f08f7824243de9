//! Flags and variables laid over a configuration file: what is given wins over what the file says.

use thiserror::Error;

use super::args::{
    AdminArgs, Basics, ForwardingArgs, Limits, Logs, PoolArgs, ProcessArgs, Settings, Threads, TimeoutArgs,
};
use super::tls::{TlsArgs, TlsError};
use crate::config::Service;
use crate::config::file::Document;
use crate::config::file::document::{self, Certificate, Entries, Listener, WrittenUpstream};
use crate::config::file::kinds::{
    Connections, Fields, HeadBytes, Idle, LogLevel, Name, PerClient, Refresh, TargetBytes, TimeoutStatus,
    Workers,
};
use crate::config::file::scalar::{Table, Value};
use crate::config::value::listen::Listen;
use crate::config::value::size::BytesLimit;

/// Flags that do not fit the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OverlayError {
    /// Two sources of origins.
    #[error(
        "{0} and a configuration file with [groups] or [[route]] both say where requests go: drop {0} (its variable \
         counts too), or the groups and routes of the file"
    )]
    Origins(&'static str),
    /// An origin and the demo.
    #[error(
        "--upstream and `demo = true` of the configuration file both say where requests go: drop one of them"
    )]
    Demo,
    /// Flags of TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Lays what is given over `document`; `given` says whether a flag or its variable is there.
///
/// # Errors
/// Flags that the file has no place for.
pub fn lay(
    document: &mut Document,
    settings: &Settings,
    given: &dyn Fn(&str) -> bool,
) -> Result<(), OverlayError> {
    origins(document, &settings.basics, given)?;
    listeners(document, settings, given);
    tls(document, &settings.tls, given)?;
    server(document, settings, given);
    timeouts(&mut document.timeouts, &settings.timeouts, given);
    limits(&mut document.limits, &settings.limits, given);
    forwarding(document, &settings.forwarding, given);
    pool(document, &settings.pool, given);
    log(&mut document.log, &settings.logs, given);
    admin(&mut document.server, &settings.admin, given);
    process(&mut document.server, &settings.process);
    Ok(())
}

/// Sets what is given.
fn put<T>(slot: &mut Option<Value<T>>, given: bool, value: impl FnOnce() -> T) {
    if given {
        *slot = Some(Value::new(value()));
    }
}

/// Sets a list that is given.
fn put_list<T: Clone>(slot: &mut Option<Vec<Value<T>>>, given: bool, values: &[T]) {
    if given {
        *slot = Some(values.iter().cloned().map(Value::new).collect());
    }
}

fn origins(
    document: &mut Document,
    basics: &Basics,
    given: &dyn Fn(&str) -> bool,
) -> Result<(), OverlayError> {
    put(&mut document.server.demo, given("demo"), || basics.demo);
    put(&mut document.server.http2, given("http2"), || basics.http2);
    let demo = document.server.demo.as_ref().is_some_and(|demo| demo.it);
    let routed = document.groups.is_some() || document.route.is_some();
    match (given("upstream") && !basics.upstream.is_empty(), given("demo") && demo, routed) {
        (true, _, true) => return Err(OverlayError::Origins("--upstream")),
        (_, true, true) => return Err(OverlayError::Origins("--demo")),
        (true, _, false) if demo => return Err(OverlayError::Demo),
        (true, _, false) => {}
        (false, _, _) => return Ok(()),
    }
    let name = || Value::new(Name("default".into()));
    let upstreams = basics.upstream.iter().cloned().map(Value::new).map(WrittenUpstream::Plain).collect();
    document.groups =
        Some(Entries(vec![(name(), document::Group { upstreams, ..document::Group::default() })]));
    let route = document::Route { name: Some(name()), group: Some(name()), ..document::Route::default() };
    document.route = Some(vec![Table::new(route)]);
    Ok(())
}

/// Listeners that are given replace those of the file that serve the same.
fn listeners(document: &mut Document, settings: &Settings, given: &dyn Fn(&str) -> bool) {
    let replace = [
        ("listen", &settings.basics.listen, Service::Plain),
        ("tls_listen", &settings.tls.tls_listen, Service::Tls),
        ("http_redirect", &settings.tls.http_redirect, Service::Redirect),
    ];
    let mut listeners = document.listener.take().unwrap_or_default();
    for (flag, addresses, service) in replace {
        if given(flag) {
            listeners.retain(|listener| service_of(&listener.it) != service);
            listeners.extend(addresses.iter().map(|address| listener(address.clone(), service)));
        }
    }
    if given("accept_proxy") {
        if listeners.is_empty() {
            // The default of --listen: the file has no listener that could take the peers.
            listeners.extend(settings.basics.listen.iter().map(|it| listener(it.clone(), Service::Plain)));
        }
        for listener in &mut listeners {
            put_list(&mut listener.it.accept_proxy, true, &settings.forwarding.accept_proxy);
        }
    }
    document.listener = Some(listeners).filter(|listeners| !listeners.is_empty());
}

fn service_of(listener: &Listener) -> Service {
    let is = |switch: &Option<Value<bool>>| switch.as_ref().is_some_and(|switch| switch.it);
    match (is(&listener.tls), is(&listener.redirect)) {
        (true, _) => Service::Tls,
        (false, true) => Service::Redirect,
        (false, false) => Service::Plain,
    }
}

fn listener(address: Listen, service: Service) -> Table<Listener> {
    Table::new(Listener {
        address: Value::new(address),
        tls: Some(Value::new(service == Service::Tls)),
        redirect: Some(Value::new(service == Service::Redirect)),
        accept_proxy: None,
    })
}

fn tls(document: &mut Document, args: &TlsArgs, given: &dyn Fn(&str) -> bool) -> Result<(), OverlayError> {
    if given("cert") || given("key") {
        let (certs, keys) = (args.cert.len(), args.key.len());
        if certs != keys {
            return Err(TlsError::Pairs { certs, keys }.into());
        }
        let pair = |(cert, key): (&std::path::PathBuf, &std::path::PathBuf)| {
            Table::new(Certificate { cert: Value::new(cert.clone()), key: Value::new(key.clone()) })
        };
        document.tls.certificate = Some(args.cert.iter().zip(&args.key).map(pair).collect());
    }
    let file = |slot: &mut Option<Value<std::path::PathBuf>>, path: &Option<std::path::PathBuf>| {
        if let Some(path) = path {
            *slot = Some(Value::new(path.clone()));
        }
    };
    file(&mut document.tls.client_ca, &args.client_ca);
    file(&mut document.upstream_tls.ca, &args.upstream_ca);
    file(&mut document.upstream_tls.cert, &args.upstream_cert);
    file(&mut document.upstream_tls.key, &args.upstream_key);
    put(&mut document.tls.client_auth, given("client_auth"), || args.client_auth);
    Ok(())
}

fn server(document: &mut Document, settings: &Settings, given: &dyn Fn(&str) -> bool) {
    let Threads { workers, pin, max_connections, splice_min } = &settings.threads;
    let server = &mut document.server;
    put(&mut server.workers, given("workers"), || Workers(*workers));
    put(&mut server.pin, given("pin"), || *pin);
    put(&mut server.max_connections, given("max_connections"), || Connections(*max_connections));
    put(&mut server.splice_min, given("splice_min"), || *splice_min);
    put(&mut server.dns_refresh, given("dns_refresh"), || Refresh(settings.pool.dns_refresh));
}

fn timeouts(timeouts: &mut document::Timeouts, args: &TimeoutArgs, given: &dyn Fn(&str) -> bool) {
    put(&mut timeouts.handshake, given("handshake_timeout"), || args.handshake_timeout);
    put(&mut timeouts.header, given("header_timeout"), || args.header_timeout);
    put(&mut timeouts.body, given("body_timeout"), || args.body_timeout);
    put(&mut timeouts.connect, given("connect_timeout"), || args.connect_timeout);
    put(&mut timeouts.request, given("request_timeout"), || args.request_timeout);
    put(&mut timeouts.stream_idle, given("stream_idle_timeout"), || args.stream_idle_timeout);
    put(&mut timeouts.write, given("write_timeout"), || args.write_timeout);
    put(&mut timeouts.tunnel, given("tunnel_timeout"), || args.tunnel_timeout);
    put(&mut timeouts.request_deadline, given("request_deadline"), || args.request_deadline);
    put(&mut timeouts.keepalive, given("keepalive_timeout"), || args.keepalive_timeout);
    put(&mut timeouts.drain, given("drain_timeout"), || args.drain_timeout);
    put(&mut timeouts.status, given("timeout_status"), || TimeoutStatus(args.timeout_status));
}

fn limits(limits: &mut document::Limits, args: &Limits, given: &dyn Fn(&str) -> bool) {
    put(&mut limits.max_head_bytes, given("max_head_bytes"), || HeadBytes(args.max_head_bytes));
    put(&mut limits.max_fields, given("max_fields"), || Fields(args.max_fields));
    put(&mut limits.max_target_bytes, given("max_target_bytes"), || TargetBytes(args.max_target_bytes));
    put(&mut limits.max_body_bytes, given("max_body_bytes"), || BytesLimit(args.max_body_bytes.0));
    put(&mut limits.allow_underscores, given("allow_underscores"), || args.allow_underscores);
    put(&mut limits.max_connections_per_client, given("max_connections_per_client"), || {
        PerClient(args.max_connections_per_client.0)
    });
}

fn forwarding(document: &mut Document, args: &ForwardingArgs, given: &dyn Fn(&str) -> bool) {
    put_list(&mut document.forwarding.trusted_proxies, given("trusted_proxies"), &args.trusted_proxies);
    put(&mut document.forwarding.forwarded, given("forwarded"), || args.forwarded);
    if given("send_proxy") {
        for (_, group) in document.groups.iter_mut().flat_map(|groups| &mut groups.0) {
            group.send_proxy = args.send_proxy.0.map(Value::new);
        }
    }
}

/// The pool at large: a group that differs from it in the file still does.
fn pool(document: &mut Document, args: &PoolArgs, given: &dyn Fn(&str) -> bool) {
    let pool = &mut document.pool;
    put(&mut pool.idle_max, given("upstream_idle_max"), || Idle(args.upstream_idle_max));
    put(&mut pool.idle_timeout, given("upstream_idle_timeout"), || args.upstream_idle_timeout);
    put(&mut pool.age_max, given("upstream_age_max"), || args.upstream_age_max);
    put(&mut pool.ping, given("upstream_ping"), || args.upstream_ping);
}

fn log(log: &mut document::Log, args: &Logs, given: &dyn Fn(&str) -> bool) {
    if let Some(target) = &args.access_log {
        log.access = Some(Value::new(target.clone()));
    }
    put(&mut log.format, given("log_format"), || args.log_format);
    put(&mut log.query, given("log_query"), || args.log_query);
    put(&mut log.level, given("log_level"), || LogLevel(args.log_level.clone()));
}

fn process(server: &mut document::Server, args: &ProcessArgs) {
    if let Some(file) = &args.pid_file {
        server.pid_file = Some(Value::new(file.clone()));
    }
}

fn admin(server: &mut document::Server, args: &AdminArgs, given: &dyn Fn(&str) -> bool) {
    put_list(&mut server.admin, given("admin"), &args.admin);
}
