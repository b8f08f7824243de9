//! Goal: an origin of HTTP/2 is spoken to as the RFC and its users expect, and nobody in front of it can tell. Method:
//! `h2` as the origin, stream by stream under the test's hand; clients of both versions; raw bytes where no library
//! would send them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use h2::ext::Protocol;
use h2::server::Builder;
use http::{HeaderMap, HeaderValue, Method, Request, Response};

use crate::harness::*;

pub fn answer(status: u16) -> Response<()> {
    Response::builder().status(status).body(()).unwrap()
}

pub fn proxy_to(origin: &Http2Origin, flags: &[&str]) -> Proxy {
    Proxy::to(&[&origin.upstream()], flags)
}

/// What a request becomes, for clients of both versions, and that one connection carries them all.
#[test]
fn requests_are_served() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &[]);
    let mut old = proxy.client();
    let mut new = Http2::connect(proxy.addr());
    for round in 0..3 {
        old.send(get("/old?x"));
        let mut asked = origin.next();
        assert_eq!(asked.request.uri(), "http://wire.test/old?x");
        assert_eq!(asked.request.headers()["via"], "1.1 ringress");
        assert!(!asked.request.headers().contains_key("host"));
        assert!(asked.body.is_end_stream(), "a GET has no body");
        let head = Response::builder().header("content-length", 4).header("x-a", "b").body(()).unwrap();
        asked.respond.send_response(head, false).unwrap().send_data("fine".into(), true).unwrap();
        let response = old.response();
        assert_eq!((response.head.status(), response.head.value("x-a")), (200, Some("b")));
        assert_eq!(response.text(), "fine");

        let opened = new.open(get2("/new"), true);
        let mut asked = origin.next();
        assert_eq!(asked.request.headers()["via"], "2.0 ringress");
        asked.respond.send_response(answer(200), false).unwrap().send_data("more".into(), true).unwrap();
        let (head, body) = new.head(opened.response);
        assert!(!head.headers().contains_key("content-length"), "none was said");
        assert_eq!(new.rest(body).unwrap().0, b"more", "round {round}");
    }
    assert_eq!(origin.accepted(), 1);
    let line = proxy.log_for("/new");
    assert!(line.get("upstream").starts_with("h2c://127.0.0.1:"), "{}", line.get("upstream"));
}

/// HEAD, 204, 304, an empty body, and one of unknown length.
#[test]
fn responses_end_where_they_should() {
    let origin = Http2Origin::start().serve(|request, _| match request.uri().path() {
        "/204" => (answer(204), vec![]),
        "/304" => (answer(304), vec![]),
        "/head" => (Response::builder().header("content-length", 9).body(()).unwrap(), vec![]),
        "/empty" => (answer(200), vec![]),
        _ => (answer(200), b"body".to_vec()),
    });
    let proxy = Proxy::to(&[&origin.upstream()], &[]);
    let mut client = proxy.client();
    for (method, path, status, body) in [
        ("GET", "/204", 204, ""),
        ("GET", "/304", 304, ""),
        ("HEAD", "/head", 200, ""),
        ("GET", "/empty", 200, ""),
        ("GET", "/body", 200, "body"),
    ] {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: wire.test\r\n\r\n"));
        let response = client.response_to(method);
        assert_eq!((response.head.status(), response.text().as_str()), (status, body), "{path}");
    }
    let mut old = proxy.client();
    old.send("GET /body HTTP/1.0\r\n\r\n");
    let head = old.head();
    assert!(!head.has("Transfer-Encoding"), "{head:?}");
    assert_eq!(old.until_end().0, b"body");
}

