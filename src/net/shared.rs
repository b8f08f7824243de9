//! What workers and control share: one immutable site, a few relaxed counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use crate::limits;

use super::site::Site;
use super::steer::{Admission, Crew};
use super::tls::ServerTls;
use super::tls::certificates::host_of;

/// Where the process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lifecycle {
    /// Serving.
    Running,
    /// No new connections; what runs may finish.
    Draining,
    /// The drain deadline has passed: what still runs is cut.
    Cutting,
}

/// What the descriptor limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Client connections at once, all workers together.
    pub connections: usize,
    /// Idle upstream connections of one worker.
    pub idle_upstreams: usize,
    /// Pipes of one worker.
    pub pipes: usize,
}

impl Budget {
    /// Shares `available` descriptors out: most to connections, which need two each, the rest to what can be
    /// done without.
    #[must_use]
    pub fn within(available: usize, workers: usize) -> Budget {
        let workers = workers.max(1);
        let idle = available / 100 * limits::DESCRIPTORS_IDLE_PERCENT;
        let pipes = available / 100 * limits::DESCRIPTORS_PIPES_PERCENT;
        let closing = available / 100 * limits::DESCRIPTORS_CLOSING_PERCENT;
        let connections =
            available.saturating_sub(idle + pipes + closing) / limits::DESCRIPTORS_PER_CONNECTION;
        Budget { connections, idle_upstreams: (idle / workers).max(1), pipes: pipes / 2 / workers }
    }
}

/// Shared by all threads of the process.
#[derive(Debug)]
pub struct Shared {
    /// What is served now; swapped in whole.
    pub site: ArcSwap<Site>,
    /// What listeners with TLS speak now; `None` where there are none.
    pub tls: Option<ArcSwap<ServerTls>>,
    /// Where the first listener with TLS listens.
    pub https_port: u16,
    /// The start of every worker's clock.
    pub epoch: Instant,
    /// How often the configuration was loaded again.
    pub reloads: Reloads,
    /// What health checks came to.
    pub probes: ProbeCounts,
    /// The workers; nobody until they are about to start.
    pub crew: Arc<Crew>,
    /// What the descriptor limit allows.
    pub budget: Budget,
    lifecycle: AtomicU8,
    /// See [`Shared::has_successor`].
    succeeded: AtomicBool,
    /// Workers that have not shown life for [`limits::PULSE_MS`](crate::limits::PULSE_MS).
    hanging: AtomicU32,
}

impl Shared {
    /// The state of a process that is about to serve within `budget`.
    #[must_use]
    pub fn new(site: Site, budget: Budget, epoch: Instant) -> Shared {
        Shared {
            site: ArcSwap::from_pointee(site),
            tls: None,
            https_port: 443,
            epoch,
            reloads: Reloads::default(),
            probes: ProbeCounts::default(),
            crew: Arc::default(),
            budget,
            lifecycle: AtomicU8::new(0),
            succeeded: AtomicBool::new(false),
            hanging: AtomicU32::new(0),
        }
    }

    /// Workers that hang, as far as is known.
    #[must_use]
    pub fn workers_hanging(&self) -> u32 {
        self.hanging.load(Ordering::Relaxed)
    }

    /// So many workers hang.
    pub fn set_workers_hanging(&self, hanging: u32) {
        self.hanging.store(hanging, Ordering::Relaxed);
    }

    /// The port where `authority` is served with TLS; `None` when no certificate is for it.
    #[must_use]
    pub fn tls_port_of(&self, authority: &[u8]) -> Option<u16> {
        let host = host_of(authority);
        let known = self.tls.as_ref().is_some_and(|tls| tls.load().certificates.know(host));
        known.then_some(self.https_port)
    }

    /// Where the process stands.
    #[must_use]
    pub fn lifecycle(&self) -> Lifecycle {
        match self.lifecycle.load(Ordering::Relaxed) {
            0 => Lifecycle::Running,
            1 => Lifecycle::Draining,
            _ => Lifecycle::Cutting,
        }
    }

    /// Moves on; never back. Whoever sees it and then fences sees all that was stored before.
    pub fn advance_to(&self, next: Lifecycle) {
        self.lifecycle.fetch_max(next as u8, Ordering::Release);
    }

    /// Another process takes new connections: those we have are still good for a last request each. To close an idle one
    /// now would reset the client whose request is on its way.
    #[must_use]
    pub fn has_successor(&self) -> bool {
        self.succeeded.load(Ordering::Relaxed)
    }

    /// See [`Shared::has_successor`]; to be said before the drain begins. False: the service as a whole ends.
    pub fn set_successor(&self, there_is_one: bool) {
        self.succeeded.store(there_is_one, Ordering::Relaxed);
    }

    /// Counts a client connection of `worker` in; `None` when `--max-connections` are open. Two workers may pass the last
    /// place at once: the bound is exceeded by less than the number of workers.
    #[must_use]
    pub fn admit(&self, worker: usize) -> Option<Admission> {
        let full = self.connections() >= self.budget.connections;
        (!full).then(|| Admission::new(&self.crew, worker))
    }

    /// Client connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.crew.connections()
    }
}

/// How often the configuration was loaded again.
#[derive(Debug, Default)]
pub struct Reloads {
    succeeded: AtomicU64,
    failed: AtomicU64,
    last_success_unix_s: AtomicU64,
}

impl Reloads {
    /// Once more.
    pub fn succeeded(&self) {
        self.succeeded.fetch_add(1, Ordering::Relaxed);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_success_unix_s.store(unix.as_secs(), Ordering::Relaxed);
    }

    /// When the last success was, in seconds since the Unix epoch; `None` before the first.
    #[must_use]
    pub fn last_success_unix_s(&self) -> Option<u64> {
        Some(self.last_success_unix_s.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// It was tried once more, and refused.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Successes and failures.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.succeeded.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

/// What health checks came to.
#[derive(Debug, Default)]
pub struct ProbeCounts {
    good: AtomicU64,
    bad: AtomicU64,
}

impl ProbeCounts {
    /// One more.
    pub fn count(&self, good: bool) {
        let counter = if good { &self.good } else { &self.bad };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Good and bad ones.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.good.load(Ordering::Relaxed), self.bad.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: whatever the limit, nobody's share depends on another's restraint.
    #[test]
    fn the_budget_never_exceeds_what_is_there() {
        for available in [0, 1, 7, 100, 156, 960, 19_900, 1_000_000] {
            for workers in 1..=8 {
                let budget = Budget::within(available, workers);
                let idle = (budget.idle_upstreams - 1) * workers; // the least is one each
                let used = 2 * budget.connections + idle + 2 * budget.pipes * workers;
                assert!(used <= available, "{used} of {available} with {workers} workers");
                assert!(budget.connections * 5 >= available / 2, "{budget:?} of {available}");
            }
        }
    }
}
