//! Whether a data folder is sound. Nothing in it is changed, not even by the file LOCK.
//!
//! Each generation is read twice where that is possible: straight from its file, as a rescue would read it, and through the
//! engine on a copy, as the daemon does. Where the engine opens it, what it tells counts, and the file must hold the same;
//! where it does not, the file tells what could be saved.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::trial::{Trial, try_engine};
use super::verify::{Verified, compare, verify};
use super::{OfflineError, Progress, cannot_read, open};
use crate::model::roster::Roster;
use crate::outbox::OpenError;
use crate::outbox::carve::Carved;
use crate::outbox::caution::{copy_path, is_closed_for_good};
use crate::outbox::damage::{self, Damage};
use crate::outbox::endpoints::EndpointRecords;
use crate::outbox::folder::{Folder, measure};
use crate::outbox::generation::{Generation, Identity};
use crate::outbox::news::Recovered;
use crate::outbox::survey::{self, Survey};
use crate::outbox::watermark::{self, Watermark};
use crate::outbox::{index, roll, summary};

/// What to do about most damage.
pub(super) const START: &str =
    "start webhookd: when it meets this it saves what is left and sets the damaged one aside";
/// What to do where the daemon would not notice.
pub(super) const EXPORT: &str =
    "bring everything into a new folder, with `webhookd store export` and `webhookd store import`";
const RESTORE: &str = "restore it from a backup if there is one; webhookd starts without it and reports it as lost";

/// Something that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it is.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// What was found in a data folder.
#[derive(Debug)]
pub struct CheckReport {
    /// The generations that are there, oldest first.
    pub generations: Vec<GenerationReport>,
    /// Faults of the folder as a whole.
    pub faults: Vec<Fault>,
    /// What lies set aside.
    pub set_aside: Vec<Damage>,
    /// What is harmless.
    pub notes: Vec<String>,
}

impl CheckReport {
    /// Whether nothing is wrong, and nothing was.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
            && self.set_aside.is_empty()
            && self.generations.iter().all(|generation| generation.faults.is_empty())
    }
}

/// What was found in one generation.
#[derive(Debug)]
pub struct GenerationReport {
    /// Its number.
    pub generation: u32,
    /// Whether it takes no more events.
    pub sealed: bool,
    /// Whether it was saved from a damaged one.
    pub rescued: bool,
    /// Its events.
    pub events: u64,
    /// Those of them that lost their body before, which was told then.
    pub without_body: u64,
    /// Deliveries that are pending.
    pub pending: u64,
    /// Deliveries that were made.
    pub delivered: u64,
    /// Deliveries that were given up.
    pub dead: u64,
    /// Attempts that were made.
    pub attempts: u64,
    /// Records that were verified.
    pub records: u64,
    /// Bytes that it takes on disk.
    pub disk_bytes: u64,
    /// Whether the storage engine can open it.
    pub engine: Engine,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
    /// What is harmless.
    pub notes: Vec<String>,
}

/// Whether the storage engine can open a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// It can.
    Opened,
    /// It cannot.
    Failed,
    /// It was not tried.
    Skipped,
}

/// Checks the data folder `dir`. `quick`: without trying the storage engine on a copy.
///
/// # Errors
/// See [`OfflineError`]: only what keeps it from being checked at all.
pub fn check(dir: &Path, quick: bool, watch: &mut dyn FnMut(Progress)) -> Result<CheckReport, OfflineError> {
    let (folder, format) = open(dir)?;
    let places = places(&folder)?;
    let mut report = CheckReport {
        generations: Vec::with_capacity(places.len()),
        faults: folder_faults(&folder, format, &places),
        set_aside: if places_can_be_read(&folder) { folder.damages().map_err(cannot_read(dir))? } else { Vec::new() },
        notes: Vec::new(),
    };
    check_endpoints(&folder, &mut report.faults)?;
    if places_can_be_read(&folder) {
        let left = folder.leftovers().map_err(cannot_read(dir))?;
        report.notes.extend(
            left.iter().map(|path| format!("{} is left of a crash; the next start removes it", path.display())),
        );
    }
    let sizes: Vec<u64> = places.iter().map(|(_, dir)| measure(dir).0).collect();
    let mut progress = Progress { done_bytes: 0, total_bytes: sizes.iter().sum() };
    for ((no, dir), bytes) in places.iter().zip(sizes) {
        watch(progress);
        report.generations.push(check_generation(&folder, *no, dir, quick)?);
        progress.done_bytes += bytes;
    }
    watch(progress);
    Ok(report)
}

fn places_can_be_read(folder: &Folder) -> bool {
    folder.dir().join("outbox").is_dir()
}

