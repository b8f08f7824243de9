//! Goal: what is forwarded says about this hop only what this hop knows. Method: heads as text through the
//! parser and the forwarder, compared with the text expected.

use std::net::{IpAddr, Ipv4Addr};

use crate::config::route::FieldEdits;
use crate::h1::head::{Parsed, parse_request, parse_response};
use crate::h1::{Fields, Method, Version};
use crate::limits::MessageLimits;
use crate::proxy::edits;
use crate::proxy::flow::Outgoing;
use crate::proxy::forward::{self, Hop, Reply, Route, Source};

const HOP: Hop<'static> = Hop {
    client_subject: None,
    client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
    trusted: false,
    scheme: "http",
    http2: false,
    request_id: b"made",
    forwarded: false,
    allow_underscores: false,
};

/// The forwarded request for `head`, whose lines are given without their CRLF.
fn forward(head: &[&str], hop: Hop<'_>) -> Vec<String> {
    forward_by(head, hop, Route::PLAIN)
}

fn forward_by(head: &[&str], hop: Hop<'_>, route: Route<'_>) -> Vec<String> {
    let bytes = format!("{}\r\n\r\n", head.join("\r\n")).into_bytes();
    let mut fields = Fields::new();
    let Ok(Parsed::Complete(head)) = parse_request(&bytes, &MessageLimits::default(), &mut fields) else {
        panic!("not a complete head: {head:?}");
    };
    let mut out = Vec::new();
    forward::request(&head, Source { bytes: &bytes, fields: &fields }, hop, route, &mut out);
    lines(out)
}

/// Edits written as `-name`, `name=value` (set) and `+name=value`.
fn edits(changes: &[&str]) -> FieldEdits {
    let mut edits = FieldEdits::default();
    let pair = |text: &str| text.split_once('=').map(|(name, value)| (name.into(), value.into())).unwrap();
    for change in changes {
        match (change.strip_prefix('-'), change.strip_prefix('+')) {
            (Some(name), _) => edits.remove.push(name.into()),
            (None, Some(added)) => edits.add.push(pair(added)),
            (None, None) => edits.set.push(pair(change)),
        }
    }
    edits
}

fn lines(out: Vec<u8>) -> Vec<String> {
    let text = String::from_utf8(out).unwrap();
    let text = text.strip_suffix("\r\n\r\n").expect("a head ends in an empty line");
    text.split("\r\n").map(str::to_owned).collect()
}

fn relay(
    head: &[&str],
    method: Method,
    version: Version,
    outgoing: Outgoing,
    keep_alive: bool,
) -> Vec<String> {
    let bytes = format!("{}\r\n\r\n", head.join("\r\n")).into_bytes();
    let mut fields = Fields::new();
    let Ok(Parsed::Complete(head)) = parse_response(&bytes, &MessageLimits::default(), method, &mut fields)
    else {
        panic!("not a complete head: {head:?}");
    };
    let reply =
        Reply { version, method, outgoing, keep_alive, edits: &edits::NONE, sticky: None, date: b"now" };
    let mut out = Vec::new();
    forward::response(&head, Source { bytes: &bytes, fields: &fields }, reply, &mut out);
    lines(out)
}

#[test]
fn a_plain_request_gains_the_forwarding_fields() {
    let got = forward(&["GET /a?b HTTP/1.1", "Host: example.com", "Accept: */*"], HOP);
    assert_eq!(
        got,
        [
            "GET /a?b HTTP/1.1",
            "Host: example.com",
            "Accept: */*",
            "Via: 1.1 ringress",
            "X-Forwarded-For: 192.0.2.7",
            "X-Forwarded-Proto: http",
            "X-Forwarded-Host: example.com",
            "X-Request-Id: made",
        ]
    );
}

