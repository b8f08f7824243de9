//! The main thread while the workers run: signals, the drain, the service manager, and the handover to a successor.
//!
//! ```text
//!              SIGTERM, SIGINT                       drain timeout, or told once more
//!   running ─────────────────────▶ draining ───────────────────────────────────────────▶ cutting ─▶ end
//!      │                              ▲
//!      └─ SIGUSR2 ─▶ successor ready ─┘  (its first SIGTERM is no more than the order it has already)
//!             └────▶ no successor: running as before
//! ```

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGUSR1};

use crate::limits;
use crate::net::shared::{Lifecycle, Shared};
use crate::telemetry::metrics::{Counter, Shard};

use super::admin::Admin;
use super::handover::{Handover, Program, Successor};
use super::log_writer::LogWriter;
use super::pid_file::PidFile;
use super::reload::Orders;
use super::sockets::Estate;
use super::start_error::StartError;
use super::systemd::Notifier;
use super::upgrade;
use super::watchdog::Watchdog;

/// What the main thread waits for.
#[derive(Debug)]
pub enum Event {
    /// A signal, SIGUSR2 aside.
    Signal(i32),
    /// An operator asked for a drain over HTTP. Unlike a second signal, asking again is not to cut.
    Drain,
    /// SIGUSR2.
    Upgrade {
        /// The process that sent it, as far as the kernel knows.
        asking: Option<u32>,
    },
    /// An upgrade that was under way has come to its end.
    Upgraded,
    /// The configuration was loaded again, or was refused, because SIGHUP asked for it.
    Reloaded,
    /// A worker has ended; with a reason if it should not have.
    WorkerEnded {
        /// Its number.
        index: usize,
        /// What it died of.
        reason: Option<String>,
    },
}

/// How the server stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every worker has finished.
    Drained,
    /// The operator did not want to wait.
    Abandoned,
}

/// A running worker, as seen from the main thread.
#[derive(Debug)]
pub struct Handle {
    /// Its counters.
    pub metrics: Arc<Shard>,
    /// Its signs of life.
    pub pulse: Arc<AtomicU32>,
}

/// What a successor gets, or has to be without.
#[derive(Debug)]
pub struct Succession {
    program: Program,
    estate: Option<Estate>,
    events: Sender<Event>,
    admin: Option<Admin>,
    pid_file: Option<PidFile>,
    /// An upgrade that is under way, and who asked for it.
    handover: Option<(Handover, Option<u32>)>,
}

impl Succession {
    /// No successor yet. `events` is where the supervisor hears of one.
    #[must_use]
    pub fn new(
        program: Program,
        estate: Estate,
        events: Sender<Event>,
        admin: Option<Admin>,
        pid_file: Option<PidFile>,
    ) -> Succession {
        Succession { program, estate: Some(estate), events, admin, pid_file, handover: None }
    }

    /// Begins an upgrade.
    fn begin(&mut self, asking: Option<u32>) -> Result<(), String> {
        let Some(estate) = &self.estate else { return Err("it drains already".into()) };
        if self.handover.is_some() {
            return Err("another upgrade is under way".into());
        }
        let estate = estate.copy().map_err(|error| format!("no descriptors for the new process: {error}"))?;
        let events = self.events.clone();
        let done = move || _ = events.send(Event::Upgraded);
        let handover = Handover::start(self.program.clone(), estate, done);
        self.handover = Some((handover.map_err(|error| error.to_string())?, asking));
        Ok(())
    }

    /// Ends an upgrade that is under way, because the service is to end.
    fn give_up(&mut self) {
        let Some((handover, asking)) = self.handover.take() else { return };
        let outcome = handover.finish();
        if let Ok(successor) = &outcome
            && let Some(pid) = Pid::from_raw(successor.pid.cast_signed())
        {
            // It was ready in this very moment: the order is for it too.
            let _ = kill_process(pid, Signal::TERM);
        }
        upgrade::answer(asking, &outcome.and(Err("the server was told to stop".into())));
    }

    /// Gives up what belongs to the successor.
    fn cede(&mut self, successor: &Successor) {
        if let Some(estate) = self.estate.take() {
            successor.claimed.iter().for_each(|address| estate.keep(*address));
        }
        self.admin.iter().for_each(Admin::stop);
    }
}

/// The main thread's state.
#[derive(Debug)]
pub struct Supervisor<'a> {
    /// The process.
    pub shared: &'a Shared,
    /// Its workers.
    pub handles: &'a [Handle],
    /// What happens.
    pub events: &'a Receiver<Event>,
    /// The access log.
    pub log: &'a LogWriter,
    /// Loads the configuration again.
    pub reloads: Orders,
    /// The service manager.
    pub notifier: Notifier,
    /// It has a watchdog that wants to hear of us.
    pub feeds_watchdog: bool,
    /// Looks after the workers.
    pub watchdog: Watchdog,
    /// What an upgrade takes.
    pub succession: Succession,
}

