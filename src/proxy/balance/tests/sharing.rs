//! How requests are shared out.

use super::*;

/// Whether counts are what `shares` lead to expect: Pearson's chi-squared, against the bound that chance exceeds in one
/// run of a thousand. Seeds are fixed, so a run that passes passes always.
fn fits(counts: &[u64], shares: &[f64]) -> bool {
    let requests = counts.iter().sum::<u64>() as f64 / shares.iter().sum::<f64>();
    let expected = shares.iter().map(|share| share * requests);
    let sum: f64 = counts.iter().zip(expected).map(|(&count, due)| (count as f64 - due).powi(2) / due).sum();
    // The quantile, as Wilson and Hilferty approximate it.
    let degrees = (shares.len() - 1) as f64;
    let spread = 2.0 / (9.0 * degrees);
    sum < degrees * (1.0 - spread + 3.09 * spread.sqrt()).powi(3)
}

#[test]
fn the_measure_itself_measures() {
    assert!(fits(&[1020, 980], &[1.0, 1.0]) && !fits(&[1100, 900], &[1.0, 1.0]));
    assert!(fits(&[1020, 2980], &[1.0, 3.0]) && !fits(&[2000, 2000], &[1.0, 3.0]));
}

/// Goal: idle members are shared out by their weights, whatever the mode.
#[test]
fn shares_are_those_of_the_weights() {
    for weights in [&[1, 1][..], &[1, 3], &[1, 1, 1, 1, 1], &[5, 1, 1, 3], &[100, 200, 300]] {
        let shares: Vec<f64> = weights.iter().copied().map(f64::from).collect();
        for group in [group(Balance::LeastRequests), group(Balance::RoundRobin), hashed()] {
            let counts = counts(&mut Balancer::new(&group, 42), &members(weights), at(1), 6_000);
            assert!(fits(&counts, &shares), "{:?} {weights:?}: {counts:?}", group.balance);
        }
    }
}

/// Goal: a hash without a key is no reason to send everything to one member.
#[test]
fn requests_without_a_key_are_shared_out() {
    let members = members(&[1, 1, 1]);
    let mut balancer = Balancer::new(&hashed(), 5);
    let mut counts = [0; 3];
    (0..3_000).for_each(|_| counts[balancer.pick(&members, at(1), NOBODY, None).unwrap()] += 1);
    assert!(fits(&counts, &[1.0; 3]), "{counts:?}");
}

#[test]
fn workers_do_not_march_in_step() {
    let members = members(&[1, 1, 1, 1]);
    for mode in [Balance::LeastRequests, Balance::RoundRobin] {
        let first =
            |seed| Balancer::new(&group(mode.clone()), seed).pick(&members, at(1), NOBODY, None).unwrap();
        let mut counts = [0; 4];
        (0..2_000).for_each(|seed| counts[first(seed)] += 1);
        assert!(fits(&counts, &[1.0; 4]), "{mode:?}: {counts:?}");
    }
}

#[test]
fn a_lone_member_costs_no_chance() {
    let members = members(&[1]);
    let mut balancer = Balancer::new(&group(Balance::LeastRequests), 9);
    assert_eq!(balancer.pick(&members, at(1), NOBODY, None), Some(0));
    let random = balancer.random.0;
    assert_eq!(balancer.pick(&members, at(1), NOBODY, None), Some(0));
    assert_eq!(balancer.random.0, random);
}

#[test]
fn turns_of_the_heavy_are_spread_over_the_round() {
    let members = members(&[5, 1, 1]);
    let mut balancer = Balancer::new(&group(Balance::RoundRobin), 3);
    let turns: Vec<_> = (0..70).filter_map(|_| balancer.pick(&members, at(1), NOBODY, None)).collect();
    for round in turns.windows(7) {
        let of = |index| round.iter().filter(|&&turn| turn == index).count();
        assert_eq!([of(0), of(1), of(2)], [5, 1, 1], "{turns:?}");
    }
    assert!(!turns.windows(5).any(|five| five.iter().all(|&turn| turn == 0)), "{turns:?}");
}

/// Goal: the busier of two is left alone, as its weight goes. Method: requests stay, and loads are as even as two
/// choices make them; one that is busier than all others for its weight gets nothing.
#[test]
fn least_requests_evens_loads() {
    let members = members(&[1, 1, 1, 1, 4]);
    let mut balancer = Balancer::new(&group(Balance::LeastRequests), 11);
    let mut busy = Vec::new();
    for _ in 0..800 {
        let index = balancer.pick(&members, at(1), NOBODY, None).unwrap();
        busy.extend(members[index].state.try_enter(None));
    }
    let loads: Vec<_> = members.iter().map(|member| member.state.active()).collect();
    assert!(
        loads[..4].iter().all(|load| (95..=105).contains(load)) && (390..=410).contains(&loads[4]),
        "{loads:?}"
    );
    busy.extend((0..50).filter_map(|_| members[4].state.try_enter(None)));
    assert!(loads[4] + 50 > 4 * 105);
    let counts = counts(&mut balancer, &members, at(1), 1_000);
    assert_eq!(counts[4], 0, "{counts:?}");
}

