//! The loop of the load generator, and how it talks to `bench/run` over stdin and stdout:
//!
//! ```text
//! connecting ── every connection did its first exchange ──▶ prints {"state":"ready"}
//! waiting    ── reads "go" ──▶ forgets what it counted
//! measuring  ── `seconds` later ──▶ prints {"state":"measured", ...}
//! holding    ── end of stdin ──▶ ends, at once and in every state
//! ```
//!
//! So the caller can sample the proxy exactly around the measurement, and its memory while the connections are
//! still there; and no load generator outlives its caller.

use std::io::{self, Write as _};
use std::net::SocketAddrV4;

use crate::histogram::Histogram;
use crate::limits::{
    ERRORS_MAX, LINKS_MAX, MEASURE_SECONDS_MAX, OPENING_MAX, READ_BYTES_MAX, READY_SECONDS_MAX,
};
use crate::link::{Links, Ready, now_ns};
use crate::tls::{Connector, Handshakes};

/// What becomes of a connection after it was read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Keep,
    /// Its exchange ended well, and the server closes it: make a new one.
    Reopen,
    /// What came is not what should have come.
    Broken,
}

/// Figures by name; `None` is `null`.
pub type Report = Vec<(&'static str, Option<f64>)>;

/// What every load counts.
#[derive(Default)]
pub struct Tally {
    /// How long each took.
    pub latencies: Histogram,
    /// What failed.
    pub errors: u64,
    /// The measurement has ended: nothing more is started, nor counted.
    pub stopped: bool,
}

impl Tally {
    /// The figures: how many there were in `elapsed_ns`, how long each took, and what failed, `more` included.
    #[must_use]
    pub fn report(&self, more: u64, elapsed_ns: u64) -> Report {
        let count = self.latencies.total() as f64;
        vec![
            ("count", Some(count)),
            ("per_second", Some(count * 1e9 / elapsed_ns as f64)),
            ("p50_us", self.latencies.quantile_us(0.5)),
            ("p99_us", self.latencies.quantile_us(0.99)),
            ("errors", Some((self.errors + more) as f64)),
        ]
    }
}

/// What a kind of load does with its connections.
pub trait Load {
    /// The receive buffer of connection `id`, if not the default.
    fn buffer_bytes(&self, _id: usize) -> Option<usize> {
        None
    }
    /// A connection is being made: sends its first bytes.
    fn opened(&mut self, links: &mut Links, id: usize, now: u64);
    /// Bytes came.
    fn received(&mut self, links: &mut Links, id: usize, bytes: &[u8], now: u64) -> Verdict;
    /// A connection was closed or could not be made; true makes it anew.
    fn lost(&mut self, _id: usize) -> bool {
        self.tally_mut().errors += 1;
        false
    }
    /// Does what is due and says when it wants to be called again.
    fn tick(&mut self, _links: &mut Links, _now: u64) -> u64 {
        u64::MAX
    }
    /// Whether every connection is where the measurement can start.
    fn is_ready(&self) -> bool;
    /// What is counted.
    fn tally(&self) -> &Tally;
    /// The same, to count.
    fn tally_mut(&mut self) -> &mut Tally;
    /// The measurement starts: forgets all counts.
    fn start(&mut self, _now: u64) {
        *self.tally_mut() = Tally::default();
    }
    /// The figures of a measurement that took `elapsed_ns`.
    fn report(&self, elapsed_ns: u64) -> Report {
        self.tally().report(0, elapsed_ns)
    }
}

/// What to run.
pub struct Plan {
    /// Whom to connect to.
    pub target: SocketAddrV4,
    /// How many connections.
    pub connections: usize,
    /// How long to measure.
    pub seconds: f64,
    /// Over TLS.
    pub tls: Option<Connector>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Waiting,
    Measuring { start: u64 },
    Holding,
}

struct Engine<'a> {
    load: &'a mut dyn Load,
    plan: Plan,
    links: Links,
    phase: Phase,
    until: u64,
    opened: usize,
    scratch: Vec<u8>,
}

/// Runs a load to its end.
///
/// # Errors
/// When the connections do not come up in time, or too many fail.
pub fn run(load: &mut dyn Load, mut plan: Plan) -> Result<(), String> {
    if plan.connections > LINKS_MAX || !(0.0..=MEASURE_SECONDS_MAX).contains(&plan.seconds) {
        return Err("too many connections or seconds".to_owned());
    }
    let mut links = Links::new().map_err(|error| error.to_string())?;
    links.watch(rustix::stdio::stdin(), 0).map_err(|_| "stdin must be a pipe or a terminal")?;
    if let Some(connector) = plan.tls.take() {
        links.encrypt(connector);
    }
    let until = now_ns() + READY_SECONDS_MAX * 1_000_000_000;
    let scratch = vec![0; READ_BYTES_MAX];
    Engine { load, plan, links, phase: Phase::Connecting, until, opened: 0, scratch }.run()
}

