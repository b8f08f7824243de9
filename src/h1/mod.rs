//! HTTP/1.1 as data (RFC 9110, RFC 9112): bytes in, verdicts out. No socket, no clock, no `async`.
//!
//! ```text
//!  bytes -> HeadScan -> head::parse_request / parse_response -> RequestHead / ResponseHead (spans, no copies)
//!                         |
//!                         +- httparse, and when it refuses: diagnose (cold: which rule broke)
//!                         +- summary: one pass over the fields (field::Known)
//!                         +- framing: Framing; persistence: does the connection survive
//!                         +- target: forms of the target; authority: it and Host
//!
//!  bytes -> body::BodyDecoder (Length, chunked, UntilClose) -> payload, in place
//!           body::BodyEncoder (Length, Chunked, UntilClose) -> prefix + payload + suffix
//! ```
//!
//! Framing is the security boundary of a proxy: two parsers that disagree on where a message ends let one
//! client speak in another's name. So nothing ambiguous is repaired here: it is refused.

mod authority;
pub mod body;
pub mod chunked;
mod diagnose;
pub mod error;
pub mod field;
pub mod framing;
pub mod fuzz;
pub mod head;
mod method;
pub mod persistence;
mod reference;
mod scan;
mod summary;
mod target;
#[cfg(test)]
mod tests;
mod trailers;
#[cfg(test)]
mod vectors;

pub use body::{BodyDecoder, BodyEncoder, Decoded};
pub use error::HeadError;
pub use field::{Field, Fields, Known, Span};
pub use framing::Framing;
pub use head::{HeadScan, Method, RequestHead, ResponseHead, Version};
