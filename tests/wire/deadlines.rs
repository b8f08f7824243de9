//! Promise 3: each phase has its timer, and only a peer that misses it is cut (design §5, Deadlines).

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::*;

const SECOND: Duration = Duration::from_secs(1);

/// An origin that reads its request and says nothing more until the connection ends.
fn silent_origin() -> Origin {
    Origin::start(|mut conn| while conn.request_head().is_some() {})
}

/// An origin that sends an event each `pause`, for longer than any deadline of these tests.
fn ticking_origin(pause: Duration) -> Origin {
    Origin::start(move |mut conn| {
        conn.request_head().unwrap();
        conn.send(CHUNKED);
        for _ in 0..30 {
            if conn.try_send(chunk("tick")).is_err() || conn.stirs_within(pause) {
                return;
            }
        }
    })
}

/// `--request-timeout`: 504 after 1 s, within 150 ms.
#[test]
fn silent_origin_is_504_on_time() {
    let origin = silent_origin();
    let proxy = Proxy::with(&origin, &["--request-timeout", "1s"]);
    assert_within(Duration::from_millis(150), || {
        let started = Instant::now();
        assert_eq!(proxy.get("/silent").head.status(), 504);
        assert_took(started, SECOND);
        started.elapsed().saturating_sub(SECOND)
    });
    let line = proxy.log_for("/silent");
    assert_eq!((line.get("status"), line.get("phase")), ("504", "request"));
    assert_eq!(line.get("error"), "http_response_timeout");
}

/// `--timeout-status`: for those who alert on 503.
#[test]
fn timeout_status_can_be_503() {
    let origin = silent_origin();
    let proxy = Proxy::with(&origin, &["--request-timeout", "500ms", "--timeout-status", "503"]);
    assert_eq!(proxy.get("/").head.status(), 503);
}

/// `--request-timeout` counts from the end of the upload, and a pooled connection inherits nothing.
#[test]
fn request_timeout_starts_anew_for_each_request() {
    let origin = Origin::serve(|_| {
        thread::sleep(Duration::from_millis(700));
        ok("late")
    });
    let proxy = Proxy::with(&origin, &["--request-timeout", "1s", "--stream-idle-timeout", "1s"]);
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.exchange(get("/")).text(), "late");
        thread::sleep(Duration::from_millis(400));
    }
    assert_eq!(origin.accepted(), 1);
}

/// `--stream-idle-timeout`: a stream that falls silent is cut, and does not look complete.
#[test]
fn stream_that_falls_silent_is_cut() {
    let heads = [
        ("/chunked", CHUNKED.to_owned()),
        ("/length", "HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n".to_owned()),
    ];
    for (path, head) in heads {
        let origin = Origin::start(move |mut conn| {
            conn.request_head().unwrap();
            conn.send(&head);
            conn.send(chunk("tick"));
            conn.assert_closed();
        });
        let proxy = Proxy::with(&origin, &["--stream-idle-timeout", "1s"]);
        let mut client = proxy.client();
        client.send(get(path));
        let head = client.head();
        let started = Instant::now();
        let body = client.response_body("GET", &head);
        assert_took(started, SECOND);
        assert!(!body.complete && !body.bytes.is_empty(), "{path}: {body:?}");
        client.assert_closed();
        let line = proxy.log_for(path);
        assert_eq!((line.get("status"), line.get("phase")), ("200", "stream-idle"));
        assert_ne!(line.get("error"), "");
    }
}

/// `--header-timeout` is total: one byte each 200 ms does not extend it, on the first request or a later one.
#[test]
fn drip_fed_head_is_408() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::with(&origin, &["--header-timeout", "1s"]);
    for earlier_requests in [0, 1] {
        let mut client = proxy.client();
        (0..earlier_requests).for_each(|_| assert_eq!(client.exchange(get("/")).text(), "fine"));
        let started = Instant::now();
        for byte in get("/drip").bytes() {
            client.send([byte]);
            if client.stirs_within(Duration::from_millis(200)) {
                break;
            }
        }
        assert_took(started, SECOND);
        assert_eq!(client.response().head.status(), 408);
        client.assert_closed();
    }
    assert!(origin.heads_for("/drip").is_empty());
    assert_eq!(proxy.log_where("a line for 408", |line| line.get("status") == "408").get("phase"), "header");
}

