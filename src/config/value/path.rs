//! Paths of routes: they begin with `/`, and have neither query nor fragment (RFC 3986 §3.3).

use thiserror::Error;

/// Why a path was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// Not absolute.
    #[error("a path begins with `/`, such as /api")]
    Relative,
    /// A query or a fragment.
    #[error("a path has no query and no fragment: routes match the part before `?`")]
    Query,
    /// A pattern.
    #[error("paths have no wildcards: `path` matches everything below it, and `exact-path` itself alone")]
    Pattern,
    /// A percent sign that begins no escape.
    #[error("`%` is followed by two hexadecimal digits, such as %20")]
    Escape,
    /// A character that has to be escaped.
    #[error(
        "this character cannot be in a path as it is: write its bytes in UTF-8 with percent signs, such as %20 for a space"
    )]
    Character,
    /// A path that normalisation changes.
    #[error(
        "requests never have this path: paths are normalised first, so no `//`, no `.` or `..` segment and no escape of a letter, digit or one of -._~ is left"
    )]
    NotNormal,
}

/// Checks a path.
///
/// # Errors
/// Says what is wrong and what to write.
pub fn check(text: &str) -> Result<(), PathError> {
    if !text.starts_with('/') {
        return Err(PathError::Relative);
    }
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => escape(rest.next(), rest.next()).map(drop).ok_or(PathError::Escape)?,
            b'?' | b'#' => return Err(PathError::Query),
            b'*' => return Err(PathError::Pattern),
            _ if is_plain(byte) => {}
            _ => return Err(PathError::Character),
        }
    }
    Ok(())
}

/// Whether normalisation leaves a path as it is; one that it changes matches nothing.
///
/// # Errors
/// It does not.
pub fn check_normal(path: &str) -> Result<(), PathError> {
    let segments_stay = path.split('/').all(|segment| segment != "." && segment != "..");
    let escapes = path.split('%').skip(1).map(|after| {
        let mut bytes = after.bytes();
        escape(bytes.next(), bytes.next())
    });
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let escapes_stay = escapes.into_iter().all(|byte| !byte.is_some_and(unreserved));
    if segments_stay && escapes_stay && !path.contains("//") { Ok(()) } else { Err(PathError::NotNormal) }
}

/// The byte that two digits stand for.
fn escape(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? * 16 + digit(low)?)
}

/// `pchar` of RFC 3986 §3.3 without escapes, and `/`.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;=:@/".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_checked() {
        use PathError as E;
        for text in ["/", "/a/b", "/a/", "/%20x", "/a;b=1,2", "/@me", "/a//b", "/a/../b", "/%61"] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for (text, error) in [
            ("", E::Relative),
            ("api", E::Relative),
            ("/a?b", E::Query),
            ("/a#b", E::Query),
            ("/a/*", E::Pattern),
            ("/a%", E::Escape),
            ("/a%2", E::Escape),
            ("/a%zz", E::Escape),
            ("/a b", E::Character),
            ("/ä", E::Character),
            ("/a\r\nb", E::Character),
            ("/{id}", E::Character),
        ] {
            assert_eq!(check(text), Err(error), "{text}");
        }
    }

    #[test]
    fn what_normalisation_changes_is_found() {
        for text in ["/", "/a/b/", "/a.b/..c", "/%20", "/%2f", "/%2F"] {
            assert_eq!(check_normal(text), Ok(()), "{text}");
        }
        for text in ["//", "/a//b", "/./a", "/a/..", "/%61", "/%7E"] {
            assert_eq!(check_normal(text), Err(PathError::NotNormal), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_verdict(text in "\\PC*|/[%0-9a-f./]{0,9}") {
            let _ = (check(&text), check_normal(&text));
        }
    }
}
