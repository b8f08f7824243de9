//! Names and values of fields, methods and cookies (RFC 9110 §5.1, §5.5, §9.1; RFC 6265 §4.1.1).

use thiserror::Error;

/// Why a text of a field was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FieldError {
    /// Not a name.
    #[error("expected the name of a field: letters, digits and -_.!#$%&'*+^`|~, such as x-tenant")]
    Name,
    /// A control character.
    #[error(
        "a value has no line ends and no control characters: whatever follows them would be a field of its own"
    )]
    Control,
    /// White space around a value.
    #[error("white space around a value is lost on the way: leave it out")]
    Space,
    /// Not a method.
    #[error("expected a method, such as GET or POST")]
    Method,
    /// A method in lower case.
    #[error("methods are written in upper case, such as GET or POST")]
    MethodCase,
    /// A method that is never served.
    #[error("CONNECT and TRACE are answered with 405 before routes are looked at: leave them out")]
    MethodNever,
    /// Not the name of a cookie.
    #[error("expected the name of a cookie: letters, digits and -_.!#$%&'*+^`|~, such as session")]
    Cookie,
}

/// A name, in lower case.
///
/// # Errors
/// Not a token (RFC 9110 §5.6.2).
pub fn name(text: &str) -> Result<Box<str>, FieldError> {
    if is_token(text) { Ok(text.to_ascii_lowercase().into()) } else { Err(FieldError::Name) }
}

/// A value.
///
/// # Errors
/// Control characters, or white space around it.
pub fn value(text: &str) -> Result<Box<str>, FieldError> {
    if text.chars().any(|c| c.is_control() && c != '\t') {
        Err(FieldError::Control)
    } else if text.trim_matches([' ', '\t']) != text {
        Err(FieldError::Space)
    } else {
        Ok(text.into())
    }
}

/// A method.
///
/// # Errors
/// Not a token, or one that cannot be routed.
pub fn method(text: &str) -> Result<Box<str>, FieldError> {
    const COMMON: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
    let upper = text.to_ascii_uppercase();
    match upper.as_str() {
        _ if !is_token(text) => Err(FieldError::Method),
        "CONNECT" | "TRACE" => Err(FieldError::MethodNever),
        common if COMMON.contains(&common) && text != common => Err(FieldError::MethodCase),
        _ => Ok(text.into()),
    }
}

/// The name of a cookie.
///
/// # Errors
/// Not a token.
pub fn cookie(text: &str) -> Result<Box<str>, FieldError> {
    if is_token(text) { Ok(text.into()) } else { Err(FieldError::Cookie) }
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_values_are_checked() {
        assert_eq!(name("X-Tenant").as_deref(), Ok("x-tenant"));
        for text in ["", "x tenant", "x:", "x\n", "ä", "x/y"] {
            assert_eq!(name(text), Err(FieldError::Name), "{text:?}");
            assert_eq!(cookie(text), Err(FieldError::Cookie), "{text:?}");
        }
        assert_eq!(value("a, b\tc ä").as_deref(), Ok("a, b\tc ä"));
        assert_eq!(value("").as_deref(), Ok(""));
        for text in ["a\r\nset-cookie: b", "a\0", "a\u{7f}"] {
            assert_eq!(value(text), Err(FieldError::Control));
        }
        assert_eq!(value(" a"), Err(FieldError::Space));
    }

    #[test]
    fn methods_are_checked() {
        assert_eq!(method("GET").as_deref(), Ok("GET"));
        assert_eq!(method("brew").as_deref(), Ok("brew"));
        assert_eq!(method("get"), Err(FieldError::MethodCase));
        assert_eq!(method("TRACE"), Err(FieldError::MethodNever));
        assert_eq!(method("connect"), Err(FieldError::MethodNever));
        assert_eq!(method("GET POST"), Err(FieldError::Method));
    }
}
