//! The trailer section of a chunked body (RFC 9112 §7.1.2): collected, checked, sifted.
//!
//! The section is held to the rules of a head: a field that would be refused there is refused here, and the
//! body with it. A valid field that has no business in a trailer (RFC 9110 §6.5.1) is dropped silently: a
//! recipient that merges trailers into its head must not have its framing, routing, credentials or content
//! type changed after the fact. So are names with `_`, which some recipients cannot tell from `-`.

use super::diagnose;
use super::error::{BodyError, HeadError};
use crate::limits::{FIELDS_MAX, TRAILER_BYTES_MAX};

/// Names that must not be trailers, in lower case, by what they would change.
const FORBIDDEN: &[&str] = &[
    // framing and hop-by-hop
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    // routing and forwarding
    "forwarded",
    "host",
    "via",
    "x-real-ip",
    "x-request-id",
    // request modifiers
    "cache-control",
    "expect",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "pragma",
    "range",
    // authentication and state
    "authorization",
    "cookie",
    "proxy-authenticate",
    "proxy-authorization",
    "set-cookie",
    "www-authenticate",
    // control of the response
    "age",
    "date",
    "expires",
    "location",
    "retry-after",
    "vary",
    "warning",
    // format of the content
    "content-encoding",
    "content-range",
    "content-type",
];

/// Prefixes of the names with which proxies speak of the client.
const PREFIXES: [&[u8]; 2] = [b"x-forwarded-", b"x-client-cert"];

/// A trailer section: as received until its empty line came, then the accepted lines.
#[derive(Debug, Default)]
pub struct Trailers {
    bytes: Vec<u8>,
}

impl Trailers {
    /// Takes the next byte of the section; true when it was the last.
    ///
    /// # Errors
    /// A section too large, a bare LF, or, at its end, a field that a head could not have.
    pub fn push(&mut self, byte: u8) -> Result<bool, BodyError> {
        if self.bytes.len() >= TRAILER_BYTES_MAX {
            return Err(BodyError::TrailerTooLarge);
        }
        if byte == b'\n' && self.bytes.last() != Some(&b'\r') {
            return Err(BodyError::BareLf);
        }
        self.bytes.push(byte);
        if !self.bytes.ends_with(b"\r\n\r\n") {
            return Ok(false);
        }
        self.bytes = accepted(&self.bytes).map_err(BodyError::BadTrailer)?;
        Ok(true)
    }

    /// The accepted lines `Name: value CRLF`, once the section has ended.
    pub fn lines(&self) -> &[u8] {
        &self.bytes
    }
}

/// The lines of a whole section that may be forwarded.
fn accepted(section: &[u8]) -> Result<Vec<u8>, HeadError> {
    let mut table = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let fields = match httparse::parse_headers(section, &mut table) {
        Ok(httparse::Status::Complete((_, fields))) => fields,
        Ok(httparse::Status::Partial) => return Err(HeadError::Malformed),
        Err(error) => return Err(diagnose::fields_or(section, error)),
    };
    let mut lines = Vec::new();
    for field in fields.iter().filter(|field| may_be_trailer(field.name.as_bytes())) {
        lines.extend_from_slice(field.name.as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(field.value);
        lines.extend_from_slice(b"\r\n");
    }
    Ok(lines)
}

/// Whether a field of this name may be forwarded in a trailer section.
pub fn may_be_trailer(name: &[u8]) -> bool {
    let claims = |prefix: &[u8]| {
        name.split_at_checked(prefix.len()).is_some_and(|(start, _)| start.eq_ignore_ascii_case(prefix))
    };
    !PREFIXES.into_iter().any(claims)
        && !name.contains(&b'_')
        && !FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden.as_bytes()))
}
