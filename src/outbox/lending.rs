//! Opening generations and handing them out; `recent.rs` tells which stay open. Where the engine cannot open one since the
//! disk refuses, it is read without the engine until the disk works again.

use std::fs;
use std::io::{self, Write};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::engine::EngineError;
use super::generation::{Generation, Identity};
use super::rescue::Doubt;
use super::slot::Slot;
use super::store::{Store, is_gone};
use super::{EngineFailure, ReadError, StoreError, caution};

/// How often a generation is tried that another thread is just closing, and the pause between.
const CLOSING_TRIES: u32 = 200;
const CLOSING_PAUSE: Duration = Duration::from_millis(10);
/// How often one generation is rescued before it is left alone until the next start.
pub(super) const RESCUES_MAX: u32 = 3;

impl Store {
    /// Opens a generation, or hands out the one that is open. Call it on a thread that may wait for the disk.
    ///
    /// # Errors
    /// [`StoreError::InDoubt`] where it is damaged: the writer mends it before long.
    pub(super) fn open(&self, slot: &Slot) -> Result<Arc<Generation>, StoreError> {
        self.open_or_make(slot, false)
    }

    /// Makes a generation, and opens it. Only here does an empty one come to be: where one that was there is opened again, an
    /// empty one in its place would hide that it is gone.
    pub(super) fn make(&self, slot: &Slot) -> Result<Arc<Generation>, StoreError> {
        self.open_or_make(slot, true)
    }

    fn open_or_make(&self, slot: &Slot, make: bool) -> Result<Arc<Generation>, StoreError> {
        let no = slot.no();
        let mut handle = slot.handle();
        if handle.gone {
            return Err(StoreError::Gone);
        }
        if handle.doubt.is_some() {
            return Err(StoreError::InDoubt { generation: no });
        }
        if let Some(generation) = handle.generation.upgrade().filter(|generation| !generation.failed()) {
            drop(handle);
            self.touch(&generation);
            return Ok(generation);
        }
        self.recent().forget(no);
        let generation = match self.open_anew(no, handle.know_only, make) {
            Ok(generation) => Arc::new(generation),
            Err(error) if handle.rescues < RESCUES_MAX && self.is_damage(&error) => {
                let keep = !matches!(error, StoreError::Unsure { .. });
                handle.doubt = Some(Doubt { what: error.to_string(), know_only: handle.know_only, keep });
                return Err(StoreError::InDoubt { generation: no });
            }
            Err(error) if make => return Err(error),
            // On a disk that refuses what is there can be read all the same; the writer lets go of it when the disk works.
            Err(error) => match self.open_to_read(no, handle.know_only) {
                Some(generation) => {
                    tracing::debug!(generation = no, %error, "a generation is only read while the disk refuses");
                    Arc::new(generation)
                }
                None => return Err(error),
            },
        };
        if let Some(events) = handle.know_only {
            generation.know_only(events);
        }
        handle.generation = Arc::downgrade(&generation);
        drop(handle);
        self.touch(&generation);
        Ok(generation)
    }

    fn open_anew(&self, no: u32, know_only: Option<u32>, make: bool) -> Result<Generation, StoreError> {
        let dir = self.folder.generation(no);
        if !make && is_gone(&dir) {
            return Err(StoreError::Missing { generation: no });
        }
        if !make && is_gone(&dir.join("db")) {
            let source = io::ErrorKind::NotFound.into();
            return Err(EngineError::Io { what: "cannot find", path: dir.join("db"), source }.into());
        }
        let identity = self.identity(no);
        let mut tries = 0;
        loop {
            match caution::open(&dir, &identity, &self.disk, know_only) {
                // The last user may be closing it just now: sled holds its lock until it has.
                Err(StoreError::Engine(EngineError::InUse { .. })) if tries < CLOSING_TRIES => {
                    tries += 1;
                    std::thread::sleep(CLOSING_PAUSE);
                }
                other => return other,
            }
        }
    }

