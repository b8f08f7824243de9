//! The access log: one line for every exchange, whatever became of it.

use rustix::process::Signal;

use crate::harness::*;

/// All keys, each in every line.
#[rustfmt::skip]
const KEYS: [&str; 21] = [
    "ts", "client", "id", "method", "host", "path", "proto", "status", "error", "detail", "phase", "upstream", "reused",
    "retries", "tunnel", "bytes_in", "bytes_out", "duration_ms", "header_ms", "connect_ms", "ttfb_ms",
];

/// An ordinary exchange, key by key.
#[test]
fn ordinary_exchange() {
    let origin = Origin::serve(|_| ok("four"));
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    client.exchange(post("/path?secret=1", "123"));
    let line = proxy.log_for("/path");
    assert_eq!(line.keys().len(), KEYS.len(), "{line:?}");
    assert!(KEYS.iter().all(|key| line.keys().contains(key)), "{line:?}");
    assert_eq!(line.get("method"), "POST");
    assert_eq!(line.get("host"), "wire.test");
    assert_eq!(line.get("proto"), "HTTP/1.1");
    assert_eq!(line.get("status"), "200");
    assert_eq!((line.get("error"), line.get("phase")), ("", ""));
    assert_eq!((line.get("bytes_in"), line.get("bytes_out")), ("3", "4"));
    assert_eq!(line.get("upstream"), origin.addr.to_string());
    assert!(line.get("client").starts_with("127.0.0.1"));
    assert!(line.number("duration_ms") >= 0.0 && line.number("ttfb_ms") <= line.number("duration_ms"));
    assert!(!proxy.log_text().join("").contains("secret"), "the query is not logged");
}

/// `--log-query` logs the query too.
#[test]
fn query_is_logged_on_request() {
    let origin = Origin::serve(|_| ok(""));
    let proxy = Proxy::with(&origin, &["--log-query"]);
    proxy.get("/path?a=b");
    proxy.log_for("/path?a=b");
}

/// One line each: served, pipelined, refused, failed, cut, and nothing for a connection that said nothing.
#[test]
fn every_exchange_has_exactly_one_line() {
    let origin = Origin::start(|mut conn| {
        while let Some(request) = conn.request() {
            match request.head.target() {
                "/cut" => return conn.send(CHUNKED.to_owned() + &chunk("one")),
                "/fail" => return,
                _ => conn.send(ok("fine")),
            }
        }
    });
    let proxy = Proxy::of(&origin);
    proxy.client().close();
    let mut client = proxy.client();
    client.send(get("/one") + &get("/two"));
    (0..2).for_each(|_| assert_eq!(client.response().text(), "fine"));
    assert_eq!(proxy.client().exchange("BAD\r\n\r\n").head.status(), 400);
    assert_eq!(proxy.get("/fail").head.status(), 502);
    assert!(!proxy.get("/cut").body.complete);
    assert_eq!(client.exchange(get("/last")).text(), "fine");
    proxy.log_for("/last");
    let mut seen: Vec<(String, String, bool)> = proxy
        .log_lines()
        .iter()
        .map(|line| (line.get("path").into(), line.get("status").into(), line.get("error").is_empty()))
        .map(|(path, status, well)| (if status == "400" { String::new() } else { path }, status, well))
        .collect();
    seen.sort();
    let expected = [
        ("", "400", false),
        ("/cut", "200", false),
        ("/fail", "502", false),
        ("/last", "200", true),
        ("/one", "200", true),
        ("/two", "200", true),
    ];
    let expected: Vec<_> =
        expected.map(|(path, status, well)| (path.to_owned(), status.to_owned(), well)).into();
    assert_eq!(seen, expected);
}

