//! A hierarchical timing wheel (G. Varghese and T. Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987).
//!
//! Pure: it reads no clock. `insert` and `cancel` take constant time, however much waits; `advance` takes constant time
//! for each entry and each of the levels it comes down through, and skips empty time however long it is.
//!
//! # How it works
//! A tick is a millisecond. A moment is read as digits of six bits, and each level has a slot for each value of its
//! digit. An entry stands at the level of the highest digit in which its moment differs from the wheel's present, in
//! the slot of that digit. Eleven digits make 66 bits, so every moment there is has its place and nothing overflows: a
//! wait of an hour takes the four lowest levels, a year six, and the rest stay empty.
//!
//! From this follows all else:
//! - whatever stands on a level is due before everything on the levels above, so the lowest slot in use of the lowest
//!   level in use comes next; a bit for each slot finds it without a search;
//! - on the lowest level a slot holds one millisecond, so it fires as a whole; on the others, its entries move down
//!   once the present enters the slot's span. The slots below are empty at that moment (whatever was due in that span
//!   stood in this slot), so entries of one moment stay in the order of their insertion;
//! - where an entry stands follows from its moment and the present alone, so `cancel` finds its list without a note of
//!   it.
//!
//! # What it costs
//! Twenty-four bytes an entry beside its payload, in chunks (`slab`); 5.7 kB for the slots. When the present
//! enters a slot of a higher level, all of its entries move in one go: with a million entries in one slot that is a
//! pause of some 25 ms, at most once in the slot's span (level 2: 4 s, level 3: 4 min, level 4: 4.6 h).

mod slab;

use std::num::NonZeroU64;

use slab::{NIL, Slab};

use crate::clock::MonoMs;

/// Bits of one digit.
const DIGIT_BITS: u32 = 6;
/// Slots of one level.
const SLOTS: usize = 1 << DIGIT_BITS;
/// Levels that hold all 64 bits of a moment.
const LEVELS: usize = u64::BITS.div_ceil(DIGIT_BITS) as usize;

/// An entry's handle. It names that entry for ever: once the entry has fired or was cancelled, it names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timer {
    index: u32,
    stamp: NonZeroU64,
}

/// Entries of type `T`, each with the moment it is due.
#[derive(Debug)]
pub struct Wheel<T> {
    now: u64,
    nodes: Slab<Node<T>>,
    levels: Box<[Level; LEVELS]>,
    /// A bit for each level that has an entry.
    levels_used: u16,
    last_stamp: NonZeroU64,
}

#[derive(Debug)]
struct Node<T> {
    due: u64,
    stamp: NonZeroU64,
    prev: u32,
    next: u32,
    item: T,
}

#[derive(Debug)]
struct Level {
    /// A bit for each slot that has an entry.
    slots_used: u64,
    slots: [List; SLOTS],
}

#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
}

