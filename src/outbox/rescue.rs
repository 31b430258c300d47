//! Saves what is left of a damaged generation: a new one with every record that is intact is written beside it and takes its
//! place, under the same numbers; the damaged one is set aside whole.
//!
//! A failed fsync is such damage too. The kernel drops the pages that it could not write, and nobody learns which; adding to
//! the file after that would put sound records behind a hole in the log. Everything acknowledged is still in the file or in
//! the page cache, so it is written anew, and where nothing is missing the old file is not kept.
//!
//! ```text
//! 00000007           ─ carve ─►  00000007.rescued     written, synced
//! 00000007           ─ rename ─► 00000007.damaged     with a report
//! 00000007.rescued   ─ rename ─► 00000007
//! ```
//! A crash at any point leaves one of these states, and the next start goes on from it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::sync::Arc;

use super::carve::Carved;
use super::damage::{self, Damage, Loss};
use super::disk::SharedDisk;
use super::engine::Engine;
use super::folder::Folder;
use super::generation::{Generation, Identity};
use super::keys::{self, key};
use super::rows::COMMIT_ENDS;
use super::survey::{self, Survey};
use super::watermark;
use super::{StoreError, rows};
use crate::clock::UnixMs;
use crate::model::roster::Roster;

/// What is wrong with a generation.
#[derive(Clone, Debug)]
pub(super) struct Doubt {
    /// In words.
    pub(super) what: String,
    /// Only so many of its events were acknowledged.
    pub(super) know_only: Option<u32>,
    /// Whether its file is to be kept even where nothing is missing.
    pub(super) keep: bool,
}

/// What a rescue is made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rescue<'a> {
    pub(super) folder: &'a Folder,
    pub(super) roster: &'a Arc<Roster>,
    pub(super) disk: &'a SharedDisk,
    /// The time to write into the report.
    pub(super) now: UnixMs,
}

impl Rescue<'_> {
    /// Replaces generation `no` by what is left of it. Nobody may have it open.
    ///
    /// # Errors
    /// Where the disk refuses; nothing was changed then.
    pub(super) fn rescue(&self, no: u32, doubt: &Doubt) -> Result<Damage, StoreError> {
        let (from, to) = (self.folder.generation(no), self.folder.rescued(no));
        let io = |what: &'static str| move |source: io::Error| StoreError::Io { what, generation: no, source };
        if to.exists() {
            fs::remove_dir_all(&to).map_err(io("cannot remove an unfinished rescue of"))?;
        }
        let mut carved = Carved::open(&from, self.folder.mark()).map_err(io("cannot read"))?;
        let durable = watermark::read(&from);
        let survey = survey::survey(&mut carved, durable, doubt.know_only).map_err(io("cannot read"))?;
        if let Err(error) = self.write(no, &carved, &survey) {
            // A disk that is full needs the room more than half a rescue does.
            let _ = fs::remove_dir_all(&to);
            return Err(error);
        }
        let mut loss = survey.loss();
        // A database without any record that had no watermark either: nobody can tell what was in it.
        loss.unknown = carved.len() == 0 && durable == watermark::Watermark::default() && doubt.keep;
        drop(carved);
        let set_aside = doubt.keep || !loss.is_none();
        let aside =
            self.folder.replace_generation(no, set_aside).map_err(io("cannot put in its place what was saved of"))?;
        let mut damage = Damage { generation: no, at: self.now, what: doubt.what.clone(), loss, folder: from };
        if let Some(aside) = aside {
            if let Err(error) = damage::write(&aside, &damage) {
                tracing::warn!(folder = %aside.display(), %error, "the report of what was set aside could not be written");
            }
            damage.folder = aside;
        }
        Ok(damage)
    }

    /// Records that a generation is gone, folder and all.
    pub(super) fn record_gone(&self, no: u32) -> io::Result<Damage> {
        let loss = Loss { unknown: true, ..Loss::default() };
        let what = "its folder is gone".to_owned();
        let folder = self.folder.stand_in(no)?;
        let damage = Damage { generation: no, at: self.now, what, loss, folder };
        damage::write(&damage.folder, &damage)?;
        Ok(damage)
    }

    /// Writes what was carved into a new generation, sealed.
    fn write(&self, no: u32, carved: &Carved, survey: &Survey) -> Result<(), StoreError> {
        let dir = self.folder.rescued(no);
        let mark = self.folder.mark();
        let engine = Engine::open(&dir, Arc::clone(self.disk))?;
        let io = |source| StoreError::Io { what: "cannot read", generation: no, source };
        // Endpoints whose name is lost get one, so that their deliveries are kept, and shown.
        for local in survey::nameless(carved, u32::MAX).map_err(io)? {
            let key = key(keys::NAME, u64::from(local));
            engine.put(&key, rows::single(mark, &key, &survey::name_for_nameless(local))?)?;
        }
        for (key, value) in survey.gaps.values(mark)? {
            engine.put(&key, value)?;
        }
        for kind in [keys::NAME, keys::BODY, keys::HEADS, keys::ATTEMPTS, keys::STATES] {
            let mut failure = Ok(());
            let scanned = carved.scan(kind, 0, |key, value| {
                // Where the last pack of a commit is lost, the others would pass for one that never finished.
                let ended = (kind == keys::HEADS).then(|| rows::flagged(mark, &value, COMMIT_ENDS).ok()).flatten();
                failure = engine.put(&key, ended.unwrap_or_else(|| value.to_vec()));
                failure.is_ok()
            });
            failure?;
            scanned.map_err(io)?;
        }
        engine.sync()?;
        let (known, last_at) = self.ids(no, carved)?;
        let identity = Identity { no, mark, roster: Arc::clone(self.roster) };
        let generation = Generation::adopt(engine, &dir, identity, survey.events_end)?;
        generation.seal(&known, last_at, true)?;
        Ok(())
    }

    /// The ids of all events that are left, and the latest of their times.
    fn ids(&self, no: u32, carved: &Carved) -> Result<(HashMap<u64, u32>, UnixMs), StoreError> {
        let (mut known, mut last_at) = (HashMap::new(), UnixMs(0));
        let scanned = survey::each_numbered_head(carved, |seq, row| {
            known.extend(row.id_hashes().map(|hash| (hash, seq)));
            last_at = last_at.max(row.at);
        });
        scanned.map_err(|source| StoreError::Io { what: "cannot read", generation: no, source })?;
        Ok((known, last_at))
    }
}