#[test]
fn what_an_untrusted_client_says_of_earlier_hops_is_replaced() {
    let told = [
        "GET / HTTP/1.1",
        "Host: h",
        "X-Forwarded-For: 198.51.100.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil",
        "X-Request-Id: theirs",
        "Forwarded: for=198.51.100.1",
        "X-Forwarded-Prefix: /evil",
        "x-forwarded-port: 1",
        "X-Real-IP: 198.51.100.1",
    ];
    let untrusted = forward(&told, HOP);
    assert!(untrusted.contains(&"X-Forwarded-For: 192.0.2.7".into()), "{untrusted:?}");
    assert!(
        !untrusted
            .iter()
            .any(|line| line.contains("evil") || line.contains("theirs") || line.contains("198.51"))
    );
    assert!(!untrusted.iter().any(|line| line.starts_with("x-forwarded-port")), "{untrusted:?}");
    let trusted = forward(&told, Hop { trusted: true, ..HOP });
    for kept in [
        "X-Forwarded-For: 198.51.100.1, 192.0.2.7",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil",
        "X-Request-Id: theirs",
        "Forwarded: for=198.51.100.1",
        "X-Forwarded-Prefix: /evil",
        "x-forwarded-port: 1",
        "X-Real-IP: 198.51.100.1",
    ] {
        assert!(trusted.contains(&kept.into()), "{kept} in {trusted:?}");
    }
}

#[test]
fn the_client_behind_trusted_proxies_is_the_last_that_is_not_one() {
    let trusted = ["10.0.0.0/8".parse().unwrap()];
    for (told, client) in [
        ("198.51.100.1", Some("198.51.100.1")),
        ("203.0.113.9, 198.51.100.1, 10.0.0.3", Some("198.51.100.1")),
        ("198.51.100.1, junk, 10.0.0.3", None),
        ("203.0.113.9:1, 198.51.100.1:1234, 10.0.0.3:99", Some("198.51.100.1")),
        ("[2001:db8::1]:99", Some("2001:db8::1")),
        ("[2001:db8::1], 10.0.0.3", Some("2001:db8::1")),
        ("10.0.0.4, 10.0.0.3", None),
        ("", None),
    ] {
        let bytes = format!("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {told}\r\n\r\n").into_bytes();
        let mut fields = Fields::new();
        let parsed = parse_request(&bytes, &MessageLimits::default(), &mut fields);
        assert!(matches!(parsed, Ok(Parsed::Complete(_))));
        let source = Source { bytes: &bytes, fields: &fields };
        let found = |trusts| forward::client_behind(source, Hop { trusted: trusts, ..HOP }, &trusted);
        assert_eq!(found(true), client.map(|ip| ip.parse().unwrap()), "{told}");
        assert_eq!(found(false), None, "an untrusted peer's word");
    }
}

#[test]
fn rfc_7239_names_the_hop() {
    let head = ["GET / HTTP/1.1", "Host: h:8080", "Forwarded: for=a"];
    let got = forward(&head, Hop { forwarded: true, trusted: true, ..HOP });
    assert!(got.contains(&"Forwarded: for=a, for=192.0.2.7;proto=http;host=\"h:8080\"".into()), "{got:?}");
    let v6 = Hop { forwarded: true, client: IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), ..HOP };
    let got = forward(&head, v6);
    assert!(got.iter().any(|line| line.starts_with("Forwarded: for=\"[::1]\";")), "{got:?}");
}

#[test]
fn hop_by_hop_fields_and_what_connection_names_stay_behind() {
    let got = forward(
        &[
            "GET / HTTP/1.1",
            "Host: h",
            "Connection: keep-alive, X-Secret, Host, X-Forwarded-For, Content-Length",
            "Keep-Alive: timeout=5",
            "Proxy-Connection: keep-alive",
            "X-Secret: 1",
            "Content-Length: 0",
            "X-Kept: 1",
        ],
        HOP,
    );
    for gone in ["Connection:", "Keep-Alive:", "Proxy-Connection:", "X-Secret:"] {
        assert!(!got.iter().any(|line| line.starts_with(gone)), "{gone} in {got:?}");
    }
    for kept in ["Host: h", "X-Kept: 1", "Content-Length: 0", "X-Forwarded-For: 192.0.2.7"] {
        assert!(got.contains(&kept.into()), "{kept} in {got:?}");
    }
}

