//! Heads as they are forwarded: hop-by-hop fields removed, framing and forwarding fields rewritten.
//!
//! Everything a head says about *this* hop stays behind (RFC 9110 §7.6.1), and is said anew for the next
//! one. `Connection` may name further fields to remove, but never those that decide routing or framing, or
//! that origins believe because a proxy wrote them: that would let a client delete them.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::config::group::Sticky;
use crate::config::route::FieldEdits;
use crate::h1::field::list;
use crate::h1::{Framing, Known, Method, RequestHead, ResponseHead, Version};

use super::balance::sticky;
use super::edits;
use super::flow::Outgoing;
use super::routing::without_port;
pub use super::source::Source;

/// What the hop adds to a request head.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// The client is one of `--trusted-proxies`: what it says about earlier hops is believed.
    pub trusted: bool,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The request came in HTTP/2, whatever its head says now.
    pub http2: bool,
    /// Subject of the client's certificate, which was verified.
    pub client_subject: Option<&'a str>,
    /// The identifier used when the request brings none that is believed.
    pub request_id: &'a [u8],
    /// Also send RFC 7239 `Forwarded`.
    pub forwarded: bool,
    /// Pass field names with `_`.
    pub allow_underscores: bool,
}

/// What the route of a request makes of its head.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// The target to write, when it is not the one that came ([`super::routing::path`], [`super::rewrite`]).
    pub target: Option<&'a [u8]>,
    /// Changes to its fields.
    pub edits: &'a FieldEdits,
}

impl Route<'static> {
    /// Nothing is made of it.
    pub const PLAIN: Route<'static> = Route { target: None, edits: &edits::NONE };
}

/// Appends the head to forward to the origin. Always HTTP/1.1: our own version on this hop.
pub fn request(head: &RequestHead, source: Source<'_>, hop: Hop<'_>, route: Route<'_>, out: &mut Vec<u8>) {
    request_line(head, source, route.target, out);
    let host = edits::host(route.edits).map_or(head.authority.of(source.bytes), str::as_bytes);
    line(out, b"Host", host);
    request_fields(head, source, hop, route.edits, out);
    edits::write(route.edits, &["host"], out);
    request_connection(head, source, out);
    framing(head.framing, out);
    via(head.version, hop.http2, out);
    forwarding(head, source, hop, out);
    out.extend_from_slice(b"\r\n");
}

fn request_fields(
    head: &RequestHead,
    source: Source<'_>,
    hop: Hop<'_>,
    edits: &FieldEdits,
    out: &mut Vec<u8>,
) {
    let edited = !edits.is_empty();
    let nominates = source.nominates_fields();
    for field in source.fields {
        let name = field.name.of(source.bytes);
        let value = field.value.of(source.bytes);
        let keep = match field.known {
            Known::Other => {
                may_claim(name, hop)
                    && (!name.contains(&b'_') || hop.allow_underscores && !spells_a_known_name(name))
                    && !(nominates && source.connection_names(name))
            }
            Known::Accept | Known::Date | Known::ProxyStatus => !(nominates && source.connection_names(name)),
            Known::Trailer | Known::Via => true,
            Known::Expect => head.version == Version::Http11, // RFC 9110 §10.1.1: ignored from HTTP/1.0
            Known::MaxForwards => {
                max_forwards(head.method, value, out);
                false
            }
            // Hop-by-hop, or written anew below.
            Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::Te
            | Known::TransferEncoding
            | Known::Upgrade
            | Known::ContentLength
            | Known::Host
            | Known::Forwarded
            | Known::XForwardedFor
            | Known::XForwardedProto
            | Known::XForwardedHost
            | Known::XRequestId => false,
        };
        if keep && !(edited && edits::replaces(edits, name)) {
            line(out, name, value);
        }
    }
}

/// Names that origins believe because only a proxy should write them (`X-Forwarded-Port`, `-Prefix`, `-Ssl`, ...).
fn claims_a_hop(name: &[u8]) -> bool {
    const FAMILY: &[u8] = b"x-forwarded-";
    name.get(..FAMILY.len()).is_some_and(|start| edits::is_same_name(start, FAMILY))
        || edits::is_same_name(name, b"x-real-ip")
}

