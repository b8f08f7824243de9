//! Slow and obvious readings of the same rules, for tests and fuzzing alone.
//!
//! They see the whole message at once and are written from the grammar, not from the parsers: where the two
//! disagree, one of them is wrong.

use super::field::{is_text_byte, is_token};
use super::framing::Framing;
use super::trailers::may_be_trailer;
use crate::limits::{CHUNK_LINE_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, FIELDS_MAX, TRAILER_BYTES_MAX};

/// The framing that the fields of an otherwise valid head declare: `None` when it must be refused,
/// `Some(None)` when they declare none.
pub fn declared_framing(head: &str) -> Option<Option<Framing>> {
    let values_of = |wanted: &str| -> Vec<String> {
        head.split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(name, _)| name.to_ascii_lowercase() == wanted)
            .map(|(_, value)| value.trim_matches([' ', '\t']).to_ascii_lowercase())
            .collect()
    };
    let is_http10 =
        head.lines().find(|line| line.contains("HTTP/")).is_some_and(|line| line.contains("HTTP/1.0"));
    match (values_of("content-length").as_slice(), values_of("transfer-encoding").as_slice()) {
        ([], []) => Some(None),
        ([length], []) if length.chars().all(|digit| digit.is_ascii_digit()) => {
            length.parse::<i64>().ok().map(|length| Some(Framing::Length(length.unsigned_abs())))
        }
        ([], [codings]) if codings == "chunked" && !is_http10 => Some(Some(Framing::Chunked)),
        _ => None,
    }
}

/// What a whole buffer is as a chunked body.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    /// Ended after `consumed` bytes.
    Complete { payload: Vec<u8>, consumed: usize, trailers: Vec<u8> },
    /// Nothing is certainly wrong, but the end is missing.
    Unfinished,
    /// Certainly wrong, whatever follows.
    Refused,
}

/// Reads a whole buffer as a chunked body.
pub fn chunked(buf: &[u8]) -> Body {
    let mut payload = Vec::new();
    let mut rest = buf;
    loop {
        let (size, after) = match line(rest, CHUNK_LINE_BYTES_MAX) {
            Line::Whole(line, after) => match chunk_size(line) {
                Some(size) => (size, after),
                None => return Body::Refused,
            },
            Line::Unfinished => return Body::Unfinished,
            Line::Refused => return Body::Refused,
        };
        if size == 0 {
            return trailers(after, buf.len() - after.len(), payload);
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let Some((data, after)) = after.split_at_checked(size) else { return Body::Unfinished };
        payload.extend_from_slice(data);
        match after {
            [b'\r', b'\n', next @ ..] => rest = next,
            [] | [b'\r'] => return Body::Unfinished,
            [..] => return Body::Refused,
        }
    }
}

enum Line<'a> {
    Whole(&'a [u8], &'a [u8]),
    Unfinished,
    Refused,
}

/// The first line of `bytes` without its CRLF, and what follows it.
fn line(bytes: &[u8], bytes_max: usize) -> Line<'_> {
    let Some(lf) = bytes.iter().position(|&byte| byte == b'\n') else {
        return if bytes.len() > bytes_max + 1 { Line::Refused } else { Line::Unfinished };
    };
    let (with_lf, after) = bytes.split_at_checked(lf + 1).unwrap_or_default();
    match with_lf.strip_suffix(b"\r\n") {
        Some(line) if line.len() <= bytes_max && line.iter().all(|&byte| is_text_byte(byte)) => {
            Line::Whole(line, after)
        }
        Some(_) | None => Line::Refused,
    }
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|&byte| byte == b';').next()?;
    let valid = !digits.is_empty()
        && digits.len() <= CHUNK_SIZE_DIGITS_MAX
        && digits.iter().all(|digit| digit.is_ascii_hexdigit());
    let digits = std::str::from_utf8(digits).ok().filter(|_| valid)?;
    u64::from_str_radix(digits, 16).ok()
}

fn trailers(section: &[u8], before: usize, payload: Vec<u8>) -> Body {
    let ended = section.starts_with(b"\r\n") || section.windows(4).any(|window| window == b"\r\n\r\n");
    if !ended {
        // The fields are judged when all of them are here.
        return if section.len() > TRAILER_BYTES_MAX { Body::Refused } else { Body::Unfinished };
    }
    let mut accepted = Vec::new();
    let mut fields = 0;
    let mut rest = section;
    loop {
        let (text, after) = match line(rest, TRAILER_BYTES_MAX) {
            Line::Whole(text, after) => (text, after),
            Line::Unfinished => return Body::Unfinished,
            Line::Refused => return Body::Refused,
        };
        let taken = section.len() - after.len();
        if taken > TRAILER_BYTES_MAX || fields > FIELDS_MAX {
            return Body::Refused;
        }
        if text.is_empty() {
            return Body::Complete { payload, consumed: before + taken, trailers: accepted };
        }
        let Some(field) = trailer(text) else { return Body::Refused };
        accepted.extend(field);
        fields += 1;
        rest = after;
    }
}

/// One trailer line as it is forwarded: empty when it is dropped, `None` when it is refused.
fn trailer(line: &[u8]) -> Option<Vec<u8>> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    if !is_token(name) {
        return None;
    }
    if !may_be_trailer(name) {
        return Some(Vec::new());
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let value: Vec<u8> = value.iter().skip(1).skip_while(|byte| is_space(byte)).copied().collect();
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(0, |last| last + 1);
    Some([name, b": ", value.get(..end)?, b"\r\n"].concat())
}
