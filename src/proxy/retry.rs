//! Whether a request is sent again (RFC 9110 §9.2.2), and what that may cost.
//!
//! | the attempt failed because | sent again when the policy says so and |
//! | --- | --- |
//! | the endpoint could not be connected to | always: nothing was sent |
//! | the origin refused the stream (RFC 9113 §8.7) | always: it did not look at the request |
//! | the connection broke before a byte of a response | the method is idempotent |
//! | of the status of its response | the method is safe |
//!
//! In all of them the body has to be whole (untouched, or kept by [`kept::KeptBody`]), the attempts must not be used up,
//! and [`budget::Budget`] must have room: an origin that fails because it is overloaded is not helped by three times the
//! requests.
//!
//! **A connection that had served before** and broke is most likely one that the origin closed while the request was on its
//! way. That says nothing about the origin, so an idempotent request is repeated once on a fresh connection whatever the
//! policy says, and neither an attempt nor the budget pays for it: the origin gets this request as often as it would have
//! without reuse. (nginx does not count such an attempt either.)

pub mod budget;
pub mod kept;

use crate::config::route::Retry;
use crate::h1::Method;

use self::budget::Budget;
use crate::time::Timestamp;

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No connection: nothing was sent.
    ConnectFailure,
    /// The origin has said that it did not look at the request (RFC 9113 §8.7).
    RefusedStream,
    /// The connection broke, or said goodbye, before a response.
    ResetBeforeResponse {
        /// It had served before: the origin may have closed it before it saw the request.
        reused: bool,
    },
    /// The final response has this status.
    Status(u16),
}

/// What has been heard of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing.
    Nothing,
    /// Bytes, which the client has seen none of.
    Bytes,
    /// The client has seen an interim response.
    PassedOn,
}

/// A request that was not answered yet.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Why it failed.
    pub cause: Cause,
    /// The request's method.
    pub method: Method,
    /// What was heard of a response.
    pub heard: Heard,
    /// Its body can be sent from the start: nothing was taken from the client, or all of that was kept.
    pub whole: bool,
    /// It was repeated for a stale connection already.
    pub repeated: bool,
    /// Times it was tried again otherwise.
    pub retries: u8,
}

/// What becomes of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It is sent again.
    Again(Again),
    /// The failure is the client's to hear.
    GiveUp(Reason),
}

/// How a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// On a fresh connection, in place of one that was stale; nothing pays for it.
    Repeat,
    /// As another attempt, on another endpoint if there is one.
    Retry,
}

/// Why a request is not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// HTTP does not allow it: the method, or what was heard already.
    Unsafe,
    /// Part of its body is gone.
    BodyGone,
    /// The policy does not name this cause.
    Unwanted,
    /// It was tried as often as the policy says.
    Exhausted,
    /// Too many others are tried again.
    OverBudget,
}

impl Attempt {
    /// Whether the request may be sent again, as far as it and the policy go: the budget is not asked.
    pub fn judge(&self, policy: &Retry) -> Verdict {
        if !self.is_allowed() {
            Verdict::GiveUp(Reason::Unsafe)
        } else if !self.whole {
            Verdict::GiveUp(Reason::BodyGone)
        } else if self.is_stale() {
            Verdict::Again(Again::Repeat)
        } else if !self.is_wanted(policy) {
            Verdict::GiveUp(Reason::Unwanted)
        } else if self.retries >= policy.max {
            Verdict::GiveUp(Reason::Exhausted)
        } else {
            Verdict::Again(Again::Retry)
        }
    }

    /// As [`Attempt::judge`]; another attempt is paid for from `budget`.
    pub fn decide(&self, policy: &Retry, budget: &mut Budget, now: Timestamp) -> Verdict {
        match self.judge(policy) {
            Verdict::Again(Again::Retry) if !budget.spend(policy.budget_percent, now) => {
                Verdict::GiveUp(Reason::OverBudget)
            }
            verdict => verdict,
        }
    }

    /// Its connection was stale, and it goes out on a new one whatever the policy is.
    #[must_use]
    pub fn repeats_stale(&self) -> bool {
        self.is_allowed() && self.whole && self.is_stale()
    }

    /// What HTTP allows.
    fn is_allowed(&self) -> bool {
        match (self.cause, self.heard) {
            (_, Heard::PassedOn) => false,
            (Cause::Status(_), Heard::Nothing | Heard::Bytes) => self.method.is_safe(),
            (_, Heard::Bytes) => false,
            (Cause::ConnectFailure | Cause::RefusedStream, Heard::Nothing) => true,
            (Cause::ResetBeforeResponse { .. }, Heard::Nothing) => self.method.is_idempotent(),
        }
    }

    fn is_stale(&self) -> bool {
        self.cause == Cause::ResetBeforeResponse { reused: true } && !self.repeated
    }

    fn is_wanted(&self, policy: &Retry) -> bool {
        match self.cause {
            Cause::ConnectFailure => policy.connect_failure,
            Cause::RefusedStream => policy.refused_stream,
            Cause::ResetBeforeResponse { .. } => policy.reset_before_response,
            Cause::Status(status) => policy.statuses.contains(&status),
        }
    }
}

#[cfg(test)]
mod tests {
    //! Goal: each condition is necessary, and enough with the others. Method: the one case that is sent again, then each
    //! condition broken alone; and every combination against the table above.

    use super::*;