/// END_STREAM may come behind the last byte of a length that was announced, or behind trailers: until then the stream is
/// left alone, because a reset would tell the origin of a request that was cancelled.
#[test]
fn responses_may_end_late() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &[]);
    let mut client = proxy.client();
    for (method, length) in [("GET", 4), ("GET", 0), ("HEAD", 4)] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: wire.test\r\n\r\n"));
        let mut asked = origin.next();
        let head = Response::builder().header("content-length", length).body(()).unwrap();
        let mut down = asked.respond.send_response(head, false).unwrap();
        if method == "GET" {
            down.send_data(vec![b'x'; length].into(), false).unwrap();
        }
        assert_eq!(client.response_to(method).head.content_length(), Some(length));
        let mut next = proxy.client();
        next.send(get("/next")); // behind what else was said on the connection
        origin.next().respond.send_response(answer(204), true).unwrap();
        assert_eq!(next.head().status(), 204);
        down.send_data(Bytes::new(), true).expect("not reset");
    }
    assert_eq!(origin.accepted(), 1);

    client.send(get("/never"));
    let mut asked = origin.next();
    let head = Response::builder().header("content-length", 0).body(()).unwrap();
    let mut down = asked.respond.send_response(head, false).unwrap();
    client.response();
    let since = Instant::now();
    assert_eq!(origin.reset(&mut down), Reason::CANCEL);
    assert_took(since, Duration::from_secs(1));
}

/// An event is with the client while the response is open, and a message with the origin while the request is.
#[test]
fn both_directions_stream() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &[]);
    let mut client = Http2::connect(proxy.addr());
    let mut opened = client.open(post2("/chat"), false);
    let mut asked = origin.next();
    let mut down = asked.respond.send_response(answer(200), false).unwrap();
    let (_, mut body) = client.head(opened.response);
    for n in 0..20 {
        opened.body.send_data(format!("ping {n}").into(), false).unwrap();
        assert_eq!(origin.data(&mut asked.body).unwrap().unwrap(), format!("ping {n}"));
        down.send_data(format!("pong {n}").into(), false).unwrap();
        assert_eq!(client.data(&mut body).unwrap().unwrap(), format!("pong {n}"));
    }
    opened.body.send_data(Bytes::new(), true).unwrap();
    assert_eq!(origin.rest(&mut asked.body).unwrap().0, b"", "the half that ended");
    down.send_data("bye".into(), true).unwrap();
    assert_eq!(client.rest(body).unwrap().0, b"bye");

    let mut old = proxy.client();
    old.send(get("/events"));
    let mut asked = origin.next();
    let mut down = asked.respond.send_response(answer(200), false).unwrap();
    old.head();
    for n in 0..5 {
        down.send_data(format!("data: {n}\n\n").into(), false).unwrap();
        assert_eq!(old.chunk(), Chunk::Data(format!("data: {n}\n\n").into_bytes()));
    }
}

/// Trailers and interim responses, whoever the client is.
#[test]
fn trailers_and_interim_responses_pass() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &[]);
    let mut client = Http2::connect(proxy.addr());
    let mut request = post2("/trailers");
    request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    let mut opened = client.open(request, false);
    opened.body.send_data("x".into(), false).unwrap();
    let trailers = HeaderMap::from_iter([("x-up".parse().unwrap(), HeaderValue::from_static("1"))]);
    opened.body.send_trailers(trailers).unwrap();
    let mut asked = origin.next();
    assert_eq!(asked.request.headers()["te"], "trailers");
    let (_, trailers) = origin.rest(&mut asked.body).unwrap();
    assert_eq!(trailers.unwrap()["x-up"], "1");
    let early = Response::builder().status(103).header("link", "</a>").body(()).unwrap();
    asked.respond.send_informational(early).unwrap();
    let mut down = asked.respond.send_response(answer(200), false).unwrap();
    down.send_data("y".into(), false).unwrap();
    let trailers = HeaderMap::from_iter([("x-down".parse().unwrap(), HeaderValue::from_static("2"))]);
    down.send_trailers(trailers.clone()).unwrap();
    let (_, body) = client.head(opened.response);
    assert_eq!(client.rest(body).unwrap().1.unwrap()["x-down"], "2");

    let mut old = proxy.client();
    old.send(get("/trailers"));
    let mut asked = origin.next();
    let early = Response::builder().status(103).header("link", "</a>").body(()).unwrap();
    asked.respond.send_informational(early).unwrap();
    let mut down = asked.respond.send_response(answer(200), false).unwrap();
    down.send_data("y".into(), false).unwrap();
    down.send_trailers(trailers).unwrap();
    let interim = old.head();
    assert_eq!((interim.status(), interim.value("link")), (103, Some("</a>")));
    let response = old.response();
    assert_eq!((response.text().as_str(), response.body.trailer("x-down")), ("y", Some("2")));
}

