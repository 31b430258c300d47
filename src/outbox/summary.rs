//! What the start needs to know of a sealed generation, in a small file, so that it need not be opened.
//!
//! Opening a database means that the engine reads its whole log; a summary is a few bytes for each delivery that is pending or
//! dead, and the id filter. It is written once nothing has happened to the generation for a while, and removed, durably, before
//! the next thing is written to it: a summary that is there is true.
//!
//! The first versions wrote summaries in another form, which told neither keys nor what is dead. One of these is not believed:
//! the generation is read instead, once, and a summary takes its place that tells all.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::engine::sync_dir;
use super::filter::Filter;
use super::frame::{self, Mark};
use super::keys::{self, key};
use super::news::Recovered;
use super::rows::{self, PAYLOAD_BYTES_MAX, Packer};
use super::slot::Life;
use super::{ReadError, StoreError};
use crate::clock::UnixMs;
use crate::model::delivery::{DeliveryRef, EventRef, Fallen, KeyHash, Progress, Waiting};
use crate::model::roster::{EndpointNo, Roster};
use crate::model::text::EndpointName;

/// Largest summary that is read, in bytes: far more than a generation has deliveries for.
const BYTES_MAX: u64 = 1 << 30;
/// The number of the first value. In the form of the first versions it was 0; they take a summary with another for a damaged one,
/// and read the generation.
pub(super) const FORM_2: u64 = 2 << 32;
/// More than the first value has, in bytes.
const HEAD_BYTES_MAX: u64 = 256;

/// What is known of a generation without opening it.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) life: Life,
    pub(super) filter: Filter,
    /// Deliveries that wait, and those that are dead, in the order of acceptance.
    pub(super) deliveries: Vec<Recovered>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    /// Length of the engine's file: a shorter one was cut.
    db_bytes: u64,
    pending: u64,
    dead: u64,
    last_at: UnixMs,
    disorder_ms: u64,
    changed_at: UnixMs,
    marked_done: bool,
    /// How many values follow, of each kind.
    names: u32,
    filters: u32,
    packs: u32,
}

/// A delivery.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    seq: u32,
    /// The place of its endpoint among the names.
    endpoint: u16,
    key: Option<u64>,
    stand: Stand,
}

/// How it stands. The time of the next attempt is told as a distance, which is short.
#[derive(Debug, Serialize, Deserialize)]
enum Stand {
    Waits { accepted_at: UnixMs, after_ms: i64, tries: u16, made: u16 },
    Dead { at: UnixMs },
}

impl Row {
    fn of(one: &Recovered, endpoint: u16) -> Self {
        let (stand, key) = match one {
            Recovered::Waiting(Waiting { accepted_at, next_at, progress: Progress { tries, made }, key, .. }) => {
                let after_ms = next_at.0.cast_signed().wrapping_sub(accepted_at.0.cast_signed());
                (Stand::Waits { accepted_at: *accepted_at, after_ms, tries: *tries, made: *made }, key)
            }
            Recovered::Dead(Fallen { died_at, key, .. }) => (Stand::Dead { at: *died_at }, key),
        };
        Self { seq: one.delivery().event.seq, endpoint, key: key.map(|hash| hash.0), stand }
    }

