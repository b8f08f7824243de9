//! Goal: a client of HTTP/2 gets what one of HTTP/1.1 gets, stream by stream. Method: `h2` as the client, by prior
//! knowledge, scripted origins behind; raw frames where no library would send them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::ext::Protocol;
use http::{HeaderMap, HeaderValue, Method, Request};

use crate::harness::frames::code::CANCEL;
use crate::harness::frames::flag::{END_HEADERS, END_STREAM};
use crate::harness::frames::kind::{GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS};
use crate::harness::frames::{Frame, Frames, frame, literal, request, reset, settings, window};
use crate::harness::*;

/// Head, body and forwarding fields are what they would be in HTTP/1.1; the log says what was spoken.
#[test]
fn requests_are_served() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::of(&origin);
    let mut client = Http2::connect(proxy.addr());
    let mut request = get2("/page?q=1");
    request.headers_mut().append("cookie", HeaderValue::from_static("a=1"));
    request.headers_mut().append("cookie", HeaderValue::from_static("b=2"));
    request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    let response = client.exchange(request);
    assert_eq!(response.head.status(), 200);
    assert_eq!(response.body, b"fine");
    assert_eq!(response.head.headers()["content-length"], "4");
    assert!(response.head.headers().contains_key("date"));
    let head = &origin.heads_for("/page?q=1")[0];
    assert_eq!(head.value("Host"), Some("wire.test"));
    assert_eq!(head.values("Cookie"), ["a=1; b=2"]);
    assert_eq!(head.value("Via"), Some("2.0 ringress"));
    assert_eq!(head.value("TE"), Some("trailers"));
    assert_eq!(head.value("X-Forwarded-Proto"), Some("http"));
    assert!(!head.has("Transfer-Encoding") && !head.has("Content-Length"));
    let line = proxy.log_for("/page");
    assert_eq!((line.get("proto"), line.get("status"), line.get("bytes_out")), ("HTTP/2.0", "200", "4"));
}

/// HEAD, 204, 304 and empty bodies end with their head; lengths are kept where they mean something.
#[test]
fn responses_without_a_body_end_with_their_head() {
    let origin = Origin::serve(|request| match request.head.target() {
        "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "/304" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n".to_vec(),
        "/head" => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".to_vec(),
        _ => ok(""),
    });
    let proxy = Proxy::of(&origin);
    let mut client = Http2::connect(proxy.addr());
    for (method, path, status, length) in [
        (Method::GET, "/204", 204, None),
        (Method::GET, "/304", 304, Some("9")),
        (Method::HEAD, "/head", 200, Some("9")),
        (Method::GET, "/empty", 200, Some("0")),
    ] {
        let mut request = get2(path);
        *request.method_mut() = method;
        let opened = client.open(request, true);
        let (head, body) = client.head(opened.response);
        assert!(body.is_end_stream(), "{path}");
        assert_eq!(head.status(), status);
        assert_eq!(
            head.headers().get("content-length").map(|value| value.to_str().unwrap()),
            length,
            "{path}"
        );
    }
}

/// What the origin flushes arrives at once, and trailers behind it.
#[test]
fn streams_arrive_as_they_are_sent() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |mut conn| {
        while conn.request_head().is_some() {
            conn.send(CHUNKED.to_owned() + &chunk("one"));
            held.pass();
            conn.send(chunk("two") + "0\r\nX-Sum: 7\r\n\r\n");
        }
    });
    let proxy = Proxy::of(&origin);
    let mut client = Http2::connect(proxy.addr());
    let opened = client.open(get2("/events"), true);
    let (head, mut body) = client.head(opened.response);
    assert!(!head.headers().contains_key("transfer-encoding"));
    assert_eq!(client.data(&mut body).unwrap().unwrap(), "one");
    gate.open();
    let (rest, trailers) = client.rest(body).unwrap();
    assert_eq!(rest, b"two");
    assert_eq!(trailers.unwrap()["x-sum"], "7");
}