/// Megabytes both ways, at once.
#[test]
fn large_bodies_pass_unharmed() {
    let origin = Http2Origin::start().serve(|_, body| (answer(200), body.to_vec()));
    let proxy = Proxy::to(&[&origin.upstream()], &[]);
    let content: String = ('a'..='z').cycle().take(3 << 20).collect();
    let response = proxy.client().exchange(post("/", &content));
    assert!(response.text() == content, "the echo is another");
}

// ----- aborts

/// A side that breaks off says why, and the other side is told the same.
#[test]
fn codes_of_resets_pass() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &[]);
    let mut client = Http2::connect(proxy.addr());
    let opened = client.open(get2("/cut"), true);
    let mut asked = origin.next();
    let mut down = asked.respond.send_response(answer(200), false).unwrap();
    down.send_data("half".into(), false).unwrap();
    let (_, mut body) = client.head(opened.response);
    assert_eq!(client.data(&mut body).unwrap().unwrap(), "half");
    down.send_reset(Reason::ENHANCE_YOUR_CALM);
    assert_eq!(client.data(&mut body).unwrap().unwrap_err().reason(), Some(Reason::ENHANCE_YOUR_CALM));
    assert_eq!(proxy.log_for("/cut").get("detail"), "reset-in-response");

    let mut opened = client.open(get2("/left"), true);
    let mut asked = origin.next();
    let mut down = asked.respond.send_response(answer(200), false).unwrap();
    opened.body.send_reset(Reason::INTERNAL_ERROR);
    assert_eq!(origin.reset(&mut down), Reason::INTERNAL_ERROR);
    assert_eq!(proxy.log_for("/left").get("detail"), "client-gone");
}

/// A client of HTTP/1.1 that leaves cancels its stream, and no other; one whose response is cut sees it.
#[test]
fn clients_of_http1_cancel_and_are_cut() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &[]);
    let (mut leaving, mut staying) = (proxy.client(), proxy.client());
    leaving.send(get("/leaving"));
    let mut left = origin.next();
    staying.send(get("/staying"));
    let mut stayed = origin.next();
    let mut down = left.respond.send_response(answer(200), false).unwrap();
    leaving.head();
    leaving.cut();
    assert_eq!(origin.reset(&mut down), Reason::CANCEL);
    let mut down = stayed.respond.send_response(answer(200), false).unwrap();
    down.send_data("half".into(), false).unwrap();
    staying.head();
    assert_eq!(staying.chunk(), Chunk::Data(b"half".to_vec()));
    down.send_reset(Reason::CANCEL);
    assert_eq!(staying.until_end().0, b"", "no last chunk");
    assert_eq!((left.connection, stayed.connection, origin.accepted()), (0, 0, 1));
}

/// A response that is complete before its request is: relayed, and the upload ends.
#[test]
fn an_early_response_ends_the_upload() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &[]);
    let mut client = Http2::connect(proxy.addr());
    let mut opened = client.open(post2("/early"), false);
    opened.body.send_data("x".into(), false).unwrap();
    let mut asked = origin.next();
    let mut down = asked.respond.send_response(answer(413), false).unwrap();
    down.send_data("too much".into(), true).unwrap();
    drop((asked, down)); // NO_ERROR (RFC 9113 §8.1)
    let (head, body) = client.head(opened.response);
    assert_eq!(head.status(), 413);
    assert_eq!(client.rest(body).unwrap().0, b"too much");
    assert_eq!(proxy.log_for("/early").get("error"), "");
}

