//! What happens to the daemon as a whole: its config, and whether its parts answer.

use std::path::Path;

use super::Metrics;
use crate::clock::UnixMs;
use crate::config::Changes;

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
        let Changes { added, changed, removed, sources, settings, needs_restart } = self.changes;
        tracing::info!(
            file = %self.file.display(),
            added = added.len(),
            changed = changed.len(),
            removed = removed.len(),
            sources_added = sources.added.len(),
            sources_changed = sources.changed.len(),
            sources_removed = sources.removed.len(),
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