#[test]
fn te_trailers_and_upgrade_are_said_anew() {
    let got = forward(
        &[
            "GET / HTTP/1.1",
            "Host: h",
            "Connection: Upgrade, TE",
            "Upgrade: h2c, websocket",
            "TE: gzip, trailers",
        ],
        HOP,
    );
    for line in ["Connection: upgrade, TE", "Upgrade: websocket", "TE: trailers"] {
        assert!(got.contains(&line.into()), "{line} in {got:?}");
    }
    let lone = forward(
        &[
            "GET / HTTP/1.1",
            "Host: h",
            "Connection: upgrade, http2-settings",
            "Upgrade: h2c",
            "HTTP2-Settings: x",
        ],
        HOP,
    );
    assert!(
        !lone.iter().any(|line| line.to_lowercase().contains("h2c") || line.starts_with("Connection")),
        "{lone:?}"
    );
}

#[test]
fn underscore_names_are_dropped_unless_allowed() {
    let head = ["GET / HTTP/1.1", "Host: h", "X_Mine: 1"];
    assert!(!forward(&head, HOP).contains(&"X_Mine: 1".into()));
    assert!(forward(&head, Hop { allow_underscores: true, ..HOP }).contains(&"X_Mine: 1".into()));
}

/// What a peer may not say it may not say with `_` either, and an edit holds for both spellings.
#[test]
fn underscores_get_past_no_rule() {
    let allowed = Hop { allow_underscores: true, ..HOP };
    let edits = FieldEdits {
        remove: vec!["x-secret".into()],
        set: vec![("x_user".into(), "anon".into())],
        ..FieldEdits::default()
    };
    for name in [
        "X_Forwarded_For",
        "x_real_ip",
        "X_Request_Id",
        "Content_Length",
        "x-client_cert",
        "X_Secret",
        "x-user",
    ] {
        let told = format!("{name}: 1");
        let route = Route { target: None, edits: &edits };
        let got = forward_by(&["GET / HTTP/1.1", "Host: h", &told], allowed, route);
        assert!(!got.contains(&told), "{name} in {got:?}");
    }
}

#[test]
fn targets_are_forwarded_in_origin_form() {
    for (target, method, sent) in [
        ("http://h/x?y", "GET", "GET /x?y HTTP/1.1"),
        ("http://h", "GET", "GET / HTTP/1.1"),
        ("http://h?q", "GET", "GET /?q HTTP/1.1"),
        ("http://h", "OPTIONS", "OPTIONS * HTTP/1.1"),
        ("*", "OPTIONS", "OPTIONS * HTTP/1.1"),
    ] {
        let got = forward(&[&format!("{method} {target} HTTP/1.1"), "Host: h"], HOP);
        assert_eq!(got[0], sent, "{target}");
    }
}

#[test]
fn max_forwards_counts_down_for_options_only() {
    let options = forward(&["OPTIONS / HTTP/1.1", "Host: h", "Max-Forwards: 3"], HOP);
    assert!(options.contains(&"Max-Forwards: 2".into()), "{options:?}");
    let get = forward(&["GET / HTTP/1.1", "Host: h", "Max-Forwards: 3"], HOP);
    assert!(get.contains(&"Max-Forwards: 3".into()), "{get:?}");
}

#[test]
fn expect_is_not_passed_on_from_http_1_0() {
    let new = forward(&["POST / HTTP/1.1", "Host: h", "Content-Length: 1", "Expect: 100-continue"], HOP);
    assert!(new.contains(&"Expect: 100-continue".into()));
    let old = forward(&["POST / HTTP/1.0", "Host: h", "Content-Length: 1", "Expect: 100-continue"], HOP);
    assert!(!old.contains(&"Expect: 100-continue".into()));
    assert!(old.contains(&"Via: 1.0 ringress".into()));
}

#[test]
fn response_framing_follows_the_client() {
    const CHUNKED: [&str; 3] = ["HTTP/1.1 200 OK", "Date: then", "Transfer-Encoding: chunked"];
    let same = relay(&CHUNKED, Method::Get, Version::Http11, Outgoing::Same, true);
    assert_eq!(same, ["HTTP/1.1 200 OK", "Date: then", "Transfer-Encoding: chunked"]);
    let old = relay(&CHUNKED, Method::Get, Version::Http10, Outgoing::UntilClose, false);
    assert_eq!(old, ["HTTP/1.1 200 OK", "Date: then", "Connection: close"]);
    let length = ["HTTP/1.0 200 OK", "Content-Length: 5", "Connection: keep-alive", "Keep-Alive: timeout=5"];
    let kept = relay(&length, Method::Get, Version::Http10, Outgoing::Same, true);
    assert_eq!(kept, ["HTTP/1.1 200 OK", "Date: now", "Content-Length: 5", "Connection: keep-alive"]);
}

