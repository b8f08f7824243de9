//! Configurations at random: what is printed reads back the same. And any text at all gives a verdict.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use proptest::collection::{hash_map, hash_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::config::group::{Balance, Check, Ejection, Group, HashKey, Member, Probe, Queue, Sticky};
use crate::config::route::{
    Action, FieldEdits, FieldMatch, Host, Limit, LimitKey, Location, Matches, PathMatch, PathRewrite, Rate,
    Retry, Route,
};
use crate::config::{NEVER, Pool, ProxyVersion};
use crate::time::Timeouts;

fn duration() -> impl Strategy<Value = Duration> {
    (1u64..=366 * 24 * 3_600_000).prop_map(Duration::from_millis)
}

fn period() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(NEVER), duration()]
}

fn count() -> impl Strategy<Value = NonZeroU32> {
    (1u32..=1_000_000_000).prop_map(|count| NonZeroU32::new(count).unwrap())
}

fn text(pattern: &'static str) -> impl Strategy<Value = Box<str>> {
    pattern.prop_map(Into::into)
}

fn token() -> impl Strategy<Value = Box<str>> {
    text("[a-z0-9!#$%&'*+.^_`|~-]{1,12}")
}

/// Names of fields that are the operator's to change.
fn field() -> impl Strategy<Value = Box<str>> {
    text("x-[a-z0-9!#$%&'*+.^_`|~-]{1,12}")
}

fn field_value() -> impl Strategy<Value = Box<str>> {
    text("([!-~ä][ -~\tä]{0,12}[!-~ä])?")
}

fn path() -> impl Strategy<Value = Box<str>> {
    text("(/[a-zA-Z0-9_~!$&'()+,;=:@-]{1,4}){1,3}/?|/|/%20")
}

fn host_name() -> impl Strategy<Value = Box<str>> {
    text("[a-z][a-z0-9-]{0,5}(\\.[a-z]{1,4}){0,2}")
}

fn balance() -> impl Strategy<Value = Balance> {
    prop_oneof![
        Just(Balance::LeastRequests),
        Just(Balance::RoundRobin),
        Just(Balance::Hash(HashKey::Client)),
        token().prop_map(|name| Balance::Hash(HashKey::Header(name))),
        text("[A-Za-z0-9_]{1,9}").prop_map(|name| Balance::Hash(HashKey::Cookie(name))),
    ]
}

fn sticky() -> impl Strategy<Value = Sticky> {
    (text("[A-Za-z0-9_]{1,9}"), of((1u64..1_000_000).prop_map(Duration::from_secs)), any::<bool>())
        .prop_map(|(cookie, max_age, secure)| Sticky { cookie, max_age, secure })
}

fn ejection() -> impl Strategy<Value = Ejection> {
    (of(count()), of(1u8..=100), 0u32..1_000_000_000, duration(), duration(), duration()).prop_map(
        |(consecutive, error_percent, requests_min, window, one, other)| Ejection {
            consecutive,
            error_percent,
            requests_min,
            window,
            base: one.min(other),
            max: one.max(other),
        },
    )
}

fn probe() -> impl Strategy<Value = Probe> {
    let expect = (200u16..600, 200u16..600).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let http = (text("/[!#-;=?-Z_a-z]{0,9}"), of(host_name()), expect);
    prop_oneof![Just(Probe::Tcp), http.prop_map(|(path, host, expect)| Probe::Http { path, host, expect })]
}

fn check() -> impl Strategy<Value = Check> {
    (probe(), duration(), duration(), count(), count()).prop_map(
        |(probe, interval, timeout, healthy, unhealthy)| Check {
            probe,
            interval,
            timeout,
            healthy: healthy.get(),
            unhealthy: unhealthy.get(),
        },
    )
}

fn pool() -> impl Strategy<Value = Pool> {
    (0usize..=1_000_000, period(), period(), period())
        .prop_map(|(idle_max, idle_timeout, age_max, ping)| Pool { idle_max, idle_timeout, age_max, ping })
}

fn members() -> impl Strategy<Value = Vec<Member>> {
    let addresses = ["app:1", "10.0.0.1:2", "[::7]:3", "unix:/run/a.sock", "https://app", "http://b.c:5"];
    let upstream =
        select(addresses.to_vec()).prop_map(|text| crate::config::value::upstream::parse(text).unwrap());
    let weight = prop_oneof![Just(1u16), 1u16..];
    let member = (upstream, weight)
        .prop_map(|(upstream, weight)| Member { upstream, weight: NonZeroU16::new(weight).unwrap() });
    vec(member, 1..4)
}

