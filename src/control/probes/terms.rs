//! The words that the files of a probe share: what is probed, under which name, and what comes of it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use thiserror::Error;

use crate::config::ProxyVersion;
use crate::config::group::Check;
use crate::h1::HeadError;
use crate::proxy::endpoint::Endpoint;
use crate::proxy::health::EndpointState;

/// What probes call themselves.
pub const USER_AGENT: &str = "ringress-probe";

/// What is probed, and how.
#[derive(Debug)]
pub struct Target {
    /// The group, for the log.
    pub group: Box<str>,
    /// Where it is.
    pub endpoint: Endpoint,
    /// What is done.
    pub check: Check,
    /// Connections begin with a PROXY header.
    pub send_proxy: Option<ProxyVersion>,
    /// Who is told.
    pub state: Arc<EndpointState>,
}

impl PartialEq for Target {
    fn eq(&self, other: &Target) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
            && self.endpoint == other.endpoint
            && self.check == other.check
            && self.send_proxy == other.send_proxy
    }
}

/// Ends a connection once everybody knows what came of the probe; nothing depends on it.
pub type Closing = Pin<Box<dyn Future<Output = ()>>>;

/// The endpoint did all that was asked of it.
pub struct Answer {
    /// It is not well all the same: its status says so.
    pub bad: Option<Bad>,
    /// To part with it.
    pub closing: Closing,
}

/// Why a probe was bad.
#[derive(Debug, Error)]
pub enum Bad {
    /// This process has no descriptor, port or memory left: nothing was learned of the endpoint.
    #[error("{0}")]
    Ours(io::Error),
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// No TLS.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// TLS, but not HTTP/2 behind it.
    #[error("TLS: HTTP/2 was not agreed on")]
    Alpn,
    /// The connection broke.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// It ended before a response.
    #[error("closed without a response")]
    Closed,
    /// What came is no response, or one that traffic would be refused for.
    #[error("no valid response: {0}")]
    Head(#[from] HeadError),
    /// The same in HTTP/2.
    #[error("HTTP/2: {0}")]
    Http2(#[from] h2::Error),
    /// Host or path cannot be written in HTTP/2.
    #[error("HTTP/2: {0}")]
    Request(#[from] http::Error),
    /// Another status than expected.
    #[error("status {0}")]
    Status(u16),
    /// Not within the timeout.
    #[error("no answer in time")]
    Late,
}
