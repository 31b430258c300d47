//! What a power cut leaves.
//!
//! What was synced is left as it was. Of the rest a seeded choice reaches the disk: names in their order up to some moment
//! (none with strict directories), of each file some epoch and size, of each page some state. Afterwards both images are
//! the same, nobody has anything open, and every inode but the root has a new number, so that nothing which the kernel still
//! caches of the old tree can be taken for the new one.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::pages::{Change, FileImage, PAGE_BYTES, Page, SECTOR_BYTES};
use super::random::Random;
use super::tree::{Ino, Names, Node, ROOT, Tree};

/// What reaches the disk of what was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CutMode {
    /// A seeded choice.
    Random,
    /// Nothing.
    Nothing,
    /// Everything, as if only the processes had been killed.
    Everything,
}

/// What a cut did to what was not synced.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct CutReport {
    pub(crate) pages: u64,
    pub(crate) pages_kept: u64,
    pub(crate) pages_lost: u64,
    /// Left in a state that a later write had already replaced.
    pub(crate) pages_older: u64,
    /// Of each sector another state.
    pub(crate) pages_torn: u64,
    pub(crate) names: u64,
    pub(crate) names_kept: u64,
}

impl FileImage {
    fn cut(&mut self, random: &mut Random, mode: CutMode, ordered: bool, report: &mut CutReport) {
        report.pages += self.unsynced_pages();
        match mode {
            CutMode::Nothing => report.pages_lost += self.unsynced_pages(),
            CutMode::Everything => {
                report.pages_kept += self.unsynced_pages();
                self.sync();
            }
            CutMode::Random => self.cut_at_random(random, ordered, report),
        }
        self.durable.clear_past_end();
        *self = Self { volatile: self.durable.clone(), durable: std::mem::take(&mut self.durable), ..Self::default() };
    }

    fn cut_at_random(&mut self, random: &mut Random, ordered: bool, report: &mut CutReport) {
        let epoch = random.pick(u64::from(self.epoch_min), u64::from(self.epoch)) as u32;
        // The size that the epoch began with: below it everything is data.
        let (base, size) = self.cut_size(random, epoch);
        let mut reached = u64::MAX;
        for (number, changes) in std::mem::take(&mut self.unsynced) {
            let (page, end) = cut_page(random, self.durable.page(number), &changes, epoch, report);
            let start = number * PAGE_BYTES as u64;
            if let Some(end) = end
                && start + PAGE_BYTES as u64 > base
            {
                reached = reached.min(start + end as u64);
            }
            self.durable.pages.insert(number, Arc::new(page));
        }
        self.durable.size = if ordered { size.min(reached.max(base)) } else { size };
    }

    fn cut_size(&self, random: &mut Random, epoch: u32) -> (u64, u64) {
        let synced = (epoch == 0).then_some(self.durable.size);
        let later = self.sizes.iter().filter(|(of, _)| *of == epoch).map(|(_, size)| *size);
        let sizes: Vec<u64> = synced.into_iter().chain(later).collect();
        let Some(last) = sizes.len().checked_sub(1) else { return (self.durable.size, self.durable.size) };
        let chosen = random.pick(0, last as u64) as usize;
        if chosen > 0 && sizes[chosen] > sizes[chosen - 1] && random.below(3) == 0 {
            // A long write may have come as far as some page.
            let first = sizes[chosen - 1] / PAGE_BYTES as u64 + 1;
            let last = sizes[chosen] / PAGE_BYTES as u64;
            if first <= last {
                return (sizes[0], (first + random.below(last - first + 1)) * PAGE_BYTES as u64);
            }
        }
        (sizes[0], sizes[chosen])
    }
}

