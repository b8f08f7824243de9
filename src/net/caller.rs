//! Who a connection is from: its peer, or the client that its peer names in a PROXY header.
//!
//! A header is peeked at, and only what is known to belong to it is taken out of the socket. What stands behind it, a
//! ClientHello or a request, is still there for whoever serves the connection, in the same way as without a header.
//! Taking what belongs to an incomplete header matters: while bytes wait, the socket stays readable.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;

use ipnet::IpNet;

use crate::limits;
use crate::proxy::proxy_protocol::{self, Ends, Parsed};
use crate::telemetry::metrics::Counter;
use crate::time::Phase;

use super::socket::Socket;
use super::worker::Worker;

/// Who a connection is from.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its address.
    pub address: SocketAddr,
    /// What it connected to; known where `--send-proxy` passes it on.
    reached: Option<Rc<SocketAddr>>,
}

impl Caller {
    /// The peer of a connection that has just been accepted.
    #[must_use]
    pub fn of(worker: &Worker, socket: &Socket, peer: SocketAddr) -> Caller {
        let passed_on = worker.views.latest().passes_callers_on;
        let reached = passed_on.then(|| socket.local_address()).flatten();
        Caller { address: canonical(peer), reached: reached.map(canonical).map(Rc::new) }
    }

    /// Its connections have to begin with a PROXY header (`--accept-proxy`).
    #[must_use]
    pub fn speaks_for_others(&self, accept_proxy: &[IpNet]) -> bool {
        accept_proxy.iter().any(|net| net.contains(&self.address.ip()))
    }

    /// Both ends of the connection, for a header of ours.
    #[must_use]
    pub fn ends(&self) -> Ends {
        let nowhere = match self.address.ip() {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let destination = self.reached.as_deref().copied().unwrap_or(SocketAddr::new(nowhere, 0));
        Ends { source: self.address, destination }
    }

    fn named(self, worker: &Worker, ends: Option<Ends>) -> Caller {
        let Some(ends) = ends else { return self };
        let passed_on = worker.views.latest().passes_callers_on;
        Caller {
            address: canonical(ends.source),
            reached: passed_on.then(|| Rc::new(canonical(ends.destination))),
        }
    }
}

/// `::ffff:192.0.2.1` is an IPv4 client.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Reads the PROXY header that `socket` has to begin with, under `--handshake-timeout`; whom it names. `None` when there
/// is none, or it is late.
pub async fn introduce(worker: &Worker, socket: &mut Socket, caller: Caller) -> Option<Caller> {
    let at = worker.clock.now().after(worker.views.latest().config.timeouts.handshake);
    let reading = pin!(read_header(socket));
    match worker.within(at, Phase::Handshake, reading).await? {
        Ok(ends) => Some(caller.named(worker, ends)),
        Err(error) => {
            worker.metrics.add(Counter::ProxyHeaderFailures, 1);
            tracing::debug!(peer = %caller.address, %error, "a connection did not begin with a PROXY header");
            None
        }
    }
}

async fn read_header(socket: &mut Socket) -> io::Result<Option<Ends>> {
    let mut header = [0; limits::PROXY_HEADER_BYTES_MAX];
    let mut taken = 0;
    loop {
        poll_fn(|cx| socket.poll_readable(cx)).await;
        let arrived = match socket.try_peek(header.get_mut(taken..).unwrap_or_default())? {
            None => continue,
            Some(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Some(n) => taken + n,
        };
        let bytes = header.get(..arrived).unwrap_or_default();
        let parsed = proxy_protocol::parse(bytes).map_err(io::Error::other)?;
        let end = match parsed {
            Parsed::Partial => arrived,
            Parsed::Complete { consumed, .. } => consumed,
        };
        let part = header.get_mut(taken..end).unwrap_or_default();
        if socket.try_read(part)? != Some(end - taken) {
            return Err(io::Error::other("bytes that had arrived are gone"));
        }
        socket.yield_read();
        taken = end;
        if let Parsed::Complete { ends, .. } = parsed {
            return Ok(ends);
        }
    }
}
