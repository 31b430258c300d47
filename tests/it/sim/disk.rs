//! The disk: a real folder in memory, with faults on demand, and images of it as SIGKILL would leave them.
//!
//! Whoever writes or syncs passes by here first. That is where the disk refuses, and where an image is taken in the middle of
//! whatever goes on: the thread that passes by copies the folder itself, the others wait as soon as they pass by too, and a
//! copy under which the folder changed all the same is made again.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use webhookd::outbox::{Disk, Space};

/// Bytes that are free while there is room, and while there is none.
const ROOM: Space = Space { free_bytes: 1 << 30, total_bytes: 1 << 31 };
/// The floor that the outbox is given, in bytes.
pub(crate) const FREE_BYTES_MIN: u64 = 1 << 20;
/// How often a copy is made again.
const COPIES_MAX: usize = 200;

/// When the disk refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Never.
    #[default]
    Never,
    /// Once, after so many times.
    OnceAfter(u32),
    /// Always.
    Always,
}

impl Refusal {
    fn now(&mut self) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::OnceAfter(0) => {
                *self = Self::Never;
                true
            }
            Self::OnceAfter(left) => {
                *left -= 1;
                false
            }
        }
    }
}

/// What is wrong with the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// fsync fails (EIO).
    pub(crate) fsync: Refusal,
    /// Writes fail (ENOSPC).
    pub(crate) write: Refusal,
    /// The file system is down to less than the floor.
    pub(crate) no_room: bool,
}

impl Trouble {
    /// Whether anything is wrong, or will be.
    pub(crate) fn any(self) -> bool {
        self != Self::default()
    }
}

/// An image that is to be taken.
#[derive(Debug)]
struct Image {
    /// After so many more writes and syncs.
    after: u32,
    to: PathBuf,
}

#[derive(Debug, Default)]
struct State {
    trouble: Trouble,
    image: Option<Image>,
    taken: Option<PathBuf>,
}

/// The disk of one life of the daemon.
#[derive(Debug)]
pub(crate) struct SimDisk {
    data: PathBuf,
    state: Mutex<State>,
}

impl SimDisk {
    /// A disk in order, with the data folder `data`.
    pub(crate) fn of(data: &Path) -> Arc<Self> {
        Arc::new(Self { data: data.to_path_buf(), state: Mutex::default() })
    }

    /// What is wrong just now.
    pub(crate) fn trouble(&self) -> Trouble {
        self.state().trouble
    }

    /// Changes what is wrong.
    pub(crate) fn set_trouble(&self, trouble: Trouble) {
        self.state().trouble = trouble;
    }

    /// Has an image taken to `to`, after so many more writes and syncs.
    pub(crate) fn take_image_after(&self, after: u32, to: PathBuf) {
        self.state().image = Some(Image { after, to });
    }

    /// Where the image lies, once it was taken.
    pub(crate) fn taken(&self) -> Option<PathBuf> {
        self.state().taken.clone()
    }