    pub(super) fn identity(&self, no: u32) -> Identity {
        Identity { no, mark: self.folder.mark(), roster: Arc::clone(&self.roster) }
    }

    fn open_to_read(&self, no: u32, know_only: Option<u32>) -> Option<Generation> {
        let dir = self.folder.generation(no);
        if !dir.join("db").exists() || self.disk_works() {
            return None;
        }
        let opened = caution::open_to_read(&dir, &self.identity(no), know_only);
        opened.inspect_err(|error| tracing::debug!(generation = no, %error, "nor can a generation be read")).ok()
    }

    /// Lets go of generations that are only read, once the disk works: their next use opens them to be written to.
    pub(super) fn let_go_of_read_only(&self) {
        let open = self.recent().read_only();
        if !open.is_empty() && self.disk_works() {
            for no in open {
                self.forget(no, None);
            }
        }
    }

    /// Reads in a generation; `None` where it was removed meanwhile. Damage that is met puts it in doubt. One that is in doubt
    /// already is read off its file where that lacks nothing: what a crash tore may be more than the engine wants to see.
    pub(super) fn read<T>(
        &self,
        slot: &Slot,
        act: impl FnOnce(&Arc<Generation>) -> Result<T, ReadError>,
    ) -> Result<Option<T>, StoreError> {
        let opened = self.open(slot);
        if matches!(opened, Err(StoreError::InDoubt { .. }))
            && let Some(generation) = self.read_in_doubt(slot)
        {
            return Ok(Some(act(&Arc::new(generation))?));
        }
        self.read_opened(slot, opened, act)
    }

    /// As [`Store::read`], but one that is in doubt has to be mended first.
    pub(super) fn read_sound<T>(
        &self,
        slot: &Slot,
        act: impl FnOnce(&Arc<Generation>) -> Result<T, ReadError>,
    ) -> Result<Option<T>, StoreError> {
        self.read_opened(slot, self.open(slot), act)
    }

    fn read_opened<T>(
        &self,
        slot: &Slot,
        opened: Result<Arc<Generation>, StoreError>,
        act: impl FnOnce(&Arc<Generation>) -> Result<T, ReadError>,
    ) -> Result<Option<T>, StoreError> {
        let generation = match opened {
            Ok(generation) => generation,
            Err(StoreError::Gone) => return Ok(None),
            Err(error) => return Err(error),
        };
        let read = act(&generation);
        // Whoever opens it anew holds the handle's lock and waits until nobody has it open any more.
        let known = Arc::downgrade(&generation);
        drop(generation);
        read.map(Some).map_err(|error| {
            let error = StoreError::from(error);
            let mut handle = slot.handle();
            // What was read may have been mended meanwhile: then another stands in its place, and nothing is known of that.
            if handle.generation.ptr_eq(&known) && handle.rescues < RESCUES_MAX && self.is_damage(&error) {
                let doubt = Doubt { what: error.to_string(), know_only: handle.know_only, keep: true };
                handle.doubt.get_or_insert(doubt);
                return StoreError::InDoubt { generation: slot.no() };
            }
            error
        })
    }

    /// A generation that is in doubt, as its file tells it, where that lacks nothing: until it is mended.
    fn read_in_doubt(&self, slot: &Slot) -> Option<Generation> {
        let know_only = slot.handle().know_only;
        let generation =
            caution::open_to_read(&self.folder.generation(slot.no()), &self.identity(slot.no()), know_only).ok()?;
        if let Some(events) = know_only {
            generation.know_only(events);
        }
        Some(generation)
    }

    /// Whether an error tells of damage to a generation, and not of a disk that refuses everything for a while.
    fn is_damage(&self, error: &StoreError) -> bool {
        let suspect = match error {
            StoreError::Read(ReadError::Damaged(_)) | StoreError::Unsure { .. } | StoreError::Missing { .. } => true,
            StoreError::Engine(error) => error.suggests_damage(),
            StoreError::Read(ReadError::Engine(EngineFailure(error))) => error.suggests_damage(),
            _ => false,
        };
        suspect && self.disk_works()
    }

