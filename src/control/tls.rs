//! TLS as the configuration wants it: made before the first worker starts, and listeners' certificates made again
//! when their files change or SIGHUP asks for it.
//!
//! A new configuration is swapped in whole. Running connections keep theirs; a file that is of no use is reported,
//! and what was in use stays in use. Tickets are sealed with keys of their own, shared by all workers and rotated by
//! rustls every six hours, so that a reload loses no session.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::{ClientAuth, Config, Scheme, Security, Service, Tls, UpstreamTls};
use crate::limits;
use crate::net::shared::Shared;
use crate::net::tls::{Certificates, OriginTls, ServerTls, alpn, alpn_of_origin};

use super::certificates::{self, CertificateError};
use super::unchecked::Unchecked;

/// TLS 1.3 and 1.2 (RFC 9325 §3.1.1: nothing older).
const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn setup(error: impl std::fmt::Display) -> CertificateError {
    CertificateError::Setup(error.to_string())
}

/// Makes what listeners with TLS speak, as often as it is asked to.
#[derive(Debug)]
pub struct Loader {
    tls: Tls,
    http2: bool,
    tickets: Arc<dyn ProducesTickets>,
    /// Authorities of clients as last read: a session made under others must not be resumed.
    client_ca: Option<Vec<u8>>,
}

impl Loader {
    /// Loads for the first time; `None` where no listener has TLS.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn load(config: &Config) -> Result<Option<(Loader, ServerTls)>, CertificateError> {
        let Config { tls, http2, .. } = config;
        if config.addresses(Service::Tls).next().is_none() {
            return Ok(None);
        }
        let tickets = aws_lc_rs::Ticketer::new().map_err(setup)?;
        let mut loader = Loader { tls: tls.clone(), http2: *http2, tickets, client_ca: None };
        let loaded = loader.make()?;
        Ok(Some((loader, loaded)))
    }

    fn make(&mut self) -> Result<ServerTls, CertificateError> {
        let provider = provider();
        let pairs: Result<Vec<_>, _> =
            self.tls.pairs.iter().map(|files| certificates::pair(files, &provider)).collect();
        let certificates = Arc::new(Certificates::new(pairs?));
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(VERSIONS).map_err(setup)?;
        let builder = match &self.tls.client_auth {
            ClientAuth::Off => builder.with_no_client_auth(),
            ClientAuth::Optional(ca) | ClientAuth::Required(ca) => {
                let roots = Arc::new(certificates::roots(ca)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = match self.tls.client_auth {
                    ClientAuth::Optional(_) => verifier.allow_unauthenticated(),
                    ClientAuth::Off | ClientAuth::Required(_) => verifier,
                };
                builder.with_client_cert_verifier(verifier.build().map_err(setup)?)
            }
        };
        self.renew_tickets()?;
        let mut config = builder.with_cert_resolver(Arc::clone(&certificates) as _);
        config.alpn_protocols = alpn(self.http2);
        config.ticketer = Arc::clone(&self.tickets);
        config.session_storage = Arc::new(NoServerSessionStorage {}); // tickets hold it all
        config.max_early_data_size = 0; // it can be replayed
        Ok(ServerTls { config: Arc::new(config), certificates })
    }

    /// Tickets vouch for a client's certificate: with other authorities, none of the old ones counts.
    fn renew_tickets(&mut self) -> Result<(), CertificateError> {
        let ca = self.tls.client_auth.ca().and_then(|ca| fs::read(ca).ok());
        if self.client_ca.as_ref().is_some_and(|before| Some(before) != ca.as_ref()) {
            self.tickets = aws_lc_rs::Ticketer::new().map_err(setup)?;
        }
        self.client_ca = ca;
        Ok(())
    }

    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let pairs = self.tls.pairs.iter().flat_map(|pair| [&pair.cert, &pair.key]);
        pairs.chain(self.tls.client_auth.ca())
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        self.files().map(|file| stamp(file)).collect()
    }
}

/// What tells one content of a file from the next.
type Stamp = (u64, u64, u64, i64, i64);

