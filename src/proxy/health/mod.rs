//! What all workers and the control thread know of one endpoint together.
//!
//! ```text
//!                       could not be connected to (2 s, one trial at a time)
//!          +--------------------------------------------------------------> Resting
//!          |            failures in a row, or too many of them (base, 2 base, 4 base, ... max)
//!   Up ----+--------------------------------------------------------------> Ejected
//!          |            probes
//!          +--------------------------------------------------------------> Down
//!          |            the operator
//!          +--------------------------------------------------------------> Draining
//! ```
//!
//! The four are independent of each other; [`Availability`] names the gravest. Workers write what they see of their
//! traffic, the control thread what it sees of its probes, and every one of them reads all of it: relaxed atomics, no
//! lock. Nothing here needs an order between two words, because whatever has to change together is in one: being
//! ejected, down, draining and a member at all in `standing`, the counts of a group in [`Crowd`].
//!
//! **Never the last half of a group.** An ejection takes a place among those that may be out, and there are only as
//! many places as half the group has members. Endpoints that are down or draining fill places too, though nothing keeps
//! probes and operators from taking more than half. The other way to keep the promise is a threshold in the balancer,
//! below which it ignores ejections (Envoy's panic mode). It would show endpoints as ejected that are not, in logs and
//! metrics, when an operator needs them most.

mod change;
mod crowd;
#[cfg(test)]
mod tests;
mod window;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::config::group::{Check, Ejection};
use crate::time::Timestamp;

use self::crowd::Counted;
use self::window::Window;

pub use self::change::{Availability, Change, Outcome, Reason};
pub use self::crowd::Crowd;

/// How long an endpoint that failed to connect is passed over while another one can serve. Short: one connection attempt
/// per pause is the price of noticing that it is back.
const REST: Duration = Duration::from_secs(2);
/// An endpoint whose last connection attempt succeeded, or that was never tried.
const WELL: u64 = 0;
/// In `rest`: its pause is over, and somebody was let through to see whether it is back.
const TRIAL: u64 = 1;
const REST_SHIFT: u32 = 1;

/// In `standing`: down by probes, draining, not a member any more; the rest is when an ejection ends, 0 for none.
const DOWN: u64 = 1;
const DRAINING: u64 = 2;
const AWAY: u64 = 4;
const FLAGS: u64 = DOWN | DRAINING | AWAY;
const UNTIL_SHIFT: u32 = 3;
/// A hundred years fit (52 bits of microseconds).
const UNTIL_MAX: u64 = u64::MAX >> UNTIL_SHIFT;
/// Ejections in a row that are remembered; the pause has long reached its longest then.
const TIMES_MAX: u32 = 32;

/// The share of an endpoint that has been up for long, in thousandths.
pub const FULL_SHARE: u32 = 1000;
/// The share of one that has just come up.
const FIRST_SHARE: u32 = 100;

/// What all workers and the control thread know of one endpoint.
///
/// Every pick reads `known` of every member of a group, and every request writes `load` of one: they are on cache
/// lines of their own.
#[derive(Debug)]
pub struct EndpointState {
    known: Known,
    load: Load,
    crowd: Arc<Crowd>,
}

/// What changes seldom.
#[derive(Debug)]
#[repr(align(64))]
struct Known {
    standing: AtomicU64,
    rest: AtomicU64,
    /// Since when it is up, in microseconds.
    up_since: AtomicU64,
    /// When its last ejection ended.
    readmitted: AtomicU64,
    /// Ejections that are not forgotten.
    times: AtomicU32,
    /// Probes in a row: good ones above zero, bad ones below.
    streak: AtomicI32,
}

/// What changes with every request.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Load {
    active: AtomicU32,
    failures_in_a_row: AtomicU32,
    window: Window,
}

