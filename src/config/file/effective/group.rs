//! Groups back to tables.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use super::set;
use crate::config::file::document::{self, EjectionSetting, WeighedUpstream, WrittenUpstream};
use crate::config::file::kinds::{Authority, BalanceWord, CookieName, Idle, Percent, Reference, Statuses};
use crate::config::file::scalar::{Table, Value};
use crate::config::group::{Balance, Check, Ejection, Group, Member, Probe, Sticky};
use crate::config::value::duration::{Period, Timeout};
use crate::config::{Pool, Upstream};

/// A group; of its pool only what is not that of `common`.
pub fn group(group: &Group, common: &Pool) -> document::Group {
    let (balance, hash_key) = match &group.balance {
        Balance::LeastRequests => (BalanceWord::LeastRequests, None),
        Balance::RoundRobin => (BalanceWord::RoundRobin, None),
        Balance::Hash(key) => (BalanceWord::Hash, set(key.clone())),
    };
    let ejection = match &group.ejection {
        Some(it) => EjectionSetting::Table(Box::new(Table::new(ejection(it)))),
        None => EjectionSetting::Switch(false),
    };
    let slow_start = Some(group.slow_start).filter(|time| *time > Duration::ZERO);
    document::Group {
        upstreams: group.members.iter().map(member).collect(),
        balance: set(balance),
        hash_key,
        slow_start: set(Timeout(slow_start)),
        max_connections: group.max_connections.map(Value::new),
        send_proxy: group.send_proxy.map(Value::new),
        sticky: group.sticky.as_ref().map(sticky),
        queue: Some(document::Queue { max: set(group.queue.max), timeout: set(group.queue.timeout) }),
        ejection: Some(ejection),
        check: group.check.as_ref().map(|it| Table::new(check(it))),
        pool: pool(&group.pool, common),
    }
}

fn member(member: &Member) -> WrittenUpstream {
    let address: Value<Upstream> = Value::new(member.upstream.clone());
    match member.weight {
        NonZeroU16::MIN => WrittenUpstream::Plain(address),
        weight => WrittenUpstream::Weighed(WeighedUpstream { address, weight: set(weight) }),
    }
}

fn sticky(sticky: &Sticky) -> document::Sticky {
    document::Sticky {
        cookie: Value::new(CookieName(sticky.cookie.clone())),
        max_age: sticky.max_age.map(Value::new),
        secure: set(sticky.secure),
    }
}

fn ejection(ejection: &Ejection) -> document::Ejection {
    document::Ejection {
        consecutive: set(ejection.consecutive.map_or(0, NonZeroU32::get)),
        error_percent: set(Percent(ejection.error_percent.unwrap_or(0))),
        requests_min: set(ejection.requests_min),
        window: set(ejection.window),
        base: set(ejection.base),
        max: set(ejection.max),
    }
}

fn check(check: &Check) -> document::Check {
    let times = document::Check {
        interval: set(check.interval),
        timeout: set(check.timeout),
        healthy: NonZeroU32::new(check.healthy).map(Value::new),
        unhealthy: NonZeroU32::new(check.unhealthy).map(Value::new),
        ..document::Check::default()
    };
    match &check.probe {
        Probe::Tcp => document::Check { tcp: set(true), ..times },
        Probe::Http { path, host, expect } => document::Check {
            http: set(Reference(path.clone())),
            host: host.clone().map(|host| Value::new(Authority(host))),
            expect: set(Statuses(*expect)),
            ..times
        },
    }
}

fn pool(pool: &Pool, common: &Pool) -> Option<document::Pool> {
    let differs = pool != common;
    let written = document::Pool {
        idle_max: set(Idle(pool.idle_max)).filter(|_| pool.idle_max != common.idle_max),
        idle_timeout: set(Period(pool.idle_timeout)).filter(|_| pool.idle_timeout != common.idle_timeout),
        age_max: set(Period(pool.age_max)).filter(|_| pool.age_max != common.age_max),
        ping: set(Period(pool.ping)).filter(|_| pool.ping != common.ping),
    };
    Some(written).filter(|_| differs)
}
