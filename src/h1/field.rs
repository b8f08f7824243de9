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