    /// Tries whether something small can be written and synced.
    pub(super) fn disk_works(&self) -> bool {
        let probe = self.folder.dir().join("outbox").join("probe");
        let tried = self.disk.before_write().and_then(|()| fs::File::create(&probe)).and_then(|mut file| {
            file.write_all(&[0; 4096])?;
            self.disk.sync_data(&file)
        });
        let _ = fs::remove_file(&probe);
        tried.is_ok()
    }

    /// Lets go of an open generation that failed: the next use opens it anew, and where an fsync failed it is written anew
    /// first. `know_only`: only so many of its events count.
    pub(super) fn forget(&self, no: u32, know_only: Option<u32>) {
        if let Some(slot) = self.slot(no) {
            let mut handle = slot.handle();
            let torn = handle.generation.upgrade().is_some_and(|generation| generation.torn());
            handle.generation = Weak::new();
            handle.know_only = handle.know_only.or(know_only);
            if torn {
                let what = "an fsync of it failed".to_owned();
                let doubt = Doubt { what, know_only: handle.know_only, keep: false };
                handle.doubt.get_or_insert(doubt);
            }
        }
        self.recent().forget(no);
    }

    /// Whether a generation is open.
    pub(super) fn is_open(&self, no: u32) -> bool {
        self.slot(no).is_some_and(|slot| slot.handle().generation.strong_count() > 0)
    }

    /// Closes every generation that nobody else holds.
    pub(super) fn close_all(&self) {
        self.recent().clear();
    }

    fn touch(&self, generation: &Arc<Generation>) {
        let unused = self.recent().touch(generation);
        unused.into_iter().for_each(|generation| self.close(generation));
    }

    /// Closes what the engine takes a while for, and is not in use any more.
    pub(super) fn close_leaving(&self) {
        let leaving = self.recent().take_leaving();
        leaving.into_iter().for_each(|generation| self.close(generation));
    }

    /// Lets go of a generation that is not among those in use any more. What was written lazily becomes durable before it
    /// closes.
    pub(super) fn close(&self, generation: Arc<Generation>) {
        if Arc::strong_count(&generation) == 1
            && let Err(error) = generation.sync()
        {
            tracing::warn!(generation = generation.no(), %error, "a generation could not be synced when it was closed");
            self.forget(generation.no(), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::RealDisk;
    use super::super::folder::Folder;
    use super::super::roll::Roll;
    use super::super::slot::{Ids, Life};
    use super::*;
    use crate::clock::UnixMs;
    use crate::model::roster::Roster;
    use crate::observe::Metrics;
    use std::collections::HashMap;
    use std::sync::mpsc;

    #[test]
    fn removing_a_generation_that_is_just_being_opened_waits_and_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let (roll, _) = Roll::open(&folder, &[]);
        let store = Store::new(folder, roll, Roster::shared(), RealDisk::shared(), Metrics::shared());
        let store = Arc::new(store);
        for no in [1, 2] {
            let slot = Slot::new(no, Ids::Live(HashMap::new()), Life::unknown(UnixMs(0)));
            store.make(&slot).unwrap();
            store.add(slot);
        }
        let slot = store.slot(1).unwrap();
        let opening = slot.handle();
        let (told, tells) = mpsc::channel();
        let removing = {
            let store = Arc::clone(&store);
            std::thread::spawn(move || store.remove(1))
        };
        let looking = {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                while store.slot(1).is_some() {
                    std::thread::sleep(CLOSING_PAUSE);
                }
                told.send(store.slot(2).is_some()).unwrap();
            })
        };
        assert_eq!(tells.recv_timeout(Duration::from_secs(10)), Ok(true), "the slots can be asked for meanwhile");
        assert!(!removing.is_finished());
        drop(opening);
        removing.join().unwrap().unwrap();
        looking.join().unwrap();
        assert!(matches!(store.open(&slot), Err(StoreError::Gone)));
    }
}
