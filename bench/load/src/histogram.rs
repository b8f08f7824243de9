//! Latencies in logarithmic buckets, 64 per power of two: exact to 1.6 %, fixed size.

const SUB_BITS: u32 = 6;
const SUB: u64 = 1 << SUB_BITS;
const BUCKETS: usize = 64 * SUB as usize;

/// Counts of nanoseconds.
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }

    /// Counts one value.
    pub fn record(&mut self, ns: u64) {
        if let Some(count) = self.counts.get_mut(bucket(ns)) {
            *count += 1;
            self.total += 1;
        }
    }

    /// How many values there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The value that `share` (0 to 1) of all values do not exceed, in microseconds; `null` in JSON when empty.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> Option<f64> {
        let rank = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let at = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(middle(at as u64) as f64 / 1000.0)
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

fn bucket(ns: u64) -> usize {
    if ns < SUB {
        return ns as usize;
    }
    let shift = 63 - ns.leading_zeros() - SUB_BITS;
    ((u64::from(shift) + 1) * SUB + ((ns >> shift) - SUB)) as usize
}

/// The middle of a bucket.
fn middle(index: u64) -> u64 {
    if index < SUB {
        return index;
    }
    let shift = index / SUB - 1;
    ((SUB + index % SUB) << shift) + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_values_to_two_percent() {
        for ns in (0..40).flat_map(|bits| [1_u64 << bits, (1 << bits) * 5 / 3]) {
            let back = middle(bucket(ns) as u64);
            assert!(back.abs_diff(ns) as f64 <= ns as f64 * 0.016 + 1.0, "{ns} became {back}");
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile_us(0.5), None);
        (1..=1000).for_each(|us| histogram.record(us * 1000));
        let near = |share, us: f64| (histogram.quantile_us(share).unwrap() - us).abs() < us * 0.02;
        assert!(near(0.5, 500.0) && near(0.99, 990.0) && near(1.0, 1000.0));
    }
}
