//! Looks after the workers. One that hangs serves none of its clients, and the others cannot take them over; nor can it say
//! so itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::limits;

/// Looks now and then whether every worker shows signs of life.
#[derive(Debug)]
pub struct Watchdog {
    every: Duration,
    next: Instant,
    pulses: Vec<Pulse>,
}

/// What is known of a worker.
#[derive(Debug)]
struct Pulse {
    beats: Arc<AtomicU32>,
    seen: u32,
    seen_at: Instant,
    /// It has ended, as it should.
    ended: bool,
    hangs: bool,
}

impl Watchdog {
    /// Over workers with these pulses; looks as often as a worker has to show life, or as somebody else asks for.
    #[must_use]
    pub fn new(
        every: Option<Duration>,
        pulses: impl IntoIterator<Item = Arc<AtomicU32>>,
        now: Instant,
    ) -> Watchdog {
        let pulse = |beats: Arc<AtomicU32>| {
            let seen = beats.load(Ordering::Relaxed);
            Pulse { beats, seen, seen_at: now, ended: false, hangs: false }
        };
        let every = every.unwrap_or(Duration::from_millis(limits::PULSE_MS));
        Watchdog { every, next: now, pulses: pulses.into_iter().map(pulse).collect() }
    }

    /// A worker has ended: nothing is expected of it any more.
    pub fn let_go(&mut self, worker: usize) {
        self.pulses.get_mut(worker).into_iter().for_each(|pulse| pulse.ended = true);
    }

    /// How long the next look can wait.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// How many workers hang, when it is time to look.
    pub fn look(&mut self, now: Instant) -> Option<u32> {
        if now < self.next {
            return None;
        }
        // While nobody looked (the process was stopped, the machine slept), nobody was silent.
        let late = now.saturating_duration_since(self.next);
        self.next = now + self.every;
        let mut hanging = 0;
        for (worker, pulse) in self.pulses.iter_mut().enumerate().filter(|(_, pulse)| !pulse.ended) {
            let beats = pulse.beats.load(Ordering::Relaxed);
            if beats != pulse.seen {
                (pulse.seen, pulse.seen_at) = (beats, now);
            }
            let silence = now.saturating_duration_since(pulse.seen_at).saturating_sub(late);
            let hangs = silence > Duration::from_millis(limits::PULSE_MS);
            match (pulse.hangs, hangs) {
                (false, true) => tracing::error!(worker, "a worker hangs: its clients are not served"),
                (true, false) => tracing::warn!(worker, "a worker that hung is back"),
                (false, false) | (true, true) => {}
            }
            pulse.hangs = hangs;
            hanging += u32::from(hangs);
        }
        Some(hanging)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: one worker that hangs is enough; one that has ended is none that hangs. Method: time is an argument.
    #[test]
    fn a_worker_that_hangs_is_found_out() {
        let beats = [Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0))];
        let start = Instant::now();
        let mut watchdog = Watchdog::new(Some(Duration::from_secs(1)), beats.clone(), start);
        for second in 1..10 {
            beats.iter().for_each(|beats| _ = beats.fetch_add(1, Ordering::Relaxed));
            assert_eq!(watchdog.look(start + Duration::from_secs(second)), Some(0));
        }
        let mut hanging = Vec::new();
        for second in 10..16 {
            beats[0].fetch_add(1, Ordering::Relaxed);
            hanging.extend(watchdog.look(start + Duration::from_secs(second)));
        }
        assert_eq!(hanging, [0, 0, 0, 1, 1, 1]);
        beats[1].fetch_add(1, Ordering::Relaxed);
        assert_eq!(watchdog.look(start + Duration::from_millis(15_900)), None, "not yet");
        assert_eq!(watchdog.look(start + Duration::from_secs(16)), Some(0), "it has come back");
        assert_eq!(watchdog.look(start + Duration::from_secs(40)), Some(0), "everybody slept");
        beats[0].fetch_add(1, Ordering::Relaxed);
        assert_eq!(watchdog.look(start + Duration::from_secs(41)), Some(1));
        watchdog.let_go(1);
        beats[0].fetch_add(1, Ordering::Relaxed);
        assert_eq!(watchdog.look(start + Duration::from_secs(60)), Some(0), "it has ended");
    }
}
