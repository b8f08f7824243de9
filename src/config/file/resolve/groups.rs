//! Groups of upstreams.

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use super::{Defaults, Fault, Span, or};
use crate::config::file::document::{self, Document, EjectionSetting, WrittenUpstream};
use crate::config::file::kinds::{BalanceWord, Name, Percent, Statuses};
use crate::config::file::scalar::{Table, Value};
use crate::config::group::{Balance, Check, Ejection, Member, Probe, Queue, Sticky};
use crate::config::value::duration::Timeout;
use crate::config::value::listen::accepts;
use crate::config::{Group, Origin, Upstream};

/// The groups of the file; `listening` is where clients are accepted.
///
/// # Errors
/// A group that no route uses, or that contradicts itself.
pub fn resolve(
    document: &Document,
    defaults: &Defaults,
    listening: &[SocketAddr],
) -> Result<Vec<Group>, Fault> {
    let mut groups: Vec<Group> = Vec::new();
    for (name, written) in document.groups.iter().flat_map(|groups| &groups.0) {
        groups.push(group(name, written, defaults, listening)?);
    }
    let used = |name: &str| {
        let mut routes = document.route.iter().flatten();
        routes.any(|route| route.it.group.as_ref().is_some_and(|group| &*group.it.0 == name))
    };
    for (name, _) in document.groups.iter().flat_map(|groups| &groups.0) {
        if !used(&name.it.0) {
            let name_text = &name.it.0;
            // A route that misspells it is the better place to look at.
            if document.route.iter().flatten().any(|route| misses(document, route)) {
                continue;
            }
            return Err(Fault::at(&name.span, format!("no route uses the group `{name_text}`"))
                .help(format!("write `[[route]]` with group = \"{name_text}\", or drop the group")));
        }
    }
    Ok(groups)
}

/// Whether a route names a group that there is not.
fn misses(document: &Document, route: &Table<document::Route>) -> bool {
    let mut names = document.groups.iter().flat_map(|groups| &groups.0).map(|(name, _)| &name.it);
    route.it.group.as_ref().is_some_and(|group| !names.any(|name| *name == group.it))
}

fn group(
    name: &Value<Name>,
    written: &document::Group,
    defaults: &Defaults,
    listening: &[SocketAddr],
) -> Result<Group, Fault> {
    let members = members(name, written, listening)?;
    let send_proxy = written.send_proxy.as_ref().map(|version| version.it);
    let pool = written.pool.as_ref().map_or(defaults.pool, |pool| super::pool(pool, defaults.pool));
    Ok(Group {
        balance: balance(written)?,
        sticky: written.sticky.as_ref().map(sticky).transpose()?,
        slow_start: or(&written.slow_start, Timeout(None)).0.unwrap_or(Duration::ZERO),
        max_connections: written.max_connections.as_ref().map(|max| max.it),
        queue: queue(written.queue.as_ref()),
        ejection: ejection(written.ejection.as_ref())?,
        check: written.check.as_ref().map(check).transpose()?,
        send_proxy,
        ..Group::new(name.it.0.clone(), members, pool)
    })
}

fn members(
    name: &Value<Name>,
    written: &document::Group,
    listening: &[SocketAddr],
) -> Result<Vec<Member>, Fault> {
    let mut members = Vec::new();
    for upstream in &written.upstreams {
        let (value, weight) = match upstream {
            WrittenUpstream::Plain(value) => (value, NonZeroU16::MIN),
            WrittenUpstream::Weighed(table) => (&table.address, or(&table.weight, NonZeroU16::MIN)),
        };
        check_upstream(value, written, listening)?;
        members.push(Member { upstream: value.it.clone(), weight });
    }
    if members.is_empty() {
        return Err(Fault::at(&name.span, format!("the group `{}` has no upstreams", name.it.0))
            .help("write upstreams = [\"127.0.0.1:3000\"]"));
    }
    Ok(members)
}

fn check_upstream(
    upstream: &Value<Upstream>,
    written: &document::Group,
    listening: &[SocketAddr],
) -> Result<(), Fault> {
    if let Origin::Address(address) = &upstream.it.origin
        && listening.iter().any(|listen| accepts(*listen, *address))
    {
        return Err(Fault::at(&upstream.span, format!("{address} is an address of a listener"))
            .help("requests would go round in circles: give the origin another port"));
    }
    if written.send_proxy.is_some() && upstream.it.scheme.http2 {
        let text = "a PROXY header names one client, and clients share connections to an HTTP/2 upstream";
        return Err(Fault::at(&upstream.span, text)
            .help("speak HTTP/1.1 with it (http, https), or drop `send-proxy`"));
    }
    Ok(())
}

