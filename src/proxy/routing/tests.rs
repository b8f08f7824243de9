//! Goal: of all routes that match, the most specific one has the request. Method: tables of routes and requests, and random
//! ones held against the definition, applied word for word.

use proptest::prelude::*;

use super::*;
use crate::config::route::{Action, FieldEdits, Retry};
use crate::h1::{Field, Known, Span};
use crate::time::Timeouts;

fn route(matches: Matches) -> Route {
    Route {
        name: "".into(),
        matches,
        action: Action::Respond { status: 200, content_type: None, body: "".into() },
        request_fields: FieldEdits::default(),
        response_fields: FieldEdits::default(),
        timeouts: Timeouts::default(),
        body_bytes_max: None,
        retry: Retry::default(),
        limits: Vec::new(),
    }
}

/// `host path`, with `*.` for a wildcard, `-` for any host and `=` before an exact path.
fn plain(text: &str) -> Route {
    let (host, path) = text.split_once(' ').unwrap();
    let hosts = match (host, host.strip_prefix("*.")) {
        ("-", _) => vec![],
        (_, Some(parent)) => vec![Host::Wildcard(parent.into())],
        (_, None) => vec![Host::Exact(host.into())],
    };
    route(Matches { hosts, path: path_match(path), ..Matches::default() })
}

fn path_match(path: &str) -> PathMatch {
    match path.strip_prefix('=') {
        Some(exact) => PathMatch::Exact(exact.into()),
        None => PathMatch::Prefix(path.into()),
    }
}

fn asked<'a>(authority: &'a str, path: &'a str) -> Asked<'a> {
    let source = Source { bytes: b"", fields: &[] };
    Asked { authority: authority.as_bytes(), path: path.as_bytes(), method: b"GET", source }
}

/// Asks each row's host and path, and expects the route of that index, written as text.
fn check(routes: &[&str], rows: &[(&str, &str, Option<&str>)]) {
    let compiled: Vec<Route> = routes.iter().map(|text| plain(text)).collect();
    let router = Router::new(&compiled);
    for (authority, path, expected) in rows {
        let found = router.find(asked(authority, path)).map(|index| routes[index]);
        assert_eq!(found, *expected, "{authority} {path}");
    }
}

#[test]
fn an_exact_host_is_before_a_wildcard_before_any() {
    check(
        &["- /", "*.example.com /", "a.example.com /"],
        &[
            ("a.example.com", "/", Some("a.example.com /")),
            ("b.example.com", "/", Some("*.example.com /")),
            ("a.b.example.com", "/", Some("- /")),
            ("example.com", "/", Some("- /")),
            (".example.com", "/", Some("- /")),
            ("", "/", Some("- /")),
        ],
    );
}

#[test]
fn hosts_are_compared_without_case_port_and_trailing_dot() {
    check(
        &["Example.COM. /", "*.example.org /", "::1 /", "[2001:db8::a] /", "127.0.0.1 /", "*.2.3.4 /"],
        &[
            ("example.com", "/", Some("Example.COM. /")),
            ("EXAMPLE.com.:8443", "/", Some("Example.COM. /")),
            ("example.com..", "/", None),
            ("A.Example.Org:80", "/", Some("*.example.org /")),
            ("[::1]", "/", Some("::1 /")),
            ("[0:0::1]:8080", "/", Some("::1 /")),
            ("[2001:DB8::A]:1", "/", Some("[2001:db8::a] /")),
            ("[::ffff:1.2.3.4]", "/", None),
            ("[::2]", "/", None),
            ("::1", "/", None),
            ("127.0.0.1:80", "/", Some("127.0.0.1 /")),
            ("", "/", None),
            (&"a".repeat(300), "/", None),
        ],
    );
}

#[test]
fn an_exact_path_is_before_a_longer_prefix_before_a_shorter_one() {
    check(
        &["- /", "- /a", "- /a/", "- /a/b", "- /a/b/c", "- =/a/b", "- /ab", "- =/"],
        &[
            ("h", "/", Some("- =/")),
            ("h", "/?a=/a", Some("- =/")),
            ("h", "/x", Some("- /")),
            ("h", "/a", Some("- /a")),
            ("h", "/a?/b", Some("- /a")),
            ("h", "/a/", Some("- /a/")),
            ("h", "/a/x", Some("- /a/")),
            ("h", "/a/b", Some("- =/a/b")),
            ("h", "/a/b?q", Some("- =/a/b")),
            ("h", "/a/b/", Some("- /a/b")),
            ("h", "/a/b/cd", Some("- /a/b")),
            ("h", "/a/b/c", Some("- /a/b/c")),
            ("h", "/a/bc", Some("- /a/")),
            ("h", "/ab/a", Some("- /ab")),
            ("h", "/abc", Some("- /")),
            ("h", "/A", Some("- /")),
            ("h", "*", Some("- /")),
        ],
    );
}