/// A request body streams up as it comes, with its trailers, while the response streams down.
#[test]
fn both_directions_stream_at_once() {
    let origin = Origin::start(|mut conn| {
        let head = conn.request_head().unwrap();
        assert!(head.lists("Transfer-Encoding", "chunked"));
        conn.send(CHUNKED);
        loop {
            match conn.chunk() {
                Chunk::Data(data) => conn.send(chunk(&String::from_utf8(data).unwrap().to_uppercase())),
                Chunk::Last(trailers) => {
                    let sum = trailers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-sum")).unwrap();
                    conn.send(format!("0\r\nX-Sum: {}\r\n\r\n", sum.1));
                    return;
                }
                Chunk::Cut => panic!("the request was cut"),
            }
        }
    });
    let proxy = Proxy::of(&origin);
    let mut client = Http2::connect(proxy.addr());
    let mut opened = client.open(post2("/echo"), false);
    let mut echo = None;
    for word in ["one", "two", "three"] {
        opened.body.send_data(Bytes::from_static(word.as_bytes()), false).unwrap();
        if echo.is_none() {
            let response = client.wait(&mut opened.response).unwrap();
            echo = Some(response.into_body());
        }
        let echoed = client.data(echo.as_mut().unwrap()).unwrap().unwrap();
        assert_eq!(echoed, word.to_uppercase());
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("3"));
    opened.body.send_trailers(trailers).unwrap();
    let (rest, trailers) = client.rest(echo.unwrap()).unwrap();
    assert!(rest.is_empty());
    assert_eq!(trailers.unwrap()["x-sum"], "3");
}

/// Large bodies both ways, with and without a known length, arrive byte for byte.
#[test]
fn large_bodies_arrive_whole() {
    const SIZE: usize = 3_000_000;
    let content: Arc<Vec<u8>> = Arc::new((0..=250u8).cycle().take(SIZE).collect());
    let expected = Arc::clone(&content);
    let origin = Origin::start(move |mut conn| {
        while let Some(request) = conn.request() {
            assert!(request.body.bytes == *expected, "the upload was changed");
            let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").into_bytes();
            response.extend_from_slice(&expected);
            conn.send(response);
        }
    });
    let proxy = Proxy::of(&origin);
    let mut client = Http2::connect(proxy.addr());
    for length in [None, Some(SIZE)] {
        let mut request = post2("/upload");
        if let Some(length) = length {
            request.headers_mut().insert("content-length", HeaderValue::from(length));
        }
        let mut opened = client.open(request, false);
        let mut at = 0;
        while at < SIZE {
            opened.body.reserve_capacity((SIZE - at).min(100_000));
            let body = &mut opened.body;
            if body.capacity() == 0 {
                client.wait(std::future::poll_fn(|cx| body.poll_capacity(cx))).unwrap().unwrap();
            }
            let room = opened.body.capacity();
            let end = (at + room).min(SIZE);
            opened.body.send_data(Bytes::copy_from_slice(&content[at..end]), end == SIZE).unwrap();
            at = end;
        }
        let (head, body) = client.head(opened.response);
        assert_eq!(head.status(), 200);
        assert!(client.rest(body).unwrap().0 == *content, "the download was changed");
    }
}

/// A hundred streams at once are served on one connection.
#[test]
fn streams_are_served_side_by_side() {
    const STREAMS: usize = 100;
    let gate = Gate::new();
    let held = gate.clone();
    let waiting = Arc::new(AtomicUsize::new(0));
    let arrived = Arc::clone(&waiting);
    let origin = Origin::start(move |mut conn| {
        while let Some(head) = conn.request_head() {
            arrived.fetch_add(1, Ordering::SeqCst);
            held.pass();
            conn.send(ok(head.target()));
        }
    });
    let proxy = Proxy::of(&origin);
    let mut client = Http2::connect(proxy.addr());
    let opened: Vec<Opened> = (0..STREAMS).map(|i| client.open(get2(&format!("/{i}")), true)).collect();
    eventually("all requests to be with the origin", || {
        (waiting.load(Ordering::SeqCst) == STREAMS).then_some(())
    });
    (0..STREAMS).for_each(|_| gate.open());
    for (i, opened) in opened.into_iter().enumerate() {
        let (_, body) = client.head(opened.response);
        assert_eq!(client.rest(body).unwrap().0, format!("/{i}").as_bytes());
    }
}

