//! Addresses of origins: `host:port`, `ip:port`, `[v6]:port`, `unix:/path`, `h2c+unix:/path`, and `scheme://host[:port]`
//! with the schemes of [`Scheme`].

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use thiserror::Error;

use super::listen::port_number;
use crate::config::{Origin, Scheme, Security, Upstream};

/// Port of a host in the clear.
const CLEAR_PORT: u16 = 80;
/// Port of a host with TLS.
const TLS_PORT: u16 = 443;
/// Longest host name in bytes (RFC 1035 §2.3.4, less the root).
const HOST_BYTES_MAX: usize = 253;
/// Longest label of a host name in bytes (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;
/// Longest path of a Unix socket in bytes: `sun_path` of unix(7) less its NUL.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// Why an upstream was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UpstreamError {
    /// A scheme that is none.
    #[error(
        "unknown scheme: write host:port, http://, https://, h2c:// (HTTP/2), h2:// (HTTP/2 with TLS), unix:/path or \
         h2c+unix:/path; https+insecure:// and h2+insecure:// check no certificate"
    )]
    UnknownScheme,
    /// A path, a query or a fragment.
    #[error("a path is not supported: targets are forwarded unchanged, so write {0} alone")]
    Path(String),
    /// Credentials.
    #[error("user names and passwords are not supported: write http://host:port")]
    UserInfo,
    /// Nothing says which port.
    #[error("no port: write host:3000, or http://host for port 80")]
    NoPort,
    /// Not a port one can connect to.
    #[error("the port has to be a number from 1 to 65535, such as 127.0.0.1:3000")]
    Port,
    /// IPv6 outside brackets.
    #[error("an IPv6 address is written in brackets, such as [::1]:3000")]
    Brackets,
    /// Neither a name nor an address.
    #[error(
        "expected the name or the address of a host, such as app.internal:3000, 127.0.0.1:3000, \
         [::1]:3000, http://app.internal, https://app.internal or unix:/run/app.sock"
    )]
    Host,
    /// A name that is not ASCII.
    #[error("a host name is written in ASCII: use its xn-- form, such as xn--bcher-kva.example:3000")]
    NotAscii,
    /// A path no socket can have.
    #[error("expected an absolute path of up to 107 bytes without commas, such as unix:/run/app.sock")]
    UnixPath,
}

/// Reads one `--upstream`.
///
/// # Errors
/// Says what is wrong and what to write.
pub fn parse(text: &str) -> Result<Upstream, UpstreamError> {
    let text = text.trim();
    if let Some(path) = strip_prefix(text, "unix:") {
        return unix(path, Scheme::default());
    }
    if let Some(path) = strip_prefix(text, "h2c+unix:") {
        return unix(path, Scheme { http2: true, security: Security::Clear });
    }
    match text.split_once("://") {
        Some((scheme, rest)) => url(scheme, rest),
        None if is_scheme_of_its_own(text) => Err(UpstreamError::UnknownScheme),
        None => Ok(Upstream { origin: authority(text, None)?, scheme: Scheme::default() }),
    }
}

/// `h2c:host` for `h2c://host`, `h2+unix:/path` for what there is not.
fn is_scheme_of_its_own(text: &str) -> bool {
    let (before, after) = text.split_once(':').unwrap_or((text, "0"));
    let known = Scheme::ALL.into_iter().any(|scheme| scheme.name().eq_ignore_ascii_case(before));
    known && after.parse::<u16>().is_err() || text.contains("+unix:")
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// `unix:/path`, and `unix:///path` as URLs have it.
fn unix(path: &str, scheme: Scheme) -> Result<Upstream, UpstreamError> {
    let path = path.strip_prefix("//").unwrap_or(path);
    let names_a_file = path.starts_with('/') && !path.ends_with('/');
    let clean = !path.chars().any(|c| c.is_control() || c == ',');
    if names_a_file && clean && path.len() <= UNIX_PATH_BYTES_MAX {
        Ok(Upstream { origin: Origin::Unix(PathBuf::from(path)), scheme })
    } else {
        Err(UpstreamError::UnixPath)
    }
}

fn url(scheme: &str, rest: &str) -> Result<Upstream, UpstreamError> {
    let known = Scheme::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(scheme));
    let scheme = known.ok_or(UpstreamError::UnknownScheme)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let clear = scheme.security == Security::Clear;
    if strip_prefix(rest, "unix:").is_some() {
        return Err(UpstreamError::UnknownScheme);
    }
    let origin = authority(rest, Some(if clear { CLEAR_PORT } else { TLS_PORT }));
    let origin = origin.map_err(|error| match error {
        UpstreamError::Path(host) => UpstreamError::Path(format!("{}://{host}", scheme.name())),
        other => other,
    })?;
    match origin {
        // No certificate is for an address with a scope.
        Origin::Address(SocketAddr::V6(address)) if !clear && address.scope_id() != 0 => {
            Err(UpstreamError::Host)
        }
        origin => Ok(Upstream { origin, scheme }),
    }
}