/// A name that is written anew for this hop, or that frames a message, spelt with `_`.
fn spells_a_known_name(name: &[u8]) -> bool {
    const LONGEST: usize = 32;
    let mut spelt = [0; LONGEST];
    let Some(spelt) = spelt.get_mut(..name.len()) else { return false };
    for (to, from) in spelt.iter_mut().zip(name) {
        *to = if *from == b'_' { b'-' } else { *from };
    }
    Known::of(spelt) != Known::Other
}

/// Whether the peer may send a field of this name, as far as fields that only a proxy should write go.
fn may_claim(name: &[u8], hop: Hop<'_>) -> bool {
    !claims_a_certificate(name) && (hop.trusted || !claims_a_hop(name))
}

/// Names that tell of a client's certificate: ours to write, whoever the peer is, and whatever an origin makes of `_`.
fn claims_a_certificate(name: &[u8]) -> bool {
    const FAMILY: &[u8] = b"x-client-cert";
    name.get(..FAMILY.len()).is_some_and(|start| edits::is_same_name(start, FAMILY))
}

/// Appends the `Location` of a redirect to `https`: the same host and target.
pub fn location(head: &RequestHead, bytes: &[u8], port: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(b"https://");
    out.extend_from_slice(without_port(head.authority.of(bytes)));
    if port != 443 {
        print(out, format_args!(":{port}"));
    }
    match (head.path_prefix(bytes), head.path.of(bytes)) {
        (b"*", _) | (_, b"*") => out.push(b'/'), // OPTIONS *: for the server as a whole
        (prefix, path) => {
            out.extend_from_slice(prefix);
            out.extend_from_slice(path);
        }
    }
}

