//! Routes.

use std::collections::HashSet;
use std::hash::Hash;

use super::edits::{self, Side};
use super::reach::Reached;
use super::{Defaults, Fault, Span, or};
use crate::config::file::document::{self, Document};
use crate::config::file::kinds::{FieldValue, Name, RedirectStatus, ResponseStatus, UrlPath};
use crate::config::file::scalar::{Table, Value};
use crate::config::route::{
    Action, FieldMatch, Limit, Location, Matches, PathMatch, PathRewrite, Rate, Route,
};
use crate::config::value::duration::Timeout;
use crate::config::value::path;
use crate::config::value::size::BytesLimit;
use crate::time::Timeouts;

/// Status of a redirect that has none: the client asks again with the same method, and remembers.
const REDIRECT_STATUS: u16 = 308;
/// Content-Type of a body that has none.
const CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// The routes of the file.
///
/// # Errors
/// One that contradicts itself, or that no request can reach.
pub fn resolve(document: &Document, defaults: &Defaults, normal: bool) -> Result<Vec<Route>, Fault> {
    let written: Vec<&Table<document::Route>> = document.route.iter().flatten().collect();
    if written.is_empty() {
        return Err(Fault { span: None, message: "nothing to serve: there is no `[[route]]`".into(), help: None }
            .help("write `[groups.app]` with upstreams = [\"127.0.0.1:3000\"], and `[[route]]` with group = \"app\""));
    }
    let mut names = given_names(&written)?;
    let mut routes = Reached::default();
    for table in &written {
        let mut route = route(document, table, defaults, normal)?;
        if table.it.name.is_none() {
            route.name = free_name(&derived_name(&route.matches), &mut names);
        }
        routes.add(route, table)?;
    }
    Ok(routes.into_routes())
}

/// The names that routes have been given.
fn given_names(written: &[&Table<document::Route>]) -> Result<HashSet<Box<str>>, Fault> {
    let mut names = HashSet::new();
    for name in written.iter().filter_map(|route| route.it.name.as_ref()) {
        if !names.insert(name.it.0.clone()) {
            return Err(Fault::at(&name.span, format!("another route has the name `{}` already", name.it.0))
                .help("logs and metrics could not tell them apart: give it a name of its own"));
        }
    }
    Ok(names)
}

/// What a route is called that has no name: its first host and its path.
fn derived_name(matches: &Matches) -> String {
    let host = matches.hosts.first().map(ToString::to_string).unwrap_or_default();
    match &matches.path {
        PathMatch::Exact(path) => format!("{host}{path}="),
        PathMatch::Prefix(path) => format!("{host}{path}"),
    }
}

/// `name`, or the first of `name-2`, `name-3` that nobody has.
fn free_name(name: &str, taken: &mut HashSet<Box<str>>) -> Box<str> {
    let mut free: Box<str> = name.into();
    let mut number = 2;
    while !taken.insert(free.clone()) {
        free = format!("{name}-{number}").into();
        number += 1;
    }
    free
}

fn route(
    document: &Document,
    table: &Table<document::Route>,
    defaults: &Defaults,
    normal: bool,
) -> Result<Route, Fault> {
    let written = &table.it;
    let matches = matches(written, normal)?;
    let action = action(document, table, &matches)?;
    let forwards = matches!(action, Action::Forward { .. });
    if let (Some(edits), false) = (&written.request_headers, forwards) {
        return Err(Fault::at(&edits.span, "only a route that forwards changes the headers of requests")
            .help("drop `request-headers`, or write `response-headers`"));
    }
    let mut limits = Vec::new();
    for it in written.limit.iter().flatten() {
        limits.push(limit(it)?);
    }
    Ok(Route {
        name: written.name.as_ref().map_or_else(|| "".into(), |name| name.it.0.clone()),
        matches,
        action,
        request_fields: edits::resolve(written.request_headers.as_ref(), Side::Request)?,
        response_fields: edits::resolve(written.response_headers.as_ref(), Side::Response)?,
        timeouts: timeouts(written.timeouts.as_ref(), defaults.timeouts),
        body_bytes_max: or(&written.max_body_bytes, BytesLimit(defaults.body_bytes_max)).0,
        retry: super::retry(written.retry.as_ref(), &defaults.retry),
        limits,
    })
}

