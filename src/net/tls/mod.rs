//! TLS on both sides: handshakes by monoio-rustls, the record layer here, over the non-blocking transport.
//!
//! ```text
//!  listener ─▶ handshake::accept ─┐                       ┌─ handshake::connect ◀─ exchange
//!                                 ├─▶ Socket + Session ◀┤
//!  everything above reads and writes plaintext ────────────┘
//! ```
//! Who may speak what, and with which certificate, is made by `control` and handed over in [`ServerTls`] and
//! [`OriginTls`]; nothing here reads a file.

pub mod certificates;
pub mod greeting;
pub mod handshake;
pub mod session;
pub mod subject;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{ClientConfig, ServerConfig};

use crate::config::Scheme;
use crate::limits;

pub use certificates::{Certificates, Names, Pair};
pub use session::Session;

/// The protocols that listeners offer by ALPN, best first.
#[must_use]
pub fn alpn(http2: bool) -> Vec<Vec<u8>> {
    let h2 = http2.then(|| b"h2".to_vec());
    h2.into_iter().chain([b"http/1.1".to_vec()]).collect()
}

/// The one protocol that an origin is offered: what the operator says it speaks.
#[must_use]
pub fn alpn_of_origin(scheme: Scheme) -> Vec<Vec<u8>> {
    vec![if scheme.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }]
}

/// How origins are spoken to with TLS: one configuration for each scheme in use.
#[derive(Clone, Debug, Default)]
pub struct OriginTls(pub Vec<(Scheme, Arc<ClientConfig>)>);

impl OriginTls {
    /// The configuration for `scheme`.
    #[must_use]
    pub fn of(&self, scheme: Scheme) -> Option<&Arc<ClientConfig>> {
        self.0.iter().find(|(known, _)| *known == scheme).map(|(_, config)| config)
    }

    /// A worker's own copy: its sessions are no other worker's lock.
    #[must_use]
    pub fn of_worker(&self) -> OriginTls {
        let copy = |config: &ClientConfig| {
            let mut config = config.clone();
            config.resumption = Resumption::in_memory_sessions(limits::TLS_UPSTREAM_SESSIONS);
            Arc::new(config)
        };
        OriginTls(self.0.iter().map(|(scheme, config)| (*scheme, copy(config))).collect())
    }
}

/// What listeners with TLS speak now; swapped in whole when certificates are loaded again.
#[derive(Debug)]
pub struct ServerTls {
    /// Versions, client certificates, tickets.
    pub config: Arc<ServerConfig>,
    /// The certificates that `config` chooses from.
    pub certificates: Arc<Certificates>,
}