/// The generations as the next start finds them.
pub(super) fn places(folder: &Folder) -> Result<Vec<(u32, PathBuf)>, OfflineError> {
    match folder.places() {
        Ok(places) => Ok(places),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(cannot_read(&folder.dir().join("outbox"))(source)),
    }
}

/// What is wrong with the folder as a whole. `format`: what is wrong with its file FORMAT.
pub(super) fn folder_faults(folder: &Folder, format: Option<String>, places: &[(u32, PathBuf)]) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Some(what) = format {
        let remedy = format!("restore that small file from a backup, or {EXPORT}; webhookd does not start without it");
        faults.push(Fault::new(format!("the file FORMAT: {what}"), remedy));
    }
    let there: BTreeSet<u32> = places.iter().map(|(no, _)| *no).collect();
    match roll::numbers(folder) {
        Some(numbers) => {
            // Where a crash came while one was removed, that one is on the list still.
            let removed = folder.half_removed().unwrap_or_default();
            let missing: Vec<u32> = numbers.difference(&there).filter(|no| !removed.contains(no)).copied().collect();
            let remedy = if there.is_empty() {
                "restore them from a backup; without any of them webhookd does not start, unless the whole folder is removed"
            } else {
                RESTORE
            };
            faults.extend(missing.iter().map(|no| Fault::new(format!("generation {no} is missing"), remedy)));
        }
        None if there.is_empty() => faults.push(Fault::new(
            "there is no generation, and the file generations, which lists them, is missing or damaged",
            "restore the folder from a backup; as it is webhookd does not start on it",
        )),
        None => faults.push(Fault::new(
            "the file generations, which tells how many there must be, is missing or damaged",
            "start webhookd: it makes it anew of those that are there; whether others are missing nobody can tell",
        )),
    }
    faults
}

fn check_endpoints(folder: &Folder, faults: &mut Vec<Fault>) -> Result<(), OfflineError> {
    match EndpointRecords::open(folder.endpoints(), folder.mark()) {
        Ok(_) => {}
        Err(OpenError::Damaged { what, .. }) => faults.push(Fault::new(
            format!("the file endpoints is damaged: {what}"),
            "start webhookd: it sets the file aside, and all endpoints are active then, also those that were paused or disabled",
        )),
        Err(error) => return Err(error.into()),
    }
    let aside = folder.endpoints().with_extension("damaged");
    if aside.exists() {
        let remedy = format!("pause again what must not be delivered to, then remove {}", aside.display());
        faults.push(Fault::new(
            "the states of the endpoints were damaged and lie set aside: all counted as active",
            remedy,
        ));
    }
    Ok(())
}

/// A generation's file, read past the engine.
pub(super) struct Carving {
    pub(super) carved: Carved,
    pub(super) survey: Survey,
    pub(super) durable: Watermark,
    /// Records that are intact, whether they belong or not.
    pub(super) records: u64,
}

/// Reads the file of the generation in `dir`.
pub(super) fn carve(folder: &Folder, dir: &Path) -> io::Result<Carving> {
    let mut carved = Carved::open(dir, folder.mark())?;
    let records = carved.len() as u64;
    let durable = watermark::read(dir);
    let survey = survey::survey(&mut carved, durable, None)?;
    Ok(Carving { carved, survey, durable, records })
}

/// Whether a generation once had a database and has none.
pub(super) fn database_is_gone(dir: &Path) -> bool {
    !dir.join("db").exists() && (dir.join("conf").exists() || dir.join("durable").exists())
}

