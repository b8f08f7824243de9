//! Listening sockets of the process: bound, or taken over from whoever had them bound before us.
//!
//! Each address has one socket per worker, and the kernel spreads connections over them. A connection waits in the queue
//! of one of them, and goes down with it: so sockets are handed from process to process and never bound anew while
//! somebody may be queued. Where the number of workers has changed since, sockets are added, or a worker has several;
//! sockets of a service manager are as many as it made, and workers share them.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::config::{Config, Service};
use crate::limits;
use crate::net::listener::{self, Door};

use super::admin;
use super::start_error::StartError;

/// The sockets of one address, as they pass from one process to the next.
#[derive(Debug)]
pub struct Handed {
    /// The address as configured; its port may be 0.
    pub asked: SocketAddr,
    /// The address of the sockets.
    pub bound: SocketAddr,
    /// They belong to a service manager, which goes on with them when we are gone.
    pub foreign: bool,
    /// One per worker, unless they are foreign.
    pub sockets: Vec<OwnedFd>,
}

/// Sockets that were handed to this process, until they are claimed.
#[derive(Debug, Default)]
pub struct Inheritance(Vec<Handed>);

impl Inheritance {
    /// Sockets of the process or the service manager before us.
    #[must_use]
    pub fn new(handed: Vec<Handed>) -> Inheritance {
        Inheritance(handed)
    }

    /// Those for the address `asked`: configured in the same words, or bound to it.
    fn claim(&mut self, asked: SocketAddr) -> Option<Handed> {
        let place = self.0.iter().position(|handed| handed.asked == asked);
        let place = place.or_else(|| self.0.iter().position(|handed| handed.bound == asked));
        place.map(|place| self.0.remove(place))
    }

    /// Says what nobody has claimed.
    pub fn report_rest(&self) {
        for Handed { bound, foreign, .. } in &self.0 {
            match foreign {
                true => tracing::warn!(
                    "the service manager passed a socket on {bound}, which is no address of --listen, --tls-listen, \
                     --http-redirect or --admin: it is not used"
                ),
                false => tracing::warn!(
                    "no longer listening on {bound}: the configuration does not name it any more"
                ),
            }
        }
    }
}

/// One address of this process, and what it takes to hand it on.
#[derive(Debug)]
struct Holding {
    handed: Handed,
    /// See [`Door::kept`].
    kept: Arc<AtomicBool>,
}

/// A second descriptor of every listening socket: what a successor will be given.
#[derive(Debug, Default)]
pub struct Estate(Vec<Holding>);

impl Estate {
    /// A copy for a successor.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn copy(&self) -> std::io::Result<Vec<Handed>> {
        self.0.iter().map(|holding| holding.handed.copy()).collect()
    }

    /// A successor accepts from the sockets of `bound` from now on.
    pub fn keep(&self, bound: SocketAddr) {
        for holding in self.0.iter().filter(|holding| holding.handed.bound == bound) {
            holding.kept.store(true, Ordering::Relaxed);
        }
    }

    /// Addresses, as bound.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().map(|holding| holding.handed.bound)
    }
}

impl Handed {
    fn copy(&self) -> std::io::Result<Handed> {
        let sockets: Result<_, _> =
            self.sockets.iter().map(|socket| socket.as_fd().try_clone_to_owned()).collect();
        Ok(Handed { sockets: sockets?, ..*self })
    }
}

/// Every socket that the configuration asks for.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Addresses of the proxy, with their real ports.
    pub addresses: Vec<(Service, SocketAddr)>,
    /// Each worker's.
    pub doors: Vec<Vec<Door>>,
    /// Those of `--admin`.
    pub admin: Vec<admin::Bound>,
    /// All of them.
    pub estate: Estate,
}

impl Sockets {
    /// Takes over what was handed down, and binds the rest. Nobody queues in a new socket yet.
    ///
    /// # Errors
    /// An address cannot be bound.
    pub fn open(config: &Config, workers: usize, mut heir: Inheritance) -> Result<Sockets, StartError> {
        let mut sockets = Sockets { doors: (0..workers).map(|_| Vec::new()).collect(), ..Sockets::default() };
        for listener in &config.listeners {
            let all: Vec<SocketAddr> = config.addresses(listener.service).collect();
            let Some(handed) = obtain(listener.address, &all, workers, &mut heir)? else { continue };
            sockets.addresses.push((listener.service, handed.bound));
            let options = Arc::new(listener.clone());
            let shares = share_out(&handed, workers)?;
            let kept = sockets.hold(handed);
            for (index, socket) in shares {
                let door = Door { options: Arc::clone(&options), socket, kept: Arc::clone(&kept) };
                if let Some(doors) = sockets.doors.get_mut(index) {
                    doors.push(door);
                }
            }
        }
        for address in &config.admin {
            let Some(handed) = obtain(*address, &config.admin, 1, &mut heir)? else { continue };
            for (_, socket) in share_out(&handed, 1)? {
                sockets.admin.push((handed.bound, socket));
            }
            sockets.hold(handed);
        }
        heir.report_rest();
        Ok(sockets)
    }

    fn hold(&mut self, handed: Handed) -> Arc<AtomicBool> {
        let kept = Arc::new(AtomicBool::new(handed.foreign));
        self.estate.0.push(Holding { handed, kept: Arc::clone(&kept) });
        kept
    }

    /// Lets clients queue, now that nothing can fail any more.
    ///
    /// # Errors
    /// Another program has one of the addresses after all.
    pub fn listen(estate: &Estate) -> Result<(), StartError> {
        for Handed { bound, sockets, .. } in estate.0.iter().map(|holding| &holding.handed) {
            for socket in sockets {
                listener::listen(socket).map_err(|error| StartError::Bind { address: *bound, error })?;
            }
        }
        Ok(())
    }
}

