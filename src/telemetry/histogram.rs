//! How values are distributed: counts in fixed buckets.
//!
//! A worker owns a [`Histogram`] and is the only one that writes to it, as with [`super::metrics::Shard`]; whoever reports
//! merges [`Counts`]. Buckets are fixed so that those of all workers, and of all instances, can be added.
//!
//! | scale | upper bounds | why |
//! | --- | --- | --- |
//! | time | 20, from 100 µs to 1 h in steps of 1-2-5, coarser above 10 s | the fastest answer over loopback to the longest stream; a quantile is off by a factor of 2.5 at most below 10 s |
//! | size | 18, from 1 KiB to 16 MiB in powers of two, then of four to 1 GiB | most responses are small; of large ones the magnitude is enough |
//!
//! A value equal to a bound is below it (`le`), and what is above the last bound is in a bucket of its own.

use std::sync::atomic::{AtomicU64, Ordering};

use super::cell::add;

/// Bounds of the scale that has most.
const BOUNDS_MAX: usize = 20;

/// What a histogram is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Durations: observed in microseconds, shown in seconds.
    Time,
    /// Sizes in bytes.
    Size,
}

/// The upper bound of a bucket, and how `le` has it: as Go prints it, with `.0` where it looks like an integer
/// (OpenMetrics 1.0, "Canonical Numbers"). It is the same in both text formats, so that a series does not depend on which one
/// was asked for.
type Bound = (u64, &'static str);

const TIME: [Bound; BOUNDS_MAX] = [
    (100, "0.0001"),
    (200, "0.0002"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_000, "0.002"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (20_000, "0.02"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (200_000, "0.2"),
    (500_000, "0.5"),
    (1_000_000, "1.0"),
    (2_000_000, "2.0"),
    (5_000_000, "5.0"),
    (10_000_000, "10.0"),
    (30_000_000, "30.0"),
    (60_000_000, "60.0"),
    (300_000_000, "300.0"),
    (3_600_000_000, "3600.0"),
];

const SIZE: [Bound; 18] = [
    (1 << 10, "1024.0"),
    (1 << 11, "2048.0"),
    (1 << 12, "4096.0"),
    (1 << 13, "8192.0"),
    (1 << 14, "16384.0"),
    (1 << 15, "32768.0"),
    (1 << 16, "65536.0"),
    (1 << 17, "131072.0"),
    (1 << 18, "262144.0"),
    (1 << 19, "524288.0"),
    (1 << 20, "1.048576e+06"),
    (1 << 21, "2.097152e+06"),
    (1 << 22, "4.194304e+06"),
    (1 << 23, "8.388608e+06"),
    (1 << 24, "1.6777216e+07"),
    (1 << 26, "6.7108864e+07"),
    (1 << 28, "2.68435456e+08"),
    (1 << 30, "1.073741824e+09"),
];

impl Scale {
    /// The bounds, rising.
    const fn bounds(self) -> &'static [Bound] {
        match self {
            Scale::Time => &TIME,
            Scale::Size => &SIZE,
        }
    }

    /// The bucket of a value.
    fn bucket(self, value: u64) -> usize {
        self.bounds().partition_point(|&(bound, _)| bound < value)
    }
}

/// Counts of one worker.
#[derive(Debug)]
pub struct Histogram {
    scale: Scale,
    buckets: [AtomicU64; BOUNDS_MAX + 1],
    sum: AtomicU64,
}

impl Histogram {
    /// All zero.
    #[must_use]
    pub const fn new(scale: Scale) -> Histogram {
        Histogram { scale, buckets: [const { AtomicU64::new(0) }; BOUNDS_MAX + 1], sum: AtomicU64::new(0) }
    }

    /// Counts `value`, in microseconds or bytes. Only the worker that owns the histogram may call this: see
    /// [`super::metrics::Shard::add`].
    pub fn observe(&self, value: u64) {
        if let Some(bucket) = self.buckets.get(self.scale.bucket(value)) {
            add(bucket, 1);
            add(&self.sum, value);
        }
    }

    /// What was counted, from any thread. The sum may be of a moment later than the buckets.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::new(self.scale);
        for (count, bucket) in counts.buckets.iter_mut().zip(&self.buckets) {
            *count = bucket.load(Ordering::Relaxed);
        }
        counts.sum = self.sum.load(Ordering::Relaxed);
        counts
    }
}

/// What one or more histograms of a scale counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    scale: Scale,
    buckets: [u64; BOUNDS_MAX + 1],
    sum: u64,
}

