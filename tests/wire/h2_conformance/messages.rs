//! Messages: requests that are well-formed, malformed in their head, and malformed later (§8).

use super::case::{Case, case, data, head};
use crate::harness::frames::code::PROTOCOL_ERROR;
use crate::harness::frames::flag::{END_HEADERS, END_STREAM, NONE, WHOLE};
use crate::harness::frames::{literal, request, settings};

/// A request with these fields behind its pseudo-fields.
fn with(method: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let fields: Vec<u8> = fields.iter().flat_map(|(name, value)| literal(name, value)).collect();
    [request(method, "/"), fields].concat()
}

/// A head of these fields and no others.
fn only(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/");
const AUTHORITY: (&str, &str) = (":authority", "wire.test");

/// Each is one request that the origin sees whole.
pub fn served() -> Vec<Case> {
    let whole = |name, block: Vec<u8>| case(name).send(head(1, WHOLE, block)).finishes(1);
    let long = |block: Vec<u8>| head(1, END_HEADERS, block);
    vec![
        whole("§8.8.1 GET", request("GET", "/")),
        whole("§8.8.2 HEAD", request("HEAD", "/")),
        whole("§8.3.1 an unusual method", request("PURGE", "/")),
        whole("§8.3.1 OPTIONS *", request("OPTIONS", "*")),
        whole("§8.3.1 a path with a query", request("GET", "/a/b?c=d")),
        whole("§8.3.1 Host in the place of :authority", only(&[METHOD, SCHEME, PATH, ("host", "wire.test")])),
        whole("§8.3.1 Host that is :authority", with("GET", &[("host", "wire.test")])),
        whole("§8.3.1 pseudo-fields in any order", only(&[AUTHORITY, PATH, SCHEME, METHOD])),
        whole("§8.2.2 TE: trailers", with("GET", &[("te", "trailers")])),
        whole("§8.2.3 a cookie in crumbs", with("GET", &[("cookie", "a=1"), ("cookie", "b=2")])),
        whole("§8.2 an empty value", with("GET", &[("x-empty", "")])),
        whole("§8.2.1 a value of obs-text", [request("GET", "/"), literal("x-obs", b"\xe9")].concat()),
        whole("§8.1.1 content-length of 0 without a body", with("POST", &[("content-length", "0")])),
        case("§8.1 POST").send(long(request("POST", "/"))).send(data(1, END_STREAM, "test")).answers(1, 200),
        case("§8.1 POST with trailers")
            .send(long(request("POST", "/")))
            .send(data(1, NONE, "test"))
            .send(head(1, WHOLE, literal("x-sum", "4")))
            .answers(1, 200),
        case("§8.1 trailers without a body")
            .send(long(request("POST", "/")))
            .send(head(1, WHOLE, literal("x-sum", "4")))
            .answers(1, 200),
        case("§8.1.1 content-length and as much DATA")
            .send(long(with("POST", &[("content-length", "8")])))
            .send(data(1, NONE, "test"))
            .send(data(1, END_STREAM, "test"))
            .answers(1, 200),
        case("§8.1.1 the end of a body may come alone")
            .send(long(with("POST", &[("content-length", "4")])))
            .send(data(1, NONE, "test"))
            .send(data(1, END_STREAM, ""))
            .answers(1, 200),
        case("§8.4 a client that forbids pushes")
            .send(settings(&[(2, 0)]))
            .send(head(1, WHOLE, request("GET", "/")))
            .answers(1, 200),
    ]
}

/// Heads that are refused before an origin hears of them.
pub fn malformed_heads() -> Vec<Case> {
    [fields(), pseudo_fields(), controls()].into_iter().flatten().collect()
}

fn malformed(name: &'static str, block: Vec<u8>) -> Case {
    case(name).send(head(1, WHOLE, block)).ends_malformed(1)
}

/// What the rules of HTTP refuse, whatever it travels in.
fn refused(name: &'static str, status: u16, block: Vec<u8>) -> Case {
    case(name).send(head(1, WHOLE, block)).answers(1, status)
}

fn fields() -> Vec<Case> {
    let field = |name, field, value| malformed(name, with("GET", &[(field, value)]));
    vec![
        field("§8.2.1 an upper-case name", "X-TEST", "ok"),
        field("§8.2.1 a name with an upper-case letter", "x-tesT", "ok"),
        field("§8.2.1 an empty name", "", "ok"),
        field("§8.2.1 a name with a space", "x y", "ok"),
        field("§8.2.1 a name with a colon", "x:y", "ok"),
        field("§8.2.1 a value that begins with a space", "x-test", " ok"),
        field("§8.2.1 a value that begins with a tab", "x-test", "\tok"),
        field("§8.2.1 a value that ends with a space", "x-test", "ok "),
        field("§8.2.1 a value that ends with a tab", "x-test", "ok\t"),
        field("§8.2.1 a value of a space", "x-test", " "),
        field("§8.2.2 connection", "connection", "keep-alive"),
        field("§8.2.2 proxy-connection", "proxy-connection", "keep-alive"),
        field("§8.2.2 keep-alive", "keep-alive", "timeout=1"),
        field("§8.2.2 transfer-encoding", "transfer-encoding", "chunked"),
        field("§8.2.2 upgrade", "upgrade", "h2c"),
        field("§8.2.2 TE other than trailers", "te", "trailers, deflate;q=0.5"),
        field("§8.3.1 Host that is not :authority", "host", "other.test"),
        field("§8.1.1 content-length of a request that has ended", "content-length", "4"),
        field("RFC 9110 §8.6 content-length that is no number", "content-length", "4a"),
        field("RFC 9110 §8.6 content-length below 0", "content-length", "-1"),
        malformed(
            "RFC 9110 §8.6 two content-lengths",
            with("GET", &[("content-length", "0"), ("content-length", "1")]),
        ),
        malformed(
            "§8.3.1 two Hosts",
            only(&[METHOD, SCHEME, PATH, ("host", "wire.test"), ("host", "wire.test")]),
        ),
    ]
}

fn pseudo_fields() -> Vec<Case> {
    let field = |name, field, value| malformed(name, with("GET", &[(field, value)]));
    let path = |name, path| malformed(name, request("GET", path));
    vec![
        field("§8.3 an unknown pseudo-field", ":test", "ok"),
        field("§8.3 a pseudo-field of responses", ":status", "200"),
        malformed(
            "§8.3 a pseudo-field behind a field",
            only(&[("x-test", "ok"), METHOD, SCHEME, PATH, AUTHORITY]),
        ),
        malformed(
            "§8.3 :authority behind a field",
            only(&[METHOD, SCHEME, PATH, ("x-test", "ok"), AUTHORITY]),
        ),
        malformed("§8.3.1 no :method", only(&[SCHEME, PATH, AUTHORITY])),
        malformed("§8.3.1 no :scheme", only(&[METHOD, PATH, AUTHORITY])),
        malformed("§8.3.1 no :path", only(&[METHOD, SCHEME, AUTHORITY])),
        malformed("§8.3.1 neither :authority nor Host", only(&[METHOD, SCHEME, PATH])),
        malformed("§8.3 nothing at all", Vec::new()),
        malformed("§8.3 no pseudo-field", only(&[("x-test", "ok")])),
        malformed("§8.3 :method twice", only(&[METHOD, METHOD, SCHEME, PATH, AUTHORITY])),
        malformed("§8.3 :scheme twice", only(&[METHOD, SCHEME, SCHEME, PATH, AUTHORITY])),
        malformed("§8.3 :path twice", only(&[METHOD, SCHEME, PATH, PATH, AUTHORITY])),
        malformed("§8.3 :authority twice", only(&[METHOD, SCHEME, PATH, AUTHORITY, AUTHORITY])),
        path("§8.3.1 an empty :path", ""),
        path("§8.3.1 :path without a slash", "index.html"),
        path("§8.3.1 :path that is a URI", "http://wire.test/"),
        path("§8.3.1 * for another method than OPTIONS", "*"),
        path("§8.3.1 :path with a space", "/a b"),
        malformed("§8.3.1 an empty :method", request("", "/")),
        malformed("§8.3.1 :method with a space", request("GET /x", "/")),
        malformed("§8.3.1 an empty :scheme", only(&[METHOD, (":scheme", ""), PATH, AUTHORITY])),
        malformed("§8.3.1 :scheme that is none", only(&[METHOD, (":scheme", "ht tp"), PATH, AUTHORITY])),
        malformed("§8.3.1 another :scheme", only(&[METHOD, (":scheme", "ftp"), PATH, AUTHORITY])),
        malformed("§8.3.1 an empty :authority", only(&[METHOD, SCHEME, PATH, (":authority", "")])),
        refused(
            "§8.3.1 user information",
            400,
            only(&[METHOD, SCHEME, PATH, (":authority", "me@wire.test")]),
        ),
        malformed(
            "§8.3.1 :authority with a path",
            only(&[METHOD, SCHEME, PATH, (":authority", "wire.test/x")]),
        ),
        malformed("§8.5 CONNECT with :path", only(&[(":method", "CONNECT"), SCHEME, PATH, AUTHORITY])),
        refused("§8.5 CONNECT", 405, only(&[(":method", "CONNECT"), AUTHORITY])),
        refused("§8.5 CONNECT without :authority", 405, only(&[(":method", "CONNECT")])),
        malformed("RFC 8441 §4 :protocol without CONNECT", with_protocol("GET")),
    ]
}

fn with_protocol(method: &str) -> Vec<u8> {
    only(&[(":method", method), (":protocol", "websocket"), SCHEME, PATH, AUTHORITY])
}

/// Control characters, which could end a line of HTTP/1.1.
fn controls() -> Vec<Case> {
    let control = |name, pseudo: [&str; 4], value: &str| {
        let names = [":method", ":scheme", ":path", ":authority"];
        let fields: Vec<(&str, &str)> = names.into_iter().zip(pseudo).collect();
        malformed(name, [only(&fields), literal("x-test", value)].concat())
    };
    vec![
        control("§8.2.1 NUL in a value", ["GET", "http", "/", "wire.test"], "a\0b"),
        control("§8.2.1 CR in a value", ["GET", "http", "/", "wire.test"], "a\rb"),
        control("§8.2.1 LF in a value", ["GET", "http", "/", "wire.test"], "a\nb: c"),
        control(
            "§8.2.1 a head of HTTP/1.1 in a value",
            ["GET", "http", "/", "wire.test"],
            "a\r\n\r\nGET /x HTTP/1.1\r\n",
        ),
        control("§10.3 LF in :path", ["GET", "http", "/\r\nx: y", "wire.test"], "a"),
        control("§10.3 NUL in :path", ["GET", "http", "/\0", "wire.test"], "a"),
        control("§10.3 LF in :method", ["GET\r\n", "http", "/", "wire.test"], "a"),
        control("§10.3 LF in :authority", ["GET", "http", "/", "wire.test\r\nx: y"], "a"),
        control("§10.3 LF in :scheme", ["GET", "http\r\nx: y", "/", "wire.test"], "a"),
        malformed("§10.3 LF in a name", [request("GET", "/"), literal("x\r\ny", "z")].concat()),
        malformed("§10.3 NUL in a name", [request("GET", "/"), literal("x\0y", "z")].concat()),
        malformed("§10.3 DEL in a name", [request("GET", "/"), literal("x\x7f", "z")].concat()),
    ]
}

/// Requests whose head is fine and whose rest is not.
pub fn malformed_bodies() -> Vec<Case> {
    let sized = |name| case(name).send(head(1, END_HEADERS, with("POST", &[("content-length", "4")])));
    let open = |name| case(name).send(head(1, END_HEADERS, request("POST", "/"))).send(data(1, NONE, "test"));
    vec![
        sized("§8.1.1 more DATA than content-length")
            .send(data(1, END_STREAM, "tests"))
            .resets(1, PROTOCOL_ERROR),
        sized("§8.1.1 less DATA than content-length")
            .send(data(1, END_STREAM, "tes"))
            .resets(1, PROTOCOL_ERROR),
        sized("§8.1.1 more DATA than content-length, in pieces")
            .send(data(1, NONE, "tes"))
            .send(data(1, END_STREAM, "test"))
            .resets(1, PROTOCOL_ERROR),
        sized("§8.1.1 less DATA than content-length, then trailers")
            .send(data(1, NONE, "tes"))
            .send(head(1, WHOLE, literal("x-sum", "3")))
            .resets(1, PROTOCOL_ERROR),
        sized("§8.1.1 no DATA for content-length").send(data(1, END_STREAM, "")).resets(1, PROTOCOL_ERROR),
        open("§8.1 a second head without END_STREAM")
            .send(head(1, END_HEADERS, literal("x-test", "ok")))
            .resets(1, PROTOCOL_ERROR),
        open("§8.2.1 an upper-case name in trailers")
            .send(head(1, WHOLE, literal("X-Sum", "4")))
            .ends_malformed(1),
        open("§8.2.1 LF in a trailer").send(head(1, WHOLE, literal("x-sum", "4\r\nx: y"))).ends_malformed(1),
        open("§8.2.1 a trailer that begins with a space")
            .send(head(1, WHOLE, literal("x-sum", " 4")))
            .resets(1, PROTOCOL_ERROR),
        open("§8.2.2 a connection-specific trailer")
            .send(head(1, WHOLE, literal("transfer-encoding", "chunked")))
            .ends_malformed(1),
        open("§8.2.2 connection as a trailer")
            .send(head(1, WHOLE, literal("connection", "close")))
            .ends_malformed(1),
    ]
}
