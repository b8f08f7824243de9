//! One probe: a connection of its own, made as traffic makes it, and what is asked on it.
//!
//! ```text
//!   connect ─▶ PROXY header ─▶ TLS ─▶ (tcp: good)
//!                                 └─▶ GET in HTTP/1.1 or HTTP/2 ─▶ status within `expect`: good
//! ```
//! Whoever calls sets the deadline, and keeps it by dropping the probe.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::group::Probe;
use crate::config::{ProxyVersion, Security};
use crate::h1::head::{Parsed, parse_response};
use crate::h1::{Fields, Framing, HeadError, Method, ResponseHead};
use crate::limits;
use crate::net::connect::{self, Begun};
use crate::net::site::Site;
use crate::net::socket::Socket;
use crate::net::tls::handshake;
use crate::proxy::endpoint::{Address, Endpoint};
use crate::proxy::proxy_protocol;

use super::http2;
use super::terms::{Answer, Bad, Closing, Target, USER_AGENT};

/// Probes `target` once.
///
/// # Errors
/// It gave no answer.
pub async fn run(target: &Target, site: &Site) -> Result<Answer, Bad> {
    let endpoint = &target.endpoint;
    let mut socket = reach(&endpoint.address).await?;
    if let Some(version) = target.send_proxy {
        introduce(version, &mut socket).await?;
    }
    let mut socket = secure(endpoint, site, socket).await?;
    let Probe::Http { path, host, expect } = &target.check.probe else {
        socket.goodbye();
        return Ok(Answer { bad: None, closing: Box::pin(async {}) });
    };
    let host = host.as_deref().map_or_else(|| host_of(endpoint), str::to_owned);
    let (status, closing) = if endpoint.scheme.http2 {
        http2::ask(socket, endpoint.scheme, &host, path).await?
    } else {
        send(&mut socket, request(&host, path).as_bytes()).await?;
        let (status, rest) = response(&mut socket, site).await?;
        (status, Box::pin(see_off(socket, rest)) as Closing)
    };
    let (first, last) = *expect;
    let bad = (!(first..=last).contains(&status)).then_some(Bad::Status(status));
    Ok(Answer { bad, closing })
}

async fn reach(address: &Address) -> Result<Socket, Bad> {
    match connect::begin(address).map_err(not_connected)? {
        Begun::Connected(socket) => Ok(socket),
        Begun::Pending(mut socket) => {
            poll_fn(|cx| socket.poll_writable(cx)).await;
            socket.connect_result().map_err(not_connected)?;
            Ok(socket)
        }
    }
}

/// Whose trouble it is that there is no connection.
fn not_connected(error: io::Error) -> Bad {
    if connect::is_ours(&error) { Bad::Ours(error) } else { Bad::Connect(error) }
}

/// Says that the connection is ours and no client's.
async fn introduce(version: ProxyVersion, socket: &mut Socket) -> Result<(), Bad> {
    let mut header = Vec::new();
    proxy_protocol::write_own(version, &mut header);
    send(socket, &header).await
}

async fn secure(endpoint: &Endpoint, site: &Site, socket: Socket) -> Result<Socket, Bad> {
    let Some(name) = &endpoint.server_name else { return Ok(socket) };
    let config = site.upstream_tls.of(endpoint.scheme);
    let config = config.ok_or_else(|| Bad::Tls(ErrorKind::NotFound.into()))?;
    let socket = handshake::connect(Arc::clone(config), name, socket).await.map_err(Bad::Tls)?;
    // RFC 9113 §3.2: with TLS, HTTP/2 is spoken where ALPN has agreed on it.
    let agreed = !endpoint.scheme.http2 || socket.tls().is_some_and(|tls| tls.speaks_h2());
    if agreed { Ok(socket) } else { Err(Bad::Alpn) }
}

async fn send(socket: &mut Socket, mut rest: &[u8]) -> Result<(), Bad> {
    while !rest.is_empty() {
        match socket.try_write(&[IoSlice::new(rest)])? {
            0 => poll_fn(|cx| socket.poll_writable(cx)).await,
            n => rest = rest.get(n..).unwrap_or_default(),
        }
    }
    Ok(())
}

async fn receive(socket: &mut Socket, chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        poll_fn(|cx| socket.poll_readable(cx)).await;
        if let Some(n) = socket.try_read(chunk)? {
            return Ok(n);
        }
    }
}

