//! Request and response heads.
//!
//! httparse finds the lines; this module holds them to the rules httparse is too lenient about, and says what
//! a proxy must know of the message: framing, persistence, authority, upgrade. One call of httparse, one pass
//! over the fields, no allocation once `fields` has grown to its size.
//!
//! ```text
//!  window (cut to head_bytes_max) -> httparse -> Err      -> diagnose: which rule
//!                                             -> Partial  -> limits: can it still fit?
//!                                             -> Complete -> line ends, Summary of fields -> framing, authority
//! ```
//!
//! Choices where RFC 9110 and RFC 9112 leave one:
//! - Host and target: see `target`.
//! - An expectation other than `100-continue` is ignored (RFC 9110 §10.1.1 permits 417, does not demand it).
//! - Empty lines before a request line are skipped (RFC 9112 §2.2), before a status line they are not.

use super::diagnose;
use super::error::HeadError;
use super::field::{Fields, Span};
use super::framing::{self, Framing};
use super::persistence::persistent;
use super::summary::{Summary, offset, span_of};
use super::target::{Target, authority};
use crate::limits::{FIELDS_CEILING, LEADING_CRLF_BYTES_MAX, MessageLimits};
use memchr::memchr;
use std::mem::MaybeUninit;

pub use super::method::{Method, Version};
pub use super::scan::HeadScan;

/// What a parse of a growing buffer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Parsed<T> {
    /// The head is here, whole and valid.
    Complete(T),
    /// Nothing is wrong so far; more bytes are needed.
    Partial,
}

/// A valid request head, as spans over its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// What the method means. Never [`Method::Connect`] or [`Method::Trace`]: those are refused.
    pub method: Method,
    /// The method as sent.
    pub method_span: Span,
    /// The target as sent.
    pub target: Span,
    /// The target to forward, without scheme and authority. Write [`RequestHead::path_prefix`] before it.
    pub path: Span,
    /// The Host value, or the authority of an absolute-form target. Empty when there is none (HTTP/1.0,
    /// `OPTIONS *`).
    pub authority: Span,
    /// Version of the request line.
    pub version: Version,
    /// Where the request ends; never [`Framing::UntilClose`].
    pub framing: Framing,
    /// Whether the client wants the connection kept.
    pub persistent: bool,
    /// Whether the client waits for 100 before it sends its body (never in HTTP/1.0, RFC 9110 §10.1.1).
    pub expects_continue: bool,
    /// Whether an upgrade to a protocol other than `h2c` is asked for (never in HTTP/1.0, RFC 9110 §7.8).
    pub upgrade: bool,
    /// Length of the head: leading empty lines and the final one included.
    pub bytes: usize,
}

impl RequestHead {
    /// What a forwarder writes before [`RequestHead::path`] to make an origin-form of it. An absolute-form
    /// target need have no path: `http://a` is forwarded as `/` and `http://a?q` as `/?q`, but `OPTIONS http://a`
    /// as `*` (RFC 9112 §3.2.4). Empty for every other target.
    #[must_use]
    pub fn path_prefix(&self, head: &[u8]) -> &'static [u8] {
        match self.path.of(head).first() {
            Some(b'/' | b'*') => b"",
            None if self.method == Method::Options => b"*",
            Some(_) | None => b"/",
        }
    }
}

/// A valid response head, as spans over its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// 100 to 599.
    pub status: u16,
    /// The reason phrase; may be empty.
    pub reason: Span,
    /// Version of the status line.
    pub version: Version,
    /// Where the response ends.
    pub framing: Framing,
    /// Whether the origin keeps the connection. False too when a response that can have no body declares one:
    /// what follows on that connection is anybody's guess.
    pub persistent: bool,
    /// The `timeout` of its Keep-Alive field in seconds.
    pub keep_alive_timeout_s: Option<u32>,
    /// Whether this is a 101 whose Connection and Upgrade fields say to what; a 101 without is a broken one.
    pub upgrade: bool,
    /// Whether it has a Date field; otherwise the forwarder adds one (RFC 9110 §6.6.1).
    pub has_date: bool,
    /// Length of the head, the final empty line included.
    pub bytes: usize,
}

