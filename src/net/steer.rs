//! Which worker serves a connection: the one whose listener the kernel chose, unless it has too many.
//!
//! SO_REUSEPORT spreads connections by a hash of their addresses and ports: by chance, and blind to which of them are still
//! there. So each worker's open connections are counted where all can see them, and whoever accepts one while it has had
//! clearly more than the least loaded worker for a while hands it over:
//!
//! ```text
//!  accept ─▶ Excess: no ─▶ serve it
//!                 └─ yes ─▶ intake of the least loaded worker ── doorbell, if it was empty ─▶ serve it there
//!                              └─ full, or closed by a drain ─▶ serve it here
//! ```
//! Two atomics per connection, a lock per connection that is handed over, nothing per request. An intake is closed and
//! emptied in one step: what was put in before is served, what comes after is refused and served by whoever accepted it.
//! So a drain loses nobody. What was measured: `docs/balance-of-workers.md`.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use crate::config::Listener;
use crate::limits;
use crate::proxy::limit::concurrency::Place;
use crate::time::Timestamp;

use super::site::Site;

/// A connection that has been accepted, and nothing more.
#[derive(Debug)]
pub struct Arrival {
    /// The socket.
    pub stream: TcpStream,
    /// Its peer, as the kernel knows it.
    pub peer: SocketAddr,
    /// Its place among `--max-connections`.
    pub admission: Admission,
    /// What clients of its listener get.
    pub options: Arc<Listener>,
}

/// A client connection's place among `--max-connections` and among those of a worker; given back when dropped.
#[derive(Debug)]
pub struct Admission {
    crew: Arc<Crew>,
    worker: usize,
    /// Its place among those of its client.
    place: Option<Place>,
}

impl Admission {
    /// One more connection of `worker`.
    #[must_use]
    pub fn new(crew: &Arc<Crew>, worker: usize) -> Admission {
        crew.connections.fetch_add(1, Ordering::Relaxed);
        crew.enter(worker);
        Admission { crew: Arc::clone(crew), worker, place: None }
    }

    /// Whether `client` may have another connection: `--max-connections-per-client`, which does not hold for trusted
    /// proxies.
    #[must_use]
    pub fn claim(&mut self, site: &Site, client: IpAddr) -> bool {
        let Some(per_client) = &site.per_client else { return true };
        if site.config.forwarding.trusted_proxies.iter().any(|net| net.contains(&client)) {
            return true;
        }
        self.place = per_client.enter(client).ok();
        self.place.is_some()
    }

    /// From now on it is a connection of `worker`.
    fn move_to(&mut self, worker: usize) {
        self.crew.enter(worker);
        self.crew.leave(self.worker);
        self.worker = worker;
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.crew.leave(self.worker);
        self.crew.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The workers, as they see each other.
#[derive(Debug, Default)]
pub struct Crew {
    seats: Box<[Seat]>,
    /// Client connections of all of them.
    connections: AtomicUsize,
}

/// What one worker shows the others. Aligned as [`crate::telemetry::metrics::Shard`] is, and for the same reason.
#[derive(Debug)]
#[repr(align(128))]
struct Seat {
    /// Client connections that it serves or that wait in its intake.
    open: AtomicUsize,
    /// What others have handed over; `None` once it takes no more.
    intake: Mutex<Option<Vec<Arrival>>>,
    /// An eventfd.
    doorbell: OwnedFd,
}

impl Seat {
    fn new() -> io::Result<Seat> {
        let doorbell = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Seat { open: AtomicUsize::new(0), intake: Mutex::new(Some(Vec::new())), doorbell })
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Nobody panics while holding the lock; if somebody did, the list would still be one.
    fn intake(&self) -> MutexGuard<'_, Option<Vec<Arrival>>> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // An eventfd takes a write unless its counter is about to overflow, and then it rings already.
        let _ = rustix::io::write(&self.doorbell, &1u64.to_ne_bytes());
    }
}

impl Crew {
    /// So many workers without connections.
    ///
    /// # Errors
    /// The process has no descriptor left for a doorbell.
    pub fn of(workers: usize) -> io::Result<Crew> {
        (0..workers)
            .map(|_| Seat::new())
            .collect::<io::Result<_>>()
            .map(|seats| Crew { seats, connections: AtomicUsize::new(0) })
    }

    /// The descriptor by which `worker` hears its doorbell.
    ///
    /// # Errors
    /// The process has no descriptor left, or no such worker.
    pub fn doorbell(&self, worker: usize) -> io::Result<OwnedFd> {
        let seat = self.seats.get(worker).ok_or(io::ErrorKind::NotFound)?;
        seat.doorbell.as_fd().try_clone_to_owned()
    }

