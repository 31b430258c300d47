//! A queue whose memory follows its length.

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

impl<T> Fifo<T> {
    pub(super) fn new() -> Self {
        Self { chunks: VecDeque::new() }
    }

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

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_queue(ops in prop::collection::vec((any::<bool>(), 1..400_usize), 1..40)) {
            let (mut fifo, mut model, mut next) = (Fifo::new(), VecDeque::new(), 0);
            for (push, count) in ops {
                for _ in 0..count {
                    if push {
                        fifo.push(next);
                        model.push_back(next);
                        next += 1;
                    } else {
                        prop_assert_eq!(fifo.pop(), model.pop_front());
                    }
                }
                prop_assert_eq!(fifo.is_empty(), model.is_empty());
                prop_assert!(fifo.iter_mut().eq(model.iter_mut()));
                prop_assert!(fifo.chunks.len() <= model.len() / CHUNK + 2, "memory follows the length");
            }
        }
    }
}