const EMPTY: List = List { head: NIL, tail: NIL };

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Wheel<T> {
    /// An empty wheel that stands at moment 0.
    #[must_use]
    pub fn new() -> Self {
        Self {
            now: 0,
            nodes: Slab::new(),
            levels: Box::new([const { Level { slots_used: 0, slots: [EMPTY; SLOTS] } }; LEVELS]),
            levels_used: 0,
            last_stamp: NonZeroU64::MIN,
        }
    }

    /// The moment the wheel stands at: the latest one it was advanced to.
    #[must_use]
    pub fn now(&self) -> MonoMs {
        MonoMs(self.now)
    }

    /// Entries that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts an entry on the wheel. One that is due before [`Wheel::now`] counts as due at that moment: it fires at the
    /// next [`Wheel::advance`], after those that were put there for this moment before it.
    ///
    /// # Panics
    /// With four billion entries, which no machine that runs this has the memory for.
    pub fn insert(&mut self, due: MonoMs, item: T) -> Timer {
        // 2^64 insertions are out of reach: no stamp is ever given twice.
        self.last_stamp = self.last_stamp.saturating_add(1);
        let stamp = self.last_stamp;
        let due = due.0.max(self.now);
        let index = self.nodes.insert(Node { due, stamp, prev: NIL, next: NIL, item });
        self.link(index, due);
        Timer { index, stamp }
    }

    /// Takes an entry off again; `None` if it has fired or was cancelled before.
    pub fn cancel(&mut self, timer: Timer) -> Option<T> {
        self.nodes.get(timer.index).filter(|node| node.stamp == timer.stamp)?;
        self.take(timer.index).map(|node| node.item)
    }

    /// Takes off every entry that `wanted` picks, each with the moment it is due, in no order. It looks at all that wait.
    pub fn take_if(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Vec<(MonoMs, T)> {
        let mut taken = Vec::new();
        for index in 0..self.nodes.bound() {
            if self.nodes.get(index).is_some_and(|node| wanted(&node.item)) {
                taken.extend(self.take(index).map(|node| (MonoMs(node.due), node.item)));
            }
        }
        taken
    }

    /// Moves the wheel to `now` and hands everything due by then to `fire`, each with the moment it was due: in the
    /// order of these moments, and those of one moment in the order of their insertion. A `now` before [`Wheel::now`]
    /// counts as that moment.
    pub fn advance(&mut self, now: MonoMs, mut fire: impl FnMut(MonoMs, T)) {
        let until = now.0.max(self.now);
        while let Some((level, slot, begin)) = self.first_slot()
            && begin <= until
        {
            self.now = begin;
            let mut index = self.levels[level].slots[slot].head;
            self.levels[level].slots[slot] = EMPTY;
            self.mark_empty(level, slot);
            while index != NIL {
                if level == 0 {
                    let node = self.nodes.remove(index).expect("a list names cells in use only");
                    index = node.next;
                    fire(MonoMs(node.due), node.item);
                } else {
                    let node = self.node_mut(index);
                    let (due, next) = (node.due, node.next);
                    self.link(index, due);
                    index = next;
                }
            }
        }
        self.now = until;
    }

    /// A moment before which nothing is due; `None` if nothing waits.
    ///
    /// It is exact for what is due within the present 64 ms, and the beginning of the first slot in use otherwise.
    /// Whoever sleeps until it and advances wakes for nothing at most once a level for each entry: four times for a
    /// wait of an hour, six for a year.
    #[must_use]
    pub fn next_due(&self) -> Option<MonoMs> {
        self.first_slot().map(|(_, _, begin)| MonoMs(begin))
    }

    fn take(&mut self, index: u32) -> Option<Node<T>> {
        let node = self.nodes.remove(index)?;
        let (level, slot) = self.place(node.due);
        match node.prev {
            NIL => self.levels[level].slots[slot].head = node.next,
            prev => self.node_mut(prev).next = node.next,
        }
        match node.next {
            NIL => self.levels[level].slots[slot].tail = node.prev,
            next => self.node_mut(next).prev = node.prev,
        }
        if self.levels[level].slots[slot].head == NIL {
            self.mark_empty(level, slot);
        }
        Some(node)
    }

    /// The first slot in use, by level, number and the moment its span begins.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        if self.levels_used == 0 {
            return None;
        }
        let level = self.levels_used.trailing_zeros();
        let slot = self.levels[level as usize].slots_used.trailing_zeros();
        let shift = level * DIGIT_BITS;
        // The digits above this level are those of the present. The top level has none above it.
        let above = u64::MAX.checked_shl(shift + DIGIT_BITS).unwrap_or(0);
        let begin = (self.now & above) | (u64::from(slot) << shift);
        Some((level as usize, slot as usize, begin))
    }

    /// Level and slot of a moment that is not past.
    fn place(&self, due: u64) -> (usize, usize) {
        debug_assert!(due >= self.now, "an entry that is past has fired");
        let highest_bit = u64::BITS - 1 - ((due ^ self.now) | 1).leading_zeros();
        let level = highest_bit / DIGIT_BITS;
        let slot = (due >> (level * DIGIT_BITS)) as usize % SLOTS;
        (level as usize, slot)
    }

    /// Puts a node at the end of the list it belongs to.
    fn link(&mut self, index: u32, due: u64) {
        let (level, slot) = self.place(due);
        let tail = std::mem::replace(&mut self.levels[level].slots[slot].tail, index);
        match tail {
            NIL => {
                self.levels[level].slots[slot].head = index;
                self.levels[level].slots_used |= 1 << slot;
                self.levels_used |= 1 << level;
            }
            tail => self.node_mut(tail).next = index,
        }
        let node = self.node_mut(index);
        node.prev = tail;
        node.next = NIL;
    }

    fn mark_empty(&mut self, level: usize, slot: usize) {
        self.levels[level].slots_used &= !(1 << slot);
        if self.levels[level].slots_used == 0 {
            self.levels_used &= !(1 << level);
        }
    }

    fn node_mut(&mut self, index: u32) -> &mut Node<T> {
        self.nodes.get_mut(index).expect("a list names cells in use only")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::slab::Cell;
    use super::*;

    const YEAR_MS: u64 = 366 * 24 * 3600 * 1000;

    fn fired<T>(wheel: &mut Wheel<T>, now: u64) -> Vec<T> {
        let mut out = Vec::new();
        let mut last = MonoMs(0);
        wheel.advance(MonoMs(now), |due, item| {
            assert!(last <= due && due <= MonoMs(now.max(due.0)), "in order, and not early");
            last = due;
            out.push(item);
        });
        out
    }

    #[test]
    fn a_million_entries_cost_few_bytes_each() {
        assert_eq!(size_of::<Cell<Node<[u64; 3]>>>(), 48);
        assert_eq!(size_of::<Option<Timer>>(), 16);
    }

    #[test]
    fn nothing_fires_early_and_nothing_late() {
        for due in [0, 1, 63, 64, 65, 4095, 4096, 262_143, 262_144, YEAR_MS, 1 << 40, u64::MAX] {
            let mut wheel = Wheel::new();
            wheel.insert(MonoMs(due), ());
            if due > 0 {
                assert_eq!(fired(&mut wheel, due - 1), [], "{due}");
            }
            assert_eq!(fired(&mut wheel, due), [()], "{due}");
            assert!(wheel.is_empty());
            assert_eq!(wheel.next_due(), None);
        }
    }

    #[test]
    fn a_jump_over_years_passes_entries_in_order() {
        let mut wheel = Wheel::new();
        for due in [5 * YEAR_MS, 7, YEAR_MS, 3_600_000, 7, u64::MAX, 64] {
            wheel.insert(MonoMs(due), due);
        }
        assert_eq!(fired(&mut wheel, 6 * YEAR_MS), [7, 7, 64, 3_600_000, YEAR_MS, 5 * YEAR_MS]);
        assert_eq!(wheel.len(), 1);
        assert_eq!(fired(&mut wheel, u64::MAX), [u64::MAX]);
    }

    #[test]
    fn a_clock_that_steps_back_changes_nothing() {
        let mut wheel = Wheel::new();
        fired::<u8>(&mut wheel, 1000);
        wheel.insert(MonoMs(10), 1);
        wheel.insert(MonoMs(1000), 2);
        wheel.insert(MonoMs(5), 3);
        assert_eq!(wheel.next_due(), Some(MonoMs(1000)));
        assert_eq!(fired(&mut wheel, 3), [1, 2, 3], "what is past is due at the present, in the order it came");
        assert_eq!(wheel.now(), MonoMs(1000));
    }

    #[test]
    fn a_handle_names_its_own_entry_only() {
        let mut wheel = Wheel::new();
        let first = wheel.insert(MonoMs(10), 'a');
        assert_eq!(wheel.cancel(first), Some('a'));
        let second = wheel.insert(MonoMs(10), 'b');
        assert_eq!(first.index, second.index, "the cell is used again");
        assert_eq!(wheel.cancel(first), None);
        assert_eq!(fired(&mut wheel, 10), ['b']);
        assert_eq!(wheel.cancel(second), None);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert { ahead: i64 },
        Cancel { which: prop::sample::Index },
        TakeIf { third: usize },
        Advance { by: u64 },
        Sleep,
    }

    /// Spans of every size: some milliseconds, some slots, years.
    fn span() -> impl Strategy<Value = u64> {
        prop_oneof![0..4_u64, 0..200_u64, 0..10_000_u64, 0..10_000_000_u64, 0..3 * YEAR_MS, 0..u64::MAX / 64]
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => span().prop_map(|ahead| Op::Insert { ahead: i64::try_from(ahead).unwrap() }),
            1 => (-1000..0_i64).prop_map(|ahead| Op::Insert { ahead }),
            2 => any::<prop::sample::Index>().prop_map(|which| Op::Cancel { which }),
            1 => (0..3_usize).prop_map(|third| Op::TakeIf { third }),
            2 => span().prop_map(|by| Op::Advance { by }),
            2 => Just(Op::Sleep),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        /// Against a sorted map: the same entries, at the same moments, in the same order.
        #[test]
        fn behaves_as_a_sorted_map(ops in prop::collection::vec(op(), 1..200)) {
            let mut wheel = Wheel::new();
            let mut model: BTreeMap<(u64, usize), usize> = BTreeMap::new();
            let mut handles = Vec::new();
            let mut now = 0_u64;
            for (id, op) in ops.into_iter().enumerate() {
                match op {
                    Op::Insert { ahead } => {
                        let due = now.saturating_add_signed(ahead);
                        handles.push((wheel.insert(MonoMs(due), id), (due.max(now), id)));
                        model.insert((due.max(now), id), id);
                    }
                    Op::Cancel { which } if !handles.is_empty() => {
                        let (timer, key) = handles[which.index(handles.len())];
                        prop_assert_eq!(wheel.cancel(timer), model.remove(&key));
                    }
                    Op::Cancel { .. } => {}
                    Op::TakeIf { third } => {
                        let mut taken = wheel.take_if(|id| id % 3 == third);
                        taken.sort_unstable();
                        let picked: Vec<_> = model.extract_if(.., |_, id| *id % 3 == third).collect();
                        let picked: Vec<_> = picked.into_iter().map(|((due, _), id)| (MonoMs(due), id)).collect();
                        prop_assert_eq!(taken, picked);
                    }
                    Op::Advance { .. } | Op::Sleep => {
                        now = match op {
                            Op::Advance { by } => now.saturating_add(by),
                            _ => wheel.next_due().map_or(now, |at| at.0),
                        };
                        let later = model.split_off(&(now.saturating_add(1), 0));
                        let due: Vec<usize> = std::mem::replace(&mut model, later).into_values().collect();
                        prop_assert_eq!(fired(&mut wheel, now), due);
                        prop_assert_eq!(wheel.now(), MonoMs(now));
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                let first = model.keys().next().map(|(due, _)| *due);
                prop_assert_eq!(wheel.next_due().is_some(), first.is_some());
                if let (Some(MonoMs(bound)), Some(first)) = (wheel.next_due(), first) {
                    prop_assert!(now <= bound && bound <= first, "{} <= {} <= {}", now, bound, first);
                }
            }
            let rest: Vec<usize> = model.into_values().collect();
            prop_assert_eq!(fired(&mut wheel, u64::MAX), rest);
        }

        /// Whoever sleeps until `next_due` meets each entry at its very moment and wakes for nothing a few times.
        #[test]
        fn sleeping_until_next_due_meets_every_entry(dues in prop::collection::vec(1..2 * YEAR_MS, 1..50)) {
            let mut wheel = Wheel::new();
            for due in &dues {
                wheel.insert(MonoMs(*due), *due);
            }
            let (mut met, mut idle) = (Vec::new(), 0);
            while let Some(at) = wheel.next_due() {
                let due = fired(&mut wheel, at.0);
                prop_assert!(due.iter().all(|due| *due == at.0));
                idle += usize::from(due.is_empty());
                met.extend(due);
            }
            prop_assert!(idle <= 6 * dues.len(), "woke {} times for nothing", idle);
            let mut sorted = dues;
            sorted.sort_unstable();
            prop_assert_eq!(met, sorted);
        }
    }
}
