//! Policy as data: what happens to an exchange, and what is forwarded. No socket, no clock, no thread.
//!
//! ```text
//!                    exchange::Exchange  (phases, deadlines, who may be read, how it ends)
//!                    /        |        \
//!  forward (heads rewritten)  flow (one body's direction)  error -> respond (the only statuses we make)
//!  routing, rewrite, edits     balance, health, endpoint, retry (where a request goes, and whether twice)
//! ```
//! [`limit`] is who may ask how often, before any of this.
//! [`proxy_protocol`] stands by itself: who a connection that was passed on is from.
//! [`crate::net`] asks these rooms what to do and performs it.

pub mod balance;
pub mod edits;
pub mod endpoint;
pub mod error;
pub mod exchange;
pub mod flow;
pub mod forward;
pub mod grpc;
pub mod health;
pub mod ids;
pub mod limit;
pub mod proxy_protocol;
pub mod respond;
pub mod retry;
pub mod rewrite;
pub mod routing;

#[cfg(test)]
mod tests;