type Table<'a> = [MaybeUninit<httparse::Header<'a>>; FIELDS_CEILING];

/// Parses the request head that `buf` starts with. `fields` is cleared and filled anew.
///
/// # Errors
/// The rule that the head broke. The connection is of no further use then.
pub fn parse_request(
    buf: &[u8],
    limits: &MessageLimits,
    fields: &mut Fields,
) -> Result<Parsed<RequestHead>, HeadError> {
    fields.clear();
    let head = window(buf, limits);
    let Some(lines) = skip_empty_lines(head)? else {
        return Ok(Parsed::Partial);
    };
    let mut table: Table<'_> = [const { MaybeUninit::uninit() }; FIELDS_CEILING];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(lines, fields_table(&mut table, limits)) {
        Err(error) => Err(diagnose::request(lines, error, limits.target_bytes_max)),
        Ok(httparse::Status::Partial) if diagnose::target_is_too_long(lines, limits.target_bytes_max) => {
            Err(HeadError::TargetTooLong)
        }
        Ok(httparse::Status::Partial) => partial(head, limits),
        Ok(httparse::Status::Complete(bytes)) => {
            check_request(head, head.len() - lines.len() + bytes, &parsed, limits, fields)
                .map(Parsed::Complete)
        }
    }
}

/// Parses the response head that `buf` starts with, the answer to a request of method `request`. `fields` is
/// cleared and filled anew.
///
/// # Errors
/// The rule that the head broke. The connection is of no further use then.
pub fn parse_response(
    buf: &[u8],
    limits: &MessageLimits,
    request: Method,
    fields: &mut Fields,
) -> Result<Parsed<ResponseHead>, HeadError> {
    fields.clear();
    let head = window(buf, limits);
    if matches!(head.first(), Some(b'\r' | b'\n')) {
        return Err(HeadError::BadVersion);
    }
    let mut table: Table<'_> = [const { MaybeUninit::uninit() }; FIELDS_CEILING];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, head, fields_table(&mut table, limits)) {
        Err(error) => Err(diagnose::response(head, error)),
        Ok(httparse::Status::Partial) => partial(head, limits),
        Ok(httparse::Status::Complete(bytes)) => {
            check_response(head, bytes, &parsed, request, fields).map(Parsed::Complete)
        }
    }
}

/// The part of `buf` that a head within the limits can take: nothing beyond is looked at.
fn window<'a>(buf: &'a [u8], limits: &MessageLimits) -> &'a [u8] {
    let bytes_max = limits.head_bytes_max.min(u32::MAX as usize);
    buf.get(..bytes_max).unwrap_or(buf)
}

/// As much of the parser's table as the limit lets a head fill.
fn fields_table<'t, 'a>(
    table: &'t mut Table<'a>,
    limits: &MessageLimits,
) -> &'t mut [MaybeUninit<httparse::Header<'a>>] {
    let fields_max = limits.fields_max.min(FIELDS_CEILING);
    table.get_mut(..fields_max).unwrap_or_default()
}

/// The verdict on a head that has not ended: more to come, unless its window is full.
fn partial<T>(head: &[u8], limits: &MessageLimits) -> Result<Parsed<T>, HeadError> {
    if head.len() >= limits.head_bytes_max { Err(HeadError::HeadTooLarge) } else { Ok(Parsed::Partial) }
}

