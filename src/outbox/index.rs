//! Which ids a sealed generation holds, in a small file, so that it need not be opened to look one up.
//!
//! A filter claims an id that is not there once in a few hundred times. With a hundred generations that is every third event,
//! and opening a generation takes longer than accepting a thousand events. So what the filter lets through is looked up here
//! first: the hashes in order, in blocks of one size. Hashes are spread evenly, so the block of a hash is known beforehand but
//! for a step or two, and a look-up costs one or two small reads, however many ids there are.
//!
//! It is written once the seal is durable, so it never lacks an id, and is not synced: each block has its own checksum and
//! tells how many ids there are, and where one is not as it should be the generation is opened instead.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::frame::{self, Mark};
use super::keys::{self, key};

/// Hash and number of an event.
const ROW_BYTES: usize = 8 + 4;
const ROWS_EACH: usize = 512;
/// How many rows there are in all stands before those of a block.
const COUNT_BYTES: usize = 4;
const BLOCK_BYTES: usize = frame::OVERHEAD + COUNT_BYTES + ROWS_EACH * ROW_BYTES;

fn path(dir: &Path) -> PathBuf {
    dir.join("ids")
}

/// Whether there is one in `dir`.
pub(super) fn is_there(dir: &Path) -> bool {
    path(dir).exists()
}

/// Writes the ids of the generation in `dir`: the hash of each with its event's number.
pub(super) fn write(dir: &Path, mark: Mark, ids: &HashMap<u64, u32>) -> io::Result<()> {
    let mut rows: Vec<(u64, u32)> = ids.iter().map(|(hash, seq)| (*hash, *seq)).collect();
    rows.sort_unstable();
    let count = u32::try_from(rows.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut bytes = Vec::with_capacity(rows.len().div_ceil(ROWS_EACH) * BLOCK_BYTES);
    for (number, block) in rows.chunks(ROWS_EACH).enumerate() {
        let mut value = frame::begin(COUNT_BYTES + block.len() * ROW_BYTES);
        value.extend_from_slice(&count.to_le_bytes());
        for (hash, seq) in block {
            value.extend_from_slice(&hash.to_le_bytes());
            value.extend_from_slice(&seq.to_le_bytes());
        }
        bytes.extend(frame::close(mark, &key(keys::IDS, number as u64), value));
    }
    File::create(path(dir))?.write_all(&bytes)
}

/// The number of the event under a hash in the generation in `dir`.
///
/// # Errors
/// Where there is no such file, or it cannot be believed: only the generation itself can tell then.
pub(super) fn find(dir: &Path, hash: u64) -> io::Result<Option<u32>> {
    let file = File::open(path(dir))?;
    let bytes = file.metadata()?.len();
    let blocks = bytes.div_ceil(BLOCK_BYTES as u64);
    if blocks == 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut at = u64::try_from((u128::from(hash) * u128::from(blocks)) >> 64).unwrap_or(0);
    let mut buffer = [0; BLOCK_BYTES];
    // Blocks before this one end before the hash, those from that one on begin after it.
    let (mut after, mut before) = (0, blocks);
    while after < before {
        let block = Block::read(&file, at, bytes, &mut buffer)?;
        if hash < block.first() {
            before = at;
        } else if hash > block.last() {
            after = at + 1;
        } else {
            return Ok(block.find(hash));
        }
        at = at.clamp(after, before.saturating_sub(1).max(after));
    }
    Ok(None)
}

/// The rows of a block; there is at least one.
struct Block<'a> {
    rows: &'a [u8],
}

