//! Fuzz bodies: any bytes in, panics out when an invariant breaks. `fuzz/` feeds them from libFuzzer, ordinary
//! tests replay every vector through them.
//!
//! The invariants: a verdict does not depend on how the bytes were cut; what is accepted holds no ambiguity
//! that another parser could read differently; framing is what the slow reference says; nothing behind a
//! message is touched.

use super::body::BodyDecoder;
use super::error::{BodyError, HeadError};
use super::field::{Fields, is_token};
use super::framing::{Framing, has_no_body};
use super::head::{HeadScan, Method, Parsed, RequestHead, ResponseHead, parse_request, parse_response};
use super::reference;
use crate::limits::MessageLimits;

/// Bytes of an input that are looked at: the checks are quadratic in it.
const INPUT_BYTES_MAX: usize = 2048;

/// Limits small enough for short inputs to break.
const SMALL: MessageLimits = MessageLimits {
    head_bytes_max: 256,
    fields_max: 6,
    target_bytes_max: 32,
    body_bytes_max: None,
    allow_underscores: false,
};

/// Holds [`parse_request`] to its invariants.
pub fn fuzz_request(data: &[u8]) {
    let data = data.get(..INPUT_BYTES_MAX).unwrap_or(data);
    for limits in [MessageLimits::default(), SMALL] {
        let parse = |buf: &[u8], fields: &mut Fields| parse_request(buf, &limits, fields);
        if let Some((head, fields)) = check_cuts(data, |head| head.bytes, parse) {
            check_request(data, &head, &fields, &limits);
        }
    }
}

/// Holds [`parse_response`] to its invariants.
pub fn fuzz_response(data: &[u8]) {
    let data = data.get(..INPUT_BYTES_MAX).unwrap_or(data);
    for (limits, method) in [(MessageLimits::default(), Method::Get), (SMALL, Method::Head)] {
        let parse = |buf: &[u8], fields: &mut Fields| parse_response(buf, &limits, method, fields);
        if let Some((head, fields)) = check_cuts(data, |head| head.bytes, parse) {
            check_response(data, &head, method, &fields, &limits);
        }
    }
}

/// Holds the chunk decoder to its invariants. The first byte of the input says how the rest is cut.
pub fn fuzz_chunked(data: &[u8]) {
    let Some((&cut, body)) = data.split_first() else { return };
    let whole = decode(body, usize::MAX, false);
    for (piece, skip) in [(usize::MAX, true), (usize::from(cut).max(1), false), (1, false), (3, true)] {
        let cut = decode(body, piece, skip);
        assert_eq!(cut, whole, "the verdict depends on the cuts: {piece} bytes each, skipping: {skip}");
    }
    let reference = reference::chunked(body);
    let agrees = match (&reference, &whole) {
        (reference::Body::Complete { payload, consumed, trailers }, Outcome::Done(done)) => {
            (payload, *consumed, trailers) == (&done.payload, done.consumed, &done.trailers)
        }
        (reference::Body::Refused, Outcome::Refused(_)) => true,
        // The decoder refuses at the byte, the reference at the line.
        (reference::Body::Unfinished, Outcome::Unfinished | Outcome::Refused(_)) => true,
        (reference::Body::Complete { .. }, Outcome::Unfinished | Outcome::Refused(_))
        | (reference::Body::Refused, Outcome::Done(_) | Outcome::Unfinished)
        | (reference::Body::Unfinished, Outcome::Done(_)) => false,
    };
    assert!(agrees, "reference {reference:?}, decoder {whole:?}");
}

/// A whole body as the decoder read it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub payload: Vec<u8>,
    pub consumed: usize,
    pub trailers: Vec<u8>,
}

/// What the decoder made of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done(Done),
    Unfinished,
    Refused(BodyError),
}

