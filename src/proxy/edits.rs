//! Changes that a route makes to fields, as heads are written.
//!
//! What is edited is what the peer sent, or what an operator's own response has. Fields that speak of this hop, that say
//! where a message ends, or that origins believe because a proxy wrote them, are not an operator's to write (the reader of
//! the configuration refuses them); nor are those of a failure: an error that says how long it may be cached is worse
//! than one that an operator did not get to rename.
//!
//! | | `remove` | `set` | `add` |
//! | --- | --- | --- | --- |
//! | requests | all of this name | all of this name become one | |
//! | final responses, 101 among them | the same | the same | |
//! | other interim responses (100, 103) | the same | taken away as by `remove` | not added |
//!
//! So nothing that is hidden shows in an early hint, and nothing that is added is added twice to one exchange.

use crate::config::route::FieldEdits;
use crate::h1::Known;

/// Nothing is changed.
pub static NONE: FieldEdits = FieldEdits { remove: Vec::new(), set: Vec::new(), add: Vec::new() };

/// Whether two names are one to somebody who makes variables of them, as CGI does (RFC 3875 §4.1.18): in any case, and with
/// `_` for `-`. A client that may send `_` must not get past an edit, or past a rule, with it.
pub(super) fn is_same_name(a: &[u8], b: &[u8]) -> bool {
    let plain = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    a.len() == b.len() && a.iter().map(plain).eq(b.iter().map(plain))
}

/// Whether a field of this name that came is left out.
pub(super) fn replaces(edits: &FieldEdits, name: &[u8]) -> bool {
    let same = |other: &str| is_same_name(other.as_bytes(), name);
    edits.remove.iter().any(|other| same(other)) || edits.set.iter().any(|(other, _)| same(other))
}

/// The value that `set` has for the Host field of a request.
pub(super) fn host(edits: &FieldEdits) -> Option<&str> {
    edits.set.iter().find(|(name, _)| &**name == "host").map(|(_, value)| &**value)
}

/// Appends what is set and added, but for the names in `own`: the head has fields of its own for those.
pub(super) fn write(edits: &FieldEdits, own: &[&str], out: &mut Vec<u8>) {
    for (name, value) in edits.set.iter().chain(&edits.add).filter(|(name, _)| !own.contains(&&**name)) {
        debug_assert!(is_editable(name), "{name} is not an operator's to write");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Whether an operator may name this field in [`FieldEdits`], in lower case. (`host` besides, in `set` of requests.)
#[must_use]
pub fn is_editable(name: &str) -> bool {
    let forwarding = name.starts_with("x-forwarded-") || name.starts_with("x-client-cert");
    let spoken_for = match Known::of(name.as_bytes()) {
        Known::Connection
        | Known::KeepAlive
        | Known::ProxyConnection
        | Known::Te
        | Known::Trailer
        | Known::TransferEncoding
        | Known::Upgrade
        | Known::ContentLength
        | Known::Host
        | Known::Expect
        | Known::Date
        | Known::Via
        | Known::Forwarded
        | Known::XForwardedFor
        | Known::XForwardedProto
        | Known::XForwardedHost
        | Known::XRequestId
        | Known::MaxForwards => true,
        Known::Other | Known::Accept | Known::ProxyStatus => false,
    };
    !forwarding && !spoken_for
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_hop_are_not_an_operators() {
        for name in
            ["connection", "content-length", "host", "x-forwarded-port", "x-client-cert-subject", "via"]
        {
            assert!(!is_editable(name), "{name}");
        }
        for name in ["server", "accept", "x-real-ip", "x-forward", "cache-control", "proxy-status"] {
            assert!(is_editable(name), "{name}");
        }
    }
}
