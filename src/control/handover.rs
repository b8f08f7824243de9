//! One process takes over from another: the new binary is started with the listening sockets of the old one, and says
//! when it serves.
//!
//! ```text
//!  old: SIGUSR2 ─▶ socketpair ─▶ spawn ─▶ sockets ───────────────────────▶ wait ─▶ drain     (or go on as before)
//!                                           │                               ▲
//!  new:                                     ▼ greet ─▶ as at any start ─▶ ready (or the reason why not)
//! ```
//! The pair is the new process's standard input, and sockets travel over it as `SCM_RIGHTS` (unix(7)): no descriptor is
//! ever inheritable, so no other child of ours could keep one by accident. The new process puts `/dev/null` in its place.
//! A message is a line of words; `socket` also carries descriptors:
//!
//! | from | message | meaning |
//! | --- | --- | --- |
//! | old | `socket own\|foreign ASKED BOUND` | sockets of an address, as many messages as it takes |
//! | old | `end` | that was all |
//! | new | `claimed BOUND` | it accepts from the sockets of this address |
//! | new | `ready` | it serves |
//! | new | `failed REASON` | it does not, and ends |

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::limits;

use super::sockets::Handed;
use super::systemd;

/// Says that standard input is a handover, and which one: a version that speaks another must not guess.
const VARIABLE: &str = "RINGRESS_HANDOVER";
const VERSION: &str = "1";

// ----- the old process

/// How this process was started, and so how its successor is.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
}

impl Program {
    /// Found out at the start: a binary that has been replaced since is found under its old name, whereas
    /// `/proc/self/exe` would be the deleted one. A link is not followed, it may point elsewhere tomorrow.
    #[must_use]
    pub fn of_this_process() -> Program {
        let mut args = std::env::args_os();
        let name = args.next().map(PathBuf::from).unwrap_or_default();
        let named =
            if name.components().count() > 1 { std::path::absolute(name).ok() } else { on_path(&name) };
        let path = named.filter(|path| path.is_file()).or_else(|| std::env::current_exe().ok());
        Program { path: path.unwrap_or_default(), args: args.collect() }
    }
}

/// Where a shell finds `name`.
fn on_path(name: &std::path::Path) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// What took over.
#[derive(Debug)]
pub struct Successor {
    /// Its process id.
    pub pid: u32,
    /// Addresses that it accepts on.
    pub claimed: Vec<SocketAddr>,
}

/// An upgrade that is under way.
#[derive(Debug)]
pub struct Handover {
    /// The thread's end of the pair sees it close.
    cancel: OwnedFd,
    thread: JoinHandle<Result<Successor, String>>,
}

impl Handover {
    /// Starts `program` with `estate`, on a thread of its own that calls `done` when it is known what became of it.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        program: Program,
        estate: Vec<Handed>,
        done: impl FnOnce() + Send + 'static,
    ) -> io::Result<Handover> {
        let (cancel, cancelled) = pair()?;
        let body = move || {
            let outcome = hand_over(&program, estate, &cancelled);
            done();
            outcome
        };
        let thread = std::thread::Builder::new().name("upgrade".into()).spawn(body)?;
        Ok(Handover { cancel, thread })
    }

    /// What became of it. Called before it is known, this ends the new process; unless that has just become ready.
    ///
    /// # Errors
    /// There is no successor, and why.
    pub fn finish(self) -> Result<Successor, String> {
        drop(self.cancel);
        self.thread.join().unwrap_or_else(|_| Err("the thread of the upgrade panicked".into()))
    }
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

fn hand_over(program: &Program, estate: Vec<Handed>, cancelled: &OwnedFd) -> Result<Successor, String> {
    let (ours, theirs) = pair().map_err(|error| format!("no socket for the new process: {error}"))?;
    let mut child = spawn(program, theirs)
        .map_err(|error| format!("cannot start {}: {error}", program.path.display()))?;
    tracing::info!(pid = child.id(), program = %program.path.display(), "upgrade: the new process is starting");
    let outcome = bequeath(&ours, estate).and_then(|()| await_ready(&ours, cancelled));
    outcome.map(|claimed| Successor { pid: child.id(), claimed }).map_err(|failure| {
        let ended = end(&mut child, &failure);
        match failure {
            Failure::Told(reason) => reason,
            Failure::Silent => format!("the new process ended before it was ready ({ended}); it says why"),
            Failure::Late => {
                format!("the new process was not ready after {} s", limits::HANDOVER_MS / 1000)
            }
            Failure::Cancelled => "the server was told to stop".into(),
            Failure::Io(error) => format!("the new process does not take the sockets ({error}; {ended})"),
        }
    })
}

