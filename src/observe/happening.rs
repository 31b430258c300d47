//! What happens, told once: each struct writes its log line and moves its metrics.

use std::path::Path;
use std::time::Duration;

use super::Metrics;
use crate::clock::UnixMs;
use crate::config::Changes;
use crate::model::attempt::AttemptError;
use crate::model::delivery::{DeadReason, Progress};
use crate::model::text::{EndpointName, EventId};

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

/// A request to an endpoint ended.
#[derive(Debug)]
pub struct AttemptEnded<'a> {
    /// The event.
    pub event: &'a EventId,
    /// The endpoint.
    pub endpoint: &'a EndpointName,
    /// The attempt's number.
    pub n: u16,
    /// The status, where an answer came.
    pub status: Option<u16>,
    /// Why it failed.
    pub error: Option<AttemptError>,
    /// The cause in words, without payload.
    pub detail: Option<&'a str>,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
}

impl AttemptEnded<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        let outcome = self.error.map_or("success", AttemptError::word);
        metrics.attempts.with_label_values(&[self.endpoint.as_str(), outcome]).inc();
        metrics
            .attempt_seconds
            .with_label_values(&[self.endpoint.as_str()])
            .observe(f64::from(self.duration_ms) / 1000.0);
        tracing::debug!(
            event = %self.event,
            endpoint = %self.endpoint,
            attempt = self.n,
            status = self.status,
            outcome,
            detail = self.detail,
            duration_ms = self.duration_ms,
            "attempt"
        );
    }
}

/// A delivery was taken by its endpoint.
#[derive(Debug)]
pub struct Delivered<'a> {
    /// The endpoint.
    pub endpoint: &'a EndpointName,
    /// Milliseconds since its event was accepted.
    pub since_accepted_ms: u64,
}

impl Delivered<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.deliveries_finished.with_label_values(&[self.endpoint.as_str(), "delivered"]).inc();
        metrics
            .accepted_to_delivered_seconds
            .with_label_values(&[self.endpoint.as_str()])
            .observe(self.since_accepted_ms as f64 / 1000.0);
    }
}

/// A delivery was given up.
#[derive(Debug)]
pub struct Died<'a> {
    /// The event.
    pub event: &'a EventId,
    /// The endpoint.
    pub endpoint: &'a EndpointName,
    /// Why.
    pub reason: DeadReason,
    /// How far it came.
    pub progress: Progress,
}

impl Died<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.deliveries_finished.with_label_values(&[self.endpoint.as_str(), "dead"]).inc();
        tracing::warn!(
            event = %self.event,
            endpoint = %self.endpoint,
            reason = self.reason.word(),
            attempts = self.progress.made,
            "a delivery is dead; it is kept and can be replayed"
        );
    }
}

/// An endpoint was switched off by its own answer.
#[derive(Debug)]
pub struct EndpointDisabled<'a> {
    /// The endpoint.
    pub endpoint: &'a EndpointName,
    /// Why, in one word.
    pub reason: &'a str,
}

impl EndpointDisabled<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.endpoint_active.with_label_values(&[self.endpoint.as_str()]).set(0);
        tracing::error!(
            endpoint = %self.endpoint,
            reason = self.reason,
            "endpoint disabled: its deliveries wait until it is resumed"
        );
    }
}

/// An endpoint's breaker opened.
#[derive(Debug)]
pub struct BreakerOpened<'a> {
    /// The endpoint.
    pub endpoint: &'a EndpointName,
    /// After so many failures in a row.
    pub failures: u32,
    /// The time to its first probe, in milliseconds.
    pub cooldown_ms: u64,
    /// Deliveries that wait for it.
    pub pending: u64,
}

impl BreakerOpened<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.breakers_opened.with_label_values(&[self.endpoint.as_str()]).inc();
        tracing::warn!(
            endpoint = %self.endpoint,
            failures = self.failures,
            cooldown_ms = self.cooldown_ms,
            pending = self.pending,
            "breaker opened: nothing but probes goes to this endpoint until one succeeds"
        );
    }
}

/// An endpoint's breaker stays open: its probe failed.
#[derive(Debug)]
pub struct ProbeFailed<'a> {
    /// The endpoint.
    pub endpoint: &'a EndpointName,
    /// The time to the next probe, in milliseconds.
    pub cooldown_ms: u64,
}

impl ProbeFailed<'_> {
    /// Tells it.
    pub fn tell(&self) {
        tracing::debug!(endpoint = %self.endpoint, cooldown_ms = self.cooldown_ms, "the probe failed");
    }
}