    fn told(&self, generation: u32, endpoint: EndpointNo) -> Recovered {
        let delivery = DeliveryRef { event: EventRef { generation, seq: self.seq }, endpoint };
        let key = self.key.map(KeyHash);
        match self.stand {
            Stand::Waits { accepted_at, after_ms, tries, made } => {
                let next_at = UnixMs(accepted_at.0.wrapping_add_signed(after_ms));
                Recovered::Waiting(Waiting { delivery, accepted_at, next_at, progress: Progress { tries, made }, key })
            }
            Stand::Dead { at } => Recovered::Dead(Fallen { delivery, died_at: at, key }),
        }
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("summary")
}

fn db_bytes(dir: &Path) -> std::io::Result<u64> {
    Ok(fs::metadata(dir.join("db"))?.len())
}

/// Writes the summary of the generation in `dir` under another name; [`publish`] makes it count.
pub(super) fn draft(dir: &Path, mark: Mark, roster: &Roster, summary: &Summary) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { what: "cannot write the summary of", generation: 0, source };
    let mut numbers: Vec<_> = summary.deliveries.iter().map(|one| one.delivery().endpoint).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let (mut names, mut packs) = (Packer::default(), Packer::default());
    for no in &numbers {
        names.push(&roster.name(*no).as_str())?;
    }
    for one in &summary.deliveries {
        let endpoint = numbers.binary_search(&one.delivery().endpoint).unwrap_or(0);
        packs.push(&Row::of(one, u16::try_from(endpoint).map_err(|_| StoreError::TooLarge)?))?;
    }
    let (names, packs) = (names.finish(), packs.finish());
    let filters = summary.filter.as_bytes().chunks(PAYLOAD_BYTES_MAX);
    let count = |len: usize| u32::try_from(len).map_err(|_| StoreError::TooLarge);
    let head = Head {
        db_bytes: db_bytes(dir).map_err(io)?,
        pending: summary.life.pending,
        dead: summary.deliveries.iter().filter(|one| !one.waits()).count() as u64,
        last_at: summary.life.last_at,
        disorder_ms: summary.life.disorder_ms,
        changed_at: summary.life.changed_at,
        marked_done: summary.life.marked_done,
        names: count(names.len())?,
        filters: count(filters.len())?,
        packs: count(packs.len())?,
    };
    let mut bytes = rows::single(mark, &key(keys::SUMMARY, FORM_2), &head)?;
    let mut number = FORM_2;
    let mut next = || {
        number += 1;
        key(keys::SUMMARY, number)
    };
    for pack in names {
        let key = next();
        bytes.extend(pack.close(mark, &key, 0));
    }
    for piece in filters {
        let key = next();
        let mut value = frame::begin(piece.len());
        value.extend_from_slice(piece);
        bytes.extend(frame::close(mark, &key, value));
    }
    for pack in packs {
        let key = next();
        bytes.extend(pack.close(mark, &key, 0));
    }
    let mut file = fs::File::create(path(dir).with_extension("draft")).map_err(io)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io)
}

/// Makes a draft count.
pub(super) fn publish(dir: &Path) -> std::io::Result<()> {
    fs::rename(path(dir).with_extension("draft"), path(dir))?;
    fs::File::open(dir)?.sync_all()
}

/// Removes the summary of the generation in `dir`, durably, before anything is written to that generation.
pub(super) fn remove(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path(dir)) {
        Ok(()) => Ok(sync_dir(dir)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(StoreError::Io { what: "cannot remove the summary of", generation: 0, source }),
    }
}

/// The summary of generation `no` in `dir`; `None` where there is none that can be believed.
pub(super) fn read(dir: &Path, no: u32, roster: &Roster) -> Option<Summary> {
    let len = fs::metadata(path(dir)).ok()?.len();
    let bytes = if len <= BYTES_MAX { fs::read(path(dir)).ok()? } else { return None };
    if is_of_first_form(&bytes) {
        tracing::debug!(
            generation = no,
            "the summary of a generation is of an earlier version; the generation is read instead"
        );
        return None;
    }
    let read = parse(&bytes, no, roster).inspect_err(|error| {
        tracing::warn!(generation = no, %error, "the summary of a generation is damaged; the generation is read instead");
    });
    read.ok()
        .filter(|(db_bytes_then, _)| db_bytes(dir).is_ok_and(|now| now >= *db_bytes_then))
        .map(|(_, summary)| summary)
}

/// Whether the summary of the generation in `dir` is one that an earlier version wrote, and this one does not believe.
pub(super) fn is_of_earlier_version(dir: &Path) -> bool {
    let mut bytes = Vec::new();
    let read = fs::File::open(path(dir)).and_then(|file| file.take(HEAD_BYTES_MAX).read_to_end(&mut bytes));
    read.is_ok() && is_of_first_form(&bytes)
}

fn is_of_first_form(bytes: &[u8]) -> bool {
    frame::read(bytes).is_ok_and(|record| record.key == key(keys::SUMMARY, 0))
}