/// `head` from its request line on; `None` while there may be more empty lines.
///
/// RFC 9112 §2.2: a server "SHOULD ignore at least one empty line (CRLF) received prior to the request-line".
fn skip_empty_lines(head: &[u8]) -> Result<Option<&[u8]>, HeadError> {
    let mut rest = head;
    loop {
        rest = match rest {
            [] => return Ok(None),
            [b'\r', ..] if head.len() - rest.len() >= LEADING_CRLF_BYTES_MAX => {
                return Err(HeadError::LeadingEmptyLines);
            }
            [b'\r', b'\n', rest @ ..] => rest,
            [b'\r'] => return Ok(None),
            [b'\r', ..] => return Err(HeadError::BareCr),
            [b'\n', ..] => return Err(HeadError::BareLf),
            [..] => return Ok(Some(rest)),
        }
    }
}

/// Holds a request that httparse took to the rules. `bytes` is its length from the start of `head`.
fn check_request(
    head: &[u8],
    bytes: usize,
    parsed: &httparse::Request<'_, '_>,
    limits: &MessageLimits,
    fields: &mut Fields,
) -> Result<RequestHead, HeadError> {
    let method_name = parsed.method.unwrap_or_default().as_bytes();
    let target = parsed.path.unwrap_or_default().as_bytes();
    let version = Version::of_minor(parsed.version)?;
    let method = Method::of(method_name);
    if matches!(method, Method::Connect | Method::Trace) {
        return Err(HeadError::ConnectOrTrace);
    }
    let target = Target::parse(target, method, limits.target_bytes_max)?;
    let summary = Summary::collect(head, parsed.headers, fields)?;
    check_end(head, bytes)?;
    let framing =
        framing::request(version, summary.content_length_in(head), summary.transfer_encoding_in(head))?;
    let authority = authority(head, &target, version, summary.host)?;
    Ok(RequestHead {
        method,
        method_span: span_of(head, method_name),
        target: span_of(head, target.whole()),
        path: span_of(head, target.path()),
        authority,
        version,
        framing,
        persistent: persistent(version, summary.connection, framing),
        expects_continue: summary.expects_continue && version == Version::Http11,
        upgrade: summary.upgrades() && version == Version::Http11,
        bytes,
    })
}

/// Holds a response that httparse took to the rules.
fn check_response(
    head: &[u8],
    bytes: usize,
    parsed: &httparse::Response<'_, '_>,
    request: Method,
    fields: &mut Fields,
) -> Result<ResponseHead, HeadError> {
    let version = Version::of_minor(parsed.version)?;
    let status = parsed.code.filter(|status| (100..=599).contains(status)).ok_or(HeadError::BadStatus)?;
    let summary = Summary::collect(head, parsed.headers, fields)?;
    check_end(head, bytes)?;
    let (length, codings) = (summary.content_length_in(head), summary.transfer_encoding_in(head));
    let framing = framing::response(version, status, request, length, codings)?;
    let end_is_certain = !framing::declares_forbidden_body(status, length, codings);
    Ok(ResponseHead {
        status,
        reason: reason(head),
        version,
        framing,
        persistent: end_is_certain && persistent(version, summary.connection, framing),
        keep_alive_timeout_s: summary.keep_alive_timeout_s,
        upgrade: status == 101 && summary.upgrades() && version == Version::Http11,
        has_date: summary.has_date,
        bytes,
    })
}

/// Checks the last line and the empty line behind it for the LF without CR that httparse takes. (The lines
/// before were checked field by field.)
fn check_end(head: &[u8], bytes: usize) -> Result<(), HeadError> {
    let ends_in_crlf = head.get(..bytes).is_some_and(|head| head.ends_with(b"\r\n\r\n"));
    if ends_in_crlf { Ok(()) } else { Err(HeadError::BareLf) }
}

/// The reason phrase of a status line that httparse took: it is not asked, since it hides phrases that are not
/// ASCII.
fn reason(head: &[u8]) -> Span {
    const START: usize = "HTTP/1.1 200 ".len();
    let end = memchr(b'\r', head).unwrap_or(START).max(START);
    Span { start: offset(START.min(end)), end: offset(end) }
}
