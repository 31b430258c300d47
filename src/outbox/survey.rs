//! What the records carved out of a generation's file amount to: which belong together, and what is missing between them.
//!
//! Everything is numbered without gaps, so that whatever is missing leaves one: heads begin where those before them end, the
//! pieces of the stream of bodies too, and packs of states and attempts count up. Only the end can be missing without a gap;
//! that is what the seal and the watermark are for.
//!
//! Not every gap is damage. A power cut may keep a later page of a commit and lose an earlier one; that commit was never
//! acknowledged. So what lies behind the watermark counts as lost only where a whole later commit follows it.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;

use super::carve::Carved;
use super::damage::{IDS_MAX, Loss};
use super::frame;
use super::gaps::Gaps;
use super::keys::{self, Key, key};
use super::rows::{self, COMMIT_ENDS, HeadRow, SealRow, StateRow};
use super::watermark::Watermark;

/// What a generation holds and lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// One more than the highest number of an event that there is or was.
    pub(super) events_end: u32,
    /// What is missing.
    pub(super) gaps: Gaps,
    /// What of that was not told before.
    new: Gaps,
    /// Events whose body is gone and was not told to be; no more than [`IDS_MAX`] are named.
    without_body: Vec<String>,
    bodies_gone: u64,
    /// One more than the highest number of a pack of states that there is or was.
    pub(super) state_packs_end: u32,
    /// Packs of states and attempts that are missing at the end, where others will take their numbers.
    packs_cut: u64,
    /// The seal, where it is there.
    pub(super) seal: Option<SealRow>,
}

impl Survey {
    /// What of it is a loss.
    pub(super) fn loss(&self) -> Loss {
        Loss {
            events_kept: u64::from(self.events_end).saturating_sub(self.gaps.count(keys::HEADS)),
            events_lost: self.new.count(keys::HEADS),
            bodies_lost: self.bodies_gone,
            without_body: self.without_body.clone(),
            names_lost: self.new.count(keys::NAME),
            packs_lost: self.new.count(keys::STATES) + self.new.count(keys::ATTEMPTS) + self.packs_cut,
            unknown: false,
        }
    }
}

/// A pack of heads.
#[derive(Clone, Copy, Debug)]
struct HeadPack {
    first: u32,
    end: u32,
    ends_commit: bool,
}

/// Goes through what was carved, and leaves out what does not belong: what is left of commits that never finished, and events
/// from number `know_only` on. `durable` is what there must be at least.
pub(super) fn survey(carved: &mut Carved, durable: Watermark, know_only: Option<u32>) -> io::Result<Survey> {
    let mut survey = Survey { seal: read_row(carved, &key(keys::SEAL, 0))?, ..Survey::default() };
    let sealed = survey.seal.map(|seal| seal.events);
    let promised = durable.events.max(sealed.unwrap_or(0)).min(know_only.unwrap_or(u32::MAX));
    let limit = know_only.or(sealed).unwrap_or(u32::MAX);
    let known = Gaps::kept(carved)?;
    let bodies = Bodies::of(carved)?;
    let packs = head_packs(carved, limit)?;
    survey_heads(carved, &mut survey, &bodies, packs, promised)?;
    survey.state_packs_end = survey_packs(carved, &mut survey, keys::STATES, durable.state_packs, &known);
    survey_packs(carved, &mut survey, keys::ATTEMPTS, durable.attempt_packs, &known);
    for local in nameless(carved, durable.state_packs)?.into_iter().map(u64::from) {
        survey.gaps.note(keys::NAME, local..local + 1);
    }
    let mut bodies_end = bodies.end;
    each_numbered_head(carved, |_, row| bodies_end = bodies_end.max(body_range(row).end))?;
    for gap in bodies.gaps {
        survey.gaps.note(keys::BODY, gap);
    }
    survey.gaps.note(keys::BODY, bodies.end..bodies_end);
    survey.new = survey.gaps.less(&known);
    let Survey { new, without_body, bodies_gone, .. } = &mut survey;
    each_numbered_head(carved, |_, row| {
        if new.touch(keys::BODY, &body_range(row)) {
            *bodies_gone += 1;
            if without_body.len() < IDS_MAX {
                without_body.push(row.id.to_owned());
            }
        }
    })?;
    Ok(survey)
}

/// The packs of heads that belong together, in order.
fn head_packs(carved: &mut Carved, limit: u32) -> io::Result<Vec<HeadPack>> {
    let numbers = carved.numbers(keys::HEADS);
    let mut packs: Vec<HeadPack> = Vec::with_capacity(numbers.len());
    for number in numbers {
        let key = key(keys::HEADS, number);
        let found = carved.get(&key)?;
        let pack = found.as_deref().and_then(|value| head_pack(&key, value));
        let before = packs.last().map_or(0, |pack| pack.end);
        let fits = |(flags, rows): (u8, u32)| {
            let first = u32::try_from(number).ok().filter(|first| *first >= before && *first < limit)?;
            Some(HeadPack { first, end: first.checked_add(rows)?, ends_commit: flags & COMMIT_ENDS != 0 })
        };
        match pack.and_then(fits) {
            Some(pack) => packs.push(pack),
            // One that lies within another is left of a commit that never finished, and whose numbers were given again.
            None => carved.leave_out(&key),
        }
    }
    Ok(packs)
}

