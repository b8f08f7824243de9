//! Requests in a time: a token bucket for each key, in a table that all workers share.
//!
//! A bucket is the generic cell rate algorithm (ITU-T I.371): it is one number, the *theoretical arrival time* at which
//! the next request would come if every one so far had kept the rate. A request passes when that is at most `burst - 1`
//! intervals ahead, and moves it on by one interval. Time is counted in fractions of an interval, so that no rate
//! is rounded; beside that, no more than `burst + rate * t` requests of a key pass in any time `t`, whatever the threads
//! do, up to the one fraction that a point of time is rounded by (the 2^16th of an interval, or 4.5 µs).
//!
//! ```text
//!   word of a slot   [ theoretical arrival time: 46 bits | tag: 18 bits ]      one atomic
//!   table            2^18 slots = 2 MiB, in neighbourhoods of 8 (a cache line); a key has one slot in one of them
//! ```
//! **No lock, and no key twice.** Every change of a slot is one compare-and-swap that makes its word larger, and a newcomer
//! takes the slot with the smallest word (the first of equals): the entry that is nearest to being forgotten, or was
//! long ago. So two threads cannot bring the same newcomer into two slots `a` and `b`. The first read `b`, the second read
//! `a`, before the other changed it, so both read words not larger than those that were replaced: the first found `a <= b`,
//! the second `b <= a`, and both hold only for the same slot. None of this needs an order between slots.
//!
//! **Whoever rotates keys** gains nothing over what the keys themselves are worth. A newcomer in a neighbourhood whose
//! eight entries all still matter displaces the one with the least debt, passes once, and takes that debt over: words never
//! become smaller, so a key that was displaced and comes back has one request, not a burst. Nobody is locked out
//! either, and memory does not grow. Which keys are neighbours depends on a random seed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::route::Rate;
use crate::limits;
use crate::time::Timestamp;

/// A request may go ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass;

/// A request came too early, by this much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(pub Duration);

/// Slots that a key may be in.
const NEIGHBOURS: usize = limits::LIMIT_NEIGHBOURS;
/// Finest fraction of an interval that time is counted in, as a power of two.
const FRACTION_BITS_MAX: u32 = 16;

/// A cache line of slots.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Neighbourhood([AtomicU64; NEIGHBOURS]);

/// The buckets of one limit.
#[derive(Debug)]
pub struct Buckets {
    table: Box<[Neighbourhood]>,
    tag_bits: u32,
    pace: Pace,
}

/// A rate in fractions of its interval.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// `numerator / denominator` of them pass in a microsecond.
    numerator: u128,
    denominator: u128,
    /// This many are an interval.
    interval: u64,
    /// A request passes while its bucket is no more than so many ahead.
    tolerance: u64,
    /// The largest point of time that fits a word.
    end: u64,
}

impl Pace {
    fn new(rate: Rate, bits: u32) -> Pace {
        let end = u64::MAX >> (u64::BITS - bits);
        let per_ns = rate.per.as_nanos().max(1);
        // What time the word has to hold, and the burst ahead of it, bound the fraction.
        let lifetime_ns = u128::from(limits::LIMIT_LIFETIME_S) * 1_000_000_000;
        let intervals = lifetime_ns.saturating_mul(rate.requests.get().into()) / per_ns;
        let largest = intervals.max(2 * u128::from(rate.burst.get())).max(1);
        let room = (u128::from(end) / largest).checked_ilog2();
        let fraction = room.unwrap_or(0).min(FRACTION_BITS_MAX);
        // A rate so high that not even whole intervals fit counts as the highest that does.
        let per_ns = if room.is_none() { per_ns * (largest / u128::from(end) + 1) } else { per_ns };
        Pace {
            numerator: (u128::from(rate.requests.get()) * 1000) << fraction,
            denominator: per_ns,
            interval: 1 << fraction,
            tolerance: u64::from(rate.burst.get() - 1) << fraction,
            end,
        }
    }

    /// A point of time.
    fn at(self, now: Timestamp) -> u64 {
        let units = u128::from(now.0).saturating_mul(self.numerator) / self.denominator;
        u64::try_from(units).unwrap_or(u64::MAX).min(self.end)
    }