    const RETRY: Verdict = Verdict::Again(Again::Retry);
    const METHODS: [Method; 10] = [
        Method::Get,
        Method::Head,
        Method::Post,
        Method::Put,
        Method::Delete,
        Method::Options,
        Method::Patch,
        Method::Connect,
        Method::Trace,
        Method::Other,
    ];

    fn nothing() -> Retry {
        Retry {
            connect_failure: false,
            refused_stream: false,
            reset_before_response: false,
            statuses: Vec::new(),
            max: 0,
            ..Retry::default()
        }
    }

    fn everything() -> Retry {
        Retry { reset_before_response: true, statuses: vec![502, 503], ..Retry::default() }
    }

    fn attempt(cause: Cause, method: Method) -> Attempt {
        Attempt { cause, method, heard: Heard::Nothing, whole: true, repeated: false, retries: 0 }
    }

    #[test]
    fn a_stale_connection_is_replaced_once_whatever_the_policy() {
        let stale = attempt(Cause::ResetBeforeResponse { reused: true }, Method::Get);
        let free = Verdict::Again(Again::Repeat);
        let mut empty = Budget::default();
        while empty.spend(0, Timestamp(1)) {}
        assert_eq!(stale.decide(&nothing(), &mut empty, Timestamp(1)), free);
        assert_eq!(Attempt { method: Method::Put, retries: 9, ..stale }.judge(&nothing()), free);
        for (broken, reason) in [
            (Attempt { method: Method::Post, ..stale }, Reason::Unsafe),
            (Attempt { method: Method::Patch, ..stale }, Reason::Unsafe),
            (Attempt { method: Method::Other, ..stale }, Reason::Unsafe),
            (Attempt { heard: Heard::Bytes, ..stale }, Reason::Unsafe),
            (Attempt { whole: false, ..stale }, Reason::BodyGone),
            (Attempt { repeated: true, ..stale }, Reason::Unwanted),
            (Attempt { cause: Cause::ResetBeforeResponse { reused: false }, ..stale }, Reason::Unwanted),
        ] {
            assert_eq!(broken.judge(&nothing()), Verdict::GiveUp(reason), "{broken:?}");
        }
        assert_eq!(Attempt { repeated: true, ..stale }.judge(&everything()), RETRY, "then the policy pays");
    }

    #[test]
    fn what_was_not_looked_at_is_sent_again_whatever_it_is() {
        for cause in [Cause::ConnectFailure, Cause::RefusedStream] {
            for method in METHODS {
                assert_eq!(attempt(cause, method).judge(&everything()), RETRY);
            }
            let post = attempt(cause, Method::Post);
            for (broken, reason) in [
                (Attempt { heard: Heard::PassedOn, ..post }, Reason::Unsafe),
                (Attempt { whole: false, ..post }, Reason::BodyGone),
                (Attempt { retries: 2, ..post }, Reason::Exhausted),
            ] {
                assert_eq!(broken.judge(&everything()), Verdict::GiveUp(reason), "{broken:?}");
            }
            assert_eq!(post.judge(&nothing()), Verdict::GiveUp(Reason::Unwanted));
        }
    }

    #[test]
    fn what_may_have_been_done_is_done_again_only_where_that_is_the_same() {
        for method in METHODS {
            let reset = attempt(Cause::ResetBeforeResponse { reused: false }, method);
            assert_eq!(reset.judge(&everything()) == RETRY, method.is_idempotent(), "{method:?}");
            for heard in [Heard::Nothing, Heard::Bytes, Heard::PassedOn] {
                let status = Attempt { heard, ..attempt(Cause::Status(503), method) };
                let again = method.is_safe() && heard != Heard::PassedOn;
                assert_eq!(status.judge(&everything()) == RETRY, again, "{status:?}");
            }
        }
        let other = attempt(Cause::Status(500), Method::Get).judge(&everything());
        assert_eq!(other, Verdict::GiveUp(Reason::Unwanted));
    }

    #[test]
    fn each_cause_has_its_own_switch() {
        let policy = everything();
        for (cause, without) in [
            (Cause::ConnectFailure, Retry { connect_failure: false, ..policy.clone() }),
            (Cause::RefusedStream, Retry { refused_stream: false, ..policy.clone() }),
            (
                Cause::ResetBeforeResponse { reused: false },
                Retry { reset_before_response: false, ..policy.clone() },
            ),
            (Cause::Status(503), Retry { statuses: vec![502], ..policy.clone() }),
        ] {
            let attempt = attempt(cause, Method::Get);
            assert_eq!(attempt.judge(&policy), RETRY);
            assert_eq!(attempt.judge(&without), Verdict::GiveUp(Reason::Unwanted), "{cause:?}");
        }
    }

    #[test]
    fn the_budget_pays_for_every_other_attempt() {
        let (mut budget, policy) = (Budget::default(), everything());
        let failed = attempt(Cause::ConnectFailure, Method::Get);
        let passed = (0..100).filter(|_| failed.decide(&policy, &mut budget, Timestamp(1)) == RETRY).count();
        assert_eq!(passed, crate::limits::RETRIES_FREE as usize);
        let over = failed.decide(&policy, &mut budget, Timestamp(1));
        assert_eq!(over, Verdict::GiveUp(Reason::OverBudget));
        let refused = Attempt { retries: 2, ..failed }.decide(&policy, &mut budget, Timestamp(1));
        assert_eq!(refused, Verdict::GiveUp(Reason::Exhausted), "for what is given up nothing is paid");
    }
}
