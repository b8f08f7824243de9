//! Both directions, on heads that are right and heads that are not.

use http::request::Parts;
use http::{HeaderValue, Method, Request, Response};

use super::request::Opening;
use super::{Body, Malformed, fields, request, response};
use crate::h1::head::{Parsed, parse_request, parse_response};
use crate::h1::{self, Fields, Framing};
use crate::limits::MessageLimits;
use crate::proxy::forward::Source;

const OPENING: Opening<'static> = Opening { protocol: None, websocket_key: "key", ended: true };

fn parts(request: http::request::Builder) -> Parts {
    request.body(()).unwrap().into_parts().0
}

fn written(request: http::request::Builder, opening: Opening<'_>) -> Result<(String, Body), Malformed> {
    let mut out = Vec::new();
    let body = request::write_head(&parts(request), opening, &mut out)?;
    Ok((String::from_utf8(out).unwrap(), body))
}

fn get() -> http::request::Builder {
    Request::get("https://a.test/x?y")
}

/// Goal: what is written is a head that the strict parser takes, with the framing that was meant.
#[test]
fn requests_become_heads_that_the_parser_takes() {
    let post = || Request::post("https://a.test/");
    for (request, opening, body, framing) in [
        (get(), OPENING, Body::None, Framing::None),
        (post(), Opening { ended: false, ..OPENING }, Body::Chunked, Framing::Chunked),
        (
            post().header("content-length", "7"),
            Opening { ended: false, ..OPENING },
            Body::Length,
            Framing::Length(7),
        ),
        (post().header("content-length", "0"), OPENING, Body::None, Framing::Length(0)),
        (post(), OPENING, Body::None, Framing::Length(0)),
    ] {
        let (text, written) = written(request, opening).unwrap();
        assert_eq!(written, body, "{text}");
        let mut fields = Fields::new();
        let parsed = parse_request(text.as_bytes(), &MessageLimits::default(), &mut fields).unwrap();
        let Parsed::Complete(head) = parsed else { panic!("{text}") };
        assert_eq!((head.framing, head.bytes), (framing, text.len()), "{text}");
        assert_eq!(head.authority.of(text.as_bytes()), b"a.test");
    }
}

#[test]
fn cookies_are_joined() {
    let (text, _) = written(get().header("cookie", "a=1").header("cookie", "b=2"), OPENING).unwrap();
    assert!(text.contains("cookie: a=1; b=2\r\n") && text.matches("cookie").count() == 1, "{text}");
}

#[test]
fn extended_connect_is_an_upgrade() {
    let connect = || Request::connect("https://a.test/chat");
    let opening = Opening { protocol: Some("websocket"), ended: false, ..OPENING };
    let (text, body) = written(connect(), opening).unwrap();
    assert_eq!(body, Body::Tunnel);
    assert!(text.starts_with("GET /chat HTTP/1.1\r\nhost: a.test\r\n"), "{text}");
    for line in ["connection: upgrade", "upgrade: websocket", "sec-websocket-key: key"] {
        assert!(text.contains(&format!("{line}\r\n")), "{text}");
    }
    for protocol in ["websocket\r\nX-Injected: y", "h2c", "a:b", "web socket", "\r\nX-A: b", "", "WebSocket"]
    {
        let opening = Opening { protocol: Some(protocol), ended: false, ..OPENING };
        assert_eq!(written(connect(), opening), Err(Malformed::Protocol), "{protocol}");
    }
    for opening in [OPENING, Opening { protocol: Some("websocket"), ..OPENING }] {
        assert_eq!(written(connect(), opening), Err(Malformed::Connect));
    }
    assert_eq!(written(get(), Opening { protocol: Some("websocket"), ..OPENING }), Err(Malformed::Connect));
}

/// Goal: nothing that would change meaning in HTTP/1.1 gets there (RFC 9113 §8.2, §8.3).
#[test]
fn what_http1_must_not_see_is_refused() {
    for (request, malformed) in [
        (get().header("host", "b.test"), Malformed::Authority),
        (get().header("host", "a.test").header("host", "a.test"), Malformed::Authority),
        (Request::get("/x"), Malformed::Authority),
        (get().header("x", " y"), Malformed::Padded),
        (get().header("x", "y\t"), Malformed::Padded),
        (get().header("connection", "x"), Malformed::ConnectionField),
        (get().header("transfer-encoding", "chunked"), Malformed::ConnectionField),
        (get().header("upgrade", "h2c"), Malformed::ConnectionField),
        (get().header("keep-alive", "1"), Malformed::ConnectionField),
        (get().header("proxy-connection", "x"), Malformed::ConnectionField),
        (Request::get("*").header("host", "a.test"), Malformed::Path),
        (Request::get("ftp://a.test/"), Malformed::Scheme),
    ] {
        let what = format!("{request:?}");
        assert_eq!(written(request, OPENING), Err(malformed), "{what}");
    }
    assert!(written(Request::options("*").header("host", "a.test"), OPENING).is_ok());
    assert!(written(get().header("host", "A.TEST"), OPENING).is_ok(), "the same authority");
}

fn parsed(text: &str, method: h1::Method) -> (h1::ResponseHead, Fields) {
    let mut fields = Fields::new();
    match parse_response(text.as_bytes(), &MessageLimits::default(), method, &mut fields).unwrap() {
        Parsed::Complete(head) => (head, fields),
        Parsed::Partial => panic!("{text}"),
    }
}

