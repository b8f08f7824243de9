//! HTTP/1.1 as data (RFC 9110, RFC 9112): bytes in, verdicts out. No socket, no clock, no `async`.
//!
//! ```text
//!  bytes -> HeadScan -> head::parse_request / parse_response -> RequestHead / ResponseHead (spans, no copies)
//!                                   |                                |
//!                                 field (strict checks)          framing::{request, response} -> Framing
//!                                                                    |
//!  bytes -> body::BodyDecoder (Length, Chunked, UntilClose) -> payload, in place
//!           body::BodyEncoder (Length, Chunked, UntilClose) -> prefix + payload + suffix
//! ```
//!
//! Framing is the security boundary of a proxy: two parsers that disagree on where a message ends let one
//! client speak in another's name. So nothing ambiguous is repaired here: it is refused.

pub mod body;
pub mod chunked;
pub mod error;
pub mod field;
pub mod framing;
pub mod head;
pub mod persistence;
