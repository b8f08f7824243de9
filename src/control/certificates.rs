//! Certificates, keys and authorities from their files, with errors that say which file, what is wrong and what
//! to do. Nothing of a key is ever part of a message.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::config::KeyPair;
use crate::limits;
use crate::net::tls::{Names, Pair};

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It cannot be read.
    #[error("cannot read {file}: {error}. It must exist and be readable for this user")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// It is not what it should be.
    #[error("{file} is larger than any certificate or key: is it the right file?")]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// It is not PEM.
    #[error("{file} is not valid PEM: {error}")]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Where it stops making sense; no content.
        error: String,
    },
    /// It has no certificate.
    #[error(
        "there is no certificate in {file}: it has to hold -----BEGIN CERTIFICATE-----, the server's own first"
    )]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// It has no key.
    #[error("there is no private key in {file}: it has to hold -----BEGIN PRIVATE KEY----- (or RSA, or EC)")]
    NoKey {
        /// The file.
        file: PathBuf,
    },
    /// Its key has a passphrase.
    #[error(
        "the private key in {file} is encrypted: write it without a passphrase (`openssl pkey -in {file} -out …`)"
    )]
    EncryptedKey {
        /// The file.
        file: PathBuf,
    },
    /// The key is another certificate's.
    #[error(
        "the private key in {key} does not belong to the certificate in {cert}: give each --cert its own --key, in the \
         same order"
    )]
    Mismatch {
        /// File of the certificate.
        cert: PathBuf,
        /// File of the key.
        key: PathBuf,
    },
    /// The certificate or key is of a kind that is not supported.
    #[error("{file} cannot be used: {error}")]
    Unusable {
        /// The file.
        file: PathBuf,
        /// Why.
        error: String,
    },
    /// The host has no authorities.
    #[error(
        "this host has no certificate authorities to check https:// upstreams with: install the package \
         ca-certificates, or give --upstream-ca FILE"
    )]
    NoRoots,
    /// TLS itself cannot be set up.
    #[error("cannot set TLS up: {0}")]
    Setup(String),
}

/// Reads a chain and its key.
///
/// # Errors
/// What is wrong with which file.
pub fn pair(files: &KeyPair, provider: &CryptoProvider) -> Result<Pair, CertificateError> {
    let KeyPair { cert, key } = files;
    let chain = chain(cert)?;
    let private = private_key(key)?;
    let names = describe(cert, &chain)?;
    let certified = CertifiedKey::from_der(chain, private, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            CertificateError::Mismatch { cert: cert.clone(), key: key.clone() }
        }
        rustls::Error::InvalidCertificate(_) => unusable(cert, &error),
        _ => unusable(key, &error),
    })?;
    Ok(Pair { key: Arc::new(certified), names })
}

/// Reads the certificates of a file.
///
/// # Errors
/// What is wrong with it; also when there is none.
pub fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let text = read(file)?;
    let chain: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(&text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(CertificateError::NoCertificate { file: file.into() }),
        Ok(chain) => Ok(chain),
        Err(error) => Err(malformed(file, &error)),
    }
}

/// Reads a private key.
///
/// # Errors
/// What is wrong with its file.
pub fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let text = read(file)?;
    let encrypted = [b"ENCRYPTED PRIVATE KEY".as_slice(), b"Proc-Type: 4,ENCRYPTED"];
    if encrypted.iter().any(|mark| memchr::memmem::find(&text, mark).is_some()) {
        return Err(CertificateError::EncryptedKey { file: file.into() });
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        PemError::NoItemsFound => CertificateError::NoKey { file: file.into() },
        _ => malformed(file, &error),
    })
}

/// Reads authorities.
///
/// # Errors
/// What is wrong with the file.
pub fn roots(file: &Path) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(file)? {
        roots.add(certificate).map_err(|error| unusable(file, &error))?;
    }
    Ok(roots)
}

fn read(file: &Path) -> Result<Vec<u8>, CertificateError> {
    let unreadable = |error| CertificateError::Unreadable { file: file.into(), error };
    let size = fs::metadata(file).map_err(unreadable)?.len();
    if size > limits::CERTIFICATE_FILE_BYTES_MAX {
        return Err(CertificateError::TooLarge { file: file.into() });
    }
    fs::read(file).map_err(unreadable)
}

fn malformed(file: &Path, error: &PemError) -> CertificateError {
    // Not the error's own words: they may quote the file, and the file may hold a key.
    let error = match error {
        PemError::MissingSectionEnd { .. } => "a section does not end (-----END …)",
        PemError::IllegalSectionStart { .. } => "a line of dashes is not a -----BEGIN …-----",
        PemError::Base64Decode(_) => "its base64 is damaged",
        _ => "it cannot be read as PEM",
    };
    CertificateError::Malformed { file: file.into(), error: error.into() }
}

