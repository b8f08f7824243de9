//! What is served, as one worker has it, and what lasts longer than a configuration: idle connections, turns, TLS sessions.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::config::{Group as GroupConfig, Route};
use crate::limits;
use crate::proxy::endpoint::Endpoints;
use crate::telemetry::metrics::Shard;
use crate::time::Timestamp;

use super::clock::Clock;
use super::group::Group;
use super::idle::Idle;
use super::shared::Shared;
use super::site::Site;
use super::tally::RouteTable;
use super::timer::Timer;
use super::tls::OriginTls;
use super::transport::Transport;
use super::upstream::Upstream;

/// A site as one worker has it.
#[derive(Debug)]
pub struct View {
    site: Arc<Site>,
    groups: Vec<Rc<Group>>,
    /// How origins are spoken to with TLS.
    pub origin_tls: OriginTls,
    /// Where the worker counts for each route.
    pub(super) table: RouteTable,
}

impl std::ops::Deref for View {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl View {
    fn first(site: Arc<Site>, seed: u64, idle: &Rc<Cell<usize>>, metrics: &Shard) -> View {
        let table = table_of(&site, metrics);
        let groups = groups_of(&site)
            .map(|(config, endpoints)| Group::new(config, endpoints, &site.upstream_tls, seed, idle));
        View { groups: groups.map(Rc::new).collect(), origin_tls: site.upstream_tls.of_worker(), table, site }
    }

    /// The view of a newer site, with what this one has that lasts.
    fn next(&self, site: Arc<Site>, seed: u64, idle: &Rc<Cell<usize>>, metrics: &Shard) -> View {
        let table = table_of(&site, metrics);
        let known = |config: &GroupConfig| self.groups.iter().find(|group| group.config.name == config.name);
        let group = |(config, endpoints): (&GroupConfig, &Arc<Endpoints>)| match known(config) {
            Some(group) if group.is_same(config, endpoints, &site.upstream_tls) => Rc::clone(group),
            Some(group) => Rc::new(group.next(config, endpoints, &site.upstream_tls, seed)),
            None => Rc::new(Group::new(config, endpoints, &site.upstream_tls, seed, idle)),
        };
        let groups: Vec<_> = groups_of(&site).map(group).collect();
        for old in self.groups.iter().filter(|old| !groups.iter().any(|group| Rc::ptr_eq(group, old))) {
            old.retire();
        }
        let same_tls = Arc::ptr_eq(&self.site.upstream_tls, &site.upstream_tls);
        let origin_tls = if same_tls { self.origin_tls.clone() } else { site.upstream_tls.of_worker() };
        View { groups, origin_tls, table, site }
    }

    /// Group `index` of the configuration.
    #[must_use]
    pub fn group(&self, index: usize) -> Option<&Rc<Group>> {
        self.groups.get(index)
    }

    /// Route `index` of the configuration.
    #[must_use]
    pub fn route(&self, index: u32) -> Option<&Route> {
        self.config.routes.get(index as usize)
    }
}

fn groups_of(site: &Site) -> impl Iterator<Item = (&GroupConfig, &Arc<Endpoints>)> {
    site.config.groups.iter().zip(&site.endpoints)
}

/// Where a worker counts for each route of `site`.
fn table_of(site: &Site, metrics: &Shard) -> RouteTable {
    let names = site.config.routes.iter().map(|route| &*route.name);
    metrics.serve_routes(names).iter().map(Arc::clone).collect()
}

/// The view that a worker has now, and what all its groups share: the bound on idle connections, and their keeper.
#[derive(Debug)]
pub struct Views {
    shared: Arc<Shared>,
    metrics: Arc<Shard>,
    seed: u64,
    current: RefCell<Rc<View>>,
    idle: Rc<Cell<usize>>,
    keeper: RefCell<Option<Waker>>,
}

impl Views {
    /// The first view of a worker; `seed` is random, and its own.
    #[must_use]
    pub fn new(shared: Arc<Shared>, seed: u64, metrics: Arc<Shard>) -> Views {
        let idle = Rc::default();
        let first = View::first(shared.site.load_full(), seed, &idle, &metrics);
        let current = RefCell::new(Rc::new(first));
        Views { shared, metrics, seed, current, idle, keeper: RefCell::new(None) }
    }

