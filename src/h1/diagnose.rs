//! The cold path: which rule did a head break that httparse refused?
//!
//! httparse says little and not where, so these functions walk the bytes from the start to the first fault.
//! They never accept: a fault they cannot name is [`HeadError::Malformed`]. Walking in order makes the verdict
//! the same whether the head came whole or byte by byte; for that, no verdict looks beyond its first faulty byte
//! (so white space in a name is always [`HeadError::SpaceBeforeColon`]: the colon may not be here yet).

use super::error::HeadError;
use super::field::{is_text_byte, is_token_byte};

/// What a refused request is refused for. `head` starts at the request line.
pub fn request(head: &[u8], error: httparse::Error, target_bytes_max: usize) -> HeadError {
    match request_line(head, target_bytes_max) {
        Err(fault) => fault,
        Ok(fields) => fields_or(fields, error),
    }
}

/// What a refused response is refused for. `head` starts at the status line.
pub fn response(head: &[u8], error: httparse::Error) -> HeadError {
    match status_line(head) {
        Err(fault) => fault,
        Ok(fields) => fields_or(fields, error),
    }
}

/// What a refused section of field lines is refused for.
pub fn fields_or(section: &[u8], error: httparse::Error) -> HeadError {
    if error == httparse::Error::TooManyHeaders {
        return HeadError::TooManyFields;
    }
    let mut rest = section;
    // Bounded: each turn takes at least one byte off the section.
    while !rest.is_empty() && !rest.starts_with(b"\r\n") {
        match field_line(rest) {
            Err(fault) => return fault,
            Ok(after) => rest = after,
        }
    }
    HeadError::Malformed
}

/// Whether a target that is still arriving is longer than the limit already.
pub fn target_is_too_long(head: &[u8], target_bytes_max: usize) -> bool {
    if head.len() <= target_bytes_max {
        return false;
    }
    let after_method = head.iter().position(|&byte| byte == b' ').and_then(|at| head.get(at + 1..));
    after_method.is_some_and(|target| split_at_byte(target, |byte| byte > b' ').0.len() > target_bytes_max)
}

/// Splits before the first byte that is not `wanted`.
fn split_at_byte(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|&byte| !wanted(byte)).unwrap_or(bytes.len());
    bytes.split_at_checked(end).unwrap_or((bytes, &[]))
}

/// Walks the request line; what follows it, or its first fault.
fn request_line(head: &[u8], target_bytes_max: usize) -> Result<&[u8], HeadError> {
    let (method, rest) = split_at_byte(head, is_token_byte);
    let rest = match rest {
        [b' ', rest @ ..] if !method.is_empty() => rest,
        [] => return Err(HeadError::Malformed),
        _ => return Err(HeadError::BadMethod),
    };
    let (target, rest) = split_at_byte(rest, |byte| byte.is_ascii_graphic());
    if target.len() > target_bytes_max {
        return Err(HeadError::TargetTooLong);
    }
    match rest {
        [b' ', rest @ ..] if !target.is_empty() => line_end(version(rest)?),
        [b'\r' | b'\n', ..] if !target.is_empty() => Err(HeadError::BadVersion), // HTTP/0.9
        _ => Err(HeadError::BadTarget),
    }
}

/// Walks the status line; what follows it, or its first fault.
fn status_line(head: &[u8]) -> Result<&[u8], HeadError> {
    let rest = version(head)?;
    let (digits, rest) = match rest {
        [b' ', rest @ ..] => split_at_byte(rest, |byte| byte.is_ascii_digit()),
        _ => return Err(HeadError::BadVersion),
    };
    match rest {
        _ if digits.len() != 3 => Err(HeadError::BadStatus),
        [b' ', reason @ ..] => text_line(reason),
        [b'\r' | b'\n', ..] => line_end(rest),
        _ => Err(HeadError::BadStatus),
    }
}

/// Takes `HTTP/1.0` or `HTTP/1.1` off the front.
fn version(bytes: &[u8]) -> Result<&[u8], HeadError> {
    match bytes {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', rest @ ..] => Ok(rest),
        [b'H', b'T', b'T', b'P', b'/', b'1', ..] => Err(HeadError::BadVersion),
        [b'H', b'T', b'T', b'P', b'/', major, ..] if major.is_ascii_digit() => {
            Err(HeadError::UnsupportedVersion)
        }
        _ => Err(HeadError::BadVersion),
    }
}

/// Walks one field line.
fn field_line(line: &[u8]) -> Result<&[u8], HeadError> {
    let (name, rest) = split_at_byte(line, is_token_byte);
    match rest {
        [b':', value @ ..] if !name.is_empty() => text_line(value),
        [b' ' | b'\t', ..] if name.is_empty() => Err(HeadError::ObsFold),
        [b' ' | b'\t', ..] => Err(HeadError::SpaceBeforeColon),
        [b'\n', ..] => Err(HeadError::BareLf),
        [b'\r', ..] if name.is_empty() => Err(HeadError::BareCr),
        [b'\r', ..] => Err(HeadError::BadFieldName), // a line without a colon, whatever follows
        [] => Ok(rest),                              // the rest has not come yet
        [byte, ..] if is_text_byte(*byte) => Err(HeadError::BadFieldName),
        [..] => Err(HeadError::ControlByte),
    }
}

/// Walks text to the end of its line.
fn text_line(line: &[u8]) -> Result<&[u8], HeadError> {
    line_end(split_at_byte(line, is_text_byte).1)
}

/// Takes CRLF off the front.
fn line_end(bytes: &[u8]) -> Result<&[u8], HeadError> {
    match bytes {
        [b'\r', b'\n', rest @ ..] => Ok(rest),
        [b'\n', ..] => Err(HeadError::BareLf),
        [b'\r', _, ..] => Err(HeadError::BareCr),
        [b'\r'] | [] => Ok(&[]),
        [byte, ..] if is_text_byte(*byte) => Err(HeadError::BadVersion), // only a version can be followed so
        [..] => Err(HeadError::ControlByte),
    }
}
