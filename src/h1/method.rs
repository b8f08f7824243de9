//! The closed sets of a start line: versions we speak, methods whose meaning matters to a proxy.

use super::error::HeadError;

/// A version of HTTP/1 that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `HTTP/1.0`
    Http10,
    /// `HTTP/1.1`
    Http11,
}

impl Version {
    /// As it stands in a start line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        }
    }

    /// The version `HTTP/1.minor`.
    ///
    /// # Errors
    /// [`HeadError::BadVersion`] for any other minor number.
    pub(super) const fn of_minor(minor: Option<u8>) -> Result<Version, HeadError> {
        match minor {
            Some(0) => Ok(Version::Http10),
            Some(1) => Ok(Version::Http11),
            Some(_) | None => Err(HeadError::BadVersion),
        }
    }
}

/// A request method, as far as its meaning matters to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// `PATCH`
    Patch,
    /// `CONNECT`
    Connect,
    /// `TRACE`
    Trace,
    /// Any other token.
    Other,
}

impl Method {
    /// The method that `name` is; methods are case-sensitive (RFC 9110 §9.1).
    #[must_use]
    pub fn of(name: &[u8]) -> Method {
        match name {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"OPTIONS" => Method::Options,
            b"PATCH" => Method::Patch,
            b"CONNECT" => Method::Connect,
            b"TRACE" => Method::Trace,
            _ => Method::Other,
        }
    }

    /// Whether it only reads (RFC 9110 §9.2.1).
    #[must_use]
    pub const fn is_safe(self) -> bool {
        match self {
            Method::Get | Method::Head | Method::Options | Method::Trace => true,
            Method::Post | Method::Put | Method::Delete | Method::Patch | Method::Connect | Method::Other => {
                false
            }
        }
    }

    /// Whether sending it twice means the same as once (RFC 9110 §9.2.2).
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        match self {
            Method::Put | Method::Delete => true,
            Method::Get | Method::Head | Method::Options | Method::Trace => self.is_safe(),
            Method::Post | Method::Patch | Method::Connect | Method::Other => false,
        }
    }
}
