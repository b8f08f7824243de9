//! Targets as a route rewrites them, and where its redirects lead.
//!
//! A redirect's `Location` is made of what a client sent. Nothing that could end the field, or lead to another host, gets
//! into it: every byte that is not visible ASCII is written as an escape, `\` too (browsers take it for `/`), and a
//! location without a host never begins with two slashes (RFC 3986 §4.2: what follows them is a host).

use memchr::memchr;

use crate::config::route::{Location, PathMatch, PathRewrite};
use crate::h1::HeadError;

use super::error::Failure;
use super::routing::{path, without_port};

/// What a redirect keeps of a request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `http` or `https`: how the client came.
    pub scheme: &'a str,
    /// The authority; may be empty.
    pub authority: &'a [u8],
    /// The target to forward, in normal form, with its query.
    pub target: &'a [u8],
}

/// Appends `target` as `rewrite` has it, for a route that matched with `matched`. It begins with `/`, and the query stays.
/// `*` has no path and stays too.
///
/// One slash stands between what is put in place and what was behind the match, however the two are written.
pub fn target(rewrite: &PathRewrite, matched: &PathMatch, target: &[u8], out: &mut Vec<u8>) {
    let end = memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at_checked(end).unwrap_or((target, b""));
    match rewrite {
        PathRewrite::Prefix(new) if path != b"*" => {
            replace(new.as_bytes(), behind(matched, path), out);
            out.extend_from_slice(query);
        }
        PathRewrite::Keep | PathRewrite::Prefix(_) => out.extend_from_slice(target),
    }
}

/// Appends `new` and what stands `behind`, which is empty or begins with a slash.
fn replace(new: &[u8], behind: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    if new.first() != Some(&b'/') && !new.is_empty() {
        out.push(b'/');
    }
    let whole = if behind.is_empty() { new } else { without_slashes(new) };
    out.extend_from_slice(whole);
    if out.len() == start && behind.first() != Some(&b'/') {
        out.push(b'/');
    }
    out.extend_from_slice(behind);
}

/// What stands behind the match, from its slash on. A match that the configuration does not write in normal form matched in
/// that form.
fn behind<'a>(matched: &PathMatch, path: &'a [u8]) -> &'a [u8] {
    let PathMatch::Prefix(prefix) = matched else { return b"" };
    let strip = |prefix: &[u8]| path.strip_prefix(without_slashes(prefix));
    let behind = strip(prefix.as_bytes()).or_else(|| strip(&path::configured(prefix)));
    behind.unwrap_or(path)
}

/// `path` without slashes at its end.
fn without_slashes(mut path: &[u8]) -> &[u8] {
    while let [rest @ .., b'/'] = path {
        path = rest;
    }
    path
}

/// Appends where a redirect leads. What stays of the request stays as the client wrote it, but the port, which goes when the
/// scheme changes: it belongs to the other one. Without a scheme or a host to put in front it is a path, and the client
/// stays with the ones it came with, whatever stands between it and us.
///
/// # Errors
/// The scheme changes, and the request names no host to write behind it.
pub fn location(
    location: &Location,
    matched: &PathMatch,
    request: Request<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let (scheme, host, rewrite) = match location {
        Location::Fixed(uri) => {
            visible(uri.as_bytes(), out);
            return Ok(());
        }
        Location::Parts { scheme, host, path } => (scheme.as_deref(), host.as_deref(), path),
    };
    if scheme.is_some() || host.is_some() {
        let authority = match host {
            Some(host) => host.as_bytes(),
            None if scheme == Some(request.scheme) => request.authority,
            None => without_port(request.authority),
        };
        if authority.is_empty() {
            return Err(Failure::BadRequest(HeadError::MissingHost));
        }
        out.extend_from_slice(scheme.unwrap_or(request.scheme).as_bytes());
        out.extend_from_slice(b"://");
        visible(authority, out);
    }
    let mut path = Vec::new();
    let target_or_root: &[u8] = if request.target == b"*" { b"/" } else { request.target };
    target(rewrite, matched, target_or_root, &mut path);
    let mut below = path.as_slice();
    while let [b'/', rest @ ..] = below {
        below = rest;
    }
    out.push(b'/');
    visible(below, out);
    Ok(())
}

