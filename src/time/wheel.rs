//! A hierarchical timer wheel with one lazily re-armed entry per connection.
//!
//! # Why
//! Every exchange moves its deadline at every step of progress, and nearly no deadline is ever reached. So
//! the cheap case is "move later": [`Wheel::set`] then stores the new deadline and touches no list. The
//! entry stays where it is linked, is visited there, shows its true deadline and moves on. An entry is
//! visited early about once per timeout, however often it was re-armed in between.
//!
//! # How
//! Six levels of 64 slots; a slot of level `n` spans `64^n` ticks, so the wheel reaches `2^36` ticks (8.7
//! years of 4 ms). An entry is linked at the lowest level on which its tick is at most 64 slots ahead, in
//! a doubly linked list that runs through the slab of entries. A bitmask per level tells the occupied
//! slots, so neither [`Wheel::next_wake`] nor a jump of the clock by hours (a suspended machine) looks at
//! ticks one by one.
//!
//! # Invariants
//! - A slot is visited when the wheel reaches the slot's *first* tick, which is at or before the tick of
//!   every deadline in it: nothing fires late because of lazy re-arming or cascading.
//! - A deadline counts from the end of its tick (it is rounded up): nothing fires early.
//! - An armed entry (deadline before [`Timestamp::NEVER`]) is always linked; a linked entry may be unarmed.
//! - `occupied` has the bit of exactly those slots whose list is not empty.

use super::Timestamp;
use crate::limits::TICK_US;

/// Slots of one level; the width of its bitmask.
const SLOTS: u64 = 64;
/// `SLOTS` as a shift.
const SLOT_BITS: u32 = SLOTS.trailing_zeros();
/// Levels of the wheel.
const LEVELS: usize = 6;
/// The highest level.
#[allow(clippy::cast_possible_truncation, reason = "six")]
const TOP: u32 = LEVELS as u32 - 1;
/// The list of entries that fire at the next [`Wheel::advance`], after those of the slots.
const DUE: usize = LEVELS * 64;
/// Lists of the wheel.
const LISTS: usize = DUE + 1;
/// No entry: the end of a list.
const NIL: u32 = u32::MAX;
/// `Entry::bound` of an entry that is in no list: no deadline is later.
const UNLINKED: u64 = u64::MAX;

const _: () = assert!(SLOTS == 64, "the bitmasks are u64");
const _: () = assert!(LISTS <= u16::MAX as usize, "Entry::list is a u16");

/// Names an entry of a [`Wheel`]. Stale ids are recognised and ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryId {
    index: u32,
    generation: u32,
}

/// A deadline with its item.
#[derive(Debug)]
struct Entry<T> {
    /// Where the entry fires: the truth, wherever it is linked.
    deadline: Timestamp,
    /// A deadline later than this many microseconds is visited in time from where the entry is linked.
    bound: u64,
    prev: u32,
    /// Next in the list; while the entry is free, next in the free list.
    next: u32,
    generation: u32,
    list: u16,
    /// `None` while the entry is free.
    item: Option<T>,
}

/// The timer wheel of one worker. `T` is what fires, such as a waker or a connection's number.
#[derive(Debug)]
pub struct Wheel<T> {
    entries: Vec<Entry<T>>,
    free: u32,
    len: usize,
    /// First entry of each list.
    heads: [u32; LISTS],
    /// Per level, the slots whose list is not empty.
    occupied: [u64; LEVELS],
    /// The latest `now` seen.
    now: Timestamp,
    /// The tick of `now`: everything up to it was visited.
    elapsed: u64,
    operations: u64,
}

/// Where a deadline is linked.
struct Place {
    list: usize,
    bound: u64,
}

