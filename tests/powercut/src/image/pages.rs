//! The data of one file.
//!
//! It is kept in pages of 4 KiB. Every write that is not synced is remembered with its page, in order, so that at the cut
//! each page, or each sector of a torn page, can be in any state that it went through since the last fsync. Losing, tearing
//! and reordering writes come to exactly that.
//!
//! A truncation that makes the file shorter is one transaction of the file system's metadata: it happened or it did not,
//! and with it everything that it cut off. So each begins an epoch; a cut chooses an epoch first, then states within it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Bytes of a page, and of a block of the simulated disk.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Bytes that reach the disk whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;
/// Changes remembered for one page; the older ones are folded into one.
const CHANGES_MAX: usize = 32;
/// Sizes remembered within one epoch.
const SIZES_MAX: usize = 256;

pub(super) type Page = [u8; PAGE_BYTES];

/// Pages and a size: one image of a file. A page that is not there reads as zeros.
#[derive(Clone, Default)]
pub(super) struct Content {
    pub(super) pages: HashMap<u64, Arc<Page>>,
    pub(super) size: u64,
}

impl Content {
    pub(super) fn page(&self, number: u64) -> Page {
        self.pages.get(&number).map_or([0; PAGE_BYTES], |page| **page)
    }

    fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let end = self.size.min(offset.saturating_add(length as u64));
        let mut bytes = Vec::with_capacity(end.saturating_sub(offset) as usize);
        let mut at = offset;
        while at < end {
            let from = (at % PAGE_BYTES as u64) as usize;
            let count = (PAGE_BYTES - from).min((end - at) as usize);
            match self.pages.get(&(at / PAGE_BYTES as u64)) {
                Some(page) => bytes.extend_from_slice(&page[from..from + count]),
                None => bytes.resize(bytes.len() + count, 0),
            }
            at += count as u64;
        }
        bytes
    }

    /// Takes over a page as another image has it.
    pub(super) fn copy_page(&mut self, number: u64, from: &Self) {
        match from.pages.get(&number) {
            Some(page) => self.pages.insert(number, Arc::clone(page)),
            None => self.pages.remove(&number),
        };
    }

    /// Sees to it that nothing lies past the end: what a later, longer size uncovers is zeros.
    pub(super) fn clear_past_end(&mut self) {
        let pages = self.size.div_ceil(PAGE_BYTES as u64);
        self.pages.retain(|number, _| *number < pages);
        let tail = (self.size % PAGE_BYTES as u64) as usize;
        if tail != 0
            && let Some(page) = self.pages.get_mut(&(pages - 1))
            && page[tail..].iter().any(|byte| *byte != 0)
        {
            Arc::make_mut(page)[tail..].fill(0);
        }
    }
}

/// A change of one page that is not synced.
pub(super) struct Change {
    pub(super) epoch: u32,
    /// Made by a truncation: not optional once its epoch is chosen.
    pub(super) barrier: bool,
    /// How far the file's data reaches in this page with this change, in bytes.
    pub(super) end: usize,
    what: What,
}

enum What {
    Whole(Arc<Page>),
    Part { offset: usize, bytes: Box<[u8]> },
    ZeroFrom(usize),
}

impl Change {
    pub(super) fn apply(&self, page: &mut Page) {
        match &self.what {
            What::Whole(whole) => *page = **whole,
            What::Part { offset, bytes } => page[*offset..*offset + bytes.len()].copy_from_slice(bytes),
            What::ZeroFrom(offset) => page[*offset..].fill(0),
        }
    }

    fn bytes(&self) -> u64 {
        match &self.what {
            What::Whole(_) => PAGE_BYTES as u64,
            What::Part { bytes, .. } => bytes.len() as u64,
            What::ZeroFrom(_) => 0,
        }
    }
}

/// A file's data, volatile and durable.
#[derive(Default)]
pub(crate) struct FileImage {
    pub(super) volatile: Content,
    pub(super) durable: Content,
    /// Changes by page, oldest first.
    pub(super) unsynced: BTreeMap<u64, Vec<Change>>,
    /// Sizes with their epoch, oldest first.
    pub(super) sizes: Vec<(u32, u64)>,
    /// How many truncations that made it shorter are not synced.
    pub(super) epoch: u32,
    /// Epochs before this one can no longer be told apart: changes of theirs were folded into later ones.
    pub(super) epoch_min: u32,
    /// Pages whose fsync failed: readers see them, the disk never gets them, unless they are written again. Linux counts
    /// such pages as clean, so a second fsync succeeds and brings nothing back.
    pub(super) failed: HashSet<u64>,
}