/// `--handshake-timeout`: a connection that never speaks is closed without a word.
#[test]
fn mute_connection_is_closed() {
    let origin = silent_origin();
    let proxy = Proxy::with(&origin, &["--handshake-timeout", "1s"]);
    let started = Instant::now();
    proxy.client().assert_closed();
    assert_took(started, SECOND);
}

/// `--keepalive-timeout`: an idle connection is closed without a word.
#[test]
fn idle_connection_is_closed() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::with(&origin, &["--keepalive-timeout", "1s"]);
    let mut client = proxy.client();
    for _ in 0..2 {
        assert_eq!(client.exchange(get("/")).text(), "fine");
        thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(client.exchange(get("/")).text(), "fine");
    let started = Instant::now();
    client.assert_closed();
    assert_took(started, SECOND);
}

/// `--body-timeout`: 408 for a client whose body stops, and its upstream request is aborted.
#[test]
fn silent_body_is_408() {
    for framing in ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let (tx, rx) = inbox();
        let origin = Origin::start(move |mut conn| tx.send(conn.request().unwrap().body).unwrap());
        let proxy = Proxy::with(&origin, &["--body-timeout", "1s"]);
        let mut client = proxy.client();
        let started = Instant::now();
        client.send(format!("POST /up HTTP/1.1\r\nHost: a\r\n{framing}"));
        assert_eq!(client.response().head.status(), 408);
        assert_took(started, SECOND);
        client.assert_closed();
        let body = rx.take();
        assert!(!body.complete && body.bytes == b"abc", "{body:?}");
        assert_eq!(proxy.log_for("/up").get("phase"), "body");
    }
}

/// `--connect-timeout`: 504 when every endpoint is deaf, the next endpoint when there is one.
#[test]
fn deaf_endpoint_is_given_up() {
    let (deaf, _full) = deaf_listener();
    let deaf = deaf.to_string();
    let proxy = Proxy::to(&[&deaf], &["--connect-timeout", "1s"]);
    let started = Instant::now();
    let response = proxy.get("/deaf");
    assert_took(started, SECOND);
    assert_eq!(response.head.status(), 504);
    let line = proxy.log_for("/deaf");
    assert_eq!((line.get("error"), line.get("phase")), ("connection_timeout", "connect"));

    let origin = Origin::serve(|request| ok(&String::from_utf8_lossy(&request.body.bytes)));
    let proxy = Proxy::to(&[&deaf, &origin.addr.to_string()], &["--connect-timeout", "500ms"]);
    for body in ["one", "two"] {
        assert_eq!(proxy.client().exchange(post("/", body)).text(), body);
    }
}

/// A head that has not come by `--request-deadline` is the client's doing, and the origin hears nothing of it.
#[test]
fn request_deadline_covers_the_head() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::with(&origin, &["--request-deadline", "1s"]);
    let mut client = proxy.client();
    let started = Instant::now();
    client.send("POST /pay HTTP/1.1\r\nHo");
    assert_eq!(client.head().status(), 408);
    assert_took(started, Duration::from_secs(1));
    assert!(origin.heads().is_empty());
}