/// Appends `bytes`, those as escapes that are not visible ASCII, and `\`.
fn visible(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
    for &byte in bytes {
        if byte.is_ascii_graphic() && byte != b'\\' {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    //! Goal: the rewritten path is one that an operator would write, and a redirect leads where its route says and nowhere
    //! else. Method: tables, and any bytes at all as a request.

    use proptest::prelude::*;

    use super::*;

    fn rewritten(matched: &PathMatch, new: &str, from: &str) -> String {
        let mut out = Vec::new();
        target(&PathRewrite::Prefix(new.into()), matched, from.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    /// The first rows are the table of `ReplacePrefixMatch` of the Kubernetes Gateway API.
    #[test]
    fn a_prefix_is_replaced_with_one_slash_behind_it() {
        for (from, prefix, new, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/bar", "/foo", "/", "/bar"),
            ("/foo/", "/foo/", "/xyz", "/xyz/"),
            ("/foo", "/foo", "/xyz/", "/xyz/"),
            ("/", "/", "/xyz", "/xyz/"),
            ("/a/b", "/", "/xyz", "/xyz/a/b"),
            ("/a/b", "", "xyz", "/xyz/a/b"),
            ("/foo?a=/foo/b?c", "/foo", "/xyz", "/xyz?a=/foo/b?c"),
            ("/foo?", "/foo", "", "/?"),
            ("/~u/a", "/%7Eu", "/home", "/home/a"),
            ("*", "/", "/xyz", "*"),
        ] {
            let matched = PathMatch::Prefix(prefix.into());
            assert_eq!(rewritten(&matched, new, from), expected, "{from} {prefix} {new}");
        }
    }

    #[test]
    fn an_exact_path_is_replaced_whole() {
        let matched = PathMatch::Exact("/a/b".into());
        assert_eq!(rewritten(&matched, "/c?d", "/a/b"), "/c?d");
        assert_eq!(rewritten(&matched, "/c", "/a/b?q"), "/c?q");
        assert_eq!(rewritten(&matched, "", "/a/b?q"), "/?q");
        let mut out = Vec::new();
        target(&PathRewrite::Keep, &matched, b"/a/b?q", &mut out);
        assert_eq!(out, b"/a/b?q");
    }

    fn parts(scheme: &str, host: &str, path: PathRewrite) -> Location {
        let some = |text: &str| (!text.is_empty()).then(|| text.into());
        Location::Parts { scheme: some(scheme), host: some(host), path }
    }

    fn leads(to: &Location, authority: &[u8], target: &[u8]) -> Result<String, Failure> {
        let mut out = Vec::new();
        let matched = PathMatch::Prefix("/a".into());
        location(to, &matched, Request { scheme: "http", authority, target }, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_redirect_leads_where_its_route_says() {
        let (keep, new) = (|| PathRewrite::Keep, || PathRewrite::Prefix("/b".into()));
        for (location, target, expected) in [
            (Location::Fixed("https://x.example/?a#b".into()), "/a/q", "https://x.example/?a#b"),
            (Location::Fixed("https://x.example/ü\r\nb".into()), "/", "https://x.example/%C3%BC%0D%0Ab"),
            (parts("https", "", keep()), "/a/q?r", "https://h.example/a/q?r"),
            (parts("http", "", keep()), "/a/q?r", "http://h.example:8080/a/q?r"),
            (parts("", "n.example:1", keep()), "/a?r", "http://n.example:1/a?r"),
            (parts("https", "n.example", new()), "/a/c?r", "https://n.example/b/c?r"),
            (parts("", "", new()), "/a/c", "/b/c"),
            (parts("", "", PathRewrite::Prefix("".into())), "/a//evil.example", "/evil.example"),
            (parts("", "", PathRewrite::Prefix("".into())), "/a/\\evil.example", "/%5Cevil.example"),
            (parts("https", "", keep()), "*", "https://h.example/"),
        ] {
            let got = leads(&location, b"h.example:8080", target.as_bytes());
            assert_eq!(got.as_deref(), Ok(expected), "{target}");
        }
        let secure = parts("https", "", PathRewrite::Keep);
        assert_eq!(leads(&secure, b"[::1]:80", b"/").as_deref(), Ok("https://[::1]/"));
        assert_eq!(leads(&secure, b"", b"/"), Err(Failure::BadRequest(HeadError::MissingHost)));
    }

    proptest! {
        #[test]
        fn no_request_ends_the_field_or_leaves_the_host(
            authority in proptest::collection::vec(any::<u8>(), 0..12),
            target in proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'\\'), any::<u8>()], 0..24),
            rooted in any::<bool>(),
        ) {
            let target = if rooted { [b"/a/".as_slice(), &target].concat() } else { target };
            for to in [parts("https", "", PathRewrite::Keep), parts("", "", PathRewrite::Prefix("".into()))] {
                let relative = matches!(&to, Location::Parts { scheme: None, .. });
                let Ok(text) = leads(&to, &authority, &target) else { continue };
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'), "{}", text);
                prop_assert!(!relative || (text.starts_with('/') && !text.starts_with("//")), "{}", text);
            }
        }
    }
}
