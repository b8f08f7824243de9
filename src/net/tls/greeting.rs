//! What a client's handshake said of it: shared by everything that the connection carries.

use std::sync::Arc;

use rustls::Connection;

use super::certificates::{Certificates, host_of};

/// A client's handshake, remembered.
#[derive(Debug)]
pub struct Greeting {
    certificates: Arc<Certificates>,
    sni: Option<Box<str>>,
    subject: Option<Box<str>>,
}

impl Greeting {
    /// What `connection`, whose handshake has ended, was told. `subject` is that of a verified client certificate.
    #[must_use]
    pub fn of(
        connection: &Connection,
        certificates: Arc<Certificates>,
        subject: Option<Box<str>>,
    ) -> Greeting {
        let sni = match connection {
            Connection::Server(server) => server.server_name().map(Into::into),
            Connection::Client(_) => None,
        };
        Greeting { certificates, sni, subject }
    }

    /// Subject of the client's certificate, safe to stand in a head.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Whether a request for `authority` (host, perhaps with a port) belongs on this connection: the client named no
    /// server, named this one, or the certificate it was shown covers it too (RFC 9110 §7.4).
    #[must_use]
    pub fn serves(&self, authority: &[u8]) -> bool {
        let Some(sni) = self.sni.as_deref() else { return true };
        let host = host_of(authority);
        host.is_empty() || host.eq_ignore_ascii_case(sni.as_bytes()) || self.certificates.cover(sni, host)
    }
}