impl<T> Wheel<T> {
    /// An empty wheel that stands at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Wheel {
            entries: Vec::new(),
            free: NIL,
            len: 0,
            heads: [NIL; LISTS],
            occupied: [0; LEVELS],
            now,
            elapsed: now.0 / TICK_US,
            operations: 0,
        }
    }

    /// Adds an entry without a deadline.
    pub fn insert(&mut self, item: T) -> EntryId {
        self.len += 1;
        let index = self.free;
        let Some(entry) = self.entries.get_mut(index as usize) else {
            return self.push(item);
        };
        debug_assert!(entry.item.is_none(), "the free list holds free entries");
        self.free = entry.next;
        entry.next = NIL;
        entry.item = Some(item);
        EntryId { index, generation: entry.generation }
    }

    /// Sets the deadline of `id`; [`Timestamp::NEVER`] disarms it, a deadline in the past fires at the next
    /// [`Wheel::advance`].
    ///
    /// When the entry is linked where the new deadline will be seen in time (every move to a later
    /// deadline, and disarming), this is one store and no operation on the wheel.
    #[inline]
    pub fn set(&mut self, id: EntryId, deadline: Timestamp) {
        let Some(entry) = self.live(id) else { return };
        entry.deadline = deadline;
        if deadline.0 <= entry.bound && deadline != Timestamp::NEVER {
            self.relink(id.index);
        }
    }

    /// The deadline of `id`: [`Timestamp::NEVER`] when it is unarmed or stale.
    #[must_use]
    pub fn deadline(&self, id: EntryId) -> Timestamp {
        match self.entry(id.index) {
            Some(entry) if entry.is(id) => entry.deadline,
            _ => Timestamp::NEVER,
        }
    }

    /// The item of `id`.
    pub fn get_mut(&mut self, id: EntryId) -> Option<&mut T> {
        self.live(id)?.item.as_mut()
    }

    /// Removes the entry and returns its item; `None` when `id` is stale.
    pub fn remove(&mut self, id: EntryId) -> Option<T> {
        let item = self.live(id)?.item.take()?;
        self.unlink(id.index);
        let free = self.free;
        let entry = self.entry_mut(id.index)?;
        entry.deadline = Timestamp::NEVER;
        entry.generation = entry.generation.wrapping_add(1);
        entry.next = free;
        self.free = id.index;
        self.len -= 1;
        Some(item)
    }

    /// When [`Wheel::advance`] next has something to do; [`Timestamp::NEVER`] if nothing is linked.
    ///
    /// Before the earliest deadline or, as deadlines are rounded up to ticks, less than one tick after it.
    /// Zero when something is due already. It may turn out that the entry had moved later meanwhile.
    #[must_use]
    pub fn next_wake(&self) -> Timestamp {
        if self.first_due().is_some() {
            return Timestamp(0);
        }
        let levels = (0..=TOP).zip(self.occupied);
        let next = levels.filter_map(|(level, occupied)| first_occupied(self.elapsed, level, occupied)).min();
        next.map_or(Timestamp::NEVER, |tick| Timestamp(tick.saturating_mul(TICK_US)))
    }

    /// Calls `fire` for every entry whose deadline is at or before `now`, to the tick: never early, and at
    /// most one tick late. A fired entry is unarmed, not removed. The order within one call is not defined.
    ///
    /// A `now` before an earlier one counts as that earlier one. Costs nothing per tick that passed.
    pub fn advance(&mut self, now: Timestamp, mut fire: impl FnMut(EntryId, &mut T)) {
        let now = now.max(self.now);
        self.collect_due(now.0 / TICK_US);
        self.now = now;
        // Ends: a later deadline is never linked into DUE, so every turn shortens the list.
        while let Some(index) = self.first_due() {
            self.unlink(index);
            let Some(entry) = self.entry_mut(index) else { return };
            if entry.deadline <= now {
                entry.deadline = Timestamp::NEVER;
                let id = EntryId { index, generation: entry.generation };
                if let Some(item) = entry.item.as_mut() {
                    fire(id, item);
                }
            } else if entry.deadline != Timestamp::NEVER {
                self.link(index);
            }
        }
    }

    /// Visits every item, armed or not.
    pub fn for_each(&self, mut visit: impl FnMut(&T)) {
        self.entries.iter().filter_map(|entry| entry.item.as_ref()).for_each(&mut visit);
    }

    /// Entries, armed or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Operations on lists so far, so that a test can prove that a hot path does none.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Grows the slab by one entry.
    fn push(&mut self, item: T) -> EntryId {
        // 2^32 entries are more than 200 GB; the last index would merely name an entry that is never found.
        let index = u32::try_from(self.entries.len()).unwrap_or(NIL);
        debug_assert!(index != NIL);
        self.entries.push(Entry {
            deadline: Timestamp::NEVER,
            bound: UNLINKED,
            prev: NIL,
            next: NIL,
            generation: 0,
            list: 0,
            item: Some(item),
        });
        EntryId { index, generation: 0 }
    }

    /// Moves the entries of all slots that begin at or before tick `to` into the due list, and steps there.
    fn collect_due(&mut self, to: u64) {
        for level in 0..=TOP {
            let mut due = self.take_passed(level, to);
            while due != 0 {
                self.move_to_due(list_of(level, due.trailing_zeros()));
                due &= due - 1;
            }
        }
        self.elapsed = to;
    }

    /// The occupied slots of `level` that begin at or before tick `to`, which are occupied no more.
    fn take_passed(&mut self, level: u32, to: u64) -> u64 {
        let passed = passed_slots(self.elapsed, to, level);
        let Some(occupied) = self.occupied.get_mut(level as usize) else { return 0 };
        let due = *occupied & passed;
        *occupied &= !passed;
        due
    }

    /// Empties `list` into the due list, entry by entry.
    fn move_to_due(&mut self, list: usize) {
        let mut index = match self.heads.get_mut(list) {
            Some(head) => std::mem::replace(head, NIL),
            None => NIL,
        };
        while let Some(entry) = self.entry(index) {
            let next = entry.next;
            self.operations += 1;
            self.push_front(index, &Place { list: DUE, bound: 0 });
            index = next;
        }
    }

    fn first_due(&self) -> Option<u32> {
        self.heads.last().copied().filter(|&head| head != NIL)
    }

    /// The slow half of [`Wheel::set`]: the deadline is earlier than where the entry is linked, if it is.
    fn relink(&mut self, index: u32) {
        self.unlink(index);
        self.link(index);
    }

    /// Links an unlinked entry where its deadline belongs.
    fn link(&mut self, index: u32) {
        let Some(entry) = self.entry(index) else { return };
        debug_assert!(entry.bound == UNLINKED && entry.deadline != Timestamp::NEVER);
        let place = self.place(entry.deadline);
        self.operations += 1;
        self.push_front(index, &place);
    }

    /// The lowest level on which `deadline` is at most 64 slots ahead. Beyond the top level it is the
    /// farthest slot, from where the entry moves on.
    fn place(&self, deadline: Timestamp) -> Place {
        if deadline <= self.now {
            return Place { list: DUE, bound: 0 };
        }
        let tick = deadline.0.div_ceil(TICK_US);
        debug_assert!(tick > self.elapsed);
        let level = (0..TOP).find(|&level| slots_ahead(self.elapsed, tick, level) <= SLOTS).unwrap_or(TOP);
        let shift = level * SLOT_BITS;
        let slot = (self.elapsed >> shift) + slots_ahead(self.elapsed, tick, level).min(SLOTS);
        Place {
            list: list_of(level, slot_of(slot)),
            // A deadline after the tick before the slot's first is rounded up to that first tick or later.
            bound: ((slot << shift) - 1).saturating_mul(TICK_US).min(UNLINKED - 1),
        }
    }

    fn push_front(&mut self, index: u32, place: &Place) {
        let Some(head) = self.heads.get_mut(place.list) else { return };
        let next = std::mem::replace(head, index);
        if let Some(next) = self.entry_mut(next) {
            next.prev = index;
        }
        if let Some(entry) = self.entry_mut(index) {
            entry.prev = NIL;
            entry.next = next;
            entry.bound = place.bound;
            entry.list = u16::try_from(place.list).unwrap_or(u16::MAX);
        }
        if let Some(occupied) = self.occupied.get_mut(place.list / 64) {
            *occupied |= 1 << (place.list % 64);
        }
    }

    /// Takes an entry out of its list, if it is in one.
    fn unlink(&mut self, index: u32) {
        let Some(entry) = self.entry_mut(index).filter(|entry| entry.bound != UNLINKED) else { return };
        entry.bound = UNLINKED;
        let (prev, next, list) = (entry.prev, entry.next, usize::from(entry.list));
        if let Some(next) = self.entry_mut(next) {
            next.prev = prev;
        }
        match self.entry_mut(prev) {
            Some(prev) => prev.next = next,
            None => self.set_head(list, next),
        }
        self.operations += 1;
    }

    fn set_head(&mut self, list: usize, head: u32) {
        if let Some(first) = self.heads.get_mut(list) {
            *first = head;
        }
        if head == NIL
            && let Some(occupied) = self.occupied.get_mut(list / 64)
        {
            *occupied &= !(1 << (list % 64));
        }
    }

    #[inline]
    fn entry(&self, index: u32) -> Option<&Entry<T>> {
        self.entries.get(index as usize)
    }

    #[inline]
    fn entry_mut(&mut self, index: u32) -> Option<&mut Entry<T>> {
        self.entries.get_mut(index as usize)
    }

    #[inline]
    fn live(&mut self, id: EntryId) -> Option<&mut Entry<T>> {
        self.entry_mut(id.index).filter(|entry| entry.is(id))
    }
}

