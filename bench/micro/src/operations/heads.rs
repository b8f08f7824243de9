//! Heads: understood, and rewritten for the other side.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use ringress::h1::head::{Parsed, parse_request, parse_response};
use ringress::h1::{Fields, HeadError, HeadScan, Method, RequestHead, ResponseHead, Version};
use ringress::limits::MessageLimits;
use ringress::proxy::edits;
use ringress::proxy::flow::Outgoing;
use ringress::proxy::forward::{self, Hop, Reply, Source};

use super::Operation;

/// As wrk asks, with a field of a script.
const WRK: &[u8] = b"GET /bytes/100 HTTP/1.1\r\n\
    Host: 127.0.0.1:8080\r\n\
    User-Agent: wrk/4.1.0\r\n\
    Accept: */*\r\n\
    \r\n";

/// As a browser asks for a page behind a login: 15 fields.
const BROWSER: &[u8] = b"GET /shop/articles/4711?sort=price&page=2&ref=newsletter HTTP/1.1\r\n\
    Host: shop.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Language: de,en-US;q=0.7,en;q=0.3\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://shop.example.com/shop/articles?sort=price\r\n\
    DNT: 1\r\n\
    Connection: keep-alive\r\n\
    Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; basket=c9f0f895fb98ab9159f51fd0297e236d\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-User: ?1\r\n\
    Priority: u=0, i\r\n\
    \r\n";

/// As an application server answers: 8 fields.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Server: app/1.4.2\r\n\
    Content-Type: text/html; charset=utf-8\r\n\
    Content-Length: 18734\r\n\
    Cache-Control: private, max-age=0\r\n\
    ETag: \"33a64df551425fcc55e4d42a148795d9f25f89d4\"\r\n\
    Vary: Accept-Encoding, Cookie\r\n\
    Connection: keep-alive\r\n\
    \r\n";

/// Room for every head made here.
const OUT_BYTES: usize = 4096;

/// The operations on heads.
///
/// # Errors
/// A head is refused.
pub fn operations() -> Result<Vec<Operation>, String> {
    Ok(vec![
        parses_request("request-parse-wrk", "request head of 3 fields parsed", WRK)?,
        parses_request("request-parse-browser", "request head of 15 fields parsed", BROWSER)?,
        forwards_request("request-forward-wrk", "request head of 3 fields rewritten for the origin", WRK)?,
        forwards_request(
            "request-forward-browser",
            "request head of 15 fields rewritten for the origin",
            BROWSER,
        )?,
        parses_response()?,
        forwards_response()?,
    ])
}

fn parses_request(name: &'static str, what: &'static str, bytes: &'static [u8]) -> Result<Operation, String> {
    let (mut fields, limits) = (Fields::new(), MessageLimits::default());
    understood(name, parse_request(bytes, &limits, &mut fields))?;
    Ok(Operation::hot(name, what, move || {
        let bytes = black_box(bytes);
        if black_box(HeadScan::default().grew(bytes)) {
            let _ = black_box(parse_request(bytes, &limits, &mut fields));
        }
    }))
}

fn forwards_request(
    name: &'static str,
    what: &'static str,
    bytes: &'static [u8],
) -> Result<Operation, String> {
    let mut fields = Fields::new();
    let head: RequestHead = understood(name, parse_request(bytes, &MessageLimits::default(), &mut fields))?;
    let mut out = Vec::with_capacity(OUT_BYTES);
    Ok(Operation::hot(name, what, move || {
        out.clear();
        let source = Source { bytes: black_box(bytes), fields: &fields };
        forward::request(black_box(&head), source, hop(), forward::Route::PLAIN, &mut out);
        black_box(&mut out);
    }))
}

fn hop() -> Hop<'static> {
    Hop {
        client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 17)),
        trusted: false,
        scheme: "http",
        http2: false,
        client_subject: None,
        request_id: black_box(b"0123456789abcdef0123456789abcdef"),
        forwarded: false,
        allow_underscores: false,
    }
}

fn parses_response() -> Result<Operation, String> {
    const NAME: &str = "response-parse";
    let (mut fields, limits) = (Fields::new(), MessageLimits::default());
    understood(NAME, parse_response(RESPONSE, &limits, Method::Get, &mut fields))?;
    Ok(Operation::hot(NAME, "response head of 8 fields parsed", move || {
        let bytes = black_box(RESPONSE);
        if black_box(HeadScan::default().grew(bytes)) {
            let _ = black_box(parse_response(bytes, &limits, Method::Get, &mut fields));
        }
    }))
}

fn forwards_response() -> Result<Operation, String> {
    const NAME: &str = "response-forward";
    let mut fields = Fields::new();
    let parsed = parse_response(RESPONSE, &MessageLimits::default(), Method::Get, &mut fields);
    let head: ResponseHead = understood(NAME, parsed)?;
    let mut out = Vec::with_capacity(OUT_BYTES);
    Ok(Operation::hot(NAME, "response head of 8 fields rewritten for the client", move || {
        out.clear();
        let source = Source { bytes: black_box(RESPONSE), fields: &fields };
        forward::response(black_box(&head), source, reply(), &mut out);
        black_box(&mut out);
    }))
}

fn reply() -> Reply<'static> {
    Reply {
        version: Version::Http11,
        method: Method::Get,
        outgoing: Outgoing::Same,
        keep_alive: black_box(true),
        edits: &edits::NONE,
        sticky: None,
        date: b"Sun, 06 Nov 1994 08:49:37 GMT",
    }
}

fn understood<T>(name: &str, parsed: Result<Parsed<T>, HeadError>) -> Result<T, String> {
    match parsed {
        Ok(Parsed::Complete(head)) => Ok(head),
        Ok(Parsed::Partial) => Err(format!("{name}: its head does not end")),
        Err(error) => Err(format!("{name}: its head is refused: {error:?}")),
    }
}
