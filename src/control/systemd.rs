//! What a service manager is told, and what it passes: readiness, the watchdog, sockets (`sd_notify(3)`,
//! `sd_listen_fds(3)`). Without one, nothing here does anything.

use std::fmt::Write as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use rustix::time::{ClockId, clock_gettime};

use crate::limits;
use crate::net::listener;

use super::sockets::Handed;

/// Variables that are about one process, and wrong for its successor.
pub const OF_ONE_PROCESS: [&str; 4] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// Tells the service manager how the process fares. A message that does not get through is lost: serving clients never
/// waits for it.
#[derive(Debug, Default)]
pub struct Notifier(Option<(UnixDatagram, SocketAddr)>);

impl Notifier {
    /// Speaks to `$NOTIFY_SOCKET`, if there is one.
    #[must_use]
    pub fn from_env() -> Notifier {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Notifier(None);
        };
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&name),
        };
        let socket = UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        match (socket, address) {
            (Ok(socket), Ok(address)) => Notifier(Some((socket, address))),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, "cannot speak to the service manager at {}", name.to_string_lossy());
                Notifier(None)
            }
        }
    }

    /// Serving, or serving with what was loaded again.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// Loading again (SIGHUP); [`Notifier::ready`] has to follow.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let now_us = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}"));
    }

    /// Draining, for good.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// Another process is the service from now on. It starts with a watchdog that was fed just now.
    pub fn succeeded_by(&self, pid: u32) {
        let mut message = String::from("WATCHDOG=1");
        let _ = write!(message, "\nMAINPID={pid}");
        self.say(&message);
    }

    fn say(&self, message: &str) {
        if let Some((socket, address)) = &self.0
            && let Err(error) = socket.send_to_addr(message.as_bytes(), address)
        {
            tracing::warn!(%error, "cannot tell the service manager {message:?}");
        }
    }
}

/// Feeds the service manager's watchdog for as long as every worker shows signs of life.
#[derive(Debug)]
pub struct Watchdog {
    every: Duration,
    next: Instant,
    pulses: Vec<Pulse>,
}

/// What is known of a worker.
#[derive(Debug)]
struct Pulse {
    beats: Arc<AtomicU32>,
    seen: u32,
    seen_at: Instant,
    /// It has ended, as it should.
    ended: bool,
    hangs: bool,
}

impl Watchdog {
    /// The watchdog that the environment asks for, over workers with these pulses.
    #[must_use]
    pub fn from_env(pulses: impl IntoIterator<Item = Arc<AtomicU32>>) -> Option<Watchdog> {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let of_another = |name| number(name).is_some_and(|pid| pid != u64::from(std::process::id()));
        if of_another("WATCHDOG_PID") {
            return None;
        }
        let timeout_us = number("WATCHDOG_USEC").filter(|us| *us > 0)?;
        Some(Watchdog::new(Duration::from_micros(timeout_us / 2), pulses, Instant::now()))
    }

    fn new(every: Duration, pulses: impl IntoIterator<Item = Arc<AtomicU32>>, now: Instant) -> Watchdog {
        let pulse = |beats: Arc<AtomicU32>| {
            let seen = beats.load(Ordering::Relaxed);
            Pulse { beats, seen, seen_at: now, ended: false, hangs: false }
        };
        Watchdog { every, next: now, pulses: pulses.into_iter().map(pulse).collect() }
    }

    /// A worker has ended: nothing is expected of it any more.
    pub fn let_go(&mut self, worker: usize) {
        self.pulses.get_mut(worker).into_iter().for_each(|pulse| pulse.ended = true);
    }

    /// How long the next look can wait.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// Feeds the watchdog when it is time to, and every worker is alive.
    pub fn look(&mut self, now: Instant, notifier: &Notifier) {
        if now < self.next {
            return;
        }
        self.next = now + self.every;
        if self.all_alive(now) {
            notifier.say("WATCHDOG=1");
        }
    }

    fn all_alive(&mut self, now: Instant) -> bool {
        let mut all = true;
        for (worker, pulse) in self.pulses.iter_mut().enumerate().filter(|(_, pulse)| !pulse.ended) {
            let beats = pulse.beats.load(Ordering::Relaxed);
            if beats != pulse.seen {
                (pulse.seen, pulse.seen_at) = (beats, now);
            }
            let hangs =
                now.saturating_duration_since(pulse.seen_at) > Duration::from_millis(limits::PULSE_MS);
            if hangs && !pulse.hangs {
                tracing::error!(
                    worker,
                    "a worker hangs: the watchdog of the service manager is not fed any more"
                );
            }
            pulse.hangs = hangs;
            all &= !hangs;
        }
        all
    }
}

/// Sockets that the service manager has bound for us (`LISTEN_FDS`). Takes the variables out of the environment, so this
/// comes before the first thread.
#[must_use]
pub fn activation() -> Vec<Handed> {
    let mut passed = ListenFd::from_env();
    let mut all: Vec<Handed> = Vec::new();
    for index in 0..passed.len() {
        let socket = match passed.take_tcp_listener(index) {
            Ok(Some(listener)) => listener.into(),
            Ok(None) => continue,
            Err(error) => {
                let path =
                    passed.take_unix_listener(index).ok().flatten().and_then(|it| it.local_addr().ok());
                let what = path.map_or_else(|| error.to_string(), |path| format!("{path:?}"));
                eprintln!(
                    "ringress: the service manager passed what is no TCP socket, and is not used: {what}"
                );
                continue;
            }
        };
        match listener::adopt(&socket) {
            Err(error) => eprintln!("ringress: a socket of the service manager is of no use: {error}"),
            Ok(bound) => match all.iter_mut().find(|handed| handed.bound == bound) {
                Some(same) => same.sockets.push(socket),
                None => all.push(Handed { asked: bound, bound, foreign: true, sockets: vec![socket] }),
            },
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: one worker that hangs is enough; one that has ended is none that hangs. Method: time is an argument.
    #[test]
    fn a_worker_that_hangs_stops_the_watchdog() {
        let beats = [Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0))];
        let start = Instant::now();
        let mut watchdog = Watchdog::new(Duration::from_secs(1), beats.clone(), start);
        for second in 1..10 {
            beats.iter().for_each(|beats| _ = beats.fetch_add(1, Ordering::Relaxed));
            assert!(watchdog.all_alive(start + Duration::from_secs(second)));
        }
        let mut alive = Vec::new();
        for second in 10..16 {
            beats[0].fetch_add(1, Ordering::Relaxed);
            alive.push(watchdog.all_alive(start + Duration::from_secs(second)));
        }
        assert_eq!(alive, [true, true, true, false, false, false]);
        beats[1].fetch_add(1, Ordering::Relaxed);
        assert!(watchdog.all_alive(start + Duration::from_secs(16)), "it has come back");
        watchdog.let_go(1);
        beats[0].fetch_add(1, Ordering::Relaxed);
        assert!(watchdog.all_alive(start + Duration::from_secs(60)), "it has ended");
    }
}