/// The deadlines are the same, and an exchange that is cut by one cancels its stream.
#[test]
fn deadlines_hold() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &["--request-timeout", "500ms", "--stream-idle-timeout", "500ms"]);
    let mut client = proxy.client();
    let since = Instant::now();
    client.send(get("/head"));
    let mut asked = origin.next();
    assert_eq!(client.response().head.status(), 504);
    assert_took(since, Duration::from_millis(500));
    let mut down = asked.respond.send_response(answer(200), false);
    if let Ok(down) = &mut down {
        assert_eq!(origin.reset(down), Reason::CANCEL);
    }
    client.send(get("/body"));
    let mut asked = origin.next();
    let mut down = asked.respond.send_response(answer(200), false).unwrap();
    let since = Instant::now();
    client.head();
    assert_eq!(origin.reset(&mut down), Reason::CANCEL);
    assert_took(since, Duration::from_millis(500));
    assert_eq!(origin.accepted(), 1, "the connection is as good as before");
}

/// A client that does not read stalls its own stream, within its window, and no other on the same connection.
#[test]
fn a_slow_client_stalls_its_stream_alone() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &[]);
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut client = Peer::connect_narrow(proxy.addr());
        client.send(get("/large"));
        let mut asked = origin.next();
        let mut down = asked.respond.send_response(answer(200), false).unwrap();
        down.send_data(vec![7; 16 << 20].into(), false).unwrap();
        stalled.push((client, asked, down));
    }
    for _ in 0..20 {
        let mut quick = proxy.client();
        quick.send(get("/quick"));
        let mut asked = origin.next();
        let mut down = asked.respond.send_response(answer(200), false).unwrap();
        down.send_data(vec![8; 300_000].into(), true).unwrap();
        quick.head();
        assert_eq!(quick.chunked().bytes.len(), 300_000);
    }
    assert_eq!(origin.accepted(), 1);
    let held = crate::workers::resident_kib(&proxy);
    assert!(held < 40 << 10, "{held} KiB are held for 20 clients that do not read");
}

/// Small frames for clients that do not read are held as bytes: as frames they would end the whole connection.
#[test]
fn small_frames_for_slow_clients_harm_nobody() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &[]);
    let mut slow = Http2::connect_narrow(proxy.addr(), 0);
    let mut quick = proxy.client();
    quick.send(get("/quick"));
    let mut neighbour = origin.next();
    let mut events = neighbour.respond.send_response(answer(200), false).unwrap();
    quick.head();
    let mut stalled: Vec<_> = (0..80)
        .map(|_| {
            let opened = slow.open(get2("/slow"), true);
            let mut asked = origin.next();
            let mut down = asked.respond.send_response(answer(200), false).unwrap();
            down.send_data("first".into(), false).unwrap();
            let (_, body) = slow.head(opened.response);
            (opened.body, body, asked, down)
        })
        .collect();
    std::thread::sleep(Duration::from_millis(100)); // each stands before a shut window now
    for (_, _, _, down) in &mut stalled {
        (0..1_500).for_each(|_| down.send_data("token".into(), false).unwrap());
    }
    for n in 0..20 {
        events.send_data(format!("event {n}").into(), false).unwrap();
        assert_eq!(quick.chunk(), Chunk::Data(format!("event {n}").into_bytes()));
        std::thread::sleep(Duration::from_millis(20)); // while the small ones come in
    }
    assert_eq!(origin.accepted(), 1);
    drop(stalled);
}

// ----- WebSockets

