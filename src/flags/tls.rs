//! TLS on both sides: the flags, and what they amount to together.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use thiserror::Error;

use crate::config::file::kinds::Requirement;
use crate::config::value::listen::Listen;
use crate::config::{ClientAuth, KeyPair, Tls, UpstreamTls};

/// TLS towards clients and origins; `docs/tls.md` has the details.
#[derive(Args, Debug)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// Address to accept clients on with TLS, HTTP/2 and HTTP/1.1 by ALPN, as --listen. Without --listen there is no other. Repeatable, or
    /// separated by commas. Default: none
    #[arg(long, env = "RINGRESS_TLS_LISTEN", value_name = "ADDR", value_delimiter = ',')]
    pub tls_listen: Vec<Listen>,

    /// Certificate chain in PEM, the server's own first. Repeatable, or separated by commas; each goes with the
    /// --key in the same place. A client is shown the one for the name it asks for, else the first. Read again on
    /// SIGHUP and when the file changes. Default: none
    #[arg(long, env = "RINGRESS_CERT", value_name = "FILE", value_delimiter = ',')]
    pub cert: Vec<PathBuf>,

    /// Private key in PEM, as many as --cert, in the same order. Default: none
    #[arg(long, env = "RINGRESS_KEY", value_name = "FILE", value_delimiter = ',')]
    pub key: Vec<PathBuf>,

    /// Authorities in PEM that clients' certificates have to come from. The subject of a client's certificate is
    /// sent to the origin as X-Client-Cert-Subject. Default: none, clients are not asked
    #[arg(long, env = "RINGRESS_CLIENT_CA", value_name = "FILE")]
    pub client_ca: Option<PathBuf>,

    /// With --client-ca: whether a client without a certificate is let in
    #[arg(
        long, env = "RINGRESS_CLIENT_AUTH", value_name = "required|optional", default_value = "required",
        value_parser = requirement(), hide_possible_values = true
    )]
    pub client_auth: Requirement,

    /// Address where every request is answered with a redirect (308) to the same target on the first --tls-listen.
    /// Repeatable, or separated by commas. Default: none
    #[arg(long, env = "RINGRESS_HTTP_REDIRECT", value_name = "ADDR", value_delimiter = ',')]
    pub http_redirect: Vec<Listen>,

    /// Authorities in PEM that certificates of https:// and h2:// upstreams have to come from. Default: those of this host
    #[arg(long, env = "RINGRESS_UPSTREAM_CA", value_name = "FILE")]
    pub upstream_ca: Option<PathBuf>,

    /// Certificate chain in PEM to show to https:// and h2:// upstreams that ask for one. Default: none
    #[arg(long, env = "RINGRESS_UPSTREAM_CERT", value_name = "FILE")]
    pub upstream_cert: Option<PathBuf>,

    /// Private key in PEM of --upstream-cert. Default: none
    #[arg(long, env = "RINGRESS_UPSTREAM_KEY", value_name = "FILE")]
    pub upstream_key: Option<PathBuf>,
}

fn requirement() -> impl TypedValueParser<Value = Requirement> {
    PossibleValuesParser::new(["required", "optional"]).map(|word| match word.as_str() {
        "optional" => Requirement::Optional,
        _ => Requirement::Required,
    })
}

/// Flags of TLS that do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TlsError {
    /// TLS without a certificate.
    #[error("--tls-listen needs a certificate: give --cert FILE and --key FILE (PEM)")]
    NoCertificate,
    /// Certificates without a listener.
    #[error(
        "{0} is of no use without a listener with TLS: give --tls-listen ADDR, such as --tls-listen :443"
    )]
    NoListener(&'static str),
    /// A certificate without its key, or the other way round.
    #[error("{certs} --cert and {keys} --key: they go in pairs, in the same order")]
    Pairs {
        /// Certificates.
        certs: usize,
        /// Keys.
        keys: usize,
    },
    /// One of `--upstream-cert` and `--upstream-key`.
    #[error("--upstream-cert and --upstream-key go together: give both or none")]
    UpstreamPair,
}

/// What the flags amount to.
///
/// # Errors
/// They do not fit together.
pub fn settings(args: TlsArgs) -> Result<(Tls, UpstreamTls), TlsError> {
    let (certs, keys) = (args.cert.len(), args.key.len());
    let client_auth = match (args.client_ca, args.client_auth) {
        (None, _) => ClientAuth::Off,
        (Some(ca), Requirement::Required) => ClientAuth::Required(ca),
        (Some(ca), Requirement::Optional) => ClientAuth::Optional(ca),
    };
    let tls = Tls {
        pairs: args.cert.into_iter().zip(args.key).map(|(cert, key)| KeyPair { cert, key }).collect(),
        client_auth,
    };
    if certs != keys {
        return Err(TlsError::Pairs { certs, keys });
    }
    check_listener(&tls, args.tls_listen.is_empty(), args.http_redirect.is_empty())?;
    let identity = match (args.upstream_cert, args.upstream_key) {
        (Some(cert), Some(key)) => Some(KeyPair { cert, key }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(TlsError::UpstreamPair),
    };
    Ok((tls, UpstreamTls { ca: args.upstream_ca, identity }))
}

fn check_listener(tls: &Tls, clear: bool, stays: bool) -> Result<(), TlsError> {
    match (clear, tls.pairs.is_empty()) {
        (false, true) => Err(TlsError::NoCertificate),
        (true, false) => Err(TlsError::NoListener("--cert")),
        (true, true) if !stays => Err(TlsError::NoListener("--http-redirect")),
        (true, true) if tls.client_auth != ClientAuth::Off => Err(TlsError::NoListener("--client-ca")),
        (true, true) | (false, false) => Ok(()),
    }
}
