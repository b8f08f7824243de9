//! Tests of what is known of an endpoint: each reason to leave it alone, and many threads at once.

use super::*;
use crate::config::group::Probe;
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;

fn at(seconds: u64) -> Timestamp {
    Timestamp(seconds * 1_000_000)
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn endpoints(count: usize) -> Vec<Arc<EndpointState>> {
    let crowd = Arc::new(Crowd::default());
    (0..count).map(|_| Arc::new(EndpointState::new(crowd.clone(), at(0)))).collect()
}

/// Three in a row, 10 s the first time, 60 s at most.
fn in_a_row() -> Ejection {
    let consecutive = NonZeroU32::new(3);
    Ejection { consecutive, error_percent: None, base: seconds(10), max: seconds(60), ..Ejection::default() }
}

fn check() -> Check {
    Check { probe: Probe::Tcp, interval: seconds(1), timeout: seconds(1), healthy: 2, unhealthy: 3 }
}

/// Probes `state` that often; what the last one led to.
fn probe(state: &EndpointState, n: u32, good: bool, now: Timestamp) -> Option<Change> {
    (0..n).map(|_| state.probed(good, now, &check())).last().flatten()
}

/// Reports `n` failures; what the last one led to.
fn fail(state: &EndpointState, n: u32, now: Timestamp, ejection: &Ejection) -> Option<Change> {
    (0..n).map(|_| state.report(Outcome::Failed, now, Some(ejection))).last().flatten()
}

fn length(change: Option<Change>) -> u64 {
    match change {
        Some(Change::Ejected { length, .. }) => length.as_secs(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn failures_in_a_row_eject_for_a_while() {
    let all = endpoints(2);
    let (state, ejection) = (&all[0], in_a_row());
    assert_eq!(fail(state, 2, at(1), &ejection), None);
    assert_eq!(state.report(Outcome::Served, at(1), Some(&ejection)), None);
    assert_eq!(fail(state, 2, at(1), &ejection), None, "a good one breaks the row");
    let change = state.report(Outcome::Unreachable, at(1), Some(&ejection));
    let reason = Reason::Consecutive(3);
    assert_eq!(change, Some(Change::Ejected { reason, length: seconds(10), times: 1 }));
    assert_eq!(fail(state, 5, at(2), &ejection), None, "news once");
    assert_eq!((state.availability(at(10)), state.crowd.out()), (Availability::Ejected, 1));
    assert!(!state.keeps_sessions(at(10)));
    assert_eq!((state.settle(at(10)), state.availability(at(11))), (None, Availability::Up));
    assert_eq!((state.settle(at(11)), state.settle(at(11))), (Some(Change::Readmitted), None));
    assert_eq!((state.crowd.out(), fail(state, 2, at(12), &ejection)), (0, None), "it begins anew");
}

#[test]
fn without_ejection_an_endpoint_only_rests() {
    let state = &endpoints(2)[0];
    assert_eq!(state.report(Outcome::Unreachable, at(1), None), Some(Change::Unreachable));
    assert_eq!((0..99).filter_map(|_| state.report(Outcome::Failed, at(1), None)).count(), 0);
    assert_eq!(state.availability(at(2)), Availability::Resting);
    assert_eq!(state.availability(at(3)), Availability::Up);
}

#[test]
fn a_rate_of_failures_ejects_once_there_are_enough_requests() {
    let state = &endpoints(2)[0];
    let ejection = Ejection {
        consecutive: None,
        error_percent: Some(40),
        requests_min: 10,
        window: seconds(20),
        ..Ejection::default()
    };
    let report = |good: bool, now| {
        let outcome = if good { Outcome::Served } else { Outcome::Failed };
        state.report(outcome, now, Some(&ejection))
    };
    assert_eq!((0..9).filter_map(|_| report(false, at(1))).count(), 0, "too few to say");
    assert_eq!((0..40).filter_map(|_| report(true, at(30))).count(), 0, "those are long past");
    assert_eq!((0..26).filter_map(|_| report(false, at(30))).count(), 0, "26 of 66");
    let reason = Reason::Rate { failed: 27, total: 67 };
    assert_eq!(report(false, at(30)), Some(Change::Ejected { reason, length: seconds(10), times: 1 }));
    assert_eq!(state.settle(at(40)), Some(Change::Readmitted));
    assert_eq!(report(false, at(40)), None, "what led to it is forgotten");
}

/// Goal: the pause doubles up to its longest, and shrinks again by as many steps as it has been well for.
#[test]
fn the_pause_doubles_and_is_forgotten() {
    let state = &endpoints(2)[0];
    let ejection = in_a_row();
    let mut now = 1;
    let mut again = |well: u64| {
        now += well;
        let pause = length(fail(state, 3, at(now), &ejection));
        now += pause;
        state.settle(at(now)).unwrap();
        pause
    };
    assert_eq!([0, 9, 0, 39, 0, 59].map(&mut again), [10, 20, 40, 60, 60, 60]);
    assert_eq!(again(60), 60, "the sixth is forgotten, and the fifth was as long");
    assert_eq!(again(60 * 3 + 40), 40, "of six, four are forgotten");
    assert_eq!(again(100_000), 10);
}

#[test]
fn the_end_of_an_ejection_is_noticed_by_the_next_report() {
    let state = &endpoints(2)[0];
    length(fail(state, 3, at(1), &in_a_row()));
    assert_eq!(state.report(Outcome::Served, at(12), Some(&in_a_row())), Some(Change::Readmitted));
}

#[test]
fn the_last_half_of_a_group_stays() {
    for (count, ejected) in [(1, 0), (2, 1), (3, 1), (4, 2), (9, 4)] {
        let all = endpoints(count);
        let gone = all.iter().filter(|state| fail(state, 3, at(1), &in_a_row()).is_some());
        assert_eq!(gone.count(), ejected, "of {count}");
    }
}

/// Goal: whoever is out for another reason fills a place, once, and gives it back.
#[test]
fn those_that_are_down_or_drain_fill_places() {
    let all = endpoints(4);
    let crowd = all[0].crowd.clone();
    all[0].drain(true, at(1));
    probe(&all[0], 3, false, at(1));
    probe(&all[1], 3, false, at(1));
    assert_eq!((crowd.members(), crowd.out()), (4, 2));
    assert_eq!(fail(&all[2], 3, at(1), &in_a_row()), None, "half of them are out");
    all[0].drain(false, at(2));
    assert_eq!(crowd.out(), 2, "still down");
    probe(&all[0], 2, true, at(2));
    assert_eq!(crowd.out(), 1);
    assert!(fail(&all[2], 1, at(2), &in_a_row()).is_some());
    probe(&all[2], 3, false, at(3));
    assert_eq!((crowd.out(), all[2].settle(at(999))), (2, None), "being down took over");
}

#[test]
fn those_that_leave_count_no_longer() {
    let mut all = endpoints(4);
    let crowd = all[0].crowd.clone();
    length(fail(&all[0], 3, at(1), &in_a_row()));
    all[0].leave();
    all[0].leave();
    assert_eq!((crowd.members(), crowd.out()), (3, 0));
    assert_eq!(fail(&all[0], 9, at(99), &in_a_row()), None, "nobody cares");
    all[0].join();
    assert_eq!((crowd.members(), crowd.out()), (4, 0), "its time was over");
    all[1].drain(true, at(1));
    all[1].leave();
    all.clear();
    assert_eq!((crowd.members(), crowd.out()), (0, 0));
}

#[test]
fn probes_decide_in_a_row() {
    let state = &endpoints(1)[0];
    let probes = |goods: &[bool]| {
        goods.iter().filter_map(|&good| state.probed(good, at(5), &check())).collect::<Vec<_>>()
    };
    assert_eq!(probes(&[true, false, false, true, false, false]), []);
    assert_eq!(state.availability(at(5)), Availability::Up);
    assert_eq!(probes(&[false, false]), [Change::Down(3)]);
    assert_eq!((state.availability(at(5)), state.keeps_sessions(at(5))), (Availability::Down, false));
    assert_eq!(probes(&[true, false, true]), []);
    assert_eq!(probes(&[true, true]), [Change::Up(2)]);
    assert_eq!(state.availability(at(5)), Availability::Up);
    state.unreachable(at(5));
    assert_eq!(probes(&[true]), [Change::Reached], "it was connected to");
    probes(&[false; 3]);
    state.unprobed(at(6));
    assert_eq!(state.availability(at(6)), Availability::Up, "nobody is left to say so");
}

#[test]
fn draining_is_news_once_and_keeps_sessions() {
    let state = &endpoints(1)[0];
    let drain = |on| state.drain(on, at(1));
    assert_eq!((drain(false), drain(true), drain(true)), (None, Some(Change::Drained), None));
    assert_eq!((state.availability(at(1)), state.keeps_sessions(at(1))), (Availability::Draining, true));
    assert_eq!((drain(false), drain(false)), (Some(Change::Undrained), None));
}

#[test]
fn a_rest_is_news_once() {
    let state = &endpoints(1)[0];
    assert_eq!((state.unreachable(at(1)), state.unreachable(at(2))), (Some(Change::Unreachable), None));
    assert_eq!(
        (state.availability(at(3)), state.availability(at(4))),
        (Availability::Resting, Availability::Up)
    );
    assert_eq!((state.connected(at(3)), state.connected(at(3))), (Some(Change::Reached), None));
    assert_eq!(state.availability(at(3)), Availability::Up);
}

/// Goal: answers on connections of old do not end a rest, or an endpoint whose listener is gone would come and go with
/// every one of them; but the trial may be served on one, and then it was no failure.
#[test]
fn an_answer_ends_a_rest_only_on_trial() {
    let state = &endpoints(1)[0];
    let serve = |now| state.report(Outcome::Served, now, None);
    state.unreachable(at(1));
    assert_eq!((serve(at(2)), serve(at(3))), (None, None));
    assert!(!state.admits(at(2)), "it rests");
    assert!(state.admits(at(3)) && !state.admits(at(3)), "one trial");
    assert_eq!((serve(at(3)), serve(at(3))), (Some(Change::Reached), None));
    assert!(state.admits(at(3)) && state.admits(at(3)));
}

#[test]
fn a_share_grows_from_a_tenth_since_it_came_up() {
    let state = &endpoints(2)[0];
    let shares = |from: u64| [0, 1, 5, 10, 99].map(|s| state.share(at(from + s), seconds(10)));
    let ramp = [100, 190, 550, 1000, 1000];
    assert_eq!(shares(0), ramp, "new");
    assert_eq!(state.share(at(0), Duration::ZERO), FULL_SHARE);
    probe(state, 3, false, at(100));
    probe(state, 2, true, at(200));
    assert_eq!(shares(200), ramp, "back by probes");
    length(fail(state, 3, at(300), &in_a_row()));
    assert_eq!(shares(310), ramp, "back from an ejection, before anybody has noticed");
    state.settle(at(330));
    assert_eq!(shares(310), ramp, "and after");
    state.unreachable(at(400));
    state.connected(at(500));
    assert_eq!(shares(500), ramp, "reached again");
    state.drain(true, at(600));
    state.drain(false, at(700));
    assert_eq!(shares(700), ramp, "put back");
}

#[test]
fn a_request_counts_while_its_guard_lives() {
    let state = &endpoints(1)[0];
    let max = NonZeroU32::new(2);
    let first = state.try_enter(max);
    let second = state.try_enter(max);
    assert!(first.is_some() && second.is_some() && state.try_enter(max).is_none());
    assert!(state.try_enter(None).is_some(), "no limit");
    drop(first);
    assert_eq!(state.active(), 1);
    assert!(state.try_enter(max).is_some());
}

/// Goal: the limit holds across workers. Method: threads enter and leave as fast as they can, and each counts those
/// inside by a count of its own.
#[test]
fn threads_never_exceed_the_limit() {
    let state = endpoints(1).remove(0);
    let (inside, entered, start) = (AtomicU32::new(0), AtomicU32::new(0), Barrier::new(2));
    let hammer = || {
        start.wait();
        for _ in 0..50_000 {
            let Some(busy) = state.try_enter(NonZeroU32::new(1)) else { continue };
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            entered.fetch_add(1, Ordering::Relaxed);
            inside.fetch_sub(1, Ordering::SeqCst);
            drop(busy);
        }
    };
    std::thread::scope(|scope| {
        let threads = [0; 2].map(|_| scope.spawn(hammer));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(state.active(), 0);
    assert!(entered.into_inner() > 1_000);
}

/// Two threads do something many times, the same within nanoseconds of each other: each time they spin
/// until both are there. What each of them got is kept until the end.
fn collide<T: Send>(act: impl Fn(usize, usize) -> T + Sync) -> [Vec<T>; 2] {
    let there: Vec<_> = (0..COLLISIONS).map(|_| AtomicU32::new(0)).collect();
    let each = |thread: usize| {
        let act = |(round, there): (usize, &AtomicU32)| {
            there.fetch_add(1, Ordering::Relaxed);
            (0..10_000)
                .take_while(|_| there.load(Ordering::Relaxed) < 2)
                .for_each(|_| std::hint::spin_loop());
            act(thread, round)
        };
        there.iter().enumerate().map(act).collect()
    };
    let each = &each;
    std::thread::scope(|scope| [0, 1].map(|i| scope.spawn(move || each(i))).map(|it| it.join().unwrap()))
}

const COLLISIONS: usize = 30_000;

/// Goal: of two requests that ask for the last place with an endpoint, one has it.
#[test]
fn two_threads_want_the_last_connection() {
    let all = endpoints(COLLISIONS);
    let [one, other] = collide(|_, round| all[round].try_enter(NonZeroU32::new(1)));
    assert!(one.iter().zip(&other).all(|(one, other)| one.is_some() != other.is_some()));
    assert!(all.iter().all(|state| state.active() == 1));
}

/// Goal: of two endpoints of a pair that fail at once, one is ejected.
#[test]
fn two_threads_eject_both_of_a_pair() {
    let pairs: Vec<_> = (0..COLLISIONS).map(|_| endpoints(2)).collect();
    let [one, other] = collide(|own, round| fail(&pairs[round][own], 3, at(1), &in_a_row()));
    assert!(one.iter().zip(&other).all(|(one, other)| one.is_some() != other.is_some()));
}

/// Goal: threads together never eject more than half, and each ejection is told once. Method: all endpoints fail at once
/// in all threads, over and over, at a time that stands still, so that none comes back. Two that eject the same one may
/// take the place of a third for a moment; so at the end everything fails once more.
#[test]
fn threads_never_eject_more_than_half() {
    for round in 0..300 {
        let all = endpoints(7);
        let start = Barrier::new(3);
        let fail_all = |first: usize| {
            let reports = (0..21)
                .map(|i| all[(first + i / 3) % 7].report(Outcome::Failed, at(round), Some(&in_a_row())));
            reports.flatten().count()
        };
        let stormy = |first| {
            start.wait();
            fail_all(first)
        };
        let stormy = &stormy;
        let told = std::thread::scope(|scope| {
            let threads = [0, 2, 4].map(|first| scope.spawn(move || stormy(first)));
            threads.map(|thread| thread.join().unwrap()).iter().sum::<usize>()
        });
        let out = || all.iter().filter(|it| it.availability(at(round)) == Availability::Ejected).count();
        assert!(told <= 3 && told == out(), "{told} told, {} out", out());
        assert_eq!((told + fail_all(0), out(), all[0].crowd.out()), (3, 3, 3));
    }
}

/// Goal: the count of those that are out is right after any storm. Method: threads eject, readmit, probe and drain at
/// random while another one watches; then everything ends, and nobody is left out.
#[test]
fn the_count_survives_a_storm() {
    let all = endpoints(5);
    let (crowd, done) = (all[0].crowd.clone(), AtomicBool::new(false));
    let storm = |seed: u64| {
        let mut x = seed;
        for step in 0..30_000 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let state = &all[usize::try_from(x >> 33).unwrap() % all.len()];
            match x >> 60 {
                0..12 => state.report(Outcome::Failed, at(step), Some(&in_a_row())).map_or((), |_| ()),
                12..14 => state.settle(at(step)).map_or((), |_| ()),
                14 => state.leave(),
                _ => state.join(),
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = [1, 2].map(|seed| scope.spawn(move || storm(seed)));
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert!(crowd.members() <= 5 && crowd.out() <= 5);
            }
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    all.iter().for_each(|state| {
        state.join();
        state.settle(Timestamp(u64::MAX >> 4));
    });
    assert_eq!((crowd.members(), crowd.out()), (5, 0));
}