#[test]
fn a_response_without_a_body_keeps_the_length_it_would_have() {
    let head = ["HTTP/1.1 200 OK", "Date: then", "Content-Length: 5"];
    assert!(
        relay(&head, Method::Head, Version::Http11, Outgoing::Same, true)
            .contains(&"Content-Length: 5".into())
    );
    let not_modified = ["HTTP/1.1 304 Not Modified", "Date: then", "Content-Length: 5"];
    let got = relay(&not_modified, Method::Get, Version::Http11, Outgoing::Same, true);
    assert!(got.contains(&"Content-Length: 5".into()));
    let none = ["HTTP/1.1 204 No Content", "Date: then", "Content-Length: 5"];
    let got = relay(&none, Method::Get, Version::Http11, Outgoing::Same, true);
    assert!(!got.iter().any(|line| line.starts_with("Content-Length")), "{got:?}");
}

#[test]
fn a_route_writes_the_target_and_edits_the_fields_of_a_request() {
    let edits =
        edits(&["-cookie", "-x-none", "x-set=1", "accept=*/*", "host=inner:81", "+x-add=2", "+x-add=3"]);
    let route = Route { target: Some(b"/new?q"), edits: &edits };
    let head = [
        "GET http://h/old HTTP/1.1",
        "Host: h",
        "Cookie: a",
        "X-Set: theirs",
        "x-set: again",
        "ACCEPT: text/html",
        "X-Add: 1",
        "X-Kept: 1",
        "COOKIE: b",
        "Connection: close, x-add, x-set",
    ];
    assert_eq!(
        forward_by(&head, HOP, route),
        [
            "GET /new?q HTTP/1.1",
            "Host: inner:81",
            "X-Kept: 1",
            "x-set: 1",
            "accept: */*",
            "x-add: 2",
            "x-add: 3",
            "Via: 1.1 ringress",
            "X-Forwarded-For: 192.0.2.7",
            "X-Forwarded-Proto: http",
            "X-Forwarded-Host: h",
            "X-Request-Id: made",
        ]
    );
}

/// What a client gets of a response or of an interim one, by its status.
fn edited(head: &[&str], edits: &FieldEdits) -> Vec<String> {
    let bytes = format!("{}\r\n\r\n", head.join("\r\n")).into_bytes();
    let mut fields = Fields::new();
    let parsed = parse_response(&bytes, &MessageLimits::default(), Method::Get, &mut fields);
    let Ok(Parsed::Complete(head)) = parsed else { panic!("{parsed:?}") };
    let source = Source { bytes: &bytes, fields: &fields };
    let mut out = Vec::new();
    if head.status < 200 {
        forward::interim(&head, source, edits, None, &mut out);
    } else {
        let (version, outgoing) = (Version::Http11, Outgoing::Same);
        let reply = Reply {
            version,
            method: Method::Get,
            outgoing,
            keep_alive: true,
            edits,
            sticky: None,
            date: b"now",
        };
        forward::response(&head, source, reply, &mut out);
    }
    lines(out)
}

#[test]
fn a_route_edits_the_fields_of_a_response() {
    let edits = edits(&["-x-powered-by", "server=us", "+link=</b>"]);
    let fields = ["X-Powered-By: it", "Server: it", "SERVER: twice", "Link: </a>"];
    let with = |status: &'static str, more: &[&'static str]| {
        edited(&[&[status], &fields[..], more].concat(), &edits)
    };
    assert_eq!(
        with("HTTP/1.1 200 OK", &["Date: then", "Content-Length: 0"]),
        ["HTTP/1.1 200 OK", "Link: </a>", "Date: then", "server: us", "link: </b>", "Content-Length: 0"]
    );
    assert_eq!(with("HTTP/1.1 103 Early Hints", &[]), ["HTTP/1.1 103 Early Hints", "Link: </a>"]);
    let upgraded = with("HTTP/1.1 101 Switching Protocols", &["Connection: upgrade", "Upgrade: websocket"]);
    assert_eq!(
        upgraded[1..],
        ["Link: </a>", "server: us", "link: </b>", "Connection: upgrade", "Upgrade: websocket"]
    );
}