fn matches(written: &document::Route, normal: bool) -> Result<Matches, Fault> {
    let path = match (&written.path, &written.exact_path) {
        (Some(_), Some(exact)) => {
            return Err(Fault::at(&exact.span, "a route has either `path` or `exact-path`")
                .help("drop one of them, or make two routes of it"));
        }
        (Some(prefix), None) => PathMatch::Prefix(match_path(prefix, normal)?),
        (None, Some(exact)) => PathMatch::Exact(match_path(exact, normal)?),
        (None, None) => PathMatch::default(),
    };
    let mut fields: Vec<FieldMatch> = Vec::new();
    for (name, value) in written.headers.iter().flat_map(|headers| &headers.0) {
        if fields.iter().any(|field| field.name == name.it.0) {
            return Err(Fault::at(
                &name.span,
                format!("`{}` is here twice (names of fields have no case)", name.it.0),
            )
            .help("keep one of them"));
        }
        if &*name.it.0 == "host" {
            return Err(
                Fault::at(&name.span, "hosts are matched by `hosts`").help("write hosts = [\"example.com\"]")
            );
        }
        fields.push(FieldMatch { name: name.it.0.clone(), value: value.it.0.clone() });
    }
    Ok(Matches {
        hosts: distinct("hosts", written.hosts.as_ref(), |host| host.clone())?,
        path,
        methods: distinct("methods", written.methods.as_ref(), |method| method.0.clone())?,
        fields,
    })
}

/// A path that requests can have.
fn match_path(path: &Value<UrlPath>, normal: bool) -> Result<Box<str>, Fault> {
    match path::check_normal(&path.it.0) {
        Err(error) if normal => {
            Err(Fault::at(&path.span, error.to_string())
                .help("or write normalize-paths = false in `[server]`"))
        }
        Ok(()) | Err(_) => Ok(path.it.0.clone()),
    }
}

/// The values of a list, none twice; a list that is there has some.
fn distinct<T, U: Clone + Eq + Hash>(
    key: &str,
    values: Option<&Table<Vec<Value<T>>>>,
    read: impl Fn(&T) -> U,
) -> Result<Vec<U>, Fault> {
    let mut list = Vec::new();
    let Some(Table { it: values, span }) = values else { return Ok(list) };
    if values.is_empty() {
        return Err(Fault::at(span, format!("`{key}` is empty, and would match nothing"))
            .help("drop it to match everything"));
    }
    for value in values {
        let it = read(&value.it);
        if list.contains(&it) {
            return Err(Fault::at(&value.span, format!("this is in `{key}` twice")).help("drop one of them"));
        }
        list.push(it);
    }
    Ok(list)
}

fn action(document: &Document, table: &Table<document::Route>, matches: &Matches) -> Result<Action, Fault> {
    let written = &table.it;
    let action = match (&written.group, &written.redirect, &written.respond) {
        (Some(name), None, None) => {
            let group = group(document, name)?;
            let rewrite = rewrite(written.strip_prefix.as_ref(), written.replace_prefix.as_ref())?;
            return Ok(Action::Forward { group, rewrite });
        }
        (None, Some(written), None) => redirect(written, matches)?,
        (None, None, Some(written)) => respond(written)?,
        (None, None, None) => {
            return Err(Fault::at(&table.span, "nothing says what becomes of these requests")
                .help("write one of group = \"NAME\", redirect = { .. } and respond = { .. }"));
        }
        (_, redirect, respond) => {
            let second = respond.as_ref().map(|it| &it.span).or(redirect.as_ref().map(|it| &it.span));
            return Err(Fault::at(
                second.unwrap_or(&table.span),
                "a route has one of `group`, `redirect` and `respond`",
            )
            .help("drop one of them, or make two routes of it"));
        }
    };
    let strip = written.strip_prefix.as_ref().map(|it| ("strip-prefix", &it.span));
    let replace = written.replace_prefix.as_ref().map(|it| ("replace-prefix", &it.span));
    match strip.or(replace) {
        Some((key, span)) => Err(Fault::at(span, format!("`{key}` is of no use without `group`"))
            .help("drop it; a redirect has its own, inside `redirect`")),
        None => Ok(action),
    }
}

/// The index of a group.
fn group(document: &Document, name: &Value<Name>) -> Result<usize, Fault> {
    let groups = || document.groups.iter().flat_map(|groups| &groups.0).map(|(name, _)| &name.it);
    match groups().position(|group| *group == name.it) {
        Some(index) => Ok(index),
        None => Err(Fault::at(&name.span, format!("there is no group `{}`", name.it.0))
            .suggest(&name.it.0, groups().map(|group| &*group.0))
            .or_help(format!("write `[groups.{}]` with upstreams = [\"127.0.0.1:3000\"]", name.it.0))),
    }
}

fn rewrite(strip: Option<&Value<bool>>, replace: Option<&Value<UrlPath>>) -> Result<PathRewrite, Fault> {
    match (strip.is_some_and(|strip| strip.it), replace) {
        (true, Some(replace)) => {
            Err(Fault::at(&replace.span, "a path is either stripped or replaced").help("drop one of them"))
        }
        (true, None) => Ok(PathRewrite::Prefix("".into())),
        (false, Some(replace)) => Ok(PathRewrite::Prefix(replace.it.0.clone())),
        (false, None) => Ok(PathRewrite::Keep),
    }
}

