//! The roll of generations: which there must be. Without it a folder that somebody removed would not be missed.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::folder::{Folder, write_durably};
use super::frame::Mark;
use super::keys::{self, key};
use super::{frame, rows};

/// The roll, in memory and in its file.
#[derive(Debug)]
pub(super) struct Roll {
    path: PathBuf,
    mark: Mark,
    row: Row,
    /// Whether the file tells something else.
    stale: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    /// The highest number ever given: none is given twice.
    pub(super) newest: u32,
    /// Those that are there, each as its distance from the one before: a few thousand fit a stored value.
    steps: Vec<u32>,
}

impl Row {
    fn read(folder: &Folder) -> Option<Self> {
        let bytes = std::fs::read(folder.roll()).ok()?;
        rows::decode_single(frame::open(&key(keys::ROLL, 0), &bytes).ok()?).ok()
    }

    pub(super) fn numbers(&self) -> BTreeSet<u32> {
        let mut last = 0_u32;
        self.steps
            .iter()
            .map(|step| {
                last = last.saturating_add(*step);
                last
            })
            .collect()
    }

    pub(super) fn of(newest: u32, numbers: &BTreeSet<u32>) -> Self {
        let mut last = 0;
        let steps = numbers.iter().map(|no| {
            let step = no - last;
            last = *no;
            step
        });
        Self { newest, steps: steps.collect() }
    }
}

impl Roll {
    /// Reads the roll, and tells which numbers on it are not among those that are `there`. A roll that is missing or damaged
    /// is made anew of those.
    pub(super) fn open(folder: &Folder, there: &[u32]) -> (Self, Vec<u32>) {
        let path = folder.roll();
        let found = Row::read(folder);
        if found.is_none() && !there.is_empty() {
            tracing::warn!(
                path = %path.display(),
                "the roll of generations is missing or damaged; it is made anew of those that are there"
            );
        }
        let written = found.is_some();
        let found = found.unwrap_or_default();
        let missing = found.numbers().into_iter().filter(|no| !there.contains(no)).collect();
        let newest = found.newest.max(there.last().copied().unwrap_or(0));
        let row = Row::of(newest, &there.iter().copied().collect());
        let stale = !written || row != found;
        (Self { path, mark: folder.mark(), row, stale }, missing)
    }

    /// Whether there is one in the folder that can be read.
    pub(super) fn is_there(folder: &Folder) -> bool {
        Row::read(folder).is_some()
    }

    /// Whether the roll in the folder names a generation.
    pub(super) fn names(folder: &Folder, no: u32) -> bool {
        Row::read(folder).is_some_and(|row| row.numbers().contains(&no))
    }

    /// The highest number that was ever given.
    pub(super) fn newest(&self) -> u32 {
        self.row.newest
    }

    /// Puts a generation on the roll, durably.
    pub(super) fn add(&mut self, no: u32) -> io::Result<()> {
        let mut numbers = self.row.numbers();
        numbers.insert(no);
        self.write(Row::of(self.row.newest.max(no), &numbers))
    }

    /// Takes one off it, durably. Where the disk refuses it is off all the same, and [`Roll::save`] tries again.
    pub(super) fn remove(&mut self, no: u32) -> io::Result<()> {
        let mut numbers = self.row.numbers();
        numbers.remove(&no);
        (self.row, self.stale) = (Row::of(self.row.newest, &numbers), true);
        self.save().map(drop)
    }

    /// Writes it as it stands, where the file tells something else: what is not on it nobody would miss. Tells whether.
    pub(super) fn save(&mut self) -> io::Result<bool> {
        let stale = self.stale;
        if stale {
            self.write(self.row.clone())?;
        }
        Ok(stale)
    }

    fn write(&mut self, row: Row) -> io::Result<()> {
        let value = rows::single(self.mark, &key(keys::ROLL, 0), &row).map_err(io::Error::other)?;
        write_durably(&self.path, &value)?;
        (self.row, self.stale) = (row, false);
        Ok(())
    }
}

/// The numbers on the roll, only read; `None` where it is missing or damaged.
pub(super) fn numbers(folder: &Folder) -> Option<BTreeSet<u32>> {
    Row::read(folder).map(|row| row.numbers())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_on_the_roll_and_is_gone_is_missed_once_the_roll_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(&dir.path().join("data")).unwrap();
        let (mut roll, missing) = Roll::open(&folder, &[]);
        assert!(missing.is_empty());
        for no in [1, 2, 3, 90] {
            roll.add(no).unwrap();
        }
        roll.remove(90).unwrap();
        let (roll, missing) = Roll::open(&folder, &[1, 3]);
        assert_eq!(missing, [2]);
        assert_eq!(roll.newest(), 90, "a number is not given twice");
        std::fs::write(folder.roll(), b"garbage").unwrap();
        let (roll, missing) = Roll::open(&folder, &[1, 3]);
        assert!(missing.is_empty(), "nobody can tell");
        assert_eq!(roll.newest(), 3);
    }

    proptest::proptest! {
        #[test]
        fn numbers_come_back(numbers: BTreeSet<u32>) {
            proptest::prop_assert_eq!(Row::of(0, &numbers).numbers(), numbers);
        }
    }
}