fn unusable(file: &Path, error: &rustls::Error) -> CertificateError {
    CertificateError::Unusable { file: file.into(), error: error.to_string() }
}

/// The names of a chain's first certificate. What will go wrong for clients is warned about.
fn describe(file: &Path, chain: &[CertificateDer<'_>]) -> Result<Names, CertificateError> {
    let bad = |error: x509_cert::der::Error| CertificateError::Unusable {
        file: file.into(),
        error: format!("the certificate is malformed ({error})"),
    };
    let first = chain.first().ok_or_else(|| CertificateError::NoCertificate { file: file.into() })?;
    let certificate = Certificate::from_der(first).map_err(bad)?.tbs_certificate;
    let file = file.display();
    let (begins, ends) = (certificate.validity.not_before, certificate.validity.not_after);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let soon = now.saturating_add(Duration::from_secs(limits::CERTIFICATE_WARN_DAYS * 24 * 3600));
    if ends.to_unix_duration() < now {
        tracing::warn!(%file, %ends, "a certificate has expired: clients will refuse it; renew it");
    } else if ends.to_unix_duration() < soon {
        tracing::warn!(%file, %ends, "a certificate expires soon: renew it");
    } else if begins.to_unix_duration() > now {
        tracing::warn!(%file, %begins, "a certificate is not valid yet: clients will refuse it");
    }
    let names = match certificate.get::<SubjectAltName>().map_err(bad)? {
        Some((_, names)) => names_of(&names),
        None => Names::default(),
    };
    if names == Names::default() {
        tracing::warn!(%file, "a certificate names no host (subjectAltName): clients will refuse it");
    }
    Ok(names)
}

fn names_of(alternatives: &SubjectAltName) -> Names {
    let mut names = Names::default();
    for name in &alternatives.0 {
        match name {
            GeneralName::DnsName(name) => names.dns.push(name.as_str().to_ascii_lowercase().into()),
            GeneralName::IpAddress(bytes) => names.ip.extend(address(bytes.as_bytes())),
            _ => {}
        }
    }
    names
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair as Key, SanType};

    /// A folder with `good.pem`, `good.key` and `other.key`.
    fn folder(test: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("ringress-{}-{test}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let key = Key::generate().unwrap();
        let mut params = CertificateParams::new(vec!["A.test".to_owned(), "*.b.test".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::IpAddress("10.0.0.1".parse().unwrap()));
        fs::write(folder.join("good.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(folder.join("good.key"), key.serialize_pem()).unwrap();
        fs::write(folder.join("other.key"), Key::generate().unwrap().serialize_pem()).unwrap();
        folder
    }

    fn load(folder: &Path, cert: &str, key: &str) -> Result<Pair, String> {
        let files = KeyPair { cert: folder.join(cert), key: folder.join(key) };
        pair(&files, &rustls::crypto::aws_lc_rs::default_provider()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pair_is_read_with_its_names() {
        let folder = folder("names");
        let pair = load(&folder, "good.pem", "good.key").unwrap();
        assert_eq!(pair.names.dns, ["a.test".into(), "*.b.test".into()]);
        assert_eq!(pair.names.ip, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        fs::remove_dir_all(folder).unwrap();
    }

    /// Goal: each mistake has an error that names its file and says what to do. Method: the mistakes.
    #[test]
    fn errors_name_the_file_and_advise() {
        let folder = folder("errors");
        let good = fs::read_to_string(folder.join("good.pem")).unwrap();
        let key = fs::read_to_string(folder.join("good.key")).unwrap();
        fs::write(folder.join("empty"), "").unwrap();
        fs::write(folder.join("cut"), good.split_at(200).0).unwrap();
        fs::write(folder.join("damaged"), good.replacen('M', "!", 1)).unwrap();
        fs::write(folder.join("junk"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            .unwrap();
        fs::write(folder.join("encrypted"), key.replace("PRIVATE", "ENCRYPTED PRIVATE")).unwrap();
        let secret = key.lines().nth(1).unwrap();
        for (cert, private, file, advice) in [
            ("missing", "good.key", "missing", "must exist"),
            ("empty", "good.key", "empty", "BEGIN CERTIFICATE"),
            ("good.key", "good.key", "good.key", "BEGIN CERTIFICATE"),
            ("cut", "good.key", "cut", "not valid PEM"),
            ("damaged", "good.key", "damaged", "base64"),
            ("junk", "good.key", "junk", "malformed"),
            ("good.pem", "empty", "empty", "BEGIN PRIVATE KEY"),
            ("good.pem", "good.pem", "good.pem", "BEGIN PRIVATE KEY"),
            ("good.pem", "encrypted", "encrypted", "openssl pkey"),
            ("good.pem", "other.key", "other.key", "does not belong"),
        ] {
            let error = load(&folder, cert, private).unwrap_err();
            assert!(error.contains(file) && error.contains(advice), "{cert} {private}: {error}");
            assert!(!error.contains(secret), "{error}");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
