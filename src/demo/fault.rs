//! Why an endpoint stopped before its reply was complete.

use crate::h1::error::BodyError;
use std::fmt;
use std::io;

/// What ended an exchange early. All but an IO error are the client's doing.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection failed, or one of its timeouts expired.
    Io(io::Error),
    /// The client closed its connection, or at least its sending side, while it was waited on.
    ClientLeft,
    /// The request body broke its framing, or ended early.
    Body(BodyError),
    /// The path or query asks for something this endpoint does not do; the text says what it does.
    Parameter(String),
}

impl Fault {
    /// Whether the client can be told: it is still there, and the fault is in its request.
    pub(super) fn is_bad_request(&self) -> bool {
        match self {
            Fault::Body(_) | Fault::Parameter(_) => true,
            Fault::Io(_) | Fault::ClientLeft => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Io(error) => write!(f, "{error}"),
            Fault::ClientLeft => f.write_str("the client left"),
            Fault::Body(error) => write!(f, "bad request body: {error}"),
            Fault::Parameter(text) => f.write_str(text),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Io(error)
    }
}

impl From<BodyError> for Fault {
    fn from(error: BodyError) -> Self {
        Fault::Body(error)
    }
}
