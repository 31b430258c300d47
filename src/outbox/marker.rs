//! The file FORMAT: that a folder is a data folder, of which version, and its mark.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::OpenError;
use super::frame::{self, MARK_BYTES, Mark};
use crate::limits::STORED_VALUE_BYTES_MAX;

/// The first line.
const FIRST: &str = "webhookd data 1";
/// What it begins with in every version.
const ANY_VERSION: &str = "webhookd data ";
/// What the second line begins with.
const MARK: &str = "mark ";
/// Most of the file that is read, and of a strange one that is shown.
const BYTES_MAX: u64 = 4096;
const SHOWN_CHARS_MAX: usize = 60;

/// What the file holds.
pub(super) fn text(mark: Mark) -> String {
    format!("{FIRST}\n{MARK}{}\n", hex::encode(mark.bytes))
}

/// Reads the file, which may be anybody's.
pub(super) fn read(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The mark in the file of the folder `dir`.
pub(super) fn parse(dir: &Path, bytes: &[u8]) -> Result<Mark, OpenError> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    if first != FIRST {
        let shown: String = first.chars().take(SHOWN_CHARS_MAX).collect();
        let found = format!("its FORMAT file says {shown:?}, this version reads {FIRST:?}");
        let dir = dir.to_path_buf();
        let version = first.strip_prefix(ANY_VERSION).unwrap_or_default();
        let is_version = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
        return Err(if is_version { OpenError::Version { dir, found } } else { OpenError::Format { dir, found } });
    }
    let mark = lines.next().and_then(|line| line.strip_prefix(MARK)).and_then(|mark| hex::decode(mark.trim()).ok());
    let mark = mark.and_then(|bytes| <[u8; MARK_BYTES]>::try_from(bytes).ok());
    mark.map(Mark::new).ok_or_else(|| OpenError::NoMark { dir: dir.to_path_buf() })
}

/// A new one.
pub(super) fn draw() -> Result<Mark, OpenError> {
    let mut mark = [0; MARK_BYTES];
    getrandom::fill(&mut mark).map_err(|error| OpenError::Engine(format!("no random bytes: {error}")))?;
    // The first byte is none that text has, so that the search for marks passes quickly over JSON.
    mark[0] |= 0x80;
    Ok(Mark::new(mark))
}

/// The mark as the small files of the folder tell it: each of them begins with a record.
pub(super) fn in_records(dir: &Path) -> Option<Mark> {
    let mut files = vec![dir.join("generations"), dir.join("endpoints")];
    for entry in std::fs::read_dir(dir.join("outbox")).ok()?.flatten() {
        files.extend([entry.path().join("durable"), entry.path().join("summary")]);
    }
    files.into_iter().find_map(|path| {
        let mut bytes = Vec::new();
        File::open(path).ok()?.take(STORED_VALUE_BYTES_MAX as u64).read_to_end(&mut bytes).ok()?;
        frame::read(&bytes).ok()?;
        bytes[..MARK_BYTES].try_into().ok().map(Mark::new)
    })
}
