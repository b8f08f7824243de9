//! TLS as the configuration wants it: made before the first worker starts, and again by [`super::reload`].
//!
//! A new configuration is swapped in whole. Running connections keep theirs; a file that is of no use is reported,
//! and what was in use stays in use. Tickets are sealed with keys of their own, shared by all workers and rotated by
//! rustls every six hours, so that a reload loses no session.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::{ClientAuth, Config, Scheme, Security, Service, Tls, UpstreamTls};
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
    /// What clients were asked for, and authorities as last read: a session made under others must not be resumed.
    asked: Option<(ClientAuth, Option<Vec<u8>>)>,
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
        let mut loader = Loader { tls: tls.clone(), http2: *http2, tickets, asked: None };
        let loaded = loader.make()?;
        Ok(Some((loader, loaded)))
    }

    /// Loads again, as `config` has it now: what to go on with, and what to speak. Sessions last, unless who may have them
    /// has changed.
    ///
    /// # Errors
    /// What is wrong with which file; nothing has changed then.
    pub fn again(&self, config: &Config) -> Result<(Loader, ServerTls), CertificateError> {
        let mut next = Loader {
            tls: config.tls.clone(),
            http2: config.http2,
            tickets: Arc::clone(&self.tickets),
            asked: self.asked.clone(),
        };
        let loaded = next.make()?;
        Ok((next, loaded))
    }

    /// How many certificates it has.
    #[must_use]
    pub fn certificates(&self) -> usize {
        self.tls.pairs.len()
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

    /// Tickets vouch for a client's certificate, or for its not having needed one: when other clients are to be let in, none
    /// of the old ones counts.
    fn renew_tickets(&mut self) -> Result<(), CertificateError> {
        let ca = self.tls.client_auth.ca().and_then(|ca| fs::read(ca).ok());
        let asked = Some((self.tls.client_auth.clone(), ca));
        if self.asked != asked && self.asked.is_some() {
            self.tickets = aws_lc_rs::Ticketer::new().map_err(setup)?;
        }
        self.asked = asked;
        Ok(())
    }

    /// Files that were loaded.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        files(&self.tls)
    }
}

/// Files of certificates, keys and authorities.
pub fn files(tls: &Tls) -> impl Iterator<Item = &PathBuf> {
    let pairs = tls.pairs.iter().flat_map(|pair| [&pair.cert, &pair.key]);
    pairs.chain(tls.client_auth.ca())
}

/// Whether certificates, keys and authorities are there and of use.
///
/// # Errors
/// What is wrong with which file.
pub fn check(config: &Config) -> Result<(), CertificateError> {
    drop(Loader::load(config)?);
    drop(upstream(config)?);
    Ok(())
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

/// Whether origins are spoken to in the same way.
#[must_use]
pub fn is_same_upstream(old: &Config, new: &Config) -> bool {
    let schemes =
        |config: &Config| config.upstreams().map(|upstream| upstream.scheme).collect::<HashSet<_>>();
    old.upstream_tls == new.upstream_tls && schemes(old) == schemes(new)
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
