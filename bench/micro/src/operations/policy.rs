//! What is done once per request: an endpoint chosen, an identifier made, a line written.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use ringress::config::group::{Balance, HashKey};
use ringress::config::route::{Host, PathMatch};
use ringress::config::{Group, Pool, Route};
use ringress::proxy::balance::{Balancer, Member, Tried};
use ringress::proxy::forward::Source;
use ringress::proxy::health::{Crowd, EndpointState};
use ringress::proxy::ids::RequestIds;
use ringress::proxy::routing::{Asked, Router, path};
use ringress::telemetry::access_log::{AccessRecord, write_json, write_logfmt};
use ringress::time::{Timeouts, Timestamp};

use super::Operation;

/// The operations of policy and telemetry.
pub fn operations() -> Vec<Operation> {
    vec![
        picks("endpoint-pick-1", "the only endpoint chosen", Balance::LeastRequests, members(1, 0)),
        picks("endpoint-pick-8", "the less busy of two of 8 chosen", Balance::LeastRequests, members(8, 0)),
        picks("endpoint-pick-turn", "the next of 8 in turn chosen", Balance::RoundRobin, members(8, 0)),
        picks("endpoint-pick-hash", "one of 8 chosen by hash", Balance::Hash(HashKey::Client), members(8, 0)),
        picks("endpoint-pick-resting", "one of 8 chosen while 4 rest", Balance::LeastRequests, members(8, 4)),
        routes("route-1", "the only route found", 0),
        routes("route-200", "the route of one of 200 hosts found", 200),
        normalizes(),
        identifies(),
        logs("log-logfmt", "access-log line in logfmt", write_logfmt),
        logs("log-json", "access-log line in JSON", write_json),
    ]
}

const NOW: Timestamp = Timestamp(1_000_000);

/// A group of `n` endpoints, the first `resting` of which could not be connected to.
fn members(n: usize, resting: usize) -> Vec<Member> {
    let crowd = Arc::new(Crowd::default());
    let member = |index: usize| {
        let state = Arc::new(EndpointState::new(Arc::clone(&crowd), Timestamp(0)));
        if index < resting {
            let _ = state.unreachable(NOW);
        }
        Member { state, weight: NonZeroU16::MIN, id: index as u64 }
    };
    (0..n).map(member).collect()
}

fn picks(name: &'static str, what: &'static str, balance: Balance, members: Vec<Member>) -> Operation {
    let mut group = Group::new("bench", Vec::new(), Pool::default());
    group.balance = balance;
    let mut balancer = Balancer::new(&group, 7);
    Operation::hot(name, what, move || {
        black_box(balancer.pick(black_box(&members), NOW, Tried::NONE, black_box(Some(42))));
    })
}

fn routes(name: &'static str, what: &'static str, hosts: usize) -> Operation {
    let mut routes = vec![Route::everything(Timeouts::default(), None)];
    for host in 0..hosts {
        let mut route = Route::everything(Timeouts::default(), None);
        route.matches.hosts = vec![Host::Exact(format!("h{host}.example.com").into())];
        route.matches.path = PathMatch::Prefix("/shop".into());
        routes.push(route);
    }
    let router = Router::new(&routes);
    let asked = Asked {
        authority: b"h7.example.com",
        path: b"/shop/articles/4711?q=1",
        method: b"GET",
        source: Source { bytes: b"", fields: &[] },
    };
    Operation::hot(name, what, move || {
        black_box(router.find(black_box(asked)));
    })
}

fn normalizes() -> Operation {
    let mut out = Vec::new();
    Operation::hot("path-normalize", "a path found to be in normal form", move || {
        let _ = black_box(path::normalize(black_box(b"/shop/articles/4711?q=1"), &mut out));
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
