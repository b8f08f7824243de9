//! Order between threads: a counting gate, and an inbox for values.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};

use super::PATIENCE;

/// Each `open` lets one `pass` through, now or later.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<usize>, Condvar)>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Gate {
        Gate::default()
    }

    /// Lets one waiter through.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() += 1;
        self.0.1.notify_one();
    }

    /// Waits to be let through.
    #[track_caller]
    pub fn pass(&self) {
        let guard = self.0.0.lock().unwrap();
        let (mut permits, timeout) =
            self.0.1.wait_timeout_while(guard, PATIENCE, |permits| *permits == 0).unwrap();
        assert!(!timeout.timed_out(), "the gate never opened");
        *permits -= 1;
    }
}

/// The receiving side of a channel whose waits have a deadline.
pub struct Inbox<T>(Receiver<T>);

/// A channel from a script's thread to the test.
pub fn inbox<T>() -> (Sender<T>, Inbox<T>) {
    let (tx, rx) = channel();
    (tx, Inbox(rx))
}

impl<T> Inbox<T> {
    /// The next value.
    #[track_caller]
    pub fn take(&self) -> T {
        self.0.recv_timeout(PATIENCE).expect("the script never reported")
    }

    /// True when no value is waiting.
    pub fn is_empty(&self) -> bool {
        self.0.try_recv().is_err()
    }
}
