//! TLS for scripts: certificates made on the spot, and a blocking stream over rustls that two threads may share.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair as RcgenKey,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};
use rustls::{SupportedProtocolVersion, crypto::aws_lc_rs};

/// A folder that goes with the test.
pub struct Folder(PathBuf);

impl Folder {
    /// A new one.
    pub fn new() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file; returns its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        // At one stroke, as certificate tools do.
        std::fs::write(self.path("new"), text).unwrap();
        std::fs::rename(self.path("new"), &path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A chain and its key in PEM.
#[derive(Clone)]
pub struct Identity {
    /// Chain.
    pub cert: String,
    /// Key.
    pub key: String,
}

impl Identity {
    /// Writes both; returns their paths.
    pub fn write(&self, folder: &Folder, name: &str) -> (String, String) {
        (folder.write(&format!("{name}.pem"), &self.cert), folder.write(&format!("{name}.key"), &self.key))
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.cert.as_bytes()).map(Result::unwrap).collect()
    }

    fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }

    /// The certificate itself.
    pub fn der(&self) -> CertificateDer<'static> {
        self.chain().remove(0)
    }
}

/// A certificate authority of the test's own.
pub struct Authority {
    issuer: Issuer<'static, RcgenKey>,
    /// Its certificate in PEM.
    pub pem: String,
}

impl Authority {
    /// A new one.
    pub fn new() -> Authority {
        let key = RcgenKey::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "wire test authority");
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A server's certificate for `names`.
    pub fn server(&self, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        self.sign(CertificateParams::new(names).unwrap(), ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client's certificate.
    pub fn client(&self, common_name: &str) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Identity {
        let key = RcgenKey::generate().unwrap();
        params.extended_key_usages = vec![usage];
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { cert, key: key.serialize_pem() }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        roots
    }

    /// Clients that trust it.
    pub fn trusting(&self) -> Arc<ClientConfig> {
        self.trusting_with(rustls::ALL_VERSIONS, None)
    }

    /// As [`Authority::trusting`], with chosen versions and a certificate of the client's own.
    pub fn trusting_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Identity>,
    ) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(self.roots());
        Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_auth_cert(identity.chain(), identity.private()).unwrap(),
        })
    }

    /// A server's side; clients must have a certificate of `clients`, if given.
    pub fn serving(&self, identity: &Identity, clients: Option<&Authority>) -> Arc<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(rustls::ALL_VERSIONS).unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(clients.roots()), provider)
                    .build()
                    .unwrap(),
            ),
        };
        Arc::new(builder.with_single_cert(identity.chain(), identity.private()).unwrap())
    }
}

/// What a handshake came to.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// It was an abbreviated one.
    pub resumed: bool,
    /// What the server showed.
    pub certificate: CertificateDer<'static>,
    /// TLS 1.3 rather than 1.2.
    pub tls13: bool,
    /// The protocol agreed on by ALPN.
    pub alpn: Option<Vec<u8>>,
}

/// A TLS stream whose reading and writing do not wait for each other.
pub struct TlsStream {
    /// The socket below.
    pub tcp: TcpStream,
    connection: Mutex<Connection>,
    /// Whoever holds it writes; taken before `connection`.
    writing: Mutex<()>,
}

impl TlsStream {
    /// A client's side; the handshake is made at once.
    pub fn client(tcp: TcpStream, config: &Arc<ClientConfig>, name: &str) -> io::Result<TlsStream> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let stream = TlsStream::over(tcp, Connection::Client(connection));
        stream.flush()?;
        while stream.connection.lock().unwrap().is_handshaking() {
            stream.receive(super::PATIENCE)?;
        }
        Ok(stream)
    }

    /// A server's side; the handshake is made with the first read.
    pub fn server(tcp: TcpStream, config: &Arc<ServerConfig>) -> TlsStream {
        TlsStream::over(tcp, Connection::Server(ServerConnection::new(Arc::clone(config)).unwrap()))
    }

    fn over(tcp: TcpStream, mut connection: Connection) -> TlsStream {
        connection.set_buffer_limit(None);
        tcp.set_nodelay(true).unwrap();
        tcp.set_write_timeout(Some(super::PATIENCE)).unwrap();
        TlsStream { tcp, connection: Mutex::new(connection), writing: Mutex::new(()) }
    }

    /// What the handshake came to, on the client's side.
    pub fn handshake(&self) -> Handshake {
        let connection = self.connection.lock().unwrap();
        Handshake {
            resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
            certificate: connection.peer_certificates().unwrap()[0].clone(),
            tls13: connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
        }
    }

    /// Reads once, for at most `wait`.
    pub fn read(&self, scratch: &mut [u8], wait: Duration) -> io::Result<usize> {
        loop {
            match self.connection.lock().unwrap().reader().read(scratch) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            self.receive(wait)?;
        }
    }

    fn receive(&self, wait: Duration) -> io::Result<()> {
        let mut buf = [0; 1024]; // rustls takes that whole, whatever it holds already
        self.tcp.set_read_timeout(Some(wait))?;
        let n = (&self.tcp).read(&mut buf)?;
        let mut rest = &buf[..n];
        let processed = loop {
            let mut connection = self.connection.lock().unwrap();
            let _ = connection.read_tls(&mut rest)?;
            let processed = connection.process_new_packets();
            if processed.is_err() || rest.is_empty() {
                break processed;
            }
        };
        let flushed = self.flush();
        processed.map_err(io::Error::other)?;
        flushed?;
        match self.connection.lock().unwrap().is_handshaking() && n == 0 {
            true => Err(ErrorKind::UnexpectedEof.into()),
            false => Ok(()),
        }
    }

    /// Sends all of it.
    pub fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap();
        for piece in bytes.chunks(64 * 1024) {
            self.connection.lock().unwrap().writer().write_all(piece)?;
            self.drain()?;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap();
        self.drain()
    }

    fn drain(&self) -> io::Result<()> {
        let mut records = Vec::new();
        {
            let mut connection = self.connection.lock().unwrap();
            while connection.wants_write() {
                connection.write_tls(&mut records)?;
            }
        }
        (&self.tcp).write_all(&records)
    }

    /// Ends the sending direction, in so many words; both at once end without.
    pub fn shutdown(&self, how: Shutdown) {
        if how == Shutdown::Write {
            self.connection.lock().unwrap().send_close_notify();
            let _ = self.flush();
        }
        let _ = self.tcp.shutdown(how);
    }
}
