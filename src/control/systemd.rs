//! What a service manager is told, and what it passes: readiness, the watchdog, sockets (`sd_notify(3)`,
//! `sd_listen_fds(3)`). Without one, nothing here does anything.

use std::fmt::Write as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use listenfd::ListenFd;
use rustix::time::{ClockId, clock_gettime};

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

    /// Every worker is alive.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
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

/// How often the service manager wants to hear that all is well (`WatchdogSec=`): twice as often as it would act.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    if number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(std::process::id())) {
        return None; // it is meant for another process
    }
    let timeout_us = number("WATCHDOG_USEC").filter(|us| *us > 0)?;
    Some(Duration::from_micros(timeout_us / 2))
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
