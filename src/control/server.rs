//! The life of the process: everything is prepared on the main thread, then the workers run, then they drain.
//!
//! ```text
//!  limits ─▶ ring probe ─▶ demo origin ─▶ names ─▶ certificates ─▶ access log ─▶ listeners ─▶ workers ─▶ admin ─▶ events ─▶ drain
//! ```
//! Whatever can fail fails before the first worker starts, with an error that says what to do.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};

use crate::config::{Config, Listener, Service, Upstream};
use crate::limits;
use crate::net::listener;
use crate::net::log_sink::LogSink;
use crate::net::shared::{Budget, Lifecycle, Shared};
use crate::net::site::Site;
use crate::net::steer::Crew;
use crate::net::thread::{self, Setup};
use crate::telemetry::metrics::{self, Counter, Shard};

use super::admin::{self, Admin, Controls, Subject};
use super::dns::{Refresher, Resolver};
use super::log_writer::LogWriter;
use super::reload::{Loading, Orders, Reloader, Sources};
use super::start_error::StartError;
use super::tls::{self, Loader};

/// What the main thread waits for.
enum Event {
    Signal(i32),
    /// The operator asked for a drain; unlike a second signal, asking again is not to cut.
    Drain,
    WorkerEnded {
        index: usize,
        reason: Option<String>,
    },
}

/// How the server stopped.
enum Ended {
    /// Every worker has finished.
    Drained,
    /// The operator did not want to wait.
    Abandoned,
}

/// A running worker, as seen from the main thread.
struct Handle {
    metrics: Arc<Shard>,
}

/// Runs the server until a signal stops it.
///
/// # Errors
/// It could not start, or a worker died.
pub fn run(mut config: Config, sources: Sources) -> Result<(), StartError> {
    let _log = log_to_stderr(&config.log_level);
    log_panics();
    let workers = cores(&config);
    let budget = descriptors(&config, workers.len())?;
    drop(thread::runtime().map_err(|error| StartError::Ring { error })?);
    let mut demo = None;
    if config.demo {
        let origin = crate::demo::start().map_err(StartError::Demo)?;
        demo = Some(Upstream::from(origin));
        config.groups.iter_mut().for_each(|group| group.members = vec![Upstream::from(origin).into()]);
    }
    let mut resolver = Resolver::default();
    let endpoints = resolver.resolve(&config);
    let server_tls = Loader::load(&config)?;
    let upstream_tls = tls::upstream(&config)?;
    let (log, sinks) = LogWriter::start(&config.access_log, workers.len()).map_err(StartError::AccessLog)?;
    let (addresses, listeners) = bind_all(&config, workers.len())?;
    let admin = bind_admin(&config)?;
    let mut shared = Shared::new(
        Site::new(config, endpoints, upstream_tls, [random(), random()]),
        budget,
        resolver.epoch(),
    );
    shared.https_port = https_port(&addresses);
    shared.crew = Crew::of(workers.len())
        .map_err(|error| StartError::System { what: "the workers' doorbells", error })?;
    let (loader, server_tls) = server_tls.unzip();
    shared.tls = server_tls.map(ArcSwap::from_pointee);
    let shared = Arc::new(shared);
    let publisher = Arc::new(Mutex::new(resolver));
    let loading =
        Loading { sources, demo, loader, publisher: Arc::clone(&publisher), shared: Arc::clone(&shared) };
    let reloader =
        Reloader::start(loading).map_err(|error| StartError::System { what: "the reload thread", error })?;
    let refresher = Refresher::start(publisher, Arc::clone(&shared))
        .map_err(|error| StartError::System { what: "the resolver thread", error })?;
    let (events_tx, events) = channel();
    watch_signals(events_tx.clone())?;
    let handles = start_workers(workers, listeners, sinks, &shared, &events_tx)?;
    announce(&shared.site.load().config, &addresses);
    let drains = events_tx.clone();
    let controls = Controls {
        reloads: reloader.orders(),
        drain: Box::new(move || drop(drains.send(Event::Drain))),
        log_lines_lost: log.losses(),
    };
    let admin = start_admin(admin, &shared, &handles, controls)?;
    let ended = supervise(&shared, &handles, &events, &log, &reloader.orders());
    drop((refresher, reloader, admin));
    farewell(&handles, &log);
    match ended? {
        Ended::Drained => log.finish(),
        Ended::Abandoned => {} // workers still hold the log; it goes with the process
    }
    Ok(())
}