/// A client that does not read one stream stalls that stream's origin, and no other stream.
#[test]
fn a_stalled_stream_stalls_its_origin_alone() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let origin = Origin::start(move |mut conn| {
        while let Some(head) = conn.request_head() {
            if head.target() == "/small" {
                conn.send(ok("fine"));
                continue;
            }
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
            while conn.try_send([7; 65536]).is_ok() {
                counted.fetch_add(65536, Ordering::SeqCst);
            }
            return;
        }
    });
    let proxy = Proxy::of(&origin);
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(65_535).initial_connection_window_size(1 << 20);
    let mut client = Http2::connect_with(proxy.addr(), &builder);
    let opened = client.open(get2("/large"), true);
    let (_, stalled) = client.head(opened.response);
    let mut before = 0;
    eventually("the origin to stall", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = sent.load(Ordering::SeqCst);
        (std::mem::replace(&mut before, now) == now).then_some(())
    });
    assert!(before < 16 << 20, "the origin could send {before} bytes");
    assert_eq!(client.exchange(get2("/small")).body, b"fine");
    drop((stalled, opened.body));
    assert_eq!(proxy.log_for("/large").get("detail"), "client-gone");
}

/// A client that opens its window a few bytes at a time makes no progress that counts: `--write-timeout` cuts it.
#[test]
fn a_dribbling_window_is_cut() {
    let origin = Origin::serve(|_| ok(&"x".repeat(200_000)));
    let proxy = Proxy::with(&origin, &["--write-timeout", "600ms"]);
    let mut client = Http2::connect_narrow(proxy.addr(), 64);
    let opened = client.open(get2("/large"), true);
    let (_, mut body) = client.head(opened.response);
    let since = std::time::Instant::now();
    let reason = loop {
        match client.data(&mut body) {
            Some(Ok(_)) => std::thread::sleep(Duration::from_millis(20)), // so much the script is about
            Some(Err(error)) => break error.reason(),
            None => panic!("64 bytes each 20 ms were enough"),
        }
    };
    assert_eq!(reason, Some(Reason::CANCEL));
    assert_took(since, Duration::from_millis(600));
    assert_eq!(proxy.log_for("/large").get("phase"), "write");
}

/// An answer of the proxy's own that waits for the client's window ends when its stream does, however that ends; the
/// worker serves on. So does a response of an origin.
#[test]
fn what_waits_for_a_window_ends_with_its_stream() {
    let origin = Origin::serve(|_| ok(&"x".repeat(200_000)));
    let dead = Proxy::to(&[&dead_address().to_string()], &[]);
    let live = Proxy::of(&origin);
    for (proxy, status) in [(&dead, 502), (&live, 200)] {
        for end in ["/reset-stream", "/half-close", "/close", "/reset"] {
            let mut client = Frames::connect(proxy.addr());
            let get = frame(HEADERS, END_HEADERS | END_STREAM, 1, request("GET", end));
            client.send([settings(&[(4, 0)]), get].concat());
            let answer = client.until(|frame| frame.kind == HEADERS);
            assert_eq!(answer.last().map(Frame::status), Some(status), "{end}");
            let kept = match end {
                "/reset-stream" => {
                    client.send(reset(1, CANCEL));
                    Some(client)
                }
                "/half-close" => {
                    client.peer.half_close();
                    Some(client)
                }
                "/close" => {
                    client.peer.close();
                    None
                }
                _ => {
                    client.peer.reset();
                    None
                }
            };
            assert_eq!(proxy.log_for(end).get("status"), status.to_string());
            assert_eq!(proxy.get("/next").head.status(), status);
            drop(kept);
        }
    }
}

/// At the drain's deadline a client that does not read is left behind, though all of its exchanges are over.
#[test]
fn a_client_that_does_not_read_delays_no_drain() {
    const STREAMS: u32 = 100; // 6 MB: more than the kernel takes; the rest waits in the connection
    let origin = Origin::serve(|_| ok(&"x".repeat(60_000)));
    let mut proxy = Proxy::with(&origin, &["--drain-timeout", "300ms"]);
    let mut client = Frames::connect_narrow(proxy.addr());
    client.send([settings(&[(4, 1 << 30)]), window(0, 1 << 30)].concat());
    for index in 0..STREAMS {
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, 2 * index + 1, request("GET", "/stuck")));
    }
    eventually("all of them to be over", || (proxy.log_lines().len() >= STREAMS as usize).then_some(()));
    let since = std::time::Instant::now();
    proxy.terminate();
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(since.elapsed() < Duration::from_millis(1_500), "{:?}", since.elapsed());
}

