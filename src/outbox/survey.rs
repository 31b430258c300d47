//! What the records carved out of a generation's file amount to: which belong together, and what is missing between them.
//!
//! Everything is numbered without gaps, so that whatever is missing leaves one: heads begin where those before them end, the
//! pieces of the stream of bodies too, and packs of states and attempts count up. Only the end can be missing without a gap;
//! that is what the seal and the watermark are for.

use std::collections::BTreeSet;
use std::ops::Range;

use super::carve::Carved;
use super::damage::{IDS_MAX, Loss};
use super::frame;
use super::keys::{self, Key, key};
use super::rows::{self, COMMIT_ENDS, HeadRow, SealRow, StateRow};
use super::watermark::Watermark;

/// What a generation holds and lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// One more than the highest number of an event that there is or was.
    pub(super) events_end: u32,
    /// Numbers of events that are gone.
    pub(super) events_gone: Vec<Range<u32>>,
    /// Events whose body is gone, by number and id; only so many are named.
    pub(super) without_body: Vec<(u32, String)>,
    /// Packs of states, attempts and endpoint names that are gone.
    pub(super) packs_gone: u64,
    /// The seal, where it is there.
    pub(super) seal: Option<SealRow>,
}

impl Survey {
    /// What of it is a loss.
    pub(super) fn loss(&self) -> Loss {
        let events_lost = self.events_gone.iter().map(|gone| u64::from(gone.end - gone.start)).sum();
        Loss {
            events_kept: u64::from(self.events_end) - events_lost,
            events_lost,
            without_body: self.without_body.iter().map(|(_, id)| id.clone()).collect(),
            packs_lost: self.packs_gone,
            unknown: false,
        }
    }
}

/// Goes through what was carved, and leaves out what does not belong: what is left of commits that never finished, and events
/// from number `know_only` on. `durable` is what there must be at least.
pub(super) fn survey(carved: &mut Carved, durable: Watermark, know_only: Option<u32>) -> std::io::Result<Survey> {
    let mut survey = Survey { seal: read_row(carved, &key(keys::SEAL, 0))?, ..Survey::default() };
    let sealed = survey.seal.map(|seal| seal.events);
    let promised = durable.events.max(sealed.unwrap_or(0)).min(know_only.unwrap_or(u32::MAX));
    let limit = know_only.or(sealed).unwrap_or(u32::MAX);
    survey_heads(carved, &mut survey, promised, limit)?;
    survey_bodies(carved, &mut survey)?;
    for (kind, promised) in [(keys::STATES, durable.state_packs), (keys::ATTEMPTS, 0), (keys::NAME, 0)] {
        let (mut there, mut end) = (0, 0);
        for number in carved.numbers(kind) {
            there += 1;
            end = number + 1;
        }
        survey.packs_gone += end.max(u64::from(promised)) - there;
    }
    // A generation that was rescued lacks what it lacked then, and that was told.
    if survey.seal.is_some_and(|seal| seal.rescued) {
        survey.events_gone.clear();
        survey.without_body.clear();
        survey.packs_gone = 0;
    }
    Ok(survey)
}

fn survey_heads(carved: &mut Carved, survey: &mut Survey, promised: u32, limit: u32) -> std::io::Result<()> {
    let packs: Vec<u64> = carved.numbers(keys::HEADS).collect();
    let mut end = 0;
    // Packs of a commit whose last one has not come yet, and where the first of them begins.
    let mut open: Vec<(u64, u32)> = Vec::new();
    for number in packs {
        let key = key(keys::HEADS, number);
        let found = carved.get(&key)?;
        let pack = found.as_deref().and_then(|value| head_pack(&key, value));
        let (Some((flags, rows)), Ok(first)) = (pack, u32::try_from(number)) else {
            carved.leave_out(&key);
            continue;
        };
        // One that lies within another is left of a commit that never finished, and whose numbers were given again.
        if first < end || first >= limit {
            carved.leave_out(&key);
            continue;
        }
        if first > end {
            survey.events_gone.push(end..first);
        }
        end = first + rows;
        if flags & COMMIT_ENDS == 0 {
            open.push((number, first));
        } else {
            open.clear();
        }
    }
    // A commit at the end without its last pack was never acknowledged, unless it is known to have been.
    if let Some(&(_, first)) = open.first()
        && first >= promised
    {
        for (number, _) in &open {
            carved.leave_out(&key(keys::HEADS, *number));
        }
        end = first;
    }
    if end < promised {
        survey.events_gone.push(end..promised);
        end = promised;
    }
    survey.events_end = end;
    Ok(())
}

