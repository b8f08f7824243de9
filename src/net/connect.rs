//! Opening a connection to an endpoint: a direct non-blocking `connect(2)`, then a ring poll.

use std::io;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};

use crate::proxy::endpoint::Address;
use crate::proxy::error::Failure;
use crate::time::Phase;

use super::socket::Socket;

/// A connection that stands, or is on its way.
#[derive(Debug)]
pub enum Begun {
    /// It stands.
    Connected(Socket),
    /// Wait until it is writable, then ask [`Socket::connect_result`].
    Pending(Socket),
}

/// Begins to connect to `address`.
///
/// # Errors
/// The attempt failed at once.
pub fn begin(address: &Address) -> io::Result<Begun> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (fd, begun) = match address {
        Address::Tcp(to) => {
            let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let fd = socket_with(family, SocketType::STREAM, flags, None)?;
            // No byte of a stream may wait for another one (promise 1).
            sockopt::set_tcp_nodelay(&fd, true)?;
            let begun = connect(&fd, to);
            (fd, begun)
        }
        Address::Unix(path) => {
            let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            let begun = connect(&fd, &SocketAddrUnix::new(path.as_path())?);
            (fd, begun)
        }
    };
    let transport = Socket::new(fd)?;
    match begun {
        Ok(()) => Ok(Begun::Connected(transport)),
        Err(Errno::INPROGRESS) => Ok(Begun::Pending(transport)),
        Err(error) => Err(error.into()),
    }
}

/// What a failed connection attempt means.
#[must_use]
pub fn failure(error: &io::Error) -> Failure {
    match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED | Errno::CONNRESET) => Failure::ConnectRefused,
        Some(Errno::TIMEDOUT) => Failure::Timeout(Phase::Connect),
        // EAGAIN: the backlog of a Unix socket is full.
        Some(Errno::AGAIN) => Failure::Exhausted,
        _ if is_ours(error) => Failure::Exhausted,
        _ => Failure::Unreachable,
    }
}

/// Whether something of ours has run out, and says nothing of the endpoint.
#[must_use]
pub fn is_ours(error: &io::Error) -> bool {
    // EADDRNOTAVAIL: no local port is left.
    lacks_descriptor(error) || Errno::from_io_error(error) == Some(Errno::ADDRNOTAVAIL)
}

/// Whether descriptors or memory have run out: who closes connections can cure it.
#[must_use]
pub fn lacks_descriptor(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}