/// A client that reads quickly, through a small window, is served.
#[test]
fn a_small_window_is_no_crime() {
    let origin = Origin::serve(|_| ok(&"x".repeat(50_000)));
    let proxy = Proxy::with(&origin, &["--write-timeout", "2s"]);
    let mut client = Http2::connect_narrow(proxy.addr(), 512);
    assert_eq!(client.exchange(get2("/")).body.len(), 50_000);
}

/// A burst of small frames, as a client that streams messages sends it, is no flood while it is read.
#[test]
fn a_burst_of_small_frames_is_no_flood() {
    let origin = Origin::serve(|request| ok(&request.body.bytes.len().to_string()));
    let proxy = Proxy::of(&origin);
    let mut client = Http2::connect(proxy.addr());
    let mut opened = client.open(post2("/messages"), false);
    for _ in 0..6_000 {
        opened.body.send_data("0123456789".into(), false).unwrap();
    }
    opened.body.send_data(Bytes::new(), true).unwrap();
    let (_, body) = client.head(opened.response);
    assert_eq!(client.rest(body).unwrap().0, b"60000");
}

/// A reset by the client aborts its request at the origin at once.
#[test]
fn a_reset_by_the_client_aborts_at_the_origin() {
    let (tx, closed) = inbox();
    let origin = Origin::start(move |mut conn| {
        conn.request_head().unwrap();
        conn.assert_closed();
        tx.send(()).unwrap();
    });
    let proxy = Proxy::of(&origin);
    let mut client = Http2::connect(proxy.addr());
    let mut opened = client.open(get2("/wait"), true);
    eventually("the request to be with the origin", || (origin.accepted() == 1).then_some(()));
    opened.body.send_reset(Reason::CANCEL);
    closed.take();
    assert_eq!(proxy.log_for("/wait").get("detail"), "client-gone");
    assert!(client.try_open(get2("/again")).is_some(), "the connection is gone too");
}

/// A response that is cut is reset, never ended.
#[test]
fn a_cut_response_is_reset() {
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let origin = Origin::start(move |mut conn| {
            conn.request_head().unwrap();
            let piece = if framing.starts_with('C') { "part".to_owned() } else { chunk("part") };
            conn.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{piece}"));
            conn.close();
        });
        let proxy = Proxy::of(&origin);
        let mut client = Http2::connect(proxy.addr());
        let opened = client.open(get2("/cut"), true);
        let (_, body) = client.head(opened.response);
        assert_eq!(client.rest(body).unwrap_err(), Some(Reason::CANCEL), "{framing}");
    }
}

/// An origin that answers early is heard to the end; then the upload is told to stop, without blame.
#[test]
fn an_early_response_stops_the_upload() {
    let origin = Origin::start(|mut conn| {
        conn.request_head().unwrap();
        conn.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!");
        conn.close();
    });
    let proxy = Proxy::of(&origin);
    let mut client = Http2::connect(proxy.addr());
    let mut opened = client.open(post2("/upload"), false);
    opened.body.send_data(Bytes::from_static(b"some"), false).unwrap();
    let (head, body) = client.head(opened.response);
    assert_eq!(head.status(), 413);
    assert_eq!(client.rest(body).unwrap().0, b"no!");
    let body = &mut opened.body;
    let reason = client.wait(std::future::poll_fn(|cx| body.poll_reset(cx))).unwrap();
    assert_eq!(reason, Reason::NO_ERROR);
}

