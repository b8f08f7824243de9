//! Goal: a panic costs one connection, a dead worker stops the process, and both are said. Method: faults
//! that debug builds provoke on request (`net/fault.rs`), beside an open stream.

use crate::harness::*;
use crate::lifecycle::{gated_stream, open_stream};

/// A panic closes its connection; a stream beside it runs on; it is counted and logged.
#[test]
fn panic_costs_one_connection() {
    let gate = Gate::new();
    let origin = gated_stream(&gate);
    let mut proxy = Proxy::of(&origin);
    let mut neighbour = open_stream(&proxy);
    let mut victim = proxy.client();
    victim.send(get("/.fault/panic"));
    victim.assert_closed();
    gate.open();
    assert!(neighbour.chunked().complete, "the neighbour was cut");
    drop((neighbour, victim));
    proxy.terminate();
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(proxy.stderr().contains("panics=1"), "{}", proxy.stderr());
    assert!(proxy.stderr().contains("src/net/fault.rs"), "the place is not said: {}", proxy.stderr());
}

/// A worker that dies takes the process down, with its number.
#[test]
fn dead_worker_stops_the_process() {
    let origin = Origin::serve(|_| ok("fine"));
    let mut proxy = Proxy::of(&origin);
    proxy.client().send(get("/.fault/die"));
    assert_eq!(proxy.wait().code(), Some(1));
    assert!(proxy.stderr().contains("worker 0 died"), "{}", proxy.stderr());
}
