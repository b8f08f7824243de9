//! A [`Document`] to a [`Config`]: defaults are filled in, and what contradicts itself is refused.

mod edits;
mod groups;
mod listeners;
mod reach;
mod routes;

use std::ops::Range;

use super::Fault;
use super::document::{self, Document, Retry};
use super::kinds::{
    Attempts, Connections, Fields, HeadBytes, Idle, KeptBytes, LogLevel, PerClient, Percent, Refresh,
    TargetBytes, TimeoutStatus, Workers,
};
use super::scalar::Value;
use crate::config::value::duration::{Period, Timeout};
use crate::config::value::number::Auto;
use crate::config::value::size::{Bytes, BytesLimit};
use crate::config::{
    Config, DNS_REFRESH, Forwarding, Group, LogFormat, LogTarget, Pool, Route, TIMEOUT_STATUS, route,
};
use crate::limits::{self, MessageLimits};
use crate::time::Timeouts;

/// Where something stands.
type Span = Option<Range<usize>>;

/// The configuration that `document` amounts to.
///
/// # Errors
/// It contradicts itself.
pub fn resolve(document: &Document) -> Result<Config, Fault> {
    let Document { server, limits, log, .. } = document;
    let demo = or(&server.demo, false);
    let listeners = listeners::resolve(document)?;
    let (timeouts, pool) = (timeouts(&document.timeouts), self::pool(&document.pool, Pool::default()));
    let message = message(limits)?;
    let retry = self::retry(document.retry.as_ref(), &route::Retry::default());
    let defaults = Defaults { timeouts, body_bytes_max: message.body_bytes_max, retry, pool };
    let upstream_tls = listeners::upstream_tls(&document.upstream_tls)?;
    let normalize_paths = or(&server.normalize_paths, true);
    let (groups, routes) = if demo {
        demo_alone(document, &defaults)?
    } else {
        let groups = groups::resolve(document, &defaults, &listeners.addresses)?;
        let routes = routes::resolve(document, &defaults, normalize_paths)?;
        (groups, routes)
    };
    let default_target = if demo { LogTarget::Stdout } else { LogTarget::Off };
    Ok(Config {
        listeners: listeners.listeners,
        http2: or(&server.http2, true),
        tls: listeners.tls,
        upstream_tls,
        groups,
        routes,
        normalize_paths,
        demo,
        workers: or(&server.workers, Workers(Auto(None))).0.0,
        pin: or(&server.pin, true),
        max_connections: or(&server.max_connections, Connections(Auto(None))).0.0,
        max_connections_per_client: or(&limits.max_connections_per_client, PerClient(None)).0,
        timeouts,
        timeout_status: or(&document.timeouts.status, TimeoutStatus(TIMEOUT_STATUS)).0,
        message,
        forwarding: Forwarding {
            trusted_proxies: list(&document.forwarding.trusted_proxies),
            forwarded: or(&document.forwarding.forwarded, false),
        },
        pool,
        splice_min: or(&server.splice_min, BytesLimit(Some(limits::SPLICE_BYTES_MIN))).0,
        dns_refresh: or(&server.dns_refresh, Refresh(Period(DNS_REFRESH))).0.0,
        access_log: or(&log.access, default_target),
        log_format: or(&log.format, LogFormat::Logfmt),
        log_query: or(&log.query, false),
        log_level: or(&log.level, LogLevel("info".to_owned())).0,
        admin: listeners.admin,
        pid_file: server.pid_file.as_ref().map(|file| file.it.clone()),
    })
}

/// What groups and routes have where they do not say anything.
struct Defaults {
    timeouts: Timeouts,
    body_bytes_max: Option<u64>,
    retry: route::Retry,
    pool: Pool,
}

/// A value, or its default.
fn or<T: Clone>(value: &Option<Value<T>>, default: T) -> T {
    value.as_ref().map_or(default, |value| value.it.clone())
}

/// The values of a list.
fn list<T: Clone>(values: &Option<Vec<Value<T>>>) -> Vec<T> {
    values.iter().flatten().map(|value| value.it.clone()).collect()
}