/// END_STREAM may come behind the last byte of a length that was announced, when the response is there already: until then
/// the stream is left alone, because there is nothing that a reset would stop.
#[test]
fn uploads_may_end_late() {
    let origin = Origin::serve(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec());
    let proxy = Proxy::of(&origin);
    let mut client = Http2::connect(proxy.addr());
    for length in [4, 0] {
        let mut request = post2("/upload");
        request.headers_mut().insert("content-length", length.into());
        let mut opened = client.open(request, false);
        opened.body.send_data(vec![b'x'; length].into(), false).unwrap();
        let (head, body) = client.head(opened.response);
        assert_eq!((head.status().as_u16(), client.rest(body).unwrap().0), (200, b"ok".to_vec()));
        let next = client.open(get2("/next"), true);
        let _ = client.head(next.response); // behind what else was said on the connection
        opened.body.send_data(Bytes::new(), true).expect("not reset");
    }

    let mut request = post2("/never");
    request.headers_mut().insert("content-length", 0.into());
    let mut opened = client.open(request, false);
    let _ = client.head(opened.response);
    let body = &mut opened.body;
    let reason = client.wait(std::future::poll_fn(|cx| body.poll_reset(cx))).unwrap();
    assert_eq!(reason, Reason::NO_ERROR);
}

/// Interim responses pass, in order.
#[test]
fn interim_responses_pass() {
    let origin = Origin::start(|mut conn| {
        conn.request_head().unwrap();
        conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        conn.send(ok("fine"));
    });
    let proxy = Proxy::of(&origin);
    let mut client = Http2::connect(proxy.addr());
    let mut opened = client.open(get2("/"), true);
    let response = &mut opened.response;
    let hints = client.wait(std::future::poll_fn(|cx| response.poll_informational(cx))).unwrap().unwrap();
    assert_eq!(hints.status(), 103);
    assert_eq!(hints.headers()["link"], "</a>");
    let (head, _) = client.head(opened.response);
    assert_eq!(head.status(), 200);
}

/// A silent origin is answered for, on its stream alone.
#[test]
fn a_silent_origin_is_a_504_on_its_stream() {
    let origin = Origin::start(|mut conn| {
        while let Some(head) = conn.request_head() {
            match head.target() {
                "/silent" => conn.assert_closed(),
                _ => conn.send(ok("fine")),
            }
        }
    });
    let proxy = Proxy::with(&origin, &["--request-timeout", "300ms"]);
    let mut client = Http2::connect(proxy.addr());
    let silent = client.open(get2("/silent"), true);
    assert_eq!(client.exchange(get2("/")).body, b"fine");
    let (head, body) = client.head(silent.response);
    assert_eq!(head.status(), 504);
    assert!(head.headers()["proxy-status"].to_str().unwrap().contains("http_response_timeout"));
    assert!(!head.headers().contains_key("connection"));
    assert!(!client.rest(body).unwrap().0.is_empty());
    assert_eq!(client.exchange(get2("/again")).body, b"fine");
}

/// RFC 8441: a WebSocket over a stream is an upgrade at the origin, bytes both ways, ends told apart.
#[test]
fn extended_connect_becomes_an_upgrade() {
    let origin = Origin::start(|mut conn| {
        let head = conn.request_head().unwrap();
        assert_eq!(head.target(), "/chat");
        assert!(head.lists("Connection", "upgrade") && head.lists("Upgrade", "websocket"));
        assert_eq!(head.value("Sec-WebSocket-Key").unwrap().len(), 24);
        assert_eq!(head.value("Sec-WebSocket-Version"), Some("13"));
        conn.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
        );
        let word = conn.exactly(4);
        conn.send(&word);
        assert_eq!(conn.until_end().0, b"");
        conn.send("bye");
    });
    let proxy = Proxy::of(&origin);
    let mut client = Http2::connect(proxy.addr());
    let request = Request::connect("http://wire.test/chat")
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .body(())
        .unwrap();
    let mut opened = client.open(request, false);
    let (head, mut body) = client.head(opened.response);
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["sec-websocket-protocol"], "chat");
    assert!(!head.headers().contains_key("sec-websocket-accept"));
    opened.body.send_data(Bytes::from_static(b"echo"), false).unwrap();
    assert_eq!(client.data(&mut body).unwrap().unwrap(), "echo");
    opened.body.send_data(Bytes::new(), true).unwrap();
    assert_eq!(client.rest(body).unwrap().0, b"bye");
}