impl Supervisor<'_> {
    /// Waits for the order to stop, then for the workers to finish what they have.
    ///
    /// # Errors
    /// A worker died.
    pub fn run(mut self) -> Result<Ended, StartError> {
        let mut running = self.handles.len();
        let mut cut_at: Option<Instant> = None;
        let mut lost_lines = LostLines::default();
        while running > 0 {
            let event = self.events.recv_timeout(self.wait(cut_at));
            self.look_after_workers();
            match event {
                Ok(Event::Signal(SIGUSR1)) => self.log.reopen(),
                Ok(Event::Signal(SIGHUP)) => self.reload(),
                Ok(Event::Reloaded) => self.notifier.ready(),
                Ok(Event::Upgrade { asking }) => self.upgrade(asking),
                Ok(Event::Upgraded) => cut_at = self.conclude().or(cut_at),
                Ok(Event::Drain) if self.shared.lifecycle() == Lifecycle::Running => {
                    self.succession.give_up();
                    cut_at = self.drain();
                }
                Ok(Event::Drain) => {}
                Ok(Event::Signal(_)) => match self.shared.lifecycle() {
                    Lifecycle::Running => {
                        self.succession.give_up();
                        cut_at = self.drain();
                    }
                    Lifecycle::Draining if self.shared.has_successor() => self.stop_waiting(),
                    Lifecycle::Draining => cut_at = Some(self.cut("second signal: cutting what still runs")),
                    Lifecycle::Cutting => return Ok(Ended::Abandoned),
                },
                Ok(Event::WorkerEnded { index, reason: None }) => {
                    running -= 1;
                    self.watchdog.let_go(index);
                }
                Ok(Event::WorkerEnded { index, reason: Some(reason) }) => {
                    return Err(StartError::WorkerDied { index, reason });
                }
                Err(RecvTimeoutError::Timeout) if cut_at.is_some_and(|at| at <= Instant::now()) => {
                    if self.shared.lifecycle() == Lifecycle::Cutting {
                        return Ok(Ended::Abandoned);
                    }
                    cut_at = Some(self.cut("drain timeout: cutting what still runs"));
                }
                Err(RecvTimeoutError::Timeout) => lost_lines.report(self.handles, self.log),
                Err(RecvTimeoutError::Disconnected) => return Ok(Ended::Abandoned),
            }
        }
        if let Some(admin) = self.succession.admin.filter(|_| self.shared.has_successor()) {
            admin.finish();
        }
        Ok(Ended::Drained)
    }

    fn wait(&self, cut_at: Option<Instant>) -> Duration {
        let now = Instant::now();
        let cut = cut_at.map_or(REPORT_PAUSE, |at| at.saturating_duration_since(now));
        cut.min(self.watchdog.wait(now)).min(REPORT_PAUSE)
    }

    fn look_after_workers(&mut self) {
        let Some(hanging) = self.watchdog.look(Instant::now()) else { return };
        self.shared.set_workers_hanging(hanging);
        if hanging == 0 && self.feeds_watchdog {
            self.notifier.alive();
        }
    }

    fn reload(&self) {
        self.notifier.reloading();
        self.reloads.reload();
    }

    /// Stops accepting. Returns when the rest is to be cut.
    fn drain(&mut self) -> Option<Instant> {
        if !self.shared.has_successor() {
            self.notifier.stopping();
        }
        let timeout = self.shared.site.load().config.timeouts.drain;
        let patience = timeout.map_or_else(|| "off".to_owned(), |timeout| format!("{timeout:?}"));
        tracing::info!(connections = self.shared.connections(), timeout = patience, "draining");
        self.succession.estate = None;
        self.move_on(Lifecycle::Draining);
        timeout.and_then(|timeout| Instant::now().checked_add(timeout))
    }

    /// The service ends, and not only this process of it: nobody has to wait for the last request of an idle client.
    fn stop_waiting(&self) {
        tracing::info!(connections = self.shared.connections(), "draining already, for a successor");
        self.shared.set_successor(false);
        self.ring();
    }

    fn cut(&self, why: &str) -> Instant {
        tracing::warn!(connections = self.shared.connections(), "{why}");
        self.move_on(Lifecycle::Cutting);
        Instant::now() + Duration::from_millis(limits::CUT_GRACE_MS)
    }

    fn upgrade(&mut self, asking: Option<u32>) {
        if let Err(reason) = self.succession.begin(asking) {
            tracing::warn!(reason, "no upgrade");
            upgrade::answer(asking, &Err(reason));
        }
    }

    /// An upgrade has come to its end. Returns when the rest is to be cut, if it succeeded.
    fn conclude(&mut self) -> Option<Instant> {
        let (handover, asking) = self.succession.handover.take()?; // none: it was given up
        match handover.finish() {
            Ok(successor) => {
                tracing::info!(pid = successor.pid, "upgrade: the new process has taken over");
                self.notifier.succeeded_by(successor.pid);
                (self.notifier, self.feeds_watchdog) = (Notifier::default(), false);
                self.shared.set_successor(true);
                self.succession.cede(&successor);
                upgrade::answer(asking, &Ok(successor.pid));
                self.drain()
            }
            Err(reason) => {
                tracing::error!(reason, "upgrade failed: going on as before");
                self.succession.pid_file.iter().for_each(PidFile::restore);
                upgrade::answer(asking, &Err(reason));
                None
            }
        }
    }

    fn move_on(&self, next: Lifecycle) {
        self.shared.advance_to(next);
        self.ring();
    }

    fn ring(&self) {
        self.shared.crew.ring_all();
    }
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
