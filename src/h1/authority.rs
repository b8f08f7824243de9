//! `host [":" port]` (RFC 9110 §7.2, RFC 3986 §3.2): the Host field and the authority of a target.
//!
//! Stricter than a URI parser: no userinfo, no comma (two fields that somebody joined), no IPvFuture, no zone.

use core::net::Ipv6Addr;
use memchr::{memchr, memchr_iter};

/// A valid authority, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Authority<'a> {
    /// Name or address, brackets included.
    pub host: &'a [u8],
    /// Port; `None` when absent or empty.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Takes `bytes` apart; `None` when they are no authority that a Host field may hold, or empty.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Authority<'a>> {
        let host_end = if bytes.first() == Some(&b'[') {
            memchr(b']', bytes)? + 1
        } else {
            memchr(b':', bytes).unwrap_or(bytes.len())
        };
        let (host, rest) = bytes.split_at_checked(host_end)?;
        let valid = if host.first() == Some(&b'[') { is_ipv6_literal(host) } else { is_name(host) };
        if !valid {
            return None;
        }
        let port = match rest {
            [] | [b':'] => None,
            [b':', digits @ ..] => Some(parse_port(digits)?),
            _ => return None,
        };
        Some(Authority { host, port })
    }

    /// Whether both mean one host and port, in a scheme with this default port.
    #[must_use]
    pub fn is_same(&self, other: &Authority<'_>, default_port: u16) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }
}

fn is_ipv6_literal(host: &[u8]) -> bool {
    let inner = match host {
        [b'[', inner @ .., b']'] => inner,
        _ => return false,
    };
    core::str::from_utf8(inner).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// `reg-name` without the comma; IPv4 addresses are among them.
fn is_name(host: &[u8]) -> bool {
    !host.is_empty() && host.iter().all(|&byte| is_name_byte(byte)) && percent_is_encoding(host)
}

const fn is_name_byte(byte: u8) -> bool {
    matches!(byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' // unreserved
        | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=' // sub-delims but the comma
        | b'%')
}

/// Whether two hexadecimal digits follow every `%`.
fn percent_is_encoding(host: &[u8]) -> bool {
    memchr_iter(b'%', host)
        .all(|at| host.get(at + 1..at + 3).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit)))
}

fn parse_port(digits: &[u8]) -> Option<u16> {
    if digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let port = digits.iter().fold(0_u32, |port, digit| port * 10 + u32::from(digit - b'0'));
    u16::try_from(port).ok()
}

#[cfg(test)]
mod tests {
    //! Goal: a table of authorities and what they are taken for.

    use super::*;

    #[test]
    fn valid_ones_are_taken_apart() {
        let rows: &[(&str, &str, Option<u16>)] = &[
            ("a", "a", None),
            ("a.example:80", "a.example", Some(80)),
            ("a_b-c.d~e", "a_b-c.d~e", None),
            ("a:", "a", None),
            ("127.0.0.1:65535", "127.0.0.1", Some(65535)),
            ("[::1]", "[::1]", None),
            ("[2001:db8::1]:8443", "[2001:db8::1]", Some(8443)),
            ("[::ffff:1.2.3.4]:0", "[::ffff:1.2.3.4]", Some(0)),
            ("a%2Db", "a%2Db", None),
            ("*.a!$&'()+;=", "*.a!$&'()+;=", None),
        ];
        for &(bytes, host, port) in rows {
            let authority = Authority::parse(bytes.as_bytes()).unwrap_or_else(|| panic!("{bytes} is valid"));
            assert_eq!((authority.host, authority.port), (host.as_bytes(), port), "{bytes}");
        }
    }

    #[test]
    fn invalid_ones_are_refused() {
        let rows = [
            "",
            ":",
            ":80",
            "u@a",
            "u:p@a",
            "a/",
            "a/b",
            "a?b",
            "a#b",
            "a,b",
            "a b",
            "a\tb",
            "a:65536",
            "a:+1",
            "a:-1",
            "a:0x1",
            "a:1:2",
            "a:000080",
            "::1",
            "[::1",
            "[]",
            "[::1]a",
            "[::1]:x",
            "[::1%25eth0]",
            "[v1.a]",
            "[1.2.3.4]",
            "[::1]]",
            "a[::1]",
            "a]",
            "a%",
            "a%2",
            "a%zz",
            "a\\b",
            "a\"b",
            "a<b",
            "a|b",
            "é",
            "a\x7f",
        ];
        for bytes in rows {
            assert!(Authority::parse(bytes.as_bytes()).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn sameness_ignores_case_and_the_default_port() {
        let same = |a: &str, b: &str| {
            Authority::parse(a.as_bytes()).unwrap().is_same(&Authority::parse(b.as_bytes()).unwrap(), 80)
        };
        assert!(same("A.b", "a.B:80") && same("a:", "a") && same("[::A]", "[::a]:80"));
        assert!(!same("a", "a:81") && !same("a", "b") && !same("a:443", "a"));
    }
}
