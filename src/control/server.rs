//! The life of the process: everything is prepared on the main thread, then the workers run, then they drain.
//!
//! ```text
//!  limits ─▶ ring probe ─▶ demo origin ─▶ names ─▶ certificates ─▶ access log ─▶ listeners ─▶ workers ─▶ admin ─▶ events ─▶ drain
//! ```
//! Whatever can fail fails before the first worker accepts anybody, with an error that says what to do. A process that
//! takes over from another ([`super::handover`]) starts in the same way, with listeners that it is given.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arc_swap::ArcSwap;
use rustix::process::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::exfiltrator::origin::Origin;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};

use crate::config::{Config, Service, Upstream};
use crate::limits;
use crate::net::listener::Door;
use crate::net::log_sink::LogSink;
use crate::net::shared::{Budget, Shared};
use crate::net::site::Site;
use crate::net::steer::Crew;
use crate::net::thread::{self, Setup};
use crate::telemetry::metrics::{self, Counter, Shard};

use super::admin::{self, Admin, Controls, Subject};
use super::dns::{Refresher, Resolver};
use super::handover::{Predecessor, Program};
use super::log_writer::LogWriter;
use super::pid_file::PidFile;
use super::probes::Probes;
use super::reload::{Loading, Reloader, Sources};
use super::sockets::{Inheritance, Sockets};
use super::start_error::StartError;
use super::supervisor::{Ended, Event, Handle, Succession, Supervisor};
use super::systemd::{self, Notifier};
use super::tls::{self, Loader};
use super::watchdog::Watchdog;

/// Runs the server until a signal stops it.
///
/// # Errors
/// It could not start, or a worker died.
pub fn run(config: Config, sources: Sources) -> Result<(), StartError> {
    let passed = systemd::activation();
    let program = Program::of_this_process();
    let (mut predecessor, heir) = match Predecessor::greet().map_err(StartError::Handover)? {
        Some((predecessor, handed)) => (Some(predecessor), Inheritance::new(handed)),
        None => (None, Inheritance::new(passed)),
    };
    let ended = serve(config, sources, program, &mut predecessor, heir);
    if let (Err(error), Some(predecessor)) = (&ended, predecessor) {
        predecessor.failed(&error.to_string());
    }
    ended
}

/// Takes the `predecessor` when it has been told that we are ready.
fn serve(
    mut config: Config,
    sources: Sources,
    program: Program,
    predecessor: &mut Option<Predecessor>,
    heir: Inheritance,
) -> Result<(), StartError> {
    let _log = log_to_stderr(&config.log_level);
    log_panics();
    let notifier = Notifier::from_env();
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
    let Sockets { addresses, doors, admin, estate } = Sockets::open(&config, workers.len(), heir)?;
    let mut shared = Shared::new(
        Site::new(config, endpoints, upstream_tls, [random(), random()]),
        budget,
        resolver.epoch(),
    );
    shared.https_port = https_port(&addresses);
    shared.crew = Crew::of(workers.len())
        .map(Arc::new)
        .map_err(|error| StartError::System { what: "the workers' doorbells", error })?;
    let (loader, server_tls) = server_tls.unzip();
    shared.tls = server_tls.map(ArcSwap::from_pointee);
    let shared = Arc::new(shared);
    let (events_tx, events) = channel();
    let publisher = Arc::new(Mutex::new(resolver));
    let loading = Loading {
        sources,
        demo,
        loader,
        publisher: Arc::clone(&publisher),
        shared: Arc::clone(&shared),
        refused: Vec::new(),
    };
    let reloaded = events_tx.clone();
    let reloader = Reloader::start(loading, move || _ = reloaded.send(Event::Reloaded))
        .map_err(|error| StartError::System { what: "the reload thread", error })?;
    let refresher = Refresher::start(publisher, Arc::clone(&shared))
        .map_err(|error| StartError::System { what: "the resolver thread", error })?;
    let probes = Probes::start(Arc::clone(&shared))
        .map_err(|error| StartError::System { what: "the thread of health checks", error })?;
    watch_signals(events_tx.clone())?;
    let (handles, gates) = start_workers(workers, doors, sinks, &shared, &events_tx, &events)?;
    Sockets::listen(&estate)?;
    let site = shared.site.load_full();
    let pid_file = site.config.pid_file.clone().map(write_pid_file).transpose()?;
    let drains = events_tx.clone();
    let controls = Controls {
        reloads: reloader.orders(),
        drain: Box::new(move || drop(drains.send(Event::Drain))),
        log_lines_lost: log.losses(),
    };
    let admin = start_admin(admin, &shared, &handles, controls)?;
    gates.into_iter().for_each(|gate| _ = gate.send(()));
    announce(&site.config, &addresses);
    match predecessor.take() {
        Some(predecessor) => predecessor.ready(estate.addresses()),
        None => notifier.ready(),
    }
    let feeding = systemd::watchdog_interval();
    let pulses = handles.iter().map(|handle| Arc::clone(&handle.pulse));
    let supervisor = Supervisor {
        shared: &shared,
        handles: &handles,
        events: &events,
        log: &log,
        reloads: reloader.orders(),
        notifier,
        feeds_watchdog: feeding.is_some(),
        watchdog: Watchdog::new(feeding, pulses, Instant::now()),
        succession: Succession::new(program, estate, events_tx, admin, pid_file),
    };
    let ended = supervisor.run();
    drop((refresher, reloader, probes));
    let lost_by_output = log.losses();
    match &ended {
        Ok(Ended::Drained) => log.finish(),
        Ok(Ended::Abandoned) | Err(_) => {} // workers still hold the log; it goes with the process
    }
    farewell(&handles, lost_by_output());
    ended.map(|_| ())
}

