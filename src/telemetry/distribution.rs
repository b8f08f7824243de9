//! Distributions: how often a value fell between which bounds. One writer, read from any thread.
//!
//! Bounds are fixed, so that distributions of several workers add up, and so that an observation is a search in a table that
//! fits two cache lines.

use std::array::from_fn;
use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of times in microseconds: from what a small response takes to what a stream may be silent.
pub const TIMES_US: [u64; 19] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

/// Upper bounds of body sizes in bytes.
pub const SIZES_BYTES: [u64; 12] =
    [0, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 128 << 20, 1 << 30];

/// Counts of values by bound.
#[derive(Debug)]
pub struct Distribution<const N: usize> {
    bounds: &'static [u64; N],
    /// Values up to each bound and above the one before it.
    within: [AtomicU64; N],
    /// Values above the last bound.
    above: AtomicU64,
    /// All values together.
    sum: AtomicU64,
}

impl<const N: usize> Distribution<N> {
    /// Nothing was observed.
    #[must_use]
    pub const fn new(bounds: &'static [u64; N]) -> Self {
        Distribution {
            bounds,
            within: [const { AtomicU64::new(0) }; N],
            above: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts `value`. Only the owner may call this (see [`super::metrics::Shard::add`]).
    #[inline]
    pub fn observe(&self, value: u64) {
        let index = self.bounds.partition_point(|bound| *bound < value);
        add(self.within.get(index).unwrap_or(&self.above), 1);
        add(&self.sum, value);
    }

    /// What was observed so far.
    #[must_use]
    pub fn read(&self) -> Observed<N> {
        Observed {
            bounds: self.bounds,
            within: from_fn(|index| read(self.within.get(index))),
            above: read(Some(&self.above)),
            sum: read(Some(&self.sum)),
        }
    }
}

/// A load and a store: there is one writer.
#[inline]
pub(super) fn add(cell: &AtomicU64, n: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

fn read(cell: Option<&AtomicU64>) -> u64 {
    cell.map_or(0, |cell| cell.load(Ordering::Relaxed))
}

/// What a distribution, or the sum of several, has observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed<const N: usize> {
    /// The bounds.
    pub bounds: &'static [u64; N],
    /// Values up to each bound and above the one before it.
    pub within: [u64; N],
    /// Values above the last bound.
    pub above: u64,
    /// All values together.
    pub sum: u64,
}

impl<const N: usize> Observed<N> {
    /// Nothing.
    #[must_use]
    pub const fn nothing(bounds: &'static [u64; N]) -> Self {
        Observed { bounds, within: [0; N], above: 0, sum: 0 }
    }

    /// Adds what another has observed.
    pub fn add(&mut self, other: &Observed<N>) {
        for (to, from) in self.within.iter_mut().zip(other.within) {
            *to = to.wrapping_add(from);
        }
        self.above = self.above.wrapping_add(other.above);
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Values observed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.within.iter().sum::<u64>().wrapping_add(self.above)
    }

    /// Each bound with the number of values up to it.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut so_far = 0u64;
        self.bounds.iter().zip(self.within).map(move |(bound, within)| {
            so_far = so_far.wrapping_add(within);
            (*bound, so_far)
        })
    }
}

#[cfg(test)]
mod tests {
    //! Goal: every value is counted once, under the first bound that is not below it. Method: the values at and around each
    //! bound.

    use super::*;

    #[test]
    fn bounds_go_up() {
        assert!(TIMES_US.is_sorted() && SIZES_BYTES.is_sorted());
    }

    #[test]
    fn values_fall_under_the_first_bound_that_holds_them() {
        for (index, bound) in TIMES_US.into_iter().enumerate() {
            let times = Distribution::new(&TIMES_US);
            times.observe(bound);
            times.observe(bound + 1);
            let seen = times.read();
            let next = seen.within.get(index + 1).copied().unwrap_or(seen.above);
            assert_eq!((seen.within[index], next, seen.count()), (1, 1, 2), "{bound}");
            assert_eq!(seen.sum, 2 * bound + 1);
        }
        let sizes = Distribution::new(&SIZES_BYTES);
        sizes.observe(0);
        sizes.observe(u64::MAX >> 1);
        assert_eq!((sizes.read().within[0], sizes.read().above), (1, 1));
    }

    #[test]
    fn sums_add_up_and_accumulate() {
        let (one, two) = (Distribution::new(&SIZES_BYTES), Distribution::new(&SIZES_BYTES));
        one.observe(100);
        two.observe(100);
        two.observe(5_000);
        let mut sum = Observed::nothing(&SIZES_BYTES);
        sum.add(&one.read());
        sum.add(&two.read());
        assert_eq!((sum.count(), sum.sum), (3, 5_200));
        let cumulative: Vec<(u64, u64)> = sum.cumulative().take(5).collect();
        assert_eq!(cumulative, [(0, 0), (256, 2), (1024, 2), (4096, 2), (16384, 3)]);
    }
}