/// The demo with its group and its route.
fn demo_alone(document: &Document, defaults: &Defaults) -> Result<(Vec<Group>, Vec<Route>), Fault> {
    let group = document.groups.iter().flat_map(|groups| &groups.0).map(|(name, _)| &name.span).next();
    let route = document.route.iter().flatten().map(|route| &route.span).next();
    if let Some(span) = group.or(route) {
        return Err(Fault::at(span, "the demo serves its own origin, and this file has groups or routes")
            .help("drop `demo` (also --demo and RINGRESS_DEMO), or the groups and routes"));
    }
    let route = Route {
        retry: defaults.retry.clone(),
        ..Route::everything(defaults.timeouts, defaults.body_bytes_max)
    };
    Ok((vec![Group::new("default", Vec::new(), defaults.pool)], vec![route]))
}

fn timeouts(written: &document::Timeouts) -> Timeouts {
    let default = Timeouts::default();
    let timeout = |value, default| or(value, Timeout(default)).0;
    Timeouts {
        handshake: timeout(&written.handshake, default.handshake),
        header: timeout(&written.header, default.header),
        body: timeout(&written.body, default.body),
        connect: timeout(&written.connect, default.connect),
        request: timeout(&written.request, default.request),
        stream_idle: timeout(&written.stream_idle, default.stream_idle),
        write: timeout(&written.write, default.write),
        tunnel: timeout(&written.tunnel, default.tunnel),
        request_deadline: timeout(&written.request_deadline, default.request_deadline),
        keepalive: timeout(&written.keepalive, default.keepalive),
        drain: timeout(&written.drain, default.drain),
    }
}

fn message(written: &document::Limits) -> Result<MessageLimits, Fault> {
    let default = MessageLimits::default();
    let HeadBytes(head) = or(&written.max_head_bytes, HeadBytes(default.head_bytes_max));
    let TargetBytes(target) = or(&written.max_target_bytes, TargetBytes(default.target_bytes_max));
    if target >= head {
        let spans = [
            &written.max_target_bytes.as_ref().map(|it| it.span.clone()),
            &written.max_head_bytes.as_ref().map(|it| it.span.clone()),
        ];
        let span = spans.into_iter().flatten().next().cloned().flatten();
        let (target, head) = (target as u64, head as u64);
        let text =
            format!("max-target-bytes {} has to be less than max-head-bytes {}", Bytes(target), Bytes(head));
        return Err(Fault::at(&span, text).help(format!("max-target-bytes = \"{}\" fits", Bytes(head / 2))));
    }
    Ok(MessageLimits {
        head_bytes_max: head,
        fields_max: or(&written.max_fields, Fields(default.fields_max)).0,
        target_bytes_max: target,
        body_bytes_max: or(&written.max_body_bytes, BytesLimit(default.body_bytes_max)).0,
        allow_underscores: or(&written.allow_underscores, default.allow_underscores),
    })
}

fn pool(written: &document::Pool, default: Pool) -> Pool {
    Pool {
        idle_max: or(&written.idle_max, Idle(default.idle_max)).0,
        idle_timeout: or(&written.idle_timeout, Period(default.idle_timeout)).0,
        age_max: or(&written.age_max, Period(default.age_max)).0,
        ping: or(&written.ping, Period(default.ping)).0,
    }
}

fn retry(written: Option<&Retry>, default: &route::Retry) -> route::Retry {
    let Some(written) = written else { return default.clone() };
    let statuses = written.statuses.as_ref().map(|list| list.iter().map(|status| status.it.0).collect());
    route::Retry {
        connect_failure: or(&written.connect_failure, default.connect_failure),
        refused_stream: or(&written.refused_stream, default.refused_stream),
        reset_before_response: or(&written.reset_before_response, default.reset_before_response),
        statuses: statuses.unwrap_or_else(|| default.statuses.clone()),
        max: or(&written.max, Attempts(default.max)).0,
        budget_percent: or(&written.budget_percent, Percent(default.budget_percent)).0,
        body_bytes_max: or(&written.max_body_bytes, KeptBytes(default.body_bytes_max)).0,
    }
}
