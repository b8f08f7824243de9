//! Names of upstreams to endpoints: resolved before the first worker starts, and again by a thread of its own.
//!
//! `getaddrinfo` blocks and may do so for seconds; it never runs on a worker. A name that stops resolving
//! keeps its last addresses: a resolver's outage is not the origin's.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::config::group::Member;
use crate::config::{Config, Group, Origin, Upstream};
use crate::limits;
use crate::net::shared::Shared;
use crate::proxy::endpoint::{Address, Endpoint, Endpoints};

/// How a name becomes addresses: `getaddrinfo`, and something scripted in tests.
pub type Lookup = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// Resolves the names of a configuration, remembering their last addresses.
#[derive(Debug)]
pub struct Resolver {
    lookup: Lookup,
    known: HashMap<(String, u16), Vec<SocketAddr>>,
}

impl Default for Resolver {
    fn default() -> Self {
        Resolver::new(|host, port| Ok((host, port).to_socket_addrs()?.collect()))
    }
}

impl Resolver {
    /// A resolver that asks `lookup`.
    #[must_use]
    pub fn new(lookup: Lookup) -> Resolver {
        Resolver { lookup, known: HashMap::new() }
    }

    /// The endpoints of each group of `config` now. A name that does not resolve is logged.
    pub fn resolve(&mut self, config: &Config) -> Vec<Endpoints> {
        config.groups.iter().map(|group| self.resolve_group(group)).collect()
    }

    fn resolve_group(&mut self, group: &Group) -> Endpoints {
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for Member { upstream, .. } in &group.members {
            for address in self.addresses(upstream) {
                let endpoint = Endpoint::of(upstream, address);
                if !endpoints.contains(&endpoint) {
                    endpoints.push(endpoint);
                }
            }
        }
        Endpoints(endpoints)
    }

    fn addresses(&mut self, upstream: &Upstream) -> Vec<Address> {
        match &upstream.origin {
            Origin::Address(address) => vec![Address::Tcp(*address)],
            Origin::Unix(path) => vec![Address::Unix(path.clone())],
            Origin::Name { host, port } => self.lookup(host, *port).into_iter().map(Address::Tcp).collect(),
        }
    }

