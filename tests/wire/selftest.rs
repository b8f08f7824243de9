//! The harness itself, client straight at origin: a script that lies would make every other test worthless.

use std::time::{Duration, Instant};

use crate::harness::*;

/// A serving origin answers pipelined requests in order and records their heads.
#[test]
fn origin_answers_in_order_and_records() {
    let origin = Origin::serve(|request| ok(request.head.target()));
    let mut client = Peer::connect(origin.addr);
    client.send(get("/a") + &post("/b", "body") + &get("/c"));
    for path in ["/a", "/b", "/c"] {
        assert_eq!(client.response().text(), path);
    }
    assert_eq!(origin.accepted(), 1);
    assert_eq!(origin.heads_for("/b").len(), 1);
}

/// Chunked bodies: data, trailers, and the difference between the end and a cut.
#[test]
fn chunked_bodies_end_or_are_cut() {
    let origin = Origin::start(|mut conn| {
        let Some(head) = conn.request_head() else { return };
        conn.send(CHUNKED);
        conn.send(chunk("one") + &chunk("two"));
        if head.target() == "/whole" {
            conn.send("0\r\nX-Sum: 6\r\n\r\n");
        }
    });
    let whole = Peer::connect(origin.addr).exchange(get("/whole")).body;
    assert_eq!((whole.bytes.as_slice(), whole.complete), (&b"onetwo"[..], true));
    assert_eq!(whole.trailers, [("X-Sum".to_owned(), "6".to_owned())]);
    let cut = Peer::connect(origin.addr).exchange(get("/cut")).body;
    assert_eq!((cut.bytes.as_slice(), cut.complete), (&b"onetwo"[..], false));
}

/// FIN and RST are told apart.
#[test]
fn ends_are_told_apart() {
    let origin = Origin::start(|mut conn| {
        if conn.request_head().is_some_and(|head| head.target() == "/reset") {
            conn.reset();
        }
    });
    for (path, end) in [("/reset", End::Reset), ("/close", End::Fin)] {
        let mut client = Peer::connect(origin.addr);
        client.send(get(path));
        assert_eq!(client.until_end(), (Vec::new(), end), "{path}");
    }
}

/// A killed origin frees its port and its connections; another one can take the address.
#[test]
fn killed_origins_free_their_address() {
    let mut origin = Origin::serve(|_| ok("first"));
    let mut client = Peer::connect(origin.addr);
    assert_eq!(client.exchange(get("/")).text(), "first");
    origin.kill();
    client.assert_closed();
    let second = Origin::serve_at(origin.addr, |_| ok("second"));
    assert_eq!(Peer::connect(second.addr).exchange(get("/")).text(), "second");
}

/// Nothing can connect to the deaf listener.
#[test]
fn deaf_listener_takes_no_connection() {
    let (addr, _full) = deaf_listener();
    let started = Instant::now();
    assert!(std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(300)).is_err());
    assert!(started.elapsed() >= Duration::from_millis(300), "refused instead of silent");
}

/// Log lines: plain, quoted, escaped and absent values.
#[test]
fn log_lines_are_split() {
    let line = Line::parse(r#"ts=2025-01-01T00:00:00Z host="a \"b\" c" error=- status=200 duration_ms=1.5"#);
    assert_eq!(line.get("host"), r#"a "b" c"#);
    assert_eq!(line.get("error"), "");
    assert!((line.number("duration_ms") - 1.5).abs() < f64::EPSILON);
    assert_eq!(line.keys().len(), 5);
}
