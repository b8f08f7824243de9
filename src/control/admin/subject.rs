//! What the admin listener reports on, and what it may order.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::control::reload::Orders;
use crate::net::shared::{Lifecycle, Shared};
use crate::telemetry::exposition::{self, Snapshot};
use crate::telemetry::metrics::Shard;
use crate::telemetry::text::Format;
use crate::telemetry::totals::Totals;

use super::endpoints;

/// What may be asked of the rest of the process.
pub struct Controls {
    /// Loads the configuration again.
    pub reloads: Orders,
    /// Begins the drain; when one runs, nothing.
    pub drain: Box<dyn Fn() + Send + Sync>,
    /// Lines of the access log that its output has lost.
    pub log_lines_lost: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl fmt::Debug for Controls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controls").field("reloads", &self.reloads).finish_non_exhaustive()
    }
}

/// What is reported on, and what may be ordered.
#[derive(Debug)]
pub struct Subject {
    pub(super) shared: Arc<Shared>,
    pub(super) shards: Vec<Arc<Shard>>,
    pub(super) controls: Controls,
    /// Viewers of the status page.
    pub(super) viewers: AtomicUsize,
    pub(super) started_unix_ms: u64,
}

impl Subject {
    /// The process that `shared` stands for, whose workers count in `shards`.
    #[must_use]
    pub fn new(shared: Arc<Shared>, shards: Vec<Arc<Shard>>, controls: Controls) -> Subject {
        let started = SystemTime::now().checked_sub(shared.epoch.elapsed()).unwrap_or(UNIX_EPOCH);
        let since_1970 = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_unix_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        Subject { shared, shards, controls, viewers: AtomicUsize::new(0), started_unix_ms }
    }

    /// What passed by route.
    pub(super) fn routes(&self) -> Vec<Totals> {
        let site = self.shared.site.load();
        Totals::of(&self.shards, site.config.routes.iter().map(|route| &*route.name))
    }

    /// Everything that is counted.
    pub(super) fn metrics(&self, format: Format) -> String {
        let snapshot = Snapshot {
            shards: &self.shards,
            connections_open: self.shared.connections(),
            routes: &self.routes(),
            endpoints: &endpoints::all(&self.shared),
            log_lines_lost: (self.controls.log_lines_lost)(),
            config_version: self.shared.site.load().version,
            reloads: self.shared.reloads.counts(),
            probes: self.shared.probes.counts(),
            config_loaded_unix_s: self
                .shared
                .reloads
                .last_success_unix_s()
                .unwrap_or(self.started_unix_ms / 1000),
            lifecycle: self.shared.lifecycle() as u8,
            workers_hanging: self.shared.workers_hanging(),
            started_unix_ms: self.started_unix_ms,
            version: env!("CARGO_PKG_VERSION"),
        };
        exposition::render(&snapshot, format)
    }

    /// Where the process stands, in a word.
    pub(super) fn standing(&self) -> &'static str {
        match self.shared.lifecycle() {
            Lifecycle::Running => "running",
            Lifecycle::Draining => "draining",
            Lifecycle::Cutting => "cutting",
        }
    }
}
