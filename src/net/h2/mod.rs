//! HTTP/2 over the worker's transports: hyperium's `h2` for frames, windows and header compression, and each of its
//! streams as the HTTP/1.1 bytes that the engine speaks ([`crate::translate`]).
//!
//! ```text
//!   client ◀─▶ io ◀─▶ h2 connection ◀─▶ inbound::Inbound   = Transport::Stream ◀─▶ the exchange of client_h1
//!   origin ◀─▶ io ◀─▶ h2 connection ◀─▶ outbound::Outbound = Transport::Stream ◀─▶ the same
//!                     (origin drives it, link shares it out)
//! ```
//! Flow control is backpressure: the engine reads a stream only while nothing waits for the other side, and a
//! stream's window is given back when what was read from it has been passed on.

pub mod inbound;
pub mod io;
pub mod link;
pub mod origin;
pub mod outbound;
pub mod receiving;
pub mod sending;
pub mod watch;

/// An error of a stream as the engine takes it: the connection that it is for one message has broken.
fn broken(error: h2::Error) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ConnectionReset, error)
}