fn redirect(written: &Table<document::Redirect>, matches: &Matches) -> Result<Action, Fault> {
    let table = &written.it;
    let RedirectStatus(status) = or(&table.status, RedirectStatus(REDIRECT_STATUS));
    let path = rewrite(table.strip_prefix.as_ref(), table.replace_prefix.as_ref())?;
    let scheme = table.scheme.as_ref().map(|scheme| scheme.it.0.into());
    let host = table.host.as_ref().map(|host| host.it.0.clone());
    let parts = scheme.is_some() || host.is_some() || path != PathRewrite::Keep;
    let location = match (&table.to, parts) {
        (Some(to), false) => Location::Fixed(target(&to.it.0, &to.span, matches)?),
        (None, true) => Location::Parts { scheme, host, path },
        (Some(to), true) => {
            return Err(Fault::at(&to.span, "`to` is the whole location, and other keys say a part of it")
                .help("drop `to`, or the others"));
        }
        (None, false) => {
            return Err(Fault::at(&written.span, "a redirect to the same place goes round in circles")
                .help("write `to`, or one of `scheme`, `host`, `strip-prefix` and `replace-prefix`"));
        }
    };
    Ok(Action::Redirect { status, location })
}

fn target(to: &str, span: &Span, matches: &Matches) -> Result<Box<str>, Fault> {
    if !["/", "http://", "https://"].iter().any(|start| to.starts_with(start)) {
        return Err(Fault::at(span, "a location begins with `/`, `http://` or `https://`")
            .help(format!("write to = \"https://{to}\", or to = \"/{to}\"")));
    }
    if matches.path == PathMatch::Exact(to.into()) {
        return Err(Fault::at(span, "a redirect to the same place goes round in circles")
            .help("`exact-path` is this path"));
    }
    Ok(to.into())
}

fn respond(written: &Table<document::Respond>) -> Result<Action, Fault> {
    let table = &written.it;
    let ResponseStatus(status) = or(&table.status, ResponseStatus(200));
    let body = or(&table.body, String::new());
    // RFC 9110 §15.3.5, §15.3.6, §15.4.5
    if let (204 | 205 | 304, Some(body)) = (status, table.body.as_ref().filter(|body| !body.it.is_empty())) {
        return Err(Fault::at(&body.span, format!("a response with status {status} has no body"))
            .help("drop `body`, or write status = 200"));
    }
    let content_type = match (&table.content_type, body.is_empty()) {
        (Some(it), true) => {
            return Err(Fault::at(&it.span, "`content-type` is of no use without a body")
                .help("write body = \"..\", or drop `content-type`"));
        }
        (None, true) => None,
        (given, false) => {
            let FieldValue(given) =
                given.as_ref().map_or(FieldValue(CONTENT_TYPE.into()), |it| it.it.clone());
            Some(given)
        }
    };
    Ok(Action::Respond { status, content_type, body: body.into() })
}

fn timeouts(written: Option<&document::RouteTimeouts>, default: Timeouts) -> Timeouts {
    let Some(written) = written else { return default };
    let timeout = |value, default| or(value, Timeout(default)).0;
    Timeouts {
        body: timeout(&written.body, default.body),
        connect: timeout(&written.connect, default.connect),
        request: timeout(&written.request, default.request),
        stream_idle: timeout(&written.stream_idle, default.stream_idle),
        write: timeout(&written.write, default.write),
        tunnel: timeout(&written.tunnel, default.tunnel),
        request_deadline: timeout(&written.request_deadline, default.request_deadline),
        ..default
    }
}

fn limit(written: &Table<document::Limit>) -> Result<Limit, Fault> {
    let table = &written.it;
    let rate = match (&table.requests, &table.per, &table.burst) {
        (Some(requests), per, burst) => {
            Some(Rate { requests: requests.it, per: or(per, PER), burst: or(burst, requests.it) })
        }
        (None, None, None) => None,
        (None, per, burst) => {
            let span = per.as_ref().map(|it| &it.span).or(burst.as_ref().map(|it| &it.span));
            return Err(Fault::at(
                span.unwrap_or(&written.span),
                "`per` and `burst` are of no use without `requests`",
            )
            .help("write requests = 10"));
        }
    };
    let concurrent = table.concurrent.as_ref().map(|it| it.it);
    if rate.is_none() && concurrent.is_none() {
        return Err(
            Fault::at(&written.span, "nothing is limited").help("write requests = 10, or concurrent = 5")
        );
    }
    Ok(Limit { key: table.key.it.clone(), rate, concurrent })
}

/// Time that `requests` are counted in when nothing says so.
const PER: std::time::Duration = std::time::Duration::from_secs(1);
