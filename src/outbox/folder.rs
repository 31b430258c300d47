//! The data folder: its marker, its lock, its subfolders.
//!
//! ```text
//! <dir>/FORMAT                     what this folder is, of which version, and its mark (see frame.rs)
//! <dir>/FORMAT.begun               in its place until a new folder has all that is missed once it is gone
//! <dir>/FORMAT.import              in its place while an import is under way (offline/import.rs)
//! <dir>/LOCK                       locked while a daemon uses the folder
//! <dir>/endpoints                  what endpoints or operators asked for (paused, disabled)
//! <dir>/generations                which generations there must be (roll.rs)
//! <dir>/outbox/00000001/           a generation
//! <dir>/outbox/00000001.rescued/   being written in its place (rescue.rs)
//! <dir>/outbox/00000001.damaged/   set aside, with a report; never removed
//! <dir>/outbox/00000001.removed/   on its way out
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::damage::{self, Damage, Loss};
use super::frame::Mark;
use super::{OpenError, engine, lock, marker, private};
use crate::clock::UnixMs;

/// How FORMAT is named until a new folder is made: where FORMAT is, what else must be there is missed.
const FORMAT_BEGUN: &str = "FORMAT.begun";
/// How FORMAT is named while an import is under way: without FORMAT nobody takes half a store for a whole one.
const FORMAT_OF_IMPORT: &str = "FORMAT.import";
/// How a generation is named while it is being removed: a crash in between leaves a name that the next start removes.
const REMOVED: &str = "removed";
/// How what takes a damaged generation's place is named until it does.
const RESCUED: &str = "rescued";
/// How a generation is named that was set aside.
const DAMAGED: &str = "damaged";
/// Most folders of one generation that are set aside; the last one is replaced.
const ASIDE_MAX: u32 = 100;

/// The locked data folder.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    mark: Mark,
    /// Whether it has no FORMAT yet.
    new: bool,
    /// Locked until it is let go.
    lock: Mutex<Option<File>>,
}

impl Folder {
    /// Opens or makes the folder and locks it. One that is refused stays as it was. A new one counts as one only from
    /// [`Folder::establish`] on.
    pub(super) fn open(dir: &Path) -> Result<Self, OpenError> {
        let io = |what| {
            let path = dir.to_path_buf();
            move |source| OpenError::Io { what, path, source }
        };
        let outbox = dir.join("outbox");
        fs::create_dir_all(dir).map_err(io("cannot create the data folder"))?;
        // Before the lock, which is a file of its own.
        inspect(dir)?;
        let lock = lock::to_write(dir)?;
        // And after it: another daemon may have made the folder meanwhile.
        let known = inspect(dir)?;
        let mark = match known {
            Some(mark) => mark,
            None => {
                let mark = marker::draw()?;
                write_durably(&dir.join(FORMAT_BEGUN), marker::text(mark).as_bytes())
                    .map_err(io("cannot write to the data folder"))?;
                fs::create_dir_all(&outbox).map_err(io("cannot create outbox in the data folder"))?;
                mark
            }
        };
        private::keep(&outbox);
        for synced in [Some(dir), dir.parent().filter(|parent| !parent.as_os_str().is_empty())].into_iter().flatten() {
            // A parent that may not be read cannot be synced; it was there before this program was.
            if let Err(error) = engine::sync_dir(synced)
                && synced == dir
            {
                return Err(OpenError::Engine(error.to_string()));
            }
        }
        Ok(Self { dir: dir.to_path_buf(), mark, new: known.is_none(), lock: Mutex::new(Some(lock)) })
    }

    /// Whether it is just being made.
    pub(super) fn is_new(&self) -> bool {
        self.new
    }

    /// Makes a new folder count, once all is in it that is missed when it is gone.
    pub(super) fn establish(&self) -> io::Result<()> {
        fs::rename(self.dir.join(FORMAT_BEGUN), self.dir.join("FORMAT"))?;
        File::open(&self.dir)?.sync_all()
    }

