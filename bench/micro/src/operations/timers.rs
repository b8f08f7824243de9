//! The timer wheel of a worker with 10 000 connections.

use std::hint::black_box;

use ringress::limits::TICK_US;
use ringress::time::Timestamp;
use ringress::time::wheel::{EntryId, Wheel};

use super::Operation;

/// Connections of the worker.
const ENTRIES: usize = 10_000;
/// One deadline per tick: as many ticks as entries.
const PERIOD_US: u64 = ENTRIES as u64 * TICK_US;

/// The operations on timers.
///
/// # Errors
/// The wheel does not fire as often as it is to be measured.
pub fn operations() -> Result<Vec<Operation>, String> {
    Ok(vec![arms(), moves_earlier(), moves_later(), expires()?, wakes()])
}

/// A full wheel with a deadline in every tick, and the clock that goes with it.
struct Full {
    wheel: Wheel<usize>,
    ids: Vec<EntryId>,
    now: u64,
    next: usize,
}

impl Full {
    fn new() -> Full {
        let mut wheel = Wheel::new(Timestamp(0));
        let ids: Vec<EntryId> = (0..ENTRIES).map(|item| wheel.insert(item)).collect();
        for (tick, &id) in (1..).zip(&ids) {
            wheel.set(id, Timestamp(tick * TICK_US));
        }
        Full { wheel, ids, now: 0, next: 0 }
    }

    /// The slab grows here rather than in a turn.
    fn leave_room(&mut self) {
        let spare = self.wheel.insert(ENTRIES);
        self.wheel.remove(spare);
    }

    /// Every entry in turn.
    fn turn(&mut self) -> Option<EntryId> {
        self.next = (self.next + 1) % ENTRIES;
        self.ids.get(self.next).copied()
    }
}

/// What a connection costs the wheel: it comes, waits, goes.
fn arms() -> Operation {
    let mut full = Full::new();
    full.leave_room();
    Operation::hot("timer-arm", "an entry added to 10 000, armed and removed", move || {
        let id = full.wheel.insert(black_box(ENTRIES));
        full.wheel.set(id, Timestamp(black_box(PERIOD_US)));
        black_box(full.wheel.remove(id));
    })
}

/// The next phase has a shorter timeout, so the entry is linked anew. A wheel that is only ever moved earlier
/// runs out of time, so each turn has an entry of its own: what it costs is the difference to `timer-arm`.
fn moves_earlier() -> Operation {
    let mut full = Full::new();
    full.leave_room();
    Operation::hot("timer-earlier", "the same, and moved earlier in between", move || {
        let id = full.wheel.insert(black_box(ENTRIES));
        full.wheel.set(id, Timestamp(black_box(PERIOD_US)));
        full.wheel.set(id, Timestamp(black_box(PERIOD_US / 8)));
        black_box(full.wheel.remove(id));
    })
}

/// Progress: the deadline moves on.
fn moves_later() -> Operation {
    let mut full = Full::new();
    Operation::hot("timer-later", "one of 10 000 deadlines moved later", move || {
        full.now += 1;
        if let Some(id) = full.turn() {
            full.wheel.set(id, Timestamp(black_box(PERIOD_US + full.now)));
        }
    })
}

/// A tick with one deadline in it, which is set anew.
fn expires() -> Result<Operation, String> {
    let mut full = Full::new();
    let mut fired = Vec::with_capacity(ENTRIES);
    let first: usize = (0..ENTRIES).map(|_| expire(&mut full, &mut fired)).sum();
    if first != ENTRIES {
        return Err(format!("timer-expire: {first} of {ENTRIES} entries fired in a period"));
    }
    Ok(Operation::hot("timer-expire", "a tick in which one of 10 000 fires and is armed anew", move || {
        black_box(expire(&mut full, &mut fired));
    }))
}

/// One tick; how many fired.
fn expire(full: &mut Full, fired: &mut Vec<EntryId>) -> usize {
    full.now += TICK_US;
    fired.clear();
    full.wheel.advance(Timestamp(full.now), |id, _| fired.push(id));
    for &id in fired.iter() {
        full.wheel.set(id, Timestamp(full.now + PERIOD_US));
    }
    fired.len()
}

/// Before a worker sleeps.
fn wakes() -> Operation {
    let full = Full::new();
    Operation::hot("timer-next-wake", "the next of 10 000 deadlines found", move || {
        black_box(black_box(&full.wheel).next_wake());
    })
}
