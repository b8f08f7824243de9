//! Why an exchange did not end well, and what that means for the client: the one place where an error
//! becomes a status.
//!
//! The words of [`Failure::error_type`] are the proxy error types of RFC 9209 §2.3; the access log, the
//! metrics and the `Proxy-Status` field of generated responses all use them.

use crate::h1::error::{BodyError, HeadError};
use crate::time::Phase;

/// Why an exchange did not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The request head was refused.
    BadRequest(HeadError),
    /// The path of the request has no normal form ([`super::routing::path`]).
    BadPath,
    /// No route has the request.
    NoRoute,
    /// The framing of the request body was broken.
    BadRequestBody(BodyError),
    /// The request body is larger than `--max-body-bytes`.
    BodyTooLarge,
    /// The client went away before its response ended.
    ClientGone,
    /// The deadline of a phase passed.
    Timeout(Phase),
    /// The endpoint refused the connection.
    ConnectRefused,
    /// No way to the endpoint (no route, network down, no such socket).
    Unreachable,
    /// The endpoint's certificate is not one for its name, or not from an authority we trust.
    TlsCertificate,
    /// The TLS handshake with the endpoint failed.
    TlsProtocol,
    /// The request is for a name that this connection's certificate is not for.
    Misdirected,
    /// No address is known for the upstream's name.
    NameUnresolved,
    /// We have no descriptor or port left to reach the endpoint with.
    Exhausted,
    /// The endpoint was told to be spoken to in HTTP/2, and speaks something else.
    NotHttp2,
    /// The origin refused the stream before it looked at the request (RFC 9113 §8.7).
    StreamRefused,
    /// The origin reset the stream before a response, with this code (RFC 9113 §7).
    StreamReset(u32),
    /// The origin has no tunnels in HTTP/2 (RFC 8441), and one was asked for.
    NoTunnel,
    /// The upstream connection ended before the response head did.
    UpstreamClosed,
    /// The response head was refused.
    BadResponse(HeadError),
    /// The framing of the response body was broken, or it ended short.
    BadResponseBody(BodyError),
    /// The upstream connection was reset inside the response.
    ResponseCut,
    /// The origin switched protocols unasked.
    UpgradeUnasked,
    /// More interim responses than [`crate::limits::INTERIM_RESPONSES_MAX`].
    InterimFlood,
    /// One side of a tunnel broke.
    TunnelBroken,
    /// The client asked more often than a limit of its route allows.
    RateLimited,
    /// The client has as many requests under way as a limit of its route allows.
    TooManyAtOnce,
    /// No endpoint may be asked: all are down, or being drained.
    NoEndpoint,
    /// Every endpoint has as many requests as it may, and as many wait already.
    QueueFull,
    /// The request waited for an endpoint for as long as it may.
    QueueTimeout,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Client,
    /// The origin's, or the way there.
    Upstream,
    /// Ours.
    Proxy,
}

impl Failure {
    /// Whose fault it is.
    #[must_use]
    pub const fn side(self) -> Side {
        match self {
            Failure::BadRequest(_)
            | Failure::BadPath
            | Failure::NoRoute
            | Failure::BadRequestBody(_)
            | Failure::BodyTooLarge
            | Failure::Misdirected
            | Failure::ClientGone
            | Failure::RateLimited
            | Failure::TooManyAtOnce => Side::Client,
            Failure::Timeout(phase) => match phase {
                Phase::Handshake | Phase::Header | Phase::Body | Phase::Write | Phase::KeepAlive => {
                    Side::Client
                }
                Phase::Connect | Phase::Request | Phase::StreamIdle | Phase::Tunnel => Side::Upstream,
                Phase::RequestDeadline | Phase::Drain => Side::Proxy,
            },
            Failure::ConnectRefused
            | Failure::Unreachable
            | Failure::TlsCertificate
            | Failure::TlsProtocol
            | Failure::NameUnresolved
            | Failure::NotHttp2
            | Failure::StreamRefused
            | Failure::StreamReset(_)
            | Failure::NoTunnel
            | Failure::UpstreamClosed
            | Failure::BadResponse(_)
            | Failure::BadResponseBody(_)
            | Failure::ResponseCut
            | Failure::UpgradeUnasked
            | Failure::InterimFlood
            | Failure::TunnelBroken
            | Failure::NoEndpoint
            | Failure::QueueFull
            | Failure::QueueTimeout => Side::Upstream,
            Failure::Exhausted => Side::Proxy,
        }
    }

