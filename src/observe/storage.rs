//! What happens to the storage: commits, room, damage.

use std::path::Path;
use std::time::Duration;

use super::Metrics;

/// A commit was made durable.
#[derive(Debug)]
pub struct Committed {
    /// Events in it.
    pub events: usize,
    /// How long writing and syncing took.
    pub took: Duration,
}

impl Committed {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.commit_seconds.observe(self.took.as_secs_f64());
        if self.events > 0 {
            metrics.commit_events.observe(self.events as f64);
        }
        tracing::trace!(events = self.events, took = ?self.took, "committed");
    }
}

/// A commit failed: what was in it was refused.
#[derive(Debug)]
pub struct CommitFailed<'a> {
    /// Why.
    pub error: &'a str,
    /// Events that were refused.
    pub events: usize,
    /// Whether it is known that the disk refuses: then nobody needs a line for each commit.
    pub known: bool,
}

impl CommitFailed<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.commits_failed.inc();
        if self.known {
            tracing::debug!(error = self.error, events = self.events, "a commit could not be written");
            return;
        }
        tracing::warn!(
            error = self.error,
            events = self.events,
            "a commit could not be written: these events were refused with 503"
        );
    }
}

/// New events are refused from here on.
#[derive(Debug)]
pub struct EventsRefused<'a> {
    /// Why, in one word: `max_size`, `min_free`, `failing`.
    pub reason: &'static str,
    /// Why, and what to do.
    pub why: &'a str,
}

impl EventsRefused<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.set_outbox_refusing(Some(self.reason));
        tracing::error!(reason = self.reason, why = self.why, "new events are refused with 503");
    }
}

/// New events are taken again.
#[derive(Debug)]
pub struct EventsTaken;

impl EventsTaken {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.set_outbox_refusing(None);
        tracing::info!("new events are taken again");
    }
}

/// Room for events runs out.
#[derive(Debug)]
pub struct StorageRunsLow {
    /// Which limit is near: `max_size`, `min_free`.
    pub reason: &'static str,
    /// Bytes of the data folder, or free ones of its file system.
    pub bytes: u64,
    /// The limit, in bytes.
    pub bytes_limit: u64,
}

impl StorageRunsLow {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        let Self { reason, bytes, bytes_limit } = *self;
        metrics.storage_low.set(1);
        tracing::warn!(
            reason,
            bytes,
            bytes_limit,
            "the storage runs low: at its limit events are turned away with 503; make room, or change the limit in [storage]"
        );
    }
}

/// There is room for events again.
#[derive(Debug)]
pub struct StorageRecovered;

impl StorageRecovered {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.storage_low.set(0);
        tracing::info!("the storage has room again");
    }
}

/// What is kept of endpoints over restarts could not be written.
#[derive(Debug)]
pub struct EndpointsNotStored<'a> {
    /// Why.
    pub error: &'a str,
    /// Of how many endpoints something changed.
    pub endpoints: usize,
    /// Whether that is known already: it is tried every second.
    pub known: bool,
}

impl EndpointsNotStored<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        let Self { error, endpoints, known } = *self;
        metrics.commits_failed.inc();
        if known {
            tracing::debug!(error, endpoints, "states of endpoints could still not be written");
            return;
        }
        tracing::warn!(
            error,
            endpoints,
            "states of endpoints could not be written: they are in force, and after a restart only if they can be written              before that; it is tried every second"
        );
    }
}

/// A generation of the outbox is damaged; what could be saved of it goes on.
#[derive(Debug)]
pub struct GenerationDamaged<'a> {
    /// Which.
    pub generation: u32,
    /// What is wrong with it.
    pub what: &'a str,
    /// What it cost.
    pub loss: &'a str,
    /// Where the damaged files are.
    pub folder: &'a Path,
    /// Whether nothing is missing.
    pub harmless: bool,
    /// Whether it was found just now, or at an earlier start.
    pub new: bool,
}

impl GenerationDamaged<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        let Self { generation, what, loss, folder, harmless, new } = self;
        if !new {
            tracing::warn!(
                generation, what, loss, folder = %folder.display(),
                "a damaged generation lies set aside: look at it with `webhookd store check`, and remove the folder when done"
            );
            return;
        }
        metrics.generations_damaged.inc();
        if *harmless {
            tracing::warn!(generation, what, loss, "a generation was written anew");
        } else {
            tracing::error!(
                generation, what, loss, folder = %folder.display(),
                "a generation is damaged and was set aside; the rest of the outbox goes on"
            );
        }
    }
}

/// The storage engine has made blob files, which it must never do.
#[derive(Debug)]
pub struct BlobFilesFound<'a> {
    /// How many there are in all.
    pub count: u64,
    /// A generation that has some.
    pub folder: &'a Path,
}

impl BlobFilesFound<'_> {
    /// Tells it.
    pub fn tell(&self) {
        tracing::error!(
            count = self.count, folder = %self.folder.display(),
            "the storage engine has made blob files, which it never makes durable: a power cut may cost their events. This is \
             a fault in webhookd, please report it; `webhookd store export` and `import` bring the events into a new folder"
        );
    }
}
