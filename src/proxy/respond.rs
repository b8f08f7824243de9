//! Responses that the proxy makes itself: errors, what a route answers or redirects, and the answer to `OPTIONS` that was
//! meant for us.
//!
//! A route's edits hold for them too. What says how a failure is to be taken stays ours, though: [`FAILURE_FIELDS`].

use std::io::Write as _;

use crate::config::route::FieldEdits;
use crate::h1::Version;

use super::edits;
use super::error::Failure;
use super::grpc;

/// The methods that are passed on, among the registered ones: the value of `Allow`.
pub const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The fields of a failed exchange that no edit changes: a failure that was made cacheable would outlive its cause. The last
/// one is ours only where we have it to say.
const FAILURE_FIELDS: &[&str] =
    &["content-type", "cache-control", "proxy-status", "allow", "grpc-status", "grpc-message", "retry-after"];

/// What shapes a generated response beside its failure.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The client's protocol version.
    pub version: Version,
    /// The request was HEAD: no body.
    pub head_only: bool,
    /// `Accept` asks for JSON.
    pub json: bool,
    /// The request was a gRPC call: its failures travel as `grpc-status` in a response that is called fine.
    pub grpc: bool,
    /// The connection stays open behind this response.
    pub keep_alive: bool,
    /// Status for an origin that was too slow.
    pub timeout_status: u16,
    /// What the route changes; [`edits::NONE`] before there is one.
    pub edits: &'a FieldEdits,
    /// Seconds after which it is worth trying again.
    pub retry_after: Option<u32>,
    /// IMF-fixdate of now.
    pub date: &'a [u8],
}

/// Whether an `Accept` value prefers JSON to text (RFC 9110 §12.5.1): it names a JSON type, with a higher
/// weight than any text type it names. Wildcards say nothing of either.
#[must_use]
pub fn accepts_json(accept: &[u8]) -> bool {
    let (mut json, mut text) = (0, 0);
    for range in accept.split(|&b| b == b',') {
        let mut parameters = range.split(|&b| b == b';').map(<[u8]>::trim_ascii);
        let kind = parameters.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parameters.find_map(weight).unwrap_or(1000);
        if kind == b"application/json" || kind.ends_with(b"+json") {
            json = weight.max(json);
        } else if kind.starts_with(b"text/") {
            text = weight.max(text);
        }
    }
    json > text
}

/// Thousandths of a `q` parameter; a malformed one counts as absent.
fn weight(parameter: &[u8]) -> Option<u32> {
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    let value: f32 = std::str::from_utf8(value).ok()?.parse().ok()?;
    [1000, 0]
        .into_iter()
        .find(|&bound| value == bound as f32 / 1000.0)
        .or_else(|| (1..1000).rev().find(|&thousandths| value >= thousandths as f32 / 1000.0))
}

/// Whether the head of a forwarded request asks for JSON.
#[must_use]
pub fn head_accepts_json(head: &[u8]) -> bool {
    let value = |line: &[u8]| {
        let (name, value) = line.split_at_checked(7)?;
        name.eq_ignore_ascii_case(b"accept:").then(|| accepts_json(value))
    };
    head.split(|&b| b == b'\n').filter_map(value).any(|json| json)
}

