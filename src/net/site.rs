//! What is served: one configuration, and the addresses that its names stand for now. Swapped in whole.
//!
//! ```text
//!   control ──▶ Site (shared, immutable) ──▶ View (a worker's own) ──▶ exchanges, which keep theirs to their end
//! ```
//! A worker looks for a new [`Site`] when a request begins. Its [`super::view::View`] takes over what lasts longer than a
//! configuration: idle connections, turns, TLS sessions.

use std::sync::Arc;

use crate::config::{Config, Route};
use crate::proxy::endpoint::Endpoints;
use crate::proxy::limit::{ClientConnections, Limits};
use crate::proxy::routing::Router;

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