/// `:protocol` is text of the client's: nothing but the one protocol that is served gets through it.
#[test]
fn other_protocols_reach_no_origin() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::of(&origin);
    let mut client = Http2::connect(proxy.addr());
    for protocol in ["websocket\r\nX-Injected: y", "h2c", "connect-udp", "\r\nTransfer-Encoding: chunked"] {
        let request =
            Request::connect("http://wire.test/x").extension(Protocol::from(protocol)).body(()).unwrap();
        let opened = client.open(request, false);
        assert_eq!(client.wait(opened.response).unwrap().status(), 501, "{protocol}");
    }
    assert!(origin.heads().is_empty());
}

/// A gRPC call that fails behind its head ends with a status: a reset would look like the caller's own cancel. Others are
/// reset.
#[test]
fn a_call_that_is_cut_ends_with_a_status() {
    let origin = Origin::start(|mut conn| {
        let head = conn.request_head().unwrap();
        conn.send(CHUNKED);
        conn.send(chunk("message"));
        match head.target() {
            "/dies" | "/page" => conn.close(),
            _ => conn.assert_closed(),
        }
    });
    let proxy = Proxy::with(&origin, &["--stream-idle-timeout", "500ms"]);
    let mut client = Http2::connect(proxy.addr());
    for (path, status) in [("/dies", "14"), ("/silent", "4")] {
        let mut request = post2(path);
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        let opened = client.open(request, true);
        let (_, body) = client.head(opened.response);
        let (message, trailers) = client.rest(body).unwrap();
        assert_eq!(
            (message.as_slice(), &trailers.unwrap()["grpc-status"]),
            (b"message".as_slice(), &HeaderValue::from_static(status))
        );
        assert_ne!(proxy.log_for(path).get("error"), "");
    }
    let opened = client.open(post2("/page"), true);
    let (_, body) = client.head(opened.response);
    assert_eq!(client.rest(body).unwrap_err(), Some(Reason::CANCEL));
}

/// `--http2 off`: the preface is a bad request like any other, and ALPN offers HTTP/1.1 alone.
#[test]
fn it_can_be_turned_off() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::with(&origin, &["--http2", "off"]);
    let mut client = proxy.client();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.head().status(), 505);
    assert!(proxy.get("/").text() == "fine");
}

/// The preface may come in pieces, split anywhere.
#[test]
fn the_preface_may_come_in_pieces() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::of(&origin);
    for split in 1..PREFACE.len() {
        let mut tcp = TcpStream::connect(proxy.addr()).unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.write_all(&PREFACE[..split]).unwrap();
        std::thread::sleep(Duration::from_millis(15)); // the pieces are the script
        tcp.write_all(&PREFACE[split..]).unwrap();
        tcp.write_all(&frame(SETTINGS, 0, 0, [])).unwrap();
        let mut head = [0; 9];
        tcp.read_exact(&mut head).unwrap();
        assert_eq!(head[3], SETTINGS, "split after {split}: {:?}", String::from_utf8_lossy(&head));
    }
}

/// `--header-timeout` holds for SETTINGS and for heads, however they drip in; a slow body is none of its business.
#[test]
fn heads_that_drip_in_are_cut() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::with(&origin, &["--header-timeout", "500ms"]);
    let whole = frame(HEADERS, END_STREAM | END_HEADERS, 1, GET_BLOCK);
    for (what, first, drips) in [
        ("no SETTINGS", Vec::new(), false),
        ("half a frame header", frame(SETTINGS, 0, 0, [])[..4].to_vec(), false),
        (
            "HEADERS without an end",
            [frame(SETTINGS, 0, 0, []), frame(HEADERS, 0, 1, GET_BLOCK)].concat(),
            false,
        ),
        ("HEADERS byte by byte", frame(SETTINGS, 0, 0, []), true),
    ] {
        let mut tcp = TcpStream::connect(proxy.addr()).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let since = std::time::Instant::now();
        tcp.write_all(&first).unwrap();
        for byte in whole.iter().filter(|_| drips) {
            std::thread::sleep(Duration::from_millis(60));
            if tcp.write_all(&[*byte]).is_err() {
                break;
            }
        }
        let mut rest = Vec::new();
        let _ = tcp.read_to_end(&mut rest);
        let took = since.elapsed();
        assert!(took >= Duration::from_millis(450) && took < Duration::from_secs(3), "{what}: {took:?}");
    }
}

