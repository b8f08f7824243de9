//! Policy as data: what happens to an exchange, and what is forwarded. No socket, no clock, no thread.
//!
//! ```text
//!                    exchange::Exchange  (phases, deadlines, who may be read, how it ends)
//!                    /        |        \
//!  forward (heads rewritten)  flow (one body's direction)  error -> respond (the only statuses we make)
//! ```
//! A request meets them in this order:
//!
//! ```text
//!  routing (which route) ─▶ limit (may it ask?) ─▶ rewrite, edits, forward (what is sent)
//!    ─▶ balance, health, endpoint (to whom) ─▶ exchange ─▶ retry (once more?) ─▶ respond
//! ```
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
mod mix;
pub mod proxy_protocol;
pub mod respond;
pub mod retry;
pub mod rewrite;
pub mod routing;
pub mod source;

#[cfg(test)]
mod tests;
