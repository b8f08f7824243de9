//! Networks of peers: `10.0.0.0/8`, or one address.

use std::net::IpAddr;

use ipnet::IpNet;
use thiserror::Error;

/// Not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected an address or a network in CIDR form, such as 10.0.0.0/8, 192.168.1.7 or fd00::/8")]
pub struct NetworkError;

/// Reads one network. Host bits are cleared: `10.1.2.3/8` is `10.0.0.0/8`.
///
/// # Errors
/// Neither an address nor a network.
pub fn parse(text: &str) -> Result<IpNet, NetworkError> {
    let text = text.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    text.parse().map(|net: IpNet| net.trunc()).map_err(|_| NetworkError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn networks_are_read() {
        let cases = [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("192.168.1.7", "192.168.1.7/32"),
            ("::1", "::1/128"),
            ("fd00::/8", "fd00::/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ];
        for (text, network) in cases {
            assert_eq!(parse(text).unwrap().to_string(), network, "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let cases = ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/-1", "10.0.0.0/+8", "localhost"];
        for text in cases.into_iter().chain(["10.0.0.0/8/8", "10.0.0.0/8 ;", "１０.0.0.0/8", "10.0.0.1:80"])
        {
            assert_eq!(parse(text), Err(NetworkError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_verdict(text in "\\PC*") {
            let _ = parse(&text);
        }
    }
}
