//! Which certificate a client is shown: by the server name it asks for, wildcards included, else the first.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The names that one certificate is for, in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// DNS names; a wildcard begins with `*.` and stands for exactly one label (RFC 9525 §6.3).
    pub dns: Vec<Box<str>>,
    /// Addresses.
    pub ip: Vec<IpAddr>,
}

impl Names {
    /// Whether `host` (a name or an address, brackets allowed, any case) is one of these.
    #[must_use]
    pub fn cover(&self, host: &[u8]) -> bool {
        let Ok(host) = std::str::from_utf8(host) else { return false };
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = address.parse::<IpAddr>() {
            return self.ip.contains(&ip);
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.dns.iter().any(|name| match (name.strip_prefix("*."), parent) {
            (Some(suffix), Some(parent)) => parent.eq_ignore_ascii_case(suffix),
            (Some(_), None) => false,
            (None, _) => host.eq_ignore_ascii_case(name),
        })
    }
}

/// A certificate with its key and names.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Chain and key.
    pub key: Arc<CertifiedKey>,
    /// What it is for.
    pub names: Names,
}

/// All certificates of the listeners; the first is shown to whoever asks for none of the names.
#[derive(Debug)]
pub struct Certificates {
    pairs: Vec<Pair>,
    /// Name or wildcard to the pairs that have it, in order.
    by_name: HashMap<Box<str>, Vec<usize>>,
}

impl Certificates {
    /// An index of `pairs`.
    #[must_use]
    pub fn new(pairs: Vec<Pair>) -> Certificates {
        let mut by_name: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (index, pair) in pairs.iter().enumerate() {
            for name in &pair.names.dns {
                by_name.entry(name.clone()).or_default().push(index);
            }
        }
        Certificates { pairs, by_name }
    }

    /// The pairs for `sni` (lower case), best first: its own, then those of its wildcard, else the first pair.
    fn candidates(&self, sni: Option<&str>) -> impl Iterator<Item = &Pair> {
        let sni = sni.unwrap_or_default();
        let wildcard = sni.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        let own = self.by_name.get(sni);
        let wild = wildcard.and_then(|wildcard| self.by_name.get(wildcard.as_str()));
        let default = [0].as_slice();
        let found = own.into_iter().chain(wild).flatten();
        let none = own.is_none() && wild.is_none();
        found.chain(default.iter().filter(move |_| none)).filter_map(|&index| self.pairs.get(index))
    }

    /// The pair for a client that asks for `sni` and verifies `schemes`: an RSA and an ECDSA certificate may share
    /// their names.
    fn choose(&self, sni: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Pair> {
        let mut candidates = self.candidates(sni).peekable();
        let first = candidates.peek().copied();
        candidates.find(|pair| pair.key.key.choose_scheme(schemes).is_some()).or(first)
    }

    /// Whether the certificate that `sni` is shown covers `host` too.
    #[must_use]
    pub fn cover(&self, sni: &str, host: &[u8]) -> bool {
        self.candidates(Some(&sni.to_ascii_lowercase())).any(|pair| pair.names.cover(host))
    }

    /// Whether any certificate is for `host`.
    #[must_use]
    pub fn know(&self, host: &[u8]) -> bool {
        self.pairs.iter().any(|pair| pair.names.cover(host))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let sni = hello.server_name().map(str::to_ascii_lowercase);
        self.choose(sni.as_deref(), hello.signature_schemes()).map(|pair| Arc::clone(&pair.key))
    }
}

/// The host of an authority: without its port.
#[must_use]
pub fn host_of(authority: &[u8]) -> &[u8] {
    let end = match authority.iter().rposition(|&b| b == b':' || b == b']') {
        Some(at) if authority.get(at) == Some(&b':') => at,
        _ => authority.len(),
    };
    let host = authority.get(..end).unwrap_or_default();
    host.strip_suffix(b".").unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dns: &[&str], ip: &[&str]) -> Names {
        Names {
            dns: dns.iter().map(|&name| name.into()).collect(),
            ip: ip.iter().map(|ip| ip.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn names_cover_what_they_say_and_no_more() {
        let names = names(&["a.test", "*.b.test"], &["10.0.0.1", "::1"]);
        for (host, covered) in [
            ("a.test", true),
            ("A.TEST", true),
            ("a.test.", true),
            ("x.a.test", false),
            ("x.b.test", true),
            ("b.test", false),
            ("x.y.b.test", false),
            ("*.b.test", true),
            ("10.0.0.1", true),
            ("[::1]", true),
            ("10.0.0.2", false),
            ("", false),
            ("test", false),
        ] {
            assert_eq!(names.cover(host.as_bytes()), covered, "{host}");
        }
    }

    #[test]
    fn hosts_are_authorities_without_ports() {
        for (authority, host) in [
            ("a.test", "a.test"),
            ("a.test:443", "a.test"),
            ("a.test.:443", "a.test"),
            ("[::1]", "[::1]"),
            ("[::1]:443", "[::1]"),
            ("10.0.0.1:1", "10.0.0.1"),
            ("", ""),
        ] {
            assert_eq!(host_of(authority.as_bytes()), host.as_bytes(), "{authority}");
        }
    }

    fn pair(dns: &[&str]) -> Pair {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(dns.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        let certificate = certificate.unwrap().self_signed(&key).unwrap();
        let der = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(vec![certificate.der().clone()], der, &provider).unwrap();
        Pair { key: Arc::new(key), names: names(dns, &[]) }
    }

    /// Goal: a name's own certificate before a wildcard's before the first. Method: three of them.
    #[test]
    fn the_best_match_is_shown() {
        let all = Certificates::new(vec![
            pair(&["first.test"]),
            pair(&["*.b.test"]),
            pair(&["own.b.test", "c.test"]),
        ]);
        let shown = |sni: Option<&str>| {
            let chosen = all.choose(sni, &[SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
            chosen.names.dns[0].to_string()
        };
        assert_eq!(shown(None), "first.test");
        assert_eq!(shown(Some("unknown.test")), "first.test");
        assert_eq!(shown(Some("x.b.test")), "*.b.test");
        assert_eq!(shown(Some("own.b.test")), "own.b.test");
        assert!(all.cover("own.b.test", b"c.test") && !all.cover("own.b.test", b"first.test"));
        assert!(all.cover("unknown.test", b"first.test") && all.know(b"c.test") && !all.know(b"d.test"));
    }
}