/// Goal: two choices are two members. Method: of a pair, whichever is busy gets nothing.
#[test]
fn nobody_is_weighed_against_itself() {
    for busy in [0, 1] {
        let members = members(&[1, 1]);
        let _busy = members[busy].state.try_enter(None);
        let counts = counts(&mut Balancer::new(&group(Balance::LeastRequests), 3), &members, at(1), 200);
        assert_eq!(counts[busy], 0);
    }
}

/// Where each of 4 000 keys goes when nobody has anything to do.
fn homes(members: &[Member]) -> Vec<u64> {
    let mut balancer = Balancer::new(&hashed(), 1);
    let home = |key: u64| balancer.pick(members, at(1), NOBODY, Some(mix(key))).unwrap();
    (0..4_000).map(home).map(|index| members[index].id).collect()
}

#[test]
fn only_the_keys_of_a_member_that_goes_move() {
    let all = members(&[1, 2, 1, 3, 1]);
    let before = homes(&all);
    for gone in 0..all.len() {
        let mut rest = all.clone();
        rest.remove(gone);
        rest.rotate_left(2); // nor does the order of members matter
        let after = homes(&rest);
        let moved: Vec<_> = (0..before.len()).filter(|&key| before[key] != after[key]).collect();
        assert!(moved.iter().all(|&key| before[key] == all[gone].id));
        assert_eq!(moved.len(), before.iter().filter(|&&id| id == all[gone].id).count());
        let counts =
            rest.iter().map(|member| moved.iter().filter(|&&key| after[key] == member.id).count() as u64);
        let shares: Vec<_> = rest.iter().map(|member| f64::from(member.weight.get())).collect();
        assert!(fits(&counts.collect::<Vec<_>>(), &shares), "they spread over all others");
    }
    all[2].state.unreachable(at(1));
    let away = homes(&all);
    assert!((0..before.len()).all(|key| (before[key] != away[key]) == (before[key] == all[2].id)));
}

/// Goal: no member has more than 1.25 times its share, however popular one key is, but few requests are left where they are.
/// Method: all requests have one key, and stay.
#[test]
fn a_popular_key_overflows() {
    let members = members(&[1, 1, 2, 1]);
    let mut balancer = Balancer::new(&hashed(), 1);
    let mut busy = Vec::new();
    let mut visited = Vec::new();
    for total in 1..=1_000_u32 {
        let index = balancer.pick(&members, at(1), NOBODY, Some(77)).unwrap();
        busy.extend(members[index].state.try_enter(None));
        if !visited.contains(&index) {
            visited.push(index);
        }
        for member in &members {
            let bound = (f64::from(total) * 1.25 * f64::from(member.weight.get()) / 5.0).ceil();
            assert!(f64::from(member.state.active()) <= bound.max(32.0), "{total}");
        }
        assert!(total > 32 || visited.len() == 1, "a page and its pictures come from one member");
    }
    assert!(visited.len() >= 3, "1.25 times two shares are not enough for all");
    let first = &members[visited[0]];
    let full = 250 * u32::from(first.weight.get());
    assert_eq!(first.state.active(), full, "it has as much as it may");
    drop(busy);
    assert_eq!(balancer.pick(&members, at(1), NOBODY, Some(77)), Some(visited[0]), "home again");
}

/// Goal: a member that has come up gets a tenth of its share at first, and all of it at the end, in every mode.
#[test]
fn a_slow_start_is_a_ramp() {
    for base in [group(Balance::LeastRequests), group(Balance::RoundRobin), hashed()] {
        let group = Group { slow_start: Duration::from_secs(100), ..base };
        let members = members(&[2, 2, 2]);
        members[1].state.drain(true, at(500));
        members[1].state.drain(false, at(1000));
        for (now, share) in [(1000, 0.1), (1050, 0.55), (1100, 1.0), (5000, 1.0)] {
            let counts = counts(&mut Balancer::new(&group, 8), &members, at(now), 6_000);
            assert!(fits(&counts, &[1.0, share, 1.0]), "{:?} at {now}: {counts:?}", group.balance);
        }
    }
}