    /// Takes the image now, unless it was taken.
    pub(crate) fn take_image_now(&self) {
        let mut state = self.state();
        if let Some(image) = state.image.take() {
            copy_in_one_moment(&self.data, &image.to);
            state.taken = Some(image.to);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass_by(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        match &mut state.image {
            Some(image) if image.after == 0 => {
                let to = image.to.clone();
                copy_in_one_moment(&self.data, &to);
                state.image = None;
                state.taken = Some(to);
            }
            Some(image) => image.after -= 1,
            None => {}
        }
        state
    }
}

impl Disk for SimDisk {
    fn sync_data(&self, _file: &File) -> io::Result<()> {
        // The folder lies in memory; SIGKILL asks nothing of fsync.
        let fails = self.pass_by().trouble.fsync.now();
        if fails { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    fn before_write(&self) -> io::Result<()> {
        let fails = self.pass_by().trouble.write.now();
        if fails { Err(io::Error::from_raw_os_error(28)) } else { Ok(()) }
    }

    fn space(&self, _dir: &Path) -> io::Result<Space> {
        let no_room = self.state().trouble.no_room;
        Ok(if no_room { Space { free_bytes: FREE_BYTES_MIN / 2, ..ROOM } } else { ROOM })
    }
}

/// Copies a folder as it stands in one moment.
fn copy_in_one_moment(from: &Path, to: &Path) {
    for _ in 0..COPIES_MAX {
        let _ = fs::remove_dir_all(to);
        let before = listing(from);
        if copy(from, to).is_ok() && listing(from) == before {
            return;
        }
        std::thread::yield_now();
    }
    panic!("the folder {} never stands still for a copy", from.display());
}

/// A file by what changes when it does.
type Entry = (PathBuf, u64, Option<SystemTime>);

/// Every file with its size and the time it was changed; files that come and go meanwhile make it another list.
pub(crate) fn listing(dir: &Path) -> Vec<Entry> {
    let (mut found, mut folders) = (Vec::new(), vec![dir.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(known) = entry.metadata() else { continue };
            if known.is_dir() {
                folders.push(entry.path());
            }
            found.push((entry.path(), known.len(), known.modified().ok()));
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// The generations in a data folder, each with its number, the oldest first.
pub(crate) fn generations(data: &Path) -> Vec<(u32, PathBuf)> {
    let entries = fs::read_dir(data.join("outbox")).into_iter().flatten().flatten();
    let mut found: Vec<_> =
        entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()))).collect();
    found.sort();
    found
}

/// Damages a generation of a folder that nobody uses. Tells which, and how; `None` where there is none to damage.
pub(crate) fn damage(data: &Path, random: &mut fastrand::Rng) -> Option<(u32, String)> {
    let found = generations(data);
    let (no, dir) = found.get(random.usize(..found.len().max(1)))?.clone();
    let db = dir.join("db");
    let len = fs::metadata(&db).map_or(0, |db| db.len());
    let how = match random.u32(..10) {
        0..=4 if len > 0 => {
            let at = random.u64(..len.min(40_000));
            flip(&db, at, 1 << random.u32(..8)).ok()?;
            format!("byte {at} of {len} flipped")
        }
        5..=6 if len > 0 => {
            let at = random.u64(..len);
            File::options().write(true).open(&db).and_then(|db| db.set_len(at)).ok()?;
            format!("cut at {at} of {len}")
        }
        7 => {
            fs::remove_file(&db).ok()?;
            "db deleted".to_owned()
        }
        // Not amid its rescue: whoever deletes by hand what is just being replaced makes half a copy the only one.
        8 if found.len() > 1 && !dir.with_extension("rescued").exists() => {
            fs::remove_dir_all(&dir).ok()?;
            "folder deleted".to_owned()
        }
        _ => {
            let files: Vec<_> = fs::read_dir(&dir).ok()?.flatten().filter(|entry| entry.path().is_file()).collect();
            let file = files.get(random.usize(..files.len().max(1)))?.path();
            let len = fs::metadata(&file).ok()?.len();
            let at = random.u64(..len.max(1));
            flip(&file, at, 1).ok()?;
            format!("byte {at} of {len} of {} flipped", file.file_name()?.to_string_lossy())
        }
    };
    Some((no, how))
}

fn flip(path: &Path, at: u64, mask: u8) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let file = File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ mask], at)
}

/// Puts beside the generations what a kill leaves behind between two steps of making, saving or removing one. None of it
/// counts.
pub(crate) fn leave_residue(data: &Path, random: &mut fastrand::Rng) -> Option<String> {
    let found = generations(data);
    let (no, dir) = found.get(random.usize(..found.len().max(1)))?.clone();
    let newest = found.last()?.0;
    let outbox = data.join("outbox");
    let what = match random.u32(..5) {
        0 => {
            fs::write(dir.join("snap.0000000000000FFF.generating"), b"half a snapshot").ok()?;
            format!("an unfinished snapshot in {no}")
        }
        1 => {
            copy(&dir, &outbox.join(format!("{no:08}.removed"))).ok()?;
            format!("a removal of {no} that was cut short after it had come back")
        }
        2 => {
            copy(&dir, &outbox.join(format!("{no:08}.rescued"))).ok()?;
            format!("an unfinished rescue of {no}")
        }
        3 => {
            let begun = outbox.join(format!("{:08}", newest + 1));
            fs::create_dir_all(&begun).ok()?;
            fs::write(begun.join("conf"), b"half").ok()?;
            format!("an unfinished generation {}", newest + 1)
        }
        _ => {
            for name in ["generations.draft", "endpoints.draft"] {
                fs::write(data.join(name), b"half a file").ok()?;
            }
            "unfinished drafts".to_owned()
        }
    };
    Some(what)
}
