//! The clocks of a worker: monotonic for deadlines, wall for logs and `Date`.

use std::cell::{Cell, RefCell};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::telemetry::date::write_http_date;
use crate::time::Timestamp;

/// Reads the clocks; one per worker, all from the same epoch.
///
/// Monotonic time stands still while a task runs: it is read once when the task is polled, and an exchange asks
/// for it a dozen times (each read costs 25 ns through the vDSO; together they were 2 % of a small request).
#[derive(Debug)]
pub struct Clock {
    epoch: Instant,
    now: Cell<Timestamp>,
    turns: Cell<u64>,
    date_second: Cell<u64>,
    date: RefCell<Vec<u8>>,
}

impl Clock {
    /// A clock that counts from `epoch`.
    #[must_use]
    pub fn new(epoch: Instant) -> Clock {
        Clock {
            epoch,
            now: Cell::new(Timestamp(0)),
            turns: Cell::new(0),
            date_second: Cell::new(u64::MAX),
            date: RefCell::new(Vec::new()),
        }
    }

    /// Monotonic time when the running task was polled.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now.get()
    }

    /// Reads the monotonic clock: every task does so when it is polled.
    pub fn refresh(&self) -> Timestamp {
        let now = Timestamp(u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX));
        self.now.set(now);
        self.turns.set(self.turns.get().wrapping_add(1));
        now
    }

    /// How often the clock was read: a task was polled each time.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.get()
    }

    /// The instant of a timestamp, for the runtime's sleep.
    #[must_use]
    pub fn instant(&self, at: Timestamp) -> Option<Instant> {
        self.epoch.checked_add(std::time::Duration::from_micros(at.0))
    }

    /// Now by the wall clock, in microseconds since the Unix epoch.
    #[must_use]
    pub fn unix_us(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// Lends `use_date` the IMF-fixdate of now, formatted once a second.
    pub fn with_http_date<R>(&self, use_date: impl FnOnce(&[u8]) -> R) -> R {
        let second = self.unix_us() / 1_000_000;
        let mut date = self.date.borrow_mut();
        if self.date_second.replace(second) != second {
            date.clear();
            write_http_date(second, &mut date);
        }
        use_date(&date)
    }
}