    /// Seconds after which it is worth trying again, where that is ours to say.
    #[must_use]
    pub const fn retry_after(self) -> Option<u32> {
        if matches!(self, Failure::QueueFull | Failure::QueueTimeout) { Some(1) } else { None }
    }

    /// Whether it says something about the endpoint: one that fails so again and again is left alone.
    #[must_use]
    pub const fn blames_endpoint(self) -> bool {
        match self {
            Failure::UpstreamClosed
            | Failure::NotHttp2
            | Failure::BadResponse(_)
            | Failure::BadResponseBody(_)
            | Failure::ResponseCut
            | Failure::UpgradeUnasked
            | Failure::InterimFlood
            | Failure::Timeout(Phase::Request) => true,
            // Reported when it happens: no connection.
            Failure::ConnectRefused
            | Failure::Unreachable
            | Failure::TlsCertificate
            | Failure::TlsProtocol
            | Failure::NameUnresolved
            // An answer to this request, or to its client.
            | Failure::StreamRefused
            | Failure::StreamReset(_)
            | Failure::NoTunnel
            | Failure::TunnelBroken
            // Nobody's but ours, or the client's.
            | Failure::NoEndpoint
            | Failure::QueueFull
            | Failure::QueueTimeout
            | Failure::Exhausted
            | Failure::BadRequest(_)
            | Failure::BadPath
            | Failure::NoRoute
            | Failure::BadRequestBody(_)
            | Failure::BodyTooLarge
            | Failure::Misdirected
            | Failure::ClientGone
            | Failure::RateLimited
            | Failure::TooManyAtOnce
            | Failure::Timeout(
                Phase::Handshake
                | Phase::Header
                | Phase::Body
                | Phase::Connect
                | Phase::Write
                // A stream that falls silent is its application's.
                | Phase::StreamIdle
                | Phase::Tunnel
                | Phase::RequestDeadline
                | Phase::KeepAlive
                | Phase::Drain,
            ) => false,
        }
    }

    /// The client's connection may carry on behind the response, as far as the failure goes: nothing is wrong with it, and
    /// a client that has to connect anew to be refused again would cost us more.
    #[must_use]
    pub const fn spares_client(self) -> bool {
        match self.side() {
            Side::Upstream => true,
            Side::Client => matches!(self, Failure::NoRoute | Failure::RateLimited | Failure::TooManyAtOnce),
            Side::Proxy => false,
        }
    }

    /// The status for the client. `timeout_status` is the operator's choice for an origin that was too slow.
    #[must_use]
    pub const fn status(self, timeout_status: u16) -> u16 {
        match self {
            Failure::BadRequest(error) => error.status(),
            Failure::BadPath | Failure::BadRequestBody(_) => 400,
            Failure::NoRoute => 404,
            Failure::BodyTooLarge => 413,
            Failure::Misdirected => 421,
            // Nobody reads it; the log borrows the number that nginx made customary.
            Failure::ClientGone => 499,
            Failure::Timeout(phase) => match phase {
                Phase::Handshake | Phase::Header | Phase::Body | Phase::Write | Phase::KeepAlive => 408,
                Phase::Connect
                | Phase::Request
                | Phase::StreamIdle
                | Phase::Tunnel
                | Phase::RequestDeadline => timeout_status,
                Phase::Drain => 503,
            },
            Failure::ConnectRefused
            | Failure::Unreachable
            | Failure::TlsCertificate
            | Failure::TlsProtocol
            | Failure::NameUnresolved
            | Failure::NotHttp2
            | Failure::StreamRefused
            | Failure::StreamReset(_)
            | Failure::NoTunnel
            | Failure::UpstreamClosed
            | Failure::BadResponse(_)
            | Failure::BadResponseBody(_)
            | Failure::ResponseCut
            | Failure::UpgradeUnasked
            | Failure::InterimFlood
            | Failure::TunnelBroken => 502,
            Failure::RateLimited | Failure::TooManyAtOnce => 429, // RFC 6585 §4
            Failure::Exhausted | Failure::NoEndpoint | Failure::QueueFull | Failure::QueueTimeout => 503,
        }
    }

