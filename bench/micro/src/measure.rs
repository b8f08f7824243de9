//! Samples of operations, and what they come to.
//!
//! A sample is as many turns of an operation as fill its time. The samples are taken in rounds, one of every
//! operation in each: a slow second of the machine costs each of them a sample and none of them its median.

use std::time::{Duration, Instant};

use crate::counting;
use crate::operations::Operation;

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What a sample should take.
    sample: Duration,
    /// Samples of each operation.
    samples: usize,
}

impl Plan {
    /// For figures: a third of a second of each operation.
    pub const FULL: Plan = Plan { sample: Duration::from_millis(15), samples: 21 };
    /// For the count of allocations alone.
    pub const SMOKE: Plan = Plan { sample: Duration::from_millis(1), samples: 3 };
}

/// What one turn of an operation costs.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Nanoseconds, the median of all samples.
    pub median_ns: f64,
    /// Nanoseconds, of the fastest sample: what nobody disturbed.
    pub fastest_ns: f64,
    /// Allocations and reallocations, over all samples.
    pub allocations: f64,
}

/// Measures all of `operations`.
pub fn all(operations: &mut [Operation], plan: Plan) -> Vec<Figures> {
    let turns: Vec<u64> = operations.iter_mut().map(|operation| calibrate(operation, plan.sample)).collect();
    let mut samples = vec![Vec::with_capacity(plan.samples); operations.len()];
    for _ in 0..plan.samples {
        for ((operation, &turns), samples) in operations.iter_mut().zip(&turns).zip(&mut samples) {
            samples.push(sample(operation, turns));
        }
    }
    samples.into_iter().zip(turns).map(|(samples, turns)| figures(samples, turns)).collect()
}

/// One sample.
#[derive(Clone, Copy, Debug)]
struct Sample {
    took: Duration,
    allocations: u64,
}

fn sample(operation: &mut Operation, turns: u64) -> Sample {
    let (allocated, started) = (counting::allocations(), Instant::now());
    (operation.run)(turns);
    Sample { took: started.elapsed(), allocations: counting::allocations() - allocated }
}

/// The turns that take `wanted`. Warms up on the way: buffers have grown to their size then.
fn calibrate(operation: &mut Operation, wanted: Duration) -> u64 {
    let mut turns = 1;
    // Ends: even a turn that costs nothing is asked for no more than 2^40 times.
    while sample(operation, turns).took < wanted && turns < 1 << 40 {
        turns *= 2;
    }
    turns
}

#[allow(clippy::cast_precision_loss, reason = "counts of a few milliseconds")]
fn figures(samples: Vec<Sample>, turns: u64) -> Figures {
    let count = samples.len() as f64;
    let allocations: u64 = samples.iter().map(|sample| sample.allocations).sum();
    let mut ns: Vec<f64> =
        samples.iter().map(|sample| sample.took.as_nanos() as f64 / turns as f64).collect();
    ns.sort_by(f64::total_cmp);
    Figures {
        median_ns: ns.get(ns.len() / 2).copied().unwrap_or(f64::NAN),
        fastest_ns: ns.first().copied().unwrap_or(f64::NAN),
        allocations: allocations as f64 / (turns as f64 * count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_odd_number_of_samples() {
        let samples = [30, 10, 500].map(|us| Sample { took: Duration::from_micros(us), allocations: 5 });
        let figures = figures(samples.to_vec(), 10);
        assert_eq!((figures.median_ns, figures.fastest_ns, figures.allocations), (3_000.0, 1_000.0, 0.5));
    }
}
