//! Loading the configuration again: on SIGHUP, when a file has changed, or by an admin call.
//!
//! ```text
//!   order ─▶ read and validate ─▶ what needs a restart? ─▶ certificates ─▶ names ─▶ publish, version + 1
//!                 └───────────────────┴──────────────────────┴─ error: what was served is served on
//! ```
//! All or nothing: nothing is published before everything is known to be good. Running exchanges keep what they began
//! with; workers see the new site with their next request.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::config::{Config, Upstream};
use crate::limits;
use crate::net::shared::Shared;

use super::certificates::CertificateError;
use super::dns::Publisher;
use super::stamp::{Stamp, stamp};
use super::tls::{self, Loader};

/// Where the configuration comes from, to be read again.
pub struct Sources {
    /// Reads and validates it; an error is what the operator is told.
    pub read: Box<dyn Fn() -> Result<Config, String> + Send>,
    /// The file it is in, if it is in one.
    pub file: Option<PathBuf>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Why nothing was loaded.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration is not valid.
    #[error("{0}")]
    Config(String),
    /// Settings that only a new process takes up.
    #[error(
        "{} cannot change while the process runs: `ringress upgrade` starts a new one without losing a connection",
        .0.join(", ")
    )]
    Restart(Vec<&'static str>),
    /// A certificate or key is of no use.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// Why an order came to nothing, in words for the operator. What was served is served on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// What was to be loaded is not valid.
    #[error("{0}")]
    Invalid(String),
    /// It is, but only a new process takes it up.
    #[error("{0}")]
    Restart(String),
    /// It was not looked at, or not to the end.
    #[error("{0}")]
    Busy(&'static str),
}

impl From<ReloadError> for Refused {
    fn from(error: ReloadError) -> Refused {
        match error {
            ReloadError::Restart(_) => Refused::Restart(error.to_string()),
            ReloadError::Config(_) | ReloadError::Certificate(_) => Refused::Invalid(error.to_string()),
        }
    }
}

/// What came of an order.
pub type Outcome = Result<u64, Refused>;

/// Files, and what tells their contents from the next.
type Stamps = Vec<(PathBuf, Option<Stamp>)>;

/// Whoever gave an order, to be told the version that is served now, or why nothing was loaded.
type Order = Option<SyncSender<Outcome>>;

/// The thread that loads; told to stop when dropped.
#[derive(Debug)]
pub struct Reloader {
    orders: SyncSender<Order>,
    _thread: JoinHandle<()>,
}

/// Gives orders to a [`Reloader`].
#[derive(Clone, Debug)]
pub struct Orders(SyncSender<Order>);

/// What a reload works on.
#[derive(Debug)]
pub struct Loading {
    /// Where the configuration comes from.
    pub sources: Sources,
    /// The origin of the demo, which is in no configuration.
    pub demo: Option<Upstream>,
    /// Makes what listeners with TLS speak.
    pub loader: Option<Loader>,
    /// The right to publish.
    pub publisher: Publisher,
    /// Where it is published.
    pub shared: Arc<Shared>,
    /// Files of certificates that a configuration named which was refused: they may be mended.
    pub refused: Vec<PathBuf>,
}

impl Reloader {
    /// Starts the thread. It calls `loaded` after each order, whatever came of it.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(loading: Loading, loaded: impl Fn() + Send + 'static) -> io::Result<Reloader> {
        let (orders, ordered) = sync_channel(limits::RELOADS_WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("reload".into())
            .spawn(move || watch(loading, &ordered, &loaded))?;
        Ok(Reloader { orders, _thread: thread })
    }

    /// Whoever may give orders.
    #[must_use]
    pub fn orders(&self) -> Orders {
        Orders(self.orders.clone())
    }
}

impl Orders {
    /// Loads soon (SIGHUP). When orders wait already, the next one does for this one too.
    pub fn reload(&self) {
        let _ = self.0.try_send(None);
    }

    /// Loads, and waits for the outcome.
    ///
    /// # Errors
    /// What was wrong; nothing has changed then.
    pub fn reload_now(&self) -> Outcome {
        let (reply, outcome) = sync_channel(1);
        match self.0.try_send(Some(reply)) {
            Ok(()) => outcome
                .recv_timeout(Duration::from_secs(limits::RELOAD_S))
                .unwrap_or(Err(Refused::Busy("it takes too long; the log will say what came of it"))),
            Err(TrySendError::Full(_)) => Err(Refused::Busy("other reloads are waiting; try again")),
            Err(TrySendError::Disconnected(_)) => Err(Refused::Busy("the process is stopping")),
        }
    }
}

fn watch(mut loading: Loading, ordered: &Receiver<Order>, done: &impl Fn()) {
    let mut loaded = loading.stamps();
    let mut seen = loaded.clone();
    loop {
        let order = match ordered.recv_timeout(Duration::from_secs(limits::CERTIFICATE_LOOK_S)) {
            Ok(order) => Some(order),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let now = loading.stamps();
        // Changed, and at rest since the last look: a certificate and its key are not replaced at one stroke.
        let changed = now != loaded && now == seen;
        seen.clone_from(&now);
        if order.is_some() || changed {
            let outcome = loading.reload();
            // What changed while it was being read may have been read or not: then it is read once more.
            loaded = loading.stamps_since(&now);
            seen.clone_from(&loaded);
            if order.is_some() {
                done();
            }
            if let Some(Some(reply)) = order {
                let _ = reply.send(outcome);
            }
        }
    }
}

impl Loading {
    /// What is looked at for changes: the configuration file, then certificates and keys.
    fn files(&self) -> impl Iterator<Item = &Path> {
        let certificates = self.loader.iter().flat_map(Loader::files);
        self.sources.file.iter().chain(certificates).chain(&self.refused).map(PathBuf::as_path)
    }

    fn stamps(&self) -> Stamps {
        self.files().map(|file| (file.to_owned(), stamp(file))).collect()
    }

    /// Stamps of the files that are named now: as they were `before`, for those that were named then.
    fn stamps_since(&self, before: &Stamps) -> Stamps {
        let known = |file: &Path| before.iter().find(|(known, _)| known == file);
        let stamp_of = |file: &Path| known(file).map_or_else(|| stamp(file), |(_, stamp)| *stamp);
        self.files().map(|file| (file.to_owned(), stamp_of(file))).collect()
    }

    /// Loads everything again, and says so.
    fn reload(&mut self) -> Outcome {
        match self.load() {
            Ok(version) => {
                self.shared.reloads.succeeded();
                if let Some(loader) = &self.loader {
                    tracing::info!(certificates = loader.certificates(), "certificates loaded again");
                }
                if self.sources.file.is_some() {
                    tracing::info!(version, "configuration loaded again");
                } else if self.loader.is_none() {
                    tracing::warn!(
                        "nothing to do: SIGHUP loads --config and certificates again (with --tls-listen), SIGUSR1 reopens the \
                         access log"
                    );
                }
                Ok(version)
            }
            Err(error) => {
                self.shared.reloads.failed();
                let what = match error {
                    ReloadError::Certificate(_) => "certificates",
                    ReloadError::Config(_) | ReloadError::Restart(_) => "configuration",
                };
                tracing::error!(%error, "cannot load the {what} again; those in use stay in use");
                Err(error.into())
            }
        }
    }

    fn load(&mut self) -> Result<u64, ReloadError> {
        let mut config = (self.sources.read)().map_err(ReloadError::Config)?;
        if let Some(origin) = &self.demo {
            config.groups.iter_mut().for_each(|group| group.members = vec![origin.clone().into()]);
        }
        let site = self.shared.site.load_full();
        check_restart(&site.config, &config)?;
        self.refused = self.loader.iter().flat_map(|_| tls::files(&config.tls)).cloned().collect();
        let server_tls = self.loader.as_ref().map(|loader| loader.again(&config)).transpose()?;
        let upstream_tls = if tls::is_same_upstream(&site.config, &config) {
            Arc::clone(&site.upstream_tls)
        } else {
            Arc::new(tls::upstream(&config)?)
        };
        let publisher = Arc::clone(&self.publisher);
        let mut resolver = publisher.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoints = resolver.resolve(&config);
        let next = self.shared.site.load().next(config, endpoints, upstream_tls);
        let version = next.version;
        self.shared.site.store(Arc::new(next));
        self.refused.clear();
        drop(resolver);
        if let (Some((loader, latest)), Some(current)) = (server_tls, &self.shared.tls) {
            current.store(Arc::new(latest));
            self.loader = Some(loader);
        }
        Ok(version)
    }
}

/// A setting, and whether it differs between two configurations.
type Setting = (&'static str, fn(&Config, &Config) -> bool);

/// What is set up once, before the first worker starts.
const FIXED: [Setting; 11] = [
    ("listeners", |a, b| a.listeners != b.listeners),
    ("workers", |a, b| a.workers != b.workers),
    ("pin", |a, b| a.pin != b.pin),
    ("max-connections", |a, b| a.max_connections != b.max_connections),
    ("demo", |a, b| a.demo != b.demo),
    ("access-log", |a, b| a.access_log != b.access_log),
    ("log-format", |a, b| a.log_format != b.log_format),
    ("log-query", |a, b| a.log_query != b.log_query),
    ("log-level", |a, b| a.log_level != b.log_level),
    ("admin", |a, b| a.admin != b.admin),
    ("pid-file", |a, b| a.pid_file != b.pid_file),
];

fn check_restart(old: &Config, new: &Config) -> Result<(), ReloadError> {
    let changed: Vec<_> =
        FIXED.iter().filter(|(_, differs)| differs(old, new)).map(|(name, _)| *name).collect();
    if changed.is_empty() { Ok(()) } else { Err(ReloadError::Restart(changed)) }
}