fn stamp(file: &Path) -> Option<Stamp> {
    let data = fs::metadata(file).ok()?;
    Some((data.dev(), data.ino(), data.len(), data.mtime(), data.mtime_nsec()))
}

/// The thread that loads certificates again; told to stop when dropped.
#[derive(Debug)]
pub struct Watcher {
    ask: SyncSender<()>,
    _thread: JoinHandle<()>,
}

impl Watcher {
    /// Starts the thread. It calls `loaded` after each load that was asked for, whatever came of it.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        loader: Loader,
        shared: Arc<Shared>,
        loaded: impl Fn() + Send + 'static,
    ) -> io::Result<Watcher> {
        let (ask, asked) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("certificates".into())
            .spawn(move || watch(loader, &shared, &asked, &loaded))?;
        Ok(Watcher { ask, _thread: thread })
    }

    /// Loads now (SIGHUP).
    pub fn reload(&self) {
        let _ = self.ask.try_send(()); // full: it is about to
    }
}

fn watch(mut loader: Loader, shared: &Shared, asked: &Receiver<()>, done: &impl Fn()) {
    let mut loaded = loader.stamps();
    let mut seen = loaded.clone();
    loop {
        let asked = match asked.recv_timeout(Duration::from_secs(limits::CERTIFICATE_LOOK_S)) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let now = loader.stamps();
        // Changed, and at rest since the last look: a certificate and its key are not replaced at one stroke.
        let changed = now != loaded && now == seen;
        seen.clone_from(&now);
        if asked || changed {
            loaded = now;
            reload(&mut loader, shared);
        }
        if asked {
            done();
        }
    }
}

fn reload(loader: &mut Loader, shared: &Shared) {
    match (loader.make(), &shared.tls) {
        (Ok(latest), Some(current)) => {
            current.store(Arc::new(latest));
            tracing::info!(certificates = loader.tls.pairs.len(), "certificates loaded again");
        }
        (Ok(_), None) => {}
        (Err(error), _) => {
            tracing::error!(%error, "cannot load the certificates again; those in use stay in use");
        }
    }
}

/// How origins are spoken to with TLS, for each scheme in use.
///
/// # Errors
/// What is wrong with which file.
pub fn upstream(config: &Config) -> Result<OriginTls, CertificateError> {
    let schemes = config.upstreams().map(|upstream| upstream.scheme);
    let secure: HashSet<Scheme> = schemes.filter(|scheme| scheme.security != Security::Clear).collect();
    let made = secure.into_iter().map(|scheme| Ok((scheme, Arc::new(client(&config.upstream_tls, scheme)?))));
    made.collect::<Result<_, CertificateError>>().map(OriginTls)
}

fn client(tls: &UpstreamTls, scheme: Scheme) -> Result<ClientConfig, CertificateError> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(VERSIONS).map_err(setup)?;
    let builder = if scheme.security == Security::TlsUnchecked {
        tracing::warn!(
            "the certificates of {}:// upstreams are not checked; whoever is in between can read and change everything",
            scheme.name()
        );
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Unchecked(Arc::clone(&provider))))
    } else {
        builder.with_root_certificates(upstream_roots(tls)?)
    };
    let mut client = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(files) => {
            // Checks that the two belong together, with errors that say which file it is.
            drop(certificates::pair(files, &provider)?);
            let (chain, key) = (certificates::chain(&files.cert)?, certificates::private_key(&files.key)?);
            builder.with_client_auth_cert(chain, key).map_err(setup)?
        }
    };
    client.alpn_protocols = alpn_of_origin(scheme);
    Ok(client)
}

/// The authorities given, or those of the host: the operator's own are among them, and they are updated with it.
fn upstream_roots(tls: &UpstreamTls) -> Result<RootCertStore, CertificateError> {
    if let Some(ca) = &tls.ca {
        return certificates::roots(ca);
    }
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some certificate authorities of this host cannot be read");
    }
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 { Err(CertificateError::NoRoots) } else { Ok(roots) }
}