    /// The RFC 9209 §2.3 proxy error type.
    #[must_use]
    pub const fn error_type(self) -> &'static str {
        match self {
            Failure::BadRequest(_)
            | Failure::BadPath
            | Failure::BadRequestBody(_)
            | Failure::BodyTooLarge
            | Failure::Misdirected
            | Failure::ClientGone => "http_request_error",
            Failure::NoRoute => "destination_not_found",
            Failure::Timeout(phase) => match phase {
                Phase::Handshake | Phase::Header | Phase::Body | Phase::KeepAlive => "http_request_error",
                Phase::Connect => "connection_timeout",
                Phase::Request | Phase::RequestDeadline => "http_response_timeout",
                Phase::StreamIdle | Phase::Tunnel => "connection_read_timeout",
                Phase::Write => "connection_write_timeout",
                Phase::Drain => "proxy_internal_response",
            },
            Failure::ConnectRefused => "connection_refused",
            Failure::Unreachable => "destination_ip_unroutable",
            Failure::TlsCertificate => "tls_certificate_error",
            Failure::TlsProtocol => "tls_protocol_error",
            Failure::NameUnresolved => "dns_error",
            Failure::Exhausted => "connection_limit_reached",
            Failure::UpstreamClosed
            | Failure::StreamRefused
            | Failure::StreamReset(_)
            | Failure::TunnelBroken => "connection_terminated",
            Failure::BadResponse(HeadError::HeadTooLarge | HeadError::TooManyFields) => {
                "http_response_header_section_size"
            }
            Failure::BadResponse(HeadError::UnknownTransferCoding) => "http_response_transfer_coding",
            Failure::BadResponse(_) | Failure::InterimFlood | Failure::NotHttp2 => "http_protocol_error",
            Failure::BadResponseBody(BodyError::Truncated) | Failure::ResponseCut => {
                "http_response_incomplete"
            }
            Failure::BadResponseBody(BodyError::TrailerTooLarge) => "http_response_trailer_section_size",
            Failure::BadResponseBody(_) => "http_protocol_error",
            Failure::UpgradeUnasked | Failure::NoTunnel => "http_upgrade_failed",
            Failure::RateLimited | Failure::TooManyAtOnce => "http_request_denied",
            Failure::QueueFull | Failure::QueueTimeout => "connection_limit_reached",
            Failure::NoEndpoint => "destination_unavailable",
        }
    }

    /// A word that narrows [`Failure::error_type`] down; never an address, never bytes of a peer.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Failure::BadRequest(error) | Failure::BadResponse(error) => error.name(),
            Failure::BadRequestBody(error) | Failure::BadResponseBody(error) => error.name(),
            Failure::BadPath => "bad-path",
            Failure::NoRoute => "no-route",
            Failure::BodyTooLarge => "body-too-large",
            Failure::ClientGone => "client-gone",
            Failure::Timeout(phase) => phase.name(),
            Failure::ConnectRefused => "refused",
            Failure::Unreachable => "unreachable",
            Failure::TlsCertificate => "tls-certificate",
            Failure::TlsProtocol => "tls-handshake",
            Failure::Misdirected => "misdirected",
            Failure::NameUnresolved => "name-unresolved",
            Failure::Exhausted => "exhausted",
            Failure::NotHttp2 => "not-http2",
            Failure::StreamRefused => "stream-refused",
            Failure::StreamReset(code) => match code {
                0 => "reset-no-error",
                1 => "reset-protocol-error",
                2 => "reset-internal-error",
                8 => "reset-cancel",
                11 => "reset-enhance-your-calm",
                13 => "reset-http-1-1-required",
                _ => "reset-before-response",
            },
            Failure::NoTunnel => "no-extended-connect",
            Failure::UpstreamClosed => "closed-before-response",
            Failure::ResponseCut => "reset-in-response",
            Failure::UpgradeUnasked => "upgrade-unasked",
            Failure::InterimFlood => "interim-flood",
            Failure::TunnelBroken => "tunnel-broken",
            Failure::RateLimited => "rate-limited",
            Failure::TooManyAtOnce => "too-many-at-once",
            Failure::NoEndpoint => "no-endpoint",
            Failure::QueueFull => "queue-full",
            Failure::QueueTimeout => "queue-timeout",
        }
    }

    /// The phase whose deadline it was, if it was one.
    #[must_use]
    pub const fn phase(self) -> Option<Phase> {
        match self {
            Failure::Timeout(phase) => Some(phase),
            _ => None,
        }
    }

    /// One sentence for the client.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Failure::BadRequest(error) => match error.status() {
                405 => "this method is not supported here",
                414 => "the request target is too long",
                431 => "the request head is too large",
                501 => "the transfer coding is not supported",
                505 => "the protocol version is not supported",
                _ => "the request is malformed",
            },
            Failure::BadPath => "the path of the request is malformed",
            Failure::NoRoute => "nothing is served here",
            Failure::BadRequestBody(_) => "the request body is malformed",
            Failure::BodyTooLarge => "the request body is too large",
            Failure::ClientGone => "the client went away",
            Failure::Timeout(phase) => match phase {
                Phase::Handshake | Phase::Header | Phase::KeepAlive => "the request did not arrive in time",
                Phase::Body => "the request body did not arrive in time",
                Phase::Write => "the response was not read in time",
                Phase::Connect => "the upstream could not be reached in time",
                Phase::Request | Phase::StreamIdle | Phase::Tunnel => "the upstream did not respond in time",
                Phase::RequestDeadline => "the exchange took too long",
                Phase::Drain => "the server is shutting down",
            },
            Failure::ConnectRefused | Failure::Unreachable | Failure::NameUnresolved => {
                "the upstream could not be reached"
            }
            Failure::TlsCertificate | Failure::TlsProtocol => {
                "no secure connection to the upstream could be made"
            }
            Failure::Misdirected => "this connection is not for the host that was asked for",
            Failure::NotHttp2 => "the upstream does not speak HTTP/2",
            Failure::StreamRefused => "the upstream refused the request",
            Failure::NoTunnel => "the upstream does not serve WebSockets in HTTP/2",
            Failure::UpstreamClosed => "the upstream closed the connection without a response",
            Failure::BadResponse(_)
            | Failure::BadResponseBody(_)
            | Failure::UpgradeUnasked
            | Failure::InterimFlood => "the upstream's response is not valid",
            Failure::ResponseCut | Failure::TunnelBroken => "the upstream broke off its response",
            Failure::StreamReset(_) => "the upstream gave the request up",
            Failure::RateLimited => "too many requests",
            Failure::TooManyAtOnce => "too many requests at once",
            Failure::NoEndpoint => "no upstream is available",
            Failure::Exhausted | Failure::QueueFull | Failure::QueueTimeout => "the server is overloaded",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a timeout is blamed on the side that was waited for. Method: every phase, both answers.
    #[test]
    fn timeouts_blame_the_side_that_was_waited_for() {
        for (phase, status, side) in [
            (Phase::Header, 408, Side::Client),
            (Phase::Body, 408, Side::Client),
            (Phase::Connect, 504, Side::Upstream),
            (Phase::Request, 504, Side::Upstream),
            (Phase::StreamIdle, 504, Side::Upstream),
            (Phase::RequestDeadline, 504, Side::Proxy),
        ] {
            let failure = Failure::Timeout(phase);
            assert_eq!((failure.status(504), failure.side()), (status, side), "{phase:?}");
        }
        assert_eq!(Failure::Timeout(Phase::Request).status(503), 503, "--timeout-status");
        assert_eq!(Failure::Timeout(Phase::Body).status(503), 408, "the client's own timeouts stay 408");
    }

    #[test]
    fn limits_are_told_as_such() {
        for (failure, status, error, spares) in [
            (Failure::RateLimited, 429, "http_request_denied", true),
            (Failure::TooManyAtOnce, 429, "http_request_denied", true),
            (Failure::QueueFull, 503, "connection_limit_reached", true),
            (Failure::QueueTimeout, 503, "connection_limit_reached", true),
            (Failure::NoEndpoint, 503, "destination_unavailable", true),
            (Failure::BodyTooLarge, 413, "http_request_error", false),
        ] {
            let told = (failure.status(504), failure.error_type(), failure.spares_client());
            assert_eq!(told, (status, error, spares), "{failure:?}");
        }
    }
}
