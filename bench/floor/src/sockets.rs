//! What all modes share: the listener, how a pair of connections comes to be, and the table of their sides.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

/// The number that stands for the listener where sides have theirs.
pub const LISTENER: usize = (1 << 48) - 1;
/// A number that no side has.
pub const NOBODY: usize = LISTENER - 1;
/// Length of the accept queue, as for the peers.
const BACKLOG: i32 = 4096;

/// The listener, and whom to connect to for each client.
pub struct Door {
    /// Does not block. What it accepts does: calls say `DONTWAIT` where they mean it, and a send in the ring waits by
    /// itself on a blocking socket alone.
    pub listener: OwnedFd,
    origin: SocketAddrV4,
}

impl Door {
    /// Listens on a port of 127.0.0.1.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn open(port: u16, origin: u16) -> io::Result<Self> {
        let listener = socket(SocketFlags::NONBLOCK)?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        // Accepted connections inherit this.
        sockopt::set_tcp_nodelay(&listener, true)?;
        net::bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
        net::listen(&listener, BACKLOG)?;
        Ok(Self { listener, origin: SocketAddrV4::new(Ipv4Addr::LOCALHOST, origin) })
    }

    /// A client and its connection to the origin; `None` when nobody waits.
    ///
    /// The connect blocks, which takes no time on a loopback whose accept queue has room.
    ///
    /// # Errors
    /// When descriptors run out or the origin has gone.
    pub fn next(&self) -> io::Result<Option<[OwnedFd; 2]>> {
        loop {
            match net::accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(client) => {
                    let upstream = socket(SocketFlags::empty())?;
                    sockopt::set_tcp_nodelay(&upstream, true)?;
                    net::connect(&upstream, &self.origin)?;
                    return Ok(Some([client, upstream]));
                }
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn socket(flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(net::socket_with(AddressFamily::INET, SocketType::STREAM, flags | SocketFlags::CLOEXEC, None)?)
}

/// Reads what is there: `None` when nothing is, `Some(0)` at the end or when the connection is lost.
pub fn recv(fd: &OwnedFd, into: &mut [u8]) -> Option<usize> {
    match net::recv(fd, into, RecvFlags::DONTWAIT) {
        Ok((count, _)) => Some(count),
        Err(Errno::AGAIN | Errno::INTR) => None,
        Err(_) => Some(0),
    }
}

/// Sends what there is room for: how much, or `None` when the connection is lost.
pub fn send(fd: &OwnedFd, bytes: &[u8]) -> Option<usize> {
    match net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(count) => Some(count),
        Err(Errno::AGAIN | Errno::INTR) => Some(0),
        Err(_) => None,
    }
}

/// Ends both directions, which completes every operation in the ring that waits for this connection. Closing the
/// descriptor would not: the operation has its own reference.
pub fn shutdown(fd: &OwnedFd) {
    // It fails when the connection has been reset, and then there is nothing left to end.
    let _ = net::shutdown(fd, net::Shutdown::Both);
}

/// The other side of a pair.
#[must_use]
pub fn peer(id: usize) -> usize {
    id ^ 1
}

/// The sides of all pairs: a pair has two neighbouring numbers, which are free again when both sides have gone.
pub struct Table<S> {
    sides: Vec<Option<S>>,
    free: Vec<usize>,
}

impl<S> Table<S> {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self { sides: Vec::new(), free: Vec::new() }
    }

    /// Adds a pair and returns the number of its first side.
    pub fn insert(&mut self, pair: [S; 2]) -> usize {
        let id = self.free.pop().unwrap_or(self.sides.len());
        if id == self.sides.len() {
            self.sides.extend(pair.map(Some));
        } else {
            for (slot, side) in self.sides.iter_mut().skip(id).zip(pair) {
                *slot = Some(side);
            }
        }
        id
    }

    /// A side that is still there.
    pub fn side(&mut self, id: usize) -> Option<&mut S> {
        self.sides.get_mut(id)?.as_mut()
    }

    /// Removes a side.
    pub fn remove(&mut self, id: usize) {
        if self.sides.get_mut(id).and_then(Option::take).is_some() && self.side(peer(id)).is_none() {
            self.free.push(id & !1);
        }
    }
}
