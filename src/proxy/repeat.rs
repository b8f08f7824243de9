//! Whether a request may be sent a second time (RFC 9110 §9.2.2).

use crate::h1::Method;

/// What is known about a request whose upstream connection died.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// The request's method.
    pub method: Method,
    /// The connection had served before: the origin may have closed it before it saw the request.
    pub reused: bool,
    /// A byte of a response came.
    pub response_begun: bool,
    /// A byte of the request body was taken from the client, and is gone.
    pub body_touched: bool,
    /// The request was already repeated.
    pub repeated: bool,
}

impl Attempt {
    /// A request is repeated once, when a stale reused connection is the likely cause, when nothing of a
    /// response was seen, when its body can still be sent, and only when doing it twice is the same as once.
    #[must_use]
    pub const fn may_repeat(self) -> bool {
        self.reused
            && !self.response_begun
            && !self.body_touched
            && !self.repeated
            && self.method.is_idempotent()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE: Attempt = Attempt {
        method: Method::Get,
        reused: true,
        response_begun: false,
        body_touched: false,
        repeated: false,
    };

    /// Goal: each condition is necessary. Method: the one case that repeats, then each condition broken alone.
    #[test]
    fn every_condition_is_necessary() {
        assert!(STALE.may_repeat());
        assert!(Attempt { method: Method::Delete, ..STALE }.may_repeat());
        for refused in [
            Attempt { method: Method::Post, ..STALE },
            Attempt { method: Method::Patch, ..STALE },
            Attempt { method: Method::Other, ..STALE },
            Attempt { reused: false, ..STALE },
            Attempt { response_begun: true, ..STALE },
            Attempt { body_touched: true, ..STALE },
            Attempt { repeated: true, ..STALE },
        ] {
            assert!(!refused.may_repeat(), "{refused:?}");
        }
    }
}
