//! Goal: connections to an origin of HTTP/2 are shared, added, left and asked for their life as they should be, and no request
//! is lost with one that could be asked again. Method: as in [`crate::http2_origin`], over connections instead of streams.

use std::time::{Duration, Instant};

use h2::Reason;
use h2::server::Builder;
use http::HeaderValue;

use crate::harness::*;
use crate::http2_origin::{answer, proxy_to};

/// A burst of requests makes one connection, by one of them; the others wait for it.
#[test]
fn a_burst_makes_one_connection() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &[]);
    let mut clients: Vec<Peer> = (0..20).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send(get("/")));
    let asked: Vec<_> = (0..20).map(|_| origin.next()).collect();
    for mut asked in asked {
        asked.respond.send_response(answer(204), true).unwrap();
    }
    clients.iter_mut().for_each(|client| assert_eq!(client.head().status(), 204));
    assert_eq!(origin.accepted(), 1);
}

/// When the streams that the origin allows are taken, another connection is made.
#[test]
fn connections_are_added_when_streams_run_out() {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(2);
    let origin = Http2Origin::start_with(builder);
    let proxy = proxy_to(&origin, &[]);
    let mut clients: Vec<Peer> = (0..6).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send(get("/")));
    let asked: Vec<_> = (0..6).map(|_| origin.next()).collect();
    for connection in 0..3 {
        assert_eq!(asked.iter().filter(|asked| asked.connection == connection).count(), 2);
    }
    for mut asked in asked {
        asked.respond.send_response(answer(204), true).unwrap();
    }
    clients.iter_mut().for_each(|client| assert_eq!(client.head().status(), 204));
}

/// GOAWAY: what runs finishes, what comes goes to a new connection.
#[test]
fn a_goaway_is_obeyed() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &[]);
    let mut running = proxy.client();
    running.send(get("/running"));
    let mut asked = origin.next();
    let mut down = asked.respond.send_response(answer(200), false).unwrap();
    running.head();
    origin.leave();
    eventually("a request to go elsewhere", || {
        let mut next = proxy.client();
        next.send(get("/next"));
        let mut asked = origin.next();
        asked.respond.send_response(answer(204), true).unwrap();
        assert_eq!(next.head().status(), 204);
        (asked.connection > 0).then_some(())
    });
    down.send_data("still here".into(), true).unwrap();
    assert_eq!(running.chunked().bytes, b"still here");
    assert_eq!(origin.accepted(), 2);
}

/// REFUSED_STREAM says that nothing was done: the request goes out again, even a POST.
#[test]
fn a_refused_stream_is_asked_again() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &[]);
    for request in [get("/again"), "POST /again HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".to_owned()]
    {
        let mut client = proxy.client();
        client.send(request);
        origin.next().respond.send_reset(Reason::REFUSED_STREAM);
        origin.next().respond.send_response(answer(204), true).unwrap();
        assert_eq!(client.head().status(), 204);
    }
    assert_eq!(proxy.log_for("/again").get("retries"), "1");
}

/// Refused again and again, or with a body too large to be kept, it is the client's to try again: one of HTTP/2 is told that
/// it may. A body that was kept goes out again from its start.
#[test]
fn a_refusal_that_stands_is_passed_on() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &[]);
    let mut old = proxy.client();
    old.send(get("/twice"));
    for _ in 0..3 {
        origin.next().respond.send_reset(Reason::REFUSED_STREAM);
    }
    let head = old.head();
    assert_eq!(head.status(), 502);
    assert!(head.value("proxy-status").unwrap().contains("stream-refused"), "{head:?}");

    let mut client = Http2::connect(proxy.addr());
    let mut opened = client.open(post2("/kept"), false);
    opened.body.send_data("x".into(), false).unwrap();
    let mut asked = origin.next();
    assert_eq!(origin.data(&mut asked.body).unwrap().unwrap(), "x");
    asked.respond.send_reset(Reason::REFUSED_STREAM);
    let mut asked = origin.next();
    assert_eq!(origin.data(&mut asked.body).unwrap().unwrap(), "x", "again");
    opened.body.send_data("y".into(), true).unwrap();
    assert_eq!(origin.data(&mut asked.body).unwrap().unwrap(), "y", "and what follows");
    asked.respond.send_response(answer(204), true).unwrap();
    assert_eq!(client.wait(opened.response).unwrap().status(), 204);

    let mut opened = client.open(post2("/begun"), false);
    opened.body.send_data(vec![b'x'; 17 * 1024].into(), false).unwrap();
    let mut asked = origin.next();
    let mut arrived = 0;
    while arrived < 17 * 1024 {
        arrived += origin.data(&mut asked.body).unwrap().unwrap().len();
    }
    asked.respond.send_reset(Reason::REFUSED_STREAM);
    let error = client.wait(opened.response).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::REFUSED_STREAM));
    let line = proxy.log_for("/begun");
    assert_eq!((line.get("status"), line.get("detail"), line.get("retries")), ("502", "stream-refused", "0"));
}

