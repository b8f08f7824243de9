//! Connections that wait for a request.

use std::time::Duration;

use crate::config::Pool;
use crate::limits;
use crate::time::Timestamp;

use super::transport::Transport;

/// A connection that waits for a request.
#[derive(Debug)]
pub struct Idle {
    /// The connection.
    pub transport: Transport,
    /// When it was made.
    pub born: Timestamp,
    /// The origin closes it, or it is too long idle, from here on; set when it is put into a pool.
    pub until: Timestamp,
}

/// When an idle connection is to be closed: by our limit, by its age, and a second before the origin would.
#[must_use]
pub fn idle_until(pool: Pool, born: Timestamp, keep_alive: Option<Duration>, now: Timestamp) -> Timestamp {
    let grace = Duration::from_secs(limits::KEEP_ALIVE_GRACE_S);
    let promised = keep_alive.map(|timeout| timeout.saturating_sub(grace));
    now.after(Some(pool.idle_timeout)).min(born.after(Some(pool.age_max))).min(now.after(promised))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    /// Goal: an idle connection is closed at the first of three limits. Method: each one the first in turn.
    #[test]
    fn idle_connections_are_closed_at_the_first_limit() {
        let pool = Pool {
            idle_max: 1,
            idle_timeout: Duration::from_secs(60),
            age_max: Duration::from_secs(600),
            ..Pool::default()
        };
        let until = |born, keep_alive: Option<u64>, now| {
            idle_until(pool, Timestamp(born), keep_alive.map(Duration::from_secs), Timestamp(now)).0
        };
        assert_eq!(until(0, None, 10 * S), 70 * S, "our idle limit");
        assert_eq!(until(0, None, 590 * S), 600 * S, "its age");
        assert_eq!(until(0, Some(5), 10 * S), 14 * S, "the origin's promise, less a second");
        assert_eq!(until(0, Some(1), 10 * S), 10 * S, "a promise of a second is not used");
        assert_eq!(until(0, Some(500), 10 * S), 70 * S, "a longer promise than our limit");
    }
}
