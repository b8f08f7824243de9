//! Who may ask how often, and how much at once: the limits of one route, shared by all workers.
//!
//! [`bucket`] is requests in a time, [`concurrency`] requests at once; [`hash`] turns whoever counts as one into a key.
//! Both are tables of a fixed size without a lock.
//!
//! A request is judged in an order that lets one that is refused take nothing: first every rate is only looked at, which
//! writes nothing, so that a flood of refused requests costs reads; then it takes its places, which it gives back if one is
//! missing; then it takes its tokens. Only a race between looking and taking can cost it a token in vain.

pub mod bucket;
pub mod concurrency;
pub mod hash;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::config::route::{Limit, LimitKey};
use crate::time::Timestamp;

use self::bucket::{Buckets, Wait};
use self::concurrency::{Counts, Full, Place};
use self::hash::Hasher;
use super::error::Failure;
use super::source::Source;

/// What a refused request is told to wait for a place. Nobody knows; a second is the least that `Retry-After` can say.
const PLACE_WAIT: Duration = Duration::from_secs(1);

/// The limits of one route. A clone is the same limits.
#[derive(Clone, Debug)]
pub struct Limits {
    limits: Arc<[One]>,
    /// Something is to be looked at before something is taken.
    looks_first: bool,
}

/// One limit.
#[derive(Debug)]
struct One {
    wanted: Limit,
    hash: Hasher,
    buckets: Option<Buckets>,
    counts: Option<Arc<Counts>>,
}

/// A request that may go ahead, and its places; they are given back when this is dropped.
#[derive(Debug, Default)]
#[must_use = "the places are given back when this is dropped"]
pub struct Admitted {
    first: Option<Place>,
    more: Vec<Place>,
}

/// A request that may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When it is worth trying again.
    pub retry_after: Duration,
    /// Which kind of limit it was.
    pub failure: Failure,
}

impl Refused {
    /// The value of `Retry-After`, in seconds.
    #[must_use]
    pub fn retry_after_s(self) -> u32 {
        whole_seconds(self.retry_after)
    }
}

/// `wait` in seconds, rounded up: who comes back then is not early.
#[must_use]
pub fn whole_seconds(wait: Duration) -> u32 {
    let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

impl Limits {
    /// Limits whose keys are hashed under `seed`, which must be random and of this process.
    #[must_use]
    pub fn new(limits: &[Limit], seed: [u64; 2]) -> Limits {
        let hash = Hasher::new(seed);
        let limits: Arc<[One]> =
            limits.iter().enumerate().map(|(n, limit)| One::new(limit, hash.derived(n))).collect();
        let rates = limits.iter().filter(|one| one.buckets.is_some()).count();
        let looks_first = rates > 1 || (rates > 0 && limits.iter().any(|one| one.counts.is_some()));
        Limits { limits, looks_first }
    }

    /// There are none: every request goes ahead.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }

    /// Whether these are limits for `wanted`: then they may stay, with all they know, when the configuration is
    /// replaced.
    #[must_use]
    pub fn are(&self, wanted: &[Limit]) -> bool {
        self.limits.iter().map(|one| &one.wanted).eq(wanted)
    }

    /// Judges a request of `client` with this head.
    ///
    /// # Errors
    /// [`Refused`]: one of the limits is reached. Of several rates the longest wait is told.
    pub fn admit(&self, client: IpAddr, source: Source<'_>, now: Timestamp) -> Result<Admitted, Refused> {
        let mut admitted = Admitted::default();
        if self.looks_first {
            self.look(client, source, now)?;
        }
        for one in &*self.limits {
            if let Some(counts) = &one.counts {
                admitted.add(counts.enter(one.key(client, source))?);
            }
        }
        for one in &*self.limits {
            if let Some(buckets) = &one.buckets {
                buckets.admit(one.key(client, source), now)?;
            }
        }
        Ok(admitted)
    }

    fn look(&self, client: IpAddr, source: Source<'_>, now: Timestamp) -> Result<(), Refused> {
        let buckets = self.limits.iter().filter_map(|one| Some((one, one.buckets.as_ref()?)));
        let waits = buckets.filter_map(|(one, it)| it.peek(one.key(client, source), now).err());
        waits.max_by_key(|wait| wait.0).map_or(Ok(()), |wait| Err(wait.into()))
    }
}

impl One {
    fn new(limit: &Limit, hash: Hasher) -> One {
        let single = limit.key == LimitKey::Route;
        let counts = |max| if single { Counts::single(max) } else { Counts::new(max) };
        One {
            wanted: limit.clone(),
            hash,
            buckets: limit.rate.map(|rate| if single { Buckets::single(rate) } else { Buckets::new(rate) }),
            counts: limit.concurrent.map(|max| Arc::new(counts(max))),
        }
    }

    fn key(&self, client: IpAddr, source: Source<'_>) -> u64 {
        match &self.wanted.key {
            LimitKey::Client => self.hash.client(client),
            LimitKey::Header(name) => self.hash.bytes(value(source, name.as_bytes())),
            LimitKey::Route => 0,
        }
    }
}

/// The first value of a field; nothing if there is none.
fn value<'a>(source: Source<'a>, name: &[u8]) -> &'a [u8] {
    let field = source.fields.iter().find(|it| it.name.of(source.bytes).eq_ignore_ascii_case(name));
    field.map(|field| field.value.of(source.bytes)).unwrap_or_default()
}