fn check_generation(folder: &Folder, no: u32, dir: &Path, quick: bool) -> Result<GenerationReport, OfflineError> {
    let Carving { carved, survey, durable, records } = carve(folder, dir).map_err(cannot_read(dir))?;
    let (disk_bytes, blobs) = measure(dir);
    let mut report = GenerationReport {
        generation: no,
        sealed: survey.seal.is_some(),
        rescued: survey.seal.is_some_and(|seal| seal.rescued),
        events: 0,
        without_body: 0,
        pending: 0,
        delivered: 0,
        dead: 0,
        attempts: 0,
        records,
        disk_bytes,
        engine: Engine::Skipped,
        faults: Vec::new(),
        notes: Vec::new(),
    };
    if blobs > 0 {
        let what = format!("there are {blobs} blob files, which the storage engine never makes durable");
        report.faults.push(Fault::new(what, EXPORT));
    }
    if carved.unreadable_bytes > 0 {
        let what = format!("the disk does not give out {} bytes of its file", carved.unreadable_bytes);
        report.faults.push(Fault::new(what, START));
    }
    if database_is_gone(dir) {
        report.faults.push(Fault::new(format!("its file db is gone; {}", loss(&survey, records, durable)), START));
        return Ok(report);
    }
    let roster = Roster::shared();
    let identity = Identity { no, mark: folder.mark(), roster: Arc::clone(&roster) };
    // One that is sealed is never given to the engine again, once it was closed.
    let closed = survey.seal.is_some() && is_closed_for_good(dir);
    let trial = if quick || closed || !dir.join("db").exists() {
        Trial::Skipped(String::new())
    } else if copy_path(dir).exists() {
        Trial::Skipped("a crash came while it was opened; the next start writes it anew".to_owned())
    } else {
        try_engine(dir, identity.clone())
    };
    let lost = loss(&survey, records, durable);
    if !survey.loss().is_none() && !matches!(trial, Trial::Failed(_)) {
        report.faults.push(Fault::new(format!("records are missing: {lost}"), START));
    }
    let verified = match trial {
        Trial::Opened(opened) => match opened.generation() {
            Some(generation) => {
                report.engine = Engine::Opened;
                let mut verified = verify(generation);
                report.records = compare(generation, &carved, &mut verified);
                verified
            }
            None => Verified::default(),
        },
        Trial::Failed(error) => {
            report.engine = Engine::Failed;
            let what = format!("the storage engine cannot open it ({error}); {lost}");
            report.faults.push(Fault::new(what, START));
            verify_carved(carved, &survey, identity)
        }
        Trial::Skipped(why) => {
            if !why.is_empty() {
                report.notes.push(format!("the storage engine was not tried on it: {why}"));
            }
            verify_carved(carved, &survey, identity)
        }
    };
    report.pending = verified.pending();
    let Verified { events, delivered, dead, attempts, without_body, mut deliveries, faults, hashes, .. } = verified;
    (report.events, report.delivered, report.dead, report.attempts) = (events, delivered, dead, attempts);
    report.without_body = without_body;
    report.faults.extend(faults);
    check_ids(dir, &hashes, &mut report);
    check_summary(dir, no, &roster, &mut deliveries, &mut report);
    Ok(report)
}

fn verify_carved(carved: Carved, survey: &Survey, of: Identity) -> Verified {
    match Generation::carved(carved, of, survey.events_end) {
        Ok(generation) => verify(&generation),
        Err(error) => Verified::nothing(Fault::new(error.to_string(), START)),
    }
}

/// What can be saved, in words.
pub(super) fn loss(survey: &Survey, records: u64, durable: Watermark) -> String {
    let mut loss = survey.loss();
    loss.unknown = records == 0 && durable == Watermark::default();
    loss.to_string()
}

/// Whether every event of a sealed generation is found by its id, and by its key.
fn check_ids(dir: &Path, hashes: &[u64], report: &mut GenerationReport) {
    let mut missing = 0;
    for hash in hashes {
        match index::find(dir, *hash) {
            Ok(found) => missing += u64::from(found.is_none()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                report
                    .notes
                    .push(format!("its file with the ids is damaged ({error}); it is written anew where it is needed"));
                return;
            }
        }
    }
    if missing > 0 {
        let what = format!(
            "{missing} ids are missing in its file with the ids: a repeat of such an event would be taken for a new one"
        );
        report.faults.push(Fault::new(what, "remove its file `ids`: webhookd writes it anew"));
    }
}

/// Holds the summary, which the next start believes, against the records.
fn check_summary(
    dir: &Path,
    no: u32,
    roster: &Arc<Roster>,
    deliveries: &mut [Recovered],
    report: &mut GenerationReport,
) {
    let path = dir.join("summary");
    if !path.exists() {
        return;
    }
    if summary::is_of_earlier_version(dir) {
        report.notes.push("its summary is of an earlier version; the next start writes it anew".to_owned());
        return;
    }
    let Some(mut summary) = summary::read(dir, no, roster) else {
        let what = "its summary is damaged, or older than its database was cut";
        let remedy = "start webhookd: it reads the generation itself then, and mends that where it must";
        report.faults.push(Fault::new(what, remedy));
        return;
    };
    deliveries.sort_unstable_by_key(Recovered::delivery);
    summary.deliveries.sort_unstable_by_key(Recovered::delivery);
    if summary.deliveries != *deliveries && report.faults.is_empty() {
        let (told, found) = (summary.deliveries.len(), deliveries.len());
        let what = format!(
            "its summary contradicts its records: {told} deliveries pending or dead are told, {found} are there"
        );
        report.faults.push(Fault::new(what, format!("remove {}: webhookd writes it anew", path.display())));
    }
}

/// What to do about something that lies set aside.
#[must_use]
pub fn remedy_of(damage: &Damage) -> String {
    format!("look at {}, then remove the folder", damage.folder.join(damage::REPORT).display())
}
