//! Goal: a panic costs one connection, a dead worker stops the process, one that hangs is found out, and all are said.
//! Method: faults that debug builds provoke on request (`net/fault.rs`), beside an open stream.

use crate::admin::{ADMIN, ask};
use crate::admin_metrics::metrics;
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

/// A worker that hangs cannot say so: others do, to whoever asks whether all is well.
#[test]
fn hanging_worker_is_found_out() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::with(&origin, &ADMIN);
    assert_eq!(ask(&proxy, "/healthz").head.status(), 200);
    assert_eq!(metrics(&proxy)["ringress_workers_hanging"], 0.0);
    let mut victim = proxy.client();
    victim.send(get("/.fault/hang"));
    let unwell = eventually("it is not well", || {
        let response = ask(&proxy, "/healthz");
        (response.head.status() != 200).then_some(response)
    });
    assert_eq!((unwell.head.status(), unwell.text().as_str()), (503, "a worker hangs\n"));
    assert_eq!(metrics(&proxy)["ringress_workers_hanging"], 1.0);
    assert!(proxy.stderr().contains("a worker hangs"), "{}", proxy.stderr());
}
