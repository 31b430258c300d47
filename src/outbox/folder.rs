//! The data folder: its marker, its lock, its subfolders.
//!
//! ```text
//! <dir>/FORMAT            "webhookd data 1": what this folder is, and of which version
//! <dir>/LOCK              locked while a daemon uses the folder
//! <dir>/endpoints         what endpoints or operators asked for (paused, disabled)
//! <dir>/outbox/00000001/  a generation
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::OpenError;
use super::engine;

const FORMAT: &str = "webhookd data 1\n";
/// How a generation is named while it is being removed: a crash in between leaves a name that the next start removes.
const REMOVED: &str = ".removed";

/// The locked data folder.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    /// Locked until it is let go.
    lock: Mutex<Option<File>>,
}

impl Folder {
    /// Opens or makes the folder and locks it.
    pub(super) fn open(dir: &Path) -> Result<Self, OpenError> {
        let io = |what| {
            let path = dir.to_path_buf();
            move |source| OpenError::Io { what, path, source }
        };
        let outbox = dir.join("outbox");
        let format = dir.join("FORMAT");
        fs::create_dir_all(dir).map_err(io("cannot create the data folder"))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join("LOCK"))
            .map_err(io("cannot write to the data folder"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { dir: dir.to_path_buf() }),
            Err(TryLockError::Error(source)) => return Err(io("cannot lock the data folder")(source)),
        }
        match fs::read_to_string(&format) {
            Ok(text) if text == FORMAT => {}
            Ok(text) => return Err(OpenError::Format { dir: dir.to_path_buf(), found: text.trim().to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if outbox.exists() {
                    return Err(OpenError::Format { dir: dir.to_path_buf(), found: "no FORMAT file".to_owned() });
                }
                write_durably(&format, FORMAT.as_bytes()).map_err(io("cannot write to the data folder"))?;
            }
            Err(source) => return Err(io("cannot read FORMAT in the data folder")(source)),
        }
        fs::create_dir_all(&outbox).map_err(io("cannot create outbox in the data folder"))?;
        for synced in [Some(dir), dir.parent().filter(|parent| !parent.as_os_str().is_empty())].into_iter().flatten() {
            // A parent that may not be read cannot be synced; it was there before this program was.
            if let Err(error) = engine::sync_dir(synced)
                && synced == dir
            {
                return Err(OpenError::Engine(error.to_string()));
            }
        }
        Ok(Self { dir: dir.to_path_buf(), lock: Mutex::new(Some(lock)) })
    }

    /// Lets another daemon have the folder.
    pub(super) fn unlock(&self) {
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The folder of a generation.
    pub(super) fn generation(&self, no: u32) -> PathBuf {
        self.dir.join("outbox").join(format!("{no:08}"))
    }

    /// Where endpoint states are kept.
    pub(super) fn endpoints(&self) -> PathBuf {
        self.dir.join("endpoints")
    }

    /// The generations that are there, oldest first. Removes what a crash left of removed ones.
    pub(super) fn generations(&self) -> io::Result<Vec<u32>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.dir.join("outbox"))? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.ends_with(REMOVED) {
                fs::remove_dir_all(entry.path())?;
            } else if name.len() == 8
                && let Ok(no) = name.parse()
            {
                found.push(no);
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Removes a generation whole.
    pub(super) fn remove_generation(&self, no: u32) -> io::Result<()> {
        let from = self.generation(no);
        let to = from.with_extension(&REMOVED[1..]);
        fs::rename(&from, &to)?;
        fs::remove_dir_all(&to)?;
        File::open(self.dir.join("outbox"))?.sync_all()
    }

    /// Bytes that a generation takes on disk.
    pub(super) fn generation_bytes(&self, no: u32) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let size = |entry: io::Result<fs::DirEntry>| Some(entry.ok()?.metadata().ok()?.blocks() * 512);
        fs::read_dir(self.generation(no)).map_or(0, |entries| entries.filter_map(size).sum())
    }
}

/// Replaces a file whole and durably: a crash leaves the old one or the new one.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = File::create(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    if let Some(parent) = path.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}
