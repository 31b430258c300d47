//! What is missing of a generation, as ranges of numbers. A generation that was rescued keeps a record of its gaps: what it
//! lacked then was told, and only what it lacks beside that is a new loss.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::carve::Carved;
use super::frame::{self, Mark};
use super::keys;
use super::rows::{self, Packer};

/// Ranges by the kind of what is missing: numbers of events for heads, of packs for states and attempts, of endpoints for
/// names, offsets for bodies. Those of one kind are in order and apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps {
    by_kind: BTreeMap<u8, Vec<Range<u64>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    kind: u8,
    start: u64,
    end: u64,
}

impl Gaps {
    /// Adds a gap behind those that are known of its kind. An empty one is none.
    pub(super) fn note(&mut self, kind: u8, gap: Range<u64>) {
        if !gap.is_empty() {
            self.by_kind.entry(kind).or_default().push(gap);
        }
    }

    /// Those of one kind.
    pub(super) fn of(&self, kind: u8) -> &[Range<u64>] {
        self.by_kind.get(&kind).map_or(&[], Vec::as_slice)
    }

    /// How many numbers of one kind are missing.
    pub(super) fn count(&self, kind: u8) -> u64 {
        self.of(kind).iter().map(|gap| gap.end - gap.start).sum()
    }

    /// Whether anything of a range is missing.
    pub(super) fn touch(&self, kind: u8, range: &Range<u64>) -> bool {
        let gaps = if range.is_empty() { &[] } else { self.of(kind) };
        let at = gaps.partition_point(|gap| gap.end <= range.start);
        gaps.get(at).is_some_and(|gap| gap.start < range.end)
    }

    /// What of it is not in `known`.
    pub(super) fn less(&self, known: &Self) -> Self {
        let mut less = Self::default();
        for (kind, gaps) in &self.by_kind {
            for gap in gaps {
                let mut start = gap.start;
                for told in known.of(*kind).iter().filter(|told| told.end > gap.start && told.start < gap.end) {
                    less.note(*kind, start..told.start.max(start));
                    start = told.end.max(start);
                }
                less.note(*kind, start..gap.end.max(start));
            }
        }
        less
    }

    /// Those that a rescued generation keeps, ready to be stored.
    pub(super) fn values(&self, mark: Mark) -> Result<Vec<(keys::Key, Vec<u8>)>, bincode::Error> {
        let mut packer = Packer::default();
        for (kind, gaps) in &self.by_kind {
            for gap in gaps {
                packer.push(&Row { kind: *kind, start: gap.start, end: gap.end })?;
            }
        }
        let keys = (0..).map(|number| keys::key(keys::LOST, number));
        Ok(keys.zip(packer.finish()).map(|(key, pack)| (key, pack.close(mark, &key, 0))).collect())
    }

    /// Those that a rescued generation kept. What is damaged of them is told once more.
    pub(super) fn kept(carved: &Carved) -> io::Result<Self> {
        let mut kept = Self::default();
        carved.scan(keys::LOST, 0, |key, value| {
            if let Ok(payload) = frame::open(&key, &value) {
                let _ = rows::unpack(payload, |row: Row| {
                    kept.note(row.kind, row.start..row.end);
                    true
                });
            }
            true
        })?;
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(range: Range<u64>) -> Gaps {
        let mut gaps = Gaps::default();
        gaps.note(b'h', range);
        gaps
    }

    proptest::proptest! {
        #[test]
        fn what_is_left_is_what_is_missing_and_not_known(missing: [bool; 24], known: [bool; 24]) {
            let of = |bits: &[bool]| {
                let mut gaps = Gaps::default();
                let mut start = None;
                for (at, bit) in bits.iter().chain([&false]).enumerate() {
                    match (bit, start) {
                        (true, None) => start = Some(at as u64),
                        (false, Some(from)) => {
                            gaps.note(b'h', from..at as u64);
                            start = None;
                        }
                        _ => {}
                    }
                }
                gaps
            };
            let left = of(&missing).less(&of(&known));
            for at in 0..24 {
                let expected = missing[at] && !known[at];
                proptest::prop_assert_eq!(left.touch(b'h', &(at as u64..at as u64 + 1)), expected);
            }
            let expected = missing.iter().zip(known).filter(|(missing, known)| **missing && !known).count();
            proptest::prop_assert_eq!(left.count(b'h'), expected as u64);
        }
    }

    #[test]
    fn an_empty_range_touches_nothing() {
        assert!(!gap(3..7).touch(b'h', &(5..5)));
        assert!(gap(3..7).touch(b'h', &(6..9)));
        assert!(!gap(3..7).touch(b'h', &(7..9)));
    }
}