/// `host[:port]`; `default_port` serves where none is written.
fn authority(text: &str, default_port: Option<u16>) -> Result<Origin, UpstreamError> {
    if let Some(end) = text.find(['/', '?', '#']) {
        return Err(UpstreamError::Path(text.get(..end).unwrap_or_default().to_owned()));
    }
    if text.contains('@') {
        return Err(UpstreamError::UserInfo);
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(UpstreamError::Brackets);
    }
    let (host, port) = split_port(text);
    let port = match (port, default_port) {
        (Some(port), _) => port_number(port).filter(|port| *port != 0).ok_or(UpstreamError::Port)?,
        (None, Some(port)) => port,
        (None, None) if host.is_empty() => return Err(UpstreamError::Host),
        (None, None) => return Err(UpstreamError::NoPort),
    };
    host_and_port(host, port)
}

/// Splits the port off; a colon inside brackets is not its mark.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((_, after)) if after.ends_with(']') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

fn host_and_port(host: &str, port: u16) -> Result<Origin, UpstreamError> {
    if host.starts_with('[') {
        // Through `SocketAddr`, because it alone reads a scope (`[fe80::1%2]`).
        let address: SocketAddr = format!("{host}:{port}").parse().map_err(|_| UpstreamError::Host)?;
        return Ok(Origin::Address(address));
    }
    if host.contains(':') {
        return Err(UpstreamError::Brackets);
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Ok(Origin::Address((ip, port).into()));
    }
    check_name(host)?;
    Ok(Origin::Name { host: host.to_ascii_lowercase(), port })
}

/// A name as resolvers take it, underscores included (container tools make such names). A name whose last
/// label is a number is a mistyped IPv4 address: resolvers read `1.2.3` as `1.2.0.3`.
pub(super) fn check_name(host: &str) -> Result<(), UpstreamError> {
    if !host.is_ascii() {
        return Err(UpstreamError::NotAscii);
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let labels_are_fine = host.split('.').all(is_label);
    let last = host.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit());
    if labels_are_fine && !numeric && host.len() <= HOST_BYTES_MAX {
        Ok(())
    } else {
        Err(UpstreamError::Host)
    }
}

