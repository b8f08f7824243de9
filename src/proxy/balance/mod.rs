//! Which endpoint of a group serves the next attempt.
//!
//! One [`Balancer`] per worker and group. What it knows of the endpoints it reads from their [`EndpointState`]s, which
//! all workers share; what it remembers itself is where it is in its round, and a seed, so that workers do not march in
//! step. A pick looks at every member once and allocates nothing (but when the group has grown).
//!
//! Members are preferred in this order, and only the best that there are come into question:
//!
//! 1. up, with room for another request;
//! 2. up, and full: the request waits there, rather than being sent to somebody who is ill;
//! 3. resting, 4. ejected: a bad endpoint is better than none.
//!
//! Those that are down or draining are never picked, nor those that were tried already.

pub mod hash;
pub mod sticky;
#[cfg(test)]
mod tests;
mod tried;

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Group;
use crate::config::group::Balance;
use crate::proxy::health::{Availability, EndpointState, FULL_SHARE};
use crate::proxy::mix::mix;
use crate::time::Timestamp;

pub use self::tried::{ATTEMPTS_MAX, Tried};

/// Under a hash, a member has at most this many hundredths of its share of the requests that are under way; what is more
/// goes to the next one (Mirrokni, Thorup, Zadimoghaddam 2016: consistent hashing with bounded loads).
const LOAD_PERCENT: u64 = 125;
/// Under a hash, so many requests at once are never too many for a member: where there are few, one more is far above any
/// share, and the second request of a page would go to another member than the first.
const LOAD_FREE: u64 = 32;
/// Times that a worker lets another one have the trial of an endpoint before it looks no further.
const LOSSES_MAX: usize = 4;

/// An endpoint as a balancer sees it.
#[derive(Clone, Debug)]
pub struct Member {
    /// What is known of it.
    pub state: Arc<EndpointState>,
    /// Its share, relative to that of the others.
    pub weight: NonZeroU16,
    /// Its name in hashes and cookies, from [`hash::of_member`]; no two members of a group share one.
    pub id: u64,
}

/// Shares requests out among the members of a group.
#[derive(Debug)]
pub struct Balancer {
    mode: Mode,
    slow_start: Duration,
    max_connections: Option<NonZeroU32>,
    random: Random,
    /// What the present pick has found of each member.
    seats: Vec<Seat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    LeastRequests,
    RoundRobin,
    Hash,
}

/// How much a member is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Never,
    Ejected,
    Resting,
    Full,
    Up,
}

#[derive(Clone, Copy, Debug)]
struct Seat {
    rank: Rank,
    /// Its weight times its share, at least 1.
    weight: u32,
    /// Smooth round robin: what it is owed, in weights.
    owed: i64,
}

/// What a look at all members came to.
#[derive(Clone, Copy, Debug)]
struct Census {
    /// The best rank that somebody has.
    rank: Rank,
    /// Members that have it,
    count: usize,
    /// the first of them,
    first: usize,
    /// and their weights together.
    weight: u64,
}

impl Balancer {
    /// Shares requests to `group` out; `seed` is random, and of this worker alone.
    #[must_use]
    pub fn new(group: &Group, seed: u64) -> Balancer {
        let mode = match group.balance {
            Balance::LeastRequests => Mode::LeastRequests,
            Balance::RoundRobin => Mode::RoundRobin,
            Balance::Hash(_) => Mode::Hash,
        };
        let (slow_start, max_connections) = (group.slow_start, group.max_connections);
        Balancer { mode, slow_start, max_connections, random: Random(seed), seats: Vec::new() }
    }

    /// The member that serves the next attempt of a request; `None` when there is none left.
    ///
    /// With a limit on connections the member may have reached it: because all that are up have, or because another
    /// worker was faster. Then [`EndpointState::try_enter`] says so. `key` is [`hash::key`]; without one a request
    /// under a hash is shared out as if by least requests.
    pub fn pick(
        &mut self,
        members: &[Member],
        now: Timestamp,
        tried: Tried,
        key: Option<u64>,
    ) -> Option<usize> {
        let mut picked = None;
        for _ in 0..LOSSES_MAX {
            let census = self.census(members, now, tried)?;
            let index = self.choose(members, census, key);
            picked = Some(index);
            // Only who is up is asked: one that is known to be ill is tried for want of a better one.
            let admits = members.get(index).is_some_and(|member| member.state.admits(now));
            if census.rank != Rank::Up || admits {
                break;
            }
        }
        picked
    }

    /// The member that the client is at home with (see [`sticky::wanted`]), if it can still serve it: also while it
    /// drains, and when it is full, but not when it is ill or was tried.
    #[must_use]
    pub fn stay(members: &[Member], now: Timestamp, tried: Tried, wanted: u64) -> Option<usize> {
        let index = members.iter().position(|member| member.id == wanted)?;
        let state = &members.get(index)?.state;
        (!tried.contains(index) && state.keeps_sessions(now) && state.admits(now)).then_some(index)
    }

    /// Looks at every member, and notes what it finds in `seats`.
    fn census(&mut self, members: &[Member], now: Timestamp, tried: Tried) -> Option<Census> {
        self.seat(members);
        let mut census = Census { rank: Rank::Never, count: 0, first: 0, weight: 0 };
        for (index, (member, seat)) in members.iter().zip(&mut self.seats).enumerate() {
            seat.rank = match tried.contains(index) {
                true => Rank::Never,
                false => rank(&member.state, now, self.max_connections),
            };
            if seat.rank < census.rank || seat.rank == Rank::Never {
                continue;
            }
            if seat.rank > census.rank {
                census = Census { rank: seat.rank, count: 0, first: index, weight: 0 };
            }
            seat.weight = weight(member, now, self.slow_start);
            census.count += 1;
            census.weight += u64::from(seat.weight);
        }
        (census.count > 0).then_some(census)
    }