    /// The first moment that is not before the point `units`.
    fn moment(self, units: u64) -> Timestamp {
        let us = u128::from(units).saturating_mul(self.denominator).div_ceil(self.numerator);
        Timestamp(u64::try_from(us).unwrap_or(u64::MAX))
    }

    /// Whether a bucket is within its tolerance; if not, how long until it is.
    fn judge(self, arrival: u64, now: Timestamp) -> Result<Pass, Wait> {
        let due = arrival.saturating_sub(self.tolerance);
        if due <= self.at(now) { Ok(Pass) } else { Err(Wait(self.moment(due).since(now))) }
    }
}

/// Where a key is in its neighbourhood, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spot {
    /// Its own slot, and its word.
    Own(usize, u64),
    /// The slot that it would take, and its word.
    Victim(usize, u64),
}

/// The spot of the key with this tag, of slots with these words.
fn spot(words: impl Iterator<Item = u64>, tag: u64, tag_bits: u32) -> Spot {
    let mut least = (0, u64::MAX);
    for (index, word) in words.enumerate() {
        if word != 0 && tag_of(word, tag_bits) == tag {
            return Spot::Own(index, word);
        }
        // The first of equals: see the top.
        if word < least.1 {
            least = (index, word);
        }
    }
    Spot::Victim(least.0, least.1)
}

/// The lower bits of a word or a hash.
const fn tag_of(word: u64, tag_bits: u32) -> u64 {
    word & !(u64::MAX << tag_bits)
}

impl Buckets {
    /// Buckets of `rate` for many keys.
    #[must_use]
    pub fn new(rate: Rate) -> Buckets {
        Buckets::with(rate, limits::LIMIT_SLOTS / NEIGHBOURS, limits::LIMIT_TAG_BITS)
    }

    /// One bucket of `rate`, whatever the key.
    #[must_use]
    pub fn single(rate: Rate) -> Buckets {
        Buckets::with(rate, 1, 0)
    }

    fn with(rate: Rate, neighbourhoods: usize, tag_bits: u32) -> Buckets {
        let table = (0..neighbourhoods.max(1)).map(|_| Neighbourhood::default()).collect();
        Buckets { table, tag_bits, pace: Pace::new(rate, u64::BITS - tag_bits) }
    }

    /// Takes a token of the key with this hash.
    ///
    /// # Errors
    /// There is none; no token is taken.
    pub fn admit(&self, key_hash: u64, now: Timestamp) -> Result<Pass, Wait> {
        let slots = self.neighbours(key_hash);
        loop {
            let spot = self.spot(key_hash);
            let (Spot::Own(index, word) | Spot::Victim(index, word)) = spot;
            let next = self.charge(spot, key_hash, now)?;
            let Some(slot) = slots.get(index) else { return Ok(Pass) }; // there always is one
            let swapped = slot.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed);
            if swapped.is_ok() {
                return Ok(Pass);
            }
        }
    }

    /// What [`Buckets::admit`] would say now; takes nothing.
    ///
    /// # Errors
    /// There is no token.
    pub fn peek(&self, key_hash: u64, now: Timestamp) -> Result<Pass, Wait> {
        match self.spot(key_hash) {
            Spot::Own(_, word) => self.pace.judge(self.arrival(word), now),
            Spot::Victim(..) => Ok(Pass),
        }
    }

    /// Bytes that the table takes, whatever the keys.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.table)
    }

    /// The word of a spot after one request more; always larger than it was.
    fn charge(&self, spot: Spot, key_hash: u64, now: Timestamp) -> Result<u64, Wait> {
        let point = self.pace.at(now);
        let arrival = match spot {
            Spot::Own(_, word) => {
                self.pace.judge(self.arrival(word), now)?;
                self.arrival(word).max(point).saturating_add(self.pace.interval)
            }
            Spot::Victim(_, word) => {
                let least = self.arrival(word).saturating_add(1);
                point.saturating_add(self.pace.interval).max(least)
            }
        };
        Ok((arrival.min(self.pace.end) << self.tag_bits) | tag_of(key_hash, self.tag_bits))
    }

    fn spot(&self, key_hash: u64) -> Spot {
        let words = self.neighbours(key_hash).iter().map(|slot| slot.load(Ordering::Relaxed));
        spot(words, tag_of(key_hash, self.tag_bits), self.tag_bits)
    }

    fn arrival(&self, word: u64) -> u64 {
        word >> self.tag_bits
    }

    fn neighbours(&self, key_hash: u64) -> &[AtomicU64] {
        let neighbourhood = self.table.get(spread(key_hash, self.table.len()));
        neighbourhood.map(|it| it.0.as_slice()).unwrap_or_default()
    }
}