prop_compose! {
    fn group()(
        (members, balance, sticky) in (members(), balance(), of(sticky())),
        (slow_start, max_connections) in (prop_oneof![Just(Duration::ZERO), duration()], of(count())),
        (queue_max, queue_timeout) in (0u32..1_000_000_000, duration()),
        (ejection, check) in (of(ejection()), of(check())),
        (pool, send_proxy) in (prop_oneof![Just(Pool::default()), pool()], of(select(&ProxyVersion::ALL[..]))),
    ) -> Group {
        let queue = Queue { max: queue_max, timeout: queue_timeout };
        Group {
            balance, sticky, slow_start, max_connections, queue, ejection, check, send_proxy,
            ..Group::new("", members, pool)
        }
    }
}

fn matches() -> impl Strategy<Value = Matches> {
    let host = prop_oneof![host_name().prop_map(Host::Exact), host_name().prop_map(Host::Wildcard)];
    let hosts = hash_set(host, 0..3).prop_map(|set| set.into_iter().collect::<Vec<_>>());
    let path = prop_oneof![path().prop_map(PathMatch::Exact), path().prop_map(PathMatch::Prefix)];
    let methods = subsequence(vec!["GET", "POST", "BREW", "x"], 0..3);
    let fields = hash_map(field(), of(field_value()), 0..3);
    (hosts, path, methods, fields).prop_map(|(hosts, path, methods, fields)| Matches {
        hosts,
        path,
        methods: methods.into_iter().map(Into::into).collect(),
        fields: fields.into_iter().map(|(name, value)| FieldMatch { name, value }).collect(),
    })
}

fn rewrite() -> impl Strategy<Value = PathRewrite> {
    prop_oneof![
        Just(PathRewrite::Keep),
        Just(PathRewrite::Prefix("".into())),
        path().prop_map(PathRewrite::Prefix)
    ]
}

/// Index of a group among `groups`, or an answer of our own.
fn action(groups: usize) -> BoxedStrategy<Action> {
    let status = select(&[301u16, 302, 303, 307, 308][..]);
    let scheme = select(&["http", "https"][..]).prop_map(Into::into);
    let parts = (of(scheme), of(host_name()), rewrite())
        .prop_filter("somewhere else", |(scheme, host, path)| {
            scheme.is_some() || host.is_some() || *path != PathRewrite::Keep
        })
        .prop_map(|(scheme, host, path)| Location::Parts { scheme, host, path });
    let location = prop_oneof![parts, text("https?://[a-z]{1,9}/[a-z?=]{0,5}").prop_map(Location::Fixed)];
    let redirect = (status, location).prop_map(|(status, location)| Action::Redirect { status, location });
    let respond = (206u16..304, of(field_value()), "[ -~\\n\"'\\\\ä]{1,20}").prop_map(
        |(status, content_type, body)| Action::Respond {
            status,
            content_type: Some(content_type.unwrap_or_else(|| "text/plain; charset=utf-8".into())),
            body: body.into(),
        },
    );
    let empty =
        (200u16..600).prop_map(|status| Action::Respond { status, content_type: None, body: "".into() });
    let forward =
        (0..groups.max(1), rewrite()).prop_map(|(group, rewrite)| Action::Forward { group, rewrite });
    match groups {
        0 => prop_oneof![redirect, respond, empty].boxed(),
        _ => prop_oneof![forward, redirect, respond, empty].boxed(),
    }
}

fn edits() -> impl Strategy<Value = FieldEdits> {
    let set = hash_map(field(), field_value(), 0..3);
    let add = hash_map(field(), vec(field_value(), 1..3), 0..3);
    (hash_set(field(), 0..3), set, add).prop_map(|(remove, set, add)| FieldEdits {
        remove: remove.into_iter().collect(),
        set: set.into_iter().collect(),
        add: add
            .into_iter()
            .flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value)))
            .collect(),
    })
}

fn retry() -> impl Strategy<Value = Retry> {
    let statuses = vec(400u16..600, 0..3);
    (any::<[bool; 3]>(), statuses, 0u8..=10, 0u8..=100, 0usize..=1 << 20).prop_map(
        |(
            [connect_failure, refused_stream, reset_before_response],
            statuses,
            max,
            budget_percent,
            body_bytes_max,
        )| {
            Retry {
                connect_failure,
                refused_stream,
                reset_before_response,
                statuses,
                max,
                budget_percent,
                body_bytes_max,
            }
        },
    )
}

fn limit() -> impl Strategy<Value = Limit> {
    let key = prop_oneof![Just(LimitKey::Client), Just(LimitKey::Route), token().prop_map(LimitKey::Header)];
    let rate =
        (count(), duration(), count()).prop_map(|(requests, per, burst)| Rate { requests, per, burst });
    (key, of(rate), of(count()))
        .prop_filter("a limit", |(_, rate, concurrent)| rate.is_some() || concurrent.is_some())
        .prop_map(|(key, rate, concurrent)| Limit { key, rate, concurrent })
}

