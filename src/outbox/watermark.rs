//! How much of a generation is known to be durable, told beside the engine's own files.
//!
//! A storage engine that loses the end of its log opens without a word, and what it lost was acknowledged. So after each sync
//! the number of events and of state packs that it made durable is written over a small file of its own, without an fsync:
//! after a power cut it may tell too little, never too much, so that it never accuses wrongly.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::frame::Mark;
use super::keys::{self, key};
use super::{frame, rows};

/// What is durable at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Watermark {
    pub(super) events: u32,
    pub(super) state_packs: u32,
    pub(super) attempt_packs: u32,
    /// How often the generation was opened before.
    pub(super) epoch: u32,
}

/// The file.
#[derive(Debug)]
pub(super) struct WatermarkFile {
    file: File,
    mark: Mark,
}

fn path(dir: &Path) -> PathBuf {
    dir.join("durable")
}

impl WatermarkFile {
    /// Opens or makes the file of the generation in `dir`.
    pub(super) fn open(dir: &Path, mark: Mark) -> io::Result<Self> {
        let file = File::options().create(true).truncate(false).write(true).open(path(dir))?;
        Ok(Self { file, mark })
    }

    /// Writes it over. A disk that refuses costs no more than a check.
    pub(super) fn note(&self, watermark: Watermark) {
        let key = key(keys::WATERMARK, 0);
        if let Ok(value) = rows::single(self.mark, &key, &watermark)
            && let Err(error) = self.file.write_all_at(&value, 0)
        {
            tracing::debug!(%error, "the watermark of a generation could not be written");
        }
    }
}

/// What the file of the generation in `dir` tells; nothing where it is missing or torn.
pub(super) fn read(dir: &Path) -> Watermark {
    let Ok(bytes) = std::fs::read(path(dir)) else { return Watermark::default() };
    // An older, longer row may stand behind the newest.
    match frame::read(&bytes) {
        Ok(record) if record.key == key(keys::WATERMARK, 0) => rows::decode_single(record.payload).unwrap_or_default(),
        _ => Watermark::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_note_counts_and_a_torn_one_tells_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), Watermark::default());
        let file = WatermarkFile::open(dir.path(), Mark::new([3; 8])).unwrap();
        for (events, state_packs) in [(1, 0), (70_000, 900), (3, 7)] {
            let watermark = Watermark { events, state_packs, attempt_packs: 9, epoch: 2 };
            file.note(watermark);
            assert_eq!(read(dir.path()), watermark);
        }
        std::fs::write(path(dir.path()), [0; 40]).unwrap();
        assert_eq!(read(dir.path()), Watermark::default());
    }
}