pub(super) fn parse(mut bytes: &[u8], no: u32, roster: &Roster) -> Result<(u64, Summary), StoreError> {
    let mut number = FORM_2;
    let mut next = || {
        let wrong = |what: String| ReadError::Damaged(format!("value {} of its summary: {what}", number - FORM_2));
        let frame::Record { key: found, payload, .. } = frame::read(bytes).map_err(|error| wrong(error.to_string()))?;
        if found != key(keys::SUMMARY, number) {
            return Err(wrong("it is another one".to_owned()));
        }
        bytes = &bytes[frame::OVERHEAD + payload.len()..];
        number += 1;
        Ok(payload)
    };
    let head: Head = rows::decode_single(next()?)?;
    let mut names = Vec::new();
    for _ in 0..head.names {
        rows::unpack(next()?, |name: &str| {
            names.push(EndpointName::parse(name).map(|name| roster.number(&name)));
            true
        })?;
    }
    let mut bits = Vec::new();
    for _ in 0..head.filters {
        bits.extend_from_slice(next()?);
    }
    let told = head.pending.saturating_add(head.dead);
    let mut deliveries = Vec::with_capacity(usize::try_from(told).unwrap_or(0).min(1 << 20));
    for _ in 0..head.packs {
        rows::unpack(next()?, |row: Row| {
            if let Some(Ok(endpoint)) = names.get(usize::from(row.endpoint)) {
                deliveries.push(row.told(no, *endpoint));
            }
            true
        })?;
    }
    let wrong = |what: &str| ReadError::Damaged(format!("its summary: {what}"));
    let pending = deliveries.iter().filter(|one| one.waits()).count() as u64;
    if pending != head.pending || deliveries.len() as u64 != told {
        return Err(wrong("it tells another number of deliveries than it names").into());
    }
    let filter = Filter::from_bytes(bits).ok_or_else(|| wrong("its filter is none"))?;
    let life = Life {
        pending: head.pending,
        last_at: head.last_at,
        disorder_ms: head.disorder_ms,
        changed_at: head.changed_at,
        marked_done: head.marked_done,
        summarised: true,
    };
    Ok((head.db_bytes, Summary { life, filter, deliveries }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(roster: &Roster) -> Summary {
        let endpoint = |n: u32| roster.number(&EndpointName::parse(&format!("endpoint-{}", n % 3)).unwrap());
        let at = |ms: u32| UnixMs(1_700_000_000_000 + u64::from(ms));
        let one = |n: u32| {
            let delivery = DeliveryRef { event: EventRef { generation: 7, seq: n }, endpoint: endpoint(n) };
            let key = n.is_multiple_of(2).then_some(KeyHash(u64::from(n) << 40));
            if n.is_multiple_of(3) {
                return Recovered::Dead(Fallen { delivery, died_at: at(n * 7), key });
            }
            let (accepted_at, next_at) = (at(n + 1_000), at(n * 1000));
            Recovered::Waiting(Waiting {
                delivery,
                accepted_at,
                next_at,
                progress: Progress { tries: 1, made: 2 },
                key,
            })
        };
        let life = Life {
            pending: 6_000,
            last_at: UnixMs(5),
            disorder_ms: 7,
            changed_at: UnixMs(6),
            marked_done: false,
            summarised: false,
        };
        let filter = Filter::over(
            (0..9_000).map(|n| super::super::ids::id_hash(&n.to_string())).collect::<Vec<_>>().into_iter(),
        );
        Summary { life, filter, deliveries: (0..9_000).map(one).collect() }
    }

    #[test]
    fn a_summary_comes_back_and_any_damage_to_it_makes_it_none() {
        let dir = tempfile::tempdir().unwrap();
        let roster = Roster::shared();
        let written = summary(&roster);
        assert!(read(dir.path(), 7, &roster).is_none());
        fs::write(dir.path().join("db"), [0; 1000]).unwrap();
        draft(dir.path(), Mark::new([4; 8]), &roster, &written).unwrap();
        assert!(read(dir.path(), 7, &roster).is_none(), "a draft does not count");
        publish(dir.path()).unwrap();
        // Another process numbers the endpoints in another way.
        let other = Roster::shared();
        other.number(&EndpointName::parse("another").unwrap());
        let found = read(dir.path(), 7, &other).unwrap();
        assert_eq!(found.deliveries.len(), 9_000);
        for (was, is) in written.deliveries.iter().zip(&found.deliveries) {
            let no = is.delivery().endpoint;
            assert_eq!(roster.name(was.delivery().endpoint), other.name(no));
            let mut was = *was;
            match &mut was {
                Recovered::Waiting(one) => one.delivery.endpoint = no,
                Recovered::Dead(one) => one.delivery.endpoint = no,
            }
            assert_eq!(was, *is);
        }
        assert_eq!(found.filter, written.filter);
        let sound = fs::read(path(dir.path())).unwrap();
        for at in (30..sound.len()).step_by(1_009) {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x40;
            fs::write(path(dir.path()), &damaged).unwrap();
            // The mark is nobody's business here; all else is.
            assert!(read(dir.path(), 7, &roster).is_none() || sound[at..].starts_with(&[4]), "byte {at}");
        }
        fs::write(path(dir.path()), &sound[..sound.len() - 1]).unwrap();
        assert!(read(dir.path(), 7, &roster).is_none());
        fs::write(path(dir.path()), &sound).unwrap();
        fs::write(dir.path().join("db"), [0; 999]).unwrap();
        assert!(read(dir.path(), 7, &roster).is_none(), "the database is shorter than it was");
        remove(dir.path()).unwrap();
        remove(dir.path()).unwrap();
    }
}
