//! What a request is for: its target, by form (RFC 9112 §3.2), and its authority, held against Host.
//!
//! - Host: exactly one in HTTP/1.1, at most one in HTTP/1.0. It may be empty for `OPTIONS *` alone, whose
//!   target has no authority (RFC 9112 §3.2.4).
//! - Absolute-form: `http` and `https` only; its authority must be that of Host (the default port counts as
//!   named), so nobody behind us can disagree on which of the two is meant.
//! - Target bytes: visible ASCII without `#`.

use super::authority::Authority;
use super::error::HeadError;
use super::field::Span;
use super::method::{Method, Version};
use super::summary::span_of;
use memchr::{memchr, memchr2};

/// A request target, by its form (RFC 9112 §3.2).
pub enum Target<'a> {
    /// A path and query.
    Origin(&'a [u8]),
    /// `*`, the server as a whole.
    Asterisk(&'a [u8]),
    /// A URI.
    Absolute { whole: &'a [u8], authority: &'a [u8], path: &'a [u8], default_port: u16 },
}

impl<'a> Target<'a> {
    /// The form that `target` has, if `method` allows it.
    ///
    /// # Errors
    /// [`HeadError::TargetTooLong`] and [`HeadError::BadTarget`].
    pub fn parse(target: &'a [u8], method: Method, target_bytes_max: usize) -> Result<Target<'a>, HeadError> {
        if target.len() > target_bytes_max {
            return Err(HeadError::TargetTooLong);
        }
        // httparse lets UTF-8 and fragments pass; neither stands in a request target (RFC 3986 §2, §3.5).
        if !target.is_ascii() || memchr(b'#', target).is_some() {
            return Err(HeadError::BadTarget);
        }
        match target {
            [b'/', ..] => Ok(Target::Origin(target)),
            [b'*'] if method == Method::Options => Ok(Target::Asterisk(target)),
            _ => Target::parse_absolute(target).ok_or(HeadError::BadTarget),
        }
    }

    fn parse_absolute(whole: &'a [u8]) -> Option<Target<'a>> {
        let (default_port, rest) = match strip_scheme(whole, b"http://") {
            Some(rest) => (80, rest),
            None => (443, strip_scheme(whole, b"https://")?),
        };
        let authority_end = memchr2(b'/', b'?', rest).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(authority_end)?;
        Some(Target::Absolute { whole, authority, path, default_port })
    }

    /// The target as sent.
    pub const fn whole(&self) -> &'a [u8] {
        match self {
            Target::Origin(whole) | Target::Asterisk(whole) | Target::Absolute { whole, .. } => whole,
        }
    }

    /// The target without scheme and authority.
    pub const fn path(&self) -> &'a [u8] {
        match self {
            Target::Origin(path) | Target::Asterisk(path) | Target::Absolute { path, .. } => path,
        }
    }
}

/// `target` without `scheme`, which is compared in any case (RFC 9110 §4.2.3).
fn strip_scheme<'a>(target: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = target.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// The authority that a request is for.
///
/// # Errors
/// A Host that is missing or invalid, or that an absolute-form target contradicts.
pub fn authority(
    head: &[u8],
    target: &Target<'_>,
    version: Version,
    host: Option<Span>,
) -> Result<Span, HeadError> {
    if host.is_none() && version == Version::Http11 {
        // RFC 9112 §3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request
        // message that lacks a Host header field".
        return Err(HeadError::MissingHost);
    }
    let host_value = host.map(|span| span.of(head));
    let may_be_empty = matches!(target, Target::Asterisk(_));
    let parsed_host = match host_value {
        None => None,
        Some([]) if may_be_empty => None,
        Some(value) => Some(Authority::parse(value).ok_or(HeadError::BadHost)?),
    };
    match *target {
        Target::Origin(_) | Target::Asterisk(_) => Ok(host.unwrap_or_default()),
        Target::Absolute { authority, default_port, .. } => {
            let named = Authority::parse(authority).ok_or(HeadError::BadTarget)?;
            if parsed_host.is_some_and(|host| !host.is_same(&named, default_port)) {
                return Err(HeadError::AuthorityDiffersFromHost);
            }
            Ok(span_of(head, authority))
        }
    }
}
