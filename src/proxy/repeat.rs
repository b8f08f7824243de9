//! Whether a request may be sent a second time (RFC 9110 §9.2.2).

use crate::h1::Method;

/// What is known about a request whose upstream connection died.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// The request's method.
    pub method: Method,
    /// The connection had served before: the origin may have closed it before it saw the request.
    pub reused: bool,
    /// The origin has said that it did not look at the request (RFC 9113 §8.7).
    pub refused: bool,
    /// A byte of a response came.
    pub response_begun: bool,
    /// The request has a body.
    pub has_body: bool,
    /// A byte of it was taken from the client, and is gone.
    pub body_begun: bool,
    /// The request was already repeated.
    pub repeated: bool,
}

impl Attempt {
    /// A request is repeated once, when nothing of a response was seen and when its body can still be sent; and only
    /// when the origin did not look at it, or when a stale reused connection is the likely cause and doing it twice is
    /// the same as once.
    #[must_use]
    pub const fn may_repeat(self) -> bool {
        let stale = self.reused && !self.has_body && self.method.is_idempotent();
        (self.refused || stale) && !self.response_begun && !self.body_begun && !self.repeated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE: Attempt = Attempt {
        method: Method::Get,
        reused: true,
        refused: false,
        response_begun: false,
        has_body: false,
        body_begun: false,
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
            Attempt { has_body: true, ..STALE },
            Attempt { body_begun: true, ..STALE },
            Attempt { repeated: true, ..STALE },
        ] {
            assert!(!refused.may_repeat(), "{refused:?}");
        }
    }

    /// Goal: what the origin did not look at is repeated whatever it is, as long as it is whole.
    #[test]
    fn a_refused_request_is_repeated_while_it_is_whole() {
        let refused = Attempt { method: Method::Post, reused: false, refused: true, has_body: true, ..STALE };
        assert!(refused.may_repeat());
        for lost in [
            Attempt { response_begun: true, ..refused },
            Attempt { body_begun: true, ..refused },
            Attempt { repeated: true, ..refused },
        ] {
            assert!(!lost.may_repeat(), "{lost:?}");
        }
    }
}