impl Counts {
    /// Nothing.
    #[must_use]
    pub const fn new(scale: Scale) -> Counts {
        Counts { scale, buckets: [0; BOUNDS_MAX + 1], sum: 0 }
    }

    /// Adds what others of the same scale counted.
    pub fn merge(&mut self, other: &Counts) {
        debug_assert_eq!(self.scale, other.scale, "only like can be added");
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine = mine.wrapping_add(theirs);
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// What is counted.
    #[must_use]
    pub const fn scale(&self) -> Scale {
        self.scale
    }

    /// Number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, &bucket| sum.wrapping_add(bucket))
    }

    /// Sum of the values, in microseconds or bytes.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// Each bound as `le` has it, and how many values are not above it; the last is `+Inf`, and everything.
    pub fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let labels = self.scale.bounds().iter().map(|&(_, label)| label).chain(["+Inf"]);
        let sums = self.buckets.iter().scan(0u64, |sum, &bucket| {
            *sum = sum.wrapping_add(bucket);
            Some(*sum)
        });
        labels.zip(sums)
    }
}

#[cfg(test)]
mod tests {
    //! Goal: buckets and sums are those of a list of the values. Method: such a list.

    use proptest::prelude::*;

    use super::*;

    const SCALES: [Scale; 2] = [Scale::Time, Scale::Size];

    #[test]
    fn bounds_rise_and_are_what_they_say() {
        for scale in SCALES {
            let bounds = scale.bounds();
            assert!(bounds.windows(2).all(|pair| pair[0].0 < pair[1].0), "{scale:?}");
            assert!((16..=BOUNDS_MAX).contains(&bounds.len()), "{scale:?}");
            let unit = if scale == Scale::Time { 1e6 } else { 1.0 };
            for (bound, label) in bounds {
                assert_eq!(label.parse::<f64>().unwrap() * unit, *bound as f64, "{label}");
                assert!(label.contains('.'), "{label}: a float");
            }
        }
        assert_eq!((TIME[0].0, TIME[19].0), (100, 3_600_000_000));
        assert_eq!((SIZE[0].0, SIZE[17].0), (1024, 1024 * 1024 * 1024));
    }

    #[test]
    fn a_value_equal_to_a_bound_is_not_above_it() {
        let histogram = Histogram::new(Scale::Size);
        [0, 1024, 1025, 1 << 30, u64::MAX].into_iter().for_each(|value| histogram.observe(value));
        let cumulative: Vec<_> = histogram.counts().cumulative().collect();
        assert_eq!(cumulative[..2], [("1024.0", 2), ("2048.0", 3)]);
        assert_eq!(cumulative[17..], [("1.073741824e+09", 4), ("+Inf", 5)]);
    }

    /// Goal: one writer, and readers at any time. Method: a thread that counts, and one that sees counts only ever grow.
    #[test]
    fn it_is_read_while_it_is_written() {
        let histogram = Histogram::new(Scale::Time);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..20_000).for_each(|value| histogram.observe(value)));
            let mut seen = 0;
            while seen < 20_000 {
                let count = histogram.counts().count();
                assert!((seen..=20_000).contains(&count));
                seen = count;
            }
        });
    }

    /// Values over all magnitudes.
    fn values() -> impl Strategy<Value = Vec<u64>> {
        let value = (0u32..40, any::<u64>()).prop_map(|(bits, random)| random & ((1 << bits) - 1));
        prop::collection::vec(value, 1..200)
    }

    proptest! {
        #[test]
        fn it_equals_a_list(values in values(), split in any::<prop::sample::Index>()) {
            for scale in SCALES {
                // Two workers.
                let (mine, theirs) = values.split_at(split.index(values.len()));
                let (a, b) = (Histogram::new(scale), Histogram::new(scale));
                mine.iter().for_each(|&value| a.observe(value));
                theirs.iter().for_each(|&value| b.observe(value));
                let mut counts = a.counts();
                counts.merge(&b.counts());

                prop_assert_eq!(counts.count(), values.len() as u64);
                prop_assert_eq!(counts.sum(), values.iter().sum::<u64>());
                let bounds = scale.bounds().iter().map(|bound| bound.0).chain([u64::MAX]);
                for (bound, (label, count)) in bounds.zip(counts.cumulative()) {
                    prop_assert_eq!(count, values.iter().filter(|&&v| v <= bound).count() as u64, "{}", label);
                }
            }
        }
    }
}