/// Any other reset is an answer: the request is not asked again, and the code is said.
#[test]
fn a_reset_is_an_answer() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &[]);
    for (code, detail, status) in [
        (Reason::INTERNAL_ERROR, "reset-internal-error", "13"),
        (Reason::ENHANCE_YOUR_CALM, "reset-enhance-your-calm", "8"),
        (Reason::CANCEL, "reset-cancel", "1"),
        (Reason::HTTP_1_1_REQUIRED, "reset-http-1-1-required", "13"),
        (Reason::INADEQUATE_SECURITY, "reset-before-response", "7"),
    ] {
        let mut client = proxy.client();
        client.send(get(&format!("/{detail}")));
        origin.next().respond.send_reset(code);
        let head = client.head();
        assert_eq!(head.status(), 502);
        assert!(head.value("proxy-status").unwrap().contains(detail), "{head:?}");
        assert_eq!(proxy.log_for(&format!("/{detail}")).get("retries"), "0");

        let mut caller = Http2::connect(proxy.addr());
        let mut call = post2("/call");
        call.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        let opened = caller.open(call, true);
        origin.next().respond.send_reset(code);
        assert_eq!(caller.head(opened.response).0.headers()["grpc-status"], status, "{detail}");
    }
    assert_eq!(origin.accepted(), 1);
}

/// What a GOAWAY leaves out was not looked at, whatever code it has.
#[test]
fn what_a_goaway_leaves_out_is_asked_again() {
    const HEADERS: u8 = 1;
    let origin = Origin::start(|mut conn| {
        conn.send([0, 0, 0, 4, 0, 0, 0, 0, 0]); // SETTINGS
        conn.exactly(24); // the preface
        loop {
            let Some(head) = conn.try_exactly(9) else { return };
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            conn.exactly(length);
            if head[3] == HEADERS {
                break;
            }
        }
        if conn.number == 0 {
            conn.send([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11]); // GOAWAY, last 0, ENHANCE_YOUR_CALM
        } else {
            conn.send([0, 0, 1, HEADERS, 5, 0, 0, 0, 1, 0x89]); // :status 204
        }
        let _ = conn.until_end();
    });
    let proxy = Proxy::to(&[&format!("h2c://{}", origin.addr)], &[]);
    let head = proxy.client().exchange("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").head;
    assert_eq!((head.status(), origin.accepted()), (204, 2));
}

/// An origin that allows no streams is not kept company: its connection is closed, and the client told to try again.
#[test]
fn an_origin_without_streams_is_left() {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(0);
    let origin = Http2Origin::start_with(builder);
    let proxy = proxy_to(&origin, &[]);
    for _ in 0..5 {
        assert_eq!(proxy.get("/").head.status(), 502);
    }
    let mut client = Http2::connect(proxy.addr());
    let opened = client.open(get2("/"), true);
    assert_eq!(client.wait(opened.response).unwrap_err().reason(), Some(Reason::REFUSED_STREAM));
    eventually("they are closed", || (origin.open() == 0).then_some(()));
}

/// A connection that dies between two requests costs the next one nothing.
#[test]
fn a_lost_connection_is_replaced() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &[]);
    for _ in 0..3 {
        let mut client = proxy.client();
        client.send(get("/"));
        origin.next().respond.send_response(answer(204), true).unwrap();
        assert_eq!(client.head().status(), 204);
        origin.vanish();
        eventually("it has gone", || (origin.open() == 0).then_some(()));
    }
}

/// Without streams a connection is closed after `--upstream-idle-timeout`, and with a GOAWAY.
#[test]
fn idle_connections_are_closed() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &["--upstream-idle-timeout", "1s"]);
    let mut client = proxy.client();
    client.send(get("/"));
    let mut asked = origin.next();
    let mut down = asked.respond.send_response(answer(200), false).unwrap();
    client.head();
    std::thread::sleep(Duration::from_millis(1500)); // busy for longer than it may be idle
    let since = Instant::now();
    down.send_data("x".into(), true).unwrap();
    assert_eq!(client.chunked().bytes, b"x");
    eventually("its end", || (origin.open() == 0).then_some(()));
    assert_took(since, Duration::from_secs(1));
}

