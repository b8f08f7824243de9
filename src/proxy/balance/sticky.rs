//! A cookie that names an endpoint: which one it was, and which one it is now.
//!
//! The value is the member's hash (see [`hash::of_member`]) as 16 digits. It does not show an address. It does not
//! hide one from somebody who guesses, either: there is no secret in it, so that every host makes the same one.

use std::io::Write as _;

use crate::config::group::Sticky;
use crate::proxy::source::Source;

use super::hash;

/// Digits of a value.
const DIGITS: usize = 16;

/// The member that the request's cookie names, whether there is such a member or not.
#[must_use]
pub fn wanted(sticky: &Sticky, source: Source<'_>) -> Option<u64> {
    let value = hash::cookie(source, &sticky.cookie)?;
    let is_ours = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if value.len() != DIGITS || !value.iter().all(is_ours) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(value).ok()?, 16).ok()
}

/// Appends the field line that lets the client come back to `member`. It goes out whenever the request did not name
/// the endpoint that served it.
pub fn write(sticky: &Sticky, member: u64, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "Set-Cookie: {}={member:016x}; Path=/", sticky.cookie);
    if let Some(age) = sticky.max_age {
        let _ = write!(out, "; Max-Age={}", age.as_secs());
    }
    out.extend_from_slice(b"; HttpOnly; SameSite=Lax");
    if sticky.secure {
        out.extend_from_slice(b"; Secure");
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::balance::tests::Head;
    use std::time::Duration;

    fn sticky() -> Sticky {
        Sticky { cookie: "route".into(), max_age: None, secure: false }
    }

    fn written(sticky: &Sticky, member: u64) -> String {
        let mut out = Vec::new();
        write(sticky, member, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_written_is_what_is_wanted() {
        let line = written(&sticky(), 0xab);
        assert_eq!(line, "Set-Cookie: route=00000000000000ab; Path=/; HttpOnly; SameSite=Lax\r\n");
        let long = Sticky { max_age: Some(Duration::from_secs(3600)), secure: true, ..sticky() };
        let line = written(&long, u64::MAX);
        let all =
            "Set-Cookie: route=ffffffffffffffff; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure\r\n";
        assert_eq!(line, all);
        let pair = line.split([' ', ';']).nth(1).unwrap();
        let head = Head::new(&[("Cookie", &format!("a=1; {pair}"))]);
        assert_eq!(wanted(&sticky(), head.source()), Some(u64::MAX));
    }

    #[test]
    fn what_is_not_ours_names_nobody() {
        for value in
            ["", "ab", "+0000000000000ab", "00000000000000AB", "00000000000000abc", "gggggggggggggggg"]
        {
            let head = Head::new(&[("Cookie", &format!("route={value}"))]);
            assert_eq!(wanted(&sticky(), head.source()), None, "{value}");
        }
    }
}
