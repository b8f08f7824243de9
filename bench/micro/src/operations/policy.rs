//! What is done once per request: an endpoint chosen, an identifier made, a line written.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ringress::proxy::balance::{RoundRobin, Tried};
use ringress::proxy::ids::RequestIds;
use ringress::telemetry::access_log::{AccessRecord, write_json, write_logfmt};
use ringress::time::Timestamp;

use super::Operation;

/// The operations of policy and telemetry.
pub fn operations() -> Vec<Operation> {
    vec![
        picks("endpoint-pick-1", "the only endpoint chosen", RoundRobin::new(1, 0)),
        picks("endpoint-pick-8", "one of 8 endpoints chosen", RoundRobin::new(8, 0)),
        picks("endpoint-pick-resting", "one of 8 chosen while 4 rest after failures", half_resting()),
        identifies(),
        logs("log-logfmt", "access-log line in logfmt", write_logfmt),
        logs("log-json", "access-log line in JSON", write_json),
    ]
}

const NOW: Timestamp = Timestamp(1_000_000);

fn half_resting() -> RoundRobin {
    let mut robin = RoundRobin::new(8, 0);
    for index in 0..4 {
        robin.failed(index, NOW);
    }
    robin
}

fn picks(name: &'static str, what: &'static str, mut robin: RoundRobin) -> Operation {
    Operation::hot(name, what, move || {
        black_box(robin.pick(black_box(NOW), Tried::default()));
    })
}

fn identifies() -> Operation {
    let mut ids = RequestIds::new([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
    Operation::hot("request-id", "request identifier made", move || {
        black_box(ids.next_id());
    })
}

fn logs(
    name: &'static str,
    what: &'static str,
    write: impl Fn(&AccessRecord<'_>, &mut Vec<u8>) + 'static,
) -> Operation {
    let (record, mut out) = (record(), Vec::with_capacity(1024));
    Operation::hot(name, what, move || {
        out.clear();
        write(black_box(&record), &mut out);
        black_box(&mut out);
    })
}

fn record() -> AccessRecord<'static> {
    AccessRecord {
        unix_us: 784_111_777_123_456,
        client: Some(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 17), 50_123))),
        request_id: b"0123456789abcdef0123456789abcdef",
        method: b"GET",
        host: b"shop.example.com",
        target: b"/shop/articles/4711",
        protocol: "HTTP/1.1",
        status: 200,
        error: None,
        detail: None,
        phase: None,
        upstream: "10.0.0.7:3000",
        reused: true,
        retries: 0,
        tunnel: false,
        bytes_in: 0,
        bytes_out: 18_734,
        duration: Duration::from_micros(12_345),
        header: Duration::from_micros(42),
        connect: None,
        first_byte: Some(Duration::from_micros(11_987)),
    }
}