/// A request that is with an endpoint; it is not any more when this is dropped.
#[derive(Debug)]
#[must_use = "the request counts for as long as this lives"]
pub struct Busy(Arc<EndpointState>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.load.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for EndpointState {
    fn drop(&mut self) {
        self.leave();
    }
}

impl EndpointState {
    /// An endpoint that nothing is known of: it is up since `now`, and a member of the group.
    #[must_use]
    pub fn new(crowd: Arc<Crowd>, now: Timestamp) -> EndpointState {
        crowd.turn(Counted::Away, Counted::In);
        let known = Known {
            standing: AtomicU64::new(0),
            rest: AtomicU64::new(WELL),
            up_since: AtomicU64::new(now.0),
            readmitted: AtomicU64::new(0),
            times: AtomicU32::new(0),
            streak: AtomicI32::new(0),
        };
        EndpointState { known, load: Load::default(), crowd }
    }

    /// The group does not have it any more, though requests may still be with it: it counts no longer among the members.
    pub fn leave(&self) {
        self.turn(|standing| standing | AWAY);
    }

    /// The group has it again.
    pub fn join(&self) {
        self.turn(|standing| standing & !AWAY);
    }

    /// Requests that are with it now.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.load.active.load(Ordering::Relaxed)
    }

    /// One more request is with it, unless `max` are already, all workers together.
    pub fn try_enter(self: &Arc<Self>, max: Option<NonZeroU32>) -> Option<Busy> {
        let max = max.map_or(u32::MAX, NonZeroU32::get);
        let more = |active| (active < max).then(|| active + 1);
        let entered = self.load.active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        entered.is_ok().then(|| Busy(Arc::clone(self)))
    }

    /// Whether it gets requests; of several reasons why not, the gravest.
    #[must_use]
    pub fn availability(&self, now: Timestamp) -> Availability {
        let standing = self.standing();
        if standing & DRAINING != 0 {
            Availability::Draining
        } else if standing & DOWN != 0 {
            Availability::Down
        } else if standing >> UNTIL_SHIFT > now.0 {
            Availability::Ejected
        } else if self.known.rest.load(Ordering::Relaxed) >> REST_SHIFT > now.0 {
            Availability::Resting
        } else {
            Availability::Up
        }
    }

    /// Whether clients that were with it before stay: they do while it drains, but not when it is ill.
    #[must_use]
    pub fn keeps_sessions(&self, now: Timestamp) -> bool {
        let standing = self.standing();
        let ejected = standing >> UNTIL_SHIFT > now.0;
        let resting = self.known.rest.load(Ordering::Relaxed) >> REST_SHIFT > now.0;
        standing & DOWN == 0 && !ejected && !resting
    }

    /// Its share of what its weight is worth, in thousandths: from a tenth when it comes up to everything after
    /// `slow_start`.
    #[must_use]
    pub fn share(&self, now: Timestamp, slow_start: Duration) -> u32 {
        if slow_start.is_zero() {
            return FULL_SHARE;
        }
        // An ejection that is over, and that nobody has noticed yet, counts from its end.
        let since = self.known.up_since.load(Ordering::Relaxed).max(self.standing() >> UNTIL_SHIFT);
        let up = now.since(Timestamp(since)).min(slow_start).as_micros();
        let grown = u128::from(FULL_SHARE - FIRST_SHARE) * up / slow_start.as_micros().max(1);
        FIRST_SHARE + u32::try_from(grown).unwrap_or(FULL_SHARE - FIRST_SHARE)
    }

    /// How a request to it ended. Without an [`Ejection`] only whether it can be reached is noted. Of several changes
    /// the gravest is told.
    pub fn report(&self, outcome: Outcome, now: Timestamp, ejection: Option<&Ejection>) -> Option<Change> {
        let readmitted = self.settle(now);
        let reach = match outcome {
            Outcome::Served => self.answered(now),
            Outcome::Failed => None,
            Outcome::Unreachable => self.unreachable(now),
        };
        let failed = outcome != Outcome::Served;
        let ejected = ejection.and_then(|ejection| {
            let reason = self.judge(failed, now, ejection)?;
            self.eject(reason, now, ejection)
        });
        ejected.or(reach).or(readmitted)
    }

    /// It accepted a connection.
    pub fn connected(&self, now: Timestamp) -> Option<Change> {
        if self.known.rest.load(Ordering::Relaxed) == WELL {
            return None; // the common case writes nothing
        }
        let was = self.known.rest.swap(WELL, Ordering::Relaxed);
        (was != WELL).then(|| {
            self.up_since(now);
            Change::Reached
        })
    }

    /// It could not be connected to.
    pub fn unreachable(&self, now: Timestamp) -> Option<Change> {
        let was = self.known.rest.swap(resting(now), Ordering::Relaxed);
        (was == WELL).then_some(Change::Unreachable)
    }

    /// It began to answer: it can be reached, whatever becomes of the response. On a connection of old that says little about the next one, but somebody who was let through to
    /// see whether it is back, and was given such a connection, has seen it.
    pub fn answered(&self, now: Timestamp) -> Option<Change> {
        let on_trial = self.known.rest.load(Ordering::Relaxed) & TRIAL != 0;
        if on_trial { self.connected(now) } else { None }
    }

    /// Whether a request may go to it that found it up. When it could not be connected to and its pause is over, the
    /// first one who asks may, and everybody else only after another pause: a host that is gone holds up one request
    /// per pause, not every one until the first has failed.
    #[must_use]
    pub fn admits(&self, now: Timestamp) -> bool {
        let rest = self.known.rest.load(Ordering::Relaxed);
        rest == WELL || rest >> REST_SHIFT <= now.0 && self.tries(rest, resting(now) | TRIAL)
    }

    fn tries(&self, from: u64, to: u64) -> bool {
        self.known.rest.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Whether what was counted, with this one, is reason enough.
    fn judge(&self, failed: bool, now: Timestamp, ejection: &Ejection) -> Option<Reason> {
        let row = self.count_in_a_row(failed);
        let percent = ejection.error_percent.map(u32::from);
        let tally = percent.map(|_| self.load.window.record(failed, now, ejection.window));
        if !failed {
            return None; // a good answer is no reason, however bad those before were
        }
        if ejection.consecutive.is_some_and(|max| row >= max.get()) {
            return Some(Reason::Consecutive(row));
        }
        let (percent, tally) = (u64::from(percent?), tally?);
        let enough = tally.total >= ejection.requests_min;
        let bad = 100 * u64::from(tally.failed) >= percent * u64::from(tally.total);
        (enough && bad).then_some(Reason::Rate { failed: tally.failed, total: tally.total })
    }

    fn count_in_a_row(&self, failed: bool) -> u32 {
        let row = &self.load.failures_in_a_row;
        if failed {
            return row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        }
        if row.load(Ordering::Relaxed) != 0 {
            row.store(0, Ordering::Relaxed);
        }
        0
    }

    /// Leaves it alone, if it is not out already and the group can do without it.
    fn eject(&self, reason: Reason, now: Timestamp, ejection: &Ejection) -> Option<Change> {
        if self.standing() != 0 || !self.crowd.try_take() {
            return None;
        }
        let times = self.remembered(now, ejection).saturating_add(1).min(TIMES_MAX);
        let length = pause(times, ejection);
        let until = now.after(Some(length)).0.clamp(1, UNTIL_MAX) << UNTIL_SHIFT;
        let standing = &self.known.standing;
        if standing.compare_exchange(0, until, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            self.crowd.turn(Counted::Out, Counted::In); // somebody else took it out meanwhile
            return None;
        }
        self.known.times.store(times, Ordering::Relaxed);
        self.forget_failures();
        Some(Change::Ejected { reason, length, times })
    }

    /// Ejections that still count: one is forgotten each time it has been well for as long as the last one lasted.
    fn remembered(&self, now: Timestamp, ejection: &Ejection) -> u32 {
        let mut well = now.since(Timestamp(self.known.readmitted.load(Ordering::Relaxed)));
        let mut times = self.known.times.load(Ordering::Relaxed);
        while times > 0 {
            let Some(rest) = well.checked_sub(pause(times, ejection)) else { break };
            well = rest;
            times -= 1;
        }
        times
    }

    /// Ends an ejection whose time is over. [`EndpointState::report`] does so too; the control thread asks now and
    /// then for endpoints that nobody reports of.
    pub fn settle(&self, now: Timestamp) -> Option<Change> {
        let over = |standing| {
            let until = standing >> UNTIL_SHIFT;
            until != 0 && until <= now.0
        };
        if !over(self.standing()) {
            return None;
        }
        let was = self.turn(|standing| if over(standing) { standing & FLAGS } else { standing });
        over(was).then(|| {
            let ended = Timestamp(was >> UNTIL_SHIFT);
            self.known.readmitted.store(ended.0, Ordering::Relaxed);
            self.forget_failures();
            self.up_since(ended);
            Change::Readmitted
        })
    }

    /// What a probe found; those of one endpoint are reported one after another.
    pub fn probed(&self, good: bool, now: Timestamp, check: &Check) -> Option<Change> {
        let streak = self.known.streak.load(Ordering::Relaxed);
        let streak = if good { streak.max(0).saturating_add(1) } else { streak.min(0).saturating_sub(1) };
        self.known.streak.store(streak, Ordering::Relaxed);
        let (length, is_down) = (streak.unsigned_abs(), self.standing() & DOWN != 0);
        // A probe connects, so it ends a rest as well; that it does is the lesser news.
        let reached = if good { self.connected(now) } else { None };
        match (good, is_down) {
            (true, true) if length >= check.healthy => {
                self.turn(|standing| standing & !DOWN);
                self.up_since(now);
                Some(Change::Up(length))
            }
            (false, false) if length >= check.unhealthy => {
                // Being down takes over from an ejection, and will end when it does.
                self.turn(|standing| standing & FLAGS | DOWN);
                Some(Change::Down(length))
            }
            (true, true | false) | (false, true | false) => reached,
        }
    }

    /// Nobody probes it any more: what probes found is forgotten.
    pub fn unprobed(&self, now: Timestamp) {
        self.known.streak.store(0, Ordering::Relaxed);
        if self.turn(|standing| standing & !DOWN) & DOWN != 0 {
            self.up_since(now);
        }
    }

    /// The operator takes it out, or puts it back.
    pub fn drain(&self, drain: bool, now: Timestamp) -> Option<Change> {
        let was = self.turn(|standing| if drain { standing | DRAINING } else { standing & !DRAINING });
        let was_draining = was & DRAINING != 0;
        if was_draining && !drain {
            self.up_since(now);
        }
        (was_draining != drain).then_some(if drain { Change::Drained } else { Change::Undrained })
    }

    fn standing(&self) -> u64 {
        self.known.standing.load(Ordering::Relaxed)
    }

    fn up_since(&self, since: Timestamp) {
        self.known.up_since.store(since.0, Ordering::Relaxed);
    }

    fn forget_failures(&self) {
        self.load.failures_in_a_row.store(0, Ordering::Relaxed);
        self.load.window.clear();
    }

    /// Changes its standing, lets the group count it anew, and says what it was.
    fn turn(&self, change: impl Fn(u64) -> u64) -> u64 {
        let some = |standing| Some(change(standing));
        let was = self.known.standing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, some);
        let was = was.unwrap_or_else(|standing| standing);
        self.crowd.turn(counted(was), counted(change(was)));
        was
    }
}

/// `rest` of an endpoint that could not be connected to `now`.
fn resting(now: Timestamp) -> u64 {
    now.after(Some(REST)).0 << REST_SHIFT
}

fn counted(standing: u64) -> Counted {
    match standing {
        0 => Counted::In,
        standing if standing & AWAY != 0 => Counted::Away,
        _ => Counted::Out,
    }
}

/// How long the ejection lasts that is the `times`-th in a row.
fn pause(times: u32, ejection: &Ejection) -> Duration {
    let doubled = 1_u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX);
    ejection.base.saturating_mul(doubled).min(ejection.max)
}
