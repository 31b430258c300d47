//! Everything that the store reads back, as `crate::fuzzing` sees it.

use std::collections::HashMap;
use std::path::Path;

use memchr::memmem;
use serde::Serialize;

use super::filter::Filter;
use super::frame::{self, Mark};
use super::keys::{self, key};
use super::marker;
use super::offline::fuzzing::import_line;
use super::rows::{self, AttemptRow, DoneRow, Extras, HeadRow, Packer, SealRow, StateRow};
use super::watermark::Watermark;
use super::{carve, endpoints, gaps, index, roll, summary};
use crate::limits::STORED_VALUE_BYTES_MAX;
use crate::model::roster::Roster;

const MARK: Mark = Mark { bytes: *b"\x9Bfuzzed!", epoch: 3 };

/// Rows of a pack: read, packed again and read again they are the same. A macro, since such rows borrow from two places.
macro_rules! pack {
    ($row:ty, $payload:expr) => {{
        let payload: &[u8] = $payload;
        let mut found: Vec<$row> = Vec::new();
        let _ = rows::unpack(payload, |row| {
            found.push(row);
            true
        });
        assert!(found.len() <= payload.len(), "a row takes a byte at least");
        let values = packed(&found);
        let mut again: Vec<$row> = Vec::new();
        for value in &values {
            assert!(value.len() <= STORED_VALUE_BYTES_MAX);
            let payload = frame::open(&key(keys::HEADS, 7), value).expect("what was framed is believed");
            let read = rows::unpack(payload, |row| {
                again.push(row);
                true
            });
            read.expect("what was packed is read");
        }
        assert_eq!(found, again);
    }};
}

/// A single row: written again and read again it is the same.
macro_rules! single {
    ($row:ty, $payload:expr) => {
        if let Ok(row) = rows::decode_single::<$row>($payload) {
            let value = rows::single(MARK, &key(keys::SEAL, 0), &row).expect("what came out of a value fits one");
            let payload = frame::open(&key(keys::SEAL, 0), &value).expect("what was framed is believed");
            let again: $row = rows::decode_single(payload).expect("what was written is read");
            assert_eq!(row, again);
        }
    };
}

/// Which decoder, in the first byte, and what it reads.
///
/// | byte | what follows |
/// |---|---|
/// | `r` | a value as it stands on the disk, frame and all |
/// | `h` `o` `a` | the payload of a pack of heads, states or attempts |
/// | `l` | the payload of a pack of gaps |
/// | `n` `z` `d` `w` `g` | the payload of a single row: name, seal, done, watermark, roll |
/// | `x` | extras of an event |
/// | `e` `s` | the file of the endpoints, a summary: payloads, each behind its length in two bytes, little end first |
/// | `E` `S` | the same, byte for byte |
/// | `m` | the file FORMAT |
/// | `f` | a filter |
/// | `i` | the file of ids, byte for byte |
/// | `c` | a database file from which records are carved |
/// | `L` | a line to import |
pub fn stored_records(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    match which {
        b'r' => framed(bytes),
        b'h' => pack!(HeadRow<'_>, bytes),
        b'o' => pack!(StateRow, bytes),
        b'a' => pack!(AttemptRow<'_>, bytes),
        b'l' => pack!(gaps::Row, bytes),
        b'n' => single!(&str, bytes),
        b'z' => single!(SealRow, bytes),
        b'd' => single!(DoneRow, bytes),
        b'w' => single!(Watermark, bytes),
        b'g' => {
            single!(roll::Row, bytes);
            if let Ok(row) = rows::decode_single::<roll::Row>(bytes) {
                let numbers = row.numbers();
                assert_eq!(roll::Row::of(row.newest, &numbers).numbers(), numbers);
            }
        }
        b'x' => extras(bytes),
        b'e' => endpoints_file(&in_frames(bytes, keys::ENDPOINTS, &[0, endpoints::FORM_2])),
        b'E' => endpoints_file(bytes),
        b's' => summary_file(&in_frames(bytes, keys::SUMMARY, &[summary::FORM_2])),
        b'S' => summary_file(bytes),
        b'm' => {
            if let Ok(mark) = marker::parse(Path::new("/nowhere"), bytes) {
                assert_eq!(marker::parse(Path::new("/nowhere"), marker::text(mark).as_bytes()).ok(), Some(mark));
            }
        }
        b'f' => filter(bytes),
        b'i' => ids_file(bytes),
        b'c' => carved(bytes),
        b'L' => {
            if let Ok(line) = str::from_utf8(bytes) {
                import_line(line);
            }
        }
        _ => {}
    }
}

/// A frame that is believed is the one that would be written.
fn framed(bytes: &[u8]) {
    // Whoever fuzzes has no patience to guess a checksum: what is believed but for it is mended and read once more.
    let mut mended = bytes.to_vec();
    frame::mend(&mut mended);
    for bytes in [bytes, &mended] {
        let Ok(record) = frame::read(bytes) else { continue };
        let value = &bytes[..frame::OVERHEAD + record.payload.len()];
        assert!(value.len() <= STORED_VALUE_BYTES_MAX);
        let mut again = frame::begin(record.payload.len());
        again.extend_from_slice(record.payload);
        let mut mark = Mark { bytes: [0; frame::MARK_BYTES], epoch: record.epoch };
        mark.bytes.copy_from_slice(&value[..frame::MARK_BYTES]);
        assert_eq!(frame::close(mark, &record.key, again), value);
        assert_eq!(frame::open(&record.key, value), Ok(record.payload));
    }
}

fn packed(rows: &[impl Serialize]) -> Vec<Vec<u8>> {
    let mut packer = Packer::default();
    for row in rows {
        packer.push(row).expect("a row that came out of a pack fits one");
    }
    packer.finish().into_iter().map(|pack| pack.close(MARK, &key(keys::HEADS, 7), 1)).collect()
}

fn extras(bytes: &[u8]) {
    let Ok(extras) = Extras::decode(bytes) else { return };
    let written = extras.encode().expect("what was read can be written");
    assert_eq!(Extras::decode(&written).as_ref().ok(), Some(&extras));
}

/// Payloads in frames with the numbers that a file's values have: the first has one of `first`, told by its highest bit of
/// length, the others follow the last of them.
fn in_frames(mut bytes: &[u8], kind: u8, first: &[u64]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut number = None;
    while let Some((len, rest)) = bytes.split_first_chunk::<2>() {
        let len = u16::from_le_bytes(*len);
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(len & 0x3fff)));
        let no = number.map_or(first[usize::from(len >> 15) % first.len()], |last: u64| last + 1);
        number = Some(no);
        let mut value = frame::begin(payload.len());
        value.extend_from_slice(payload);
        file.extend(frame::close(MARK, &key(kind, no), value));
        bytes = rest;
    }
    file
}

