//! A [`Config`] back to a file: what `ringress check` prints. Read again, it makes the same configuration.

mod group;
mod route;

use super::document::{self, Document, Entries};
use super::kinds::{
    Connections, Fields, HeadBytes, Idle, LogLevel, Name, PerClient, Refresh, Requirement, TargetBytes,
    TimeoutStatus, Workers,
};
use super::scalar::{Table, Value};
use crate::config::value::duration::{Period, Timeout};
use crate::config::value::listen::Listen;
use crate::config::value::number::Auto;
use crate::config::value::size::BytesLimit;
use crate::config::{ClientAuth, Config, KeyPair, Listener, Pool, Service};
use crate::limits::MessageLimits;
use crate::time::Timeouts;

/// The settings of `config` as the text of a configuration file. Given back to `ringress --config`, it makes the same
/// configuration. What a group or a route has in common with the tables at the top is said there alone.
#[must_use]
pub fn effective(config: &Config) -> String {
    // The tables of a document have no key and no value that TOML could not hold.
    toml::to_string(&document(config)).unwrap_or_default()
}

/// A value that is set.
fn set<T>(it: T) -> Option<Value<T>> {
    Some(Value::new(it))
}

/// A list, unless it is empty.
fn list<T: Clone>(values: &[T]) -> Option<Vec<Value<T>>> {
    if values.is_empty() { None } else { Some(values.iter().cloned().map(Value::new).collect()) }
}

fn document(config: &Config) -> Document {
    let retry = match config.demo {
        true => config.routes.first().map(|route| route.retry.clone()).unwrap_or_default(),
        false => crate::config::route::Retry::default(),
    };
    Document {
        server: server(config),
        listener: Some(config.listeners.iter().map(listener).collect()),
        tls: tls(config),
        upstream_tls: upstream_tls(config),
        timeouts: timeouts(&config.timeouts, config.timeout_status),
        limits: limits(config, &config.message),
        forwarding: document::Forwarding {
            trusted_proxies: list(&config.forwarding.trusted_proxies),
            forwarded: set(config.forwarding.forwarded),
        },
        pool: pool(&config.pool),
        log: document::Log {
            access: set(config.access_log.clone()),
            format: set(config.log_format),
            query: set(config.log_query),
            level: set(LogLevel(config.log_level.clone())),
        },
        retry: Some(route::retry(&retry)),
        groups: groups(config),
        route: routes(config, &retry),
    }
}

fn server(config: &Config) -> document::Server {
    let admin: Vec<Listen> = config.admin.iter().map(|address| Listen(vec![*address])).collect();
    document::Server {
        workers: set(Workers(Auto(config.workers))),
        pin: set(config.pin),
        max_connections: set(Connections(Auto(config.max_connections))),
        splice_min: set(BytesLimit(config.splice_min)),
        http2: set(config.http2),
        normalize_paths: set(config.normalize_paths),
        demo: set(config.demo),
        dns_refresh: set(Refresh(Period(config.dns_refresh))),
        admin: list(&admin),
        pid_file: config.pid_file.clone().and_then(set),
    }
}

fn listener(listener: &Listener) -> Table<document::Listener> {
    Table::new(document::Listener {
        address: Value::new(Listen(vec![listener.address])),
        tls: set(listener.service == Service::Tls),
        redirect: set(listener.service == Service::Redirect),
        accept_proxy: list(&listener.accept_proxy),
    })
}

fn tls(config: &Config) -> document::Tls {
    let certificate = |KeyPair { cert, key }: &KeyPair| {
        Table::new(document::Certificate { cert: Value::new(cert.clone()), key: Value::new(key.clone()) })
    };
    let requirement = match &config.tls.client_auth {
        ClientAuth::Off => None,
        ClientAuth::Required(_) => set(Requirement::Required),
        ClientAuth::Optional(_) => set(Requirement::Optional),
    };
    let pairs = &config.tls.pairs;
    document::Tls {
        client_ca: config.tls.client_auth.ca().cloned().map(Value::new),
        client_auth: requirement,
        certificate: Some(pairs.iter().map(certificate).collect()).filter(|_| !pairs.is_empty()),
    }
}

fn upstream_tls(config: &Config) -> document::UpstreamTls {
    let identity = config.upstream_tls.identity.as_ref();
    document::UpstreamTls {
        ca: config.upstream_tls.ca.clone().map(Value::new),
        cert: identity.map(|pair| Value::new(pair.cert.clone())),
        key: identity.map(|pair| Value::new(pair.key.clone())),
    }
}

fn timeouts(timeouts: &Timeouts, status: u16) -> document::Timeouts {
    document::Timeouts {
        handshake: set(Timeout(timeouts.handshake)),
        header: set(Timeout(timeouts.header)),
        body: set(Timeout(timeouts.body)),
        connect: set(Timeout(timeouts.connect)),
        request: set(Timeout(timeouts.request)),
        stream_idle: set(Timeout(timeouts.stream_idle)),
        write: set(Timeout(timeouts.write)),
        tunnel: set(Timeout(timeouts.tunnel)),
        request_deadline: set(Timeout(timeouts.request_deadline)),
        keepalive: set(Timeout(timeouts.keepalive)),
        drain: set(Timeout(timeouts.drain)),
        status: set(TimeoutStatus(status)),
    }
}

fn limits(config: &Config, message: &MessageLimits) -> document::Limits {
    document::Limits {
        max_head_bytes: set(HeadBytes(message.head_bytes_max)),
        max_fields: set(Fields(message.fields_max)),
        max_target_bytes: set(TargetBytes(message.target_bytes_max)),
        max_body_bytes: set(BytesLimit(message.body_bytes_max)),
        allow_underscores: set(message.allow_underscores),
        max_connections_per_client: set(PerClient(config.max_connections_per_client)),
    }
}

fn pool(pool: &Pool) -> document::Pool {
    document::Pool {
        idle_max: set(Idle(pool.idle_max)),
        idle_timeout: set(Period(pool.idle_timeout)),
        age_max: set(Period(pool.age_max)),
        ping: set(Period(pool.ping)),
    }
}

/// A demo has its one group from itself.
fn groups(config: &Config) -> Option<Entries<Name, document::Group>> {
    let entry = |it| (Value::new(Name(crate::config::Group::clone(it).name)), group::group(it, &config.pool));
    Some(Entries(config.groups.iter().map(entry).collect()))
        .filter(|_| !config.demo && !config.groups.is_empty())
}

fn routes(config: &Config, retry: &crate::config::route::Retry) -> Option<Vec<Table<document::Route>>> {
    let route = |it| Table::new(route::route(it, config, retry));
    Some(config.routes.iter().map(route).collect()).filter(|_| !config.demo)
}
