//! `/sse`: server-sent events named `tick`, the first at once, then one per interval until the client leaves.

use super::bounds::{INTERVAL_MS_MAX, SSE_INTERVAL_MS_MIN};
use super::exchange::Exchange;
use super::fault::Fault;
use super::reply::Reply;
use std::time::{Duration, Instant, SystemTime};

const INTERVAL_MS: u64 = 1000;

/// Serves `/sse?interval=MS&count=N`.
pub(super) fn serve(exchange: &mut Exchange<'_>) -> Result<(), Fault> {
    let query = exchange.request().query();
    let interval_ms = query.number("interval", SSE_INTERVAL_MS_MIN..=INTERVAL_MS_MAX)?.unwrap_or(INTERVAL_MS);
    let count = query.number("count", 1..=u64::MAX)?.unwrap_or(u64::MAX);
    exchange.open_stream(&Reply::new(200, "text/event-stream").field("Cache-Control", "no-cache"))?;
    if !exchange.request().is_head() {
        tick(exchange, Duration::from_millis(interval_ms), count)?;
    }
    exchange.finish()
}

fn tick(exchange: &mut Exchange<'_>, interval: Duration, count: u64) -> Result<(), Fault> {
    let mut due = Instant::now();
    for id in 1..=count {
        exchange.send(event(id, SystemTime::now()).as_bytes())?;
        // Due times follow from each other, so that events do not drift; those a slow client missed are not made up.
        due = (due + interval).max(Instant::now());
        if id < count {
            exchange.pause(due.saturating_duration_since(Instant::now()))?;
        }
    }
    Ok(())
}

fn event(id: u64, now: SystemTime) -> String {
    format!("id: {id}\nevent: tick\ndata: {}\n\n", humantime::format_rfc3339_millis(now))
}