/// What is kept of endpoints: written again and read again it is the same.
fn endpoints_file(bytes: &[u8]) {
    let Ok(records) = endpoints::parse(bytes) else { return };
    let written = endpoints::bytes(MARK, &records).expect("what was read can be written");
    assert_eq!(endpoints::parse(&written).as_ref(), Ok(&records));
}

/// A summary that is believed tells as many deliveries as it names, of this generation, by names that there are.
fn summary_file(bytes: &[u8]) {
    let roster = Roster::default();
    let Ok((_, summary)) = summary::parse(bytes, 7, &roster) else { return };
    let waiting = summary.deliveries.iter().filter(|one| one.waits()).count() as u64;
    assert_eq!(summary.life.pending, waiting);
    for one in &summary.deliveries {
        assert_eq!(one.delivery().event.generation, 7);
        assert!(!roster.name(one.delivery().endpoint).as_str().is_empty());
    }
    summary.filter.may_hold(7);
}

fn filter(bytes: &[u8]) {
    let Some(filter) = Filter::from_bytes(bytes.to_vec()) else { return };
    for hash in [0, 1, u64::MAX, 0x9E37_79B9_7F4A_7C15] {
        filter.may_hold(hash);
    }
    let hashes: Vec<u64> =
        bytes.chunks_exact(8).map(|hash| hash.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))).collect();
    let over = Filter::over(hashes.iter().copied());
    assert!(hashes.iter().all(|hash| over.may_hold(*hash)), "a filter denies what it was made over");
}

/// The file of ids: one that is written is searched rightly, and any bytes at all are searched to an end.
fn ids_file(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder for scratch files");
    std::fs::write(dir.path().join("ids"), bytes).expect("a scratch file");
    for hash in [0, 1 << 63, u64::MAX] {
        let _ = index::find(dir.path(), hash);
    }
    let row = |row: &[u8]| row.iter().fold(0, |word: u64, byte| word << 8 | u64::from(*byte));
    let ids: HashMap<u64, u32> = (0..).zip(bytes.chunks_exact(8)).map(|(seq, hash)| (row(hash), seq)).collect();
    if !ids.is_empty() {
        index::write(dir.path(), MARK, &ids).expect("a scratch file");
        for (hash, seq) in ids.iter().take(100) {
            assert_eq!(index::find(dir.path(), *hash).expect("what was written is believed"), Some(*seq));
            let near = hash.wrapping_add(1);
            assert_eq!(index::find(dir.path(), near).expect("what was written is believed"), ids.get(&near).copied());
        }
    }
}

/// Records that are carved out of any bytes are whole, and each is read back as what it was taken for.
fn carved(bytes: &[u8]) {
    let mut mended = bytes.to_vec();
    let marks: Vec<usize> = memmem::find_iter(bytes, &MARK.bytes).collect();
    for at in marks {
        frame::mend(&mut mended[at..]);
    }
    for (key, value) in carve::found_in(&mended, MARK) {
        assert!(frame::open(&key, value).is_ok());
    }
}