fn write_pid_file(file: PathBuf) -> Result<PidFile, StartError> {
    PidFile::write(file.clone()).map_err(|error| StartError::PidFile { file, error })
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
        if config.admin.is_empty() { 0 } else { limits::ADMIN_CONNECTIONS_MAX + 3 * config.admin.len() };
    // A reload may add checks.
    let probes = limits::PROBES_MAX;
    let reserved = limits::DESCRIPTORS_RESERVED + workers * (4 + 3 * listeners) + admin + probes;
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

fn watch_signals(events: Sender<Event>) -> Result<(), StartError> {
    let system = |error| StartError::System { what: "the signal handlers", error };
    let mut signals =
        SignalsInfo::<WithOrigin>::new([SIGTERM, SIGINT, SIGUSR1, SIGHUP, SIGUSR2]).map_err(system)?;
    let watch = move || {
        for Origin { signal, process, .. } in signals.forever() {
            let event = match signal {
                SIGUSR2 => Event::Upgrade { asking: process.map(|process| process.pid.cast_unsigned()) },
                signal => Event::Signal(signal),
            };
            if events.send(event).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).map_err(system)?;
    Ok(())
}

/// Starts the workers, and waits until each has what it needs. They accept nobody before their gates say so.
fn start_workers(
    cores: Vec<Option<core_affinity::CoreId>>,
    doors: Vec<Vec<Door>>,
    sinks: Vec<LogSink>,
    shared: &Arc<Shared>,
    events: &Sender<Event>,
    ended: &Receiver<Event>,
) -> Result<(Vec<Handle>, Vec<Sender<()>>), StartError> {
    let mut sinks = sinks.into_iter();
    let (mut handles, mut gates) = (Vec::new(), Vec::new());
    let (ready_tx, ready) = channel();
    for (index, (core, doors)) in cores.into_iter().zip(doors).enumerate() {
        let system = |error: std::io::Error| StartError::System { what: "a worker", error };
        let (metrics, pulse) = (Arc::new(Shard::default()), Arc::new(AtomicU32::new(0)));
        handles.push(Handle { metrics: Arc::clone(&metrics), pulse: Arc::clone(&pulse) });
        let (gate, go) = channel();
        gates.push(gate);
        let setup = Setup {
            index,
            core,
            doors,
            ready: ready_tx.clone(),
            go,
            pulse,
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
    drop(ready_tx);
    for _ in &handles {
        if ready.recv().is_err() {
            return Err(worker_failed(ended));
        }
    }
    Ok((handles, gates))
}

/// A worker ended before it was ready: it has said why, or is about to.
fn worker_failed(events: &Receiver<Event>) -> StartError {
    for event in events {
        if let Event::WorkerEnded { index, reason: Some(reason) } = event {
            return StartError::WorkerDied { index, reason };
        }
    }
    StartError::WorkerDied { index: 0, reason: "no reason given".into() }
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

fn farewell(handles: &[Handle], lost_by_output: u64) {
    let shards = shards(handles);
    let sum = |counter| metrics::sum(&shards, counter);
    tracing::info!(
        connections = sum(Counter::ConnectionsAccepted),
        requests = sum(Counter::Requests),
        cut = sum(Counter::ExchangesCut),
        panics = sum(Counter::ConnectionPanics),
        log_lines_lost = sum(Counter::LogLinesDropped) + lost_by_output,
        "ringress stopped"
    );
}

/// The counters of every worker.
fn shards(handles: &[Handle]) -> Vec<Arc<Shard>> {
    handles.iter().map(|handle| Arc::clone(&handle.metrics)).collect()
}