/// The upper bits of a hash as an index below `n`.
pub(super) fn spread(hash: u64, n: usize) -> usize {
    let scaled = (u128::from(hash) * n as u128) >> u64::BITS;
    usize::try_from(scaled).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    //! Goal: no more than burst + rate * t, exact waits, and no way around either. Method: a reference with fractions
    //! that never round, real threads over virtual time, and tables so small that keys crowd.

    use std::num::NonZeroU32;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use proptest::prelude::*;

    use super::*;

    fn rate(requests: u32, per_ms: u64, burst: u32) -> Rate {
        let n = |n| NonZeroU32::new(n).unwrap();
        Rate { requests: n(requests), per: Duration::from_millis(per_ms), burst: n(burst) }
    }

    fn ms(ms: u64) -> Timestamp {
        Timestamp(ms * 1000)
    }

    fn passes(buckets: &Buckets, key: u64, now: Timestamp, tries: usize) -> usize {
        (0..tries).filter(|_| buckets.admit(key, now).is_ok()).count()
    }

    #[test]
    fn a_burst_passes_and_then_one_an_interval() {
        let buckets = Buckets::new(rate(10, 1000, 3));
        assert_eq!(passes(&buckets, 7, ms(5000), 9), 3);
        assert_eq!(buckets.admit(7, ms(5000)), Err(Wait(Duration::from_millis(100))));
        assert_eq!(buckets.admit(7, ms(5040)), Err(Wait(Duration::from_millis(60))));
        assert_eq!(passes(&buckets, 7, ms(5100), 9), 1);
        assert_eq!(passes(&buckets, 7, ms(5350), 9), 2);
        assert_eq!(passes(&buckets, 7, ms(9000), 9), 3, "a pause fills it up, and no more");
        assert_eq!(passes(&buckets, 8, ms(9000), 9), 3, "another key has its own");
        assert_eq!(buckets.peek(9, ms(9000)), Ok(Pass));
        assert_eq!(passes(&buckets, 9, ms(9000), 9), 3, "a look takes nothing");
    }

    /// Goal: who comes back after the wait passes, and not a thousandth earlier. Method: rates from three a day to the largest.
    #[test]
    fn waits_are_exact() {
        for (requests, per_ms) in [(3, 86_400_000), (1, 60_000), (7, 1000), (999, 1000), (50_000, 1000)] {
            let buckets = Buckets::new(rate(requests, per_ms, 2));
            assert_eq!(passes(&buckets, 1, ms(77), 5), 2);
            let Err(Wait(wait)) = buckets.admit(1, ms(77)) else { panic!("{requests} per {per_ms} ms") };
            let exact = Duration::from_millis(per_ms).as_micros().div_ceil(requests.into());
            // A fraction early at most: the 2^16th of an interval, or 4.5 µs.
            let early = exact - wait.as_micros();
            assert!(early <= (exact >> 16).max(5), "{wait:?} for {exact} µs");
            let back = Timestamp(ms(77).0 + u64::try_from(wait.as_micros()).unwrap());
            assert!(buckets.admit(1, Timestamp(back.0 - 1)).is_err(), "{requests} per {per_ms} ms");
            assert_eq!(buckets.admit(1, back), Ok(Pass), "{requests} per {per_ms} ms");
        }
    }

    #[test]
    fn extremes_neither_overflow_nor_lock_out() {
        let max = u32::MAX;
        for fast in [rate(max, 1, max), rate(max, 1, 1), rate(1, 1, max), rate(1, 1, 1)] {
            for buckets in [Buckets::new(fast), Buckets::single(fast)] {
                assert_eq!(buckets.admit(1, Timestamp(0)), Ok(Pass));
                let _ = buckets.admit(1, Timestamp(1));
                assert_eq!(buckets.admit(1, Timestamp::NEVER), Ok(Pass));
            }
        }
        let buckets = Buckets::new(rate(1, 1, 1));
        assert_eq!(passes(&buckets, 1, Timestamp::NEVER, 3), 3, "behind the end of time all pass");
        let slow = Buckets::new(rate(1, u64::MAX, 1));
        assert_eq!(passes(&slow, 1, Timestamp(0), 3), 1);
        let Err(Wait(wait)) = slow.admit(1, Timestamp(0)) else { panic!("a second one") };
        assert!(wait > Duration::from_secs(u64::from(max)), "{wait:?}");
    }

    #[test]
    fn one_bucket_is_for_every_key() {
        let buckets = Buckets::single(rate(1, 1000, 4));
        assert_eq!((0..9).filter(|&key| buckets.admit(key << 40, ms(1)).is_ok()).count(), 4);
    }

    #[test]
    fn memory_is_what_the_page_says() {
        assert_eq!(Buckets::new(rate(1, 1, 1)).bytes(), 2 * 1024 * 1024);
        assert_eq!(Buckets::single(rate(1, 1, 1)).bytes(), 64);
    }

    proptest! {
        /// The sum of any window, by a reference that counts in numbers that do not round.
        #[test]
        fn no_window_has_more_than_burst_and_rate(
            (requests, per_ms, burst) in (1u32..2000, 1u64..5000, 1u32..20),
            steps in prop::collection::vec(0u64..200_000, 1..300),
        ) {
            let buckets = Buckets::new(rate(requests, per_ms, burst));
            let (mut now, mut passed) = (1_000_000, Vec::new());
            for step in steps {
                now += step;
                if buckets.admit(3, Timestamp(now)).is_ok() {
                    passed.push(now);
                }
            }
            for (first, &from) in passed.iter().enumerate() {
                for (last, &to) in passed.iter().enumerate().skip(first) {
                    // In fractions, of which rounding may add one.
                    let fraction = u128::from(buckets.pace.interval);
                    let earned = u128::from(to - from) * u128::from(requests) * fraction
                        / (u128::from(per_ms) * 1000);
                    prop_assert!((last - first) as u128 * fraction
                        <= u128::from(burst - 1) * fraction + earned + 1);
                }
            }
        }

        /// Who asks when there is a token gets it: the bucket is no stricter than a reference that counts tokens.
        #[test]
        fn it_is_no_stricter_than_a_count_of_tokens(
            (requests, burst) in (1u32..1000, 1u32..20),
            steps in prop::collection::vec(0u64..3_000, 1..300),
        ) {
            // Intervals of a whole number of milliseconds: the reference does not round either.
            let buckets = Buckets::new(rate(1, requests.into(), burst));
            let interval = f64::from(requests);
            let (mut now, mut tokens, mut then) = (0, f64::from(burst), 0);
            for step in steps {
                now += step;
                tokens = f64::from(burst).min(tokens + (now - then) as f64 / interval);
                then = now;
                let passes = buckets.admit(3, ms(now)).is_ok();
                if (tokens - 1.0).abs() > 0.01 {
                    prop_assert_eq!(passes, tokens >= 1.0, "{} tokens", tokens);
                }
                tokens -= f64::from(u8::from(passes));
            }
        }
    }

    /// One of several that are inside [`Buckets::admit`] at the same time: what it wants, and the words it has read so far.
    #[derive(Default)]
    struct Inside {
        key: u64,
        words: Vec<u64>,
    }

    proptest! {
        /// Goal: however reads and swaps of several interleave, no key has two slots, no word becomes smaller, and no key
        /// has more than its burst and its rate. Method: every load and every swap is a step of a random schedule.
        #[test]
        fn no_interleaving_brings_a_key_in_twice(
            schedule in prop::collection::vec((0usize..4, 1u64..=12, 0u64..400), 1..1500),
            crowded in any::<bool>(),
        ) {
            let buckets = Buckets::with(rate(1000, 1000, 3), 1, 18);
            let slots = buckets.neighbours(0);
            let (mut inside, mut now): ([Inside; 4], u64) = Default::default();
            let mut passed = [0u64; 13];
            for (who, key, step) in schedule {
                now += if crowded { step / 50 } else { step };
                let one = &mut inside[who];
                if one.key == 0 {
                    one.key = if crowded { key } else { key.min(8) };
                }
                if one.words.len() < NEIGHBOURS {
                    one.words.push(slots[one.words.len()].load(Ordering::Relaxed));
                    continue;
                }
                let Inside { key, words } = std::mem::take(one);
                let spot = spot(words.into_iter(), key, 18);
                let (Spot::Own(index, word) | Spot::Victim(index, word)) = spot;
                let Ok(next) = buckets.charge(spot, key, Timestamp(now)) else { continue };
                prop_assert!(next > word);
                if slots[index].compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                    passed[usize::try_from(key).unwrap()] += 1;
                    let words = slots.iter().map(|slot| slot.load(Ordering::Relaxed)).filter(|&word| word != 0);
                    let mut tags: Vec<u64> = words.map(|word| tag_of(word, 18)).collect();
                    tags.sort_unstable();
                    prop_assert!(tags.windows(2).all(|pair| pair[0] != pair[1]), "{tags:?}");
                } else {
                    inside[who].key = key; // it tries again
                }
            }
            if !crowded {
                prop_assert!(passed.iter().all(|&passed| passed <= 3 + now / 1000 + 1), "{passed:?}");
            }
        }
    }

    /// Goal: threads that hammer the same keys never pass more than one would. Method: virtual time that one of them moves on,
    /// and keys that begin, and crowd the same neighbourhood, in the same instant.
    #[test]
    fn threads_together_pass_no_more_than_one() {
        const THREADS: usize = 4;
        const KEYS: usize = 6;
        for round in 0..200 {
            let buckets = Buckets::with(rate(1000, 1000, 5), 1, 18);
            let counts: [AtomicUsize; KEYS] = Default::default();
            let (clock, barrier) = (AtomicU64::new(round * 1000), Barrier::new(THREADS));
            std::thread::scope(|scope| {
                for thread in 0..THREADS {
                    let (buckets, counts, clock, barrier) = (&buckets, &counts, &clock, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        for turn in 0..300 {
                            let key = (turn + thread) % KEYS;
                            let now = Timestamp(clock.fetch_add(10, Ordering::Relaxed));
                            if buckets.admit(key as u64 + 1, now).is_ok() {
                                counts[key].fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    });
                }
            });
            let elapsed_ms = (clock.load(Ordering::Relaxed) - round * 1000) / 1000;
            for count in &counts {
                let count = count.load(Ordering::Relaxed);
                assert!(count as u64 <= 5 + elapsed_ms, "{count} in {elapsed_ms} ms");
                assert!(count >= 5, "the burst at least");
            }
        }
    }

    /// Goal: rotating keys does not fill another key's bucket. Method: one neighbourhood, a key that has used its burst,
    /// and a thousand others, which displace each other.
    #[test]
    fn rotated_keys_do_not_reset_a_bucket() {
        let buckets = Buckets::with(rate(1, 1000, 10), 1, 18);
        assert_eq!(passes(&buckets, 1, ms(1), 20), 10);
        for key in 2..40 {
            assert!(buckets.admit(key, ms(1)).is_ok(), "nobody is locked out");
            assert_eq!(passes(&buckets, 1, ms(1), 1), 0, "after {key}");
        }
    }

    /// Goal: a key that was displaced all the same comes back to the debt of those who displaced it, not to a new burst.
    /// Method: eight keys with as much debt in one neighbourhood, more keys, then the first again.
    #[test]
    fn a_displaced_key_comes_back_to_a_debt() {
        let buckets = Buckets::with(rate(1, 1000, 10), 1, 18);
        for key in 1..=8 {
            assert_eq!(passes(&buckets, key, ms(1), 20), 10);
        }
        assert_eq!(passes(&buckets, 9, ms(1), 20), 1, "a newcomer passes, once");
        let again: usize = (1..=8).map(|key| passes(&buckets, key, ms(1), 20)).sum();
        assert!(again <= 8, "{again}: at most one each, and no burst");
    }
}