/// What libraries say of single connections, in words that a peer chooses, is for whoever asks for it by name
/// (`--log-level info,h2=debug`): a peer could fill a disk with it.
const QUIET_LIBRARIES: &str = "h2=off,rustls=off";

/// Starts the log of the process. Lines are written by a thread of its own, and lost when standard error does not take
/// them: a worker never waits for whoever reads them. The guard writes what is left when it is dropped.
fn log_to_stderr(filter: &str) -> WorkerGuard {
    let filter = format!("{QUIET_LIBRARIES},{filter}");
    let filter = tracing_subscriber::EnvFilter::try_new(filter).unwrap_or_else(|_| "info".into());
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(limits::LOG_LINES_WAITING_MAX)
        .thread_name("log")
        .finish(std::io::stderr());
    // A second server in one process (tests) keeps the first one's subscriber.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .try_init();
    guard
}

/// Panics are bugs: they are logged with their place, whichever task they end.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place, message, "panic: this is a bug in ringress");
    }));
}

/// One entry per worker: the core to pin it to, if any.
fn cores(config: &Config) -> Vec<Option<core_affinity::CoreId>> {
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    let n = config.workers.map_or(allowed.len().max(1), std::num::NonZero::get);
    let pinned = |i: usize| allowed.get(i % allowed.len().max(1)).copied().filter(|_| config.pin);
    (0..n).map(pinned).collect()
}

/// Raises the descriptor limit as far as it goes, and says what that allows.
fn descriptors(config: &Config, workers: usize) -> Result<Budget, StartError> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit); // never fails: soft to hard is always allowed
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let listeners = config.listeners.len();
    let admin =
        if config.admin.is_empty() { 0 } else { limits::ADMIN_CONNECTIONS_MAX + 2 * config.admin.len() };
    let reserved = limits::DESCRIPTORS_RESERVED + workers * (4 + 2 * listeners) + admin;
    let available = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(reserved);
    let mut budget = Budget::within(available, workers);
    if budget.connections == 0 {
        return Err(StartError::Descriptors {
            limit,
            needed: (reserved + limits::DESCRIPTORS_RESERVED) as u64,
        });
    }
    if let Some(wanted) = config.max_connections.map(std::num::NonZero::get) {
        if wanted > budget.connections {
            tracing::warn!(
                "--max-connections {wanted} is more than the limit of {limit} open files allows ({}): raise it \
                 (`ulimit -n`, or LimitNOFILE= in the unit file)",
                budget.connections
            );
        }
        budget.connections = wanted;
    }
    Ok(budget)
}

type Listeners = Vec<Vec<(Arc<Listener>, OwnedFd)>>;
type Addresses = Vec<(Service, SocketAddr)>;

/// Binds every address once per worker; returns the addresses with their real ports, and each worker's sockets.
fn bind_all(config: &Config, workers: usize) -> Result<(Addresses, Listeners), StartError> {
    let mut addresses = Vec::new();
    let mut listeners: Listeners = (0..workers).map(|_| Vec::new()).collect();
    for listener in &config.listeners {
        let &Listener { address, service, .. } = listener;
        let options = Arc::new(listener.clone());
        let all: Vec<SocketAddr> = config.addresses(service).collect();
        let Some((bound, sockets)) = bind_one(address, &all, workers)? else { continue };
        addresses.push((service, bound));
        for (worker, socket) in listeners.iter_mut().zip(sockets) {
            worker.push((Arc::clone(&options), socket));
        }
    }
    Ok((addresses, listeners))
}

/// Binds the addresses of `--admin`.
fn bind_admin(config: &Config) -> Result<Vec<admin::Bound>, StartError> {
    let mut bound = Vec::new();
    for address in &config.admin {
        if let Some((address, sockets)) = bind_one(*address, &config.admin, 1)? {
            bound.extend(sockets.into_iter().map(|socket| (address, socket)));
        }
    }
    Ok(bound)
}

/// Binds `address`, one of `all`, once per worker; `None` if it is one that this host can do without.
fn bind_one(
    address: SocketAddr,
    all: &[SocketAddr],
    workers: usize,
) -> Result<Option<(SocketAddr, Vec<OwnedFd>)>, StartError> {
    match bind_patiently(address, workers) {
        Ok(bound) => Ok(Some(bound)),
        Err(error) if is_missing_ipv6(all, address, &error) => {
            tracing::warn!("this host has no IPv6: not listening on {address}");
            Ok(None)
        }
        Err(error) => Err(StartError::Bind { address, error }),
    }
}