fn request_line(head: &RequestHead, source: Source<'_>, target: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(head.method_span.of(source.bytes));
    out.push(b' ');
    match target {
        Some(target) => out.extend_from_slice(target),
        None => {
            out.extend_from_slice(head.path_prefix(source.bytes));
            out.extend_from_slice(head.path.of(source.bytes));
        }
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// `Connection`, `Upgrade` and `TE` for the next hop. `TE: trailers` is the client's word that trailers
/// reach somebody who wants them (RFC 9110 §10.1.4; gRPC origins insist on it).
fn request_connection(head: &RequestHead, source: Source<'_>, out: &mut Vec<u8>) {
    let trailers = source.values(Known::Te).flat_map(list).any(|token| {
        token.split(|&b| b == b';').next().is_some_and(|t| t.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    });
    match (head.upgrade, trailers) {
        (true, true) => line(out, b"Connection", b"upgrade, TE"),
        (true, false) => line(out, b"Connection", b"upgrade"),
        (false, true) => line(out, b"Connection", b"TE"),
        (false, false) => {}
    }
    if head.upgrade {
        upgrade(source, out);
    }
    if trailers {
        line(out, b"TE", b"trailers");
    }
}

/// The protocols offered, without `h2c`: an origin that accepted it would speak HTTP/2 past every check.
fn upgrade(source: Source<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Upgrade: ");
    let tokens =
        source.values(Known::Upgrade).flat_map(list).filter(|token| !token.eq_ignore_ascii_case(b"h2c"));
    for (i, token) in tokens.enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(token);
    }
    out.extend_from_slice(b"\r\n");
}

fn framing(framing: Framing, out: &mut Vec<u8>) {
    match framing {
        Framing::Length(n) => number_line(out, b"Content-Length", n),
        Framing::Chunked => line(out, b"Transfer-Encoding", b"chunked"),
        Framing::None | Framing::UntilClose => {}
    }
}

/// RFC 9110 §7.6.2: counted down for OPTIONS (TRACE is refused), passed as it is otherwise. Zero never gets
/// here: [`answers_itself`].
fn max_forwards(method: Method, value: &[u8], out: &mut Vec<u8>) {
    match (method, decimal(value)) {
        (Method::Options, Some(n)) => number_line(out, b"Max-Forwards", n.saturating_sub(1)),
        _ => line(out, b"Max-Forwards", value),
    }
}

/// RFC 9110 §7.6.2: OPTIONS with `Max-Forwards: 0` is for us, not for the origin.
#[must_use]
pub fn answers_itself(head: &RequestHead, source: Source<'_>) -> bool {
    head.method == Method::Options && source.values(Known::MaxForwards).any(|value| decimal(value) == Some(0))
}

fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn via(received: Version, http2: bool, out: &mut Vec<u8>) {
    line(
        out,
        b"Via",
        match received {
            _ if http2 => b"2.0 ringress",
            Version::Http10 => b"1.0 ringress",
            Version::Http11 => b"1.1 ringress",
        },
    );
}

/// The identifier of the exchange: the request's own when its sender is trusted, else the one made for it.
#[must_use]
pub fn request_id<'a>(source: Source<'a>, hop: Hop<'a>) -> &'a [u8] {
    let told = source.values(Known::XRequestId).next().filter(|id| hop.trusted && !id.is_empty());
    told.unwrap_or(hop.request_id)
}

fn forwarding(head: &RequestHead, source: Source<'_>, hop: Hop<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"X-Forwarded-For: ");
    for told in believed(source, hop, Known::XForwardedFor) {
        out.extend_from_slice(told);
        out.extend_from_slice(b", ");
    }
    address(hop.client, out);
    out.extend_from_slice(b"\r\n");
    let scheme = believed(source, hop, Known::XForwardedProto).next().unwrap_or(hop.scheme.as_bytes());
    line(out, b"X-Forwarded-Proto", scheme);
    let authority = head.authority.of(source.bytes);
    let host = believed(source, hop, Known::XForwardedHost).next().unwrap_or(authority);
    if !host.is_empty() {
        line(out, b"X-Forwarded-Host", host);
    }
    line(out, b"X-Request-Id", request_id(source, hop));
    if let Some(subject) = hop.client_subject {
        line(out, b"X-Client-Cert-Subject", subject.as_bytes());
    }
    if hop.forwarded {
        rfc7239(authority, source, hop, out);
    } else {
        for told in believed(source, hop, Known::Forwarded) {
            line(out, b"Forwarded", told);
        }
    }
}

fn believed<'a>(source: Source<'a>, hop: Hop<'_>, known: Known) -> impl Iterator<Item = &'a [u8]> {
    let trusted = hop.trusted;
    source.values(known).filter(move |value| trusted && !value.is_empty())
}

/// The client behind trusted proxies: the last address of `X-Forwarded-For` that is not one of theirs. What
/// stands before it was written by somebody who is not trusted.
#[must_use]
pub fn client_behind(source: Source<'_>, hop: Hop<'_>, trusted: &[IpNet]) -> Option<IpAddr> {
    if !hop.trusted {
        return None;
    }
    let mut client = None;
    for told in source.values(Known::XForwardedFor).flat_map(list) {
        let address = std::str::from_utf8(told).ok().and_then(address_in);
        let proxied = address.is_some_and(|ip| trusted.iter().any(|net| net.contains(&ip)));
        if !proxied {
            client = address;
        }
    }
    client
}

/// An address as proxies write them: some add the port, and bracket IPv6.
fn address_in(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(with_port).or_else(bracketed)
}

/// RFC 7239 §4: one element for this hop behind those that are believed.
fn rfc7239(authority: &[u8], source: Source<'_>, hop: Hop<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Forwarded: ");
    for told in believed(source, hop, Known::Forwarded) {
        out.extend_from_slice(told);
        out.extend_from_slice(b", ");
    }
    match hop.client.to_canonical() {
        IpAddr::V4(ip) => print(out, format_args!("for={ip}")),
        IpAddr::V6(ip) => print(out, format_args!("for=\"[{ip}]\"")),
    }
    print(out, format_args!(";proto={}", hop.scheme));
    if !authority.is_empty() && !authority.contains(&b'"') && !authority.contains(&b'\\') {
        out.extend_from_slice(b";host=\"");
        out.extend_from_slice(authority);
        out.push(b'"');
    }
    out.extend_from_slice(b"\r\n");
}

/// What the hop adds to a response head.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The client's protocol version.
    pub version: Version,
    /// The request's method.
    pub method: Method,
    /// Framing of the relayed body.
    pub outgoing: Outgoing,
    /// The client's connection stays open behind this response.
    pub keep_alive: bool,
    /// What the route changes.
    pub edits: &'a FieldEdits,
    /// A cookie that leads the client back to its endpoint.
    pub sticky: Option<(&'a Sticky, u64)>,
    /// An IMF-fixdate for an origin that sent none (RFC 9110 §6.6.1).
    pub date: &'a [u8],
}

/// Appends the final response head to relay.
pub fn response(head: &ResponseHead, source: Source<'_>, reply: Reply<'_>, out: &mut Vec<u8>) {
    status_line(head, source, out);
    response_fields(head, source, reply.edits, out);
    edits::write(reply.edits, &[], out);
    if let Some((cookie, member)) = reply.sticky {
        sticky::write(cookie, member, out);
    }
    if !head.has_date {
        line(out, b"Date", reply.date);
    }
    match (reply.outgoing, head.framing) {
        (Outgoing::Chunked, _) | (Outgoing::Same, Framing::Chunked) => {
            line(out, b"Transfer-Encoding", b"chunked")
        }
        (Outgoing::Same, Framing::Length(n)) => number_line(out, b"Content-Length", n),
        (Outgoing::Same, Framing::None) => bodiless_length(head, source, reply, out),
        (Outgoing::Same, Framing::UntilClose) | (Outgoing::UntilClose, _) => {}
    }
    match (reply.version, reply.keep_alive) {
        (_, false) => line(out, b"Connection", b"close"),
        (Version::Http10, true) => line(out, b"Connection", b"keep-alive"),
        (Version::Http11, true) => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// The length that a response to HEAD, or a 304, *would* have (RFC 9110 §8.6); never on a 204.
fn bodiless_length(head: &ResponseHead, source: Source<'_>, reply: Reply<'_>, out: &mut Vec<u8>) {
    if (reply.method == Method::Head || head.status == 304)
        && let Some(length) = source.values(Known::ContentLength).next()
    {
        line(out, b"Content-Length", length);
    }
}

/// Appends an interim (1xx) head, or the 101 that opens a tunnel. What `edits` take away goes from either; what they write
/// stands in the 101 alone, which is the last head of its exchange; so does the cookie that leads a client back.
pub fn interim(
    head: &ResponseHead,
    source: Source<'_>,
    edits: &FieldEdits,
    sticky: Option<(&Sticky, u64)>,
    out: &mut Vec<u8>,
) {
    status_line(head, source, out);
    response_fields(head, source, edits, out);
    if head.status == 101 {
        edits::write(edits, &[], out);
        if let Some((cookie, member)) = sticky {
            sticky::write(cookie, member, out);
        }
        line(out, b"Connection", b"upgrade");
        upgrade(source, out);
    }
    out.extend_from_slice(b"\r\n");
}

fn status_line(head: &ResponseHead, source: Source<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(head.status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.reason.of(source.bytes));
    out.extend_from_slice(b"\r\n");
}

fn response_fields(head: &ResponseHead, source: Source<'_>, edits: &FieldEdits, out: &mut Vec<u8>) {
    let edited = !edits.is_empty();
    let nominates = source.nominates_fields();
    for field in source.fields {
        let name = field.name.of(source.bytes);
        let keep = match field.known {
            Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::Te
            | Known::TransferEncoding
            | Known::Upgrade
            | Known::ContentLength => false,
            // RFC 9110 §6.5: announced trailers are only of use where trailers can travel.
            Known::Trailer => head.framing == Framing::Chunked,
            Known::Date | Known::Via | Known::ProxyStatus => true,
            Known::Other
            | Known::Host
            | Known::Expect
            | Known::Accept
            | Known::Forwarded
            | Known::XForwardedFor
            | Known::XForwardedProto
            | Known::XForwardedHost
            | Known::XRequestId
            | Known::MaxForwards => !(nominates && source.connection_names(name)),
        };
        if keep && !(edited && edits::replaces(edits, name)) {
            line(out, name, field.value.of(source.bytes));
        }
    }
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn number_line(out: &mut Vec<u8>, name: &[u8], value: u64) {
    line(out, name, itoa::Buffer::new().format(value).as_bytes());
}

fn address(ip: IpAddr, out: &mut Vec<u8>) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            for (i, octet) in ip.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        IpAddr::V6(ip) => print(out, format_args!("{ip}")),
    }
}

fn print(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    let _ = out.write_fmt(text);
}
