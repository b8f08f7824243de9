//! What happened to an endpoint, in words for logs and metrics.

use std::fmt;
use std::time::Duration;

/// How a request to an endpoint ended, as far as the endpoint is concerned. What a client did (it went away, it was
/// slow, it sent nonsense) is no outcome: it is not reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered, with whatever status but those of [`Outcome::of_status`].
    Served,
    /// It was reset, late or broken, or a gateway that says so.
    Failed,
    /// It could not be connected to.
    Unreachable,
}

impl Outcome {
    /// What a response says of its endpoint: 502, 503 and 504 are failures. A 500 is the application's own, about this
    /// one request.
    #[must_use]
    pub const fn of_status(status: u16) -> Outcome {
        match status {
            502..=504 => Outcome::Failed,
            _ => Outcome::Served,
        }
    }
}

/// Whether an endpoint gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It does.
    Up,
    /// Not for a moment: it could not be connected to.
    Resting,
    /// Not for a while: its requests failed.
    Ejected,
    /// Not before probes say otherwise.
    Down,
    /// Not before the operator says otherwise; its sessions still do.
    Draining,
}

impl Availability {
    /// Every one.
    pub const ALL: [Availability; 5] = [
        Availability::Up,
        Availability::Resting,
        Availability::Ejected,
        Availability::Down,
        Availability::Draining,
    ];

    /// The word for logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Availability::Up => "up",
            Availability::Resting => "resting",
            Availability::Ejected => "ejected",
            Availability::Down => "down",
            Availability::Draining => "draining",
        }
    }
}

/// Why an endpoint was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// So many failures in a row.
    Consecutive(u32),
    /// So many failures among so many requests.
    Rate {
        /// Failures.
        failed: u32,
        /// Requests.
        total: u32,
    },
}

/// What happened to an endpoint. Each is told once, to whoever caused or noticed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It could not be connected to, and had been well.
    Unreachable,
    /// It can be spoken to again.
    Reached,
    /// It is left alone.
    Ejected {
        /// Why.
        reason: Reason,
        /// For how long.
        length: Duration,
        /// The how-manieth time in a row.
        times: u32,
    },
    /// It has been left alone long enough.
    Readmitted,
    /// So many probes failed in a row.
    Down(u32),
    /// So many probes succeeded in a row.
    Up(u32),
    /// The operator takes it out.
    Drained,
    /// The operator puts it back.
    Undrained,
}

impl Change {
    /// The word for logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Change::Unreachable => "unreachable",
            Change::Reached => "reached",
            Change::Ejected { .. } => "ejected",
            Change::Readmitted => "readmitted",
            Change::Down(_) => "down",
            Change::Up(_) => "up",
            Change::Drained => "drained",
            Change::Undrained => "undrained",
        }
    }

    /// It is worth a warning.
    #[must_use]
    pub const fn is_bad(self) -> bool {
        match self {
            Change::Unreachable | Change::Ejected { .. } | Change::Down(_) => true,
            Change::Reached | Change::Readmitted | Change::Up(_) | Change::Drained | Change::Undrained => {
                false
            }
        }
    }
}

impl fmt::Display for Change {
    /// The word, and what is to be said of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Change::Ejected { reason: Reason::Consecutive(n), length, times } => {
                write!(f, " for {length:?} (time {times}): {n} failures in a row")
            }
            Change::Ejected { reason: Reason::Rate { failed, total }, length, times } => {
                write!(f, " for {length:?} (time {times}): {failed} failures in {total} requests")
            }
            Change::Down(n) => write!(f, ": {n} bad probes in a row"),
            Change::Up(n) => write!(f, ": {n} good probes in a row"),
            Change::Unreachable
            | Change::Reached
            | Change::Readmitted
            | Change::Drained
            | Change::Undrained => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reads_as_a_line() {
        let ejected = |reason| Change::Ejected { reason, length: Duration::from_secs(20), times: 2 };
        let row = ejected(Reason::Consecutive(5)).to_string();
        assert_eq!(row, "ejected for 20s (time 2): 5 failures in a row");
        let rate = ejected(Reason::Rate { failed: 9, total: 12 }).to_string();
        assert_eq!(rate, "ejected for 20s (time 2): 9 failures in 12 requests");
        assert_eq!(Change::Down(3).to_string(), "down: 3 bad probes in a row");
        assert_eq!(Change::Undrained.to_string(), "undrained");
    }

    #[test]
    fn only_statuses_of_gateways_are_failures() {
        let failed = (100..600).filter(|&status| Outcome::of_status(status) == Outcome::Failed);
        assert_eq!(failed.collect::<Vec<_>>(), [502, 503, 504]);
    }
}
