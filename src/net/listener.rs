//! Listening sockets: bound by the main thread before any worker starts, accepted from by every worker.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::Poll;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::config::{Listener, Service};
use crate::limits;
use crate::telemetry::metrics::Counter;
use crate::time::Timestamp;

use super::accepted;
use super::caller::Caller;
use super::shared::Lifecycle;
use super::socket::Socket as Connection;
use super::steer::Arrival;
use super::worker::{Hold, Worker};

/// A socket that clients are accepted from.
#[derive(Debug)]
pub struct Door {
    /// What its clients get.
    pub options: Arc<Listener>,
    /// Bound and listening.
    pub socket: OwnedFd,
    /// Somebody else holds the socket too, and accepts from it after us: when we stop, it stays open.
    pub kept: Arc<AtomicBool>,
}

/// Binds `workers` sockets to one address, so that the kernel spreads connections over them once they [`listen`]. Returns
/// the address with its real port.
///
/// # Errors
/// The address cannot be bound. A probe without SO_REUSEPORT comes first: with it, a second server on the
/// same address would silently share the first one's traffic.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<OwnedFd>)> {
    if address.port() != 0 {
        drop(socket(address, false)?);
    }
    let first = socket(address, true)?;
    let bound = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(socket(bound, true)?);
    }
    Ok((bound, sockets.into_iter().map(OwnedFd::from).collect()))
}

/// Binds one more socket to an address that sockets of [`bind`] have.
///
/// # Errors
/// Those who have it do not share it.
pub fn join(bound: SocketAddr) -> io::Result<OwnedFd> {
    socket(bound, true).map(OwnedFd::from)
}

/// Lets clients queue, from now on.
///
/// # Errors
/// Another program was faster.
pub fn listen(socket: &OwnedFd) -> io::Result<()> {
    if rustix::net::sockopt::socket_acceptconn(socket)? {
        return Ok(()); // with the backlog that its maker chose
    }
    SockRef::from(socket).listen(limits::LISTEN_BACKLOG)
}

/// Makes a socket that somebody else has bound what [`bind`] would have made of it. Returns its address.
///
/// # Errors
/// It is no TCP socket.
pub fn adopt(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let adopted = SockRef::from(socket);
    let not_tcp = || io::Error::new(io::ErrorKind::InvalidInput, "not a TCP socket");
    let bound = adopted.local_addr()?.as_socket().ok_or_else(not_tcp)?;
    adopted.set_tcp_nodelay(true).map_err(|_| not_tcp())?;
    adopted.set_nonblocking(true)?;
    adopted.set_cloexec(true)?;
    Ok(bound)
}

