//! The faults that are not a power cut: a full disk, an fsync that fails, a read that fails.

use rustix::io::Errno;

use crate::image::{Answer, Ino, PAGE_BYTES, Tree};

/// Whether the disk is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Space {
    /// As much as the capacity says.
    #[default]
    Free,
    /// Nothing more can be written.
    Full,
    /// So many more bytes can be written, whatever is freed meanwhile.
    Bytes(u64),
}

/// Whether an fsync fails with EIO.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Failing {
    #[default]
    Never,
    /// The next one does.
    Once,
    Always,
}

impl Failing {
    /// Whether this one does.
    fn strikes(&mut self) -> bool {
        let strikes = *self != Self::Never;
        if *self == Self::Once {
            *self = Self::Never;
        }
        strikes
    }
}

/// The faults that are set.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Bytes that all files together may take, in whole pages; 0 for no bound.
    pub(crate) capacity_bytes: u64,
    pub(crate) space: Space,
    /// statfs does not tell of `space`, as where a quota is full and not the disk.
    pub(crate) space_hidden: bool,
    pub(crate) fsync: Failing,
    pub(crate) reads_fail: bool,
    /// How often ENOSPC was answered.
    pub(crate) enospc: u64,
    /// How many fsyncs failed.
    pub(crate) fsyncs_failed: u64,
    /// How many reads failed.
    pub(crate) reads_failed: u64,
}

impl Faults {
    /// How many of so many bytes may be written at this place, and counts them; ENOSPC where none.
    pub(crate) fn take_room(&mut self, tree: &Tree, ino: Ino, offset: u64, length: u64) -> Answer<u64> {
        let mut room = match self.space {
            Space::Free => length,
            Space::Full => 0,
            Space::Bytes(left) => left.min(length),
        };
        if self.capacity_bytes > 0 {
            room = room.min(tree.file(ino)?.room(offset, length, self.pages_left(tree)));
        }
        if room == 0 && length > 0 {
            self.enospc += 1;
            return Err(Errno::NOSPC);
        }
        if let Space::Bytes(left) = &mut self.space {
            *left -= room.min(*left);
        }
        Ok(room)
    }

    /// ENOSPC where there is no room for another name.
    pub(crate) fn room_for_name(&mut self, tree: &Tree) -> Answer<()> {
        let full = self.capacity_bytes > 0 && self.pages_left(tree) == 0;
        if full || matches!(self.space, Space::Full | Space::Bytes(0)) {
            self.enospc += 1;
            return Err(Errno::NOSPC);
        }
        Ok(())
    }

    /// EIO where this fsync is to fail.
    pub(crate) fn fsync(&mut self) -> Answer<()> {
        if self.fsync.strikes() {
            self.fsyncs_failed += 1;
            return Err(Errno::IO);
        }
        Ok(())
    }

    /// EIO where this read is to fail.
    pub(crate) fn read(&mut self) -> Answer<()> {
        if self.reads_fail {
            self.reads_failed += 1;
            return Err(Errno::IO);
        }
        Ok(())
    }

    /// Pages of the disk, and those of them that are free.
    pub(crate) fn pages(&self, tree: &Tree) -> (u64, u64) {
        let free = match self.space {
            _ if self.space_hidden => u64::MAX,
            Space::Free => u64::MAX,
            Space::Full => 0,
            Space::Bytes(left) => left / PAGE_BYTES as u64,
        };
        (self.pages_max(), self.pages_left(tree).min(free))
    }

    fn pages_max(&self) -> u64 {
        /// What a disk without a bound says of itself, in bytes.
        const UNBOUNDED_BYTES: u64 = 64 << 30;
        let bytes = if self.capacity_bytes > 0 { self.capacity_bytes } else { UNBOUNDED_BYTES };
        bytes / PAGE_BYTES as u64
    }

    fn pages_left(&self, tree: &Tree) -> u64 {
        self.pages_max().saturating_sub(tree.used_pages())
    }
}