impl<T> Entry<T> {
    /// Whether this is the entry that `id` was made for.
    fn is(&self, id: EntryId) -> bool {
        self.generation == id.generation && self.item.is_some()
    }
}

/// The slot of a level that its running number falls on.
#[allow(clippy::cast_possible_truncation, reason = "below 64")]
const fn slot_of(number: u64) -> u32 {
    (number % SLOTS) as u32
}

/// The number of the list of a slot.
const fn list_of(level: u32, slot: u32) -> usize {
    level as usize * 64 + slot as usize
}

/// The first tick of the occupied slot of `level` that comes first after `elapsed`.
fn first_occupied(elapsed: u64, level: u32, occupied: u64) -> Option<u64> {
    let shift = level * SLOT_BITS;
    let first = (elapsed >> shift) + 1;
    let ahead = occupied.rotate_right(slot_of(first)).trailing_zeros();
    (occupied != 0).then(|| (first + u64::from(ahead)) << shift)
}

/// How many slots of `level` lie between two ticks; at least 1 when `tick` is 64 slots ahead one level down.
const fn slots_ahead(elapsed: u64, tick: u64, level: u32) -> u64 {
    (tick >> (level * SLOT_BITS)) - (elapsed >> (level * SLOT_BITS))
}

/// The slots of `level` whose first tick is in `from + 1 ..= to`.
const fn passed_slots(from: u64, to: u64, level: u32) -> u64 {
    let passed = slots_ahead(from, to, level);
    if passed >= SLOTS {
        return u64::MAX;
    }
    ((1 << passed) - 1u64).rotate_left(slot_of((from >> (level * SLOT_BITS)) + 1))
}