impl Engine<'_> {
    fn run(&mut self) -> Result<(), String> {
        let mut ready = Vec::new();
        loop {
            self.open_more();
            let due = self.load.tick(&mut self.links, now_ns());
            self.links.wait(due.min(self.until), &mut ready).map_err(|error| error.to_string())?;
            for one in ready.drain(..) {
                if one.id == LINKS_MAX {
                    if !self.command()? {
                        return Ok(());
                    }
                } else if self.links.is_current(one) {
                    self.turn(one);
                }
            }
            self.advance()?;
        }
    }

    /// Opens connections, few at a time.
    fn open_more(&mut self) {
        while self.opened < self.plan.connections && self.links.opening < OPENING_MAX {
            self.open(self.opened);
            self.opened += 1;
        }
    }

    fn open(&mut self, id: usize) {
        match self.links.open(id, self.plan.target, self.load.buffer_bytes(id)) {
            Ok(()) => self.load.opened(&mut self.links, id, now_ns()),
            Err(_) => {
                self.load.lost(id);
            }
        }
    }

    fn turn(&mut self, ready: Ready) {
        if ready.writable && !self.links.flush(ready.id) {
            return self.lose(ready.id);
        }
        if !ready.readable {
            return;
        }
        let verdict = match self.links.read(ready.id, &mut self.scratch) {
            Ok(None) => Verdict::Keep,
            Ok(Some(0)) | Err(_) => Verdict::Broken,
            Ok(Some(count)) => {
                let bytes = self.scratch.get(..count).unwrap_or_default();
                self.load.received(&mut self.links, ready.id, bytes, now_ns())
            }
        };
        match verdict {
            Verdict::Keep => {}
            Verdict::Reopen => {
                self.links.close(ready.id);
                self.open(ready.id);
            }
            Verdict::Broken => self.lose(ready.id),
        }
    }

    fn lose(&mut self, id: usize) {
        self.links.close(id);
        if self.load.lost(id) && self.phase != Phase::Holding {
            self.open(id);
        }
    }

    /// What came on stdin; false when it ended.
    fn command(&mut self) -> Result<bool, String> {
        let mut word = [0; 16];
        let count = rustix::io::read(rustix::stdio::stdin(), &mut word).map_err(|error| error.to_string())?;
        if count > 0 && self.phase == Phase::Waiting {
            let start = now_ns();
            self.load.start(start);
            self.links.handshakes = Handshakes::default();
            self.phase = Phase::Measuring { start };
            self.until = start + (self.plan.seconds * 1e9) as u64;
        }
        Ok(count > 0)
    }

    /// Moves to the next phase when this one is over.
    fn advance(&mut self) -> Result<(), String> {
        let now = now_ns();
        match self.phase {
            Phase::Connecting if self.load.is_ready() => {
                self.phase = Phase::Waiting;
                self.until = u64::MAX;
                print("ready", &Vec::new())
            }
            Phase::Connecting if now >= self.until => {
                Err(format!("the connections are not up in time, {} errors", self.load.tally().errors))
            }
            Phase::Measuring { start } if now >= self.until => {
                self.load.tally_mut().stopped = true;
                self.phase = Phase::Holding;
                self.until = u64::MAX;
                match self.links.handshakes {
                    Handshakes { wrong: 0, .. } => print("measured", &self.load.report(now - start)),
                    Handshakes { right, wrong } => {
                        Err(format!("{wrong} of {} handshakes were of the wrong kind", right + wrong))
                    }
                }
            }
            Phase::Connecting | Phase::Waiting | Phase::Measuring { .. }
                if self.load.tally().errors > ERRORS_MAX =>
            {
                Err(format!("more than {ERRORS_MAX} errors"))
            }
            Phase::Connecting | Phase::Waiting | Phase::Measuring { .. } | Phase::Holding => Ok(()),
        }
    }
}

/// Prints one line of JSON.
fn print(state: &str, report: &Report) -> Result<(), String> {
    let mut line = format!("{{\"state\":\"{state}\"");
    for (name, value) in report {
        match value {
            Some(value) => line.push_str(&format!(",\"{name}\":{value}")),
            None => line.push_str(&format!(",\"{name}\":null")),
        }
    }
    writeln!(io::stdout().lock(), "{line}}}").map_err(|error| error.to_string())
}