/// What becomes of one page, and how far data reaches in it; `None` where nothing of it is missing.
fn cut_page(
    random: &mut Random,
    durable: Page,
    changes: &[Change],
    epoch: u32,
    report: &mut CutReport,
) -> (Page, Option<usize>) {
    let usable = changes.iter().take_while(|change| change.epoch <= epoch).count();
    let changes = &changes[..usable];
    let least = changes.iter().rposition(|change| change.barrier).map_or(0, |barrier| barrier + 1);
    let state = |count: usize| {
        let mut page = durable;
        changes[..count].iter().for_each(|change| change.apply(&mut page));
        page
    };
    let reach = |count: usize| changes[least..count].iter().map(|change| change.end).max().unwrap_or(0);
    let (least_wide, usable_wide) = (least as u64, usable as u64);
    match random.below(6) {
        0 | 1 => {
            report.pages_lost += 1;
            (state(least), Some(reach(least)))
        }
        2 | 3 => {
            report.pages_kept += 1;
            (state(usable), None)
        }
        4 => {
            report.pages_older += 1;
            let count = (least_wide + random.below(usable_wide - least_wide + 1)) as usize;
            (state(count), (count < usable).then(|| reach(count)))
        }
        _ => {
            report.pages_torn += 1;
            let mut torn = durable;
            for sector in (0..PAGE_BYTES).step_by(SECTOR_BYTES) {
                let sector = sector..sector + SECTOR_BYTES;
                let whole = state(random.pick(least_wide, usable_wide) as usize);
                torn[sector.clone()].copy_from_slice(&whole[sector]);
            }
            (torn, Some(0))
        }
    }
}

impl Tree {
    /// Cuts the power. Returns what it did and the inode numbers that there were.
    pub(crate) fn cut(&mut self, random: &mut Random, mode: CutMode) -> (CutReport, Vec<Ino>) {
        let mut changes = self.journal.take_all();
        let names = changes.len() as u64;
        let names_kept = match mode {
            CutMode::Nothing => 0,
            CutMode::Everything => names,
            CutMode::Random if self.rules.strict_dirs => 0,
            CutMode::Random => random.pick(0, names),
        };
        let mut report = CutReport { names, names_kept, ..CutReport::default() };
        changes.truncate(names_kept as usize);
        self.settle(changes);
        let mut old: Vec<Ino> = self.inodes.keys().copied().collect();
        old.sort_unstable();
        for ino in &old {
            if let Some(Node::File(file)) = self.inodes.get_mut(ino).map(|inode| &mut inode.node) {
                file.cut(random, mode, self.rules.ordered, &mut report);
            }
        }
        self.keep_what_is_durable();
        (report, old)
    }

    /// Rebuilds the tree from the durable names, with new numbers.
    fn keep_what_is_durable(&mut self) {
        let mut numbers = HashMap::from([(ROOT, ROOT)]);
        let mut kept = HashMap::new();
        let mut links: HashMap<Ino, u32> = HashMap::new();
        let mut todo = vec![(ROOT, ROOT)];
        while let Some((old, above)) = todo.pop() {
            let (Some(mut inode), Some(number)) = (self.inodes.remove(&old), numbers.get(&old).copied()) else {
                continue;
            };
            inode.opens = 0;
            if let Node::Directory { volatile, durable, parent } = &mut inode.node {
                *parent = above;
                let mut names = Names::new();
                for (name, child) in std::mem::take(durable) {
                    let known = numbers.get(&child).copied();
                    let Some(child_number) = known.or_else(|| self.inodes.contains_key(&child).then_some(self.next))
                    else {
                        continue;
                    };
                    if known.is_none() {
                        self.next += 1;
                        numbers.insert(child, child_number);
                        todo.push((child, number));
                        if let Some(Node::Directory { .. }) = self.inodes.get(&child).map(|inode| &inode.node) {
                            // Its own "." and its entry in this directory; this one gets the ".." of it.
                            *links.entry(child_number).or_default() += 1;
                            *links.entry(number).or_default() += 1;
                        }
                    }
                    *links.entry(child_number).or_default() += 1;
                    names.insert(name, child_number);
                }
                *durable = names.clone();
                *volatile = names;
            }
            kept.insert(number, inode);
        }
        *links.entry(ROOT).or_default() += 2;
        self.used_pages = 0;
        for (number, inode) in &mut kept {
            inode.links = links.get(number).copied().unwrap_or(1);
            if let Node::File(file) = &inode.node {
                self.used_pages += file.page_count();
            }
        }
        self.inodes = kept;
    }
}
