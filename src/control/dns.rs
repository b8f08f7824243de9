//! Names of upstreams to endpoints: resolved before the first worker starts, and again by a thread of its own.
//!
//! `getaddrinfo` blocks and may do so for seconds; it never runs on a worker. A name that stops resolving
//! keeps its last addresses: a resolver's outage is not the origin's.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::config::{Config, Upstream};
use crate::limits;
use crate::net::shared::Shared;
use crate::proxy::endpoint::{Address, Endpoint, Endpoints};

/// Resolves the names of a configuration, remembering their last addresses.
#[derive(Debug, Default)]
pub struct Resolver {
    known: HashMap<(String, u16), Vec<SocketAddr>>,
}

impl Resolver {
    /// The endpoints of `config` now. A name that does not resolve is logged.
    pub fn resolve(&mut self, config: &Config) -> Endpoints {
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for upstream in &config.upstreams {
            for address in self.addresses(upstream) {
                if endpoints.iter().all(|endpoint| endpoint.address != address) {
                    endpoints.push(Endpoint::new(address));
                }
            }
        }
        Endpoints(endpoints)
    }

    fn addresses(&mut self, upstream: &Upstream) -> Vec<Address> {
        match upstream {
            Upstream::Address(address) => vec![Address::Tcp(*address)],
            Upstream::Unix(path) => vec![Address::Unix(path.clone())],
            Upstream::Name { host, port } => self.lookup(host, *port).into_iter().map(Address::Tcp).collect(),
        }
    }

    fn lookup(&mut self, host: &str, port: u16) -> Vec<SocketAddr> {
        let known = self.known.entry((host.to_owned(), port)).or_default();
        match (host, port).to_socket_addrs() {
            Ok(found) => {
                let mut found: Vec<_> = found.collect();
                // A stable order: a resolver that shuffles its answers is not news.
                found.sort_unstable();
                found.dedup();
                found.truncate(limits::ADDRESSES_PER_NAME_MAX);
                *known = found;
            }
            Err(error) => {
                tracing::warn!(host, %error, kept = known.len(), "cannot resolve an upstream's name; trying again later");
            }
        }
        known.clone()
    }
}

/// The thread that resolves names again; stops when dropped.
#[derive(Debug)]
pub struct Refresher {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Refresher {
    /// Starts the thread, if there is a name to resolve.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(resolver: Resolver, shared: Arc<Shared>) -> std::io::Result<Option<Refresher>> {
        if !shared.config.upstreams.iter().any(|upstream| matches!(upstream, Upstream::Name { .. })) {
            return Ok(None);
        }
        let (stop, stopped) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("dns".into())
            .spawn(move || refresh(resolver, &shared, &stopped))?;
        Ok(Some(Refresher { stop: Some(stop), thread: Some(thread) }))
    }
}

fn refresh(mut resolver: Resolver, shared: &Shared, stopped: &Receiver<()>) {
    loop {
        let current = shared.endpoints.load_full();
        // Nothing resolved yet: every request fails until it does, so look again soon.
        let unresolved = std::time::Duration::from_secs(limits::DNS_RETRY_S);
        let wait = shared.config.dns_refresh;
        let wait = if current.0.is_empty() { wait.min(unresolved) } else { wait };
        match stopped.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        let latest = resolver.resolve(&shared.config);
        if latest != *current {
            let labels: Vec<&str> = latest.0.iter().map(|endpoint| &*endpoint.label).collect();
            tracing::info!(endpoints = labels.join(","), "upstream addresses changed");
            shared.endpoints.store(Arc::new(latest));
        }
    }
}

impl Drop for Refresher {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Not joined: it may be inside getaddrinfo for seconds, and the process is about to end.
        drop(self.thread.take());
    }
}