    /// As many seats as members. When that changes the round begins anew, at a place left to chance.
    fn seat(&mut self, members: &[Member]) {
        if self.seats.len() == members.len() {
            return;
        }
        let random = &mut self.random;
        let seat = |member: &Member| {
            let full = u64::from(member.weight.get()) * u64::from(FULL_SHARE);
            let owed = i64::try_from(random.below(full)).unwrap_or(0);
            Seat { rank: Rank::Never, weight: 1, owed }
        };
        self.seats.clear();
        self.seats.extend(members.iter().map(seat));
    }

    fn choose(&mut self, members: &[Member], census: Census, key: Option<u64>) -> usize {
        match (census.count, self.mode, key) {
            (1, Mode::LeastRequests | Mode::RoundRobin | Mode::Hash, _) => census.first,
            (_, Mode::RoundRobin, _) => self.next_in_turn(census),
            (_, Mode::Hash, Some(key)) => self.nearest(members, census, key),
            (_, Mode::LeastRequests, _) | (_, Mode::Hash, None) => self.less_busy_of_two(members, census),
        }
    }

    /// The members that come into question.
    fn seated(&self, census: Census) -> impl Iterator<Item = (usize, &Seat)> {
        self.seats.iter().enumerate().filter(move |(_, seat)| seat.rank == census.rank)
    }

    /// The power of two choices: two different members, by their weights, and of those the one with fewer requests for
    /// its weight. Of two that have equally many, the first one: so idle members are shared out by their weights too.
    fn less_busy_of_two(&mut self, members: &[Member], census: Census) -> usize {
        let at = self.random.below(census.weight);
        let Some((a, weight_a)) = self.at(census, at, usize::MAX) else { return census.first };
        let at = self.random.below(census.weight.saturating_sub(u64::from(weight_a)));
        let Some((b, weight_b)) = self.at(census, at, a) else { return a };
        let busy = |index: usize, other: u32| active(members, index) * u64::from(other);
        if busy(b, weight_a) < busy(a, weight_b) { b } else { a }
    }

    /// The member at this place when they lie side by side, each as long as its weight, and without `but`.
    fn at(&self, census: Census, mut at: u64, but: usize) -> Option<(usize, u32)> {
        let mut last = None;
        for (index, seat) in self.seated(census).filter(|(index, _)| *index != but) {
            last = Some((index, seat.weight));
            match at.checked_sub(u64::from(seat.weight)) {
                Some(left) => at = left,
                None => break,
            }
        }
        last
    }

    /// Smooth weighted round robin, as nginx has it: everybody is owed its weight more, and who is owed the most is
    /// picked and pays for all. A heavy member's turns are spread over the round.
    fn next_in_turn(&mut self, census: Census) -> usize {
        let (mut best, mut most) = (census.first, i64::MIN);
        let seats = self.seats.iter_mut().enumerate().filter(|(_, seat)| seat.rank == census.rank);
        for (index, seat) in seats {
            seat.owed = seat.owed.saturating_add(i64::from(seat.weight));
            if seat.owed > most {
                (best, most) = (index, seat.owed);
            }
        }
        if let Some(seat) = self.seats.get_mut(best) {
            seat.owed = seat.owed.saturating_sub_unsigned(census.weight);
        }
        best
    }

    /// The member with the best claim to `key` among those that are not busier than the bound allows. Their shares of
    /// the bound sum up to more than there is, so there is one.
    fn nearest(&self, members: &[Member], census: Census, key: u64) -> usize {
        let total = self.seated(census).map(|(index, _)| active(members, index)).sum::<u64>() + 1;
        let fits = |index: usize, seat: &Seat| {
            let share = u128::from(LOAD_PERCENT * total) * u128::from(seat.weight);
            let most = share.div_ceil(100 * u128::from(census.weight)).max(u128::from(LOAD_FREE));
            u128::from(active(members, index)) < most
        };
        let claims = self.seated(census).map(|(index, seat)| {
            let id = members.get(index).map_or(0, |member| member.id);
            (fits(index, seat), hash::claim(key, id, seat.weight), index)
        });
        let better = claims.max_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        better.map_or(census.first, |(_, _, index)| index)
    }
}

fn rank(state: &EndpointState, now: Timestamp, max: Option<NonZeroU32>) -> Rank {
    match state.availability(now) {
        Availability::Up if max.is_some_and(|max| state.active() >= max.get()) => Rank::Full,
        Availability::Up => Rank::Up,
        Availability::Resting => Rank::Resting,
        Availability::Ejected => Rank::Ejected,
        Availability::Down | Availability::Draining => Rank::Never,
    }
}

/// Weight times share: below 2^27.
fn weight(member: &Member, now: Timestamp, slow_start: Duration) -> u32 {
    u32::from(member.weight.get()) * member.state.share(now, slow_start)
}

fn active(members: &[Member], index: usize) -> u64 {
    members.get(index).map_or(u64::MAX >> 32, |member| u64::from(member.state.active()))
}

/// SplitMix64: good enough to share out, and one multiplication away from nothing.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        let output = mix(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        output
    }

    /// Evenly from 0 to below `bound`; 0 for a bound of 0.
    fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }
}