    fn lookup(&mut self, host: &str, port: u16) -> Vec<SocketAddr> {
        let known = self.known.entry((host.to_owned(), port)).or_default();
        match (self.lookup)(host, port) {
            Ok(mut found) => {
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

/// The resolver, and the right to publish a site: whoever holds it is the only one to do so.
pub type Publisher = Arc<Mutex<Resolver>>;

/// The thread that resolves names again; told to stop when dropped. Not joined: it may be inside
/// `getaddrinfo` for seconds, and the process is about to end.
#[derive(Debug)]
pub struct Refresher {
    _stop: SyncSender<()>,
    _thread: JoinHandle<()>,
}

impl Refresher {
    /// Starts the thread. While there is no name to resolve, it sleeps.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(publisher: Publisher, shared: Arc<Shared>) -> io::Result<Refresher> {
        let (stop, stopped) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("dns".into())
            .spawn(move || refresh(&publisher, &shared, &stopped))?;
        Ok(Refresher { _stop: stop, _thread: thread })
    }
}

fn refresh(publisher: &Publisher, shared: &Shared, stopped: &Receiver<()>) {
    loop {
        let site = shared.site.load_full();
        // Nothing resolved yet: every request fails until it does, so look again soon.
        let unresolved = Duration::from_secs(limits::DNS_RETRY_S);
        let wait = site.config.dns_refresh;
        let is_missing = site.endpoints.iter().any(|endpoints| endpoints.0.is_empty());
        let wait = if is_missing { wait.min(unresolved) } else { wait };
        match stopped.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        // Poisoned by a panic in a lookup: what is known is still good.
        let mut resolver = publisher.lock().unwrap_or_else(PoisonError::into_inner);
        publish_addresses(&mut resolver, shared);
    }
}

/// Resolves the names of what is served now, and publishes what has changed.
fn publish_addresses(resolver: &mut Resolver, shared: &Shared) {
    let site = shared.site.load_full();
    let latest = resolver.resolve(&site.config);
    let mut changed = false;
    let pairs = site.endpoints.iter().zip(latest);
    let endpoints = pairs.map(|(known, latest)| {
        if **known == latest {
            return Arc::clone(known);
        }
        changed = true;
        let labels: Vec<&str> = latest.0.iter().map(|endpoint| &*endpoint.label).collect();
        tracing::info!(endpoints = labels.join(","), "upstream addresses changed");
        Arc::new(latest)
    });
    let endpoints = endpoints.collect();
    if changed {
        shared.site.store(Arc::new(site.with_endpoints(endpoints)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use crate::flags::{self, Command};
    use crate::net::shared::Budget;
    use crate::net::site::{Site, Views};
    use crate::net::tls::OriginTls;
    use crate::proxy::balance::Tried;
    use crate::time::Timestamp;

    fn config(args: &[&str]) -> Config {
        let argv = ["ringress"].iter().chain(args).map(Into::into);
        match flags::parse(argv.collect::<Vec<_>>()) {
            Ok(Command::Serve(config)) => *config,
            other => panic!("{other:?}"),
        }
    }

    fn labels(endpoints: &Endpoints) -> Vec<&str> {
        endpoints.0.iter().map(|endpoint| &*endpoint.label).collect()
    }

    #[test]
    fn addresses_and_names_become_one_list_without_doubles() {
        let config = config(&["--upstream", "127.0.0.1:1,127.0.0.1:1,app:2,unix:/s,https://127.0.0.1:1"]);
        let mut resolver =
            Resolver::new(|_, port| Ok(vec![([10, 0, 0, 2], port).into(), ([10, 0, 0, 1], port).into()]));
        assert_eq!(
            labels(&resolver.resolve(&config)[0]),
            ["127.0.0.1:1", "10.0.0.1:2", "10.0.0.2:2", "unix:/s", "https://127.0.0.1:1"]
        );
    }

    /// Goal: a changed answer reaches the workers, a failing resolver changes nothing. Method: a scripted
    /// lookup behind the real refresh thread, seen through a worker's upstreams.
    #[test]
    fn a_changed_answer_reaches_the_workers_and_an_outage_does_not() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let lookup: Lookup = |_, port| match ASKED.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(vec![([10, 0, 0, 1], port).into()]),
            1 | 2 => Err(io::Error::other("no answer")),
            _ => Ok(vec![([10, 0, 0, 3], port).into()]),
        };
        let mut config = config(&["--upstream", "app:80"]);
        config.dns_refresh = Duration::from_millis(5);
        let mut resolver = Resolver::new(lookup);
        let first = resolver.resolve(&config);
        let budget = Budget { connections: 1, idle_upstreams: 1, pipes: 1 };
        let site = Site::new(config, first, OriginTls::default());
        let shared = Arc::new(Shared::new(site, budget, Instant::now()));
        let views = Views::new(Arc::clone(&shared), 0, Arc::default());
        let seen = || {
            let view = views.latest();
            let group = view.group(0).unwrap();
            let index = group.pick(Timestamp(0), Tried::default()).unwrap();
            group.endpoints.0[index].label.to_string()
        };
        assert_eq!(seen(), "10.0.0.1:80");
        let _refresher = Refresher::start(Arc::new(Mutex::new(resolver)), Arc::clone(&shared)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while seen() == "10.0.0.1:80" {
            assert!(Instant::now() < deadline, "the change never arrived");
            std::thread::yield_now();
        }
        assert_eq!(seen(), "10.0.0.3:80");
        assert!(ASKED.load(Ordering::SeqCst) >= 4, "the outage was survived, not skipped");
    }
}
