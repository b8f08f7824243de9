//! Routes back to tables.

use super::{list, set};
use crate::config::Config;
use crate::config::file::document::{self, Entries, OneOrMore};
use crate::config::file::kinds::{
    Attempts, Authority, FieldCondition, FieldName, FieldValue, KeptBytes, Method, Name, Percent,
    RedirectStatus, Reference, ResponseStatus, RetryStatus, UrlPath, WebScheme,
};
use crate::config::file::scalar::{Table, Value};
use crate::config::route::{Action, FieldEdits, Limit, Location, PathMatch, PathRewrite, Retry, Route};
use crate::config::value::duration::Timeout;
use crate::config::value::size::BytesLimit;
use crate::time::Timeouts;

/// A route; only what is not that of `config` at large.
pub fn route(route: &Route, config: &Config, common: &Retry) -> document::Route {
    let matches = &route.matches;
    let (path, exact_path) = match &matches.path {
        PathMatch::Prefix(path) => (set(UrlPath(path.clone())), None),
        PathMatch::Exact(path) => (None, set(UrlPath(path.clone()))),
    };
    let fields = matches.fields.iter().map(|field| {
        (Value::new(FieldName(field.name.clone())), Value::new(FieldCondition(field.value.clone())))
    });
    let methods: Vec<Method> = matches.methods.iter().cloned().map(Method).collect();
    let written = document::Route {
        name: set(Name(route.name.clone())),
        hosts: list(&matches.hosts).map(Table::new),
        path,
        exact_path,
        methods: list(&methods).map(Table::new),
        headers: Some(Entries(fields.collect())).filter(|entries| !entries.0.is_empty()),
        max_body_bytes: set(BytesLimit(route.body_bytes_max))
            .filter(|max| max.it.0 != config.message.body_bytes_max),
        request_headers: edits(&route.request_fields),
        response_headers: edits(&route.response_fields),
        timeouts: timeouts(&route.timeouts, &config.timeouts),
        retry: differing_retry(&route.retry, common),
        limit: Some(route.limits.iter().map(limit).collect()).filter(|_| !route.limits.is_empty()),
        ..document::Route::default()
    };
    action(&route.action, config, written)
}

fn action(action: &Action, config: &Config, written: document::Route) -> document::Route {
    match action {
        Action::Forward { group, rewrite } => {
            let (strip_prefix, replace_prefix) = self::rewrite(rewrite);
            let group = config.groups.get(*group).map(|group| Value::new(Name(group.name.clone())));
            document::Route { group, strip_prefix, replace_prefix, ..written }
        }
        Action::Redirect { status, location } => {
            let redirect = Table::new(redirect(*status, location));
            document::Route { redirect: Some(redirect), ..written }
        }
        Action::Respond { status, content_type, body } => {
            let respond = document::Respond {
                status: set(ResponseStatus(*status)),
                content_type: content_type.clone().map(|it| Value::new(FieldValue(it))),
                body: set(body.to_string()).filter(|body| !body.it.is_empty()),
            };
            document::Route { respond: Some(Table::new(respond)), ..written }
        }
    }
}

fn rewrite(rewrite: &PathRewrite) -> (Option<Value<bool>>, Option<Value<UrlPath>>) {
    match rewrite {
        PathRewrite::Keep => (None, None),
        PathRewrite::Prefix(path) if path.is_empty() => (set(true), None),
        PathRewrite::Prefix(path) => (None, set(UrlPath(path.clone()))),
    }
}

fn redirect(status: u16, location: &Location) -> document::Redirect {
    let status = set(RedirectStatus(status));
    match location {
        Location::Fixed(to) => {
            document::Redirect { status, to: set(Reference(to.clone())), ..document::Redirect::default() }
        }
        Location::Parts { scheme, host, path } => {
            let (strip_prefix, replace_prefix) = rewrite(path);
            let scheme = scheme.as_deref().map(|scheme| if scheme == "http" { "http" } else { "https" });
            document::Redirect {
                status,
                to: None,
                scheme: scheme.map(|scheme| Value::new(WebScheme(scheme))),
                host: host.clone().map(|host| Value::new(Authority(host))),
                strip_prefix,
                replace_prefix,
            }
        }
    }
}

