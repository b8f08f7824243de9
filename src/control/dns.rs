//! Names of upstreams to endpoints: resolved before the first worker starts, and again by a thread of its own.
//!
//! `getaddrinfo` blocks and may do so for seconds; it never runs on a worker. A name that stops resolving
//! keeps its last addresses: a resolver's outage is not the origin's.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::config::{Config, Group, Origin, Upstream};
use crate::limits;
use crate::net::shared::Shared;
use crate::net::site::Site;
use crate::proxy::balance::{Member, hash};
use crate::proxy::endpoint::{Address, Endpoint, Endpoints};
use crate::proxy::health::{Crowd, EndpointState};
use crate::time::Timestamp;

/// How a name becomes addresses: `getaddrinfo`, and something scripted in tests.
pub type Lookup = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// Resolves the names of a configuration, remembering their last addresses.
#[derive(Debug)]
pub struct Resolver {
    lookup: Lookup,
    known: HashMap<(String, u16), Vec<SocketAddr>>,
    /// What is known of the endpoints of each group, as long as somebody uses them.
    states: HashMap<Box<str>, States>,
    epoch: Instant,
}

/// What is known of the endpoints of a group, by their names.
#[derive(Debug, Default)]
struct States {
    crowd: Arc<Crowd>,
    endpoints: HashMap<Box<str>, Weak<EndpointState>>,
}

impl States {
    /// The state of the endpoint called `label`, which is a member of the group from now on.
    fn of(&mut self, label: &str, now: Timestamp) -> Arc<EndpointState> {
        if let Some(state) = self.endpoints.get(label).and_then(Weak::upgrade) {
            state.join();
            return state;
        }
        let state = Arc::new(EndpointState::new(Arc::clone(&self.crowd), now));
        self.endpoints.insert(label.into(), Arc::downgrade(&state));
        state
    }

    /// Endpoints that are not among `members` are members no more.
    fn keep(&mut self, members: &[Member]) {
        self.endpoints.retain(|_, state| match state.upgrade() {
            Some(state) if !members.iter().any(|member| Arc::ptr_eq(&member.state, &state)) => {
                state.leave();
                true
            }
            Some(_) => true,
            None => false,
        });
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Resolver::new(|host, port| Ok((host, port).to_socket_addrs()?.collect()), Instant::now())
    }
}

impl Resolver {
    /// A resolver that asks `lookup`; time counts from `epoch`, as it does for workers.
    #[must_use]
    pub fn new(lookup: Lookup, epoch: Instant) -> Resolver {
        Resolver { lookup, known: HashMap::new(), states: HashMap::new(), epoch }
    }

    /// When time began to count.
    #[must_use]
    pub fn epoch(&self) -> Instant {
        self.epoch
    }

    /// The endpoints of each group of `config` now. A name that does not resolve is logged.
    pub fn resolve(&mut self, config: &Config) -> Vec<Endpoints> {
        self.states.retain(|name, _| config.groups.iter().any(|group| group.name == *name));
        config.groups.iter().map(|group| self.resolve_group(group)).collect()
    }

