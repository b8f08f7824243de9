//! HTTP/2 messages as HTTP/1.1 bytes, and back: pure data, no socket, no clock, no `async`.
//!
//! ```text
//!   client's stream ─▶ request::write_head ─▶ │ HTTP/1.1 │ ─▶ request::read_head ─▶ origin's stream
//!   client's stream ◀─ response::read_head ◀─ │  engine  │ ◀─ response::write_head ◀─ origin's stream
//! ```
//! There is one engine for exchanges, and it speaks HTTP/1.1: its parser, its rules and its deadlines hold for every
//! message, whatever it travelled in (RFC 9110: one semantics). A stream of HTTP/2 is therefore given to it as the
//! bytes that the same message would have been. What HTTP/2 forbids or leaves out is refused or put in here
//! (RFC 9113 §8.2, §8.3, §8.5; RFC 8441), before anything that speaks HTTP/1.1 sees it.

use crate::h1::HeadError;
use crate::limits::{self, MessageLimits};

pub mod fields;
pub mod request;
pub mod response;
#[cfg(test)]
mod tests;

/// How the body behind a head is framed towards the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// So many bytes, as `Content-Length` says.
    Length,
    /// Chunks.
    Chunked,
    /// Bytes, once the tunnel is open.
    Tunnel,
}

/// The one protocol that a stream can become a tunnel for.
const WEBSOCKET: &str = "websocket";

/// The bounds on heads that the engine writes: what it adds to a head within `of` is no reason to refuse it.
#[must_use]
pub const fn own_heads(of: &MessageLimits) -> MessageLimits {
    MessageLimits {
        head_bytes_max: of.head_bytes_max + limits::OWN_HEAD_BYTES,
        fields_max: limits::FIELDS_CEILING,
        target_bytes_max: of.target_bytes_max + limits::OWN_HEAD_BYTES,
        body_bytes_max: of.body_bytes_max,
        allow_underscores: of.allow_underscores,
    }
}

/// Why a message cannot be translated. In HTTP/2 it is malformed (RFC 9113 §8.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A value begins or ends with white space (§8.2.1).
    #[error("a field value begins or ends with white space")]
    Padded,
    /// A field that only makes sense on one connection (§8.2.2).
    #[error("a connection-specific field")]
    ConnectionField,
    /// `:authority` and `Host` differ, or neither is there (§8.3.1).
    #[error("no authority, or two")]
    Authority,
    /// `:path` is neither a path nor `*` (§8.3.1).
    #[error("a bad path")]
    Path,
    /// CONNECT to another host: nothing that is served here.
    #[error("CONNECT is not served")]
    Connect,
    /// Extended CONNECT (RFC 8441) to a protocol that is not served.
    #[error("a protocol that is not served")]
    Protocol,
    /// `:scheme` is neither `http` nor `https`.
    #[error("a bad scheme")]
    Scheme,
    /// The head that was to be sent is none.
    #[error("not a head")]
    Head,
}

impl Malformed {
    /// The rule of HTTP/1.1 that stands for it in records.
    #[must_use]
    pub const fn head_error(self) -> HeadError {
        match self {
            Malformed::Connect => HeadError::ConnectOrTrace,
            Malformed::Authority => HeadError::BadHost,
            Malformed::Path | Malformed::Scheme | Malformed::Protocol => HeadError::BadTarget,
            Malformed::Padded | Malformed::ConnectionField | Malformed::Head => HeadError::Malformed,
        }
    }
}
