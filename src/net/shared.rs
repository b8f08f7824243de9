//! What workers and control share: one immutable configuration, the endpoint list, a few relaxed counters.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::config::Config;
use crate::proxy::endpoint::Endpoints;

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

/// Shared by all threads of the process.
#[derive(Debug)]
pub struct Shared {
    /// The configuration.
    pub config: Config,
    /// Where requests go now; swapped in whole.
    pub endpoints: ArcSwap<Endpoints>,
    /// The start of every worker's clock.
    pub epoch: Instant,
    connections: AtomicUsize,
    connections_max: usize,
    lifecycle: AtomicU8,
}

impl Shared {
    /// The state of a process that is about to serve at most `connections_max` clients at once.
    #[must_use]
    pub fn new(config: Config, endpoints: Endpoints, connections_max: usize, epoch: Instant) -> Shared {
        Shared {
            config,
            endpoints: ArcSwap::from_pointee(endpoints),
            epoch,
            connections: AtomicUsize::new(0),
            connections_max,
            lifecycle: AtomicU8::new(0),
        }
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

    /// Moves on; never back.
    pub fn advance_to(&self, next: Lifecycle) {
        self.lifecycle.fetch_max(next as u8, Ordering::Relaxed);
    }

    /// Counts a client connection in; `None` when `--max-connections` are open. Two workers may pass the last
    /// place at once: the bound is exceeded by less than the number of workers.
    #[must_use]
    pub fn admit(self: &std::sync::Arc<Self>) -> Option<Admission> {
        if self.connections.load(Ordering::Relaxed) >= self.connections_max {
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
