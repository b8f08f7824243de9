//! TLS below a load: one cipher suite and one key exchange, so that every proxy does the same cryptography, and
//! handshakes that are all full or all resumed.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, NamedGroup, RootCertStore};

/// Whom the certificate of every proxy is for, and what every request names.
const SERVER: &str = "bench.test";
/// Tickets that are kept; more than any load has connections at once and each brings.
const TICKETS_MAX: usize = 4096;

/// Makes the sessions of all connections.
pub struct Connector {
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
    wanted: HandshakeKind,
}

/// How many handshakes were what was wanted, and how many were not.
#[derive(Default, Clone, Copy)]
pub struct Handshakes {
    /// Full, or resumed, as wanted.
    pub right: u64,
    /// The other kind.
    pub wrong: u64,
}

/// TLS of one connection. Bytes to send gather inside until they are taken.
pub struct Session {
    connection: ClientConnection,
    wanted: HandshakeKind,
    counted: bool,
}

impl Connector {
    /// Sessions that trust the certificate in this file and nobody else.
    ///
    /// # Errors
    /// When there is no such certificate.
    pub fn new(certificate: &str, resumed: bool) -> Result<Self, String> {
        let told = |error: &dyn std::fmt::Display| format!("{certificate}: {error}");
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(certificate).map_err(|error| told(&error))?;
        roots.add(root).map_err(|error| told(&error))?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| told(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption =
            if resumed { Resumption::store(Arc::new(Tickets::default())) } else { Resumption::disabled() };
        let wanted = if resumed { HandshakeKind::Resumed } else { HandshakeKind::Full };
        let server = ServerName::try_from(SERVER).map_err(|error| told(&error))?;
        Ok(Self { config: Arc::new(config), server, wanted })
    }

    /// The session of a new connection.
    ///
    /// # Errors
    /// When rustls has none to give.
    pub fn session(&self) -> io::Result<Session> {
        let mut connection =
            ClientConnection::new(Arc::clone(&self.config), self.server.clone()).map_err(io::Error::other)?;
        connection.set_buffer_limit(None);
        Ok(Session { connection, wanted: self.wanted, counted: false })
    }
}

/// Tickets of the one server there is. The store of rustls keeps 8 per server: too few when many connections have
/// theirs at once and only then use them.
#[derive(Debug, Default)]
struct Tickets(Mutex<VecDeque<Tls13ClientSessionValue>>);

impl ClientSessionStore for Tickets {
    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tickets.len() >= TICKETS_MAX {
            tickets.pop_front();
        }
        tickets.push_back(ticket);
    }

    /// The latest one, once: RFC 8446 appendix C.4 wants no ticket used twice.
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_back()
    }

    // There is one key exchange to choose from, and TLS 1.3 alone.
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
}

/// What browsers offer first and every peer has by default.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![ring::kx_group::X25519],
        ..ring::default_provider()
    }
}

impl Session {
    /// Takes bytes to send; before the end of the handshake they wait.
    ///
    /// # Errors
    /// When the session is over.
    pub fn encrypt(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.connection.writer().write_all(bytes)
    }

    /// What is to be sent now; empty when nothing is.
    ///
    /// # Errors
    /// None that are known: it writes to memory.
    pub fn output(&mut self) -> io::Result<Vec<u8>> {
        let mut output = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut output)?;
        }
        Ok(output)
    }

    /// Takes what was received and gives its plaintext to `into`, which must have room for that much and one record.
    /// Returns its length.
    ///
    /// # Errors
    /// When the other side broke the protocol, its certificate is not ours, or there was no room: plaintext left
    /// behind would wait for bytes that may never come.
    pub fn decrypt(
        &mut self,
        mut bytes: &[u8],
        into: &mut [u8],
        handshakes: &mut Handshakes,
    ) -> io::Result<usize> {
        let mut filled = 0;
        while !bytes.is_empty() {
            self.connection.read_tls(&mut bytes)?;
            let state = self.connection.process_new_packets().map_err(io::Error::other)?;
            let due = state.plaintext_bytes_to_read();
            if due > 0 {
                let room = into.get_mut(filled..filled + due).ok_or(io::ErrorKind::OutOfMemory)?;
                self.connection.reader().read_exact(room)?;
                filled += due;
            }
        }
        self.count(handshakes);
        Ok(filled)
    }

    /// Counts the handshake, once, when it is done.
    fn count(&mut self, handshakes: &mut Handshakes) {
        if self.counted || self.connection.is_handshaking() {
            return;
        }
        self.counted = true;
        match self.connection.handshake_kind() == Some(self.wanted) {
            true => handshakes.right += 1,
            false => handshakes.wrong += 1,
        }
    }
}
