//! Responses: the engine's HTTP/1.1 head for a client of HTTP/2, and an HTTP/2 origin's head as HTTP/1.1 bytes.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE};
use http::response::Parts;
use http::{HeaderValue, Response, StatusCode};

use crate::h1::{Method, ResponseHead};
use crate::proxy::forward::Source;
use crate::proxy::grpc;

use super::{Body, Malformed, WEBSOCKET, fields};

/// The head that the engine made, for a client that speaks HTTP/2. A 101 becomes the 200 of RFC 8441 §5.
///
/// # Errors
/// Something in it cannot stand in HTTP/2.
pub fn read_head(head: &ResponseHead, source: Source<'_>) -> Result<Response<()>, Malformed> {
    let status = if head.status == 101 { 200 } else { head.status };
    let mut response = Response::builder().status(status);
    for (name, value) in fields::read(source.bytes, source.fields) {
        let switched = head.status == 101;
        if !(switched && (name == "sec-websocket-accept" || name == CONTENT_LENGTH)) {
            response = response.header(name, value);
        }
    }
    response.body(()).map_err(|_| Malformed::Head)
}

/// Appends an origin's final head as HTTP/1.1 has it, of the response to a `method` request. `ended`: nothing follows it.
///
/// # Errors
/// The response is malformed.
pub fn write_head(parts: &Parts, method: Method, ended: bool, out: &mut Vec<u8>) -> Result<Body, Malformed> {
    begin(parts, out)?;
    // A call's status is in its trailers, which HTTP/1.1 has behind chunks alone.
    let kind = parts.headers.get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    let is_call = !ended && grpc::is_call_type(kind);
    for length in parts.headers.get_all(CONTENT_LENGTH).iter().filter(|_| !is_call) {
        fields::line(out, b"content-length", length.as_bytes());
    }
    for cookie in parts.headers.get_all(COOKIE) {
        fields::line(out, b"cookie", cookie.as_bytes());
    }
    let bodiless = method == Method::Head || matches!(parts.status.as_u16(), 204 | 304);
    let declared = parts.headers.contains_key(CONTENT_LENGTH) && !is_call;
    let body = match (ended || bodiless, declared) {
        (true, true) => Body::None,
        (true, false) if bodiless => Body::None,
        (true, false) => {
            fields::line(out, b"content-length", b"0");
            Body::None
        }
        (false, true) => Body::Length,
        (false, false) => {
            fields::line(out, b"transfer-encoding", b"chunked");
            Body::Chunked
        }
    };
    out.extend_from_slice(b"\r\n");
    Ok(body)
}

/// Appends an interim head.
///
/// # Errors
/// The response is malformed.
pub fn write_interim(parts: &Parts, out: &mut Vec<u8>) -> Result<(), Malformed> {
    begin(parts, out)?;
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Appends the 101 that a 2xx to an extended CONNECT stands for (RFC 8441 §5.1). `accept` answers the key of the request,
/// which HTTP/2 does not carry.
///
/// # Errors
/// The response is malformed.
pub fn write_switched(parts: &Parts, accept: &str, out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n");
    fields::line(out, b"upgrade", WEBSOCKET.as_bytes());
    fields::line(out, b"sec-websocket-accept", accept.as_bytes());
    fields::write(&parts.headers, out)?;
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn begin(parts: &Parts, out: &mut Vec<u8>) -> Result<(), Malformed> {
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Malformed::Head); // RFC 9113 §8.6: there is none in HTTP/2
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(parts.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(parts.status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    fields::write(&parts.headers, out)
}
