//! What a proxy must know of gRPC over HTTP/2: how long a call may take, and how one that fails is told so.
//!
//! Source: the protocol's own page, "gRPC over HTTP2" (PROTOCOL-HTTP2.md of the grpc repository). gRPC-Web is plain
//! HTTP to us.

use std::io::Write as _;
use std::time::Duration;

use crate::h1::Field;
use crate::h1::error::BodyError;
use crate::time::Phase;

use super::error::{Failure, Side};
use super::source::Source;

/// Whether a request is a gRPC call, by its `Content-Type`.
#[must_use]
pub fn is_call(source: Source<'_>) -> bool {
    value(source, b"content-type").is_some_and(is_call_type)
}

fn value<'a>(source: Source<'a>, name: &[u8]) -> Option<&'a [u8]> {
    let named = |field: &&Field| field.name.of(source.bytes).eq_ignore_ascii_case(name);
    source.fields.iter().find(named).map(|field| field.value.of(source.bytes))
}

/// `application/grpc`, with a message format or parameters or without; not `application/grpc-web`.
#[must_use]
pub fn is_call_type(content_type: &[u8]) -> bool {
    const KIND: &[u8] = b"application/grpc";
    content_type.split_at_checked(KIND.len()).is_some_and(|(kind, rest)| {
        kind.eq_ignore_ascii_case(KIND) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
    })
}

/// The client's own deadline for a call; `None` without one, or with one that is malformed.
#[must_use]
pub fn timeout(source: Source<'_>) -> Option<Duration> {
    duration(value(source, b"grpc-timeout")?)
}

/// At most eight digits and a unit.
fn duration(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(n * 3600)),
        b'M' => Some(Duration::from_secs(n * 60)),
        b'S' => Some(Duration::from_secs(n)),
        b'm' => Some(Duration::from_millis(n)),
        b'u' => Some(Duration::from_micros(n)),
        b'n' => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

/// The `grpc-status` of a failed exchange (codes: statuscodes.md of the grpc repository).
fn status(failure: Failure) -> u8 {
    const CANCELLED: u8 = 1;
    const DEADLINE_EXCEEDED: u8 = 4;
    const PERMISSION_DENIED: u8 = 7;
    const RESOURCE_EXHAUSTED: u8 = 8;
    const UNIMPLEMENTED: u8 = 12;
    const INTERNAL: u8 = 13;
    const UNAVAILABLE: u8 = 14;
    match failure {
        Failure::Timeout(Phase::Drain) => UNAVAILABLE,
        Failure::Timeout(_) => DEADLINE_EXCEEDED,
        // What a client makes of a bare 429 (http-grpc-status-mapping.md): it may ask again, later.
        Failure::RateLimited | Failure::TooManyAtOnce => UNAVAILABLE,
        Failure::BodyTooLarge => RESOURCE_EXHAUSTED,
        // What a client makes of a 404 itself (http-grpc-status-mapping.md).
        Failure::NoRoute => UNIMPLEMENTED,
        // The table "Errors" of PROTOCOL-HTTP2.md.
        Failure::StreamReset(8) => CANCELLED,
        Failure::StreamReset(11) => RESOURCE_EXHAUSTED,
        Failure::StreamReset(12) => PERMISSION_DENIED,
        Failure::StreamReset(_) | Failure::BadResponse(_) | Failure::InterimFlood => INTERNAL,
        Failure::BadResponseBody(error) if error != BodyError::Truncated => INTERNAL,
        _ if failure.side() == Side::Client => INTERNAL,
        _ => UNAVAILABLE,
    }
}

/// Appends the fields that end a call with `failure`: in the head of a response, or behind its messages.
pub fn write_status(failure: Failure, out: &mut Vec<u8>) {
    let (status, message) = (status(failure), failure.message());
    // Writing to a Vec cannot fail.
    let _ = write!(out, "Grpc-Status: {status}\r\nGrpc-Message: {message}\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_by_their_content_type() {
        for (value, call) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/GRPC; charset=x", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_call_type(value.as_bytes()), call, "{value}");
        }
    }

    #[test]
    fn timeouts_have_a_unit_and_at_most_eight_digits() {
        for (value, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("100m", Some(Duration::from_millis(100))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("7n", Some(Duration::from_nanos(7))),
            ("999999999S", None),
            ("S", None),
            ("5", None),
            ("-5S", None),
            ("5s", None),
            ("", None),
        ] {
            assert_eq!(duration(value.as_bytes()), expected, "{value}");
        }
    }

    /// Goal: a call that a limit or a full queue turned away may be made again. Method: the codes of the specification.
    #[test]
    fn who_is_turned_away_may_ask_again() {
        for (failure, code) in [
            (Failure::RateLimited, 14),
            (Failure::TooManyAtOnce, 14),
            (Failure::QueueFull, 14),
            (Failure::QueueTimeout, 14),
            (Failure::NoEndpoint, 14),
            (Failure::BodyTooLarge, 8),
        ] {
            assert_eq!(status(failure), code, "{failure:?}");
        }
    }
}
