//! Where a message ends (RFC 9112 §6.3).
//!
//! Both sides of a proxy must read the same end out of the same head. So every head that two parsers could
//! read differently is refused here, even where the RFC would let a recipient repair it: repeated
//! Content-Length fields of one value, lists of codings across fields, empty list elements.

use super::error::HeadError;
use super::field::{is_token, trim};
use super::method::{Method, Version};

/// How the end of a message body is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body, and nothing on the wire says so.
    None,
    /// Content-Length. `Length(0)` is a promise of no bytes that is forwarded as one.
    Length(u64),
    /// The chunked transfer coding.
    Chunked,
    /// The body ends when the connection does (responses only).
    UntilClose,
}

/// Framing of a request: `content_length` and `transfer_encoding` are the values of the only such fields.
///
/// # Errors
/// A Content-Length or Transfer-Encoding that is invalid, or both at once.
pub fn request(
    version: Version,
    content_length: Option<&[u8]>,
    transfer_encoding: Option<&[u8]>,
) -> Result<Framing, HeadError> {
    // RFC 9112 §6.3: a request without either field has no body.
    Ok(declared(version, content_length, transfer_encoding)?.unwrap_or(Framing::None))
}

/// Framing of a response with `status` to a request of `method`. The fields are checked even where the
/// response can have no body, since they are forwarded.
///
/// # Errors
/// As for [`request`].
pub fn response(
    version: Version,
    status: u16,
    method: Method,
    content_length: Option<&[u8]>,
    transfer_encoding: Option<&[u8]>,
) -> Result<Framing, HeadError> {
    let declared = declared(version, content_length, transfer_encoding)?;
    if method == Method::Head || has_no_body(status) {
        return Ok(Framing::None);
    }
    Ok(declared.unwrap_or(Framing::UntilClose))
}

/// Whether a response of this status never has a body (RFC 9112 §6.3, first rule).
#[must_use]
pub const fn has_no_body(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

/// Whether a response that can have no body whatever the request was announces one (RFC 9112 §6.1 and RFC 9110
/// §8.6 forbid it for 1xx and 204). Its sender may well send that body, so what follows cannot be trusted.
#[must_use]
pub fn declares_forbidden_body(
    status: u16,
    content_length: Option<&[u8]>,
    transfer_encoding: Option<&[u8]>,
) -> bool {
    let forbidden = matches!(status, 100..=199 | 204);
    let announced = transfer_encoding.is_some()
        || content_length.is_some_and(|length| length.iter().any(|&digit| digit != b'0'));
    forbidden && announced
}

/// The framing that the fields declare, if they do.
fn declared(
    version: Version,
    content_length: Option<&[u8]>,
    transfer_encoding: Option<&[u8]>,
) -> Result<Option<Framing>, HeadError> {
    match (content_length, transfer_encoding) {
        (None, None) => Ok(None),
        (Some(length), None) => parse_content_length(length).map(|length| Some(Framing::Length(length))),
        (Some(_), Some(_)) => Err(HeadError::ContentLengthWithTransferEncoding),
        (None, Some(codings)) => {
            check_transfer_encoding(version, codings)?;
            Ok(Some(Framing::Chunked))
        }
    }
}

/// `Content-Length = 1*DIGIT` (RFC 9110 §8.6), at most 63 bits: a peer that counts in signed integers would
/// read a larger one as negative.
fn parse_content_length(value: &[u8]) -> Result<u64, HeadError> {
    if value.contains(&b',') {
        return Err(HeadError::RepeatedContentLength);
    }
    if value.is_empty() {
        return Err(HeadError::BadContentLength);
    }
    let mut length: u64 = 0;
    for &byte in value {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(HeadError::BadContentLength);
        }
        let next = length.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit)));
        length = next.filter(|&next| next <= i64::MAX.cast_unsigned()).ok_or(HeadError::BadContentLength)?;
    }
    Ok(length)
}

/// Accepts `chunked` alone. Of the rest, a well-formed list that ends in `chunked` is a coding we do not
/// implement; any other leaves the end of the message in doubt.
fn check_transfer_encoding(version: Version, value: &[u8]) -> Result<(), HeadError> {
    if version == Version::Http10 {
        // RFC 9112 §6.1: such a message "MUST be treated as if the framing is faulty".
        return Err(HeadError::TransferEncodingInHttp10);
    }
    if is_chunked(value) {
        return Ok(());
    }
    let mut last_is_chunked = false;
    for coding in value.split(|&byte| byte == b',').map(trim) {
        if last_is_chunked || !is_coding(coding) {
            return Err(HeadError::BadTransferEncoding);
        }
        last_is_chunked = is_chunked(coding);
    }
    Err(if last_is_chunked { HeadError::UnknownTransferCoding } else { HeadError::BadTransferEncoding })
}

fn is_chunked(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"chunked")
}

/// `token *( OWS ";" OWS token BWS "=" BWS token )` (RFC 9112 §7); quoted parameter values and parameters of
/// `chunked` count as malformed.
fn is_coding(coding: &[u8]) -> bool {
    let mut parts = coding.split(|&byte| byte == b';').map(trim);
    let name = parts.next().unwrap_or_default();
    is_token(name)
        && parts.all(|parameter| {
            let mut sides = parameter.splitn(2, |&byte| byte == b'=').map(trim);
            !is_chunked(name) && sides.next().is_some_and(is_token) && sides.next().is_some_and(is_token)
        })
}
