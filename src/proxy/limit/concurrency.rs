//! Requests or connections at once: a count for each key, in a table that all workers share.
//!
//! ```text
//!   word of a slot   [ tag: 32 bits | count: 32 bits ]                         one atomic; free while the count is 0
//!   table            2^18 slots = 2 MiB, in neighbourhoods of 8 (a cache line); a key has its slots in one of them
//! ```
//! Two threads may bring the same newcomer into two slots. So the count of a key is the sum over the slots with its tag, and
//! it is taken *after* one's own place is in it. Of those who hold a place at the same time one was the last to enter, and
//! its sum had all the others in it: it would not have stayed were they more than `max`. Two that race for the last place
//! may both be refused.
//!
//! A slot in use is never taken from its key. When eight other keys hold all of a neighbourhood, a newcomer passes and
//! is not counted: who holds a place has something open, so filling the table costs as many connections, and which keys
//! are neighbours depends on a random seed.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits;

use super::bucket::spread;

/// Slots that a key may be in.
const NEIGHBOURS: usize = limits::LIMIT_NEIGHBOURS;
/// The part of a word that is its count.
const COUNT: u64 = u32::MAX as u64;

/// A cache line of slots.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Neighbourhood([AtomicU64; NEIGHBOURS]);

/// How much of each key is under way.
#[derive(Debug)]
pub struct Counts {
    table: Box<[Neighbourhood]>,
    max: u64,
}

/// As many as may be are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A place among those under way; given back when it is dropped.
#[derive(Debug)]
#[must_use = "the place is given back when this is dropped"]
pub struct Place {
    /// The table and the slot in it; `None` is a place that is not counted.
    slot: Option<(Arc<Counts>, usize)>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((counts, index)) = &self.slot
            && let Some(slot) = counts.slot(*index)
        {
            // The count is at least our own. The tag stays: at 0 it means nothing.
            slot.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Counts {
    /// At most `max` of each of many keys.
    #[must_use]
    pub fn new(max: NonZeroU32) -> Counts {
        Counts::with(max, limits::LIMIT_SLOTS / NEIGHBOURS)
    }

    /// At most `max`, for a table that is used with one key.
    #[must_use]
    pub fn single(max: NonZeroU32) -> Counts {
        Counts::with(max, 1)
    }

    fn with(max: NonZeroU32, neighbourhoods: usize) -> Counts {
        let table = (0..neighbourhoods.max(1)).map(|_| Neighbourhood::default()).collect();
        Counts { table, max: max.get().into() }
    }

    /// Takes a place for the key with this hash.
    ///
    /// # Errors
    /// [`Full`]: all of its places are taken.
    pub fn enter(self: &Arc<Counts>, key_hash: u64) -> Result<Place, Full> {
        let place = match self.take(key_hash)? {
            None => return Ok(Place { slot: None }),
            Some(index) => Place { slot: Some((Arc::clone(self), index)) },
        };
        if self.count(key_hash) > self.max { Err(Full) } else { Ok(place) }
    }

    /// How many places of a key are taken.
    #[must_use]
    pub fn count(&self, key_hash: u64) -> u64 {
        let words = self.neighbours(key_hash).map(|(_, slot)| slot.load(Ordering::SeqCst));
        words.filter(|&word| is_of(word, key_hash)).map(|word| word & COUNT).sum()
    }

    /// Bytes that the table takes, whatever the keys.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.table)
    }

    /// Adds one to the key's slot, or to a free one; `None` when every slot is somebody else's.
    fn take(&self, key_hash: u64) -> Result<Option<usize>, Full> {
        loop {
            let Some((index, slot, word)) = self.find(key_hash) else { return Ok(None) };
            let count = word & COUNT;
            if count >= self.max {
                return Err(Full);
            }
            let next = (tag(key_hash) << u32::BITS) | (count + 1);
            if slot.compare_exchange(word, next, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                return Ok(Some(index));
            }
        }
    }

    /// The key's slot, else the first free one; with its word.
    fn find(&self, key_hash: u64) -> Option<(usize, &AtomicU64, u64)> {
        let mut free = None;
        for (index, slot) in self.neighbours(key_hash) {
            let word = slot.load(Ordering::SeqCst);
            if is_of(word, key_hash) {
                return Some((index, slot, word));
            }
            if word & COUNT == 0 && free.is_none() {
                free = Some((index, slot, word));
            }
        }
        free
    }

    fn neighbours(&self, key_hash: u64) -> impl Iterator<Item = (usize, &AtomicU64)> {
        let neighbourhood = spread(key_hash, self.table.len());
        let slots = self.table.get(neighbourhood).map(|it| it.0.as_slice()).unwrap_or_default();
        slots.iter().enumerate().map(move |(n, slot)| (neighbourhood * NEIGHBOURS + n, slot))
    }

    fn slot(&self, index: usize) -> Option<&AtomicU64> {
        self.table.get(index / NEIGHBOURS)?.0.get(index % NEIGHBOURS)
    }
}

const fn tag(key_hash: u64) -> u64 {
    key_hash & COUNT
}

/// A slot in use, and by this key.
const fn is_of(word: u64, key_hash: u64) -> bool {
    word & COUNT != 0 && word >> u32::BITS == tag(key_hash)
}

#[cfg(test)]
mod tests {
    //! Goal: never more than `max` of a key, and every place comes back. Method: threads that enter and leave, and tables so
    //! small that keys crowd.

    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn counts(max: u32, neighbourhoods: usize) -> Arc<Counts> {
        Arc::new(Counts::with(NonZeroU32::new(max).unwrap(), neighbourhoods))
    }