/// Appends the response to a failed exchange. No internal address, and no byte of a peer, is in it.
pub fn failure(failure: Failure, at: Circumstances<'_>, out: &mut Vec<u8>) {
    if at.grpc {
        return failed_call(failure, at, out);
    }
    let status = failure.status(at.timeout_status);
    let body = body(failure, at.json);
    status_line(status, out);
    let kind = if at.json { "application/json" } else { "text/plain; charset=utf-8" };
    let _ = write!(out, "Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
    proxy_status(failure, out);
    retry_after(at, out);
    if status == 405 {
        // RFC 9110 §15.5.6: Allow is required.
        allow(out);
    }
    edits::write(at.edits, own_fields(at), out);
    finish_head(at, out);
    if !at.head_only {
        out.extend_from_slice(body.as_bytes());
    }
}

/// Appends a redirect with `status` (301, 302, 303, 307 or 308) to `location`, as [`super::rewrite::location`] makes it. It
/// has no body.
pub fn redirect(status: u16, location: &[u8], at: Circumstances<'_>, out: &mut Vec<u8>) {
    debug_assert!(matches!(status, 301 | 302 | 303 | 307 | 308) && location.iter().all(u8::is_ascii_graphic));
    status_line(status, out);
    out.extend_from_slice(b"Location: ");
    out.extend_from_slice(location);
    out.extend_from_slice(b"\r\nContent-Length: 0\r\n");
    edits::write(at.edits, &["location"], out);
    finish_head(at, out);
}

/// Appends a response that an operator wrote, with `status` from 200 to 599.
pub fn fixed(status: u16, content_type: Option<&str>, body: &str, at: Circumstances<'_>, out: &mut Vec<u8>) {
    debug_assert!((200..=599).contains(&status));
    // RFC 9110 §15.3.5, §15.3.6, §15.4.5: these have no content, whatever is configured.
    let body = if matches!(status, 204 | 205 | 304) { "" } else { body };
    status_line(status, out);
    if let Some(kind) =
        content_type.filter(|_| !body.is_empty() && !edits::replaces(at.edits, b"content-type"))
    {
        let _ = write!(out, "Content-Type: {kind}\r\n");
    }
    // RFC 9110 §8.6: never in a 204, and in a 304 only what the 200 would have.
    if !matches!(status, 204 | 304) {
        let _ = write!(out, "Content-Length: {}\r\n", body.len());
    }
    edits::write(at.edits, &[], out);
    finish_head(at, out);
    if !at.head_only {
        out.extend_from_slice(body.as_bytes());
    }
}

/// [`FAILURE_FIELDS`], but for `Retry-After` where we do not know: then the operator may.
fn own_fields(at: Circumstances<'_>) -> &'static [&'static str] {
    match (at.retry_after, FAILURE_FIELDS) {
        (None, [others @ .., _]) => others,
        (Some(_), all) | (None, all) => all,
    }
}

/// A response of trailers only, as gRPC has it.
fn failed_call(failure: Failure, at: Circumstances<'_>, out: &mut Vec<u8>) {
    status_line(200, out);
    out.extend_from_slice(b"Content-Type: application/grpc\r\nContent-Length: 0\r\n");
    grpc::write_status(failure, out);
    proxy_status(failure, out);
    edits::write(at.edits, own_fields(at), out);
    retry_after(at, out);
    finish_head(at, out);
}

fn allow(out: &mut Vec<u8>) {
    let _ = write!(out, "Allow: {METHODS}\r\n");
}

fn proxy_status(failure: Failure, out: &mut Vec<u8>) {
    let _ = write!(
        out,
        "Proxy-Status: ringress; error={}; details=\"{}\"\r\nCache-Control: no-store\r\n",
        failure.error_type(),
        failure.detail()
    );
}

/// RFC 9110 §10.2.3.
fn retry_after(at: Circumstances<'_>, out: &mut Vec<u8>) {
    if let Some(seconds) = at.retry_after {
        let _ = write!(out, "Retry-After: {seconds}\r\n");
    }
}

/// Appends the answer to `OPTIONS` with `Max-Forwards: 0` (RFC 9110 §7.6.2).
pub fn options(at: Circumstances<'_>, out: &mut Vec<u8>) {
    status_line(204, out);
    allow(out);
    finish_head(at, out);
}

fn body(failure: Failure, json: bool) -> String {
    let (error, message) = (failure.error_type(), failure.message());
    if json {
        format!("{{\"error\":\"{error}\",\"message\":\"{message}\"}}\n")
    } else {
        format!("{message}\n")
    }
}

fn status_line(status: u16, out: &mut Vec<u8>) {
    let _ = write!(out, "HTTP/1.1 {status} {}\r\n", reason(status));
}

fn finish_head(at: Circumstances<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Date: ");
    out.extend_from_slice(at.date);
    out.extend_from_slice(match (at.version, at.keep_alive) {
        (_, false) => b"\r\nConnection: close\r\n\r\n",
        (Version::Http10, true) => b"\r\nConnection: keep-alive\r\n\r\n",
        (Version::Http11, true) => b"\r\n\r\n",
    });
}

/// The reason phrase of a registered status (RFC 9110 §15, RFC 6585, RFC 4918 and the like); empty for any other.
#[must_use]
pub const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Circumstances<'static> = Circumstances {
        version: Version::Http11,
        head_only: false,
        json: false,
        grpc: false,
        keep_alive: false,
        timeout_status: 504,
        edits: &edits::NONE,
        retry_after: None,
        date: b"Sun, 06 Nov 1994 08:49:37 GMT",
    };

    fn render(at: Circumstances<'_>) -> String {
        let mut out = Vec::new();
        failure(Failure::ConnectRefused, at, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_made_response_carries_proxy_status_and_its_true_length() {
        for json in [false, true] {
            let text = render(Circumstances { json, ..AT });
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{head}");
            assert!(head.contains("Proxy-Status: ringress; error=connection_refused"), "{head}");
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
            assert_eq!(body.starts_with('{'), json);
        }
    }

    #[test]
    fn a_response_to_head_has_the_length_but_not_the_body() {
        let text = render(Circumstances { head_only: true, ..AT });
        assert!(text.ends_with("\r\n\r\n") && !text.contains("Content-Length: 0"), "{text}");
    }

    #[test]
    fn who_has_to_wait_is_told_how_long() {
        for grpc in [false, true] {
            let at = Circumstances { retry_after: Some(17), grpc, ..AT };
            let mut out = Vec::new();
            failure(Failure::RateLimited, at, &mut out);
            let text = String::from_utf8(out).unwrap();
            assert!(text.starts_with("HTTP/1.1 429 Too Many Requests\r\n") != grpc, "{text}");
            assert!(text.contains("\r\nRetry-After: 17\r\n"), "{text}");
            assert!(text.contains("error=http_request_denied; details=\"rate-limited\""), "{text}");
        }
        assert!(!render(AT).contains("Retry-After"));
    }

    #[test]
    fn json_is_for_those_who_ask_for_it() {
        for (accept, json) in [
            ("application/json", true),
            ("application/json, */*;q=0.5", true),
            ("application/vnd.api+json", true),
            ("text/html,application/json", false),
            ("text/html;q=0.1, application/json", true),
            ("text/html, application/json;q=0.9", false),
            ("application/json;q=0", false),
            ("application/json;q=junk", true),
            ("*/*", false),
            ("", false),
        ] {
            assert_eq!(accepts_json(accept.as_bytes()), json, "{accept}");
        }
    }

    fn made(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_redirect_has_its_status_and_no_body() {
        for status in [301, 302, 303, 307, 308] {
            let text = made(|out| redirect(status, b"/b?c", AT, out));
            let (line, fields) = text.split_once("\r\n").unwrap();
            assert_eq!(line, format!("HTTP/1.1 {status} {}", reason(status)));
            assert!(
                !reason(status).is_empty() && fields.starts_with("Location: /b?c\r\nContent-Length: 0\r\n")
            );
            assert!(text.ends_with("Connection: close\r\n\r\n"), "{text}");
        }
    }

    #[test]
    fn a_fixed_response_has_a_body_where_it_may() {
        for (status, head_only, length, ending) in [
            (200, false, Some(3), "\r\n\r\nhi\n"),
            (200, true, Some(3), "\r\n\r\n"),
            (299, false, Some(3), "\r\n\r\nhi\n"),
            (204, false, None, "\r\n\r\n"),
            (205, false, Some(0), "\r\n\r\n"),
            (304, false, None, "\r\n\r\n"),
        ] {
            let at = Circumstances { head_only, ..AT };
            let text = made(|out| fixed(status, Some("text/plain"), "hi\n", at, out));
            let told = text.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: "));
            assert_eq!(told.map(|n| n.parse().unwrap()), length, "{text}");
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")) && text.ends_with(ending), "{text}");
            assert_eq!(text.matches("\r\n\r\n").count(), 1, "{text}");
            assert_eq!(text.contains("Content-Type: text/plain\r\n"), length == Some(3), "{text}");
        }
        assert!(!made(|out| fixed(200, None, "", AT, out)).contains("Content-Type"));
    }

    /// Goal: edits hold for what is made here, but no field is there twice, and a failure is not made cacheable.
    #[test]
    fn edits_hold_for_responses_that_are_made_here() {
        let pair = |name: &str, value: &str| (name.into(), value.into());
        let edits = FieldEdits {
            remove: Vec::new(),
            set: vec![
                pair("content-type", "text/html"),
                pair("cache-control", "max-age=60"),
                pair("location", "/x"),
                pair("grpc-status", "0"),
            ],
            add: vec![pair("x-frame-options", "DENY"), pair("proxy-status", "none")],
        };
        let at = Circumstances { edits: &edits, ..AT };
        let page = made(|out| fixed(200, Some("text/plain"), "hi", at, out));
        assert!(page.contains("\r\ncontent-type: text/html\r\ncache-control: max-age=60\r\n"), "{page}");
        assert!(!page.contains("text/plain") && page.contains("\r\nx-frame-options: DENY\r\n"), "{page}");
        let redirect = made(|out| redirect(302, b"/b", at, out));
        assert!(redirect.contains("x-frame-options") && !redirect.contains("/x"), "{redirect}");
        for grpc in [false, true] {
            let failed = made(|out| failure(Failure::NoRoute, Circumstances { grpc, ..at }, out));
            assert!(failed.contains("\r\nx-frame-options: DENY\r\n"), "{failed}");
            assert!(!failed.contains("max-age") && !failed.contains("none"), "{failed}");
            assert_eq!(failed.to_ascii_lowercase().matches("content-type:").count(), 1, "{failed}");
            assert_eq!(failed.contains("\r\nGrpc-Status: 12\r\n"), grpc, "{failed}");
            assert!(!failed.contains("grpc-status: 0"), "{failed}");
        }
    }

    #[test]
    fn who_has_no_route_is_told_so() {
        let failed = made(|out| failure(Failure::NoRoute, AT, out));
        assert!(failed.starts_with("HTTP/1.1 404 Not Found\r\n"), "{failed}");
        assert!(
            failed.contains("Proxy-Status: ringress; error=destination_not_found; details=\"no-route\"\r\n")
        );
        let failed = made(|out| failure(Failure::BadPath, AT, out));
        assert!(failed.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{failed}");
        assert!(failed.contains("error=http_request_error; details=\"bad-path\""), "{failed}");
    }
}
