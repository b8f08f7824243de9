//! A worker's heart: a timer that is late when the loop is, and the moment at which levels are written down.
//!
//! A busy worker's heart beats every [`limits::BEAT_BUSY_MS`], so that a stall is seen to within that; one that has nothing to
//! do is left asleep for a second. Measured on the loop itself, so it sees whatever holds a turn up: a long computation,
//! a blocking call, a core that is somebody else's.

use std::rc::Rc;
use std::time::Duration;

use crate::limits;
use crate::telemetry::metrics::{Counter, Level};

use super::worker::Worker;

/// What a late beat counts as.
const STALLS: [(Duration, Counter); 3] = [
    (Duration::from_millis(10), Counter::LoopStalls10),
    (Duration::from_millis(50), Counter::LoopStalls50),
    (Duration::from_millis(100), Counter::LoopStalls100),
];

/// Turns within a short and a long beat that the beat itself and housekeeping explain.
const TURNS_OF_THE_IDLE: (u64, u64) = (4, 16);
/// Short beats in a row without more turns than that, before a heart slows down.
const QUIET_BEATS: u32 = 100;

/// Beats for ever.
pub async fn beat(worker: Rc<Worker>) {
    let mut timer = worker.timers.timer();
    let mut quiet = QUIET_BEATS;
    loop {
        let slow = quiet >= QUIET_BEATS;
        let pause_ms = if slow { limits::BEAT_IDLE_MS } else { limits::BEAT_BUSY_MS };
        let turns = worker.clock.turns();
        let due = worker.clock.refresh().after(Some(Duration::from_millis(pause_ms)));
        timer.sleep_until(due).await;
        note(&worker, worker.clock.now().since(due));
        let own = if slow { TURNS_OF_THE_IDLE.1 } else { TURNS_OF_THE_IDLE.0 };
        quiet = if worker.clock.turns() - turns > own { 0 } else { quiet.saturating_add(1) };
    }
}

fn note(worker: &Worker, late: Duration) {
    let metrics = &worker.metrics;
    for (_, counter) in STALLS.iter().filter(|(least, _)| late > *least) {
        metrics.add(*counter, 1);
    }
    let late_us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
    metrics.set(Level::LoopStallMax, metrics.level(Level::LoopStallMax).max(late_us));
    metrics.set(Level::Timers, worker.timers.len() as u64);
    metrics.set(Level::UpstreamIdle, worker.views.idle_connections() as u64);
}