/// An endpoint whose breaker was open took an event.
#[derive(Debug)]
pub struct EndpointRecovered<'a> {
    /// The endpoint.
    pub endpoint: &'a EndpointName,
    /// How long its breaker was open, in milliseconds.
    pub open_ms: u64,
    /// Deliveries that wait for it.
    pub pending: u64,
}

impl EndpointRecovered<'_> {
    /// Tells it.
    pub fn tell(&self) {
        tracing::info!(
            endpoint = %self.endpoint,
            open_ms = self.open_ms,
            pending = self.pending,
            "endpoint recovered: its deliveries go out again"
        );
    }
}

/// An operator has held an endpoint, or let it go.
#[derive(Debug)]
pub struct EndpointSwitched<'a> {
    /// The endpoint.
    pub endpoint: &'a EndpointName,
    /// Its state now.
    pub state: &'static str,
}

impl EndpointSwitched<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        let active = self.state == "active";
        metrics.endpoint_active.with_label_values(&[self.endpoint.as_str()]).set(i64::from(active));
        tracing::info!(endpoint = %self.endpoint, state = self.state, "an operator has switched an endpoint");
    }
}

/// An operational event was stored for those who subscribe.
#[derive(Debug)]
pub struct OperationalEvent {
    /// Its type.
    pub event_type: &'static str,
}

impl OperationalEvent {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.operational_events.with_label_values(&[self.event_type]).inc();
        tracing::debug!(event_type = self.event_type, "operational event");
    }
}

/// Operational events could not be stored.
#[derive(Debug)]
pub struct OperationalEventsLost<'a> {
    /// How many.
    pub count: usize,
    /// Why.
    pub error: &'a str,
}

impl OperationalEventsLost<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.operational_events_lost.inc_by(self.count as u64);
        tracing::warn!(
            count = self.count,
            error = self.error,
            "operational events could not be stored, so those who subscribe are not told"
        );
    }
}

/// The config was read anew and is in force.
#[derive(Debug)]
pub struct ConfigReloaded<'a> {
    /// Where it stands.
    pub file: &'a Path,
    /// What it changed.
    pub changes: &'a Changes,
    /// What is worth a word in it.
    pub warnings: &'a [String],
    /// When.
    pub at: UnixMs,
}

impl ConfigReloaded<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.config_reloads.with_label_values(&["applied"]).inc();
        metrics.config_loaded(self.at);
        let Changes { added, changed, removed, settings, needs_restart } = self.changes;
        tracing::info!(
            file = %self.file.display(),
            added = added.len(),
            changed = changed.len(),
            removed = removed.len(),
            settings = (!settings.is_empty()).then(|| settings.join(" ")),
            "config reloaded"
        );
        for warning in self.warnings {
            tracing::warn!("{warning}");
        }
        if !needs_restart.is_empty() {
            tracing::warn!(
                keys = needs_restart.join(" "),
                "the config has other values for these keys, which keep their old ones until webhookd is restarted"
            );
        }
    }
}

/// A config was read anew and refused; the one before it stays in force.
#[derive(Debug)]
pub struct ConfigRefused<'a> {
    /// Everything that is wrong, one a line.
    pub faults: &'a [String],
}

impl ConfigRefused<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.config_reloads.with_label_values(&["refused"]).inc();
        for fault in self.faults {
            tracing::error!("config refused: {fault}");
        }
        tracing::error!(faults = self.faults.len(), "the config was not reloaded; the one before it stays in force");
    }
}

/// A part that everything depends on does not answer whether it lives.
#[derive(Debug)]
pub struct PartSilent<'a> {
    /// Which one, as a sentence.
    pub part: &'a str,
    /// Within which time it ought to have, in milliseconds.
    pub within_ms: u64,
    /// Whether systemd watches, and kills the process for it.
    pub killed: bool,
}

impl PartSilent<'_> {
    /// Tells it.
    pub fn tell(&self) {
        let Self { part, within_ms, killed } = *self;
        let then =
            if killed { "systemd is not told that webhookd is alive, and restarts it soon" } else { "restart it" };
        tracing::error!(within_ms, "{part}: does a disk hang? What was accepted is in the outbox; {then}");
    }
}

/// The parts that did not answer do so again.
#[derive(Debug)]
pub struct PartsAnswerAgain;

impl PartsAnswerAgain {
    /// Tells it.
    pub fn tell(&self) {
        tracing::info!("the outbox's writer and the dispatcher answer again");
    }
}