    fn resolve_group(&mut self, group: &Group) -> Endpoints {
        let mut endpoints = Endpoints::default();
        let since = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
        for configured in &group.members {
            for address in self.addresses(&configured.upstream) {
                let endpoint = Endpoint::of(&configured.upstream, address);
                if !endpoints.list.contains(&endpoint) {
                    let states = self.states.entry(group.name.clone()).or_default();
                    endpoints.members.push(Member {
                        state: states.of(&endpoint.label, Timestamp(since)),
                        weight: configured.weight,
                        id: hash::of_member(&group.name, &endpoint.label),
                    });
                    endpoints.list.push(endpoint);
                }
            }
        }
        if let Some(states) = self.states.get_mut(&group.name) {
            states.keep(&endpoints.members);
        }
        endpoints
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
    /// Starts the thread.
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
    let mut resolved = Instant::now();
    loop {
        // A reload may change the interval, and add names that do not resolve yet.
        match stopped.recv_timeout(Duration::from_secs(limits::DNS_LOOK_S)) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        if resolved.elapsed() >= interval(&shared.site.load()) {
            // Poisoned by a panic in a lookup: what is known is still good.
            let mut resolver = publisher.lock().unwrap_or_else(PoisonError::into_inner);
            publish_addresses(&mut resolver, shared);
            resolved = Instant::now();
        }
    }
}

/// How long what was resolved is good. Where a group has no address, every request fails until there is one.
fn interval(site: &Site) -> Duration {
    let is_missing = site.endpoints.iter().any(|endpoints| endpoints.list.is_empty());
    let wait = site.config.dns_refresh;
    if is_missing { wait.min(Duration::from_secs(limits::DNS_RETRY_S)) } else { wait }
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
        let labels: Vec<&str> = latest.list.iter().map(|endpoint| &*endpoint.label).collect();
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

    use crate::flags::{self, Command};
    use crate::net::shared::Budget;
    use crate::net::site::Site;
    use crate::net::tls::OriginTls;
    use crate::net::view::Views;
    use crate::proxy::balance::Tried;

    fn config(args: &[&str]) -> Config {
        let argv = ["ringress"].iter().chain(args).map(Into::into);
        match flags::parse(argv.collect::<Vec<_>>(), &|path| std::fs::read_to_string(path)) {
            Ok(Command::Serve(config)) => *config,
            other => panic!("{other:?}"),
        }
    }

    fn labels(endpoints: &Endpoints) -> Vec<&str> {
        endpoints.list.iter().map(|endpoint| &*endpoint.label).collect()
    }

    #[test]
    fn addresses_and_names_become_one_list_without_doubles() {
        let config = config(&["--upstream", "127.0.0.1:1,127.0.0.1:1,app:2,unix:/s,https://127.0.0.1:1"]);
        let mut resolver = Resolver::new(
            |_, port| Ok(vec![([10, 0, 0, 2], port).into(), ([10, 0, 0, 1], port).into()]),
            Instant::now(),
        );
        assert_eq!(
            labels(&resolver.resolve(&config)[0]),
            ["127.0.0.1:1", "10.0.0.1:2", "10.0.0.2:2", "unix:/s", "https://127.0.0.1:1"]
        );
    }

    /// Whether a thread of this program that is called `name` waits for something.
    fn is_asleep(name: &str) -> bool {
        let stats =
            std::fs::read_dir("/proc/self/task").unwrap().flatten().map(|task| task.path().join("stat"));
        let waits = format!("({name}) S ");
        stats.filter_map(|stat| std::fs::read_to_string(stat).ok()).any(|stat| stat.contains(&waits))
    }

    /// Goal: a changed answer and a changed interval reach the workers, a failing resolver changes nothing. Method: a scripted
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
        let mut resolver = Resolver::new(lookup, Instant::now());
        let first = resolver.resolve(&config);
        let budget = Budget { connections: 1, idle_upstreams: 1, pipes: 1 };
        config.dns_refresh = Duration::from_secs(1000);
        let site = Site::new(config.clone(), first.clone(), OriginTls::default(), [1, 2]);
        let shared = Arc::new(Shared::new(site, budget, Instant::now()));
        let views = Views::new(Arc::clone(&shared), 0, Arc::default());
        let seen = || {
            let view = views.latest();
            let group = view.group(0).unwrap();
            let index = group.pick(Timestamp(0), Tried::NONE, None, None).unwrap();
            group.endpoints.list[index].label.to_string()
        };
        assert_eq!(seen(), "10.0.0.1:80");
        let _refresher = Refresher::start(Arc::new(Mutex::new(resolver)), Arc::clone(&shared)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_asleep("dns") {
            assert!(Instant::now() < deadline, "the thread never waited");
            std::thread::yield_now();
        }
        // A reload: the interval that runs is not waited for.
        config.dns_refresh = Duration::from_millis(5);
        let (served, tls) = (shared.site.load_full(), Arc::default());
        shared.site.store(Arc::new(served.next(config, first, tls)));
        while seen() == "10.0.0.1:80" {
            assert!(Instant::now() < deadline, "the change never arrived");
            std::thread::yield_now();
        }
        assert_eq!(seen(), "10.0.0.3:80");
        assert!(ASKED.load(Ordering::SeqCst) >= 4, "the outage was survived, not skipped");
    }
}