fn survey_heads(
    carved: &mut Carved,
    survey: &mut Survey,
    bodies: &Bodies,
    mut packs: Vec<HeadPack>,
    promised: u32,
) -> io::Result<()> {
    // A commit at the end without its last pack was never acknowledged, unless it is known to have been.
    let finished = packs.iter().rposition(|pack| pack.ends_commit).map_or(0, |last| last + 1);
    leave_out_from(carved, &mut packs, finished, promised);
    // Nor was the last one, if something of it is missing.
    let before = packs.len().saturating_sub(1);
    let start = packs[..before].iter().rposition(|pack| pack.ends_commit).map_or(0, |last| last + 1);
    if !is_whole(carved, bodies, &packs, start)? {
        leave_out_from(carved, &mut packs, start, promised);
    }
    let mut end = 0;
    for pack in &packs {
        survey.gaps.note(keys::HEADS, u64::from(end)..u64::from(pack.first));
        end = pack.end;
    }
    survey.gaps.note(keys::HEADS, u64::from(end)..u64::from(promised));
    survey.events_end = end.max(promised);
    Ok(())
}

/// Whether the commit that begins with pack number `start` has all its heads and bodies, and the names of its endpoints.
fn is_whole(carved: &Carved, bodies: &Bodies, packs: &[HeadPack], start: usize) -> io::Result<bool> {
    let mut end = start.checked_sub(1).and_then(|before| packs.get(before)).map_or(0, |pack| pack.end);
    let Some(first) = packs.get(start) else { return Ok(true) };
    for pack in &packs[start..] {
        if pack.first != end {
            return Ok(false);
        }
        end = pack.end;
    }
    let names: BTreeSet<u64> = carved.numbers(keys::NAME).into_iter().collect();
    let mut whole = true;
    each_head_from(carved, first.first, |_, row| {
        whole &= bodies.has(row) && row.targets.iter().all(|local| names.contains(&u64::from(*local)));
    })?;
    Ok(whole)
}

/// Leaves out the packs from number `from` on, if they were never promised.
fn leave_out_from(carved: &mut Carved, packs: &mut Vec<HeadPack>, from: usize, promised: u32) {
    if packs.get(from).is_some_and(|pack| pack.first >= promised) {
        for pack in packs.drain(from..) {
            carved.leave_out(&key(keys::HEADS, u64::from(pack.first)));
        }
    }
}

/// Notes what is missing of packs that count up, and leaves out what lies behind a gap that nobody promised to be none, and
/// that was not told before. Returns the number of the next pack.
fn survey_packs(carved: &mut Carved, survey: &mut Survey, kind: u8, promised: u32, known: &Gaps) -> u32 {
    let promised = u64::from(promised);
    let mut end = 0;
    for number in carved.numbers(kind) {
        if number > end && end >= promised && !known.touch(kind, &(end..number)) {
            carved.leave_out(&key(kind, number));
            continue;
        }
        survey.gaps.note(kind, end..number);
        end = number.saturating_add(1);
    }
    survey.packs_cut += promised.saturating_sub(end);
    u32::try_from(end.max(promised)).unwrap_or(u32::MAX)
}

/// Which parts of the stream of bodies are there.
struct Bodies {
    gaps: Vec<Range<u64>>,
    end: u64,
}

impl Bodies {
    fn of(carved: &Carved) -> io::Result<Self> {
        let (mut gaps, mut end) = (Vec::new(), 0);
        carved.scan(keys::BODY, 0, |found, value| {
            let start = keys::number(&found).unwrap_or(0);
            if start > end {
                gaps.push(end..start);
            }
            let bytes = frame::open(&found, &value).map_or(0, <[u8]>::len) as u64;
            end = end.max(start.saturating_add(bytes));
            true
        })?;
        Ok(Self { gaps, end })
    }

    fn has(&self, row: &HeadRow<'_>) -> bool {
        let Range { start, end } = body_range(row);
        let at = self.gaps.partition_point(|gap| gap.end <= start);
        start == end || (end <= self.end && self.gaps.get(at).is_none_or(|gap| gap.start >= end))
    }
}

/// Where an event's body lies in the stream, with what stands in front of it.
fn body_range(row: &HeadRow<'_>) -> Range<u64> {
    let bytes = u64::from(row.extras_bytes) + u64::from(row.body_bytes);
    row.offset..row.offset.saturating_add(bytes)
}

/// Calls `each` with every head that was carved, and its number.
pub(super) fn each_numbered_head(carved: &Carved, each: impl FnMut(u32, &HeadRow<'_>)) -> io::Result<()> {
    each_head_from(carved, 0, each)
}

fn each_head_from(carved: &Carved, from: u32, mut each: impl FnMut(u32, &HeadRow<'_>)) -> io::Result<()> {
    carved.scan(keys::HEADS, u64::from(from), |found, value| {
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

/// The generation's own numbers of endpoints whose name is gone, of those that heads and the packs of states before number
/// `state_packs` speak of.
pub(super) fn nameless(carved: &Carved, state_packs: u32) -> io::Result<BTreeSet<u16>> {
    let mut used = BTreeSet::new();
    each_numbered_head(carved, |_, row| used.extend(row.targets.iter().copied()))?;
    carved.scan(keys::STATES, 0, |found, value| {
        if keys::number(&found).is_none_or(|number| number >= u64::from(state_packs)) {
            return false;
        }
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
    Ok(used)
}

/// What an endpoint is called whose name is gone, so that its deliveries are kept, and shown.
pub(super) fn name_for_nameless(local: u16) -> String {
    format!("lost-name-{local}")
}

fn head_pack(key: &Key, value: &[u8]) -> Option<(u8, u32)> {
    rows::unpack(frame::open(key, value).ok()?, |_: HeadRow<'_>| true).ok()
}

fn read_row<R: for<'a> serde::Deserialize<'a>>(carved: &Carved, key: &Key) -> io::Result<Option<R>> {
    let Some(value) = carved.get(key)? else { return Ok(None) };
    Ok(frame::open(key, &value).ok().and_then(|payload| rows::decode_single(payload).ok()))
}