#[test]
fn responses_lose_what_is_of_their_connection() {
    let text = "HTTP/1.1 200 OK\r\nX-A: 1\r\nConnection: close\r\nKeep-Alive: timeout=5\r\nSet-Cookie: a\r\n\
                Set-Cookie: b\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (head, fields) = parsed(text, h1::Method::Get);
    let response = response::read_head(&head, Source { bytes: text.as_bytes(), fields: &fields }).unwrap();
    assert_eq!(response.status(), 200);
    let names: Vec<_> = response.headers().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x-a", "set-cookie", "set-cookie"]);
}

#[test]
fn switching_protocols_is_a_200() {
    let text = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
    let (head, fields) = parsed(text, h1::Method::Get);
    let response = response::read_head(&head, Source { bytes: text.as_bytes(), fields: &fields }).unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers().len(), 1);
}

/// Goal: an HTTP/2 origin's response is framed as the engine must take it. Method: every combination of end, length
/// and method, parsed again.
#[test]
fn responses_become_heads_that_the_parser_takes() {
    for (status, length, ended, method, body, framing) in [
        (200, None, false, h1::Method::Get, Body::Chunked, Framing::Chunked),
        (200, Some(5), false, h1::Method::Get, Body::Length, Framing::Length(5)),
        (200, None, true, h1::Method::Get, Body::None, Framing::Length(0)),
        (200, Some(5), true, h1::Method::Head, Body::None, Framing::None),
        (204, None, true, h1::Method::Get, Body::None, Framing::None),
        (304, Some(5), true, h1::Method::Get, Body::None, Framing::None),
    ] {
        let mut response = Response::builder().status(status);
        if let Some(length) = length {
            response = response.header("content-length", HeaderValue::from(length));
        }
        let parts = response.body(()).unwrap().into_parts().0;
        let mut out = Vec::new();
        assert_eq!(response::write_head(&parts, method, ended, &mut out), Ok(body));
        let text = String::from_utf8(out).unwrap();
        let (head, _) = parsed(&text, method);
        assert_eq!((head.status, head.framing, head.bytes), (status, framing, text.len()), "{text}");
    }
}

#[test]
fn interim_and_switching_heads_are_ones_that_the_parser_takes() {
    let parts =
        |status: u16| Response::builder().status(status).header("x-a", "b").body(()).unwrap().into_parts().0;
    let mut out = Vec::new();
    response::write_interim(&parts(103), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(parsed(&text, h1::Method::Get).0.status, 103);
    let mut out = Vec::new();
    response::write_switched(&parts(200), "key", &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let (head, _) = parsed(&text, h1::Method::Get);
    assert!(head.status == 101 && head.upgrade && text.contains("sec-websocket-accept: key\r\n"), "{text}");
    assert_eq!(response::write_interim(&parts(101), &mut Vec::new()), Err(Malformed::Head));
}

/// What the engine wrote, for an origin.
fn asked(text: &str) -> Result<Request<()>, Malformed> {
    let mut fields = Fields::new();
    let parsed = parse_request(text.as_bytes(), &MessageLimits::default(), &mut fields).unwrap();
    let Parsed::Complete(head) = parsed else { panic!("{text}") };
    request::read_head(&head, Source { bytes: text.as_bytes(), fields: &fields }, "https")
}

#[test]
fn a_head_for_an_origin_keeps_its_meaning() {
    let request = asked(
        "POST /x?y HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE\r\nContent-Length: 3\r\n\r\n",
    );
    let request = request.unwrap();
    assert_eq!(request.method(), Method::POST);
    assert_eq!(request.uri(), "https://a.test/x?y");
    let names: Vec<_> = request.headers().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["te", "content-length"]);
    let nameless = "GET / HTTP/1.1\r\nHost: \r\nA: b\r\n\r\n";
    let named = request::with_authority(nameless.as_bytes(), "origin.test:1").unwrap();
    assert_eq!(asked(std::str::from_utf8(&named).unwrap()).unwrap().uri(), "https://origin.test:1/");
    assert_eq!(request::with_authority(&named, "another"), None);
    assert_eq!(asked("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().uri().path(), "*");
}

/// Goal: a WebSocket becomes an extended CONNECT (RFC 8441 §5), another upgrade is not taken up.
#[test]
fn an_upgrade_for_an_origin_is_an_extended_connect_or_none() {
    let upgrade = |protocol: &str| {
        asked(&format!(
            "GET /w HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\nSec-WebSocket-Key: k\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n"
        ))
        .unwrap()
    };
    let websocket = upgrade("WebSocket");
    assert_eq!(websocket.method(), Method::CONNECT);
    assert_eq!(websocket.extensions().get::<h2::ext::Protocol>().unwrap().as_str(), "websocket");
    let names: Vec<_> = websocket.headers().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["sec-websocket-version"]);
    assert_eq!(upgrade("foo/2").method(), Method::GET);
}

#[test]
fn trailers_travel_both_ways() {
    let trailers = fields::read_trailers(b"Grpc-Status: 0\r\nX-A: b: c\r\nConnection: x\r\n");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["x-a"], "b: c");
    assert_eq!(trailers.len(), 2);
    let mut out = Vec::new();
    fields::write_trailers(&trailers, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "grpc-status: 0\r\nx-a: b: c\r\n");
}