fn spawn(program: &Program, stdin: OwnedFd) -> io::Result<Child> {
    let mut command = Command::new(&program.path);
    // The same name, so that it finds itself as we did.
    command.arg0(std::env::args_os().next().unwrap_or_default()).args(&program.args);
    command.env(VARIABLE, VERSION).stdin(stdin);
    systemd::OF_ONE_PROCESS.iter().for_each(|name| _ = command.env_remove(name));
    command.spawn()
}

/// Why there is no successor.
enum Failure {
    Told(String),
    /// It closed its end.
    Silent,
    Late,
    Cancelled,
    Io(Errno),
}

fn bequeath(socket: &OwnedFd, estate: Vec<Handed>) -> Result<(), Failure> {
    match send_all(socket, &estate) {
        // It ended before it had read everything, and may have said why: that is read next.
        Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
        Err(error) => Err(Failure::Io(error)),
    }
}

fn send_all(socket: &OwnedFd, estate: &[Handed]) -> Result<(), Errno> {
    for handed in estate {
        let kind = if handed.foreign { "foreign" } else { "own" };
        let words = format!("socket {kind} {} {}", handed.asked, handed.bound);
        for sockets in handed.sockets.chunks(limits::HANDOVER_SOCKETS) {
            send(socket, &words, sockets)?;
        }
    }
    send(socket, "end", &[])
}

fn await_ready(socket: &OwnedFd, cancelled: &OwnedFd) -> Result<Vec<SocketAddr>, Failure> {
    let deadline = Instant::now() + Duration::from_millis(limits::HANDOVER_MS);
    let mut claimed = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(socket, PollFlags::IN), PollFd::new(cancelled, PollFlags::IN)];
        match poll(&mut fds, left.try_into().ok().as_ref()) {
            Ok(0) => return Err(Failure::Late),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Failure::Io(error)),
        }
        let [said, stop] = fds.map(|fd| !fd.revents().is_empty());
        if said {
            let words = match receive(socket) {
                Ok((words, _)) => words,
                Err(Errno::CONNRESET) => continue, // it has gone with messages unread; its own come next
                Err(error) => return Err(Failure::Io(error)),
            };
            match words.split_once(' ').unwrap_or((&words, "")) {
                ("claimed", address) => claimed.extend(address.parse::<SocketAddr>()),
                ("ready", _) => return Ok(claimed),
                ("failed", reason) => return Err(Failure::Told(reason.to_owned())),
                _ => return Err(Failure::Silent),
            }
        } else if stop {
            return Err(Failure::Cancelled);
        }
    }
}

/// Ends a process that will not serve; returns how it ended.
fn end(child: &mut Child, failure: &Failure) -> String {
    let patience = match failure {
        Failure::Told(_) | Failure::Silent => Duration::from_millis(limits::HANDOVER_END_MS),
        Failure::Late | Failure::Cancelled | Failure::Io(_) => Duration::ZERO,
    };
    let give_up = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < give_up => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return "it was killed".into();
            }
            Ok(Some(status)) => return describe(status),
            Err(error) => return error.to_string(),
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

// ----- the new process

/// The process that we take over from.
#[derive(Debug)]
pub struct Predecessor(OwnedFd);

impl Predecessor {
    /// Takes what the old process hands over; `None` if nobody does.
    ///
    /// # Errors
    /// Somebody does, but not as we know it.
    pub fn greet() -> io::Result<Option<(Predecessor, Vec<Handed>)>> {
        match std::env::var_os(VARIABLE) {
            None => return Ok(None),
            Some(version) if version == VERSION => {}
            Some(_) => return Err(invalid("the running version hands over in another way: restart it")),
        }
        let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        let patience = Duration::from_millis(limits::HANDOVER_READ_MS);
        set_socket_timeout(&socket, Timeout::Recv, Some(patience))?;
        let handed = inherit(&socket)?;
        Ok(Some((Predecessor(socket), handed)))
    }

    /// We serve, on these addresses.
    pub fn ready(&self, addresses: impl Iterator<Item = SocketAddr>) {
        for address in addresses {
            let _ = send(&self.0, &format!("claimed {address}"), &[]);
        }
        let _ = send(&self.0, "ready", &[]);
    }

    /// We do not, and end.
    pub fn failed(&self, reason: &str) {
        let fits = |reason: &str| reason.len() <= limits::HANDOVER_MESSAGE_BYTES - "failed ".len();
        let reason = if fits(reason) { reason } else { "its standard error says why" };
        let _ = send(&self.0, &format!("failed {reason}"), &[]);
    }
}