#[cfg(test)]
mod tests {
    //! Goal: an entry fires when its deadline is reached, never early, at most one tick late, once.
    //! Method: random histories against a list of deadlines that is searched in full, whose lists are
    //! checked link by link after every step; then the corners by name.

    use proptest::prelude::*;

    use super::*;

    /// Ticks that the whole wheel spans.
    const SPAN: u64 = 1 << (SLOT_BITS * (TOP + 1));

    /// The items of no entry.
    const NOTHING: [i32; 0] = [];

    fn at_tick(tick: u64) -> Timestamp {
        Timestamp(tick * TICK_US)
    }

    fn fired<T: Copy>(wheel: &mut Wheel<T>, now: Timestamp) -> Vec<T> {
        let mut items = Vec::new();
        wheel.advance(now, |_, item| items.push(*item));
        check(wheel);
        items
    }

    /// Every claim of the module's invariants.
    fn check<T>(wheel: &Wheel<T>) {
        let mut linked = 0;
        for (list, &head) in wheel.heads.iter().enumerate() {
            if let Some(occupied) = wheel.occupied.get(list / 64) {
                assert_eq!(occupied >> (list % 64) & 1 == 1, head != NIL, "bit of list {list}");
            }
            let (mut prev, mut index) = (NIL, head);
            while index != NIL {
                let entry = &wheel.entries[index as usize];
                assert_eq!((entry.prev, usize::from(entry.list)), (prev, list));
                assert!(entry.item.is_some() && entry.bound != UNLINKED);
                assert!(entry.deadline.0 > entry.bound || list == DUE, "linked too late");
                (prev, index) = (index, entry.next);
                linked += 1;
            }
        }
        let bound = wheel.entries.iter().filter(|entry| entry.bound != UNLINKED).count();
        assert_eq!(linked, bound, "linked entries are in lists");
        for entry in &wheel.entries {
            assert!(entry.deadline == Timestamp::NEVER || entry.bound != UNLINKED, "armed means linked");
        }
        assert_eq!(wheel.len, wheel.entries.iter().filter(|entry| entry.item.is_some()).count());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert,
        /// Entry, then microseconds from now (negative: in the past).
        Set(prop::sample::Index, i64),
        Disarm(prop::sample::Index),
        Remove(prop::sample::Index),
        /// Microseconds.
        Advance(u64),
        /// To `next_wake`.
        Wake,
    }