/// The sockets of `address`, one of `all`; `None` if it is one that this host can do without.
fn obtain(
    address: SocketAddr,
    all: &[SocketAddr],
    workers: usize,
    heir: &mut Inheritance,
) -> Result<Option<Handed>, StartError> {
    if let Some(handed) = heir.claim(address) {
        return complete(Handed { asked: address, ..handed }, workers).map(Some);
    }
    match bind_patiently(address, workers) {
        Ok((bound, sockets)) => Ok(Some(Handed { asked: address, bound, foreign: false, sockets })),
        Err(error) if is_missing_ipv6(all, address, &error) => {
            tracing::warn!("this host has no IPv6: not listening on {address}");
            Ok(None)
        }
        Err(error) => Err(StartError::Bind { address, error }),
    }
}

/// Adopts the sockets, and adds one for each worker that has none.
fn complete(mut handed: Handed, workers: usize) -> Result<Handed, StartError> {
    let bound = handed.bound;
    for socket in &handed.sockets {
        listener::adopt(socket).map_err(|error| StartError::Bind { address: bound, error })?;
    }
    while !handed.foreign && handed.sockets.len() < workers {
        match listener::join(bound) {
            Ok(socket) => handed.sockets.push(socket),
            Err(error) => {
                tracing::warn!(%error, "no socket on {bound} for each worker: they share {}", handed.sockets.len());
                break;
            }
        }
    }
    Ok(handed)
}

/// Descriptors for the workers, each with the number of the worker it is for: every socket has a worker, and every
/// worker a socket.
fn share_out(handed: &Handed, workers: usize) -> Result<Vec<(usize, OwnedFd)>, StartError> {
    let sockets = &handed.sockets;
    let shares = (0..workers.max(sockets.len())).zip(sockets.iter().cycle());
    let share = |(number, socket): (usize, &OwnedFd)| {
        let socket = socket.as_fd().try_clone_to_owned();
        let socket = socket.map_err(|error| StartError::Bind { address: handed.bound, error })?;
        Ok((number % workers.max(1), socket))
    };
    shares.map(share).collect()
}

/// Binds, waiting a moment for a port that a process killed just now still seems to hold: the kernel tears its
/// rings, and with them its listening sockets, down behind its back.
fn bind_patiently(address: SocketAddr, workers: usize) -> std::io::Result<(SocketAddr, Vec<OwnedFd>)> {
    let give_up = Instant::now() + Duration::from_millis(limits::BIND_PATIENCE_MS);
    loop {
        match listener::bind(address, workers) {
            Err(error)
                if Errno::from_io_error(&error) == Some(Errno::ADDRINUSE) && Instant::now() < give_up =>
            {
                std::thread::sleep(Duration::from_millis(limits::BIND_RETRY_MS));
            }
            bound => return bound,
        }
    }
}

/// `--listen :80` means both families; on a host without IPv6 the other one is enough.
fn is_missing_ipv6(all: &[SocketAddr], address: SocketAddr, error: &std::io::Error) -> bool {
    let twin = SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, address.port()));
    Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT)
        && address.ip() == std::net::Ipv6Addr::UNSPECIFIED
        && all.contains(&twin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(asked: &str, workers: usize) -> Handed {
        let asked = asked.parse().unwrap();
        let (bound, sockets) = listener::bind(asked, workers).unwrap();
        Handed { asked, bound, foreign: false, sockets }
    }

    /// Goal: no socket without a worker, no worker without a socket, whatever their numbers.
    #[test]
    fn every_socket_has_a_worker_and_every_worker_a_socket() {
        for (sockets, workers) in [(1, 1), (1, 3), (3, 1), (2, 3), (3, 2), (4, 4)] {
            let handed = handed("127.0.0.1:0", sockets);
            let shares = share_out(&handed, workers).unwrap();
            assert_eq!(shares.len(), sockets.max(workers));
            for worker in 0..workers {
                assert!(
                    shares.iter().any(|(of, _)| *of == worker),
                    "{sockets} for {workers}: none for {worker}"
                );
            }
        }
    }

    /// Goal: a process with more workers adds sockets to those it was handed, and only then.
    #[test]
    fn sockets_are_added_for_more_workers() {
        assert_eq!(complete(handed("127.0.0.1:0", 1), 3).unwrap().sockets.len(), 3);
        assert_eq!(complete(handed("127.0.0.1:0", 3), 2).unwrap().sockets.len(), 3);
        let foreign = Handed { foreign: true, ..handed("127.0.0.1:0", 1) };
        assert_eq!(complete(foreign, 3).unwrap().sockets.len(), 1);
    }

    /// Goal: addresses find their sockets: by their words where the port is 0, each group once, and by what they are.
    #[test]
    fn addresses_find_their_sockets() {
        let groups = [handed("127.0.0.1:0", 1), handed("127.0.0.1:0", 1), handed("127.0.0.2:0", 1)];
        let bound: Vec<_> = groups.iter().map(|group| group.bound).collect();
        let mut heir = Inheritance::new(groups.into());
        let any = "127.0.0.1:0".parse().unwrap();
        assert_eq!(heir.claim(bound[2]).unwrap().bound, bound[2]);
        let first = heir.claim(any).unwrap().bound;
        let second = heir.claim(any).unwrap().bound;
        assert_eq!([first, second], bound[..2]);
        assert!(heir.claim(any).is_none());
    }
}