fn inherit(socket: &OwnedFd) -> io::Result<Vec<Handed>> {
    let mut all: Vec<Handed> = Vec::new();
    let mut count = 0;
    loop {
        let (words, sockets) = receive(socket)?;
        count += sockets.len();
        if words == "end" {
            return Ok(all);
        }
        if count > limits::HANDOVER_SOCKETS_MAX || words.is_empty() {
            return Err(invalid("the running process broke off"));
        }
        let handed =
            understand(&words, sockets).ok_or_else(|| invalid("the running process is not understood"))?;
        match all.iter_mut().find(|known| known.bound == handed.bound) {
            Some(known) => known.sockets.extend(handed.sockets),
            None => all.push(handed),
        }
    }
}

fn understand(words: &str, sockets: Vec<OwnedFd>) -> Option<Handed> {
    let mut words = words.split(' ');
    let foreign = match (words.next()?, words.next()?) {
        ("socket", "own") => false,
        ("socket", "foreign") => true,
        _ => return None,
    };
    let (asked, bound) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Handed { asked, bound, foreign, sockets })
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

// ----- messages

/// Never waits: the other side's queue has room for all of it, or does not read.
fn send(socket: &OwnedFd, words: &str, sockets: &[OwnedFd]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(limits::HANDOVER_SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let sockets: Vec<_> = sockets.iter().map(OwnedFd::as_fd).collect();
    if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(Errno::TOOBIG);
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(socket, &[IoSlice::new(words.as_bytes())], &mut control, flags).map(drop)
}

/// The next message; an empty one when the other side has gone.
fn receive(socket: &OwnedFd) -> Result<(String, Vec<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(limits::HANDOVER_SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buf = [0; limits::HANDOVER_MESSAGE_BYTES];
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut buf)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Errno::MSGSIZE); // without the sockets that no descriptor was left for
    }
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            sockets.extend(rights);
        }
    }
    let words = String::from_utf8_lossy(buf.get(..received.bytes).unwrap_or_default()).into_owned();
    Ok((words, sockets))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an address arrives as it was sent, with all of its sockets, more of them than one message holds.
    #[test]
    fn sockets_arrive() {
        let (old, new) = pair().unwrap();
        let (own, foreign) = ("127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap());
        let sockets = |count: usize| (0..count).map(|_| pair().unwrap().0).collect::<Vec<_>>();
        let estate = vec![
            Handed {
                asked: own,
                bound: "127.0.0.1:7".parse().unwrap(),
                foreign: false,
                sockets: sockets(100),
            },
            Handed { asked: foreign, bound: "[::1]:7".parse().unwrap(), foreign: true, sockets: sockets(1) },
        ];
        let words = |all: &[Handed]| -> Vec<String> {
            let of = |it: &Handed| format!("{} {} {} {}", it.asked, it.bound, it.foreign, it.sockets.len());
            all.iter().map(of).collect()
        };
        let sent = words(&estate);
        assert!(bequeath(&old, estate).is_ok());
        assert_eq!(words(&inherit(&new).unwrap()), sent);
    }

    /// Goal: whatever becomes of the new process, the old one knows what to say about it.
    #[test]
    fn outcomes_are_told_apart() {
        let (_cancel, cancelled) = pair().unwrap();
        let (old, new) = pair().unwrap();
        let new = Predecessor(new);
        let address = "127.0.0.1:7".parse().unwrap();
        new.ready(std::iter::once(address));
        assert!(await_ready(&old, &cancelled).is_ok_and(|claimed| claimed == [address]));
        new.failed("no luck");
        assert!(matches!(await_ready(&old, &cancelled), Err(Failure::Told(reason)) if reason == "no luck"));
        drop(new);
        assert!(matches!(await_ready(&old, &cancelled), Err(Failure::Silent)));
        let (old, _new) = pair().unwrap();
        drop(_cancel);
        assert!(matches!(await_ready(&old, &cancelled), Err(Failure::Cancelled)));
    }

    /// Goal: a process whose predecessor breaks off, or talks nonsense, does not start with half of the sockets.
    #[test]
    fn a_broken_handover_is_refused() {
        for message in
            ["socket own 127.0.0.1:7", "socket mine 127.0.0.1:7 127.0.0.1:7", "nonsense", "socket own a b"]
        {
            let (old, new) = pair().unwrap();
            send(&old, message, &[]).unwrap();
            assert!(inherit(&new).is_err(), "{message}");
        }
        let (old, new) = pair().unwrap();
        send(&old, "socket own 127.0.0.1:7 127.0.0.1:7", &[]).unwrap();
        drop(old);
        assert!(inherit(&new).is_err());
    }
}
