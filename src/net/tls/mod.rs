//! TLS on both sides: handshakes by monoio-rustls, the record layer here, over the non-blocking transport.
//!
//! ```text
//!  listener ─▶ handshake::accept ─┐                       ┌─ handshake::connect ◀─ exchange
//!                                 ├─▶ Socket + Session ◀┤
//!  everything above reads and writes plaintext ────────────┘
//! ```
//! Who may speak what, and with which certificate, is made by `control` and handed over in [`ServerTls`] and a
//! rustls `ClientConfig`; nothing here reads a file.

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

use crate::limits;

pub use certificates::{Certificates, Names, Pair};
pub use session::Session;

/// The protocols that listeners offer by ALPN, best first.
#[must_use]
pub fn alpn() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

/// The protocol that origins behind `https://` are offered.
#[must_use]
pub fn alpn_http1() -> Vec<Vec<u8>> {
    vec![b"http/1.1".to_vec()]
}

/// A worker's own copy of how origins are spoken to: its sessions are no other worker's lock.
#[must_use]
pub fn of_worker(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.resumption = Resumption::in_memory_sessions(limits::TLS_UPSTREAM_SESSIONS);
    Arc::new(config)
}

/// What listeners with TLS speak now; swapped in whole when certificates are loaded again.
#[derive(Debug)]
pub struct ServerTls {
    /// Versions, client certificates, tickets.
    pub config: Arc<ServerConfig>,
    /// The certificates that `config` chooses from.
    pub certificates: Arc<Certificates>,
}
