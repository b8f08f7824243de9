//! `/upload` and `/upload/discard`: request bodies, sent back while they arrive or counted.

use super::exchange::Exchange;
use super::fault::Fault;
use super::reply::{OCTETS, Reply, TEXT};
use crate::h1::head::Method;

/// Serves `/upload`: the reply starts before the request body does, and both run at once.
pub(super) fn serve_echo(exchange: &mut Exchange<'_>) -> Result<(), Fault> {
    if !is_upload(exchange) {
        return refuse_method(exchange);
    }
    exchange.invite_body()?;
    exchange.open_stream(&Reply::new(200, OCTETS))?;
    let mut part = Vec::new();
    while exchange.read_body(&mut part)? {
        exchange.send(&part)?;
        part.clear();
    }
    exchange.finish()
}

/// Serves `/upload/discard`: the number of bytes, when all have arrived.
pub(super) fn serve_discard(exchange: &mut Exchange<'_>) -> Result<(), Fault> {
    if !is_upload(exchange) {
        return refuse_method(exchange);
    }
    exchange.invite_body()?;
    let bytes = exchange.count_body()?;
    exchange.answer(&Reply::new(200, "application/json"), format!("{{\"bytes\":{bytes}}}\n").as_bytes())
}

fn is_upload(exchange: &Exchange<'_>) -> bool {
    matches!(exchange.request().head().method, Method::Post | Method::Put)
}

fn refuse_method(exchange: &mut Exchange<'_>) -> Result<(), Fault> {
    let reply = Reply::new(405, TEXT).field("Allow", "POST, PUT");
    exchange.answer(&reply, b"send a body here with POST or PUT\n")
}