impl FileImage {
    /// A file that is durable as given.
    pub(crate) fn durable(bytes: &[u8]) -> Self {
        let mut content = Content { pages: HashMap::new(), size: bytes.len() as u64 };
        for (number, chunk) in (0..).zip(bytes.chunks(PAGE_BYTES)) {
            if chunk.iter().any(|byte| *byte != 0) {
                let mut page = [0; PAGE_BYTES];
                page[..chunk.len()].copy_from_slice(chunk);
                content.pages.insert(number, Arc::new(page));
            }
        }
        Self { volatile: content.clone(), durable: content, ..Self::default() }
    }

    /// What the disk holds.
    pub(crate) fn durable_bytes(&self) -> Vec<u8> {
        self.durable.read(0, self.durable.size as usize)
    }

    /// Its size as processes see it, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.volatile.size
    }

    /// Pages that it takes as processes see it.
    pub(crate) fn page_count(&self) -> u64 {
        self.volatile.pages.len() as u64
    }

    /// Bytes written and not synced.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.unsynced.values().flatten().map(Change::bytes).sum()
    }

    /// Pages written and not synced.
    pub(crate) fn unsynced_pages(&self) -> u64 {
        self.unsynced.len() as u64
    }

    /// Pages that a failed fsync has lost.
    pub(crate) fn failed_pages(&self) -> u64 {
        self.failed.len() as u64
    }

    /// Reads at most so many bytes.
    pub(crate) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        self.volatile.read(offset, length)
    }

    /// How many of so many bytes fit at this place if the file may take only so many more pages.
    pub(crate) fn room(&self, offset: u64, length: u64, pages_left: u64) -> u64 {
        let mut left = pages_left;
        let mut at = offset;
        while at < offset + length {
            let number = at / PAGE_BYTES as u64;
            if !self.volatile.pages.contains_key(&number) {
                if left == 0 {
                    return at - offset;
                }
                left -= 1;
            }
            at = (number + 1) * PAGE_BYTES as u64;
        }
        length
    }

    /// Writes; nothing of it is durable.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let number = at / PAGE_BYTES as u64;
            let from = (at % PAGE_BYTES as u64) as usize;
            let count = (PAGE_BYTES - from).min(bytes.len() - done);
            self.write_page(number, from, &bytes[done..done + count]);
            done += count;
        }
        self.grow(offset + bytes.len() as u64);
    }

    fn write_page(&mut self, number: u64, from: usize, bytes: &[u8]) {
        let was_failed = self.failed.remove(&number);
        if let Ok(whole) = Page::try_from(bytes) {
            let page = Arc::new(whole);
            self.volatile.pages.insert(number, Arc::clone(&page));
            return self.note(number, false, PAGE_BYTES, What::Whole(page));
        }
        let page = self.volatile.pages.entry(number).or_insert_with(|| Arc::new([0; PAGE_BYTES]));
        Arc::make_mut(page)[from..from + bytes.len()].copy_from_slice(bytes);
        let end = from + bytes.len();
        let (end, what) = if was_failed {
            // The page is dirty again as a whole, with what the failed fsync did not write.
            let size_here = self.volatile.size.saturating_sub(number * PAGE_BYTES as u64);
            (end.max(size_here.min(PAGE_BYTES as u64) as usize), What::Whole(Arc::clone(page)))
        } else {
            (end, What::Part { offset: from, bytes: bytes.into() })
        };
        self.note(number, false, end, what);
    }

    fn note(&mut self, number: u64, barrier: bool, end: usize, what: What) {
        let changes = self.unsynced.entry(number).or_default();
        changes.push(Change { epoch: self.epoch, barrier, end, what });
        if changes.len() <= CHANGES_MAX {
            return;
        }
        // Only states in between are lost by this; the last one and those that are left stay what they are.
        let mut page = self.durable.page(number);
        let (mut barrier, mut end, mut epoch) = (false, 0, 0);
        for change in changes.drain(..CHANGES_MAX / 2) {
            change.apply(&mut page);
            barrier |= change.barrier;
            end = if change.barrier { change.end } else { change.end.max(end) };
            epoch = change.epoch;
        }
        self.epoch_min = self.epoch_min.max(epoch);
        changes.insert(0, Change { epoch, barrier, end, what: What::Whole(Arc::new(page)) });
    }

    /// Makes the file at least so long.
    pub(crate) fn grow(&mut self, size: u64) {
        if size <= self.volatile.size {
            return;
        }
        self.volatile.size = size;
        let of_epoch = |entry: Option<&(u32, u64)>| entry.is_some_and(|(epoch, _)| *epoch == self.epoch);
        let last = self.sizes.len().saturating_sub(1);
        if self.sizes.len() >= SIZES_MAX && of_epoch(self.sizes.get(last)) && of_epoch(self.sizes.get(last - 1)) {
            self.sizes.pop();
        }
        self.sizes.push((self.epoch, size));
    }

    /// Sets the size.
    pub(crate) fn truncate(&mut self, size: u64) {
        if size >= self.volatile.size {
            return self.grow(size);
        }
        self.epoch += 1;
        let pages = size.div_ceil(PAGE_BYTES as u64);
        let mut gone: Vec<u64> = self.volatile.pages.keys().copied().filter(|number| *number >= pages).collect();
        gone.sort_unstable();
        for number in gone {
            self.volatile.pages.remove(&number);
            self.failed.remove(&number);
            self.note(number, true, 0, What::ZeroFrom(0));
        }
        let tail = (size % PAGE_BYTES as u64) as usize;
        if tail != 0
            && let Some(page) = self.volatile.pages.get_mut(&(pages - 1))
        {
            Arc::make_mut(page)[tail..].fill(0);
            self.note(pages - 1, true, tail, What::ZeroFrom(tail));
        }
        self.volatile.size = size;
        self.sizes.push((self.epoch, size));
    }

    /// fsync: what is not synced becomes durable.
    pub(crate) fn sync(&mut self) {
        for number in std::mem::take(&mut self.unsynced).into_keys() {
            self.durable.copy_page(number, &self.volatile);
        }
        self.sync_size();
        (self.epoch, self.epoch_min) = (0, 0);
    }

    /// A write with `O_SYNC` or `O_DSYNC`: this range becomes durable, and the size.
    pub(crate) fn sync_range(&mut self, offset: u64, length: u64) {
        if self.epoch > 0 || length == 0 {
            // A truncation among what is not synced is in the same journal as the size.
            return self.sync();
        }
        for number in offset / PAGE_BYTES as u64..=(offset + length - 1) / PAGE_BYTES as u64 {
            if self.unsynced.remove(&number).is_some() {
                self.durable.copy_page(number, &self.volatile);
            }
        }
        self.sync_size();
    }

    fn sync_size(&mut self) {
        let shorter = self.volatile.size < self.durable.size;
        self.durable.size = self.volatile.size;
        if shorter {
            self.durable.clear_past_end();
        }
        self.sizes.clear();
    }

    /// An fsync failed with EIO: from here on its pages count as clean, though they were never written.
    pub(crate) fn sync_failed(&mut self) {
        for number in std::mem::take(&mut self.unsynced).into_keys() {
            if self.volatile.pages.contains_key(&number) {
                self.failed.insert(number);
            } else {
                self.durable.pages.remove(&number);
            }
        }
        (self.epoch, self.epoch_min) = (0, 0);
        self.sizes.clear();
        self.sizes.push((0, self.volatile.size));
    }

    /// Inverts the bits of one byte in both images, as a disk does that damages what it holds. Says whether there is one.
    pub(crate) fn flip(&mut self, offset: u64) -> bool {
        let (number, at) = (offset / PAGE_BYTES as u64, (offset % PAGE_BYTES as u64) as usize);
        for content in [&mut self.volatile, &mut self.durable] {
            if offset < content.size {
                let page = content.pages.entry(number).or_insert_with(|| Arc::new([0; PAGE_BYTES]));
                Arc::make_mut(page)[at] ^= 0xFF;
            }
        }
        offset < self.durable.size
    }
}