    #[test]
    fn a_place_comes_back_when_it_is_dropped() {
        let counts = counts(2, 4);
        let (a, b) = (counts.enter(7).unwrap(), counts.enter(7).unwrap());
        assert_eq!((counts.enter(7).unwrap_err(), counts.count(7)), (Full, 2));
        let _other = counts.enter(8).unwrap();
        drop(a);
        let c = counts.enter(7).unwrap();
        assert!(counts.enter(7).is_err());
        drop((b, c));
        assert_eq!((counts.count(7), counts.count(8)), (0, 1));
    }

    #[test]
    fn a_slot_in_use_is_nobody_elses() {
        let counts = counts(1, 1);
        let held: Vec<_> = (1..=8).map(|key| counts.enter(key).unwrap()).collect();
        let uncounted = counts.enter(9).unwrap();
        assert!(uncounted.slot.is_none() && counts.enter(9).is_ok(), "no slot is left: it passes");
        assert!((1..=8).all(|key| counts.enter(key).is_err()));
        drop(held);
        drop(uncounted);
        let nine = counts.enter(9).unwrap();
        assert!(nine.slot.is_some() && counts.enter(9).is_err());
    }

    /// Goal: a key in two slots is still one key. Method: the slots as two threads that race would leave them.
    #[test]
    fn a_key_in_two_slots_is_counted_in_both() {
        let counts = counts(3, 1);
        counts.slot(1).unwrap().store((7 << 32) | 1, Ordering::SeqCst);
        counts.slot(5).unwrap().store((7 << 32) | 1, Ordering::SeqCst);
        let third = counts.enter(7).unwrap();
        assert!(counts.enter(7).is_err());
        assert_eq!(counts.count(7), 3, "who was refused left nothing behind");
        drop(third);
        assert_eq!(counts.count(7), 2);
    }

    #[test]
    fn threads_together_hold_no_more_than_there_are() {
        const THREADS: usize = 4;
        const KEYS: usize = 3;
        for _ in 0..100 {
            let counts = counts(2, 1);
            let (held, barrier): ([AtomicUsize; KEYS], _) = (Default::default(), Barrier::new(THREADS));
            std::thread::scope(|scope| {
                for thread in 0..THREADS {
                    let (counts, held, barrier) = (&counts, &held, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        for turn in 0..300 {
                            let key = (turn + thread) % KEYS;
                            let Ok(place) = counts.enter(key as u64 + 1) else { continue };
                            assert!(held[key].fetch_add(1, Ordering::SeqCst) < 2);
                            held[key].fetch_sub(1, Ordering::SeqCst);
                            drop(place);
                        }
                    });
                }
            });
            assert!((0..KEYS as u64).all(|key| counts.count(key + 1) == 0));
        }
    }
}
