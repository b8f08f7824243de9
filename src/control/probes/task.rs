//! The task that probes one endpoint, over and over, until its [`Running`] is dropped.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use monoio::time::{sleep, timeout};

use crate::limits;
use crate::net::clock::Clock;
use crate::net::group::tell;
use crate::net::shared::Shared;
use crate::time::Timestamp;

use super::probe;
use super::terms::{Answer, Bad, Closing, Target};

/// What all tasks use.
#[derive(Debug)]
pub struct Desk {
    /// The process.
    pub shared: Arc<Shared>,
    /// The clock of this thread.
    pub clock: Clock,
    /// Probes under way.
    pub under_way: Rc<Cell<usize>>,
    /// No more warnings of our own trouble before.
    pub quiet_until: Cell<Timestamp>,
}

/// A task. It ends when this is dropped, in the middle of a probe too.
#[derive(Debug)]
pub struct Running {
    /// What it probes.
    pub target: Rc<Target>,
    leash: Rc<Leash>,
}

#[derive(Debug, Default)]
struct Leash {
    pulled: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.leash.pulled.set(true);
        if let Some(waker) = self.leash.waker.take() {
            waker.wake();
        }
    }
}

impl Leash {
    /// Works until it is done, or the leash is pulled.
    async fn hold(&self, work: impl Future<Output = ()>) {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if self.pulled.get() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            work.as_mut().poll(cx)
        })
        .await;
    }
}

impl Running {
    /// Begins to probe `target`.
    pub fn start(target: Target, desk: &Rc<Desk>) -> Running {
        let (target, leash) = (Rc::new(target), Rc::new(Leash::default()));
        let (desk, work, held) = (Rc::clone(desk), Rc::clone(&target), Rc::clone(&leash));
        monoio::spawn(async move { held.hold(desk.repeat(&work)).await });
        Running { target, leash }
    }
}

/// A place among [`limits::PROBES_MAX`]; given back when dropped.
struct Place(Rc<Cell<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Desk {
    async fn repeat(&self, target: &Target) {
        let interval = target.check.interval;
        sleep(interval.mul_f64(JITTER * chance())).await;
        loop {
            let began = Instant::now();
            let place = self.place().await;
            self.probe(target).await;
            drop(place);
            let least = Duration::from_millis(limits::PROBE_PAUSE_MIN_MS);
            sleep(pause(interval, chance()).saturating_sub(began.elapsed()).max(least)).await;
        }
    }

    /// Waits for a place. Looking again and again is all there is to it: a line of wakers would lose its turn with a task
    /// that ends between being woken and running.
    async fn place(&self) -> Place {
        while self.under_way.get() >= limits::PROBES_MAX {
            sleep(Duration::from_millis(limits::PROBE_PLACE_LOOK_MS)).await;
        }
        self.under_way.set(self.under_way.get() + 1);
        Place(Rc::clone(&self.under_way))
    }

    /// One probe. Its connection is closed once everybody knows what came of it.
    async fn probe(&self, target: &Target) {
        let site = self.shared.site.load_full();
        let verdict = timeout(target.check.timeout, probe::run(target, &site)).await;
        drop(site);
        if let Some(closing) = self.judge(target, verdict.unwrap_or(Err(Bad::Late))) {
            let _ = timeout(Duration::from_millis(limits::PROBE_CLOSE_MS), closing).await;
        }
    }

    /// Warns of probes that could not be made, once in a while: there may be many.
    fn complain(&self, group: &str, endpoint: &str, error: &std::io::Error) {
        let now = self.clock.refresh();
        if now >= self.quiet_until.get() {
            self.quiet_until.set(now.after(Some(Duration::from_millis(limits::WARNING_PAUSE_MS))));
            tracing::warn!(group, endpoint, %error, "probes cannot be made; they count as neither good nor bad");
        }
    }

    /// Tells everybody what came of a probe; how to part with an endpoint that has answered.
    fn judge(&self, target: &Target, verdict: Result<Answer, Bad>) -> Option<Closing> {
        let (group, endpoint) = (&*target.group, &*target.endpoint.label);
        let (why, closing) = match verdict {
            Ok(answer) => (answer.bad, Some(answer.closing)),
            Err(bad) => (Some(bad), None),
        };
        match &why {
            None => tracing::debug!(group, endpoint, "a probe was good"),
            Some(Bad::Ours(error)) => {
                self.complain(group, endpoint, error);
                return None;
            }
            Some(why) => tracing::debug!(group, endpoint, %why, "a probe was bad"),
        }
        self.shared.probes.count(why.is_none());
        if let Some(change) = target.state.probed(why.is_none(), self.clock.refresh(), &target.check) {
            tell(group, endpoint, change, why.as_ref().map(|why| why as &dyn Display));
        }
        closing
    }
}

/// The share of an interval that is left to chance.
const JITTER: f64 = 0.1;

/// From the beginning of one probe to that of the next: the interval, give or take half of what is left to chance, so that
/// it is right on average.
fn pause(interval: Duration, chance: f64) -> Duration {
    interval.mul_f64(1.0 - JITTER / 2.0 + JITTER * chance)
}

/// From 0 to 1, by the seed that the standard library draws for its hash maps.
fn chance() -> f64 {
    let bits = u32::try_from(RandomState::new().hash_one(0_u8) >> 32).unwrap_or_default();
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_interval_is_left_to_chance() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(second, 0.0), Duration::from_millis(950));
        assert_eq!(pause(second, 1.0), Duration::from_millis(1050));
        let drawn: Vec<f64> = (0..100).map(|_| chance()).collect();
        assert!(drawn.iter().all(|it| (0.0..=1.0).contains(it)));
        assert!(drawn.iter().any(|it| *it < 0.5) && drawn.iter().any(|it| *it > 0.5), "{drawn:?}");
    }
}
