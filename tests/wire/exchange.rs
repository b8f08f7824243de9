//! One exchange from head to fate: interim and early responses, vanishing clients, and the fields in between.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::*;

// ----- interim responses

/// `Expect` goes to the origin, its 100 comes back, the body follows.
#[test]
fn expect_100_continue_goes_end_to_end() {
    let origin = Origin::start(|mut conn| {
        let head = conn.request_head().unwrap();
        assert!(head.lists("expect", "100-continue"), "{head:?}");
        conn.send("HTTP/1.1 100 Continue\r\n\r\n");
        let body = conn.request_body(&head);
        conn.send(ok(&String::from_utf8_lossy(&body.bytes)));
    });
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.head().status(), 100);
    client.send("hello");
    assert_eq!(client.response().text(), "hello");
}

/// A final status instead of 100: the client gets it without having sent its body.
#[test]
fn final_status_instead_of_100() {
    let origin = Origin::start(|mut conn| {
        conn.request_head().unwrap();
        conn.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        conn.until_end();
    });
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let response = client.response();
    assert_eq!((response.head.status(), response.text().as_str()), (403, "no"));
}

/// 103 and other interim responses reach HTTP/1.1 clients in order, with their fields.
#[test]
fn early_hints_are_forwarded() {
    let gate = Gate::new();
    let origin = Origin::start({
        let gate = gate.clone();
        move |mut conn| {
            conn.request_head().unwrap();
            conn.send("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
            gate.pass();
            conn.send(ok("done"));
        }
    });
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    client.send(get("/"));
    assert_eq!(client.head().status(), 102);
    let hints = client.head();
    assert_eq!((hints.status(), hints.value("link")), (103, Some("</a.css>")));
    gate.open();
    assert_eq!(client.response().text(), "done");
}

/// RFC 9110 §15.2: no 1xx to an HTTP/1.0 client, not even the one it asks for.
#[test]
fn http_1_0_clients_get_no_interim_response() {
    let origin = Origin::serve(|request| {
        assert!(request.body.complete);
        [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n".to_vec(), ok("done")].concat()
    });
    let proxy = Proxy::of(&origin);
    let request = "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi";
    let response = proxy.client().exchange(request);
    assert_eq!((response.head.status(), response.text().as_str()), (200, "done"));
}

// ----- responses that do not wait for the request

/// The origin refuses an upload after its first bytes and stays connected, or closes at once (which resets the
/// connection under the proxy's hands). Either way a client that is still uploading reads the 413.
#[test]
fn early_413_reaches_a_client_still_uploading() {
    for stays in [true, false] {
        let origin = Origin::start(move |mut conn| {
            conn.request_head().unwrap();
            conn.exactly(1024);
            conn.send(
                "HTTP/1.1 413 Content Too Large\r\nContent-Length: 7\r\nConnection: close\r\n\r\ntoo big",
            );
            if stays {
                conn.until_end();
            }
        });
        let proxy = Proxy::of(&origin);
        let mut client = proxy.client();
        let stop = Arc::new(AtomicBool::new(false));
        let sender = thread::spawn({
            let (mut writer, stop) = (client.writer(), stop.clone());
            move || {
                writer.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000000\r\n\r\n");
                while !stop.load(Ordering::SeqCst) && writer.try_send([b'x'; 16_384]).is_ok() {}
            }
        });
        let response = client.response();
        assert_eq!((response.head.status(), response.text().as_str()), (413, "too big"), "stays: {stays}");
        stop.store(true, Ordering::SeqCst);
        sender.join().unwrap();
        assert_eq!(proxy.log_for("/up").get("status"), "413");
    }
}

/// A client that sends everything before it reads anything gets the early answer too: the proxy reads on for a while.
#[test]
fn early_response_survives_the_rest_of_the_upload() {
    const BYTES: usize = 8 * 1024 * 1024;
    let origin = Origin::start(|mut conn| {
        conn.request_head().unwrap();
        conn.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 7\r\nConnection: close\r\n\r\ntoo big");
    });
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BYTES}\r\n\r\n"));
    client.send(vec![b'x'; BYTES]);
    let response = client.response();
    assert_eq!((response.head.status(), response.text().as_str()), (413, "too big"));
}

// ----- clients that vanish

/// How long after the client is gone the origin notices.
fn time_to_notice(request: &'static str, answer: &'static str, reset: bool) -> Duration {
    let ready = Gate::new();
    let (tx, rx) = inbox();
    let origin = Origin::start({
        let ready = ready.clone();
        move |mut conn| {
            conn.request_head().unwrap();
            conn.send(answer);
            ready.open();
            conn.until_end();
            tx.send(Instant::now()).unwrap();
        }
    });
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    client.send(request);
    if !answer.is_empty() {
        client.head();
    }
    ready.pass();
    let gone = Instant::now();
    if reset {
        client.reset()
    } else {
        client.close()
    }
    let noticed = rx.take().saturating_duration_since(gone);
    let line = proxy.log_for("/vanish");
    assert_ne!(line.get("error"), "", "{line:?}");
    noticed
}

/// Before the head, inside a stream, inside an upload; by FIN or RST: the upstream is free within 100 ms.
#[test]
fn vanished_client_frees_the_upstream() {
    const GET: &str = "GET /vanish HTTP/1.1\r\nHost: a\r\n\r\n";
    const UPLOAD: &str = "POST /vanish HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc";
    for (request, answer) in [(GET, ""), (GET, CHUNKED), (UPLOAD, ""), (UPLOAD, CHUNKED)] {
        for reset in [false, true] {
            assert_within(Duration::from_millis(100), || time_to_notice(request, answer, reset));
        }
    }
}

/// A client that vanishes while the origin gushes.
#[test]
fn vanished_reader_stops_a_gushing_origin() {
    let (tx, rx) = inbox();
    let origin = Origin::start(move |mut conn| {
        conn.request_head().unwrap();
        conn.send(CHUNKED);
        while conn.try_send(chunk(&"x".repeat(65_536))).is_ok() {}
        tx.send(()).unwrap();
    });
    let mut proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    client.send(get("/gush"));
    assert_eq!(client.head().status(), 200);
    assert!(matches!(client.chunk(), Chunk::Data(_)));
    client.reset();
    rx.take();
    assert_ne!(proxy.log_for("/gush").get("error"), "");
    proxy.assert_healthy();
}

// ----- fields

/// Sends one request and returns its head as the origin read it.
fn seen_by_origin(flags: &[&str], request: &str) -> Head {
    let origin = Origin::serve(|_| ok(""));
    let proxy = Proxy::with(&origin, flags);
    assert_eq!(proxy.client().exchange(request).head.status(), 200, "{request}");
    origin.heads().remove(0)
}

/// Hop-by-hop fields of a request stay on their hop, those that `Connection` names included.
#[test]
fn hop_by_hop_request_fields_are_removed() {
    let head = seen_by_origin(
        &[],
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop\r\nConnection: x-Other\r\nX-Hop: 1\r\n\
         X-Other: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nX-End: kept\r\n\r\n",
    );
    for name in ["x-hop", "x-other", "keep-alive", "proxy-connection", "upgrade"] {
        assert!(!head.has(name), "{name} in {head:?}");
    }
    assert!(!head.lists("te", "gzip"), "{head:?}");
    assert!(!head.lists("connection", "x-hop"), "{head:?}");
    assert_eq!(head.value("x-end"), Some("kept"));
}

/// Hop-by-hop fields of a response stay on theirs; the others come through as sent, repeats and order included.
#[test]
fn hop_by_hop_response_fields_are_removed() {
    let origin = Origin::serve(|_| {
        b"HTTP/1.1 200 Fine\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\n\
          Proxy-Connection: x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2, c\r\nX-Empty:\r\nContent-Length: 2\r\n\r\nok"
            .to_vec()
    });
    let head = Proxy::of(&origin).get("/").head;
    for name in ["x-hop", "keep-alive", "proxy-connection"] {
        assert!(!head.has(name), "{name} in {head:?}");
    }
    assert_eq!(head.values("set-cookie"), ["a=1", "b=2, c"]);
    assert_eq!(head.value("x-empty"), Some(""));
    assert!(head.first.ends_with(" 200 Fine"), "{head:?}");
}

/// `Connection` cannot name what a message needs: framing, host and the forwarding fields.
#[test]
fn connection_cannot_remove_essential_fields() {
    let head = seen_by_origin(
        &["--trusted-proxies", "127.0.0.0/8"],
        "POST / HTTP/1.1\r\nHost: wire.test\r\nConnection: host, content-length, x-forwarded-for, x-request-id\r\n\
         X-Forwarded-For: 1.2.3.4\r\nX-Request-Id: theirs\r\nContent-Length: 2\r\n\r\nhi",
    );
    assert_eq!(head.value("host"), Some("wire.test"));
    assert_eq!(head.content_length(), Some(2));
    assert_eq!(head.value("x-forwarded-for"), Some("1.2.3.4, 127.0.0.1"));
    assert_eq!(head.value("x-request-id"), Some("theirs"));
}

/// What a peer nobody trusts says about itself is replaced.
#[test]
fn forwarding_fields_of_strangers_are_replaced() {
    let head = seen_by_origin(
        &[],
        "GET / HTTP/1.1\r\nHost: wire.test:81\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: bank.test\r\nX-Request-Id: theirs\r\n\
         Forwarded: for=1.2.3.4\r\nVia: 1.1 earlier\r\ntraceparent: 00-a-b-01\r\n\r\n",
    );
    assert_eq!(head.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.values("x-forwarded-proto"), ["http"]);
    assert_eq!(head.values("x-forwarded-host"), ["wire.test:81"]);
    assert_eq!(head.values("x-request-id").len(), 1);
    assert_ne!(head.value("x-request-id"), Some("theirs"));
    assert!(!head.values("forwarded").iter().any(|value| value.contains("1.2.3.4")));
    assert_eq!(head.values("via").join(", "), "1.1 earlier, 1.1 ringress");
    assert_eq!(head.value("traceparent"), Some("00-a-b-01"));
}

/// What a trusted proxy says is kept and extended.
#[test]
fn forwarding_fields_of_trusted_proxies_are_kept() {
    let head = seen_by_origin(
        &["--trusted-proxies", "10.0.0.0/8", "--trusted-proxies", "127.0.0.1/32"],
        "GET / HTTP/1.1\r\nHost: inner\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: bank.test\r\nX-Request-Id: theirs\r\n\r\n",
    );
    assert_eq!(head.values("x-forwarded-for").join(", "), "1.2.3.4, 127.0.0.1");
    assert_eq!(head.values("x-forwarded-proto"), ["https"]);
    assert_eq!(head.values("x-forwarded-host"), ["bank.test"]);
    assert_eq!(head.values("x-request-id"), ["theirs"]);
}

/// Every request has an id of its own, and the log names it.
#[test]
fn request_ids_are_unique_and_logged() {
    let origin = Origin::serve(|_| ok(""));
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    for path in ["/1", "/2", "/3"] {
        client.exchange(get(path));
        let head = origin.heads_for(path).remove(0);
        assert_eq!(head.value("x-request-id"), Some(proxy.log_for(path).get("id")));
    }
    let mut ids: Vec<String> =
        origin.heads().iter().map(|h| h.value("x-request-id").unwrap().into()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

/// The protocol in `Via` is the one the request came in.
#[test]
fn via_names_the_version_received() {
    let head = seen_by_origin(&[], "GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(head.value("via"), Some("1.0 ringress"));
    assert!(head.first.ends_with("HTTP/1.1"), "RFC 9112 §2.3: our own version, not the client's");
}

/// The absolute form becomes the origin form; its authority is the host.
#[test]
fn absolute_form_becomes_origin_form() {
    for (target, seen) in
        [("http://wire.test/a?b=c", "/a?b=c"), ("http://wire.test", "/"), ("http://wire.test?q", "/?q")]
    {
        let head = seen_by_origin(&[], &format!("GET {target} HTTP/1.1\r\nHost: wire.test\r\n\r\n"));
        assert_eq!((head.target(), head.value("host")), (seen, Some("wire.test")));
    }
}

/// `OPTIONS *` passes; `Max-Forwards` is counted down and ends here at 0 (RFC 9110 §7.6.2).
#[test]
fn options_and_max_forwards() {
    let origin = Origin::serve(|_| ok(""));
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    for field in ["", "Max-Forwards: 3\r\n", "Max-Forwards: 0\r\n"] {
        let response = client.exchange(format!("OPTIONS * HTTP/1.1\r\nHost: a\r\n{field}\r\n"));
        assert!(matches!(response.head.status(), 200 | 204), "{field}: {response:?}");
    }
    let heads = origin.heads_for("*");
    assert_eq!(heads.len(), 2, "the last one ended at the proxy");
    assert_eq!(heads[1].value("max-forwards"), Some("2"));
}

/// A missing `Date` is added (RFC 9110 §6.6.1), one that is there is kept.
#[test]
fn date_is_added_when_missing() {
    const THEIRS: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let origin = Origin::serve(|request| match request.head.target() {
        "/with" => format!("HTTP/1.1 200 OK\r\nDate: {THEIRS}\r\nContent-Length: 0\r\n\r\n").into(),
        _ => ok(""),
    });
    let proxy = Proxy::of(&origin);
    assert_eq!(proxy.get("/with").head.values("date"), [THEIRS]);
    let head = proxy.get("/without").head;
    let ours = head.value("date").expect("a date");
    assert!(ours.len() == THEIRS.len() && ours.ends_with(" GMT"), "{ours}");
}

/// `X_Forwarded_For` and the like, which many origins cannot tell from the real ones, are dropped.
#[test]
fn underscored_names_are_dropped() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1.2.3.4\r\nX-Real: b_c\r\n\r\n";
    let head = seen_by_origin(&[], request);
    assert!(!head.has("x_forwarded_for"), "{head:?}");
    assert_eq!(head.value("x-real"), Some("b_c"));
}

/// RFC 9112 §9.3: `Connection: close` of the client ends its connection, not the one to the origin.
#[test]
fn close_of_the_client_spares_the_upstream() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::of(&origin);
    for _ in 0..3 {
        let mut client = proxy.client();
        let response = client.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert!(response.head.lists("connection", "close"));
        client.assert_closed();
    }
    assert_eq!(origin.accepted(), 1);
}

/// The end of a connection leaves in one packet with the end of its last response: who has read the one, finds the other
/// without waiting. Whichever way the response is framed.
#[test]
fn the_end_comes_with_the_last_response() {
    let origin = Origin::serve(|request| match request.head.target() {
        "/length" => ok("fine"),
        "/chunked" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n".into(),
        "/empty" => ok(""),
        _ => b"HTTP/1.1 304 Not Modified\r\n\r\n".into(),
    });
    let proxy = Proxy::of(&origin);
    for path in ["/length", "/chunked", "/empty", "/none"].repeat(8) {
        let mut client = TcpStream::connect(proxy.addr()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).unwrap();
        let mut bytes = [0; 4096];
        let read = client.read(&mut bytes).unwrap();
        assert!(bytes[..read].starts_with(b"HTTP/1.1 "), "{path}");
        client.set_nonblocking(true).unwrap();
        assert!(matches!(client.read(&mut bytes), Ok(0)), "{path}");
    }
}

/// As above, where the response is over before its request: the rest of that is not waited for.
#[test]
fn an_early_end_comes_with_its_response() {
    let origin = Origin::start(|mut conn| {
        let _ = conn.request_head();
        conn.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!");
        conn.until_end();
    });
    let proxy = Proxy::of(&origin);
    let mut client = TcpStream::connect(proxy.addr()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n").unwrap();
    let mut bytes = [0; 4096];
    let read = client.read(&mut bytes).unwrap();
    assert!(bytes[..read].ends_with(b"no!"), "{}", String::from_utf8_lossy(&bytes[..read]));
    client.set_nonblocking(true).unwrap();
    assert!(matches!(client.read(&mut bytes), Ok(0)));
}
