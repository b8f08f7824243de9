//! `/slow`: silence before the response head.

use super::bounds::SLOW_SECONDS_MAX;
use super::exchange::Exchange;
use super::fault::Fault;
use super::reply::{Reply, TEXT};
use std::time::Duration;

const SECONDS: f64 = 2.0;

/// Serves `/slow?seconds=N`. Fractions are welcome.
pub(super) fn serve(exchange: &mut Exchange<'_>) -> Result<(), Fault> {
    let seconds = exchange.request().query().number("seconds", 0.0..=SLOW_SECONDS_MAX)?.unwrap_or(SECONDS);
    exchange.pause(Duration::from_secs_f64(seconds))?;
    exchange.answer(&Reply::new(200, TEXT), format!("waited {seconds} s before answering\n").as_bytes())
}
