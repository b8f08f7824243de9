//! Reply heads as bytes.

use super::bounds::KEEP_ALIVE_IDLE;
use crate::telemetry::date::write_http_date;
use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

/// Plain text.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
/// Bytes of no meaning.
pub(super) const OCTETS: &str = "application/octet-stream";

/// What a reply is, without what the connection adds: framing, date, persistence.
#[derive(Debug)]
pub(super) struct Reply {
    status: u16,
    fields: Vec<(&'static str, Cow<'static, str>)>,
}

/// How the end of a reply's body is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// No body, and no length either: 1xx, 204, 304.
    None,
    /// Content-Length.
    Length(u64),
    /// The chunked transfer coding.
    Chunked,
    /// The end of the connection, for HTTP/1.0 clients.
    UntilClose,
}

impl Reply {
    /// A reply with a status and a body of that type.
    pub(super) fn new(status: u16, content_type: &'static str) -> Reply {
        Reply { status, fields: vec![("Content-Type", Cow::Borrowed(content_type))] }
    }

    /// A reply without a body.
    pub(super) const fn bare(status: u16) -> Reply {
        Reply { status, fields: Vec::new() }
    }

    /// Adds a field. Values are our own: no byte of a client's goes in here unchecked.
    pub(super) fn field(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Reply {
        let value = value.into();
        debug_assert!(!value.contains(['\r', '\n']));
        self.fields.push((name, value));
        self
    }

    /// The framing of a body of `length` known bytes under this status.
    pub(super) const fn framing_of(&self, length: u64) -> Framing {
        if matches!(self.status, 100..=199 | 204 | 304) { Framing::None } else { Framing::Length(length) }
    }

    /// The head, ready to send. `persistent` says what becomes of the connection afterwards.
    pub(super) fn encode(&self, framing: Framing, persistent: bool, now: SystemTime) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\nDate: ", self.status, reason(self.status)).into_bytes();
        let unix_s = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        write_http_date(unix_s, &mut head);
        head.extend_from_slice(b"\r\nServer: ringress-demo\r\n");
        for (name, value) in &self.fields {
            push_field(&mut head, name, value);
        }
        match framing {
            Framing::None | Framing::UntilClose => {}
            Framing::Length(length) => push_field(&mut head, "Content-Length", &length.to_string()),
            Framing::Chunked => push_field(&mut head, "Transfer-Encoding", "chunked"),
        }
        push_persistence(&mut head, persistent);
        head.extend_from_slice(b"\r\n");
        head
    }
}

fn push_field(head: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
}

fn push_persistence(head: &mut Vec<u8>, persistent: bool) {
    if persistent {
        push_field(head, "Connection", "keep-alive");
        push_field(head, "Keep-Alive", &format!("timeout={}", KEEP_ALIVE_IDLE.as_secs()));
    } else {
        push_field(head, "Connection", "close");
    }
}

/// The reason phrase of a status (RFC 9110 §15 and the IANA registry); empty where there is none.
pub(super) const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
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
        418 => "I'm a teapot",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
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
        511 => "Network Authentication Required",
        _ => "",
    }
}