/// Decodes `body` as chunked in pieces of `piece` bytes, moving bulk past the decoder where `skip` says so.
pub(super) fn decode(body: &[u8], piece: usize, skip: bool) -> Outcome {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    let mut payload = Vec::new();
    let mut at = 0;
    while at < body.len() && !decoder.is_done() {
        let rest = body.get(at..).unwrap_or_default();
        let bulk = usize::try_from(decoder.bulk()).unwrap_or(usize::MAX).min(rest.len());
        if skip && bulk > 0 {
            payload.extend(rest.iter().take(bulk));
            decoder.skip_bulk(bulk as u64);
            at += bulk;
            continue;
        }
        let sent = rest.get(..piece).unwrap_or(rest);
        let mut buf = sent.to_vec();
        let decoded = match decoder.decode(&mut buf) {
            Ok(decoded) => decoded,
            Err(error) => return Outcome::Refused(error),
        };
        assert!(decoded.payload <= decoded.consumed && decoded.consumed <= sent.len());
        assert!(decoded.done || decoded.consumed == sent.len(), "an unfinished body takes every byte");
        assert_eq!(buf.get(decoded.consumed..), sent.get(decoded.consumed..), "the next message was touched");
        assert!(decoded.done == decoder.is_done() && (!decoded.done || decoder.bulk() == 0));
        payload.extend(buf.iter().take(decoded.payload));
        at += decoded.consumed;
    }
    if decoder.is_done() {
        Outcome::Done(Done { payload, consumed: at, trailers: decoder.trailers().to_vec() })
    } else {
        assert_eq!(decoder.end_of_stream(), Err(BodyError::Truncated));
        Outcome::Unfinished
    }
}

/// The verdict on a head whose bytes come `piece` at a time, asked for when a [`HeadScan`] advises it.
/// `None` when none was reached.
pub(super) fn drip<T>(
    data: &[u8],
    cuts: impl Iterator<Item = usize>,
    mut parse: impl FnMut(&[u8]) -> Result<Parsed<T>, HeadError>,
) -> Option<Result<T, HeadError>> {
    let mut scan = HeadScan::default();
    for end in cuts.chain([data.len()]) {
        let buf = data.get(..end).unwrap_or(data);
        if !scan.grew(buf) {
            continue;
        }
        match parse(buf) {
            Ok(Parsed::Partial) => {}
            Ok(Parsed::Complete(head)) => return Some(Ok(head)),
            Err(error) => return Some(Err(error)),
        }
    }
    None
}

/// Checks that the verdict does not depend on how `data` is cut, nor on what follows the head. The head and
/// its fields if it was accepted.
fn check_cuts<T: Copy + PartialEq + std::fmt::Debug>(
    data: &[u8],
    bytes: impl Fn(&T) -> usize,
    parse: impl Fn(&[u8], &mut Fields) -> Result<Parsed<T>, HeadError>,
) -> Option<(T, Fields)> {
    let mut fields = Fields::new();
    let whole = parse(data, &mut fields);
    for step in [1, 7] {
        let mut cut_fields = Fields::new();
        let cut = drip(data, (step..data.len()).step_by(step), |buf| parse(buf, &mut cut_fields));
        let agrees = match (&cut, &whole) {
            (Some(Ok(cut)), Ok(Parsed::Complete(whole))) => cut == whole && cut_fields == fields,
            (Some(Err(_)), Err(_)) | (None, Ok(Parsed::Partial)) => true,
            (None, Err(_)) => data.last() != Some(&b'\n'), // the fault is in a line that has not ended
            (Some(Ok(_)), Ok(Parsed::Partial) | Err(_))
            | (Some(Err(_)), Ok(Parsed::Complete(_) | Parsed::Partial))
            | (None, Ok(Parsed::Complete(_))) => false,
        };
        assert!(agrees, "cut {cut:?}, whole {whole:?}");
    }
    let Ok(Parsed::Complete(head)) = whole else { return None };
    let alone = data.get(..bytes(&head)).unwrap_or_default();
    assert_eq!(alone.len(), bytes(&head), "a head lies in its buffer");
    assert_eq!(parse(alone, &mut fields), Ok(Parsed::Complete(head)), "what follows a head changes it");
    let shorter = alone.get(..alone.len().saturating_sub(1)).unwrap_or_default();
    assert_eq!(parse(shorter, &mut Fields::new()), Ok(Parsed::Partial), "a head ends with its empty line");
    Some((head, fields))
}

