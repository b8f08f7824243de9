//! Tests of the balancer: who is preferred, how requests are shared out, and a group over time.

mod over_time;
mod preference;
mod sharing;

use super::*;
use crate::config::group::{HashKey, Queue};
use crate::config::{Origin, Scheme, Upstream};
use crate::h1::{Field, Known, field::Span};
use crate::proxy::health::Crowd;
use crate::proxy::source::Source;

/// Fields, for what reads them.
pub(super) struct Head {
    bytes: Vec<u8>,
    fields: Vec<Field>,
}

impl Head {
    pub fn new(fields: &[(&str, &str)]) -> Head {
        let mut head = Head { bytes: Vec::new(), fields: Vec::new() };
        for (name, value) in fields {
            let (name, value) = (head.span(name), head.span(value));
            head.fields.push(Field { name, value, known: Known::Other });
        }
        head
    }

    fn span(&mut self, text: &str) -> Span {
        let start = u32::try_from(self.bytes.len()).unwrap();
        self.bytes.extend_from_slice(text.as_bytes());
        Span { start, end: u32::try_from(self.bytes.len()).unwrap() }
    }

    pub fn source(&self) -> Source<'_> {
        Source { bytes: &self.bytes, fields: &self.fields }
    }
}

const NOBODY: Tried = Tried::NONE;

fn at(seconds: u64) -> Timestamp {
    Timestamp(seconds * 1_000_000)
}

fn group(balance: Balance) -> Group {
    let origin = Origin::Address("192.0.2.1:80".parse().unwrap());
    Group {
        name: "app".into(),
        members: vec![Upstream { origin, scheme: Scheme::default() }.into()],
        balance,
        sticky: None,
        slow_start: Duration::ZERO,
        max_connections: None,
        queue: Queue::default(),
        ejection: None,
        check: None,
        pool: crate::config::Pool::default(),
        send_proxy: None,
    }
}

fn hashed() -> Group {
    group(Balance::Hash(HashKey::Client))
}

/// Members with these weights, of one group, up since the beginning.
fn members(weights: &[u16]) -> Vec<Member> {
    let crowd = Arc::new(Crowd::default());
    let member = |(index, &weight): (usize, &u16)| Member {
        state: Arc::new(EndpointState::new(crowd.clone(), at(0))),
        weight: NonZeroU16::new(weight).unwrap(),
        id: hash::of_member("app", &format!("192.0.2.{index}:80")),
    };
    weights.iter().enumerate().map(member).collect()
}

/// How often each member is picked in `count` picks that leave nothing behind.
fn counts(balancer: &mut Balancer, members: &[Member], now: Timestamp, count: u64) -> Vec<u64> {
    let mut counts = vec![0; members.len()];
    for request in 0..count {
        counts[balancer.pick(members, now, NOBODY, Some(mix(request))).unwrap()] += 1;
    }
    counts
}
