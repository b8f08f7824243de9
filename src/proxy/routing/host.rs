//! Hosts as keys: lower case, no port, no trailing dot, addresses of IPv6 in one spelling and in brackets.

use std::io::Write as _;
use std::net::Ipv6Addr;

use memchr::memchr;

/// Bytes of the longest host that a route can name: a DNS name has at most 253 (RFC 1035 §2.3.4), an address fewer.
const HOST_BYTES_MAX: usize = 255;

/// The host that a request is for, as routes are kept by it.
pub(super) struct Key {
    bytes: [u8; HOST_BYTES_MAX],
    len: usize,
}

impl Key {
    /// The host of `authority`; `None` when it has none that a route could name.
    pub(super) fn of(authority: &[u8]) -> Option<Key> {
        let host = without_port(authority);
        match host {
            [] => None,
            [b'[', address @ .., b']'] => Key::of_address(address),
            _ => Key::of_name(host.strip_suffix(b".").unwrap_or(host)),
        }
    }

    fn of_name(name: &[u8]) -> Option<Key> {
        let mut key = Key { bytes: [0; HOST_BYTES_MAX], len: name.len() };
        key.bytes.get_mut(..name.len())?.copy_from_slice(name);
        key.bytes.get_mut(..name.len())?.make_ascii_lowercase();
        Some(key)
    }

    fn of_address(address: &[u8]) -> Option<Key> {
        let address: Ipv6Addr = std::str::from_utf8(address).ok()?.parse().ok()?;
        let mut key = Key { bytes: [0; HOST_BYTES_MAX], len: 0 };
        let mut rest = key.bytes.as_mut_slice();
        write!(rest, "[{address}]").ok()?;
        key.len = HOST_BYTES_MAX - rest.len();
        Some(key)
    }

    /// The host itself.
    pub(super) fn host(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// What stands behind its first label; `None` where there is no label or nothing behind it. Of an address of IPv6 it is
    /// nothing that a route can name.
    pub(super) fn parent(&self) -> Option<&[u8]> {
        let host = self.host();
        let dot = host.iter().position(|&byte| byte == b'.').filter(|&dot| dot > 0)?;
        host.get(dot + 1..).filter(|parent| !parent.is_empty())
    }
}

/// A host of the configuration as its key. Brackets may be left out, since a configuration has no port behind them.
pub(super) fn configured(host: &str) -> Box<[u8]> {
    let bracketed = format!("[{host}]");
    let authority = if host.parse::<Ipv6Addr>().is_ok() { &bracketed } else { host };
    match Key::of(authority.as_bytes()) {
        Some(key) => key.host().into(),
        // Nothing that a request can name: a key that is never asked for.
        None => host.as_bytes().into(),
    }
}

/// `host` of `host [":" port]`.
pub(in crate::proxy) fn without_port(authority: &[u8]) -> &[u8] {
    let end = match authority.first() {
        Some(b'[') => memchr(b']', authority).map(|bracket| bracket + 1),
        Some(_) | None => memchr(b':', authority),
    };
    end.and_then(|end| authority.get(..end)).unwrap_or(authority)
}
