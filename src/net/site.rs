//! What is served: one configuration, and the addresses that its names stand for now. Swapped in whole.
//!
//! ```text
//!   control ──▶ Site (shared, immutable) ──▶ View (a worker's own) ──▶ exchanges, which keep theirs to their end
//! ```
//! A worker looks for a new [`Site`] when a request begins. Its [`View`] takes over what lasts longer than a
//! configuration: idle connections, turns, TLS sessions.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::config::{Config, Group as GroupConfig, Route};
use crate::limits;
use crate::proxy::endpoint::Endpoints;
use crate::proxy::limit::{ClientConnections, Limits};
use crate::proxy::routing::Router;
use crate::telemetry::metrics::Shard;

use super::clock::Clock;
use super::group::Group;
use super::shared::Shared;
use super::tally::RouteTable;
use super::timer::Timer;
use super::tls::OriginTls;

/// What is served.
#[derive(Debug)]
pub struct Site {
    /// Counts configurations, from 1; new addresses of names are no new configuration.
    pub version: u64,
    /// The configuration.
    pub config: Arc<Config>,
    /// Endpoints of each group, in the order of the configuration.
    pub endpoints: Vec<Arc<Endpoints>>,
    /// How origins are spoken to with TLS. Workers copy it: sessions are their own.
    pub upstream_tls: Arc<OriginTls>,
    /// Finds the route of a request.
    pub router: Arc<Router>,
    /// Limits of each route, in the order of the configuration.
    pub limits: Arc<[Limits]>,
    /// How many connections a client may have.
    pub per_client: Option<ClientConnections>,
    /// Some connections to origins begin with a PROXY header.
    pub passes_callers_on: bool,
    /// What limits hash their keys under.
    seed: [u64; 2],
}

impl Site {
    /// The first site of a process; `seed` is random.
    #[must_use]
    pub fn new(config: Config, endpoints: Vec<Endpoints>, upstream_tls: OriginTls, seed: [u64; 2]) -> Site {
        Site {
            version: 1,
            router: Arc::new(Router::new(&config.routes)),
            limits: config.routes.iter().map(|route| Limits::new(&route.limits, seed)).collect(),
            passes_callers_on: config.groups.iter().any(|group| group.send_proxy.is_some()),
            per_client: config.max_connections_per_client.map(|max| ClientConnections::new(max, seed)),
            seed,
            config: Arc::new(config),
            endpoints: endpoints.into_iter().map(Arc::new).collect(),
            upstream_tls: Arc::new(upstream_tls),
        }
    }

    /// The site that follows with another configuration.
    #[must_use]
    pub fn next(&self, config: Config, endpoints: Vec<Endpoints>, upstream_tls: Arc<OriginTls>) -> Site {
        let known = |name: &str| {
            let pair = self.config.groups.iter().zip(&self.endpoints).find(|(group, _)| &*group.name == name);
            pair.map(|(_, endpoints)| endpoints)
        };
        let named = config.groups.iter().zip(endpoints);
        let endpoints = named.map(|(group, latest)| match known(&group.name) {
            Some(same) if **same == latest => Arc::clone(same),
            Some(_) | None => Arc::new(latest),
        });
        let limits = config.routes.iter().map(|route| self.limits_of(route));
        Site {
            version: self.version + 1,
            endpoints: endpoints.collect(),
            router: Arc::new(Router::new(&config.routes)),
            limits: limits.collect(),
            per_client: self.per_client_of(&config),
            seed: self.seed,
            passes_callers_on: config.groups.iter().any(|group| group.send_proxy.is_some()),
            config: Arc::new(config),
            upstream_tls,
        }
    }

    /// The counts of connections, if they have the same bound.
    fn per_client_of(&self, config: &Config) -> Option<ClientConnections> {
        let max = config.max_connections_per_client?;
        let same = self.config.max_connections_per_client == Some(max);
        let known = self.per_client.clone().filter(|_| same);
        Some(known.unwrap_or_else(|| ClientConnections::new(max, self.seed)))
    }

    /// The limits of `route`: those of its name, with all they know, if nothing has changed about them.
    fn limits_of(&self, route: &Route) -> Limits {
        let mut named =
            self.config.routes.iter().zip(&*self.limits).filter(|(old, _)| old.name == route.name);
        let same = named.find(|(_, limits)| limits.are(&route.limits));
        same.map_or_else(|| Limits::new(&route.limits, self.seed), |(_, limits)| limits.clone())
    }

    /// The same configuration with other addresses.
    #[must_use]
    pub fn with_endpoints(&self, endpoints: Vec<Arc<Endpoints>>) -> Site {
        Site {
            version: self.version,
            config: Arc::clone(&self.config),
            endpoints,
            upstream_tls: Arc::clone(&self.upstream_tls),
            router: Arc::clone(&self.router),
            limits: Arc::clone(&self.limits),
            per_client: self.per_client.clone(),
            seed: self.seed,
            passes_callers_on: self.passes_callers_on,
        }
    }
}

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
        let groups = groups_of(&site).map(|(config, endpoints)| Group::new(config, endpoints, seed, idle));
        View { groups: groups.map(Rc::new).collect(), origin_tls: site.upstream_tls.of_worker(), table, site }
    }

    /// The view of a newer site, with what this one has that lasts.
    fn next(&self, site: Arc<Site>, seed: u64, idle: &Rc<Cell<usize>>, metrics: &Shard) -> View {
        let table = table_of(&site, metrics);
        let known = |config: &GroupConfig| self.groups.iter().find(|group| group.config.name == config.name);
        let group = |(config, endpoints): (&GroupConfig, &Arc<Endpoints>)| match known(config) {
            Some(group) if group.is_same(config, endpoints) => Rc::clone(group),
            Some(group) => Rc::new(group.next(config, endpoints, seed)),
            None => Rc::new(Group::new(config, endpoints, seed, idle)),
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
    pub fn route(&self, index: usize) -> Option<&Route> {
        self.config.routes.get(index)
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
