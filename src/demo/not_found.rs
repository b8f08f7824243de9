//! Any other path: 404, and what there is instead.

use super::exchange::Exchange;
use super::fault::Fault;
use super::reply::{Reply, TEXT};
use super::route::ROUTES;
use std::fmt::Write;

/// Serves a path that is no endpoint's.
pub(super) fn serve(exchange: &mut Exchange<'_>) -> Result<(), Fault> {
    exchange.answer(&Reply::new(404, TEXT), text().as_bytes())
}

/// The list of endpoints.
pub(super) fn text() -> String {
    let mut text = String::from("There is nothing at this path. The demo origin serves:\n\n");
    for route in ROUTES {
        let _ = writeln!(text, "{:<28} {}", route.pattern(), route.about); // a String takes everything
    }
    text
}
