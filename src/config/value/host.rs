//! Hosts of routes: `example.com`, `*.example.com`, `192.0.2.7`, `[2001:db8::1]`; in lower case and without a port.

use std::net::{Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::upstream;
use crate::config::route::Host;

/// Why a host was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HostError {
    /// A port.
    #[error(
        "hosts have no port here: a route matches on every listener, so write the host alone, such as example.com"
    )]
    Port,
    /// A URI.
    #[error("expected a host, not a URI: write example.com here, and the path in `path`")]
    Uri,
    /// A wildcard anywhere but in front.
    #[error("`*.` stands in front of a name and for one label of it, such as *.example.com")]
    Wildcard,
    /// Every host.
    #[error("a route without hosts serves every host: leave `hosts` out")]
    Every,
    /// The root.
    #[error("a dot at the end is dropped from requests before they are matched: leave it out")]
    Dot,
    /// A name that is not ASCII.
    #[error("a host name is written in ASCII: use its xn-- form, such as xn--bcher-kva.example")]
    NotAscii,
    /// Neither a name nor an address.
    #[error("expected a name or an address, such as example.com, *.example.com, 192.0.2.7 or [2001:db8::1]")]
    Malformed,
}

/// Reads one host of a route.
///
/// # Errors
/// Says what is wrong and what to write.
pub fn parse(text: &str) -> Result<Host, HostError> {
    let lower = text.to_ascii_lowercase();
    if text == "*" {
        return Err(HostError::Every);
    }
    if let Some(name) = lower.strip_prefix("*.") {
        return match is_address(name) {
            true => Err(HostError::Wildcard),
            false => check_name(name).map(|()| Host::Wildcard(name.into())),
        };
    }
    if is_address(&lower) {
        return Ok(Host::Exact(lower.into()));
    }
    check_name(&lower).map(|()| Host::Exact(lower.into()))
}

/// Reads where a redirect leads: a host, with a port if need be.
///
/// # Errors
/// Says what is wrong and what to write.
pub fn authority(text: &str) -> Result<Box<str>, HostError> {
    let lower = text.to_ascii_lowercase();
    let (host, port) = match lower.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (lower.as_str(), None),
    };
    let port_is_fine = port.is_none_or(|port| super::listen::port_number(port).is_some_and(|port| port != 0));
    if !port_is_fine {
        return Err(HostError::Malformed);
    }
    match is_address(host) {
        true => Ok(lower.into()),
        false => check_name(host).map(|()| lower.clone().into()),
    }
}

fn is_address(text: &str) -> bool {
    let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    text.parse::<Ipv4Addr>().is_ok() || inside.is_some_and(|inside| inside.parse::<Ipv6Addr>().is_ok())
}

fn check_name(name: &str) -> Result<(), HostError> {
    match name {
        _ if name.contains('/') => Err(HostError::Uri),
        _ if name.contains('*') => Err(HostError::Wildcard),
        _ if name.parse::<Ipv6Addr>().is_ok() => Err(HostError::Malformed),
        _ if name.contains(':') => Err(HostError::Port),
        _ if !name.is_ascii() => Err(HostError::NotAscii),
        _ if name.ends_with('.') && name.len() > 1 => Err(HostError::Dot),
        _ if upstream::check_name(name).is_err() => Err(HostError::Malformed),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hosts_are_read_in_lower_case() {
        for (text, host) in [
            ("Example.COM", Host::Exact("example.com".into())),
            ("*.Example.com", Host::Wildcard("example.com".into())),
            ("localhost", Host::Exact("localhost".into())),
            ("192.0.2.7", Host::Exact("192.0.2.7".into())),
            ("[2001:DB8::1]", Host::Exact("[2001:db8::1]".into())),
        ] {
            assert_eq!(parse(text), Ok(host), "{text}");
        }
        assert_eq!(authority("WWW.example.com:8443").as_deref(), Ok("www.example.com:8443"));
        assert_eq!(authority("[::1]").as_deref(), Ok("[::1]"));
    }

    #[test]
    fn everything_else_is_refused_with_advice() {
        use HostError as E;
        for (text, error) in [
            ("example.com:443", E::Port),
            ("*.example.com:443", E::Port),
            ("https://example.com", E::Uri),
            ("example.com/x", E::Uri),
            ("*", E::Every),
            ("*.*.example.com", E::Wildcard),
            ("www.*.com", E::Wildcard),
            ("*example.com", E::Wildcard),
            ("*.192.0.2.7", E::Wildcard),
            ("example.com.", E::Dot),
            ("bücher.example", E::NotAscii),
            ("", E::Malformed),
            ("*.", E::Malformed),
            ("::1", E::Malformed),
            ("a..b", E::Malformed),
            ("a b", E::Malformed),
            ("1.2.3", E::Malformed),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
        for text in ["a:0", "a:", "a:x", "a:70000", "", ":80", "a/b", "[::1"] {
            assert!(authority(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_verdict(text in "\\PC*|[*.a-z:\\[\\]]{0,9}") {
            let _ = (parse(&text), authority(&text));
        }
    }
}
