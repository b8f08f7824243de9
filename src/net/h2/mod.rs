//! HTTP/2 over the worker's transports: hyperium's `h2` for frames, windows and header compression, and each of its
//! streams as the HTTP/1.1 bytes that the engine speaks ([`crate::translate`]).
//!
//! ```text
//!   socket ◀─▶ io ◀─▶ h2 connection ◀─▶ inbound::Inbound  = Transport::Stream ◀─▶ the exchange of client_h1
//! ```
//! Flow control is backpressure: the engine reads a stream only while nothing waits for the other side, and a
//! stream's window is given back when what was read from it has been passed on.

pub mod inbound;
pub mod io;
pub mod watch;
