//! Fields and trailers in both shapes.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::h1::{Known, field};

use super::Malformed;

/// Appends `name: value` as a line.
pub(super) fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Whether this field speaks of one connection (RFC 9113 §8.2.2).
pub(super) fn is_connection_specific(name: &[u8]) -> bool {
    matches!(
        Known::of(name),
        Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::TransferEncoding
            | Known::Upgrade
    )
}

/// Appends the fields that stand in both versions alike. `Content-Length`, `Host` and `Cookie` are the caller's.
pub(super) fn write(fields: &HeaderMap, out: &mut Vec<u8>) -> Result<(), Malformed> {
    for (name, value) in fields {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        if is_connection_specific(name) {
            return Err(Malformed::ConnectionField);
        }
        if value.trim_ascii().len() != value.len() {
            return Err(Malformed::Padded);
        }
        if !matches!(name, b"content-length" | b"host" | b"cookie" | b"http2-settings") {
            line(out, name, value);
        }
    }
    Ok(())
}

/// The fields of a head that travel in HTTP/2.
pub(super) fn read<'a>(
    bytes: &'a [u8],
    fields: &'a [field::Field],
) -> impl Iterator<Item = (HeaderName, HeaderValue)> + 'a {
    fields.iter().filter_map(|field| {
        let name = field.name.of(bytes);
        let te = field.known == Known::Te && !field.value.of(bytes).eq_ignore_ascii_case(b"trailers");
        if is_connection_specific(name) || field.known == Known::Host || te {
            return None;
        }
        let name = HeaderName::from_bytes(name).ok()?;
        Some((name, HeaderValue::from_bytes(field.value.of(bytes)).ok()?))
    })
}

/// Appends trailers as the lines of a chunked body's end.
///
/// # Errors
/// A field that cannot be one.
pub fn write_trailers(trailers: &HeaderMap, out: &mut Vec<u8>) -> Result<(), Malformed> {
    write(trailers, out)
}

/// Trailer lines (whole, each with CRLF) as fields. Lines that HTTP/2 cannot carry are left out.
#[must_use]
pub fn read_trailers(lines: &[u8]) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    for line in lines.split(|&byte| byte == b'\n') {
        let mut halves = line.splitn(2, |&byte| byte == b':');
        let (Some(name), Some(value)) = (halves.next(), halves.next()) else { continue };
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii()))
            && !is_connection_specific(name.as_str().as_bytes())
        {
            trailers.append(name, value);
        }
    }
    trailers
}