/// A drip-fed response head cannot extend `--request-timeout`; an interim response begins it anew.
#[test]
fn drip_fed_response_head_is_504() {
    let origin = Origin::start(|mut conn| {
        let _ = conn.request_head();
        thread::sleep(Duration::from_millis(600));
        let _ = conn.try_send("HTTP/1.1 103 Early Hints\r\n\r\n");
        for byte in format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(200)).bytes() {
            if conn.try_send([byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
    });
    let proxy = Proxy::with(&origin, &["--request-timeout", "1s"]);
    let mut client = proxy.client();
    let started = Instant::now();
    client.send(get("/"));
    assert_eq!(client.head().status(), 103);
    assert_eq!(client.head().status(), 504);
    assert_took(started, Duration::from_millis(1600));
}

/// `--request-deadline` before the head: 504.
#[test]
fn request_deadline_before_the_head_is_504() {
    let origin = silent_origin();
    let proxy = Proxy::with(&origin, &["--request-deadline", "1s"]);
    let started = Instant::now();
    assert_eq!(proxy.get("/slow").head.status(), 504);
    assert_took(started, SECOND);
    assert_eq!(proxy.log_for("/slow").get("phase"), "request-deadline");
}

/// `--request-deadline` cuts a stream that is alive and well.
#[test]
fn request_deadline_cuts_a_stream() {
    let origin = ticking_origin(Duration::from_millis(200));
    let proxy = Proxy::with(&origin, &["--request-deadline", "1s"]);
    let started = Instant::now();
    let response = proxy.get("/ticks");
    assert_took(started, SECOND);
    assert!(response.head.status() == 200 && !response.body.complete);
    assert_eq!(proxy.log_for("/ticks").get("phase"), "request-deadline");
}

/// `--tunnel-timeout`: silence of both directions; a byte in either is enough to live on.
#[test]
fn silent_tunnel_is_closed() {
    let origin = Origin::start(|mut conn| {
        let head = conn.request_head().unwrap();
        conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n");
        if head.target() == "/down" {
            for _ in 0..5 {
                conn.send("x");
                thread::sleep(Duration::from_millis(400));
            }
        }
        conn.until_end();
    });
    let proxy = Proxy::with(&origin, &["--tunnel-timeout", "1s"]);
    for path in ["/up", "/down"] {
        let mut client = proxy.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n"));
        assert_eq!(client.head().status(), 101);
        let started = Instant::now();
        if path == "/up" {
            for _ in 0..5 {
                client.send("x");
                thread::sleep(Duration::from_millis(400));
            }
        }
        client.until_end();
        // The last of five bytes leaves after four pauses.
        let expected = 4 * Duration::from_millis(400) + SECOND;
        assert_took(started, expected);
        assert_eq!(proxy.log_for(path).get("phase"), "tunnel");
    }
}

/// Every timeout is 1 s; the upload takes 3 s and never pauses for long.
#[test]
fn upload_outlives_every_timeout_it_does_not_miss() {
    let origin = Origin::serve(|request| ok(&request.body.bytes.len().to_string()));
    let names =
        ["request", "stream-idle", "header", "body", "write", "handshake", "keepalive", "connect", "tunnel"];
    let names: Vec<String> = names.iter().map(|name| format!("--{name}-timeout")).collect();
    let flags: Vec<&str> = names.iter().flat_map(|name| [name.as_str(), "1s"]).collect();
    let proxy = Proxy::with(&origin, &flags);
    let mut client = proxy.client();
    client.send("PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: 12000\r\n\r\n");
    for _ in 0..12 {
        client.send([b'x'; 1000]);
        thread::sleep(Duration::from_millis(250));
    }
    assert_eq!(client.response().text(), "12000");
}

/// `0` and `off` mean "never", not "at once".
#[test]
fn zero_and_off_disable() {
    let origin = Origin::serve(|_| {
        thread::sleep(Duration::from_millis(300));
        ok("in its own time")
    });
    let names = [
        "request",
        "stream-idle",
        "header",
        "body",
        "write",
        "handshake",
        "keepalive",
        "connect",
        "tunnel",
        "drain",
    ];
    let names: Vec<String> = names.iter().map(|name| format!("--{name}-timeout")).collect();
    for off in ["0", "off"] {
        let mut flags: Vec<&str> = names.iter().flat_map(|name| [name.as_str(), off]).collect();
        flags.extend(["--request-deadline", off]);
        let proxy = Proxy::with(&origin, &flags);
        let mut client = proxy.client();
        assert!(!client.stirs_within(Duration::from_millis(100)), "closed at once");
        let (start, end) = ("POST / HTTP/1.1\r\nHost: a\r\nContent-", "Length: 3\r\n\r\n");
        for piece in [start, end, "ab"] {
            client.send(piece);
            assert!(!client.stirs_within(Duration::from_millis(50)), "answered or closed early");
        }
        client.send("c");
        assert_eq!(client.response().text(), "in its own time");
    }
}

/// Both kinds of deadline at the same instant: whatever wins, the client gets one whole answer or none.
#[test]
fn expiry_racing_completion_never_mixes_answers() {
    let origin = Origin::serve(|_| {
        thread::sleep(Duration::from_millis(500));
        ok("made it")
    });
    let proxy = Proxy::with(&origin, &["--request-timeout", "500ms"]);
    let clients: Vec<_> = (0..32)
        .map(|_| {
            let mut client = proxy.client();
            client.send(get("/race"));
            client
        })
        .collect();
    for mut client in clients {
        let response = client.response();
        assert!(response.body.complete);
        assert_eq!(response.head.status() == 200, response.text() == "made it", "{response:?}");
        assert!(matches!(response.head.status(), 200 | 504));
    }
}