    /// Opens a folder that is there, only to read it: nothing in it is changed. Where FORMAT is gone or damaged the mark is
    /// taken from another file; then it is told what is wrong with FORMAT.
    pub(super) fn open_to_read(dir: &Path) -> Result<(Self, Option<String>), OpenError> {
        let read = match fs::read(dir.join("FORMAT")) {
            Ok(bytes) => match marker::parse(dir, &bytes) {
                Ok(mark) => Ok(mark),
                Err(error @ OpenError::Version { .. }) => return Err(error),
                Err(_) => Err("it cannot be read".to_owned()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err("it is gone".to_owned()),
            Err(source) => {
                let what = "cannot read FORMAT in the data folder";
                return Err(OpenError::Io { what, path: dir.to_path_buf(), source });
            }
        };
        if read.is_err() && dir.join(FORMAT_OF_IMPORT).exists() {
            return Err(OpenError::HalfMade { dir: dir.to_path_buf() });
        }
        let (mark, fault) = match read {
            Ok(mark) => (mark, None),
            Err(fault) => {
                let found = "no file in it tells that it is one".to_owned();
                let wrong = || OpenError::Format { dir: dir.to_path_buf(), found };
                (marker::in_records(dir).ok_or_else(wrong)?, Some(fault))
            }
        };
        Ok((Self { dir: dir.to_path_buf(), mark, new: false, lock: Mutex::new(lock::to_read(dir)?) }, fault))
    }

    /// Makes a folder to import into, which must be new or empty, and locks it. It is no data folder before
    /// [`Folder::finish_import`].
    pub(super) fn begin_import(dir: &Path) -> Result<Self, OpenError> {
        let io = |what| {
            let path = dir.to_path_buf();
            move |source| OpenError::Io { what, path, source }
        };
        fs::create_dir_all(dir).map_err(io("cannot create the data folder"))?;
        if dir.join(FORMAT_OF_IMPORT).exists() {
            return Err(OpenError::HalfMade { dir: dir.to_path_buf() });
        }
        for entry in fs::read_dir(dir).map_err(io("cannot read the data folder"))? {
            let name = entry.map_err(io("cannot read the data folder"))?.file_name();
            if !may_stand_beside(&name.to_string_lossy()) {
                let found = name.to_string_lossy().into_owned();
                return Err(OpenError::NotEmpty { dir: dir.to_path_buf(), found });
            }
        }
        let mark = marker::draw()?;
        // The first thing written, so that what is left of an import that broke off says what it is.
        write_durably(&dir.join(FORMAT_OF_IMPORT), marker::text(mark).as_bytes())
            .map_err(io("cannot write to the data folder"))?;
        let lock = lock::to_write(dir)?;
        fs::create_dir(dir.join("outbox")).map_err(io("cannot create outbox in the data folder"))?;
        Ok(Self { dir: dir.to_path_buf(), mark, new: false, lock: Mutex::new(Some(lock)) })
    }

    /// The last act of an import: from here on it is a data folder.
    pub(super) fn finish_import(&self) -> io::Result<()> {
        self.sync()?;
        File::open(&self.dir)?.sync_all()?;
        fs::rename(self.dir.join(FORMAT_OF_IMPORT), self.dir.join("FORMAT"))?;
        File::open(&self.dir)?.sync_all()?;
        // A parent that may not be read cannot be synced; `Folder::open` goes by the same rule.
        if let Some(parent) = self.dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let _ = File::open(parent).and_then(|parent| parent.sync_all());
        }
        Ok(())
    }

    /// Lets another daemon have the folder.
    pub(super) fn unlock(&self) {
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What every value in the folder begins with.
    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    /// The folder itself.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder of a generation.
    pub(super) fn generation(&self, no: u32) -> PathBuf {
        self.outbox().join(format!("{no:08}"))
    }

    /// Where a generation is written that takes a damaged one's place.
    pub(super) fn rescued(&self, no: u32) -> PathBuf {
        self.generation(no).with_extension(RESCUED)
    }

    /// Where endpoint states are kept.
    pub(super) fn endpoints(&self) -> PathBuf {
        self.dir.join("endpoints")
    }

    /// Where the roll of the generations is kept.
    pub(super) fn roll(&self) -> PathBuf {
        self.dir.join("generations")
    }

    /// Puts right what a crash left half done of a rescue: what was saved from damage takes its place.
    pub(super) fn tidy(&self) -> io::Result<()> {
        for (path, no, extension) in self.entries()? {
            match extension.as_str() {
                // The damaged one goes first, and only when what was saved of it is durable.
                RESCUED if !self.generation(no).exists() => {
                    fs::rename(path, self.generation(no))?;
                    self.sync()?;
                }
                RESCUED => fs::remove_dir_all(path)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The generations that were being removed when the process ended.
    pub(super) fn half_removed(&self) -> io::Result<Vec<u32>> {
        let entries = self.entries()?.into_iter();
        Ok(entries.filter(|(.., extension)| extension == REMOVED).map(|(_, no, _)| no).collect())
    }

    /// The generations that are there, oldest first.
    pub(super) fn generations(&self) -> io::Result<Vec<u32>> {
        let mut found: Vec<u32> =
            self.entries()?.into_iter().filter(|(.., extension)| extension.is_empty()).map(|(_, no, _)| no).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// The generations as the next start finds them, oldest first, each with its folder: a rescue that a crash cut short
    /// just before its end counts.
    pub(super) fn places(&self) -> io::Result<Vec<(u32, PathBuf)>> {
        let mut places: Vec<_> = self
            .entries()?
            .into_iter()
            .filter(|(_, no, extension)| {
                extension.is_empty() || (extension == RESCUED && !self.generation(*no).exists())
            })
            .map(|(path, no, _)| (no, path))
            .collect();
        places.sort_unstable();
        Ok(places)
    }

    /// What a crash left half done and the next start clears away.
    pub(super) fn leftovers(&self) -> io::Result<Vec<PathBuf>> {
        let mut left: Vec<_> = self
            .entries()?
            .into_iter()
            .filter(|(_, no, extension)| {
                extension == REMOVED || (extension == RESCUED && self.generation(*no).exists())
            })
            .map(|(path, ..)| path)
            .collect();
        left.sort_unstable();
        Ok(left)
    }

    /// Whether a generation has no more than what the engine makes before its database.
    pub(super) fn is_half_made(&self, no: u32) -> bool {
        let early = |entry: io::Result<fs::DirEntry>| {
            entry.is_ok_and(|entry| entry.file_name() == "conf" || entry.file_name() == "blobs")
        };
        fs::read_dir(self.generation(no)).is_ok_and(|mut entries| entries.all(early))
    }

    /// What was set aside and is still there.
    pub(super) fn damages(&self) -> io::Result<Vec<Damage>> {
        let aside = self.entries()?.into_iter().filter(|(.., extension)| extension.starts_with(DAMAGED));
        let mut damages: Vec<Damage> = aside
            .map(|(folder, generation, _)| {
                damage::read(&folder).unwrap_or(Damage {
                    generation,
                    at: UnixMs(0),
                    what: "its report is missing".to_owned(),
                    loss: Loss { unknown: true, ..Loss::default() },
                    folder,
                })
            })
            .collect();
        damages.sort_by(|a, b| a.folder.cmp(&b.folder));
        Ok(damages)
    }

    /// Removes a generation whole.
    pub(super) fn remove_generation(&self, no: u32) -> io::Result<()> {
        self.empty_generation(no)?;
        self.remove_emptied(no)
    }

    /// Removes all that a generation holds. An empty folder tells of it until [`Folder::remove_emptied`].
    pub(super) fn empty_generation(&self, no: u32) -> io::Result<()> {
        let to = self.move_away(no)?;
        self.sync()?;
        for entry in fs::read_dir(&to)? {
            let path = entry?.path();
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        Ok(())
    }

    /// Removes what is left of a generation that was removed.
    pub(super) fn remove_emptied(&self, no: u32) -> io::Result<()> {
        fs::remove_dir_all(self.generation(no).with_extension(REMOVED))?;
        self.sync()
    }

    /// Puts what was rescued in the place of a generation, which is set aside, or goes where nothing of it is missing.
    /// Tells where it lies.
    pub(super) fn replace_generation(&self, no: u32, set_aside: bool) -> io::Result<Option<PathBuf>> {
        let aside = if set_aside { Some(self.set_aside(no)?) } else { None };
        let removed = if set_aside { None } else { Some(self.move_away(no)?) };
        fs::rename(self.rescued(no), self.generation(no))?;
        self.sync()?;
        if let Some(removed) = removed {
            fs::remove_dir_all(removed)?;
        }
        Ok(aside)
    }

    /// Makes an empty folder that stands for a generation that is gone, to keep its report in.
    pub(super) fn stand_in(&self, no: u32) -> io::Result<PathBuf> {
        let aside = self.free_aside(no);
        fs::create_dir_all(&aside)?;
        self.sync()?;
        Ok(aside)
    }

    /// Bytes that a generation takes on disk, and how many blob files it has.
    pub(super) fn measure_generation(&self, no: u32) -> (u64, u64) {
        measure(&self.generation(no))
    }

    fn set_aside(&self, no: u32) -> io::Result<PathBuf> {
        let aside = self.free_aside(no);
        fs::rename(self.generation(no), &aside)?;
        Ok(aside)
    }

    fn free_aside(&self, no: u32) -> PathBuf {
        let plain = self.generation(no).with_extension(DAMAGED);
        let numbered = (2..ASIDE_MAX).map(|n| self.generation(no).with_extension(format!("{DAMAGED}-{n}")));
        let mut names = std::iter::once(plain.clone()).chain(numbered);
        names.find(|path| !path.exists()).unwrap_or(plain)
    }

    fn move_away(&self, no: u32) -> io::Result<PathBuf> {
        let from = self.generation(no);
        let to = from.with_extension(REMOVED);
        if to.exists() {
            fs::remove_dir_all(&to)?;
        }
        fs::rename(&from, &to)?;
        Ok(to)
    }

    fn outbox(&self) -> PathBuf {
        self.dir.join("outbox")
    }

    fn sync(&self) -> io::Result<()> {
        File::open(self.outbox())?.sync_all()
    }

    /// What stands in the outbox: path, number, and what follows the number's dot.
    fn entries(&self) -> io::Result<Vec<(PathBuf, u32, String)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.outbox())? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let (no, extension) = name.split_once('.').unwrap_or((name, ""));
            if no.len() == 8
                && let Ok(no) = no.parse()
            {
                found.push((entry.path(), no, extension.to_owned()));
            }
        }
        Ok(found)
    }
}

/// Bytes that the generation in `dir` takes on disk, and how many blob files it has.
pub(super) fn measure(dir: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let size = |entry: io::Result<fs::DirEntry>| Some(entry.ok()?.metadata().ok()?.blocks() * 512);
    let bytes = |dir: &Path| fs::read_dir(dir).map_or(0, |entries| entries.filter_map(size).sum::<u64>());
    let blobs = fs::read_dir(dir.join("blobs")).map_or(0, |entries| entries.count() as u64);
    let blob_bytes = if blobs > 0 { bytes(&dir.join("blobs")) } else { 0 };
    (bytes(dir) + blob_bytes, blobs)
}

/// The mark of a data folder that is there; `None` where one may be made. Changes nothing.
fn inspect(dir: &Path) -> Result<Option<Mark>, OpenError> {
    match File::open(dir.join("FORMAT")).and_then(marker::read) {
        Ok(bytes) => {
            let mark = marker::parse(dir, &bytes)?;
            // It was there before FORMAT was.
            if !dir.join("outbox").is_dir() {
                let what = "its folder outbox is gone".to_owned();
                return Err(OpenError::HalfDeleted { dir: dir.to_path_buf(), what });
            }
            Ok(Some(mark))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A crash came while it was made: nothing was ever stored in it.
            if !dir.join(FORMAT_BEGUN).exists() {
                refuse_strangers(dir)?;
            }
            Ok(None)
        }
        Err(source) => {
            Err(OpenError::Io { what: "cannot read FORMAT in the data folder", path: dir.to_path_buf(), source })
        }
    }
}

/// A folder without FORMAT must be new: what another program keeps there is left alone, and so is what is left of a data
/// folder whose FORMAT was deleted, and of an import that was not finished.
fn refuse_strangers(dir: &Path) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { what: "cannot read the data folder", path: dir.to_path_buf(), source };
    if dir.join(FORMAT_OF_IMPORT).exists() {
        return Err(OpenError::HalfMade { dir: dir.to_path_buf() });
    }
    for entry in fs::read_dir(dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let name = name.to_string_lossy();
        if name == "outbox" || name == "generations" {
            let what = "its file FORMAT is gone (`webhookd store export` reads the events without it)".to_owned();
            return Err(OpenError::HalfDeleted { dir: dir.to_path_buf(), what });
        }
        if name != "LOCK" && name != "FORMAT.draft" && !may_stand_beside(&name) {
            let found = format!("it has no FORMAT file, and there is {name} in it");
            return Err(OpenError::Format { dir: dir.to_path_buf(), found });
        }
    }
    Ok(())
}

/// A new disk's `lost+found`, dot files and a config beside the data are no strangers.
fn may_stand_beside(name: &str) -> bool {
    name == "lost+found" || name.starts_with('.') || name.ends_with(".toml")
}

/// Replaces a file whole and durably: a crash leaves the old one or the new one.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let written = File::create(&draft).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&draft, path)) {
        // On a full disk it would only be in the way.
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    if let Some(parent) = path.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}
