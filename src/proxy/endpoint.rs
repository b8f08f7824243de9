//! Endpoints: the addresses behind the operator's upstreams, as one immutable list.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use crate::config::{Origin, Scheme, Security, Upstream};

use super::balance::Member;

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One endpoint: an address, how it is spoken to, and its name for logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub address: Address,
    /// How it is spoken to.
    pub scheme: Scheme,
    /// The name its certificate has to be for, where it is spoken to with TLS.
    pub server_name: Option<Box<str>>,
    /// Scheme and address as text, made once; the scheme is left out where it is `http`.
    pub label: Box<str>,
}

impl Endpoint {
    /// The endpoint at `address`, spoken to in HTTP/1.1.
    #[must_use]
    pub fn new(address: Address) -> Endpoint {
        let label = address.to_string().into_boxed_str();
        Endpoint { address, scheme: Scheme::default(), server_name: None, label }
    }

    /// The endpoint of `upstream` at `address`.
    #[must_use]
    pub fn of(upstream: &Upstream, address: Address) -> Endpoint {
        let scheme = upstream.scheme;
        let plain = Endpoint::new(address);
        let label = match scheme.name() {
            "http" => plain.label,
            name => format!("{name}://{}", plain.label).into_boxed_str(),
        };
        let server_name = match (&upstream.origin, scheme.security) {
            (_, Security::Clear) | (Origin::Unix(_), _) => None,
            (Origin::Address(address), _) => Some(address.ip().to_string().into()),
            // RFC 6066 §3: SNI has no trailing dot.
            (Origin::Name { host, .. }, _) => Some(host.strip_suffix('.').unwrap_or(host).into()),
        };
        Endpoint { label, scheme, server_name, ..plain }
    }
}

/// The endpoints of a group, swapped in whole when names resolve differently. Empty while no name has resolved.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// Where they are, and how they are spoken to.
    pub list: Vec<Endpoint>,
    /// The same, as a balancer sees them, in the same order.
    pub members: Vec<Member>,
    /// Requests that wait for room at any of them, all workers together.
    pub waiting: Arc<AtomicU32>,
}

impl PartialEq for Endpoints {
    /// The same endpoints with the same shares, and not just others that are called the same.
    fn eq(&self, other: &Endpoints) -> bool {
        let same = |(a, b): (&Member, &Member)| a.weight == b.weight && Arc::ptr_eq(&a.state, &b.state);
        self.list == other.list && self.members.iter().zip(&other.members).all(same)
    }
}
