//! Opening a database without letting the engine destroy it.
//!
//! Where sled's log cannot be read to its end, sled overwrites the rest of that segment and every segment behind it, and only
//! then opens or panics: one damaged byte costs all that was written after it, though it lies intact on the disk. So sled is
//! let at a file only where it has written it up itself and nobody since, or when it has been looked through and a copy
//! stands by. A copy that is found later, since a crash came in between, is a second source for a rescue.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::carve::Carved;
use super::disk::SharedDisk;
use super::generation::{Generation, Identity};
use super::sealed::{ReadLock, Sealed, later_path};
use super::shelf::Shelf;
use super::survey::{self, Survey};
use super::watermark::{self, Watermark};
use super::{ReadError, StoreError, index};

/// The copy that stands by.
pub(super) fn copy_path(dir: &Path) -> PathBuf {
    dir.join("db.before")
}

/// Opens the generation in `dir`. `know_only`: only so many of its events count.
///
/// # Errors
/// [`ReadError::Damaged`] where something is missing, [`StoreError::Unsure`] where the engine would lose what nobody promised
/// to keep; the file is then as it was.
pub(super) fn open(
    dir: &Path,
    identity: &Identity,
    disk: &SharedDisk,
    know_only: Option<u32>,
) -> Result<Generation, StoreError> {
    let engine = || Generation::open(dir, identity.clone(), Arc::clone(disk));
    let io = |what| move |source| StoreError::Io { what, generation: identity.no, source };
    // One that is just being made. Where a crash came amid that, it never held anything.
    if !dir.join("db").try_exists().map_err(io("cannot find the database of"))? {
        return engine();
    }
    if copy_path(dir).exists() {
        return Err(unsure(identity.no, "a crash came while the engine opened it".to_owned()));
    }
    let durable = watermark::read(dir);
    if is_closed_for_good(dir) {
        let lock = ReadLock::take(dir)?;
        let (carved, survey) = look_through(dir, identity, durable, know_only)?;
        if survey.seal.is_some() {
            let sealed = Sealed::new(carved, dir, Arc::clone(disk), lock);
            return Generation::open_sealed(sealed, dir, identity.clone());
        }
    }
    if written_up(dir) {
        return engine();
    }
    let (_, survey) = look_through(dir, identity, durable, know_only)?;
    if let Err(source) = fs::copy(dir.join("db"), copy_path(dir)) {
        let _ = fs::remove_file(copy_path(dir));
        if source.kind() != io::ErrorKind::StorageFull {
            // Without a copy the engine had better not be let at a file on a disk that refuses.
            return Err(io("cannot make a copy of")(source));
        }
        // Nothing is missing, and a full disk gets room by what is delivered from this very generation.
        tracing::debug!(generation = identity.no, error = %source, "a generation is opened without a copy of it");
        return engine();
    }
    match engine().and_then(|generation| lacks_nothing(generation, &survey, durable)) {
        Ok(generation) => {
            fs::remove_file(copy_path(dir)).map_err(io("cannot remove the copy of"))?;
            // One that comes back after a power cut costs the next start a rescue, and nothing else.
            let _ = File::open(dir).and_then(|dir| dir.sync_all());
            Ok(generation)
        }
        // Somebody else has it open: nothing was done to it.
        Err(error @ StoreError::Engine(super::engine::EngineError::InUse { .. })) => {
            let _ = fs::remove_file(copy_path(dir));
            Err(error)
        }
        Err(error) => {
            put_back(dir, disk).map_err(io("cannot put back the copy of"))?;
            Err(error)
        }
    }
}

/// Whether the seal of the generation in `dir` is known to be durable, and all that came before it: these files are only
/// written then.
pub(super) fn is_closed_for_good(dir: &Path) -> bool {
    index::is_there(dir) || later_path(dir).exists()
}

/// The generation in `dir` as its file tells it, only to be read, without the engine and whatever that would do to the file.
///
/// # Errors
/// Where something is missing, which only the engine may tell for sure, or cannot be read.
pub(super) fn open_to_read(dir: &Path, identity: &Identity, know_only: Option<u32>) -> Result<Generation, StoreError> {
    let (carved, _) = look_through(dir, identity, watermark::read(dir), know_only)?;
    if carved.unreadable_bytes > 0 {
        return Err(unsure(identity.no, format!("the disk does not give out {} bytes of it", carved.unreadable_bytes)));
    }
    Generation::over(Shelf::Carved(carved), identity.clone())
}

/// Carves the database in `dir`, and sees whether anything is missing.
fn look_through(
    dir: &Path,
    identity: &Identity,
    durable: Watermark,
    know_only: Option<u32>,
) -> Result<(Carved, Survey), StoreError> {
    let io = |source| StoreError::Io { what: "cannot read", generation: identity.no, source };
    let mut carved = Carved::open(dir, identity.mark).map_err(io)?;
    let survey = survey::survey(&mut carved, durable, know_only).map_err(io)?;
    let loss = survey.loss();
    if loss.is_none() { Ok((carved, survey)) } else { Err(damaged(identity.no, &loss.to_string())) }
}

/// Whether the engine has written a snapshot of the whole log, and nothing after it: then it reads no log when it opens.
fn written_up(dir: &Path) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    let snapshots = || -> io::Result<Option<SystemTime>> {
        let mut newest = None;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with("snap.") {
                newest = newest.max(changed(&entry.path()));
            }
        }
        Ok(newest)
    };
    let (db, snapshot) = (changed(&dir.join("db")), snapshots().ok().flatten());
    matches!((db, snapshot), (Some(db), Some(snapshot)) if db < snapshot)
}

fn lacks_nothing(generation: Generation, survey: &Survey, durable: Watermark) -> Result<Generation, StoreError> {
    let (events, state_packs) = (generation.events(), generation.state_packs());
    if events >= survey.events_end && state_packs >= survey.state_packs_end {
        return Ok(generation);
    }
    let what = format!(
        "the engine has {events} of {} events and {state_packs} of {} packs of delivery states",
        survey.events_end, survey.state_packs_end
    );
    // What a power cut tore was never acknowledged; that more of it is there than the engine knows is no damage.
    let promised = events < durable.events || state_packs < durable.state_packs;
    Err(if promised { damaged(generation.no(), &what) } else { unsure(generation.no(), what) })
}

/// Undoes what the engine did to its file. Its snapshots tell of the file that it left behind, so they go.
///
/// Only here is the copy made durable: that takes a while, and is for nothing as long as the engine does no harm.
fn put_back(dir: &Path, disk: &SharedDisk) -> io::Result<()> {
    disk.sync_data(&File::open(copy_path(dir))?)?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            fs::remove_file(entry.path())?;
        }
    }
    fs::rename(copy_path(dir), dir.join("db"))?;
    File::open(dir)?.sync_all()
}

fn unsure(generation: u32, what: String) -> StoreError {
    StoreError::Unsure { generation, what }
}

fn damaged(no: u32, what: &str) -> StoreError {
    ReadError::Damaged(format!("generation {no}: {what}")).into()
}