/// Finds the events whose body has a gap.
fn survey_bodies(carved: &Carved, survey: &mut Survey) -> std::io::Result<()> {
    let mut gaps: Vec<Range<u64>> = Vec::new();
    let mut end = 0;
    carved.scan(keys::BODY, 0, |found, value| {
        let start = keys::number(&found).unwrap_or(0);
        if start > end {
            gaps.push(end..start);
        }
        end = end.max(start + frame::open(&found, &value).map_or(0, <[u8]>::len) as u64);
        true
    })?;
    let whole = |range: Range<u64>| {
        let at = gaps.partition_point(|gap| gap.end <= range.start);
        range.end <= end && gaps.get(at).is_none_or(|gap| gap.start >= range.end)
    };
    let mut without = Vec::new();
    each_numbered_head(carved, |seq, row| {
        let bytes = u64::from(row.extras_bytes) + u64::from(row.body_bytes);
        if bytes > 0 && !whole(row.offset..row.offset + bytes) && without.len() < IDS_MAX {
            without.push((seq, row.id.to_owned()));
        }
    })?;
    survey.without_body = without;
    Ok(())
}

/// Calls `each` with every head that was carved, and its number.
pub(super) fn each_numbered_head(carved: &Carved, mut each: impl FnMut(u32, &HeadRow<'_>)) -> std::io::Result<()> {
    carved.scan(keys::HEADS, 0, |found, value| {
        let first = keys::number(&found).and_then(|first| u32::try_from(first).ok());
        if let (Some(mut seq), Ok(payload)) = (first, frame::open(&found, &value)) {
            // The survey left out packs that cannot be read to their end.
            let _ = rows::unpack(payload, |row: HeadRow<'_>| {
                each(seq, &row);
                seq += 1;
                true
            });
        }
        true
    })
}

/// The generation's own numbers of endpoints whose name is gone.
pub(super) fn nameless(carved: &Carved) -> std::io::Result<Vec<u16>> {
    let mut used = BTreeSet::new();
    each_numbered_head(carved, |_, row| used.extend(row.targets.iter().copied()))?;
    carved.scan(keys::STATES, 0, |found, value| {
        if let Ok(payload) = frame::open(&found, &value) {
            let _ = rows::unpack(payload, |row: StateRow| {
                used.insert(row.endpoint);
                true
            });
        }
        true
    })?;
    for number in carved.numbers(keys::NAME) {
        let _ = u16::try_from(number).map(|local| used.remove(&local));
    }
    Ok(used.into_iter().collect())
}

/// What an endpoint is called whose name is gone, so that its deliveries are kept, and shown.
pub(super) fn name_for_nameless(local: u16) -> String {
    format!("lost-name-{local}")
}

fn head_pack(key: &Key, value: &[u8]) -> Option<(u8, u32)> {
    rows::unpack(frame::open(key, value).ok()?, |_: HeadRow<'_>| true).ok()
}

fn read_row<R: for<'a> serde::Deserialize<'a>>(carved: &Carved, key: &Key) -> std::io::Result<Option<R>> {
    let Some(value) = carved.get(key)? else { return Ok(None) };
    Ok(frame::open(key, &value).ok().and_then(|payload| rows::decode_single(payload).ok()))
}