/// The timers that are a route's.
fn timeouts() -> impl Strategy<Value = Timeouts> {
    vec(of(duration()), 7).prop_map(|it| Timeouts {
        body: it[0],
        connect: it[1],
        request: it[2],
        stream_idle: it[3],
        write: it[4],
        tunnel: it[5],
        request_deadline: it[6],
        ..Timeouts::default()
    })
}

prop_compose! {
    fn route(groups: usize)(
        (matches, action) in (matches(), action(groups)),
        (request_fields, response_fields) in (edits(), edits()),
        (timeouts, body_bytes_max) in (timeouts(), of(1u64..)),
        (retry, limits) in (prop_oneof![Just(Retry::default()), retry()], vec(limit(), 0..3)),
    ) -> Route {
        let forwards = matches!(action, Action::Forward { .. });
        let request_fields = if forwards { request_fields } else { FieldEdits::default() };
        Route { name: "".into(), matches, action, request_fields, response_fields, timeouts, body_bytes_max, retry, limits }
    }
}

/// A configuration whose groups are all used and whose routes can all be reached.
fn any_config() -> impl Strategy<Value = Config> {
    let parts = vec(group(), 0..3).prop_flat_map(|groups| {
        let routes = vec(route(groups.len()), 1..4);
        (Just(groups), routes)
    });
    (parts, pool(), any::<bool>()).prop_map(|((groups, routes), pool, normalize_paths)| {
        let least = good("[[route]]\nrespond = {}\n");
        let mut config = Config { pool, normalize_paths, groups, routes, ..least };
        for (index, group) in config.groups.iter_mut().enumerate() {
            group.name = format!("group{index}").into();
            if config
                .routes
                .iter()
                .all(|route| !matches!(route.action, Action::Forward { group, .. } if group == index))
            {
                let action = Action::Forward { group: index, rewrite: PathRewrite::Keep };
                config.routes.push(Route { action, ..Route::everything(config.timeouts, None) });
            }
        }
        for (index, route) in config.routes.iter_mut().enumerate() {
            route.name = format!("route{index}").into();
            // Hosts of its own keep it apart from all others.
            route.matches.hosts.push(Host::Exact(format!("own{index}").into()));
        }
        config
    })
}

/// Texts that are nearly files: words of files in any order.
fn near_miss() -> impl Strategy<Value = String> {
    let words = [
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ",",
        ".",
        "\n",
        "\r\n",
        "\t",
        " ",
        "\"",
        "'",
        "\"\"\"",
        "\u{feff}",
        "ä",
        "#",
        "[server]\n",
        "[[route]]\n",
        "[groups.app]\n",
        "[groups]\n",
        "route",
        "upstreams = [",
        "\"a:1\"",
        "group = \"app\"\n",
        "hosts = [\"*.a.com\"]\n",
        "respond = {}\n",
        "limit = [{",
        "key = \"client\"",
        "1",
        "true",
        "1979-05-27",
        "-0",
        "inf",
        "ejection = ",
        "check = {",
        "request-headers.set.x = ",
        "\0",
        "\u{1b}",
    ];
    vec(select(words.to_vec()), 0..30).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_reads_back_the_same(written in any_config()) {
        let text = effective(&written);
        match config(&text) {
            Ok(read) => prop_assert_eq!(read, written, "{}", text),
            Err(fault) => prop_assert!(false, "{}\n{}", fault.render("printed", &text), text),
        }
    }

    #[test]
    fn any_text_gives_a_verdict(text in prop_oneof![any::<String>(), near_miss()]) {
        if let Err(fault) = config(&text) {
            let said = fault.render("any", &text);
            prop_assert!(said.starts_with("error: any:") && said.ends_with('\n'));
            prop_assert!(!said.contains('\u{1b}') && !said.contains('\0'), "{:?}", said);
        }
    }

    /// The example with some of its characters gone or changed.
    #[test]
    fn a_damaged_file_gives_a_verdict(at in any::<prop::sample::Index>(), length in 0usize..40, with in "[ -~\n]{0,3}") {
        let mut chars: Vec<char> = include_str!("../../../../docs/examples/two-applications.toml").chars().collect();
        let start = at.index(chars.len());
        let end = (start + length).min(chars.len());
        chars.splice(start..end, with.chars());
        let text: String = chars.into_iter().collect();
        if let Err(fault) = config(&text) {
            prop_assert!(!fault.message.is_empty() && fault.render("damaged", &text).lines().count() >= 1);
        }
    }
}
