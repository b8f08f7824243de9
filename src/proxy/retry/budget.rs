//! How many requests may be tried again: a share of those there are, over the last ten seconds.
//!
//! One budget is for one group of endpoints on one worker, so it needs no atomics. A ring of ten seconds holds the
//! counts; what is older than the ring is forgotten a whole second at a time, so the window is nine to ten seconds long.

use crate::limits;
use crate::time::Timestamp;

/// Seconds of the ring.
const SECONDS: usize = limits::RETRY_WINDOW_S;

/// Requests and retries of the last seconds.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    ring: [Second; SECONDS],
    /// The sum of the ring.
    total: Second,
    /// The second that `now` was in, counted from the start of the process.
    second: u64,
}

/// What one second had.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    requests: u32,
    retries: u32,
}

impl Budget {
    /// A request came; however often it is tried, it is one.
    pub fn request(&mut self, now: Timestamp) {
        self.add(Second { requests: 1, retries: 0 }, now);
    }

    /// Pays for a retry, of which there may be `percent` in a hundred requests, and
    /// [`limits::RETRIES_FREE`] in any case; false when there were as many.
    #[must_use]
    pub fn spend(&mut self, percent: u8, now: Timestamp) -> bool {
        self.add(Second::default(), now);
        let share = u64::from(self.total.requests) * u64::from(percent) / 100;
        if u64::from(self.total.retries) >= share.max(limits::RETRIES_FREE.into()) {
            return false;
        }
        self.add(Second { requests: 0, retries: 1 }, now);
        true
    }

    /// Turns the ring to `now`, and counts.
    fn add(&mut self, more: Second, now: Timestamp) {
        // A clock that seems to go backwards is still in its last second.
        let second = (now.0 / 1_000_000).max(self.second);
        let passed = (second - self.second).min(SECONDS as u64);
        self.second = second;
        for fresh in (second - passed + 1)..=second {
            let old = self.ring.get_mut(index(fresh)).map(std::mem::take).unwrap_or_default();
            self.total.requests = self.total.requests.saturating_sub(old.requests);
            self.total.retries = self.total.retries.saturating_sub(old.retries);
        }
        self.total.add(more);
        if let Some(this) = self.ring.get_mut(index(second)) {
            this.add(more);
        }
    }
}

impl Second {
    fn add(&mut self, more: Second) {
        self.requests = self.requests.saturating_add(more.requests);
        self.retries = self.retries.saturating_add(more.retries);
    }
}

/// The place of a second in the ring.
fn index(second: u64) -> usize {
    usize::try_from(second % SECONDS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp(ms * 1000)
    }

    fn spends(budget: &mut Budget, percent: u8, now: Timestamp) -> usize {
        (0..10_000).take_while(|_| budget.spend(percent, now)).count()
    }

    #[test]
    fn a_few_are_free_and_a_share_of_many() {
        let mut budget = Budget::default();
        assert_eq!(spends(&mut budget, 20, at(5)), 10, "of no requests");
        (0..1000).for_each(|_| budget.request(at(500)));
        assert_eq!(spends(&mut budget, 20, at(900)), 190, "of a thousand, ten were spent");
        assert_eq!(spends(&mut budget, 20, at(9_999)), 0);
        assert_eq!(spends(&mut budget, 20, at(10_000)), 10, "all of that is forgotten");
        assert_eq!(spends(&mut budget, 0, at(60_000)), 10);
    }

    #[test]
    fn a_clock_may_stand_still_or_leap() {
        let mut budget = Budget::default();
        budget.request(Timestamp::NEVER);
        assert_eq!(spends(&mut budget, 100, at(1)), 10, "behind itself");
        assert_eq!(spends(&mut budget, 100, Timestamp::NEVER), 0);
    }

    proptest! {
        /// The ring equals a list of everything that happened in its ten seconds.
        #[test]
        fn it_is_a_window(steps in prop::collection::vec((0u64..1500, any::<bool>()), 1..400), percent in 0u8..=100) {
            let (mut budget, mut now) = (Budget::default(), 0);
            let mut happened: Vec<(u64, bool)> = Vec::new();
            for (step, retry) in steps {
                now += if step > 1400 { step * 10 } else { step / 50 };
                let recent = happened.iter().filter(|(at, _)| at / 1000 + 10 > now / 1000);
                let (retries, requests): (Vec<&(u64, bool)>, Vec<_>) = recent.partition(|(_, retry)| *retry);
                if retry {
                    let allowed = retries.len() < 10.max(requests.len() * usize::from(percent) / 100);
                    prop_assert_eq!(budget.spend(percent, at(now)), allowed);
                    if allowed {
                        happened.push((now, true));
                    }
                } else {
                    budget.request(at(now));
                    happened.push((now, false));
                }
            }
        }
    }
}