#[test]
fn a_host_whose_routes_do_not_match_falls_back() {
    check(
        &["a.example.com /a", "*.example.com /b", "- =/c"],
        &[
            ("a.example.com", "/a", Some("a.example.com /a")),
            ("a.example.com", "/b", Some("*.example.com /b")),
            ("a.example.com", "/c", Some("- =/c")),
            ("a.example.com", "/d", None),
            ("a.example.com", "*", None),
        ],
    );
}

#[test]
fn paths_of_the_configuration_match_as_written_and_in_normal_form() {
    check(
        &["- /%7euser/", "- =/a/./b", "- =/a%2fb"],
        &[
            ("h", "/~user/x", Some("- /%7euser/")),
            ("h", "/%7euser/x", Some("- /%7euser/")),
            ("h", "/a/b", Some("- =/a/./b")),
            ("h", "/a/./b", Some("- =/a/./b")),
            ("h", "/a%2Fb", Some("- =/a%2fb")),
            ("h", "/a", None),
        ],
    );
}

/// Names and values of fields.
type Lines<'a> = &'a [(&'a str, &'a str)];

/// Fields as a parser would have found them.
fn fields(lines: Lines<'_>) -> (Vec<u8>, Vec<Field>) {
    let (mut bytes, mut fields) = (Vec::new(), Vec::new());
    for (name, value) in lines {
        let mut span = |text: &str| {
            let start = u32::try_from(bytes.len()).unwrap();
            bytes.extend_from_slice(text.as_bytes());
            Span { start, end: u32::try_from(bytes.len()).unwrap() }
        };
        fields.push(Field { name: span(name), value: span(value), known: Known::of(name.as_bytes()) });
    }
    (bytes, fields)
}

fn field(name: &str, value: Option<&str>) -> FieldMatch {
    FieldMatch { name: name.into(), value: value.map(Into::into) }
}

fn with(methods: &[&str], fields: Vec<FieldMatch>) -> Route {
    let methods = methods.iter().map(|&method| method.into()).collect();
    route(Matches { methods, fields, ..Matches::default() })
}

