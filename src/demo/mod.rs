//! The built-in origin of `ringress --demo`: an ordinary HTTP/1.1 server on a loopback port of its own, which the
//! proxy fronts like any other origin.
//!
//! It is a program of its own that shares only the pure rooms: std threads and blocking IO, one thread per
//! connection, so that it stays readable and can never disturb a worker.
//!
//! ```text
//!  server (accept, bound) -> connection (keep-alive loop) -> request (head) -> route -> one endpoint module
//!                                                        \-> exchange (request body, reply) -> reply, wire
//! ```
//!
//! Invariants: every read and write has a timeout (`bounds`), every loop over what a client sends has a bound,
//! and a thread ends with its connection.

mod banner;
mod bounds;
mod bytes;
mod connection;
mod drip;
mod exchange;
mod fault;
mod headers;
mod not_found;
mod page;
mod query;
mod reply;
mod request;
mod route;
mod server;
mod slow;
mod sse;
mod status;
mod upload;
mod websocket;
mod wire;

#[cfg(test)]
mod tests;

pub use banner::print_banner;
pub use server::start;