/// Binds, waiting a moment for a port that a process killed just now still seems to hold: the kernel tears its
/// rings, and with them its listening sockets, down behind its back.
fn bind_patiently(address: SocketAddr, workers: usize) -> std::io::Result<(SocketAddr, Vec<OwnedFd>)> {
    let give_up = Instant::now() + Duration::from_millis(limits::BIND_PATIENCE_MS);
    loop {
        match listener::bind(address, workers) {
            Err(error)
                if Errno::from_io_error(&error) == Some(Errno::ADDRINUSE) && Instant::now() < give_up =>
            {
                std::thread::sleep(Duration::from_millis(limits::BIND_RETRY_MS));
            }
            bound => return bound,
        }
    }
}

/// `--listen :80` means both families; on a host without IPv6 the other one is enough.
fn is_missing_ipv6(all: &[SocketAddr], address: SocketAddr, error: &std::io::Error) -> bool {
    let twin = SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, address.port()));
    Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT)
        && address.ip() == std::net::Ipv6Addr::UNSPECIFIED
        && all.contains(&twin)
}

fn watch_signals(events: Sender<Event>) -> Result<(), StartError> {
    let system = |error| StartError::System { what: "the signal handlers", error };
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGHUP, SIGUSR2]).map_err(system)?;
    let watch = move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).map_err(system)?;
    Ok(())
}

fn start_workers(
    cores: Vec<Option<core_affinity::CoreId>>,
    listeners: Listeners,
    sinks: Vec<LogSink>,
    shared: &Arc<Shared>,
    events: &Sender<Event>,
) -> Result<Vec<Handle>, StartError> {
    let mut sinks = sinks.into_iter();
    let mut handles = Vec::new();
    for (index, (core, listeners)) in cores.into_iter().zip(listeners).enumerate() {
        let system = |error: std::io::Error| StartError::System { what: "a worker", error };
        let metrics = Arc::new(Shard::default());
        handles.push(Handle { metrics: Arc::clone(&metrics) });
        let setup = Setup {
            index,
            core,
            listeners,
            doorbell: shared.crew.doorbell(index).map_err(system)?,
            shared: Arc::clone(shared),
            metrics,
            log: sinks.next(),
            id_seed: [random(), random()],
        };
        let events = events.clone();
        let body = move || {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| thread::run(setup)));
            let reason = match ended {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("panic".to_owned()),
            };
            let _ = events.send(Event::WorkerEnded { index, reason });
        };
        std::thread::Builder::new().name(format!("worker-{index}")).spawn(body).map_err(system)?;
    }
    Ok(handles)
}

/// 64 random bits from the seed that the standard library draws for its hash maps.
fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// Where clients in the clear are sent to.
fn https_port(addresses: &[(Service, SocketAddr)]) -> u16 {
    let first = addresses.iter().find(|(service, _)| *service == Service::Tls);
    first.map_or(443, |(_, address)| address.port())
}

fn announce(config: &Config, addresses: &[(Service, SocketAddr)]) {
    for (service, address) in addresses {
        match service {
            Service::Plain => tracing::info!("ringress listening on {address}"),
            Service::Tls => tracing::info!("ringress listening on {address} (TLS)"),
            Service::Redirect => tracing::info!("ringress listening on {address} (redirects to https)"),
        }
    }
    let plain = addresses.iter().find(|(service, _)| *service == Service::Plain);
    if config.demo
        && let Some((_, address)) = plain
    {
        crate::demo::print_banner(*address);
    }
}

/// Starts the admin listener, if there is to be one, and says where it is.
fn start_admin(
    bound: Vec<admin::Bound>,
    shared: &Arc<Shared>,
    handles: &[Handle],
    controls: Controls,
) -> Result<Option<Admin>, StartError> {
    if bound.is_empty() {
        return Ok(None);
    }
    let (addresses, sockets): (Vec<SocketAddr>, Vec<OwnedFd>) = bound.into_iter().unzip();
    let admin = Admin::start(sockets, Subject::new(Arc::clone(shared), shards(handles), controls))
        .map_err(|error| StartError::System { what: "the admin listener", error })?;
    for address in addresses {
        tracing::info!("ringress admin on {address}");
    }
    Ok(Some(admin))
}