#[test]
fn methods_then_the_number_of_fields_then_the_order_decide() {
    let routes = [
        with(&[], vec![]),
        with(&[], vec![]),
        with(&[], vec![field("x-a", None)]),
        with(&[], vec![field("x-a", None), field("x-b", Some("2"))]),
        with(&["PUT", "POST"], vec![]),
        with(&["POST"], vec![field("x-a", Some("1"))]),
    ];
    let router = Router::new(&routes);
    let rows: &[(&str, Lines<'_>, usize)] = &[
        ("GET", &[], 0),
        ("get", &[("x-c", "1")], 0),
        ("GET", &[("X-A", "")], 2),
        ("GET", &[("x-b", "2")], 0),
        ("GET", &[("x-a", "9"), ("X-B", "1"), ("x-B", "2")], 3),
        ("GET", &[("x-a", "9"), ("x-b", "1, 2")], 2),
        ("PUT", &[("x-a", "1"), ("x-b", "2")], 4),
        ("POST", &[("x-a", "1")], 5),
        ("POST", &[("x-a", "2")], 4),
        ("post", &[("x-a", "1")], 2),
    ];
    for (method, lines, expected) in rows {
        let (bytes, fields) = fields(lines);
        let source = Source { bytes: &bytes, fields: &fields };
        let asked = Asked { method: method.as_bytes(), source, ..asked("h", "/") };
        assert_eq!(router.find(asked), Some(*expected), "{method} {lines:?}");
    }
}

#[test]
fn one_route_for_everything_is_found_without_a_look() {
    let everything = Router::new(&[plain("- /")]);
    assert_eq!((everything.only, everything.find(asked("", ""))), (Some(0), Some(0)));
    for partial in ["h /", "- /a", "- =/"] {
        assert_eq!(Router::new(&[plain(partial)]).only, None, "{partial}");
    }
    assert_eq!(Router::new(&[with(&["GET"], vec![])]).only, None);
    assert_eq!(Router::new(&[with(&[], vec![field("a", None)])]).only, None);
    assert_eq!(Router::new(&[]).find(asked("h", "/")), None);
}

/// The definition of the order, word for word: how specific the match is, or `None` if there is none.
fn specificity(matches: &Matches, host: &str, path: &str, method: &str) -> Option<(u8, bool, usize, bool)> {
    let host = match &matches.hosts[..] {
        [] => 0,
        hosts => hosts
            .iter()
            .filter_map(|one| match one {
                Host::Exact(name) => (&**name == host).then_some(2),
                Host::Wildcard(parent) => {
                    let label = host.strip_suffix(&**parent)?.strip_suffix('.')?;
                    (!label.is_empty() && !label.contains('.')).then_some(1)
                }
            })
            .max()?,
    };
    let path = path.split('?').next().unwrap();
    let (exact, length) = match &matches.path {
        PathMatch::Exact(exact) if **exact == *path => (true, 0),
        PathMatch::Prefix(prefix) if **prefix == *path => (false, prefix.len()),
        PathMatch::Prefix(prefix) if path.starts_with(&format!("{}/", prefix.trim_end_matches('/'))) => {
            (false, prefix.len())
        }
        PathMatch::Exact(_) | PathMatch::Prefix(_) => return None,
    };
    let method_named = !matches.methods.is_empty();
    let taken = !method_named || matches.methods.iter().any(|one| **one == *method);
    taken.then_some((host, exact, length, method_named))
}

fn a_path() -> impl Strategy<Value = String> {
    (proptest::collection::vec("[ab]{1,2}", 0..4), any::<bool>()).prop_map(|(segments, slash)| {
        let slash = if slash && !segments.is_empty() { "/" } else { "" };
        format!("/{}{slash}", segments.join("/"))
    })
}

fn a_host() -> impl Strategy<Value = String> {
    "[ab]\\.([ab]\\.)?c"
}

fn some_matches() -> impl Strategy<Value = Matches> {
    let host = prop_oneof![
        a_host().prop_map(|name| Host::Exact(name.into())),
        "([ab]\\.)?c".prop_map(|name| Host::Wildcard(name.into())),
    ];
    let path = (a_path(), any::<bool>()).prop_map(|(path, exact)| match exact {
        true => PathMatch::Exact(path.into()),
        false => PathMatch::Prefix(path.into()),
    });
    let methods = proptest::sample::subsequence(vec!["GET".into(), "PUT".into()], 0..=1);
    (proptest::collection::vec(host, 0..3), path, methods).prop_map(|(hosts, path, methods)| Matches {
        hosts,
        path,
        methods,
        fields: vec![],
    })
}

proptest! {
    #[test]
    fn the_router_finds_what_the_definition_says(
        all in proptest::collection::vec(some_matches(), 0..24),
        requests in proptest::collection::vec((a_host(), a_path(), "(GET|PUT)"), 16),
    ) {
        let routes: Vec<Route> = all.iter().cloned().map(route).collect();
        let router = Router::new(&routes);
        for (host, path, method) in requests {
            let rank = |matches| specificity(matches, &host, &path, &method);
            let ranked = all.iter().enumerate().filter_map(|(index, matches)| Some((rank(matches)?, index)));
            let expected = ranked.max_by_key(|(rank, index)| (*rank, std::cmp::Reverse(*index)));
            let found = router.find(Asked { method: method.as_bytes(), ..asked(&host, &path) });
            prop_assert_eq!(found, expected.map(|(_, index)| index), "{} {} {}", method, host, path);
        }
    }
}

mod normal_form {
    //! Goal: a path has one normal form, whoever writes it, or none. Method: a table, and any bytes against a reference that
    //! works on a list of segments.

    use super::*;
    use crate::proxy::routing::path::{BadPath, Normalized, normalize};

    fn normal(target: &[u8]) -> Result<Vec<u8>, BadPath> {
        let mut out = b"left over".to_vec();
        Ok(match normalize(target, &mut out)? {
            Normalized::Changed => out,
            Normalized::Unchanged => {
                assert_eq!(out, b"");
                target.to_vec()
            }
        })
    }

    #[test]
    fn a_table_of_targets() {
        for (target, expected) in [
            ("/", Ok("/")),
            ("", Ok("/")),
            ("?q", Ok("/?q")),
            ("*", Ok("*")),
            ("/a/b", Ok("/a/b")),
            ("/%41%7e%2D%5f%30", Ok("/A~-_0")),
            ("/%c3%bc", Ok("/%C3%BC")),
            ("/a%2fb%5cc", Ok("/a%2Fb%5Cc")),
            ("/a\\..\\b", Ok("/a\\..\\b")),
            ("/%2f..", Ok("/%2F..")),
            ("/%2f/..", Ok("/")),
            ("/%25%32%65", Ok("/%252e")),
            ("/%3f", Ok("/%3F")),
            ("//", Ok("/")),
            ("//a///b//", Ok("/a/b/")),
            ("/.", Ok("/")),
            ("/./a/./", Ok("/a/")),
            ("/a/.", Ok("/a/")),
            ("/a/..", Ok("/")),
            ("/a/../b", Ok("/b")),
            ("/a//../b", Ok("/b")),
            ("/a/b/%2E%2e/c", Ok("/a/c")),
            ("/a/.%2e/%2e/c", Ok("/c")),
            ("/.well-known/...", Ok("/.well-known/...")),
            ("/..a/a..", Ok("/..a/a..")),
            ("/a?//../%zz%00", Ok("/a?//../%zz%00")),
            ("//a?//../%zz%00", Ok("/a?//../%zz%00")),
            ("/a#", Err(BadPath::Byte)),
            ("/a b", Err(BadPath::Byte)),
            ("/ä", Err(BadPath::Byte)),
            ("/%2f\r\n", Err(BadPath::Byte)),
            ("/%00", Err(BadPath::Nul)),
            ("/%", Err(BadPath::Escape)),
            ("/%4", Err(BadPath::Escape)),
            ("/%4?1", Err(BadPath::Escape)),
            ("/%g0", Err(BadPath::Escape)),
            ("/%0g", Err(BadPath::Escape)),
            ("/..", Err(BadPath::Root)),
            ("/a/../..", Err(BadPath::Root)),
            ("/a/../../b", Err(BadPath::Root)),
            ("//..", Err(BadPath::Root)),
            ("/%2e%2e/", Err(BadPath::Root)),
            ("a", Err(BadPath::Form)),
            ("*?", Err(BadPath::Form)),
            ("**", Err(BadPath::Form)),
        ] {
            let got = normal(target.as_bytes());
            assert_eq!(got, expected.map(|text| text.as_bytes().to_vec()), "{target}");
        }
    }

    #[test]
    fn a_request_has_its_target_in_any_form() {
        use crate::h1::head::{Parsed, parse_request};
        for (line, expected) in [
            ("GET /a//b?c HTTP/1.1", "/a/b?c"),
            ("GET /a HTTP/1.1", "/a"),
            ("GET http://h HTTP/1.1", "/"),
            ("GET http://h?q HTTP/1.1", "/?q"),
            ("GET http://h/%61 HTTP/1.1", "/a"),
            ("OPTIONS http://h HTTP/1.1", "*"),
            ("OPTIONS * HTTP/1.1", "*"),
        ] {
            let bytes = format!("{line}\r\nHost: h\r\n\r\n").into_bytes();
            let parsed = parse_request(&bytes, &Default::default(), &mut Vec::new());
            let Ok(Parsed::Complete(head)) = parsed else { panic!("{line}: {parsed:?}") };
            let mut out = Vec::new();
            assert_eq!(path::target(&head, &bytes, &mut out), Ok(expected.as_bytes()), "{line}");
        }
    }

    /// The rule again, slowly: `None` when there is no normal form.
    fn reference(target: &str) -> Option<String> {
        let (path, query) = match target.find('?') {
            Some(at) => target.split_at(at),
            None => (target, ""),
        };
        if path.is_empty() || target == "*" {
            return Some(format!("{}{query}", if path.is_empty() { "/" } else { "*" }));
        }
        let mut segments: Vec<String> = Vec::new();
        let mut open = true; // the path ends in a slash
        for segment in path.strip_prefix('/')?.split('/') {
            let segment = decoded(segment)?;
            open = matches!(&*segment, "" | "." | "..");
            match &*segment {
                "" | "." => {}
                ".." => drop(segments.pop()?),
                _ => segments.push(segment),
            }
        }
        let end = if open && !segments.is_empty() { "/" } else { "" };
        Some(format!("/{}{end}{query}", segments.join("/")))
    }

    fn decoded(segment: &str) -> Option<String> {
        let mut parts = segment.split('%');
        let mut text = parts.next()?.to_owned();
        for part in parts {
            let digits = part.get(..2).filter(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
            match u8::from_str_radix(digits, 16).ok()? {
                0 => return None,
                byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => text.push(byte.into()),
                byte => text.push_str(&format!("%{byte:02X}")),
            }
            text.push_str(&part[2..]);
        }
        text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#').then_some(text)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn the_normal_form_is_that_of_the_reference(target in "/?([a%./?\\\\*]|%2[eEfF0]|%[0-9a-fA-F]{2}|/\\.\\.?|[ -~]){0,24}") {
            prop_assert_eq!(normal(target.as_bytes()).ok(), reference(&target).map(String::into_bytes));
        }

        #[test]
        fn every_byte_sequence_has_a_verdict(target in proptest::collection::vec(any::<u8>(), 0..40), root in any::<bool>()) {
            let target = if root { [b"/".as_slice(), &target].concat() } else { target };
            path::fuzz(&target);
        }

        #[test]
        fn what_has_a_normal_form_keeps_its_rules(target in "/([a.]|/|%2[eEfF5]|%[0-9a-f]{2}){0,24}(\\?[/.%]*)?") {
            path::fuzz(target.as_bytes());
        }
    }
}