    /// Makes every worker look at its intake and at the lifecycle.
    pub fn ring_all(&self) {
        self.seats.iter().for_each(Seat::ring);
    }

    /// Client connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection of `worker` in.
    fn enter(&self, worker: usize) {
        if let Some(seat) = self.seats.get(worker) {
            seat.open.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a connection of `worker` out.
    fn leave(&self, worker: usize) {
        if let Some(seat) = self.seats.get(worker) {
            seat.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Who should serve a connection that `worker` has accepted and counted in, if not `worker` itself.
    #[must_use]
    pub fn better_than(&self, worker: usize, excess: &Excess, now: Timestamp) -> Option<usize> {
        let own = self.seats.get(worker)?.open();
        let (other, least) = self.seats.iter().map(Seat::open).enumerate().min_by_key(|(_, open)| *open)?;
        excess.calls_for_help(own, least, now).then_some(other)
    }

    /// Gives `arrival` to `worker`, and counts it there.
    ///
    /// # Errors
    /// `worker` takes no more: here it is again.
    pub fn hand_over(&self, mut arrival: Arrival, worker: usize) -> Result<(), Arrival> {
        let Some(seat) = self.seats.get(worker) else { return Err(arrival) };
        let mut intake = seat.intake();
        let Some(waiting) = intake.as_mut().filter(|waiting| waiting.len() < limits::STEER_WAITING_MAX)
        else {
            return Err(arrival);
        };
        arrival.admission.move_to(worker);
        waiting.push(arrival);
        let was_empty = waiting.len() == 1;
        drop(intake);
        if was_empty {
            seat.ring();
        }
        Ok(())
    }

    /// What has been handed to `worker`.
    #[must_use]
    pub fn take(&self, worker: usize) -> Vec<Arrival> {
        self.seats.get(worker).and_then(|seat| seat.intake().as_mut().map(std::mem::take)).unwrap_or_default()
    }

    /// The same for the last time: from now on nobody can hand it anything.
    #[must_use]
    pub fn close(&self, worker: usize) -> Vec<Arrival> {
        self.seats.get(worker).and_then(|seat| seat.intake().take()).unwrap_or_default()
    }
}

/// How long a worker has had clearly more connections than the least loaded one.
///
/// Chance and bursts make differences that are gone a moment later: a worker that wakes first takes its whole queue while
/// its neighbour's still waits. A connection handed over for such a one costs some 10 µs for nothing, and with short
/// connections there are many. So a difference has to last, unless it is so large that it will.
#[derive(Debug)]
pub struct Excess {
    since: Cell<Timestamp>,
}

impl Default for Excess {
    fn default() -> Self {
        Excess { since: Cell::new(Timestamp::NEVER) }
    }
}

impl Excess {
    /// Whether a worker with `own` connections should hand one to the worker with the `least`.
    fn calls_for_help(&self, own: usize, least: usize, now: Timestamp) -> bool {
        let more = own.saturating_sub(least);
        if more <= limits::STEER_MARGIN_MIN.max(least / limits::STEER_MARGIN_SHARE) {
            self.since.set(Timestamp::NEVER);
            return false;
        }
        if self.since.get() == Timestamp::NEVER {
            self.since.set(now);
        }
        let lasts = now.since(self.since.get()) >= Duration::from_millis(limits::STEER_LASTING_MS);
        lasts || more > least.saturating_add(limits::STEER_AT_ONCE)
    }
}

#[cfg(test)]
mod tests {
    //! Goal: connections move when a difference lasts or is large, and none is lost. Method: counts and timestamps by hand;
    //! real sockets through an intake.

    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;
    use crate::flags::{self, Command};
    use crate::net::shared::{Budget, Shared};
    use crate::net::site::Site;
    use crate::net::tls::OriginTls;
    use crate::proxy::endpoint::Endpoints;

    const LASTING: Timestamp = Timestamp(1_000 * limits::STEER_LASTING_MS);

    #[test]
    fn a_small_difference_never_counts() {
        let excess = Excess::default();
        for (own, least) in [(0, 0), (4, 0), (0, 4), (68, 64), (1062, 1000)] {
            assert!(!excess.calls_for_help(own, least, Timestamp(0)));
            assert!(!excess.calls_for_help(own, least, LASTING), "{own} {least}");
        }
    }

    #[test]
    fn a_difference_counts_when_it_lasts() {
        let excess = Excess::default();
        assert!(!excess.calls_for_help(5, 0, Timestamp(0)));
        assert!(!excess.calls_for_help(1063, 1000, Timestamp(LASTING.0 - 1)));
        assert!(excess.calls_for_help(5, 0, LASTING));
        // One accept without it, and it has to last again.
        assert!(!excess.calls_for_help(4, 0, LASTING));
        assert!(!excess.calls_for_help(5, 0, LASTING));
        assert!(excess.calls_for_help(5, 0, Timestamp(2 * LASTING.0)));
    }

    #[test]
    fn a_difference_of_more_than_a_batch_counts_at_once() {
        assert!(!Excess::default().calls_for_help(64, 0, Timestamp(0)));
        assert!(Excess::default().calls_for_help(65, 0, Timestamp(0)));
        assert!(!Excess::default().calls_for_help(264, 100, Timestamp(0)));
        assert!(Excess::default().calls_for_help(265, 100, Timestamp(0)));
    }

    fn process(workers: usize) -> Arc<Shared> {
        let args = ["ringress", "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"];
        let Ok(Command::Serve(config)) = flags::parse(args.map(Into::into), &|_| unreachable!()) else {
            panic!("no server")
        };
        let budget = Budget { connections: 10_000, idle_upstreams: 1, pipes: 0 };
        let mut shared = Shared::new(
            Site::new(*config, vec![Endpoints::default()], OriginTls::default(), [1, 2]),
            budget,
            Instant::now(),
        );
        shared.crew = Arc::new(Crew::of(workers).unwrap());
        Arc::new(shared)
    }

    fn arrival(shared: &Arc<Shared>, worker: usize) -> Arrival {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let peer = stream.local_addr().unwrap();
        let options = Arc::new(shared.site.load().config.listeners[0].clone());
        Arrival { stream, peer, admission: shared.admit(worker).unwrap(), options }
    }

    fn open(shared: &Shared) -> Vec<usize> {
        shared.crew.seats.iter().map(Seat::open).collect()
    }

    #[test]
    fn the_least_loaded_worker_is_the_better_one() {
        let shared = process(3);
        let _held: Vec<_> = [0; 100]
            .iter()
            .chain(&[1; 20])
            .chain(&[2; 10])
            .map(|worker| shared.admit(*worker).unwrap())
            .collect();
        assert_eq!(shared.crew.better_than(0, &Excess::default(), Timestamp(0)), Some(2));
        let excess = Excess::default();
        assert_eq!(shared.crew.better_than(1, &excess, LASTING), None);
        assert_eq!(shared.crew.better_than(1, &excess, Timestamp(2 * LASTING.0)), Some(2));
        assert_eq!(shared.crew.better_than(2, &Excess::default(), LASTING), None);
    }

    #[test]
    fn what_is_handed_over_is_counted_where_it_is_and_rings_once() {
        let shared = process(2);
        for _ in 0..3 {
            assert!(shared.crew.hand_over(arrival(&shared, 0), 1).is_ok());
        }
        assert_eq!((open(&shared), shared.connections()), (vec![0, 3], 3));
        let mut rung = [0; 8];
        rustix::io::read(shared.crew.doorbell(1).unwrap(), &mut rung).unwrap();
        assert_eq!(u64::from_ne_bytes(rung), 1);
        assert_eq!(shared.crew.take(0).len(), 0);
        assert_eq!(shared.crew.take(1).len(), 3);
        assert_eq!((open(&shared), shared.connections()), (vec![0, 0], 0));
    }

    #[test]
    fn a_closed_intake_gives_out_what_it_had_and_takes_no_more() {
        let shared = process(2);
        assert!(shared.crew.hand_over(arrival(&shared, 0), 1).is_ok());
        assert_eq!(shared.crew.close(1).len(), 1);
        let back = shared.crew.hand_over(arrival(&shared, 0), 1).unwrap_err();
        assert_eq!(open(&shared), [1, 0]);
        drop(back);
        assert_eq!(
            (open(&shared), shared.crew.take(1).len(), shared.crew.close(1).len()),
            (vec![0, 0], 0, 0)
        );
        assert!(shared.crew.hand_over(arrival(&shared, 0), 7).is_err(), "nobody has that number");
    }

    #[test]
    fn an_intake_is_bounded() {
        let shared = process(2);
        let options = Arc::new(shared.site.load().config.listeners[0].clone());
        let one = arrival(&shared, 0);
        for _ in 0..limits::STEER_WAITING_MAX {
            let (stream, admission) = (one.stream.try_clone().unwrap(), shared.admit(0).unwrap());
            let more = Arrival { stream, peer: one.peer, admission, options: Arc::clone(&options) };
            assert!(shared.crew.hand_over(more, 1).is_ok());
        }
        assert!(shared.crew.hand_over(one, 1).is_err());
        assert_eq!(shared.crew.close(1).len(), limits::STEER_WAITING_MAX);
    }
}