impl Admitted {
    /// A first place needs no allocation.
    fn add(&mut self, place: Place) {
        match self.first {
            None => self.first = Some(place),
            Some(_) => self.more.push(place),
        }
    }
}

impl From<Wait> for Refused {
    fn from(wait: Wait) -> Refused {
        Refused { retry_after: wait.0, failure: Failure::RateLimited }
    }
}

impl From<Full> for Refused {
    fn from(_: Full) -> Refused {
        Refused { retry_after: PLACE_WAIT, failure: Failure::TooManyAtOnce }
    }
}

/// Connections of one client at once: `--max-connections-per-client`.
#[derive(Clone, Debug)]
pub struct ClientConnections {
    hash: Hasher,
    counts: Arc<Counts>,
}

impl ClientConnections {
    /// At most `max` for each client, whose addresses are hashed under `seed`, which must be random and of this process.
    #[must_use]
    pub fn new(max: NonZeroU32, seed: [u64; 2]) -> ClientConnections {
        ClientConnections { hash: Hasher::new(seed), counts: Arc::new(Counts::new(max)) }
    }

    /// Takes a place for a connection of `client`.
    ///
    /// # Errors
    /// [`Full`]: it has as many as it may.
    pub fn enter(&self, client: IpAddr) -> Result<Place, Full> {
        self.counts.enter(self.hash.client(client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::route::Rate;
    use crate::h1::field::Span;
    use crate::h1::{Field, Known};

    const NOBODY: Source<'static> = Source { bytes: b"", fields: &[] };

    fn limit(key: LimitKey, rate: Option<(u32, u64, u32)>, concurrent: u32) -> Limit {
        let n = |n| NonZeroU32::new(n).unwrap();
        let rate = rate.map(|(requests, per_s, burst)| Rate {
            requests: n(requests),
            per: Duration::from_secs(per_s),
            burst: n(burst),
        });
        Limit { key, rate, concurrent: NonZeroU32::new(concurrent) }
    }

    fn client(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn at(s: u64) -> Timestamp {
        Timestamp(s * 1_000_000)
    }

    /// A head with one field.
    fn head(line: &str) -> (Vec<u8>, [Field; 1]) {
        let colon = u32::try_from(line.find(':').unwrap()).unwrap();
        let end = u32::try_from(line.len()).unwrap();
        let span = |start, end| Span { start, end };
        let field = Field { name: span(0, colon), value: span(colon + 1, end), known: Known::Other };
        (line.as_bytes().to_vec(), [field])
    }

    #[test]
    fn a_rate_is_of_a_client_and_says_when() {
        let limits = Limits::new(&[limit(LimitKey::Client, Some((1, 10, 2)), 0)], [1, 2]);
        for _ in 0..2 {
            drop(limits.admit(client(1), NOBODY, at(100)).unwrap());
        }
        let refused = limits.admit(client(1), NOBODY, at(101)).unwrap_err();
        assert_eq!((refused.retry_after_s(), refused.failure), (9, Failure::RateLimited));
        assert!(limits.admit(client(2), NOBODY, at(101)).is_ok());
        assert!(limits.admit(client(1), NOBODY, at(110)).is_ok());
    }

    #[test]
    fn fields_count_by_value_and_their_absence_as_one() {
        let limits = Limits::new(&[limit(LimitKey::Header("x-key".into()), Some((1, 10, 1)), 0)], [1, 2]);
        let admits = |line: &str| {
            let (bytes, fields) = head(line);
            limits.admit(client(1), Source { bytes: &bytes, fields: &fields }, at(1)).is_ok()
        };
        assert!(admits("X-Key:a") && !admits("x-key:a") && admits("x-key:b"));
        assert!(admits("other:a") && !admits("another:b"), "no such field");
        assert!(!admits("x-key:"), "an empty value says as much as none");
    }

    #[test]
    fn places_come_back_with_the_end_of_the_request() {
        let wanted = [limit(LimitKey::Route, None, 2), limit(LimitKey::Client, None, 1)];
        let limits = Limits::new(&wanted, [1, 2]);
        let first = limits.admit(client(1), NOBODY, at(1)).unwrap();
        let refused = limits.admit(client(1), NOBODY, at(1)).unwrap_err();
        assert_eq!((refused.retry_after_s(), refused.failure), (1, Failure::TooManyAtOnce));
        let second = limits.admit(client(2), NOBODY, at(1)).unwrap();
        assert!(limits.admit(client(3), NOBODY, at(1)).is_err(), "two of the route");
        drop((first, second));
        assert!(limits.admit(client(1), NOBODY, at(1)).is_ok());
    }

    /// Goal: who is refused takes nothing, whichever limit refuses. Method: every order of a limit that refuses and two that
    /// would not, and then what they have left.
    #[test]
    fn a_refused_request_takes_nothing_of_the_other_limits() {
        let strict = limit(LimitKey::Client, Some((1, 3600, 1)), 0);
        let others = [limit(LimitKey::Route, Some((1, 3600, 3)), 0), limit(LimitKey::Route, None, 2)];
        for position in 0..3 {
            let mut wanted = others.to_vec();
            wanted.insert(position, strict.clone());
            let limits = Limits::new(&wanted, [1, 2]);
            drop(limits.admit(client(1), NOBODY, at(1)).unwrap());
            for _ in 0..20 {
                assert!(limits.admit(client(1), NOBODY, at(1)).is_err());
            }
            let (a, b) = (limits.admit(client(2), NOBODY, at(1)), limits.admit(client(3), NOBODY, at(1)));
            assert!(a.is_ok() && b.is_ok(), "{position}");
            let full = limits.admit(client(4), NOBODY, at(1)).unwrap_err();
            assert_eq!(full.failure, Failure::RateLimited, "{position}");
        }
    }

    #[test]
    fn the_longest_wait_is_told() {
        let wanted = [
            limit(LimitKey::Client, Some((1, 5, 1)), 0),
            limit(LimitKey::Route, Some((1, 60, 1)), 0),
            limit(LimitKey::Client, Some((1, 7, 1)), 0),
        ];
        let limits = Limits::new(&wanted, [1, 2]);
        drop(limits.admit(client(1), NOBODY, at(1)).unwrap());
        assert_eq!(limits.admit(client(1), NOBODY, at(1)).unwrap_err().retry_after_s(), 60);
    }

    #[test]
    fn limits_stay_while_they_are_the_same() {
        let wanted = [limit(LimitKey::Client, Some((1, 5, 1)), 3)];
        let limits = Limits::new(&wanted, [1, 2]);
        assert!(limits.are(&wanted) && !limits.are(&[]) && !limits.is_empty());
        assert!(!limits.are(&[limit(LimitKey::Client, Some((1, 5, 2)), 3)]));
        drop(limits.clone().admit(client(1), NOBODY, at(1)).unwrap());
        assert!(limits.admit(client(1), NOBODY, at(1)).is_err(), "a clone is the same limits");
    }

    #[test]
    fn connections_of_a_client_are_counted() {
        let connections = ClientConnections::new(NonZeroU32::new(1).unwrap(), [3, 4]);
        let held = connections.enter(client(1)).unwrap();
        assert!(connections.enter(client(1)).is_err() && connections.enter(client(2)).is_ok());
        drop(held);
        assert!(connections.enter(client(1)).is_ok());
    }

    #[test]
    fn seconds_are_rounded_up() {
        for (ms, s) in [(0, 0), (1, 1), (1000, 1), (1001, 2), (u64::MAX, u32::MAX)] {
            assert_eq!(whole_seconds(Duration::from_millis(ms)), s);
        }
    }
}
