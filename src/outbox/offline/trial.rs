//! Whether the storage engine itself can open a generation: tried on a copy, since the engine writes when it opens.

use std::fs::{self, File};
use std::io;
use std::panic;
use std::path::Path;
use std::sync::Once;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::limits::MIB;
use crate::outbox::disk::{Disk, RealDisk};
use crate::outbox::generation::{Generation, Identity};

/// Bytes that must be free beside the copy: the engine writes a little, and others need the disk too.
const SPARE_BYTES: u64 = 64 * MIB as u64;
/// How often it is looked whether the engine has closed a copy, and the pause between.
const CLOSING_TRIES: u32 = 500;
const CLOSING_PAUSE: Duration = Duration::from_millis(10);

/// What came of it.
pub(super) enum Trial {
    /// It could be opened, as a daemon would open it.
    Opened(Box<Opened>),
    /// It could not.
    Failed(String),
    /// It was not tried.
    Skipped(String),
}

/// A copy that is open. It is removed when this goes.
pub(super) struct Opened {
    /// There until this goes.
    generation: Option<Generation>,
    copy: TempDir,
}

impl Opened {
    /// The copy.
    pub(super) fn generation(&self) -> Option<&Generation> {
        self.generation.as_ref()
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.generation = None;
        wait_until_closed(self.copy.path());
    }
}

/// Copies the generation in `dir` into the folder for temporary files and opens the copy.
pub(super) fn try_engine(dir: &Path, of: Identity) -> Trial {
    let room = std::env::temp_dir();
    let needed_bytes = bytes_of(dir).saturating_add(SPARE_BYTES);
    match RealDisk.space(&room) {
        Ok(space) if space.free_bytes >= needed_bytes => {}
        Ok(space) => {
            return Trial::Skipped(format!(
                "a copy needs {needed_bytes} bytes in {}, and {} are free there: set TMPDIR to a folder with more room",
                room.display(),
                space.free_bytes
            ));
        }
        Err(error) => return Trial::Skipped(format!("{} cannot be used: {error}", room.display())),
    }
    let copied = tempfile::Builder::new().prefix("webhookd-check-").tempdir().and_then(|copy| {
        copy_all(dir, copy.path())?;
        Ok(copy)
    });
    let copy = match copied {
        Ok(copy) => copy,
        Err(error) => return Trial::Skipped(format!("no copy could be made in {}: {error}", room.display())),
    };
    silence_panics_of_the_engine();
    match Generation::open(copy.path(), of, RealDisk::shared()) {
        Ok(generation) => Trial::Opened(Box::new(Opened { generation: Some(generation), copy })),
        Err(error) => {
            wait_until_closed(copy.path());
            // The copy's own path means nothing to anybody.
            let error = error.to_string().replace(&copy.path().display().to_string(), &dir.display().to_string());
            Trial::Failed(error)
        }
    }
}

fn bytes_of(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(fs::Metadata::is_file)
        .map(|file| file.len())
        .sum()
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy_all(&entry.path(), &target)?;
        } else {
            // Not with its permissions: those of a folder that may only be read would keep the engine out.
            io::copy(&mut File::open(entry.path())?, &mut File::create(target)?)?;
        }
    }
    Ok(())
}

/// The engine ends a database on a thread of its own, and would write into a folder that is being removed.
fn wait_until_closed(dir: &Path) {
    for _ in 0..CLOSING_TRIES {
        let Ok(file) = File::open(dir.join("db")) else { return };
        if !matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)) {
            return;
        }
        thread::sleep(CLOSING_PAUSE);
    }
}

/// A damaged file makes the engine panic. That is what is being found out, and told in other words.
fn silence_panics_of_the_engine() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !panic.location().is_some_and(|place| place.file().contains("/sled-")) {
                before(panic);
            }
        }));
    });
}
