//! `/drip`: a chunked body that comes one byte at a time.

use super::bounds::{DRIP_BYTES_MAX, INTERVAL_MS_MAX};
use super::bytes::content;
use super::exchange::Exchange;
use super::fault::Fault;
use super::reply::{Reply, TEXT};
use std::time::Duration;

const BYTES: u64 = 20;
const INTERVAL_MS: u64 = 250;

/// Serves `/drip?bytes=N&interval=MS`. The first byte comes at once.
pub(super) fn serve(exchange: &mut Exchange<'_>) -> Result<(), Fault> {
    let query = exchange.request().query();
    let bytes = query.number("bytes", 0..=DRIP_BYTES_MAX)?.unwrap_or(BYTES);
    let interval_ms = query.number("interval", 0..=INTERVAL_MS_MAX)?.unwrap_or(INTERVAL_MS);
    exchange.open_stream(&Reply::new(200, TEXT).field("Cache-Control", "no-store"))?;
    if !exchange.request().is_head() {
        drip(exchange, bytes, Duration::from_millis(interval_ms))?;
    }
    exchange.finish()
}

fn drip(exchange: &mut Exchange<'_>, bytes: u64, interval: Duration) -> Result<(), Fault> {
    let mut content = content(u64::MAX).chunks(1).cycle();
    for sent in 0..bytes {
        if sent > 0 {
            exchange.pause(interval)?;
        }
        exchange.send(content.next().unwrap_or_default())?;
    }
    Ok(())
}