/// RFC 8441 behind clients of both versions: an Upgrade becomes an extended CONNECT, and a CONNECT stays one.
#[test]
fn websockets_are_tunnelled() {
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &[]);
    let mut old = proxy.client();
    old.send(
        "GET /chat HTTP/1.1\r\nHost: wire.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let mut asked = origin.next();
    assert_eq!(asked.request.method(), Method::CONNECT);
    assert_eq!(asked.request.extensions().get::<Protocol>().unwrap().as_str(), "websocket");
    assert_eq!(asked.request.uri().path(), "/chat");
    assert!(!asked.request.headers().contains_key("sec-websocket-key"));
    let mut down = asked.respond.send_response(answer(200), false).unwrap();
    let head = old.head();
    assert_eq!(head.status(), 101);
    assert_eq!(head.value("Upgrade"), Some("websocket"));
    assert_eq!(head.value("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "RFC 6455 §1.3");
    old.send("up");
    assert_eq!(origin.data(&mut asked.body).unwrap().unwrap(), "up");
    down.send_data("down".into(), false).unwrap();
    assert_eq!(old.exactly(4), b"down");
    old.half_close();
    assert_eq!(origin.rest(&mut asked.body).unwrap().0, b"", "its end");
    down.send_data("last".into(), true).unwrap();
    assert_eq!(old.until_end().0, b"last");

    let mut client = Http2::connect(proxy.addr());
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = "http://wire.test/new".parse().unwrap();
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    let mut opened = client.open(request, false);
    let mut asked = origin.next();
    assert_eq!(asked.request.method(), Method::CONNECT);
    let mut down = asked.respond.send_response(answer(200), false).unwrap();
    down.send_data("early ".into(), false).unwrap(); // it comes with the head
    let (head, body) = client.head(opened.response);
    assert_eq!(head.status(), 200);
    opened.body.send_data("up".into(), true).unwrap();
    assert_eq!(origin.rest(&mut asked.body).unwrap().0, b"up");
    down.send_data("down".into(), true).unwrap();
    assert_eq!(client.rest(body).unwrap().0, b"early down");
    let line = proxy.log_for("/new");
    assert_eq!((line.get("tunnel"), line.get("bytes_in"), line.get("bytes_out")), ("true", "2", "10"));
}

/// An origin that says no to a tunnel, and one that has none.
#[test]
fn a_tunnel_that_is_not_had_is_an_answer() {
    let upgrade = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let origin = Http2Origin::start();
    let proxy = proxy_to(&origin, &[]);
    let mut client = proxy.client();
    client.send(upgrade);
    let mut asked = origin.next();
    let mut down = asked.respond.send_response(answer(403), false).unwrap();
    down.send_data("no".into(), true).unwrap();
    let response = client.response();
    assert_eq!((response.head.status(), response.text().as_str()), (403, "no"));

    let plain = Http2Origin::start_with(Builder::new()).serve(|_, body| (answer(200), body.to_vec()));
    let head = Proxy::to(&[&plain.upstream()], &[]).client().exchange(upgrade).head;
    assert_eq!(head.status(), 502);
    assert!(head.value("proxy-status").unwrap().contains("no-extended-connect"), "{head:?}");
}

// ----- heads

/// What the proxy adds to a head that is as large as it may be is no reason to refuse it.
#[test]
fn heads_at_the_limit_pass() {
    let fields: String = (0..98).map(|n| format!("x-{n}: {n}\r\n")).collect();
    let origin = Http2Origin::start().serve(|request, _| {
        let mut head = answer(200);
        let asked = request.headers().iter().filter(|(name, _)| name.as_str().starts_with("x-")).count();
        head.headers_mut().insert("asked", asked.into());
        (0..97).for_each(|n| {
            head.headers_mut().insert(http::HeaderName::try_from(format!("x-{n}")).unwrap(), n.into());
        });
        (head, vec![])
    });
    let proxy = Proxy::to(&[&origin.upstream()], &[]);
    let head =
        proxy.client().exchange(format!("GET / HTTP/1.1\r\nHost: wire.test\r\nA: b\r\n{fields}\r\n")).head;
    assert_eq!((head.status(), head.value("asked")), (200, Some("102")), "98, and four of ours");
    let mut client = Http2::connect(proxy.addr());
    assert_eq!(client.exchange(get2("/")).head.headers().len(), 97 + 1 + 2, "and date, and content-length");
}

/// A target that HTTP/2 cannot carry is refused, and not sent as something else.
#[test]
fn what_cannot_be_said_is_refused() {
    let origin = Http2Origin::start().serve(|_, body| (answer(200), body.to_vec()));
    let proxy = Proxy::to(&[&origin.upstream()], &[]);
    let head = proxy.client().exchange("GET / HTTP/1.0\r\n\r\n").head;
    assert_eq!(head.status(), 200, "without Host, the origin's own address");
    let status = |target: &str| {
        proxy.client().exchange(format!("GET {target} HTTP/1.1\r\nHost: wire.test\r\n\r\n")).head.status()
    };
    assert_eq!(status("/%41?a=%20|{}~"), 200);
    assert_eq!(status("/?a=\"b\""), 400, "the `http` crate has no such target");
    assert_eq!(status("http://wire.test?x"), 200);
}
