//! What workers and control share: one immutable configuration, the endpoint list, a few relaxed counters.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::config::Config;
use crate::limits;
use crate::proxy::endpoint::Endpoints;

use super::tls::certificates::host_of;
use super::tls::{OriginTls, ServerTls};

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
    /// The configuration.
    pub config: Config,
    /// Where requests go now; swapped in whole.
    pub endpoints: ArcSwap<Endpoints>,
    /// What listeners with TLS speak now; `None` where there are none.
    pub tls: Option<ArcSwap<ServerTls>>,
    /// How origins are spoken to with TLS. Workers copy it: sessions are their own.
    pub upstream_tls: OriginTls,
    /// Where the first listener with TLS listens.
    pub https_port: u16,
    /// Some connections to origins begin with a PROXY header.
    pub passes_callers_on: bool,
    /// The start of every worker's clock.
    pub epoch: Instant,
    connections: AtomicUsize,
    /// What the descriptor limit allows.
    pub budget: Budget,
    lifecycle: AtomicU8,
    /// See [`Shared::has_successor`].
    succeeded: AtomicBool,
}

impl Shared {
    /// The state of a process that is about to serve within `budget`.
    #[must_use]
    pub fn new(config: Config, endpoints: Endpoints, budget: Budget, epoch: Instant) -> Shared {
        Shared {
            passes_callers_on: config.groups.iter().any(|group| group.send_proxy.is_some()),
            config,
            endpoints: ArcSwap::from_pointee(endpoints),
            tls: None,
            upstream_tls: OriginTls::default(),
            https_port: 443,
            epoch,
            connections: AtomicUsize::new(0),
            budget,
            lifecycle: AtomicU8::new(0),
            succeeded: AtomicBool::new(false),
        }
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

    /// Counts a client connection in; `None` when `--max-connections` are open. Two workers may pass the last
    /// place at once: the bound is exceeded by less than the number of workers.
    #[must_use]
    pub fn admit(self: &std::sync::Arc<Self>) -> Option<Admission> {
        if self.connections.load(Ordering::Relaxed) >= self.budget.connections {
            return None;
        }
        self.connections.fetch_add(1, Ordering::Relaxed);
        Some(Admission(std::sync::Arc::clone(self)))
    }

    /// Client connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// A client connection's place among `--max-connections`; given back when dropped.
#[derive(Debug)]
pub struct Admission(std::sync::Arc<Shared>);

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
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