    /// What is served now.
    pub fn latest(&self) -> Rc<View> {
        let mut current = self.current.borrow_mut();
        let latest = self.shared.site.load();
        if !Arc::ptr_eq(&latest, &current.site) {
            *current = Rc::new(current.next(Arc::clone(&latest), self.seed, &self.idle, &self.metrics));
            if let Some(keeper) = self.keeper.borrow().as_ref() {
                keeper.wake_by_ref();
            }
        }
        Rc::clone(&current)
    }

    /// The group that has taken the place of `old`, which served an exchange that began under another configuration.
    #[must_use]
    pub fn successor(&self, old: &Group) -> Option<Rc<Group>> {
        let latest = self.latest();
        latest.groups.iter().find(|group| group.config.name == old.config.name).map(Rc::clone)
    }

    /// Keeps a connection whose last response is complete, in the group that is there for its endpoint now. `keep_alive` is
    /// what the origin promised.
    pub fn give_back(&self, upstream: Upstream, keep_alive: Option<Duration>, now: Timestamp) {
        let Upstream { transport, place, born, .. } = upstream;
        let transport = match transport {
            Transport::Stream(stream) => return stream.part(), // its connection was never taken
            socket => socket,
        };
        let Some(keeper) = self.keeper() else { return };
        let idle = Idle { transport, born, until: Timestamp::NEVER };
        if !place.group.is_retired() {
            place.group.give(place.index, idle, keep_alive, now, &keeper);
        } else if let Some(group) = self.successor(&place.group)
            && let Some(endpoint) = place.endpoint().filter(|endpoint| place.group.hands_on(endpoint, &group))
            && let Some(index) = group.position(endpoint)
        {
            group.give(index, idle, keep_alive, now, &keeper);
        }
        self.keep_within_budget();
    }

    /// Whoever is to be woken when an idle connection is disturbed.
    #[must_use]
    pub fn keeper(&self) -> Option<Waker> {
        self.keeper.borrow().clone()
    }

    /// Idle connections of all groups.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.idle.get()
    }

    /// Closes idle connections beyond the worker's share of descriptors.
    pub fn keep_within_budget(&self) {
        self.evict_beyond(self.shared.budget.idle_upstreams);
    }

    /// Closes a few idle connections, because descriptors have run out, and leaves at least `keep`; false when there is
    /// none to close.
    pub fn evict(&self, keep: usize) -> bool {
        let idle = self.idle.get();
        self.evict_beyond(idle.saturating_sub(limits::EVICT_BATCH).max(keep));
        idle > keep
    }

    /// Closes idle connections, those of the best supplied group first and the longest idle of them, until `most` are
    /// left.
    fn evict_beyond(&self, most: usize) {
        let excess = self.idle.get().saturating_sub(most);
        if excess == 0 {
            return;
        }
        let current = Rc::clone(&self.current.borrow());
        for _ in 0..excess {
            if let Some(group) = current.groups.iter().max_by_key(|group| group.idle_count()) {
                group.evict_one();
            }
        }
    }

    /// Closes every idle connection (drain).
    pub fn close_idle(&self) {
        self.current.borrow().groups.iter().for_each(|group| group.close_idle());
    }

    /// Watches idle connections for ever: closes those whose origin has left and those that are too old, and takes over a
    /// new site where no request does.
    pub async fn keep(&self, clock: &Clock, mut timer: Timer) {
        const SWEEP: Option<Duration> = Some(Duration::from_secs(1));
        poll_fn(|cx| {
            let now = clock.refresh();
            self.keeper.borrow_mut().get_or_insert_with(|| cx.waker().clone());
            let current = self.latest();
            current.groups.iter().for_each(|group| group.sweep(now, cx));
            timer.arm(now.after(SWEEP), cx);
            Poll::<()>::Pending
        })
        .await;
    }
}
