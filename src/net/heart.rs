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

/// Turns between two beats that the beat itself and housekeeping explain.
const TURNS_OF_THE_IDLE: u64 = 8;

/// Beats for ever.
pub async fn beat(worker: Rc<Worker>) {
    let mut timer = worker.timers.timer();
    let mut pause = Duration::from_millis(limits::BEAT_IDLE_MS);
    loop {
        let turns = worker.clock.turns();
        let due = worker.clock.refresh().after(Some(pause));
        timer.sleep_until(due).await;
        let late = worker.clock.now().since(due);
        note(&worker, late);
        let busy = worker.clock.turns() - turns > TURNS_OF_THE_IDLE;
        pause = Duration::from_millis(if busy { limits::BEAT_BUSY_MS } else { limits::BEAT_IDLE_MS });
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