/// When the drain deadline comes, an exchange without a head is answered, and the log says why.
#[test]
fn the_drain_deadline_is_the_drains_doing() {
    let origin = Origin::start(|mut conn| {
        conn.request_head().unwrap();
        conn.assert_closed();
    });
    let mut proxy = Proxy::with(&origin, &["--drain-timeout", "400ms"]);
    let mut client = Http2::connect(proxy.addr());
    let opened = client.open(get2("/silent"), true);
    eventually("the request to be with the origin", || (origin.accepted() == 1).then_some(()));
    proxy.terminate();
    let (head, _) = client.head(opened.response);
    assert_eq!(head.status(), 503);
    assert_eq!(proxy.wait().code(), Some(0));
    let line = proxy.log_for("/silent");
    assert_eq!((line.get("status"), line.get("detail"), line.get("phase")), ("503", "drain", "drain"));
}

/// What a peer makes a library say is not written down unasked: it could fill a disk, or stop a worker whose log nobody
/// reads.
#[test]
fn a_peer_cannot_write_the_log() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::of(&origin);
    let mut tcp = raw(&proxy);
    for _ in 0..2_000 {
        tcp.write_all(&frame(PING, 1, 0, [0; 8])).unwrap();
    }
    assert_eq!(Http2::connect(proxy.addr()).exchange(get2("/")).body, b"fine");
    assert!(!proxy.stderr().contains("PING"), "{}", proxy.stderr());
}

/// A drain lets streams finish, takes no new ones, and then closes.
#[test]
fn a_drain_lets_streams_finish() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |mut conn| {
        while conn.request_head().is_some() {
            conn.send(CHUNKED.to_owned() + &chunk("one"));
            held.pass();
            conn.send(chunk("two") + "0\r\n\r\n");
        }
    });
    let mut proxy = Proxy::of(&origin);
    let mut client = Http2::connect(proxy.addr());
    let opened = client.open(get2("/events"), true);
    let (_, mut body) = client.head(opened.response);
    assert_eq!(client.data(&mut body).unwrap().unwrap(), "one");
    proxy.terminate();
    eventually("GOAWAY", || client.try_open(get2("/late")).is_none().then_some(()));
    gate.open();
    assert_eq!(client.rest(body).unwrap().0, b"two");
    assert_eq!(client.ended(), Ok(()));
    assert_eq!(proxy.wait().code(), Some(0));
}

/// An idle connection is closed after `--keepalive-timeout`, with GOAWAY.
#[test]
fn an_idle_connection_is_closed() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::with(&origin, &["--keepalive-timeout", "300ms"]);
    let mut client = Http2::connect(proxy.addr());
    assert_eq!(client.exchange(get2("/")).body, b"fine");
    assert_eq!(client.ended(), Ok(()));
}

/// A panic in one stream resets that stream and no other.
#[test]
fn a_panic_costs_one_stream() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::of(&origin);
    let mut client = Http2::connect(proxy.addr());
    let victim = client.open(get2("/.fault/panic"), true);
    assert!(client.wait(victim.response).is_err());
    assert_eq!(client.exchange(get2("/")).body, b"fine");
}

/// Heads that HTTP/1.1 must not see are refused on their stream.
#[test]
fn malformed_heads_reach_no_origin() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::of(&origin);
    let mut client = Http2::connect(proxy.addr());
    let with = |name: &'static str, value: &'static str| {
        let mut request = get2("/bad");
        request.headers_mut().insert(name, HeaderValue::from_static(value));
        request
    };
    for request in [with("host", "other.test"), with("x-padded", " value"), with("x-padded", "value ")] {
        let what = format!("{request:?}");
        let opened = client.open(request, true);
        let refused = match client.wait(opened.response) {
            Err(error) => error.reason() == Some(Reason::PROTOCOL_ERROR),
            Ok(response) => response.status() == 400,
        };
        assert!(refused, "{what}");
    }
    let connect = Request::connect("http://wire.test:443").body(()).unwrap();
    let opened = client.open(connect, false);
    assert_eq!(client.wait(opened.response).unwrap().status(), 405);
    assert_eq!(client.exchange(get2("/")).body, b"fine");
    assert!(origin.heads_for("/bad").is_empty());
}

