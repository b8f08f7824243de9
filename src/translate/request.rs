//! Requests: a client's HTTP/2 head as HTTP/1.1 bytes, and the engine's HTTP/1.1 head for an HTTP/2 origin.

use h2::ext::Protocol;
use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Method, Request};

use crate::h1::field::list;
use crate::h1::{Known, RequestHead};
use crate::proxy::forward::Source;

use super::{Body, Malformed, WEBSOCKET, fields};

/// What the engine is told of a stream beside its head.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// `:protocol` of an extended CONNECT (RFC 8441).
    pub protocol: Option<&'a str>,
    /// `Sec-WebSocket-Key` for an origin that speaks HTTP/1.1; HTTP/2 has none.
    pub websocket_key: &'a str,
    /// The head ended the stream: there is no body.
    pub ended: bool,
}

/// Appends the head as HTTP/1.1 has it.
///
/// # Errors
/// The request is malformed (RFC 9113 §8.1.1).
pub fn write_head(parts: &Parts, opening: Opening<'_>, out: &mut Vec<u8>) -> Result<Body, Malformed> {
    let tunnel = tunnel_protocol(parts, opening)?;
    let method = if tunnel.is_some() { "GET" } else { parts.method.as_str() };
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target(parts)?.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    fields::line(out, b"host", authority(parts)?);
    fields::write(&parts.headers, out)?;
    cookies(parts, out);
    let body = match tunnel {
        Some(protocol) => {
            fields::line(out, b"connection", b"upgrade");
            fields::line(out, b"upgrade", protocol.as_bytes());
            fields::line(out, b"sec-websocket-key", opening.websocket_key.as_bytes());
            Body::Tunnel
        }
        None => framing(parts, opening.ended, out),
    };
    out.extend_from_slice(b"\r\n");
    Ok(body)
}

/// Plain CONNECT has no path and is not served; extended CONNECT names what to speak. `h2` does not look at the name, so
/// nothing but the one that is served may pass.
fn tunnel_protocol<'a>(parts: &Parts, opening: Opening<'a>) -> Result<Option<&'a str>, Malformed> {
    match (parts.method == Method::CONNECT, opening.protocol) {
        (true, Some(WEBSOCKET)) if !opening.ended => Ok(Some(WEBSOCKET)),
        (true, Some(protocol)) if protocol != WEBSOCKET => Err(Malformed::Protocol),
        (false, None) => Ok(None),
        (true, _) | (false, Some(_)) => Err(Malformed::Connect),
    }
}

fn target(parts: &Parts) -> Result<&str, Malformed> {
    let target = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    let whole = target == "*" && parts.method == Method::OPTIONS;
    let scheme = parts.uri.scheme_str().unwrap_or("http");
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Malformed::Scheme);
    }
    if target.starts_with('/') || whole { Ok(target) } else { Err(Malformed::Path) }
}

/// `:authority`, or `Host` in its place; both only when they agree.
fn authority(parts: &Parts) -> Result<&[u8], Malformed> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (host, another) = (hosts.next().map(HeaderValue::as_bytes), hosts.next());
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    match (authority, host, another) {
        (Some(authority), None, _) => Ok(authority),
        (None, Some(host), None) => Ok(host),
        (Some(authority), Some(host), None) if authority.eq_ignore_ascii_case(host) => Ok(authority),
        _ => Err(Malformed::Authority),
    }
}

/// HTTP/2 may split a cookie into crumbs; HTTP/1.1 wants one field (RFC 9113 §8.2.3).
fn cookies(parts: &Parts, out: &mut Vec<u8>) {
    for (i, crumb) in parts.headers.get_all(COOKIE).iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"cookie: " } else { b"; " });
        out.extend_from_slice(crumb.as_bytes());
    }
    if parts.headers.contains_key(COOKIE) {
        out.extend_from_slice(b"\r\n");
    }
}

fn framing(parts: &Parts, ended: bool, out: &mut Vec<u8>) -> Body {
    let mut declared = false;
    for length in parts.headers.get_all(CONTENT_LENGTH) {
        fields::line(out, b"content-length", length.as_bytes());
        declared = true;
    }
    if ended && !declared && matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) {
        fields::line(out, b"content-length", b"0"); // RFC 9110 §8.6: these methods promise a body
    }
    match (ended, declared) {
        (true, _) => Body::None,
        (false, true) => Body::Length,
        (false, false) => {
            fields::line(out, b"transfer-encoding", b"chunked");
            Body::Chunked
        }
    }
}

/// The head that the engine wrote for a request that names no host (RFC 9112 §3.2: `Host` is then empty), with `authority`
/// for it; `None` if it names one. HTTP/2 has no request without.
#[must_use]
pub fn with_authority(bytes: &[u8], authority: &str) -> Option<Vec<u8>> {
    const NAME: &[u8] = b"Host: ";
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let (before, after) = bytes.split_at_checked(line + NAME.len())?;
    let nameless = before.ends_with(NAME) && after.starts_with(b"\r\n");
    nameless.then(|| [before, authority.as_bytes(), after].concat())
}

/// The head that the engine wrote, for an origin that speaks HTTP/2. `scheme` is `http` or `https`.
///
/// # Errors
/// Something in it cannot stand in HTTP/2.
pub fn read_head(head: &RequestHead, source: Source<'_>, scheme: &str) -> Result<Request<()>, Malformed> {
    let bytes = source.bytes;
    let tunnel = opens_tunnel(head, source);
    let path = [head.path_prefix(bytes), head.path.of(bytes)].concat();
    let uri = Uri::builder().scheme(scheme).authority(head.authority.of(bytes));
    let uri = uri.path_and_query(path.as_slice()).build().map_err(|_| Malformed::Path)?;
    let method = if tunnel { b"CONNECT" } else { head.method_span.of(bytes) };
    let mut request = Request::builder().method(method).uri(uri);
    if tunnel {
        request = request.extension(Protocol::from_static(WEBSOCKET));
    }
    for (name, value) in fields::read(bytes, source.fields) {
        if !(tunnel && name == "sec-websocket-key") {
            request = request.header(name, value);
        }
    }
    request.body(()).map_err(|_| Malformed::Head)
}

/// Whether this request asks for the one tunnel that HTTP/2 has (RFC 8441). An offer of another protocol is one that
/// the origin does not take up (RFC 9110 §7.8).
#[must_use]
pub fn opens_tunnel(head: &RequestHead, source: Source<'_>) -> bool {
    let websocket = |token: &[u8]| token.eq_ignore_ascii_case(WEBSOCKET.as_bytes());
    head.upgrade && source.values(Known::Upgrade).flat_map(list).any(websocket)
}
