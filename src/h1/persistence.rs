//! Whether a connection survives a message (RFC 9112 §9.3).
//!
//! ```text
//! persistent = not close  and  (HTTP/1.1 or keep-alive)  and  the end of the message is marked
//! ```
//!
//! `close` and `keep-alive` are tokens of the Connection field, `close` wins, and a message framed
//! [`Framing::UntilClose`] has no other end than that of its connection. `Proxy-Connection` says nothing.

use super::field::list;
use super::framing::Framing;
use super::method::Version;

/// What the Connection fields of a head say about the connection itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionTokens {
    /// `close`
    pub close: bool,
    /// `keep-alive`
    pub keep_alive: bool,
    /// `upgrade`
    pub upgrade: bool,
}

impl ConnectionTokens {
    /// Adds the tokens of one more Connection field. Names of other fields are the forwarder's concern.
    pub fn add(&mut self, value: &[u8]) {
        for token in list(value) {
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade |= token.eq_ignore_ascii_case(b"upgrade");
        }
    }
}

/// Whether the connection may carry another message after one with this version, framing and Connection field.
#[must_use]
pub fn persistent(version: Version, tokens: ConnectionTokens, framing: Framing) -> bool {
    let wanted = match version {
        Version::Http11 => true,
        Version::Http10 => tokens.keep_alive,
    };
    let end_is_marked = match framing {
        Framing::None | Framing::Length(_) | Framing::Chunked => true,
        Framing::UntilClose => false,
    };
    wanted && !tokens.close && end_is_marked
}

#[cfg(test)]
mod tests {
    //! Goal: the formula holds in every row of its truth table.

    use super::*;

    #[test]
    fn truth_table() {
        let rows: &[(Version, &str, Framing, bool)] = &[
            (Version::Http11, "", Framing::None, true),
            (Version::Http11, "keep-alive", Framing::Length(1), true),
            (Version::Http11, "Close", Framing::Chunked, false),
            (Version::Http11, "keep-alive, close", Framing::None, false),
            (Version::Http11, "closed", Framing::None, true),
            (Version::Http11, "", Framing::UntilClose, false),
            (Version::Http10, "", Framing::None, false),
            (Version::Http10, "Keep-Alive", Framing::Length(0), true),
            (Version::Http10, "keep-alive,close", Framing::None, false),
            (Version::Http10, "keep-alive", Framing::UntilClose, false),
            (Version::Http10, "upgrade", Framing::None, false),
        ];
        for &(version, value, framing, verdict) in rows {
            let mut tokens = ConnectionTokens::default();
            tokens.add(value.as_bytes());
            assert_eq!(persistent(version, tokens, framing), verdict, "{version:?} {value:?} {framing:?}");
        }
    }
}