/// With TLS, ALPN chooses; the origin learns that TLS was spoken.
#[test]
fn alpn_chooses_http2() {
    let origin = Origin::serve(|_| ok("fine"));
    let tls = crate::tls::Tls::of(&origin);
    let port = tls.proxy.addrs[1].port();
    let ca = tls.folder.write("ca.pem", &tls.authority.pem);
    let output = std::process::Command::new("curl")
        .args(["-sS", "--http2", "--cacert", &ca, "--resolve", &format!("wire.test:{port}:127.0.0.1")])
        .args(["-w", "%{http_version} %{http_code}", &format!("https://wire.test:{port}/")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "fine2 200", "{output:?}");
    assert_eq!(origin.heads()[0].value("X-Forwarded-Proto"), Some("https"));
}

/// A listener that redirects does so whatever is spoken; the origin hears of nobody in the clear.
#[test]
fn redirects_hold_for_http2() {
    let origin = Origin::serve(|_| ok("fine"));
    let tls = crate::tls::Tls::with(&origin, &["--http-redirect", "127.0.0.1:0"]);
    let mut client = Http2::connect(tls.proxy.addrs[2]);
    let response = client.exchange(get2("/a?b=c"));
    assert_eq!(response.head.status(), 308);
    let location = format!("https://wire.test:{}/a?b=c", tls.proxy.addrs[1].port());
    assert_eq!(response.head.headers()["location"], location.as_str());
    assert!(origin.heads().is_empty());
}

/// Behind TLS, ALPN alone decides: a preface that was not agreed on is a request of HTTP/1.1, and a bad one.
#[test]
fn a_preface_behind_tls_needs_alpn() {
    let origin = Origin::serve(|_| ok("fine"));
    let tls = crate::tls::Tls::of(&origin);
    let mut client = tls.client();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.response().head.status(), 505);
}

/// `GET / HTTP/2` to `a`, in HPACK's static table.
const GET_BLOCK: &[u8] = &[0x82, 0x86, 0x84, 0x41, 0x01, b'a'];

/// A connection of raw frames.
fn raw(proxy: &Proxy) -> TcpStream {
    let mut tcp = TcpStream::connect(proxy.addr()).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.set_write_timeout(Some(PATIENCE)).unwrap();
    tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    tcp.write_all(&frame(SETTINGS, 0, 0, [])).unwrap();
    tcp
}

/// The first frame of one of these kinds; its kind and its last four bytes of fixed payload (the error code).
fn await_frame(tcp: &mut TcpStream, kinds: &[u8]) -> (u8, u32) {
    loop {
        let mut head = [0; 9];
        tcp.read_exact(&mut head).unwrap();
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        tcp.read_exact(&mut payload).unwrap();
        if kinds.contains(&head[3]) {
            let code = if head[3] == GOAWAY { &payload[4..8] } else { &payload[..4] };
            return (head[3], u32::from_be_bytes(code.try_into().unwrap()));
        }
    }
}

/// Fields that no honest client sends: the stream, or the connection, is ended with an error, and no origin hears of
/// it (RFC 9113 §8.2, §8.3).
#[test]
fn connection_fields_reach_no_origin() {
    let origin = Origin::serve(|_| ok("fine"));
    let mut proxy = Proxy::of(&origin);
    for field in [
        literal("connection", "close"),
        literal("transfer-encoding", "chunked"),
        literal("keep-alive", "1"),
        literal("proxy-connection", "x"),
        literal("upgrade", "h2c"),
        literal("te", "gzip"),
        literal("X-Upper", "1"),
        literal("x-newline", "a\r\nb: c"),
        literal("x-nul", "a\0b"),
        literal(":path", "/twice"),
        literal(":status", "200"),
        literal("x y", "1"),
        literal("host", "b"),
    ] {
        let mut tcp = raw(&proxy);
        let block = [GET_BLOCK, &field].concat();
        tcp.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).unwrap();
        let (kind, code) = await_frame(&mut tcp, &[RST_STREAM, GOAWAY]);
        assert_eq!(code, 1, "PROTOCOL_ERROR, by frame {kind}: {}", String::from_utf8_lossy(&field));
    }
    assert!(origin.heads().is_empty());
    proxy.assert_healthy();
}
