//! The listener: a thread per connection, and a bound on how many.

use super::bounds::{CONNECTIONS_MAX, REFUSALS_MAX, STACK_BYTES};
use super::connection;
use crate::limits::ACCEPT_PAUSE_MS;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Starts the demo origin on a free port of 127.0.0.1 and returns its address. It serves until the process ends.
///
/// # Errors
/// No port could be bound, or no thread started.
pub fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    spawn("demo-accept", move || accept_forever(&listener))?;
    Ok(address)
}

fn accept_forever(listener: &TcpListener) {
    let (served, refused) = (Slots::new(CONNECTIONS_MAX), Slots::new(REFUSALS_MAX));
    loop {
        match listener.accept() {
            Ok((stream, _)) => admit(stream, &served, &refused),
            Err(error) if is_of_one_connection(&error) => {}
            // Out of descriptors or memory: the connection stays in the queue, so a retry at once would spin.
            Err(_) => thread::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)),
        }
    }
}

/// Errors that say nothing about the next accept.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Gives a connection its thread. When none can be had, the connection is dropped, which closes it.
fn admit(stream: TcpStream, served: &Slots, refused: &Slots) {
    let spawned = if let Some(slot) = served.take() {
        spawn("demo-connection", move || in_slot(slot, || connection::serve(stream)))
    } else if let Some(slot) = refused.take() {
        spawn("demo-refusal", move || in_slot(slot, || connection::refuse_for_overload(stream)))
    } else {
        Ok(())
    };
    if let Err(error) = spawned {
        tracing::warn!(%error, "the demo origin could not start a thread");
    }
}

fn in_slot(slot: Slot, job: impl FnOnce()) {
    job();
    drop(slot);
}

fn spawn(name: &str, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(job).map(drop)
}

/// A number of places, counted.
struct Slots {
    taken: Arc<AtomicUsize>,
    slots_max: usize,
}

/// A place taken; dropping it gives it back, also when its thread panics.
struct Slot(Arc<AtomicUsize>);

impl Slots {
    fn new(slots_max: usize) -> Slots {
        Slots { taken: Arc::new(AtomicUsize::new(0)), slots_max }
    }

    /// A place, if there is one. Only the accept thread takes, so looking first is no race.
    fn take(&self) -> Option<Slot> {
        if self.taken.load(Ordering::Acquire) >= self.slots_max {
            return None;
        }
        self.taken.fetch_add(1, Ordering::AcqRel);
        Some(Slot(Arc::clone(&self.taken)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