fn socket(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]:80` beside `0.0.0.0:80` are two listeners, not one that shadows the other.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    // Inherited by every accepted connection: no byte of a stream waits for another one (promise 1).
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// What one accept(2) came to.
enum Accepted {
    Connection(TcpStream, SocketAddr),
    /// The queue is empty.
    Empty,
    /// The connection died in the queue.
    Gone,
    /// No descriptor, no memory: try again later.
    Starved(io::Error),
}

/// What a batch of them came to.
enum Batch {
    /// The queue may hold more.
    More,
    /// The queue is empty.
    Empty,
    /// `--max-connections` are open.
    Full,
    /// Only time can cure it.
    Starved(io::Error),
}

/// Accepts until the process drains; then takes what is queued, so that no client who was let in is reset. What is queued
/// in a socket that is kept is for whoever keeps it.
pub async fn accept(worker: Hold, door: Door) {
    let Door { options, socket, kept } = door;
    let listener = TcpListener::from(socket);
    let Ok(polled) = listener.try_clone().and_then(monoio::net::TcpListener::from_std) else {
        tracing::error!("cannot watch a listener; the process has no descriptor left");
        return;
    };
    let mut quiet_until = Timestamp(0);
    loop {
        let running = wait_for_clients(&worker, &polled).await;
        fence(Ordering::Acquire); // with the release that moved the lifecycle on, after `kept` was set
        if !running && kept.load(Ordering::Relaxed) {
            return;
        }
        match accept_batch(&worker, &listener, &options) {
            Batch::Empty if !running => {
                // Closing would not be enough: the ring's poll holds the socket, and with it the port, until the
                // kernel has torn the ring down, some time after the process has gone.
                let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
                return;
            }
            Batch::Empty => {}
            // While the process drains, no wait for clients lets the others run.
            Batch::More if !running => worker.pause(limits::DRAIN_ACCEPT_PAUSE_MS).await,
            Batch::More => {}
            Batch::Full => {
                worker.metrics.add(Counter::AcceptPauses, 1);
                worker.pause(limits::CONNECTIONS_FULL_PAUSE_MS).await;
            }
            Batch::Starved(error) => {
                let now = worker.clock.refresh();
                if now >= quiet_until {
                    tracing::warn!(
                        %error,
                        "cannot accept connections for now: raise the limit of open files (`ulimit -n`), or lower \
                         --max-connections"
                    );
                    quiet_until = now.after(Some(Duration::from_millis(limits::WARNING_PAUSE_MS)));
                }
                worker.metrics.add(Counter::AcceptPauses, 1);
                // Those who are in need theirs: a client let in by taking the last of them could not be served.
                worker.views.evict(worker.holders());
                worker.pause(limits::ACCEPT_PAUSE_MS).await;
            }
        }
    }
}

/// Waits for a connection; false when the process drains instead.
async fn wait_for_clients(worker: &Worker, listener: &monoio::net::TcpListener) -> bool {
    let mut timer = worker.timers.timer();
    let mut readable = pin!(listener.readable(true));
    poll_fn(|cx| {
        if worker.shared.lifecycle() != Lifecycle::Running {
            return Poll::Ready(false);
        }
        // Armed for never: the drain wakes everybody who owns a timer.
        timer.arm(Timestamp::NEVER, cx);
        readable.as_mut().poll(cx).map(|_| true)
    })
    .await
}

fn accept_batch(worker: &Rc<Worker>, listener: &TcpListener, options: &Arc<Listener>) -> Batch {
    worker.clock.refresh();
    for accepted in 0..limits::ACCEPT_BATCH_MAX {
        // An accept(2) that finds nobody has made and destroyed a socket: some 4 µs, where asking costs 0.3.
        if accepted > 0 && !is_awaited(listener) {
            return Batch::Empty;
        }
        let Some(admission) = worker.shared.admit(worker.index) else { return Batch::Full };
        match accept_one(listener) {
            Accepted::Connection(stream, peer) => {
                let arrival = Arrival { stream, peer, admission, options: Arc::clone(options) };
                if let Some(arrival) = hand_over(worker, arrival)
                    && let Err(error) = serve(worker, arrival)
                {
                    return Batch::Starved(error);
                }
            }
            Accepted::Gone => {}
            Accepted::Empty => return Batch::Empty,
            Accepted::Starved(error) => return Batch::Starved(error),
        }
    }
    Batch::More
}

/// Hands a connection to a worker that has clearly fewer of them; `None` when it is gone.
fn hand_over(worker: &Worker, arrival: Arrival) -> Option<Arrival> {
    let crew = &worker.shared.crew;
    let Some(better) = crew.better_than(worker.index, &worker.excess, worker.clock.now()) else {
        return Some(arrival);
    };
    let refused = crew.hand_over(arrival, better).err();
    worker.metrics.add(Counter::ConnectionsHandedOver, u64::from(refused.is_none()));
    refused
}

/// Serves a connection as a task of its own.
///
/// # Errors
/// The runtime does not accept the descriptor.
pub fn serve(worker: &Rc<Worker>, arrival: Arrival) -> io::Result<()> {
    let Arrival { stream, peer, mut admission, options } = arrival;
    let connection = Connection::new(stream)?;
    let service = options.service;
    let caller = Caller::of(worker, &connection, peer);
    let serving = Rc::clone(worker);
    if caller.speaks_for_others(&options.accept_proxy) {
        let introduced = accepted::serve_introduced(serving, connection, caller, admission, service);
        worker.spawn_connection(introduced);
    } else if !admission.claim(&worker.views.latest(), caller.address.ip()) {
        worker.metrics.add(Counter::ConnectionsRefused, 1);
    } else if service == Service::Tls {
        worker.spawn_connection(accepted::serve_tls(serving, connection, caller, admission));
    } else {
        worker.spawn_connection(accepted::serve(serving, connection, caller, admission, service));
    }
    Ok(())
}

/// Somebody waits to be accepted.
fn is_awaited(listener: &TcpListener) -> bool {
    let mut polled = [PollFd::new(listener, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

fn accept_one(listener: &TcpListener) -> Accepted {
    match acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok((fd, peer)) => match peer.map(SocketAddr::try_from) {
            Some(Ok(peer)) => Accepted::Connection(TcpStream::from(fd), peer),
            Some(Err(_)) | None => Accepted::Gone,
        },
        // EINVAL: somebody else who holds the socket has shut it down; nobody will come.
        Err(Errno::AGAIN | Errno::INVAL) => Accepted::Empty,
        Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
            Accepted::Starved(error.into())
        }
        // Errors of the connection, not of the listener (accept(2)): ECONNABORTED, EPERM, ENETDOWN, ...
        Err(_) => Accepted::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a drain that empties a queue ends, even if somebody else who holds the socket has shut it down.
    #[test]
    fn a_queue_that_was_shut_down_is_empty() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        assert!(matches!(accept_one(&listener), Accepted::Empty));
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        assert!(matches!(accept_one(&listener), Accepted::Empty));
    }
}
