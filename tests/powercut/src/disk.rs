//! The disk as its users and its control socket see it: the model, whether the power is on, the faults, the counters.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fuser::FileType;
use rustix::io::Errno;
use serde::Serialize;

use crate::faults::Faults;
use crate::image::{Answer, CutMode, CutReport, Ino, Node, Random, Tree};

/// Between the seeds of two cuts.
const SEED_STEP: u64 = 0x9E37_79B9;

/// A power cut at a later operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Armed {
    /// At the so-manieth changing operation from now.
    pub(crate) operations: u64,
    pub(crate) mode: CutMode,
    /// Counting begins once a directory has been made.
    pub(crate) after_mkdir: bool,
}

/// How often what was done.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Counts {
    pub(crate) fsyncs: u64,
    pub(crate) fsyncs_of_directories: u64,
    pub(crate) writes: u64,
    pub(crate) writes_synced: u64,
    pub(crate) bytes_written: u64,
    pub(crate) bytes_read: u64,
    pub(crate) name_changes: u64,
    /// Calls that found the power off.
    pub(crate) refused_in_cut: u64,
}

/// An entry of a directory's listing.
pub(crate) type Listed = (Ino, FileType, OsString);

/// Everything behind the one lock.
pub(crate) struct State {
    pub(crate) tree: Tree,
    pub(crate) faults: Faults,
    pub(crate) counts: Counts,
    pub(crate) armed: Option<Armed>,
    pub(crate) power_off: bool,
    /// Cuts since the seed was set.
    pub(crate) cuts: u64,
    pub(crate) seed: u64,
    pub(crate) last_cut: CutReport,
    /// What was listed when a directory was opened, by handle.
    pub(crate) listings: HashMap<u64, Vec<Listed>>,
    pub(crate) next_listing: u64,
}

impl State {
    /// EIO while the power is off.
    pub(crate) fn powered(&mut self) -> Answer<()> {
        if self.power_off {
            self.counts.refused_in_cut += 1;
            return Err(Errno::IO);
        }
        Ok(())
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats {
            power: if self.power_off { "off" } else { "on" },
            cuts: self.cuts,
            seed: self.seed,
            strict_dirs: self.tree.rules().strict_dirs,
            ordered: self.tree.rules().ordered,
            counts: self.counts,
            enospc: self.faults.enospc,
            fsyncs_failed: self.faults.fsyncs_failed,
            reads_failed: self.faults.reads_failed,
            used_pages: self.tree.used_pages(),
            unsynced_names: self.tree.unsynced_names(),
            last_cut: self.last_cut,
            ..Stats::default()
        };
        for inode in self.tree.inodes() {
            match &inode.node {
                Node::File(file) => {
                    if inode.links > 0 {
                        stats.files += 1;
                        stats.bytes += file.size();
                    } else {
                        stats.files_unlinked += 1;
                    }
                    stats.unsynced_bytes += file.unsynced_bytes();
                    stats.unsynced_pages += file.unsynced_pages();
                    stats.failed_pages += file.failed_pages();
                }
                Node::Directory { .. } => stats.directories += u64::from(inode.links > 0),
                Node::Symlink(_) => {}
            }
        }
        stats
    }
}

/// What `stats` answers.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Stats {
    power: &'static str,
    cuts: u64,
    seed: u64,
    strict_dirs: bool,
    ordered: bool,
    #[serde(flatten)]
    counts: Counts,
    enospc: u64,
    fsyncs_failed: u64,
    reads_failed: u64,
    files: u64,
    /// Files without a name that are still open, or that a power cut might bring back.
    files_unlinked: u64,
    directories: u64,
    bytes: u64,
    used_pages: u64,
    unsynced_bytes: u64,
    unsynced_pages: u64,
    unsynced_names: u64,
    failed_pages: u64,
    last_cut: CutReport,
}

/// Inodes whose pages the kernel has to drop from its cache, and whom to tell once it has.
pub(crate) struct Forget {
    pub(crate) inodes: Vec<Ino>,
    pub(crate) done: Option<Sender<()>>,
}

/// The disk.
pub(crate) struct Disk {
    state: Mutex<State>,
    power_changed: Condvar,
    forget: Mutex<Sender<Forget>>,
    /// How long each fsync takes.
    pub(crate) fsync_delay: Duration,
}

impl Disk {
    /// A disk that is on. The receiver gets what the kernel has to forget.
    pub(crate) fn new(tree: Tree, seed: u64, faults: Faults, fsync_delay: Duration) -> (Arc<Self>, Receiver<Forget>) {
        let (sender, receiver) = channel();
        let state = State {
            tree,
            faults,
            counts: Counts::default(),
            armed: None,
            power_off: false,
            cuts: 0,
            seed,
            last_cut: CutReport::default(),
            listings: HashMap::new(),
            next_listing: 1,
        };
        let disk =
            Self { state: Mutex::new(state), power_changed: Condvar::new(), forget: Mutex::new(sender), fsync_delay };
        (Arc::new(disk), receiver)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the kernel forget its pages of these inodes. Another thread does that: the kernel may have to wait for requests
    /// that this one still has to answer.
    pub(crate) fn forget(&self, inodes: Vec<Ino>, done: Option<Sender<()>>) {
        // The receiver lives as long as the mount; after it the kernel has nothing to forget.
        let _ = self.forget.lock().unwrap_or_else(PoisonError::into_inner).send(Forget { inodes, done });
    }

    /// Cuts the power, unless it is off.
    pub(crate) fn cut(&self, state: &mut State, mode: CutMode, done: Option<Sender<()>>) {
        state.armed = None;
        if state.power_off {
            return;
        }
        let mut random = Random::new(state.seed.wrapping_add(state.cuts.wrapping_mul(SEED_STEP)));
        let (report, inodes) = state.tree.cut(&mut random, mode);
        state.power_off = true;
        state.cuts += 1;
        state.last_cut = report;
        self.forget(inodes, done);
        self.power_changed.notify_all();
    }

    /// Called once a changing operation was done and before it is answered. EIO where it was the one at which the power goes.
    pub(crate) fn count_operation(&self, state: &mut State, mkdir: bool) -> Answer<()> {
        let Some(armed) = &mut state.armed else { return Ok(()) };
        armed.after_mkdir &= !mkdir;
        if armed.after_mkdir {
            return Ok(());
        }
        armed.operations = armed.operations.saturating_sub(1);
        if armed.operations > 0 {
            return Ok(());
        }
        let mode = armed.mode;
        self.cut(state, mode, None);
        Err(Errno::IO)
    }

    /// Waits until the power is off; `None` if it is not by then.
    pub(crate) fn wait_for_cut(&self, limit: Duration) -> Option<CutReport> {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        while !state.power_off {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.power_changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(state.last_cut)
    }
}
