//! Requests and failures of the last seconds, in two words.
//!
//! Time is cut into pieces of half a window, and the two latest are kept: what is counted is never older than a window,
//! and never younger than half of one. Each piece is one word with the number of the piece in it, so that whoever
//! comes first in a new piece replaces the old one whole, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::time::Timestamp;

/// Bits of each count; one that is full is halved together with the other, which keeps the rate.
const COUNT_BITS: u32 = 20;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
/// What is left for the number of the piece. It comes round after 2^24 pieces: a wrong count once in years.
const PIECE_MAX: u64 = (1 << (64 - 2 * COUNT_BITS)) - 1;

/// Requests and failures of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Window([AtomicU64; 2]);

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    pub failed: u32,
    pub total: u32,
}

impl Window {
    /// Counts a request, and says what the window holds with it.
    pub fn record(&self, failed: bool, now: Timestamp, window: Duration) -> Tally {
        let half_us = u64::try_from(window.as_micros() / 2).unwrap_or(u64::MAX).max(1);
        let piece = (now.0 / half_us) & PIECE_MAX;
        let [even, odd] = &self.0;
        let (present, past) = if piece.is_multiple_of(2) { (even, odd) } else { (odd, even) };
        let with = |word| Some(Piece::of(word).or_new(piece).with(failed).word());
        let before = present.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with);
        let latest = Piece::of(before.unwrap_or_else(|word| word)).or_new(piece).with(failed);
        let earlier = Piece::of(past.load(Ordering::Relaxed)).or_new(piece.wrapping_sub(1) & PIECE_MAX);
        Tally { failed: sum(latest.failed, earlier.failed), total: sum(latest.total, earlier.total) }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        for piece in &self.0 {
            piece.store(0, Ordering::Relaxed);
        }
    }
}

/// Two counts of 20 bits fit.
fn sum(a: u64, b: u64) -> u32 {
    u32::try_from(a + b).unwrap_or(u32::MAX)
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    number: u64,
    total: u64,
    failed: u64,
}

impl Piece {
    const fn of(word: u64) -> Piece {
        let (total, failed) = (word >> COUNT_BITS & COUNT_MAX, word & COUNT_MAX);
        Piece { number: word >> (2 * COUNT_BITS), total, failed }
    }

    const fn word(self) -> u64 {
        self.number << (2 * COUNT_BITS) | self.total << COUNT_BITS | self.failed
    }

    /// This piece if it is the one of that number, else an empty one.
    const fn or_new(self, number: u64) -> Piece {
        if self.number == number { self } else { Piece { number, total: 0, failed: 0 } }
    }

    const fn with(self, failed: bool) -> Piece {
        let fit = if self.total == COUNT_MAX {
            Piece { total: self.total / 2, failed: self.failed / 2, ..self }
        } else {
            self
        };
        Piece { total: fit.total + 1, failed: fit.failed + failed as u64, ..fit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    #[test]
    fn holds_what_is_younger_than_a_window() {
        let window = Window::default();
        for second in 0..5 {
            window.record(true, at(second), TEN);
        }
        assert_eq!(window.record(false, at(6), TEN), Tally { failed: 5, total: 6 });
        assert_eq!(
            window.record(false, at(10), TEN),
            Tally { failed: 0, total: 2 },
            "the first piece is gone"
        );
        assert_eq!(window.record(true, at(100), TEN), Tally { failed: 1, total: 1 }, "and so is everything");
        window.clear();
        assert_eq!(window.record(false, at(100), TEN), Tally { failed: 0, total: 1 });
    }

    #[test]
    fn a_full_count_keeps_its_rate() {
        let mut piece = Piece { number: 7, total: COUNT_MAX, failed: COUNT_MAX / 4 };
        piece = Piece::of(piece.with(false).word());
        assert_eq!((piece.number, piece.total), (7, COUNT_MAX / 2 + 1));
        assert_eq!(piece.failed, COUNT_MAX / 8);
    }
}
