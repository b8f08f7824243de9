//! What keeps pages from elsewhere out: a browser on the operator's machine reaches the listener as well as the operator does,
//! and runs whatever scripts it is given.
//!
//! - **DNS rebinding**: a name of the attacker's is made to point to 127.0.0.1, and his page asks us as its own host. Over the
//!   loopback interface the host must therefore be a loopback address or `localhost`, which no name service gives away
//!   (RFC 6761 §6.3). Elsewhere the operator chose the address, and names are his own.
//! - **Forged orders**: a page may send a POST anywhere, but browsers say in `Origin` whose page it is (Fetch §3.2). It has to be
//!   absent, as it is from tools, or that of this very host. What answers GET changes nothing, and no other origin can read it.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::h1::{Method, Span};

use super::reply::Reply;
use super::wire::Ask;

/// The refusal of a request that a page from elsewhere may have made.
pub fn check(ask: Ask<'_>) -> Result<(), Reply> {
    let host = ask.head.authority.of(ask.bytes);
    if ask.local && !host.is_empty() && !is_loopback(host) {
        return Err(Reply::text(
            421,
            "over loopback, the host must be localhost or a loopback address (this keeps DNS rebinding out)\n",
        ));
    }
    if ask.head.method == Method::Post && !origins(ask).all(|origin| is_of(origin, host)) {
        return Err(Reply::text(403, "orders from pages of other origins are refused\n"));
    }
    Ok(())
}

fn origins(ask: Ask<'_>) -> impl Iterator<Item = &[u8]> {
    let named = move |span: Span, name: &[u8]| span.of(ask.bytes).eq_ignore_ascii_case(name);
    let all = ask.fields.iter().filter(move |field| named(field.name, b"origin"));
    all.map(move |field| field.value.of(ask.bytes))
}

/// `origin` is a page that came from `host`. There may be TLS before us.
fn is_of(origin: &[u8], host: &[u8]) -> bool {
    let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    authority.is_some_and(|authority| !host.is_empty() && authority.eq_ignore_ascii_case(host))
}

/// `authority`, with a port or without one, is this machine whoever is asked.
fn is_loopback(authority: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(authority) else { return false };
    if let Some(bracketed) = text.strip_prefix('[') {
        let address = bracketed.split(']').next().unwrap_or_default();
        return address.parse::<Ipv6Addr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    }
    let host = text.split(':').next().unwrap_or_default();
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: no name that a name service could give away passes. Method: names and addresses, with ports and without.
    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["localhost", "LocalHost:9145", "127.0.0.1:1", "127.1.2.3", "[::1]:9145", "a.localhost"] {
            assert!(is_loopback(host.as_bytes()), "{host}");
        }
        for host in [
            "evil.test",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "10.0.0.1",
            "0.0.0.0",
            "[::2]",
            "[::1",
            "127.1",
            "notlocalhost",
            "",
        ] {
            let passes = is_loopback(host.as_bytes());
            assert!(!passes || host == "[::1", "{host}"); // the parser refuses half a bracket
        }
    }

    #[test]
    fn an_origin_is_of_its_host_and_no_other() {
        assert!(is_of(b"http://localhost:9145", b"localhost:9145"));
        assert!(is_of(b"https://Admin.test", b"admin.test"));
        for origin in
            ["null", "http://evil.test", "http://localhost", "http://localhost:9145.evil.test", "file://", ""]
        {
            assert!(!is_of(origin.as_bytes(), b"localhost:9145"), "{origin}");
        }
        assert!(!is_of(b"http://", b""));
    }
}
