//! Paths in normal form (RFC 3986 §6.2.2): routes are chosen by the very bytes that an origin gets.
//!
//! - Escapes of unreserved characters are decoded, the hexadecimal digits of all others are written in upper case. What an
//!   escape stands for never becomes a separator: `%2F` and `%5C` stay what they are, and so does `\`.
//! - `//` becomes `/`, and dot segments, written with `.` or `%2e`, are removed, in one pass from left to right:
//!   `/a//../b` is `/b`.
//! - Refused: an escape that is malformed or stands for NUL, a path that climbs above the root, and bytes that cannot stand
//!   in a target. Two readers could make two things of each.
//! - The query is not looked at.

use memchr::{memchr, memrchr};
use thiserror::Error;

use crate::h1::RequestHead;

/// What [`normalize`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Normalized {
    /// The target was in normal form.
    Unchanged,
    /// The normal form was written, query included.
    Changed,
}

/// Why a target has no normal form.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BadPath {
    /// `%` without two hexadecimal digits behind it.
    #[error("an escape is malformed")]
    Escape,
    /// `%00`.
    #[error("an escape stands for NUL")]
    Nul,
    /// More `..` than there are segments before it.
    #[error("the path climbs above the root")]
    Root,
    /// A byte that is not visible ASCII, or `#`.
    #[error("a byte cannot stand in a path")]
    Byte,
    /// Neither a path from the root, nor empty, nor `*`.
    #[error("the target is no path")]
    Form,
}

/// The target of a request as it is forwarded: its path in normal form, and its query. `out` is written over when the
/// request has it otherwise.
///
/// # Errors
/// The target has no normal form.
pub fn target<'a>(head: &RequestHead, bytes: &'a [u8], out: &'a mut Vec<u8>) -> Result<&'a [u8], BadPath> {
    match (head.path.of(bytes), head.path_prefix(bytes)) {
        ([], whole) => Ok(whole), // an absolute-form target that has no path: `/`, or `*`
        (target, _) => match normalize(target, out)? {
            Normalized::Unchanged => Ok(target),
            Normalized::Changed => Ok(out),
        },
    }
}

/// Brings the path of `target` into normal form: `out` is emptied, and holds the whole target if anything had to change.
///
/// # Errors
/// The target has no normal form; what `out` holds then means nothing.
pub fn normalize(target: &[u8], out: &mut Vec<u8>) -> Result<Normalized, BadPath> {
    out.clear();
    let end = memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at_checked(end).unwrap_or((target, b""));
    match path {
        [b'/', ..] if is_plain(path) => return Ok(Normalized::Unchanged),
        [b'/', below @ ..] => walk(below, out)?,
        [] => out.push(b'/'),
        b"*" if query.is_empty() => return Ok(Normalized::Unchanged),
        _ => return Err(BadPath::Form),
    }
    if path == out.as_slice() {
        out.clear();
        return Ok(Normalized::Unchanged);
    }
    out.extend_from_slice(query);
    Ok(Normalized::Changed)
}

/// A path of the configuration, in normal form if it has one. Routes are compiled once; requests never pay for this.
pub(in crate::proxy) fn configured(path: &str) -> Box<[u8]> {
    let mut out = Vec::new();
    match normalize(path.as_bytes(), &mut out) {
        Ok(Normalized::Changed) => out.into_boxed_slice(),
        Ok(Normalized::Unchanged) | Err(_) => path.as_bytes().into(),
    }
}

/// Whether nothing in `path` needs a second look. No early exit: so the compiler makes vector code of it, and most paths
/// are shorter than what a branch per byte would save.
fn is_plain(path: &[u8]) -> bool {
    let below = path.get(1..).unwrap_or_default();
    let pairs = path.iter().zip(below);
    let odd = below
        .iter()
        .fold(false, |odd, &byte| odd | !byte.is_ascii_graphic() | (byte == b'%') | (byte == b'#'));
    let double = pairs.fold(false, |odd, (&first, &second)| {
        odd | ((first == b'/') & ((second == b'/') | (second == b'.')))
    });
    !odd & !double
}

/// Writes the normal form of `/` and what stands `below` it.
fn walk(below: &[u8], out: &mut Vec<u8>) -> Result<(), BadPath> {
    out.push(b'/');
    let (mut rest, mut segment) = (below, out.len());
    while let [byte, after @ ..] = rest {
        rest = after;
        match *byte {
            b'/' => segment = end_segment(out, segment, b"/")?,
            b'%' => {
                let (&[high, low], after) = after.split_first_chunk().ok_or(BadPath::Escape)?;
                escape(high, low, out)?;
                rest = after;
            }
            byte if byte.is_ascii_graphic() && byte != b'#' => out.push(byte),
            _ => return Err(BadPath::Byte),
        }
    }
    end_segment(out, segment, b"").map(|_| ())
}

/// Ends the segment that begins at `segment`; where the next one begins. `separator` is written behind it if anything of
/// it stays.
fn end_segment(out: &mut Vec<u8>, segment: usize, separator: &[u8]) -> Result<usize, BadPath> {
    match out.get(segment..).unwrap_or_default() {
        b"" | b"." => out.truncate(segment),
        b".." => {
            let above = out.get(..segment.saturating_sub(1)).unwrap_or_default();
            let slash = memrchr(b'/', above).ok_or(BadPath::Root)?;
            out.truncate(slash + 1);
        }
        _ => out.extend_from_slice(separator),
    }
    Ok(out.len())
}

/// Writes what stands for `%` and two digits.
fn escape(high: u8, low: u8, out: &mut Vec<u8>) -> Result<(), BadPath> {
    let value = digit(high)? << 4 | digit(low)?;
    match value {
        0 => return Err(BadPath::Nul),
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(value),
        _ => out.extend_from_slice(&[b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]),
    }
    Ok(())
}

fn digit(byte: u8) -> Result<u8, BadPath> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(BadPath::Escape),
    }
}

/// Fuzz body: any bytes in, panics out when an invariant breaks.
pub fn fuzz(target: &[u8]) {
    let (mut out, mut again) = (Vec::new(), Vec::new());
    let Ok(verdict) = normalize(target, &mut out) else { return };
    let normal = if verdict == Normalized::Changed { out.as_slice() } else { target };
    assert_eq!(normalize(normal, &mut again), Ok(Normalized::Unchanged), "it has a normal form of its own");
    let query = |target: &[u8]| memchr(b'?', target).and_then(|at| Some(target.get(at..)?.to_vec()));
    assert_eq!(query(normal), query(target), "the query was touched");
    let path = normal.split(|&byte| byte == b'?').next().unwrap_or_default();
    assert!(path == b"*" || path.first() == Some(&b'/'));
    assert!(path.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'#'));
    let mut segments = path.split(|&byte| byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        assert!(segment != b"." && segment != b"..", "a dot segment stayed");
        assert!(!segment.is_empty() || segments.peek().is_none(), "a double slash stayed");
    }
}