/// Waits for the order to stop, then for the workers to finish what they have.
fn supervise(
    shared: &Arc<Shared>,
    handles: &[Handle],
    events: &Receiver<Event>,
    log: &LogWriter,
    reloads: &Orders,
) -> Result<Ended, StartError> {
    let mut running = handles.len();
    let mut cut_at: Option<Instant> = None;
    let mut lost_lines = LostLines::default();
    while running > 0 {
        let wait =
            cut_at.map_or(REPORT_PAUSE, |at| at.saturating_duration_since(Instant::now()).min(REPORT_PAUSE));
        match events.recv_timeout(wait) {
            Ok(Event::Signal(SIGUSR1)) => log.reopen(),
            Ok(Event::Signal(SIGHUP)) => reloads.reload(),
            Ok(Event::Signal(SIGUSR2)) => tracing::warn!(
                "nothing to do: SIGHUP loads certificates again (with --tls-listen), SIGUSR1 reopens the access log"
            ),
            Ok(Event::Signal(_)) if shared.lifecycle() == Lifecycle::Cutting => return Ok(Ended::Abandoned),
            Ok(Event::Signal(_)) if shared.lifecycle() == Lifecycle::Draining => {
                tracing::warn!(connections = shared.connections(), "second signal: cutting what still runs");
                move_on(shared, Lifecycle::Cutting);
                cut_at = Some(Instant::now() + Duration::from_millis(limits::CUT_GRACE_MS));
            }
            Ok(Event::Drain) if shared.lifecycle() != Lifecycle::Running => {}
            Ok(Event::Signal(_) | Event::Drain) => {
                let drain = shared.site.load().config.timeouts.drain;
                tracing::info!(connections = shared.connections(), timeout = ?drain, "draining");
                move_on(shared, Lifecycle::Draining);
                cut_at = drain.and_then(|drain| Instant::now().checked_add(drain));
            }
            Ok(Event::WorkerEnded { reason: None, .. }) => running -= 1,
            Ok(Event::WorkerEnded { index, reason: Some(reason) }) => {
                return Err(StartError::WorkerDied { index, reason });
            }
            Err(RecvTimeoutError::Timeout) if cut_at.is_some_and(|at| at <= Instant::now()) => {
                if shared.lifecycle() == Lifecycle::Cutting {
                    return Ok(Ended::Abandoned);
                }
                tracing::warn!(connections = shared.connections(), "drain timeout: cutting what still runs");
                move_on(shared, Lifecycle::Cutting);
                cut_at = Some(Instant::now() + Duration::from_millis(limits::CUT_GRACE_MS));
            }
            Err(RecvTimeoutError::Timeout) => lost_lines.report(handles, log),
            Err(RecvTimeoutError::Disconnected) => return Ok(Ended::Abandoned),
        }
    }
    Ok(Ended::Drained)
}

/// How often the main thread looks for something to report.
const REPORT_PAUSE: Duration = Duration::from_secs(5);

/// Access-log lines lost so far, as last reported.
#[derive(Debug, Default)]
struct LostLines(u64);

impl LostLines {
    /// Warns when more were lost since the last look.
    fn report(&mut self, handles: &[Handle], log: &LogWriter) {
        let lost = lost_lines(handles, log);
        if lost > self.0 {
            tracing::warn!(
                lost,
                "access log: lines were lost, because the output is too slow or failing; the traffic goes on"
            );
            self.0 = lost;
        }
    }
}

/// Lines that workers dropped, and lines that the output did not take.
fn lost_lines(handles: &[Handle], log: &LogWriter) -> u64 {
    handles.iter().map(|handle| handle.metrics.value(Counter::LogLinesDropped)).sum::<u64>() + log.lost()
}

fn move_on(shared: &Shared, next: Lifecycle) {
    shared.advance_to(next);
    shared.crew.ring_all();
}

fn farewell(handles: &[Handle], log: &LogWriter) {
    let shards = shards(handles);
    let sum = |counter| metrics::sum(&shards, counter);
    tracing::info!(
        connections = sum(Counter::ConnectionsAccepted),
        requests = sum(Counter::Requests),
        cut = sum(Counter::ExchangesCut),
        panics = sum(Counter::ConnectionPanics),
        log_lines_lost = lost_lines(handles, log),
        "ringress stopped"
    );
}

/// The counters of every worker.
fn shards(handles: &[Handle]) -> Vec<Arc<Shard>> {
    handles.iter().map(|handle| Arc::clone(&handle.metrics)).collect()
}
