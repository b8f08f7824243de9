//! `/headers`: the request head as the origin received it, so that one can see what the proxy made of it.

use super::exchange::Exchange;
use super::fault::Fault;
use super::reply::{Reply, TEXT};

/// Serves `/headers`.
pub(super) fn serve(exchange: &mut Exchange<'_>) -> Result<(), Fault> {
    // What comes back is the client's own text: no browser may take it for anything but text.
    let reply =
        Reply::new(200, TEXT).field("X-Content-Type-Options", "nosniff").field("Cache-Control", "no-store");
    let head = exchange.request().bytes();
    exchange.answer(&reply, head)
}
