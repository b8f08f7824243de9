//! Header fields as spans over the bytes of their head, and the names this proxy knows.

/// A range of bytes within a head. Heads are bounded by [`crate::limits::HEAD_BYTES_MAX`]-like limits, so 32 bits do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes of this span in `head`; empty when the span does not lie within it.
    #[must_use]
    pub fn of(self, head: &[u8]) -> &[u8] {
        head.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// One field line: where its name and value are, and which of the names we act on it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name as sent.
    pub name: Span,
    /// The value without surrounding white space.
    pub value: Span,
    /// What the name means to a proxy.
    pub known: Known,
}

/// The fields of one head, in order. Reused from head to head, so parsing does not allocate.
pub type Fields = Vec<Field>;

/// Field names that a proxy acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Any name not listed here.
    Other,
    /// `Connection`
    Connection,
    /// `Keep-Alive`
    KeepAlive,
    /// `Proxy-Connection`
    ProxyConnection,
    /// `TE`
    Te,
    /// `Trailer`
    Trailer,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Upgrade`
    Upgrade,
    /// `Content-Length`
    ContentLength,
    /// `Host`
    Host,
    /// `Expect`
    Expect,
    /// `Date`
    Date,
    /// `Via`
    Via,
    /// `Accept`
    Accept,
    /// `Forwarded`
    Forwarded,
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `X-Forwarded-Proto`
    XForwardedProto,
    /// `X-Forwarded-Host`
    XForwardedHost,
    /// `X-Request-Id`
    XRequestId,
    /// `Max-Forwards`
    MaxForwards,
    /// `Proxy-Authenticate`, `Proxy-Authorization` and the like need no action; `Proxy-Status` is ours to append to.
    ProxyStatus,
}

impl Known {
    /// The known name that `name` is, in any case. The length decides first, so most names cost one comparison
    /// or none. No known name holds `_`: `Content_Length` is [`Known::Other`], whatever an origin makes of it.
    #[must_use]
    pub fn of(name: &[u8]) -> Known {
        let candidates: &[(&[u8], Known)] = match name.len() {
            2 => &[(b"te", Known::Te)],
            3 => &[(b"via", Known::Via)],
            4 => &[(b"host", Known::Host), (b"date", Known::Date)],
            6 => &[(b"accept", Known::Accept), (b"expect", Known::Expect)],
            7 => &[(b"upgrade", Known::Upgrade), (b"trailer", Known::Trailer)],
            9 => &[(b"forwarded", Known::Forwarded)],
            10 => &[(b"connection", Known::Connection), (b"keep-alive", Known::KeepAlive)],
            12 => &[
                (b"x-request-id", Known::XRequestId),
                (b"max-forwards", Known::MaxForwards),
                (b"proxy-status", Known::ProxyStatus),
            ],
            14 => &[(b"content-length", Known::ContentLength)],
            15 => &[(b"x-forwarded-for", Known::XForwardedFor)],
            16 => {
                &[(b"x-forwarded-host", Known::XForwardedHost), (b"proxy-connection", Known::ProxyConnection)]
            }
            17 => &[
                (b"transfer-encoding", Known::TransferEncoding),
                (b"x-forwarded-proto", Known::XForwardedProto),
            ],
            _ => &[],
        };
        candidates
            .iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known))
            .map_or(Known::Other, |found| found.1)
    }
}

/// The elements of a comma-separated value (RFC 9110 §5.6.1): trimmed of white space, empty ones left out.
/// Quoted strings are not understood, so this serves lists of tokens: `Connection`, `Upgrade`, `Expect`.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|element| !element.is_empty())
}

/// `bytes` without optional white space (SP and HTAB, RFC 9110 §5.6.3) at either end.
#[must_use]
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Whether `byte` may stand in a token (RFC 9110 §5.6.2).
#[must_use]
pub(super) const fn is_token_byte(byte: u8) -> bool {
    matches!(byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+'
        | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// Whether `bytes` are a token (RFC 9110 §5.6.2).
#[must_use]
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// Whether `byte` may stand in a field value, a reason phrase or a chunk extension (RFC 9110 §5.5).
#[must_use]
pub(super) const fn is_text_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

#[cfg(test)]
mod tests {
    //! Goal: names are known in any case and only whole; lists fall apart at commas and nowhere else.

    use super::*;

    #[test]
    fn known_names_in_any_case_and_only_whole() {
        let names: &[(&str, Known)] = &[
            ("TE", Known::Te),
            ("via", Known::Via),
            ("HOST", Known::Host),
            ("Date", Known::Date),
            ("Accept", Known::Accept),
            ("eXPECT", Known::Expect),
            ("Upgrade", Known::Upgrade),
            ("Trailer", Known::Trailer),
            ("Forwarded", Known::Forwarded),
            ("Connection", Known::Connection),
            ("Keep-Alive", Known::KeepAlive),
            ("X-Request-ID", Known::XRequestId),
            ("Max-Forwards", Known::MaxForwards),
            ("Proxy-Status", Known::ProxyStatus),
            ("content-length", Known::ContentLength),
            ("X-Forwarded-For", Known::XForwardedFor),
            ("X-Forwarded-Host", Known::XForwardedHost),
            ("Proxy-Connection", Known::ProxyConnection),
            ("Transfer-Encoding", Known::TransferEncoding),
            ("X-Forwarded-Proto", Known::XForwardedProto),
        ];
        for &(name, known) in names {
            assert_eq!(Known::of(name.as_bytes()), known, "{name}");
            assert_eq!(Known::of(name.to_ascii_lowercase().as_bytes()), known, "{name}");
            assert_eq!(Known::of(name.to_ascii_uppercase().as_bytes()), known, "{name}");
            assert_eq!(Known::of(&name.as_bytes()[1..]), Known::Other, "{name}");
            assert_eq!(Known::of(format!("{name}x").as_bytes()), Known::Other, "{name}");
            assert_eq!(Known::of(name.replace('-', "_").as_bytes()) == known, !name.contains('-'), "{name}");
        }
        assert_eq!(Known::of(b""), Known::Other);
    }

    #[test]
    fn lists_are_trimmed_and_skip_empty_elements() {
        let elements: Vec<&[u8]> = list(b" , a ,\t b\t,,c d,").collect();
        assert_eq!(elements, [b"a" as &[u8], b"b", b"c d"]);
        assert_eq!(list(b" \t ").count(), 0);
    }
}