    /// Spans of time of every magnitude that the wheel's levels tell apart, and beyond.
    fn span_us() -> impl Strategy<Value = u64> {
        (0u32..41, any::<u64>()).prop_map(|(bits, random)| random % (TICK_US << bits).max(1))
    }

    fn step() -> impl Strategy<Value = Step> {
        let entry = any::<prop::sample::Index>;
        prop_oneof![
            2 => Just(Step::Insert),
            6 => (entry(), span_us()).prop_map(|(entry, us)| Step::Set(entry, us as i64)),
            1 => (entry(), span_us()).prop_map(|(entry, us)| Step::Set(entry, -(us as i64))),
            1 => entry().prop_map(Step::Disarm),
            1 => entry().prop_map(Step::Remove),
            3 => span_us().prop_map(Step::Advance),
            3 => Just(Step::Wake),
        ]
    }

    /// The naive wheel.
    #[derive(Debug, Default)]
    struct Shadow {
        /// Id, item, deadline, and whether that was past when it was set.
        entries: Vec<(EntryId, u32, Timestamp, bool)>,
        /// Ids that were removed.
        stale: Vec<EntryId>,
        now: Timestamp,
        made: u32,
    }

    impl Shadow {
        fn play(&mut self, wheel: &mut Wheel<u32>, step: &Step) {
            match step {
                Step::Insert => self.insert(wheel),
                Step::Set(entry, us) => {
                    self.set(wheel, entry, Timestamp(self.now.0.saturating_add_signed(*us)))
                }
                Step::Disarm(entry) => self.set(wheel, entry, Timestamp::NEVER),
                Step::Remove(entry) => self.remove(wheel, entry),
                Step::Advance(us) => self.advance(wheel, Timestamp(self.now.0 + us)),
                Step::Wake if wheel.next_wake() == Timestamp::NEVER => {}
                Step::Wake => self.advance(wheel, wheel.next_wake()),
            }
            self.compare(wheel);
        }

        fn insert(&mut self, wheel: &mut Wheel<u32>) {
            self.made += 1;
            let id = wheel.insert(self.made);
            assert!(!self.stale.contains(&id), "ids are not reused");
            self.entries.push((id, self.made, Timestamp::NEVER, false));
        }

