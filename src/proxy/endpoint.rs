//! Endpoints: the addresses behind the operator's upstreams, as one immutable list.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

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

/// One endpoint: an address and its name for logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub address: Address,
    /// The address as text, made once.
    pub label: Box<str>,
    /// The name its certificate has to be for, where it is spoken to with TLS.
    pub server_name: Option<Box<str>>,
}

impl Endpoint {
    /// The endpoint at `address`.
    #[must_use]
    pub fn new(address: Address) -> Endpoint {
        let label = address.to_string().into_boxed_str();
        Endpoint { address, label, server_name: None }
    }

    /// The endpoint of `host` at `address`, spoken to with TLS.
    #[must_use]
    pub fn secure(address: Address, host: &str) -> Endpoint {
        let label = format!("https://{address}").into_boxed_str();
        let name = host.strip_suffix('.').unwrap_or(host); // RFC 6066 §3: SNI has no trailing dot
        Endpoint { address, label, server_name: Some(name.into()) }
    }
}

/// All endpoints, swapped in whole when names resolve differently. Empty while no name has resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints(pub Vec<Endpoint>);