fn balance(written: &document::Group) -> Result<Balance, Fault> {
    let word = or(&written.balance, BalanceWord::LeastRequests);
    match (word, &written.hash_key) {
        (BalanceWord::Hash, Some(key)) => Ok(Balance::Hash(key.it.clone())),
        (BalanceWord::Hash, None) => {
            let span = written.balance.as_ref().map_or(&None, |balance| &balance.span);
            Err(Fault::at(span, "a hash needs a key")
                .help("write hash-key = \"client\", \"header:NAME\" or \"cookie:NAME\""))
        }
        (BalanceWord::LeastRequests | BalanceWord::RoundRobin, Some(key)) => {
            Err(Fault::at(&key.span, "`hash-key` is of no use without balance = \"hash\"")
                .help("write balance = \"hash\", or drop `hash-key`"))
        }
        (BalanceWord::LeastRequests, None) => Ok(Balance::LeastRequests),
        (BalanceWord::RoundRobin, None) => Ok(Balance::RoundRobin),
    }
}

fn sticky(written: &document::Sticky) -> Result<Sticky, Fault> {
    if let Some(Value { it, span }) = &written.max_age
        && it.subsec_nanos() != 0
    {
        return Err(Fault::at(span, "a cookie lives for whole seconds").help("such as max-age = \"1h\""));
    }
    Ok(Sticky {
        cookie: written.cookie.it.0.clone(),
        max_age: written.max_age.as_ref().map(|age| age.it),
        secure: or(&written.secure, false),
    })
}

fn queue(written: Option<&document::Queue>) -> Queue {
    let default = Queue::default();
    written.map_or(default, |queue| Queue {
        max: or(&queue.max, default.max),
        timeout: or(&queue.timeout, default.timeout),
    })
}

fn ejection(written: Option<&EjectionSetting>) -> Result<Option<Ejection>, Fault> {
    let default = Ejection::default();
    let (written, place) = match written {
        None | Some(EjectionSetting::Switch(true)) => return Ok(Some(default)),
        Some(EjectionSetting::Switch(false)) => return Ok(None),
        Some(EjectionSetting::Table(table)) => (&table.it, &table.span),
    };
    let consecutive = or(&written.consecutive, default.consecutive.map_or(0, NonZeroU32::get));
    let Percent(percent) = or(&written.error_percent, Percent(default.error_percent.unwrap_or(0)));
    let ejection = Ejection {
        consecutive: NonZeroU32::new(consecutive),
        error_percent: Some(percent).filter(|percent| *percent > 0),
        requests_min: or(&written.requests_min, default.requests_min),
        window: or(&written.window, default.window),
        base: or(&written.base, default.base),
        max: or(&written.max, default.max),
    };
    if ejection.base > ejection.max {
        let spans = [&written.base, &written.max].map(|value| value.as_ref().map(|value| &value.span));
        let span: &Span = spans.into_iter().flatten().next().unwrap_or(place);
        return Err(Fault::at(span, "`base` is longer than `max`")
            .help("an endpoint is left alone for `base` the first time, and for `max` at most"));
    }
    Ok(Some(ejection))
}

fn check(written: &Table<document::Check>) -> Result<Check, Fault> {
    let table = &written.it;
    let tcp = or(&table.tcp, false);
    let probe = match (&table.http, tcp) {
        (Some(path), false) if !path.it.0.starts_with('/') => {
            return Err(Fault::at(&path.span, "the path of a probe begins with `/`")
                .help("such as http = \"/healthz\"; the host is in `host`"));
        }
        (Some(path), false) => Probe::Http {
            path: path.it.0.clone(),
            host: table.host.as_ref().map(|host| host.it.0.clone()),
            expect: or(&table.expect, Statuses(EXPECT)).0,
        },
        (None, true) => Probe::Tcp,
        (Some(_), true) => {
            return Err(
                Fault::at(&written.span, "a probe is either `http` or `tcp`").help("drop one of them")
            );
        }
        (None, false) => {
            return Err(Fault::at(&written.span, "nothing says what a probe does")
                .help("write http = \"/healthz\", or tcp = true"));
        }
    };
    let of_no_use = [
        table.host.as_ref().map(|host| ("host", &host.span)),
        table.expect.as_ref().map(|expect| ("expect", &expect.span)),
    ];
    if let (true, Some((key, span))) = (tcp, of_no_use.into_iter().flatten().next()) {
        return Err(Fault::at(span, format!("`{key}` is of no use where a probe only connects"))
            .help("drop it, or write http = \"/healthz\" in place of `tcp`"));
    }
    let default = Check::new(probe);
    let count =
        |value: &Option<Value<NonZeroU32>>, default: u32| value.as_ref().map_or(default, |it| it.it.get());
    Ok(Check {
        interval: or(&table.interval, default.interval),
        timeout: or(&table.timeout, default.timeout),
        healthy: count(&table.healthy, default.healthy),
        unhealthy: count(&table.unhealthy, default.unhealthy),
        ..default
    })
}

/// Statuses of a good probe.
const EXPECT: (u16, u16) = (200, 399);