/// After `--upstream-age-max` a connection takes no more streams, and is closed when its last one ends.
#[test]
fn old_connections_take_no_more() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &["--upstream-age-max", "500ms"]);
    let (mut old, mut new) = (proxy.client(), proxy.client());
    old.send(get("/"));
    let mut first = origin.next();
    std::thread::sleep(Duration::from_millis(800));
    new.send(get("/"));
    let mut second = origin.next();
    assert_eq!((first.connection, second.connection), (0, 1));
    for (asked, client) in [(&mut first, &mut old), (&mut second, &mut new)] {
        asked.respond.send_response(answer(204), true).unwrap();
        assert_eq!(client.head().status(), 204);
    }
    eventually("both are closed", || (origin.open() == 0).then_some(()));
}

/// A drain lets streams end, and then goes at once: with a GOAWAY, and no wait for idle connections.
#[test]
fn a_drain_waits_for_streams_alone() {
    let origin = Http2Origin::start();
    let mut proxy = proxy_to(&origin, &["--workers", "2"]);
    let mut clients: Vec<Peer> = (0..4).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send(get("/")));
    let mut asked: Vec<_> = (0..4).map(|_| origin.next()).collect();
    let last = asked.pop().unwrap();
    for mut asked in asked {
        asked.respond.send_response(answer(204), true).unwrap();
    }
    proxy.terminate();
    std::thread::sleep(Duration::from_millis(200)); // the drain is under way
    assert!(origin.open() >= 1, "the last stream's connection is gone");
    let since = Instant::now();
    let mut respond = last.respond;
    respond.send_response(answer(204), true).unwrap();
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(since.elapsed() < SLACK, "{:?}", since.elapsed());
    assert!(clients.iter_mut().filter_map(Peer::try_head).all(|head| head.status() == 204));
    eventually("all are closed", || (origin.open() == 0).then_some(()));
}

/// A connection that answers nothing, not even PING, is given up: its streams end.
#[test]
fn a_dead_connection_is_found_out() {
    let mute = Origin::start(|mut conn| {
        conn.send([0, 0, 0, 4, 0, 0, 0, 0, 0]); // SETTINGS, and never again a word
        let _ = conn.until_end();
    });
    let upstream = format!("h2c://{}", mute.addr);
    let proxy = Proxy::to(&[&upstream], &["--upstream-ping", "1s"]);
    let since = Instant::now();
    let head = proxy.get("/").head;
    assert_eq!(head.status(), 502);
    assert!(head.value("proxy-status").unwrap().contains("connection_terminated"), "{head:?}");
    assert_took(since, Duration::from_secs(2)); // a second of silence, one more for the answer
    eventually("the reason", || proxy.stderr().contains("does not answer PING").then_some(()));
}

/// A connection that answers PING may be silent as long as it likes.
#[test]
fn a_quiet_connection_lives() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &["--upstream-ping", "1s"]);
    let mut client = proxy.client();
    client.send(get("/"));
    let mut asked = origin.next();
    std::thread::sleep(Duration::from_millis(3500));
    asked.respond.send_response(answer(204), true).unwrap();
    assert_eq!(client.head().status(), 204);
}

/// An origin that speaks HTTP/1.1 is found out before a request is lost on it: the next one gets it, or a 502 says so.
#[test]
fn an_origin_of_http1_is_passed_over() {
    let wrong = Origin::start(|mut conn| {
        let _ = conn.try_send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        let _ = conn.until_end();
    });
    let right = Http2Origin::start().serve(|_, body| (answer(200), body.to_vec()));
    let wrong = format!("h2c://{}", wrong.addr);
    let proxy = Proxy::to(&[&wrong, &right.upstream()], &[]);
    for _ in 0..3 {
        assert_eq!(proxy.client().exchange(post("/", "whole")).text(), "whole");
    }
    let mut proxy = Proxy::to(&[&wrong], &[]);
    for _ in 0..3 {
        let head = proxy.get("/").head;
        assert_eq!(head.status(), 502);
        assert!(head.value("proxy-status").unwrap().contains("not-http2"), "{head:?}");
    }
    proxy.terminate();
    proxy.wait();
    let said = proxy.stderr();
    assert_eq!(said.matches("cannot connect").count(), 1, "{said}");
    assert!(!said.contains("is back"), "it never was: {said}");
}
