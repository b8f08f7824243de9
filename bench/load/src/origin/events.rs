//! The events of the origin's streams and when each is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

/// What every event begins with; its timestamp follows.
pub const MARK: &[u8] = b"data: ";
/// Digits of the timestamp: `CLOCK_MONOTONIC` in nanoseconds.
pub const STAMP_DIGITS: usize = 20;
/// Bytes of an event: about what a token of a language model or a price costs.
const EVENT_BYTES: usize = 96;

/// The chunk of one event sent at `now`.
#[must_use]
pub fn chunk(now: u64) -> Rc<[u8]> {
    let rest = EVENT_BYTES - MARK.len() - STAMP_DIGITS - 3;
    format!("{EVENT_BYTES:x}\r\ndata: {now:020} {:x<rest$}\n\n\r\n", "").into_bytes().into()
}

/// Due times of all streams.
#[derive(Default)]
pub struct Schedule {
    due: BinaryHeap<Reverse<(u64, usize, u64)>>,
    started: u64,
}

/// A stream whose event is due.
pub struct Due {
    /// Its connection.
    pub id: usize,
    /// Which stream of that connection number, as [`Schedule::start`] said.
    pub stream: u64,
}

impl Schedule {
    /// A new stream. Phases are spread over the interval by the golden ratio, so that any number of streams ticks
    /// evenly and never all at once. Returns the number of the stream.
    pub fn start(&mut self, id: usize, now: u64, interval_ns: u64) -> u64 {
        self.started += 1;
        let phase = (self.started as f64 * 0.618_033_988_75).fract();
        let at = now - now % interval_ns + (interval_ns as f64 * phase) as u64;
        let first = if at > now { at } else { at + interval_ns };
        self.due.push(Reverse((first, id, self.started)));
        self.started
    }

    /// The next stream that is due by `now`; [`Schedule::again`] keeps it ticking.
    pub fn pop(&mut self, now: u64) -> Option<(u64, Due)> {
        let Reverse((at, id, stream)) = *self.due.peek()?;
        if at > now {
            return None;
        }
        self.due.pop();
        Some((at, Due { id, stream }))
    }

    /// The event after the one that was due at `at`.
    pub fn again(&mut self, at: u64, due: &Due, interval_ns: u64) {
        self.due.push(Reverse((at + interval_ns, due.id, due.stream)));
    }

    /// When the next one is due.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.due.peek().map_or(u64::MAX, |Reverse((at, ..))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_chunk_of_the_size_it_says() {
        let text = String::from_utf8(chunk(7).to_vec()).unwrap();
        let (size, data) = text.split_once("\r\n").unwrap();
        assert_eq!(usize::from_str_radix(size, 16).unwrap(), EVENT_BYTES);
        assert_eq!(data.len(), EVENT_BYTES + 2);
        assert!(data.starts_with("data: 00000000000000000007 x") && data.ends_with("x\n\n\r\n"));
    }

    #[test]
    fn streams_tick_once_per_interval_and_evenly() {
        let mut schedule = Schedule::default();
        (0..100).for_each(|id| assert!(schedule.start(id, 5, 1000) > 0));
        let mut halves = [0; 2];
        while let Some((at, _)) = schedule.pop(1005) {
            halves[usize::from(at >= 505)] += 1;
        }
        assert!(halves.iter().all(|count| (45..=55).contains(count)), "{halves:?}");
    }
}
