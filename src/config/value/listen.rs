//! Addresses to listen on: `IP:PORT`, `[v6]:PORT`, `:PORT`, `localhost:PORT`.
//!
//! Names are not resolved: an address to bind belongs to this machine, and a resolver has no say in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

/// Why a listen address was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ListenError {
    /// Not an address.
    #[error("expected IP:PORT, [IPv6]:PORT, :PORT or localhost:PORT, such as 127.0.0.1:8080")]
    Malformed,
    /// A port and nothing else.
    #[error("expected an address and a port, such as 127.0.0.1:8080, or :8080 for every interface")]
    PortOnly,
    /// An address and nothing else.
    #[error("no port: write 127.0.0.1:8080, or [::1]:8080 for IPv6")]
    NoPort,
    /// A host name.
    #[error("names are not resolved here: write the IP address of an interface, such as 127.0.0.1:8080")]
    Name,
}

/// The addresses that one `--listen` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen(pub Vec<SocketAddr>);

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let text = text.trim();
        if let Ok(address) = text.parse() {
            return Ok(Listen(vec![address]));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(without_colon(text));
        };
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(ListenError::NoPort);
        }
        let port = port_number(port).ok_or(ListenError::Malformed)?;
        named(host, port).map(Listen)
    }
}

/// A port: digits only (`u16` by itself would read `+80`).
pub(super) fn port_number(text: &str) -> Option<u16> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Whether a listener on `listen` is sure to be the one that answers at `address`.
#[must_use]
pub fn accepts(listen: SocketAddr, address: SocketAddr) -> bool {
    let same_host = match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.ip() == IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V4(_) | IpAddr::V6(_) => false,
    };
    listen.port() == address.port() && (same_host || listen.ip() == address.ip())
}

/// The addresses that the words in front of a port stand for.
fn named(host: &str, port: u16) -> Result<Vec<SocketAddr>, ListenError> {
    match host {
        "" => Ok(vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]),
        "localhost" => Ok(vec![(Ipv4Addr::LOCALHOST, port).into()]),
        _ if host.bytes().any(|byte| byte.is_ascii_alphabetic()) && !host.contains([':', '/']) => {
            Err(ListenError::Name)
        }
        _ => Err(ListenError::Malformed),
    }
}

fn without_colon(text: &str) -> ListenError {
    if port_number(text).is_some() {
        ListenError::PortOnly
    } else if text == "localhost" || text.parse::<Ipv4Addr>().is_ok() || text.starts_with('[') {
        ListenError::NoPort
    } else {
        ListenError::Malformed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_read() {
        let cases: [(&str, &[&str]); 7] = [
            ("127.0.0.1:8080", &["127.0.0.1:8080"]),
            ("0.0.0.0:0", &["0.0.0.0:0"]),
            ("[::1]:443", &["[::1]:443"]),
            ("[::]:65535", &["[::]:65535"]),
            (":8080", &["0.0.0.0:8080", "[::]:8080"]),
            ("localhost:80", &["127.0.0.1:80"]),
            (" 10.0.0.1:80 ", &["10.0.0.1:80"]),
        ];
        for (text, addresses) in cases {
            let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
            assert_eq!(text.parse(), Ok(Listen(addresses)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_advice() {
        use ListenError::{Malformed, Name, NoPort, PortOnly};
        let cases = [
            ("", Malformed),
            ("8080", PortOnly),
            ("127.0.0.1", NoPort),
            ("localhost", NoPort),
            ("::1", NoPort),
            ("2001:db8::1:8080", NoPort),
            ("example.com:80", Name),
            ("example.com", Malformed),
            (":65536", Malformed),
            (":-1", Malformed),
            (":+80", Malformed),
            (":", Malformed),
            (":８０", Malformed),
            ("*:80", Malformed),
            ("127.0.0.1:80:80", Malformed),
            ("256.0.0.1:80", Malformed),
            ("http://127.0.0.1:80", Malformed),
            ("127.0.0.1:99999999999999999999", Malformed),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Listen>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_verdict(text in "\\PC*") {
            let _ = text.parse::<Listen>();
        }

        #[test]
        fn every_address_is_its_own_text(ip: std::net::IpAddr, port: u16) {
            let address = SocketAddr::from((ip, port));
            prop_assert_eq!(address.to_string().parse(), Ok(Listen(vec![address])));
        }
    }
}
