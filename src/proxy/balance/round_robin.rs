//! Round robin with failover, for one worker by itself.

use super::Tried;
use crate::time::Timestamp;

/// How long an endpoint that failed to connect is passed over while another one can serve, in microseconds.
/// Short: one connection attempt per pause and worker is the price of noticing that it is back.
const REST_US: u64 = 2_000_000;
/// An endpoint whose last connection attempt succeeded, or that was never tried.
const WELL: Timestamp = Timestamp(0);

/// Takes turns among `n` endpoints; those that lately failed to connect come last.
#[derive(Clone, Debug, Default)]
pub struct RoundRobin {
    next: usize,
    resting_until: Vec<Timestamp>,
}

impl RoundRobin {
    /// Turns among `endpoints` endpoints, starting at `first` so that workers do not march in step.
    #[must_use]
    pub fn new(endpoints: usize, first: usize) -> RoundRobin {
        RoundRobin { next: first, resting_until: vec![WELL; endpoints] }
    }

    /// The next endpoint that was not tried; a resting one only when there is no other.
    pub fn pick(&mut self, now: Timestamp, tried: Tried) -> Option<usize> {
        let n = self.resting_until.len();
        let turn = |offset: usize| (self.next % n.max(1) + offset) % n.max(1);
        let untried = || (0..n).map(turn).filter(|&i| !tried.contains(i));
        let awake = |i: &usize| self.resting_until.get(*i).is_some_and(|&until| until <= now);
        let picked = untried().find(awake).or_else(|| untried().next())?;
        self.next = picked + 1;
        Some(picked)
    }

    /// `index` could not be connected to; true when it had been well.
    pub fn failed(&mut self, index: usize, now: Timestamp) -> bool {
        let Some(until) = self.resting_until.get_mut(index) else { return false };
        std::mem::replace(until, Timestamp(now.0 + REST_US)) == WELL
    }

    /// `index` accepted a connection; true when it had failed before.
    pub fn connected(&mut self, index: usize) -> bool {
        let Some(until) = self.resting_until.get_mut(index) else { return false };
        std::mem::replace(until, WELL) != WELL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(robin: &mut RoundRobin, now: u64, count: usize) -> Vec<usize> {
        (0..count).filter_map(|_| robin.pick(Timestamp(now), Tried::default())).collect()
    }

    #[test]
    fn takes_turns_from_the_first() {
        assert_eq!(picks(&mut RoundRobin::new(3, 1), 0, 5), [1, 2, 0, 1, 2]);
        assert_eq!(picks(&mut RoundRobin::new(1, 7), 0, 2), [0, 0]);
        assert!(picks(&mut RoundRobin::new(0, 0), 0, 2).is_empty());
    }

    #[test]
    fn passes_over_a_failed_endpoint_until_it_has_rested() {
        let mut robin = RoundRobin::new(2, 0);
        assert!(robin.failed(0, Timestamp(10)) && !robin.failed(0, Timestamp(10)), "news once");
        assert_eq!(picks(&mut robin, 11, 3), [1, 1, 1]);
        assert_eq!(picks(&mut robin, 10 + REST_US, 2), [0, 1]);
        robin.failed(0, Timestamp(20));
        assert!(robin.connected(0) && !robin.connected(0), "news once");
        assert_eq!(picks(&mut robin, 21, 2), [0, 1]);
    }

    /// Goal: a lone or last endpoint is tried even while it rests, and none is tried twice.
    #[test]
    fn a_resting_endpoint_is_the_last_resort() {
        let mut robin = RoundRobin::new(2, 0);
        robin.failed(0, Timestamp(0));
        robin.failed(1, Timestamp(0));
        let mut tried = Tried::default();
        let first = robin.pick(Timestamp(1), tried).unwrap();
        tried.insert(first);
        let second = robin.pick(Timestamp(1), tried).unwrap();
        assert_ne!(first, second);
        tried.insert(second);
        assert_eq!(robin.pick(Timestamp(1), tried), None);
    }
}