fn edits(edits: &FieldEdits) -> Option<Table<document::FieldEdits>> {
    let remove: Vec<FieldName> = edits.remove.iter().cloned().map(FieldName).collect();
    let value = |value: &str| Value::new(FieldValue(value.into()));
    let set: Vec<_> =
        edits.set.iter().map(|(name, it)| (Value::new(FieldName(name.clone())), value(it))).collect();
    let mut add: Vec<(Value<FieldName>, OneOrMore)> = Vec::new();
    for (name, it) in &edits.add {
        let known = add.iter_mut().find(|(known, _)| known.it.0 == *name);
        match known {
            Some((_, OneOrMore::More(values))) => values.push(value(it)),
            Some((_, one)) => {
                if let OneOrMore::One(first) = one.clone() {
                    *one = OneOrMore::More(vec![first, value(it)]);
                }
            }
            None => add.push((Value::new(FieldName(name.clone())), OneOrMore::One(value(it)))),
        }
    }
    let written = document::FieldEdits {
        remove: list(&remove),
        set: Some(Entries(set)).filter(|set| !set.0.is_empty()),
        add: Some(Entries(add)).filter(|add| !add.0.is_empty()),
    };
    Some(Table::new(written)).filter(|_| !edits.is_empty())
}

fn timeouts(timeouts: &Timeouts, common: &Timeouts) -> Option<document::RouteTimeouts> {
    let differs = |own, common| set(Timeout(own)).filter(|_| own != common);
    let written = document::RouteTimeouts {
        body: differs(timeouts.body, common.body),
        connect: differs(timeouts.connect, common.connect),
        request: differs(timeouts.request, common.request),
        stream_idle: differs(timeouts.stream_idle, common.stream_idle),
        write: differs(timeouts.write, common.write),
        tunnel: differs(timeouts.tunnel, common.tunnel),
        request_deadline: differs(timeouts.request_deadline, common.request_deadline),
    };
    Some(written).filter(|_| timeouts != common)
}

/// What is tried again, in full.
pub fn retry(retry: &Retry) -> document::Retry {
    document::Retry {
        connect_failure: set(retry.connect_failure),
        refused_stream: set(retry.refused_stream),
        reset_before_response: set(retry.reset_before_response),
        statuses: Some(retry.statuses.iter().map(|status| Value::new(RetryStatus(*status))).collect()),
        max: set(Attempts(retry.max)),
        budget_percent: set(Percent(retry.budget_percent)),
        max_body_bytes: set(KeptBytes(retry.body_bytes_max)),
    }
}

/// Where a route differs from what the others try again.
fn differing_retry(own: &Retry, common: &Retry) -> Option<document::Retry> {
    let full = retry(own);
    let written = document::Retry {
        connect_failure: full.connect_failure.filter(|_| own.connect_failure != common.connect_failure),
        refused_stream: full.refused_stream.filter(|_| own.refused_stream != common.refused_stream),
        reset_before_response: full
            .reset_before_response
            .filter(|_| own.reset_before_response != common.reset_before_response),
        statuses: full.statuses.filter(|_| own.statuses != common.statuses),
        max: full.max.filter(|_| own.max != common.max),
        budget_percent: full.budget_percent.filter(|_| own.budget_percent != common.budget_percent),
        max_body_bytes: full.max_body_bytes.filter(|_| own.body_bytes_max != common.body_bytes_max),
    };
    Some(written).filter(|_| own != common)
}

fn limit(limit: &Limit) -> Table<document::Limit> {
    Table::new(document::Limit {
        key: Value::new(limit.key.clone()),
        requests: limit.rate.map(|rate| Value::new(rate.requests)),
        per: limit.rate.map(|rate| Value::new(rate.per)),
        burst: limit.rate.map(|rate| Value::new(rate.burst)),
        concurrent: limit.concurrent.map(Value::new),
    })
}
