//! A group over time: two workers, members that fail, and a clock of our own.

use super::*;
use crate::config::group::Ejection;
use crate::proxy::health::{Change, Outcome};

/// What came of a stretch of time.
#[derive(Debug, Default)]
struct Tally {
    picked: [u64; 4],
    /// Requests that no member served.
    lost: u64,
    changes: Vec<(u64, usize, Change)>,
}

struct World {
    group: Group,
    members: Vec<Member>,
    workers: [Balancer; 2],
}

impl World {
    fn new(mode: Balance) -> World {
        let ejection = Ejection { base: Duration::from_secs(10), ..Ejection::default() };
        let group = Group { ejection: Some(ejection), ..group(mode) };
        let workers = [1, 2].map(|seed| Balancer::new(&group, seed));
        World { group, members: members(&[1; 4]), workers }
    }

    /// A request every 20 ms; `answers` says what a member does at a second.
    fn run(&mut self, from: u64, to: u64, answers: impl Fn(usize, u64) -> Outcome) -> Tally {
        let mut tally = Tally::default();
        for ms in (from * 1000..to * 1000).step_by(20) {
            let now = Timestamp(ms * 1000);
            let served = self.request(ms, now, &answers, &mut tally);
            tally.lost += u64::from(!served);
        }
        tally
    }

    /// One request: tried on another member where the first cannot be reached, and not again after that.
    fn request(
        &mut self,
        ms: u64,
        now: Timestamp,
        answers: impl Fn(usize, u64) -> Outcome,
        tally: &mut Tally,
    ) -> bool {
        let mut tried = Tried::default();
        let worker = &mut self.workers[usize::try_from(ms / 20 % 2).unwrap()];
        while let Some(index) = worker.pick(&self.members, now, tried, Some(mix(ms))) {
            let state = &self.members[index].state;
            let _busy = state.try_enter(None);
            tally.picked[index] += 1;
            let outcome = answers(index, ms / 1000);
            let change = state.report(outcome, now, self.group.ejection.as_ref());
            tally.changes.extend(change.map(|change| (ms / 1000, index, change)));
            match outcome {
                Outcome::Served => return true,
                Outcome::Failed => return false,
                Outcome::Unreachable => tried.insert(index),
            }
        }
        false
    }
}

fn modes() -> [Balance; 3] {
    [Balance::LeastRequests, Balance::RoundRobin, Balance::Hash(HashKey::Client)]
}

/// Goal: a member that fails ever and again is tried ever more seldom, and is forgiven once it is well.
#[test]
fn a_flapping_member_is_left_alone_ever_longer() {
    for mode in modes() {
        let mut world = World::new(mode);
        let bad = |index: usize, _| if index == 1 { Outcome::Failed } else { Outcome::Served };
        let tally = world.run(1, 300, bad);
        let pauses = tally.changes.iter().filter_map(|(_, index, change)| match change {
            Change::Ejected { length, .. } => Some((*index, length.as_secs())),
            _ => None,
        });
        assert_eq!(pauses.collect::<Vec<_>>(), [(1, 10), (1, 20), (1, 40), (1, 80), (1, 160)]);
        assert_eq!(tally.lost, 25, "five of each time");
        let well = world.run(300, 2000, |_, _| Outcome::Served);
        assert!(matches!(well.changes[..], [(311..=314, 1, Change::Readmitted)]), "{:?}", well.changes);
        let again = world.run(2000, 2001, bad);
        assert!(
            matches!(again.changes[..], [(2000, 1, Change::Ejected { times: 1, .. })]),
            "{:?}",
            again.changes
        );
    }
}

/// Goal: when everything fails, half of the group is left, and no request finds nobody.
#[test]
fn a_group_that_fails_altogether_keeps_half_of_it() {
    for mode in modes() {
        let mut world = World::new(mode);
        let tally = world.run(1, 10, |_, _| Outcome::Failed);
        assert_eq!(tally.changes.len(), 2, "{:?}", tally.changes);
        assert_eq!(tally.picked.iter().sum::<u64>(), 450);
        let left = world.run(10, 11, |_, _| Outcome::Served).picked;
        assert_eq!(left.iter().filter(|&&count| count > 0).count(), 2, "{left:?}");
    }
}

/// Goal: a member that cannot be reached costs one attempt per pause, no request, and is back within a pause.
#[test]
fn a_member_that_restarts_costs_no_request() {
    for mode in modes() {
        let mut world = World { group: Group { ejection: None, ..group(mode.clone()) }, ..World::new(mode) };
        let gone = |index: usize, _| if index == 2 { Outcome::Unreachable } else { Outcome::Served };
        let away = world.run(1, 61, gone);
        assert_eq!((away.lost, away.changes.len()), (0, 1));
        assert!((29..=31).contains(&away.picked[2]), "{:?}", away.picked);
        let back = world.run(61, 71, |_, _| Outcome::Served);
        assert!(matches!(back.changes[..], [(61..=62, 2, Change::Reached)]), "{:?}", back.changes);
        assert!(back.picked[2] > 80, "{:?}", back.picked);
    }
}