        fn set(&mut self, wheel: &mut Wheel<u32>, entry: &prop::sample::Index, deadline: Timestamp) {
            if self.entries.is_empty() {
                return;
            }
            let index = entry.index(self.entries.len());
            let entry = &mut self.entries[index];
            wheel.set(entry.0, deadline);
            (entry.2, entry.3) = (deadline, deadline <= self.now);
        }

        fn remove(&mut self, wheel: &mut Wheel<u32>, entry: &prop::sample::Index) {
            if self.entries.is_empty() {
                return;
            }
            let (id, item, ..) = self.entries.swap_remove(entry.index(self.entries.len()));
            assert_eq!(wheel.remove(id), Some(item));
            self.stale.push(id);
        }

        fn advance(&mut self, wheel: &mut Wheel<u32>, now: Timestamp) {
            self.now = self.now.max(now);
            let mut fired = Vec::new();
            wheel.advance(now, |id, item| fired.push((id, *item)));
            for (id, item, deadline, past) in &mut self.entries {
                let count = fired.iter().filter(|&&seen| seen == (*id, *item)).count();
                let must = *past || deadline.0.div_ceil(TICK_US) <= self.now.0 / TICK_US;
                assert!(count <= 1 && (!must || count == 1), "late: {deadline:?} at {:?}", self.now);
                assert!(count == 0 || *deadline <= self.now, "early: {deadline:?} at {:?}", self.now);
                if count == 1 {
                    (*deadline, *past) = (Timestamp::NEVER, false);
                }
                fired.retain(|&seen| seen != (*id, *item));
            }
            assert!(fired.is_empty(), "removed entries do not fire");
        }