/// Values that could forge a line or a pair stay inside their value.
#[test]
fn hostile_values_forge_nothing() {
    let origin = Origin::serve(|_| ok(""));
    let proxy = Proxy::with(&origin, &["--trusted-proxies", "127.0.0.1/32"]);
    proxy
        .client()
        .exchange("GET /a\"b=c\\ HTTP/1.1\r\nHost: a\r\nX-Request-Id: x\" status=999 y=\"z\r\n\r\n");
    proxy.get("/after");
    proxy.log_for("/after");
    let lines = proxy.log_lines();
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert_ne!(line.get("status"), "999");
        let mut found = line.keys();
        found.retain(|key| !KEYS.contains(key));
        assert!(found.is_empty(), "forged keys {found:?}");
    }
}

/// JSON: one object a line with the same keys.
#[test]
fn json_lines_parse() {
    let origin = Origin::serve(|_| ok("four"));
    let proxy = Proxy::with(&origin, &["--log-format", "json"]);
    proxy.get("/a\"b");
    proxy.client().exchange("BAD \x01\r\n\r\n");
    let lines = eventually("two lines", || Some(proxy.log_text()).filter(|lines| lines.len() == 2));
    let parsed: Vec<serde_json::Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    let served = &parsed[0];
    assert_eq!((&served["status"], &served["bytes_out"]), (&200.into(), &4.into()), "{served}");
    assert_eq!(served["path"], "/a\"b");
    assert_eq!(parsed[1]["status"], 400);
    for key in KEYS {
        assert!(served.as_object().unwrap().contains_key(key), "no {key} in {served}");
    }
}

/// SIGUSR1 after a rename: later lines go to a new file, none is lost.
#[test]
fn log_is_reopened_after_a_rename() {
    let origin = Origin::serve(|_| ok(""));
    let mut proxy = Proxy::of(&origin);
    proxy.get("/before");
    proxy.log_for("/before");
    let old = proxy.folder().join("access.log.1");
    std::fs::rename(proxy.log_path(), &old).unwrap();
    proxy.signal(Signal::USR1);
    eventually("the new file", || proxy.log_path().exists().then_some(()));
    proxy.get("/after");
    proxy.log_for("/after");
    assert!(std::fs::read_to_string(old).unwrap().contains("/before"));
    proxy.assert_healthy();
}

/// The log is complete when the process ends in order.
#[test]
fn log_is_complete_at_the_end() {
    let origin = Origin::serve(|_| ok(""));
    let mut proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    (0..50).for_each(|number| drop(client.exchange(get(&format!("/{number}")))));
    client.close();
    proxy.terminate();
    assert!(proxy.wait().success());
    assert_eq!(proxy.log_lines().len(), 50);
}

/// An output that takes nothing costs lines, which are counted and said, and no request.
#[test]
fn lost_lines_are_counted() {
    let origin = Origin::serve(|_| ok("fine"));
    let mut proxy = Proxy::with(&origin, &["--access-log", "/dev/full"]);
    let mut client = proxy.client();
    (0..50).for_each(|_| assert_eq!(client.exchange(get("/")).text(), "fine"));
    client.close();
    proxy.terminate();
    assert!(proxy.wait().success());
    assert!(proxy.stderr().contains("log_lines_lost=50"), "{}", proxy.stderr());
}

/// A FIFO that nobody reads is a start-up error, not a start that hangs with the port open.
#[test]
fn fifo_without_a_reader_is_an_error() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::of(&origin);
    let fifo = proxy.folder().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let log = fifo.to_str().unwrap();
    let output = run_to_exit(&["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--access-log", log]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(log) && stderr.contains("FIFO"), "{stderr}");
}

/// A refused request is logged with what its first line said.
#[test]
fn refused_requests_are_named() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::of(&origin);
    proxy.client().send("GET /why?secret HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    let line = proxy.log_for("/why");
    assert_eq!((line.get("method"), line.get("status"), line.get("detail")), ("GET", "400", "repeated-host"));
    let mut head = proxy.client();
    head.send("HEAD /h HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(head.head().status(), 400);
    head.assert_closed();
}