fn request(host: &str, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
}

/// The Host of an endpoint that nobody has given one: the name that it was written with where that is known, else its
/// address, and the port where it is not that of the scheme.
fn host_of(endpoint: &Endpoint) -> String {
    let address = match &endpoint.address {
        Address::Tcp(address) => address,
        Address::Unix(_) => return "localhost".to_owned(),
    };
    let name = endpoint.server_name.as_deref().filter(|name| name.parse::<IpAddr>().is_err());
    let host = match (name, address.ip()) {
        (Some(name), _) => name.to_owned(),
        (None, IpAddr::V4(ip)) => ip.to_string(),
        (None, IpAddr::V6(ip)) => format!("[{ip}]"),
    };
    let usual = if endpoint.scheme.security == Security::Clear { 80 } else { 443 };
    if address.port() == usual { host } else { format!("{host}:{}", address.port()) }
}

/// The status of the response, by the parser and within the limits of traffic, and how many bytes follow, if the head
/// says so. Interim responses are passed over.
async fn response(socket: &mut Socket, site: &Site) -> Result<(u16, Option<u64>), Bad> {
    let limits = &site.config.message;
    let (mut bytes, mut at, mut fields) = (Vec::new(), 0, Fields::default());
    let mut chunk = [0; limits::PROBE_READ_BYTES];
    loop {
        let head = bytes.get(at..).unwrap_or_default();
        match parse_response(head, limits, Method::Get, &mut fields)? {
            Parsed::Complete(head) if head.status < 200 && head.status != 101 => {
                at += head.bytes;
                // Together they have as much room as one head.
                if at > limits.head_bytes_max {
                    return Err(HeadError::HeadTooLarge.into());
                }
            }
            Parsed::Complete(head) => return Ok((head.status, rest(&head, bytes.len() - at))),
            Parsed::Partial => match receive(socket, &mut chunk).await? {
                0 => return Err(Bad::Closed),
                n => bytes.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            },
        }
    }
}

/// What is to come behind a head, with `here` bytes of it and what follows here already; `None` is whatever comes until
/// the origin closes.
fn rest(head: &ResponseHead, here: usize) -> Option<u64> {
    let body = (here - head.bytes) as u64;
    match head.framing {
        Framing::None => Some(0),
        Framing::Length(length) => Some(length.saturating_sub(body)),
        Framing::Chunked | Framing::UntilClose => None,
    }
}

/// Reads the rest of a response, up to a bound: closed with bytes unread, the connection would be reset, and the origin
/// would log an error for each probe.
async fn see_off(mut socket: Socket, mut rest: Option<u64>) {
    let mut chunk = [0; limits::PROBE_READ_BYTES];
    for _ in 0..limits::PROBE_BODY_READS_MAX {
        if rest == Some(0) {
            break;
        }
        match receive(&mut socket, &mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(n) => rest = rest.map(|rest| rest.saturating_sub(n as u64)),
        }
    }
    socket.goodbye();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Scheme, Upstream};

    #[test]
    fn the_host_is_the_name_or_the_address_with_its_port() {
        let endpoint = |address: &str, http2, security, name: Option<&str>| Endpoint {
            scheme: Scheme { http2, security },
            server_name: name.map(Into::into),
            ..Endpoint::new(Address::Tcp(address.parse().unwrap()))
        };
        for (endpoint, host) in [
            (endpoint("10.0.0.1:3000", false, Security::Clear, None), "10.0.0.1:3000"),
            (endpoint("10.0.0.1:80", true, Security::Clear, None), "10.0.0.1"),
            (endpoint("10.0.0.1:443", false, Security::Tls, Some("app.example")), "app.example"),
            (endpoint("10.0.0.1:444", true, Security::Tls, Some("app.example")), "app.example:444"),
            (endpoint("[::1]:443", false, Security::Tls, Some("::1")), "[::1]"),
            (endpoint("[::1]:80", false, Security::TlsUnchecked, Some("::1")), "[::1]:80"),
            (Endpoint::new(Address::Unix("/run/app".into())), "localhost"),
        ] {
            assert_eq!(host_of(&endpoint), host);
        }
        let name = Upstream::from(std::net::SocketAddr::from(([10, 0, 0, 1], 80)));
        assert_eq!(host_of(&Endpoint::of(&name, Address::Tcp(([10, 0, 0, 1], 80).into()))), "10.0.0.1");
    }
}