impl<'a> Block<'a> {
    fn read(file: &File, number: u64, file_bytes: u64, buffer: &'a mut [u8; BLOCK_BYTES]) -> io::Result<Self> {
        let start = number * BLOCK_BYTES as u64;
        let len = usize::try_from(file_bytes.saturating_sub(start)).map_or(BLOCK_BYTES, |rest| rest.min(BLOCK_BYTES));
        let value = &mut buffer[..len];
        file.read_exact_at(value, start)?;
        let payload = frame::open(&key(keys::IDS, number), value)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let (count, rows) = payload.split_first_chunk().ok_or(io::ErrorKind::InvalidData)?;
        let count = u32::from_le_bytes(*count) as usize;
        let full = count / ROWS_EACH * BLOCK_BYTES;
        let rest = match count % ROWS_EACH {
            0 => 0,
            rows => frame::OVERHEAD + COUNT_BYTES + rows * ROW_BYTES,
        };
        if (full + rest) as u64 != file_bytes || rows.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self { rows })
    }

    fn row(&self, at: usize) -> (u64, u32) {
        let row = &self.rows[at * ROW_BYTES..][..ROW_BYTES];
        let (hash, seq) = row.split_at(8);
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
        (word(hash), word(seq) as u32)
    }

    fn len(&self) -> usize {
        self.rows.len() / ROW_BYTES
    }

    fn first(&self) -> u64 {
        self.row(0).0
    }

    fn last(&self) -> u64 {
        self.row(self.len() - 1).0
    }

    fn find(&self, hash: u64) -> Option<u32> {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from.midpoint(to);
            match self.row(middle) {
                (found, seq) if found == hash => return Some(seq),
                (found, _) if found < hash => from = middle + 1,
                _ => to = middle,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::ids::id_hash;
    use super::*;

    fn ids(count: u32) -> HashMap<u64, u32> {
        (0..count).map(|seq| (id_hash(&format!("evt_{seq}")), seq)).collect()
    }

    #[test]
    fn every_id_is_found_and_no_other_whatever_their_number() {
        let dir = tempfile::tempdir().unwrap();
        for count in [1, 2, 511, 512, 513, 1024, 20_000] {
            write(dir.path(), Mark::new([1; 8]), &ids(count)).unwrap();
            for (hash, seq) in ids(count).into_iter().step_by(7) {
                assert_eq!(find(dir.path(), hash).unwrap(), Some(seq));
            }
            for n in count..count + 3_000 {
                assert_eq!(find(dir.path(), id_hash(&format!("evt_{n}"))).unwrap(), None);
            }
            for hash in [0, u64::MAX] {
                assert_eq!(find(dir.path(), hash).unwrap(), None);
            }
        }
    }

    #[test]
    fn hashes_that_crowd_in_one_place_are_found_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let crowd: HashMap<_, _> = (0..5_000).map(|seq| ((1 << 63) + u64::from(seq) * 2, seq)).collect();
        write(dir.path(), Mark::new([1; 8]), &crowd).unwrap();
        for (hash, seq) in crowd {
            assert_eq!(find(dir.path(), hash).unwrap(), Some(seq));
            assert_eq!(find(dir.path(), hash + 1).unwrap(), None);
        }
    }

    #[test]
    fn what_is_missing_cut_or_damaged_is_never_taken_for_an_answer() {
        let dir = tempfile::tempdir().unwrap();
        assert!(find(dir.path(), 5).is_err());
        assert!(!is_there(dir.path()));
        let ids = ids(1_100);
        write(dir.path(), Mark::new([1; 8]), &ids).unwrap();
        assert!(is_there(dir.path()));
        let sound = std::fs::read(path(dir.path())).unwrap();
        for len in (0..sound.len()).step_by(97).chain([BLOCK_BYTES, 2 * BLOCK_BYTES]) {
            std::fs::write(path(dir.path()), &sound[..len]).unwrap();
            for hash in ids.keys().step_by(101) {
                let found = find(dir.path(), *hash);
                assert!(found.is_err() || len == sound.len(), "{len} bytes: {found:?}");
            }
        }
        for at in (frame::MARK_BYTES..sound.len()).step_by(61) {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x10;
            std::fs::write(path(dir.path()), &damaged).unwrap();
            for (hash, seq) in ids.iter().step_by(101) {
                let found = find(dir.path(), *hash);
                // The damage may lie in another block, or in the mark, which is nobody's business here.
                assert!(found.is_err() || found.unwrap() == Some(*seq), "byte {at}");
            }
        }
    }
}