        fn compare(&self, wheel: &mut Wheel<u32>) {
            check(wheel);
            let earliest = self.entries.iter().map(|entry| entry.2).min().unwrap_or(Timestamp::NEVER);
            assert!(
                wheel.next_wake().0 <= earliest.0.div_ceil(TICK_US).saturating_mul(TICK_US),
                "sleeps too long"
            );
            assert_eq!(wheel.len(), self.entries.len());
            for &(id, item, deadline, _) in &self.entries {
                assert_eq!((wheel.deadline(id), wheel.get_mut(id).copied()), (deadline, Some(item)));
            }
            for &id in &self.stale {
                wheel.set(id, Timestamp(0));
                assert_eq!((wheel.deadline(id), wheel.get_mut(id)), (Timestamp::NEVER, None));
                assert_eq!(wheel.remove(id), None);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn agrees_with_the_naive_wheel(start in span_us(), steps in prop::collection::vec(step(), 1..120)) {
            let mut shadow = Shadow { now: Timestamp(start), ..Shadow::default() };
            let mut wheel = Wheel::new(Timestamp(start));
            for step in &steps {
                shadow.play(&mut wheel, step);
            }
        }
    }

    #[test]
    fn fires_at_its_tick_from_every_distance_and_every_start() {
        for start in [0, 1, 63, 64, 65, 4095, 4096, SPAN - 1, SPAN, SPAN + 64, 3 * SPAN - 7] {
            for bits in 0..=SLOT_BITS * (TOP + 1) {
                for distance in [(1u64 << bits) - 1, 1 << bits, (1 << bits) + 1, 63 << bits, 64 << bits] {
                    let mut wheel = Wheel::new(at_tick(start));
                    let id = wheel.insert(0);
                    wheel.set(id, at_tick(start + distance));
                    assert_eq!(
                        fired(&mut wheel, at_tick((start + distance).saturating_sub(1)).max(at_tick(start)))
                            .len(),
                        usize::from(distance == 0)
                    );
                    assert_eq!(
                        fired(&mut wheel, at_tick(start + distance)).len(),
                        usize::from(distance != 0)
                    );
                    assert_eq!(wheel.next_wake(), Timestamp::NEVER);
                }
            }
        }
    }

    #[test]
    fn a_deadline_between_ticks_waits_for_the_end_of_its_tick() {
        let mut wheel = Wheel::new(Timestamp(0));
        let id = wheel.insert(1);
        wheel.set(id, Timestamp(2 * TICK_US + 1));
        assert_eq!(wheel.next_wake(), at_tick(3));
        assert_eq!(fired(&mut wheel, at_tick(3)), [1]);
    }

    #[test]
    fn sleeping_until_next_wake_visits_an_entry_once_per_level() {
        for distance in [1, 100, 10_000, 1_000_000, SPAN - 1] {
            let mut wheel = Wheel::new(at_tick(4711));
            let id = wheel.insert(());
            wheel.set(id, at_tick(4711 + distance));
            let mut wakes = 0;
            while wheel.deadline(id) != Timestamp::NEVER {
                let wake = wheel.next_wake();
                wheel.advance(wake, |_, ()| assert_eq!(wake, at_tick(4711 + distance)));
                wakes += 1;
            }
            assert!(wakes <= LEVELS, "{wakes} wakes for {distance} ticks");
        }
    }

    #[test]
    fn beyond_the_top_level_moves_on_until_it_is_due() {
        let mut wheel = Wheel::new(at_tick(5));
        let id = wheel.insert(7);
        wheel.set(id, at_tick(10 * SPAN));
        let mut wakes = 0;
        while wheel.next_wake() < at_tick(10 * SPAN) {
            let wake = wheel.next_wake();
            assert_eq!(fired(&mut wheel, wake), NOTHING);
            wakes += 1;
        }
        assert!(wakes < 20, "{wakes} wakes");
        assert_eq!(fired(&mut wheel, at_tick(10 * SPAN)), [7]);
    }

    #[test]
    fn at_the_far_end_of_time_nothing_overflows() {
        let mut wheel = Wheel::new(Timestamp(0));
        let id = wheel.insert(7);
        wheel.set(id, Timestamp(u64::MAX - 1));
        assert_eq!(fired(&mut wheel, Timestamp(u64::MAX - 2)), NOTHING);
        assert!(wheel.next_wake() >= Timestamp(u64::MAX - TICK_US));
        wheel.set(id, Timestamp(3));
        assert_eq!(fired(&mut wheel, Timestamp::NEVER), [7]);
        assert_eq!(fired(&mut wheel, Timestamp::NEVER), NOTHING);
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_the_next_advance() {
        let mut wheel = Wheel::new(Timestamp(10 * TICK_US + 5));
        let id = wheel.insert(1);
        for past in [0, TICK_US, 10 * TICK_US, 10 * TICK_US + 1, 10 * TICK_US + 5] {
            wheel.set(id, at_tick(1000));
            wheel.set(id, Timestamp(past));
            assert_eq!(wheel.next_wake(), Timestamp(0));
            assert_eq!(fired(&mut wheel, Timestamp(10 * TICK_US + 5)), [1]);
            assert_eq!(wheel.deadline(id), Timestamp::NEVER);
        }
    }

    #[test]
    fn a_clock_that_steps_back_stands_still() {
        let mut wheel = Wheel::new(at_tick(10));
        let id = wheel.insert(1);
        wheel.set(id, at_tick(11));
        assert_eq!(fired(&mut wheel, at_tick(3)), NOTHING);
        assert_eq!(fired(&mut wheel, at_tick(11)), [1]);
    }

    #[test]
    fn a_later_deadline_and_a_disarm_touch_no_list() {
        let mut wheel = Wheel::new(Timestamp(0));
        let id = wheel.insert(1);
        wheel.set(id, at_tick(100));
        let before = wheel.operations();
        for tick in 100..10_000 {
            wheel.set(id, at_tick(tick));
        }
        wheel.set(id, Timestamp::NEVER);
        wheel.set(id, at_tick(20_000));
        assert_eq!(wheel.operations(), before);
        for tick in 0..20_000 {
            assert_eq!(fired(&mut wheel, at_tick(tick)), NOTHING);
        }
        assert_eq!(fired(&mut wheel, at_tick(20_000)), [1]);
        assert!(wheel.operations() - before < 3 * 4, "{} operations", wheel.operations() - before);
    }

    #[test]
    fn traffic_that_re_arms_all_the_time_hardly_touches_lists() {
        // 10 000 exchanges a second for a minute, 60 s timeout: two operations or so per timeout, not per exchange.
        let mut wheel = Wheel::new(Timestamp(0));
        let id = wheel.insert(1);
        for us in (0..60_000_000).step_by(100) {
            if wheel.next_wake() <= Timestamp(us) {
                assert_eq!(fired(&mut wheel, Timestamp(us)), NOTHING);
            }
            wheel.set(id, Timestamp(us + 60_000_000));
        }
        assert!(wheel.operations() <= 8, "{} operations", wheel.operations());
    }

    #[test]
    fn a_disarmed_entry_is_dropped_from_its_list_when_visited() {
        let mut wheel = Wheel::new(Timestamp(0));
        let id = wheel.insert(1);
        wheel.set(id, at_tick(5));
        wheel.set(id, Timestamp::NEVER);
        assert_eq!(wheel.next_wake(), at_tick(5));
        assert_eq!(fired(&mut wheel, at_tick(5)), NOTHING);
        assert_eq!(wheel.next_wake(), Timestamp::NEVER);
    }

    #[test]
    fn a_removed_entry_leaves_a_stale_id_behind() {
        let mut wheel = Wheel::new(Timestamp(0));
        let old = wheel.insert("old");
        wheel.set(old, at_tick(5));
        assert_eq!(wheel.remove(old), Some("old"));
        let new = wheel.insert("new");
        assert_eq!((new.index, new == old), (old.index, false));
        wheel.set(old, Timestamp(0));
        assert_eq!((wheel.remove(old), wheel.get_mut(old)), (None, None));
        assert_eq!(wheel.deadline(new), Timestamp::NEVER);
        assert_eq!(fired(&mut wheel, at_tick(9)), [""; 0]);
        assert_eq!((wheel.len(), wheel.is_empty()), (1, false));
    }

    #[test]
    fn a_hundred_thousand_entries_fire_once_each_in_their_tick() {
        const COUNT: u64 = 100_000;
        let mut wheel = Wheel::new(Timestamp(0));
        // 7919 is coprime to COUNT: every deadline of 1..=COUNT ms once, scattered.
        for n in 0..COUNT {
            let id = wheel.insert(0u64);
            let deadline = (n * 7919 % COUNT + 1) * 1_000;
            *wheel.get_mut(id).unwrap() = deadline;
            wheel.set(id, Timestamp(deadline));
        }
        let (mut count, mut now) = (0, Timestamp(0));
        while count < COUNT {
            now = now.max(wheel.next_wake());
            wheel.advance(now, |_, deadline| {
                assert!(*deadline <= now.0 && now.0 - *deadline < TICK_US);
                count += 1;
            });
        }
        check(&wheel);
        assert_eq!((count, wheel.next_wake()), (COUNT, Timestamp::NEVER));
    }

    #[test]
    fn a_jump_by_years_fires_everything_without_stepping() {
        let mut wheel = Wheel::new(Timestamp(0));
        for n in 0..1000u64 {
            let id = wheel.insert(n);
            wheel.set(id, Timestamp(n * n * 1_000_000));
        }
        let before = wheel.operations();
        assert_eq!(fired(&mut wheel, at_tick(100 * SPAN)).len(), 1000);
        assert!(wheel.operations() - before <= 3000);
    }

    #[test]
    fn a_panic_in_fire_loses_no_other_entry() {
        let mut wheel = Wheel::new(Timestamp(0));
        for n in 0..10 {
            let id = wheel.insert(n);
            wheel.set(id, at_tick(3));
        }
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wheel.advance(at_tick(3), |_, _| panic!("on purpose"));
        }));
        assert!(panicked.is_err());
        check(&wheel);
        assert_eq!(fired(&mut wheel, at_tick(3)).len(), 9);
    }
}
