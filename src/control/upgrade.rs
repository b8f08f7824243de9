//! `ringress upgrade`: has a running server replaced, and waits for what comes of it.
//!
//! The order is SIGUSR2, as from anybody else, so the right to give it is the right to send signals. A signal has no
//! answer; but it says who sent it, and the server reports to the abstract socket that is named after that process, if
//! there is one. Whoever it is that connects there, the kernel says which process it is: nobody else is believed.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::flags::Running;
use crate::limits;

/// How the server begins its answer, before the id of its successor.
const DONE: &str = "done ";
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = limits::HANDOVER_MESSAGE_BYTES as u64;

fn name(asking: u32) -> String {
    format!("ringress-upgrade/{asking}")
}

// ----- the server's side

/// Tells the process that asked for an upgrade what came of it, if it wants to know. Never waits for it.
pub fn answer(asking: Option<u32>, outcome: &Result<u32, String>) {
    let Some(asking) = asking else { return };
    let text = match outcome {
        Ok(successor) => format!("{DONE}{successor}"),
        Err(reason) => reason.clone(),
    };
    if let Ok(mut stream) = connect_to(asking) {
        let _ = stream.write_all(text.as_bytes());
    }
}

fn connect_to(asking: u32) -> rustix::io::Result<UnixStream> {
    let address = SocketAddrUnix::new_abstract_name(name(asking).as_bytes())?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &address)?;
    Ok(UnixStream::from(socket))
}

// ----- the side of the command line

/// Asks the server to have itself replaced. Returns what to print when it was.
///
/// # Errors
/// It was not, and why.
pub fn ask(running: &Running) -> Result<String, String> {
    let pid = process_id(running)?;
    let gone = |error| format!("process {pid}: {error}");
    let server = Pid::from_raw(pid.cast_signed()).ok_or("0 is no process")?;
    let server = pidfd_open(server, PidfdFlags::empty()).map_err(gone)?;
    if !catches_the_signal(pid) {
        // It would end.
        return Err(format!(
            "process {pid} is no ringress that serves: it has another name, or does not listen to SIGUSR2"
        ));
    }
    let address = SocketAddr::from_abstract_name(name(std::process::id()));
    let answers = address.and_then(|address| UnixListener::bind_addr(&address));
    let answers = answers.map_err(|error| format!("cannot wait for an answer: {error}"))?;
    pidfd_send_signal(&server, Signal::USR2).map_err(gone)?;
    let deadline = Instant::now() + Duration::from_millis(limits::HANDOVER_MS + limits::HANDOVER_READ_MS);
    let answer = wait(pid, &server, &answers, deadline)?;
    match answer.strip_prefix(DONE) {
        Some(successor) => Ok(format!("process {pid} drains; process {successor} has taken over\n")),
        None => Err(format!("process {pid} goes on as before: {answer}")),
    }
}

fn process_id(running: &Running) -> Result<u32, String> {
    match running {
        Running::Process(pid) => Ok(*pid),
        Running::File(file) => {
            let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            text.trim().parse().map_err(|_| format!("{} names no process", file.display()))
        }
    }
}

/// Whether a handler for SIGUSR2 is installed (proc_pid_status(5)): signal 12 is bit 11.
fn catches_the_signal(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let named = status.lines().find_map(|line| line.strip_prefix("Name:"));
    caught & (1 << 11) != 0 && named.is_some_and(|name| name.trim().starts_with("ringress"))
}

fn wait(pid: u32, server: &OwnedFd, answers: &UnixListener, deadline: Instant) -> Result<String, String> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(answers, PollFlags::IN), PollFd::new(server, PollFlags::IN)];
        match poll(&mut fds, left.try_into().ok().as_ref()) {
            Ok(0) => return Err(format!("no answer from process {pid}; its log says what became of it")),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.to_string()),
        }
        let [answered, ended] = fds.map(|fd| !fd.revents().is_empty());
        if answered
            && let Ok((stream, _)) = answers.accept()
            && let Some(answer) = believe(&stream, pid, left)
        {
            return Ok(answer);
        } else if ended && !answered {
            return Err(format!("process {pid} has ended without an answer"));
        }
    }
}

/// What the server says; `None` if it is not the server.
fn believe(stream: &UnixStream, pid: u32, patience: Duration) -> Option<String> {
    let peer = socket_peercred(stream.as_fd()).ok()?;
    if peer.pid.as_raw_nonzero().get().cast_unsigned() != pid {
        return None;
    }
    stream.set_read_timeout(Some(patience.max(Duration::from_millis(1)))).ok()?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).ok()?;
    Some(answer)
}
