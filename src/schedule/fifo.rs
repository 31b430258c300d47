//! A queue whose memory follows its length.

use std::cmp::Ordering;
use std::collections::VecDeque;

/// Entries in one chunk.
const CHUNK: usize = 128;

/// First in, first out. Unlike one ring buffer, which doubles and never shrinks, it grows chunk by chunk without moving
/// what it holds, and gives a chunk back as soon as it is empty, but for the last one.
#[derive(Debug)]
pub(super) struct Fifo<T> {
    /// None is empty but perhaps the last.
    chunks: VecDeque<VecDeque<T>>,
}

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self { chunks: VecDeque::new() }
    }
}

impl<T> Fifo<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.front().is_none_or(VecDeque::is_empty)
    }

    pub(super) fn push(&mut self, item: T) {
        match self.chunks.back_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push_back(item),
            _ => self.chunks.push_back(VecDeque::from([item])),
        }
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let chunk = self.chunks.front_mut()?;
        let item = chunk.pop_front()?;
        if chunk.is_empty() && self.chunks.len() > 1 {
            self.chunks.pop_front();
        }
        Some(item)
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.chunks.front()?.front()
    }

    pub(super) fn back(&self) -> Option<&T> {
        self.chunks.back()?.back()
    }

    /// An entry that `compare` calls equal, where the entries stand in the order that it tells.
    pub(super) fn find_mut(&mut self, compare: impl Fn(&T) -> Ordering) -> Option<&mut T> {
        let chunk = self.chunks.partition_point(|chunk| chunk.back().is_some_and(|last| compare(last).is_lt()));
        let chunk = self.chunks.get_mut(chunk)?;
        let place = chunk.binary_search_by(compare).ok()?;
        chunk.get_mut(place)
    }

    /// Takes out everything that `wanted` picks. It looks at all.
    pub(super) fn take_if(&mut self, mut wanted: impl FnMut(&T) -> bool, mut take: impl FnMut(T)) {
        for item in std::mem::take(&mut self.chunks).into_iter().flatten() {
            if wanted(&item) { take(item) } else { self.push(item) }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Push { count: usize },
        Pop { count: usize },
        TakeIf { third: usize },
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (1..400_usize).prop_map(|count| Op::Push { count }),
            4 => (1..400_usize).prop_map(|count| Op::Pop { count }),
            1 => (0..3_usize).prop_map(|third| Op::TakeIf { third }),
        ]
    }

    proptest! {
        #[test]
        fn behaves_as_a_queue(ops in prop::collection::vec(op(), 1..40)) {
            let (mut fifo, mut model, mut next) = (Fifo::default(), VecDeque::new(), 0);
            for op in ops {
                match op {
                    Op::Push { count } => {
                        (next..next + count).for_each(|item| fifo.push(item));
                        model.extend(next..next + count);
                        next += count;
                    }
                    Op::Pop { count } => {
                        for _ in 0..count {
                            prop_assert_eq!(fifo.pop(), model.pop_front());
                        }
                    }
                    Op::TakeIf { third } => {
                        let mut taken = Vec::new();
                        fifo.take_if(|item| item % 3 == third, |item| taken.push(item));
                        let picked: Vec<_> = model.iter().copied().filter(|item| item % 3 == third).collect();
                        prop_assert_eq!(taken, picked);
                        model.retain(|item| item % 3 != third);
                    }
                }
                prop_assert_eq!(fifo.is_empty(), model.is_empty());
                prop_assert_eq!((fifo.front(), fifo.back()), (model.front(), model.back()));
                for wanted in [0, 1, 2, next / 3, next / 2, next] {
                    let found = fifo.find_mut(|item| item.cmp(&wanted)).copied();
                    prop_assert_eq!(found.is_some(), model.contains(&wanted));
                }
                prop_assert!(fifo.chunks.len() <= model.len() / CHUNK + 2, "memory follows the length");
            }
        }
    }
}