fn is_label(label: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !label.is_empty() && label.len() <= LABEL_BYTES_MAX && !label.starts_with('-') && label.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> Upstream {
        text.parse::<SocketAddr>().unwrap().into()
    }

    fn name(host: &str, port: u16) -> Upstream {
        Upstream { origin: Origin::Name { host: host.to_owned(), port }, scheme: Scheme::default() }
    }

    fn unix_socket(path: &str) -> Upstream {
        Upstream { origin: Origin::Unix(path.into()), scheme: Scheme::default() }
    }

    fn with(scheme: &str, upstream: Upstream) -> Upstream {
        let scheme = Scheme::ALL.into_iter().find(|known| known.name() == scheme).unwrap();
        Upstream { scheme, ..upstream }
    }

    #[test]
    fn origins_are_read() {
        let cases = [
            ("127.0.0.1:3000", address("127.0.0.1:3000")),
            ("[::1]:3000", address("[::1]:3000")),
            ("[fe80::1%2]:80", address("[fe80::1%2]:80")),
            ("app.internal:3000", name("app.internal", 3000)),
            ("my_app-1:65535", name("my_app-1", 65535)),
            ("App.Internal.:1", name("app.internal.", 1)),
            ("localhost:3000", name("localhost", 3000)),
            ("http://app", name("app", 80)),
            ("HTTP://app:8080/", name("app", 8080)),
            ("http://10.0.0.1", address("10.0.0.1:80")),
            ("http://[::1]", address("[::1]:80")),
            ("http://[::1]:81/", address("[::1]:81")),
            ("https://App", with("https", name("app", 443))),
            ("HTTPS://10.0.0.1:8443/", with("https", address("10.0.0.1:8443"))),
            ("https://[::1]", with("https", address("[::1]:443"))),
            ("https+insecure://app:1", with("https+insecure", name("app", 1))),
            ("h2c://app", with("h2c", name("app", 80))),
            ("h2c://127.0.0.1:50051", with("h2c", address("127.0.0.1:50051"))),
            ("H2://app/", with("h2", name("app", 443))),
            ("h2+insecure://[::1]:1", with("h2+insecure", address("[::1]:1"))),
            ("h2c+unix:/run/app.sock", with("h2c", unix_socket("/run/app.sock"))),
            ("unix:/run/app.sock", unix_socket("/run/app.sock")),
            ("unix:///run/app.sock", unix_socket("/run/app.sock")),
            ("unix:/run/ä b.sock", unix_socket("/run/ä b.sock")),
        ];
        for (text, upstream) in cases {
            assert_eq!(parse(text), Ok(upstream), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_advice() {
        use UpstreamError as E;
        let cases = [
            ("", E::Host),
            ("app", E::NoPort),
            ("127.0.0.1", E::NoPort),
            ("[::1]", E::NoPort),
            ("app:", E::Port),
            ("app:0", E::Port),
            ("app:65536", E::Port),
            ("app:+80", E::Port),
            ("app:-80", E::Port),
            ("app:８０", E::Port),
            ("app:99999999999999999999", E::Port),
            ("http://app:", E::Port),
            (":3000", E::Host),
            ("http://", E::Host),
            ("http:///", E::Host),
            ("::1", E::Brackets),
            ("::1:3000", E::Brackets),
            ("2001:db8::1:3000", E::Brackets),
            ("[::1:3000", E::Host),
            ("[app]:3000", E::Host),
            ("[::1%eth0]:3000", E::Host),
            ("1.2.3:80", E::Host),
            ("256.1.1.1:80", E::Host),
            ("3000:80", E::Host),
            ("a..b:80", E::Host),
            ("-a:80", E::Host),
            ("a b:80", E::Host),
            ("a\r\nb:80", E::Host),
            ("a\0b:80", E::Host),
            ("bücher.example:80", E::NotAscii),
            ("https://app:0", E::Port),
            ("https://[fe80::1%2]", E::Host),
            ("https://app/api", E::Path("https://app".into())),
            ("h2://app/api", E::Path("h2://app".into())),
            ("h2+insecure://[fe80::1%2]", E::Host),
            ("http+insecure://app", E::UnknownScheme),
            ("h2+unix:/run/app.sock", E::UnknownScheme),
            ("ftp://app", E::UnknownScheme),
            ("h2c:app", E::UnknownScheme),
            ("h2:app:80x", E::UnknownScheme),
            ("h2c://unix:/run/app.sock", E::UnknownScheme),
            ("http://app/api", E::Path("http://app".into())),
            ("http://app//", E::Path("http://app".into())),
            ("http://app:81?x", E::Path("http://app:81".into())),
            ("app:80#x", E::Path("app:80".into())),
            ("http://user:secret@app", E::UserInfo),
            ("unix:", E::UnixPath),
            ("unix:run/app.sock", E::UnixPath),
            ("unix:@abstract", E::UnixPath),
            ("unix:/run/", E::UnixPath),
            ("unix:/run/a\nb", E::UnixPath),
        ];
        for (text, error) in cases {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let label = "a".repeat(63);
        assert!(parse(&format!("{label}:80")).is_ok());
        assert!(parse(&format!("{label}a:80")).is_err());
        let long = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert!(parse(&format!("{long}:80")).is_ok());
        assert!(parse(&format!("{long}a:80")).is_err());
        assert!(parse(&format!("unix:/{}", "a".repeat(106))).is_ok());
        assert!(parse(&format!("unix:/{}", "a".repeat(107))).is_err());
    }

    /// Any text, and texts that are nearly addresses.
    const NEAR_MISS: &str =
        "\\PC*|((https?|h2c?)(\\+insecure)?://|(h2c\\+)?unix:/?)?[a-z0-9.:%\\[\\]/]{0,20}(:[0-9]{1,5})?";

    proptest! {
        #[test]
        fn what_is_read_prints_as_itself(text in NEAR_MISS) {
            if let Ok(upstream) = parse(&text) {
                prop_assert_eq!(parse(&upstream.to_string()), Ok(upstream));
            }
        }
    }
}
