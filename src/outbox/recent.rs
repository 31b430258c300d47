//! Which generations stay open: the most recently used, within bounds.

use std::collections::VecDeque;
use std::sync::Arc;

use super::generation::Generation;

/// Generations that are open in the engine at once, unless more are in use: the one that takes events, and the one before it.
const ENGINES_MAX: usize = 2;
/// Sealed generations that are open at once: each takes four file descriptors.
const OPEN_MAX: usize = 64;
/// Records of open sealed generations that are kept track of at once, about 40 bytes each …
const RECORDS_MAX: usize = 1_500_000;
/// … unless these few have more.
const OPEN_MIN: usize = 4;
/// Rounds of housekeeping after which one that nobody uses is closed.
const IDLE_ROUNDS_MAX: u32 = 10;

/// The generations that stay open.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The most recently used last.
    open: VecDeque<Open>,
    /// Those that the engine had better close on a thread that nobody waits for.
    leaving: Vec<Arc<Generation>>,
}

#[derive(Debug)]
struct Open {
    generation: Arc<Generation>,
    /// Rounds of housekeeping since it was last used.
    idle_rounds: u32,
}

impl Recent {
    /// Notes that a generation is used. Returns those that are to be closed for it.
    pub(super) fn touch(&mut self, generation: &Arc<Generation>) -> Vec<Arc<Generation>> {
        if let Some(last) = self.open.back_mut().filter(|last| Arc::ptr_eq(&last.generation, generation)) {
            last.idle_rounds = 0;
            return Vec::new();
        }
        self.open.retain(|other| !Arc::ptr_eq(&other.generation, generation));
        self.open.push_back(Open { generation: Arc::clone(generation), idle_rounds: 0 });
        let mut unused = Vec::new();
        while let Some(at) = self.one_too_many() {
            unused.extend(self.open.remove(at).map(|open| open.generation));
        }
        self.sort_out(unused)
    }

    /// Counts a round of housekeeping. Returns those that are to be closed since nobody uses them: whatever the engine has
    /// touched of an open one it keeps in memory.
    pub(super) fn end_round(&mut self) -> Vec<Arc<Generation>> {
        let mut unused = Vec::new();
        self.open.retain_mut(|open| {
            open.idle_rounds += 1;
            let stays = open.idle_rounds <= IDLE_ROUNDS_MAX;
            if !stays {
                unused.push(Arc::clone(&open.generation));
            }
            stays
        });
        self.sort_out(unused)
    }

    /// Takes those that are to be closed where nobody waits for it.
    pub(super) fn take_leaving(&mut self) -> Vec<Arc<Generation>> {
        std::mem::take(&mut self.leaving)
    }

    /// Whether there are any of these.
    pub(super) fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Lets go of one generation.
    pub(super) fn forget(&mut self, no: u32) {
        self.open.retain(|open| open.generation.no() != no);
        self.leaving.retain(|generation| generation.no() != no);
    }

    /// Lets go of all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Those that are only read, since the disk refused to have them opened.
    pub(super) fn read_only(&self) -> Vec<u32> {
        self.open.iter().map(|open| &open.generation).filter(|open| open.is_read_only()).map(|open| open.no()).collect()
    }

    /// What the engine has open is closed later: that takes it a while.
    fn sort_out(&mut self, unused: Vec<Arc<Generation>>) -> Vec<Arc<Generation>> {
        let (now, later) = unused.into_iter().partition(|generation| generation.records_in_memory().is_some());
        self.leaving.extend::<Vec<_>>(later);
        now
    }

    /// The place of one that had better be closed: the longest unused of the engine's, or of the others.
    fn one_too_many(&self) -> Option<usize> {
        let (mut engines, mut records) = (0, 0);
        for open in &self.open {
            match open.generation.records_in_memory() {
                Some(more) => records += more,
                None => engines += 1,
            }
        }
        let in_engine = |open: &Open| open.generation.records_in_memory().is_none();
        if engines > ENGINES_MAX {
            return self.open.iter().position(in_engine);
        }
        let others = self.open.len() - engines;
        let too_many = others > OPEN_MAX || (records > RECORDS_MAX && others > OPEN_MIN);
        if too_many { self.open.iter().position(|open| !in_engine(open)) } else { None }
    }
}
