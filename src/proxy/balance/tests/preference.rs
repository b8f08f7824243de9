//! Who is picked when not everybody is well.

use super::*;
use crate::config::group::{Check, Ejection, Probe};
use crate::proxy::health::Outcome;

fn all_modes() -> [Group; 3] {
    [group(Balance::LeastRequests), group(Balance::RoundRobin), hashed()]
}

fn picked(group: &Group, members: &[Member], now: Timestamp) -> Vec<usize> {
    let mut balancer = Balancer::new(group, 1);
    let counts = counts(&mut balancer, members, now, 64);
    counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(index, _)| index).collect()
}

fn none(group: &Group, members: &[Member], now: Timestamp) -> bool {
    Balancer::new(group, 1).pick(members, now, NOBODY, Some(7)).is_none()
}

fn check() -> Check {
    let second = Duration::from_secs(1);
    Check { probe: Probe::Tcp, interval: second, timeout: second, healthy: 1, unhealthy: 1 }
}

fn eject(member: &Member, now: Timestamp) {
    let ejection = Ejection { consecutive: NonZeroU32::new(1), ..Ejection::default() };
    member.state.report(Outcome::Failed, now, Some(&ejection)).unwrap();
}

#[test]
fn the_well_come_first_then_the_full_then_the_ill_and_the_dead_never() {
    for base in all_modes() {
        let group = Group { max_connections: NonZeroU32::new(1), ..base };
        let members = members(&[1; 10]);
        let now = at(1);
        let busy = [0, 1].map(|index: usize| members[index].state.try_enter(None));
        members[2].state.unreachable(now);
        eject(&members[3], now);
        members[4].state.probed(false, now, &check());
        members[5].state.drain(true, now);
        assert_eq!(picked(&group, &members, now), [6, 7, 8, 9]);
        assert_eq!(picked(&group, &members[..6], now), [0, 1], "wait rather than fall ill");
        assert_eq!(picked(&group, &members[2..6], now), [0], "resting before ejected");
        assert_eq!(picked(&group, &members[3..6], now), [0], "ejected for want of a better one");
        assert!(none(&group, &members[4..6], now), "down and draining never");
        assert!(none(&group, &[], now));
        drop(busy);
        assert_eq!(picked(&group, &members[..6], now), [0, 1]);
    }
}

#[test]
fn nobody_is_tried_twice() {
    for group in all_modes() {
        let members = members(&[1; 10]);
        members[3].state.unreachable(at(1));
        let mut balancer = Balancer::new(&group, 3);
        let (mut tried, mut order) = (Tried::default(), Vec::new());
        while let Some(index) = balancer.pick(&members, at(1), tried, Some(5)) {
            tried.insert(index);
            order.push(index);
        }
        assert_eq!(order.pop(), Some(3), "the last resort");
        order.sort_unstable();
        assert_eq!(order, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    }
}

/// Goal: hundreds of members are no special case. Method: everybody is picked, the last ones too, and a retry goes
/// elsewhere even where an index modulo 64 was tried.
#[test]
fn groups_may_be_large() {
    for group in all_modes() {
        let members = members(&[1; 200]);
        let mut balancer = Balancer::new(&group, 1);
        assert!(counts(&mut balancer, &members, at(1), 4_000).iter().all(|&count| count > 0));
        let mut tried = Tried::default();
        let first = balancer.pick(&members, at(1), tried, Some(1)).unwrap();
        tried.insert(first);
        let others = (0..4_000_u64).filter_map(|key| balancer.pick(&members, at(1), tried, Some(mix(key))));
        let mut seen = vec![false; members.len()];
        others.for_each(|index| seen[index] = true);
        assert_eq!(seen.iter().filter(|seen| !**seen).count(), 1);
        assert!(!seen[first]);
    }
}

/// Goal: one request per pause finds out whether an endpoint is back. Method: the other requests of that pause, also of
/// another worker, go elsewhere.
#[test]
fn an_endpoint_that_may_be_back_gets_one_request() {
    for group in all_modes() {
        let members = members(&[1; 2]);
        members[0].state.unreachable(at(1));
        let mut workers = [Balancer::new(&group, 1), Balancer::new(&group, 2)];
        let mut trials = |now| {
            let all = (0..200).map(|key| workers[key % 2].pick(&members, now, NOBODY, Some(mix(key as u64))));
            all.filter(|picked| *picked == Some(0)).count()
        };
        assert_eq!(trials(at(2)), 0);
        assert_eq!(trials(at(3)), 1);
        assert_eq!(trials(at(4)), 0);
        members[0].state.unreachable(at(5));
        assert_eq!(trials(at(6)), 0);
        assert_eq!(trials(at(7)), 1);
        members[0].state.connected(at(7));
        assert!(trials(at(7)) > 50);
    }
}

#[test]
fn sessions_stay_while_their_endpoint_drains_but_not_when_it_is_ill() {
    let members = members(&[1; 4]);
    let stay = |index: usize, tried| Balancer::stay(&members, at(1), tried, members[index].id);
    let mut tried = Tried::default();
    assert_eq!((stay(2, tried), Balancer::stay(&members, at(1), tried, 77)), (Some(2), None));
    members[0].state.drain(true, at(1));
    assert_eq!(stay(0, tried), Some(0));
    members[0].state.probed(false, at(1), &check());
    assert_eq!(stay(0, tried), None, "down while draining");
    eject(&members[1], at(1));
    members[2].state.unreachable(at(1));
    assert_eq!((stay(1, tried), stay(2, tried)), (None, None));
    tried.insert(3);
    assert_eq!((stay(3, Tried::default()), stay(3, tried)), (Some(3), None));
}
