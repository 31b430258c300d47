//! Changes of names that are not synced yet, in the order in which they were made.

use std::collections::HashSet;
use std::ffi::OsString;

use super::tree::Ino;

/// Most changes that wait; past it the older half becomes durable, as a journal does by itself sooner or later.
const CHANGES_MAX: usize = 1 << 16;

/// A directory and a name in it.
pub(super) type Slot = (Ino, OsString);

/// One change: a name made, removed, or moved.
#[derive(Debug)]
pub(super) struct NameChange {
    /// Who has the name.
    pub(super) ino: Ino,
    pub(super) removes: Option<Slot>,
    pub(super) adds: Option<Slot>,
}

impl NameChange {
    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.removes.iter().chain(self.adds.iter())
    }
}

/// The changes.
#[derive(Debug, Default)]
pub(super) struct Journal {
    changes: Vec<NameChange>,
}

impl Journal {
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(super) fn push(&mut self, change: NameChange) {
        self.changes.push(change);
    }

    /// What is too much to remember, oldest first.
    pub(super) fn take_overflow(&mut self) -> Vec<NameChange> {
        let count = if self.changes.len() > CHANGES_MAX { CHANGES_MAX / 2 } else { 0 };
        self.changes.drain(..count).collect()
    }

    /// Everything.
    pub(super) fn take_all(&mut self) -> Vec<NameChange> {
        std::mem::take(&mut self.changes)
    }

    /// What an fsync of a directory makes durable.
    pub(super) fn take_of_directory(&mut self, directory: Ino) -> Vec<NameChange> {
        let chosen = self.changes.iter().map(|change| change.slots().any(|slot| slot.0 == directory)).collect();
        self.take(chosen)
    }

    /// What made this inode reachable, and the directories above it.
    pub(super) fn take_reaching(&mut self, ino: Ino) -> Vec<NameChange> {
        let mut wanted = HashSet::from([ino]);
        let mut chosen = vec![false; self.changes.len()];
        loop {
            let before = wanted.len();
            for (index, change) in self.changes.iter().enumerate() {
                if wanted.contains(&change.ino) {
                    chosen[index] = true;
                    wanted.extend(change.slots().map(|slot| slot.0));
                }
            }
            if wanted.len() == before {
                return self.take(chosen);
            }
        }
    }

    /// The chosen changes, and every older one that touches a name of theirs: a journal never shows a name's later state
    /// over its earlier one.
    fn take(&mut self, mut chosen: Vec<bool>) -> Vec<NameChange> {
        if !chosen.contains(&true) {
            return Vec::new();
        }
        let mut touched: HashSet<&Slot> = HashSet::new();
        for (index, change) in self.changes.iter().enumerate().rev() {
            if chosen[index] || change.slots().any(|slot| touched.contains(slot)) {
                chosen[index] = true;
                touched.extend(change.slots());
            }
        }
        drop(touched);
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        for (change, chosen) in self.take_all().into_iter().zip(chosen) {
            if chosen { taken.push(change) } else { left.push(change) }
        }
        self.changes = left;
        taken
    }

    /// Forgets changes in directories that can never be seen again. `dead` says which those are; that a change would still
    /// add one somewhere speaks against it.
    pub(super) fn forget_in(&mut self, dead: impl Fn(Ino) -> bool) {
        loop {
            let added: HashSet<Ino> = self.changes.iter().filter(|c| c.adds.is_some()).map(|c| c.ino).collect();
            let before = self.changes.len();
            self.changes.retain(|change| change.slots().any(|(dir, _)| !dead(*dir) || added.contains(dir)));
            if self.changes.len() == before {
                return;
            }
        }
    }

    /// Every inode that a change may bring back.
    pub(super) fn inodes(&self) -> impl Iterator<Item = Ino> {
        self.changes.iter().map(|change| change.ino)
    }
}