fn check_request(data: &[u8], head: &RequestHead, fields: &Fields, limits: &MessageLimits) {
    let bytes = data.get(..head.bytes).unwrap_or_default();
    check_lines(bytes, fields, limits);
    assert!(is_token(head.method_span.of(bytes)));
    assert_eq!(Method::of(head.method_span.of(bytes)), head.method);
    assert!(!matches!(head.method, Method::Connect | Method::Trace));
    let target = head.target.of(bytes);
    assert!(!target.is_empty() && target.len() <= limits.target_bytes_max);
    assert!(target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#'));
    let forwarded = [head.path_prefix(bytes), head.path.of(bytes)].concat();
    assert!(forwarded.starts_with(b"/") || (forwarded == b"*" && head.method == Method::Options));
    assert!(head.authority.of(bytes).iter().all(|byte| byte.is_ascii_graphic() && !b"@/?#,".contains(byte)));
    let reference = reference::declared_framing(&String::from_utf8_lossy(bytes));
    assert_eq!(reference, Some((head.framing != Framing::None).then_some(head.framing)));
}

fn check_response(data: &[u8], head: &ResponseHead, method: Method, fields: &Fields, limits: &MessageLimits) {
    let bytes = data.get(..head.bytes).unwrap_or_default();
    check_lines(bytes, fields, limits);
    assert!((100..=599).contains(&head.status));
    assert!(bytes.starts_with(format!("{} {}", head.version.as_str(), head.status).as_bytes()));
    assert!(!head.reason.of(bytes).iter().any(|byte| matches!(byte, b'\r' | b'\n')));
    assert!(!(head.persistent && head.framing == Framing::UntilClose));
    let reference = reference::declared_framing(&String::from_utf8_lossy(bytes));
    let without_body = method == Method::Head || has_no_body(head.status);
    let expected =
        if without_body { Framing::None } else { reference.flatten().unwrap_or(Framing::UntilClose) };
    assert_eq!((reference.is_some(), head.framing), (true, expected));
}

/// Checks the lines of an accepted head: only CRLF, no control byte, no folding, whole fields in order.
fn check_lines(bytes: &[u8], fields: &Fields, limits: &MessageLimits) {
    assert!(bytes.len() <= limits.head_bytes_max && fields.len() <= limits.fields_max);
    let text = bytes.strip_suffix(b"\r\n\r\n").unwrap_or_default();
    assert!(!text.is_empty(), "a head ends with an empty line");
    let mut lines = text.split(|&byte| byte == b'\n').skip_while(|line| *line == b"\r");
    assert!(text.iter().all(|&byte| !byte.is_ascii_control() || matches!(byte, b'\r' | b'\n' | b'\t')));
    let start_line = lines.next().unwrap_or_default();
    assert!(fields.is_empty() != start_line.ends_with(b"\r"), "the start line ends in CRLF");
    for (index, field) in fields.iter().enumerate() {
        let line = lines.next().unwrap_or_default();
        let line =
            if index + 1 == fields.len() { line } else { line.strip_suffix(b"\r").unwrap_or_default() };
        assert!(!line.contains(&b'\r'));
        let name = field.name.of(bytes);
        assert!(is_token(name) && line.starts_with(name) && line.get(name.len()) == Some(&b':'));
        let value = field.value.of(bytes);
        assert!(line.get(name.len() + 1..).is_some_and(|rest| super::field::trim(rest) == value));
    }
    assert_eq!(lines.next(), None, "every line is a field");
}
