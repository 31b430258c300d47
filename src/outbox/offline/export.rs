//! Everything in a data folder as lines of JSON: what is kept of endpoints, then the events in the order of their
//! acceptance. Read straight from the files: a generation that the engine cannot open any more costs what is damaged in it, no
//! more.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::check::{self, Carving, Fault, START};
use super::endpoint_line;
use super::histories::{self, Histories};
use super::line::{self, Delivery};
use super::{OfflineError, Progress, cannot_read, open};
use crate::model::roster::Roster;
use crate::outbox::endpoints::EndpointRecords;
use crate::outbox::folder::{Folder, measure};
use crate::outbox::generation::{Generation, Head, Identity};
use crate::outbox::rows::HeadRow;
use crate::outbox::{OpenError, ReadError, StoreError};

/// What was exported.
#[derive(Debug, Default)]
pub struct Exported {
    /// Events.
    pub events: u64,
    /// Those of them that have lost their body.
    pub without_body: u64,
    /// Endpoints of which something is kept.
    pub endpoints: u64,
    /// What could not be read.
    pub faults: Vec<Fault>,
    /// Folders that lie set aside; what could be saved of them is in the export.
    pub set_aside: u64,
}

/// Hands out every line of the data folder `dir`, each without a line break.
///
/// # Errors
/// See [`OfflineError`]. What is damaged is no error: it is told at the end, and the rest is exported.
pub fn export(
    dir: &Path,
    out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    watch: &mut dyn FnMut(Progress),
) -> Result<Exported, OfflineError> {
    let (folder, format) = open(dir)?;
    let places = check::places(&folder)?;
    let faults = check::folder_faults(&folder, format, &places);
    let set_aside = folder.damages().map_or(0, |damages| damages.len() as u64);
    let mut exporting =
        Exporting { out, line: Vec::new(), done: Exported { faults, set_aside, ..Exported::default() } };
    exporting.endpoints(&folder)?;
    let sizes: Vec<u64> = places.iter().map(|(_, dir)| measure(dir).0).collect();
    let mut progress = Progress { done_bytes: 0, total_bytes: sizes.iter().sum() };
    for ((no, dir), bytes) in places.iter().zip(sizes) {
        watch(progress);
        exporting.generation(&folder, *no, dir)?;
        progress.done_bytes += bytes;
    }
    watch(progress);
    Ok(exporting.done)
}

struct Exporting<'a> {
    out: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
    line: Vec<u8>,
    done: Exported,
}

impl Exporting<'_> {
    fn put(&mut self, written: serde_json::Result<()>) -> Result<(), OfflineError> {
        written.map_err(|error| OfflineError::Output(error.into()))?;
        (self.out)(&self.line).map_err(OfflineError::Output)
    }

    fn endpoints(&mut self, folder: &Folder) -> Result<(), OfflineError> {
        let records = match EndpointRecords::open(folder.endpoints(), folder.mark()) {
            Ok(records) => records.all(),
            Err(OpenError::Damaged { what, .. }) => {
                let remedy = "pause again what must not be delivered to, once webhookd runs on the new folder";
                self.done.faults.push(Fault::new(format!("the file endpoints is damaged: {what}"), remedy));
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        for (name, record) in records {
            self.line.clear();
            let written = endpoint_line::write(&mut self.line, &name, &record);
            self.put(written)?;
            self.done.endpoints += 1;
        }
        Ok(())
    }

    fn generation(&mut self, folder: &Folder, no: u32, dir: &Path) -> Result<(), OfflineError> {
        let Carving { carved, survey, durable, records } = check::carve(folder, dir).map_err(cannot_read(dir))?;
        let fault = |what: String| Fault::new(format!("generation {no}: {what}"), START);
        if check::database_is_gone(dir) {
            self.done.faults.push(fault(format!("its file db is gone; {}", check::loss(&survey, records, durable))));
        } else if !survey.loss().is_none() {
            self.done.faults.push(fault(check::loss(&survey, records, durable)));
        }
        let roster = Roster::shared();
        let identity = Identity { no, mark: folder.mark(), roster: Arc::clone(&roster) };
        let generation = match Generation::carved(carved, identity, survey.events_end) {
            Ok(generation) => generation,
            Err(StoreError::Read(error)) => {
                self.done.faults.push(fault(format!("none of its events can be read: {error}")));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let (histories, read) = Histories::read(&generation);
        let mut trouble = Trouble::default();
        if let Err(error) = read {
            trouble.meet(&error);
        }
        let mut reading = Reading { generation: &generation, roster: &roster, histories, trouble };
        let mut ended = Ok(());
        let scanned = generation.scan_heads(|seq, row| {
            if ended.is_ok() {
                ended = self.event(&mut reading, seq, row);
            }
        });
        ended?;
        if let Err(error) = scanned {
            reading.trouble.meet(&error);
        }
        if reading.trouble.times > 0 {
            let Trouble { times, first } = reading.trouble;
            self.done.faults.push(fault(format!("{times} times something could not be read, first: {first}")));
        }
        Ok(())
    }

    fn event(&mut self, reading: &mut Reading<'_>, seq: u32, row: &HeadRow<'_>) -> Result<(), OfflineError> {
        let Some(head) = reading.head(row) else { return Ok(()) };
        let deliveries = reading.deliveries(seq, &head);
        let event = match reading.generation.event(head.clone()) {
            Ok(event) => Some(event),
            Err(error) => {
                self.done.without_body += 1;
                // The survey has told of those that are lost.
                if !matches!(error, ReadError::Lost(_)) {
                    reading.trouble.meet(&error);
                }
                None
            }
        };
        self.line.clear();
        let written = line::write_event(&mut self.line, &head, event.as_ref(), &deliveries, reading.roster);
        self.put(written)?;
        self.done.events += 1;
        Ok(())
    }
}

/// A generation that is being read, and how that goes.
struct Reading<'a> {
    generation: &'a Generation,
    roster: &'a Roster,
    histories: Histories,
    trouble: Trouble,
}

impl Reading<'_> {
    fn head(&mut self, row: &HeadRow<'_>) -> Option<Head> {
        self.generation.head_of(row).inspect_err(|error| self.trouble.meet(error)).ok()
    }

    fn deliveries(&mut self, seq: u32, head: &Head) -> Vec<Delivery> {
        let pasts = self.histories.take(seq, head);
        let attempts = match histories::attempts(self.generation, seq, &pasts) {
            Ok(attempts) => attempts,
            Err(error) => {
                self.trouble.meet(&error);
                vec![Vec::new(); pasts.len()]
            }
        };
        let delivery = |(past, attempts): (histories::Past, _)| Delivery {
            endpoint: past.endpoint,
            standing: past.state.standing,
            progress: past.state.progress,
            died_at: past.state.died_at,
            by_replay: past.by_replay,
            attempts,
        };
        pasts.into_iter().zip(attempts).map(delivery).collect()
    }
}

/// What could not be read: how often, and what the first time.
#[derive(Default)]
struct Trouble {
    times: u64,
    first: String,
}

impl Trouble {
    fn meet(&mut self, error: &ReadError) {
        if self.times == 0 {
            self.first = error.to_string();
        }
        self.times += 1;
    }
}
