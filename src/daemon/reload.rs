//! Another config in the place of the one in force, while everything goes on.
//!
//! One task owns the config in force and takes one wish after another. Everything that can fail is done before anything is
//! changed, so that a config is in force whole or not at all:
//!
//! 1. Read the file and all that it names, once; compare it with the config in force; make ready for its endpoints.
//! 2. The courier first, so that the dispatcher never starts an attempt that the courier knows nothing of; then the
//!    dispatcher, so that an event that is accepted for an endpoint finds its lane open; then outbox and doors. Attempts and
//!    requests under way end as they began.
//!
//! The certificates of the listeners are read with the config; what is made of them is put to use with the rest. Between
//! two reloads the same task watches their files (`certificates`), so that one hand alone changes what is in force.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::certificates::Renewed;
use super::doors::{Behind, Doors, PreparedDoors};
use super::telling::Teller;
use crate::api::{ReloadAsk, ReloadError, Reloaded};
use crate::clock::UnixMs;
use crate::config::{Changes, Config, ConfigErrors, Storage, process_env};
use crate::deliver::{self, HttpCourier};
use crate::dispatch::Control;
use crate::front::problem::Problem;
use crate::limits::{ENDPOINT_NAMES_MET_MAX, RELOAD_READ_MS_MAX};
use crate::model::roster::Roster;
use crate::observe::audit::Outcome;
use crate::observe::life::{ConfigRefused, ConfigReloaded};
use crate::outbox::{Outbox, StorageSettings};

/// Who reloads.
#[derive(Debug)]
pub(super) struct Reloader {
    /// The file that the config was read from.
    pub(super) file: Option<PathBuf>,
    /// The config in force.
    pub(super) config: Arc<Config>,
    pub(super) shared: Shared,
    pub(super) courier: Arc<HttpCourier>,
    pub(super) control: Control,
    pub(super) outbox: Outbox,
    pub(super) doors: Doors,
    pub(super) behind: Behind,
    pub(super) teller: Teller,
}

/// A config that can be put in force, with what was made for it.
#[derive(Debug)]
struct Prepared {
    config: Config,
    changes: Changes,
    courier: deliver::Prepared,
    doors: PreparedDoors,
}

impl Reloader {
    /// Takes one wish after another until `stop` is cancelled.
    pub(super) async fn run(mut self, mut asked: mpsc::Receiver<ReloadAsk>, stop: CancellationToken) {
        loop {
            let ask = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                ask = asked.recv() => ask,
                Renewed { table, tls } = self.doors.renewed() => {
                    self.config = Arc::new(table.with_tls(&self.config, tls));
                    continue;
                }
            };
            let Some(ask) = ask else { return };
            self.teller.reloading();
            let prepared = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                prepared = self.prepare() => prepared,
            };
            let outcome = match prepared {
                Ok((file, prepared)) => self.apply(&file, prepared).await,
                Err(error) => Err(error),
            };
            let faults = outcome.as_ref().err().map(ReloadError::lines);
            if let Some(faults) = &faults {
                ConfigRefused { faults }.tell(&self.shared.metrics);
            }
            self.teller.reloaded(faults.as_ref().map(|faults| faults.first().map_or("", String::as_str)));
            if let Some(act) = ask.act {
                act.end(match &outcome {
                    Ok(_) => Outcome { word: "ok", status: ask.reply.is_some().then_some(200) },
                    Err(error) => Problem::from(error).outcome(),
                });
            }
            if let Some(reply) = ask.reply {
                // Whoever asked may have gone away; it is in the log.
                let _ = reply.send(outcome);
            }
        }
    }

    /// Everything that can fail. Nothing is changed yet.
    async fn prepare(&self) -> Result<(PathBuf, Prepared), ReloadError> {
        let file = self.file.clone().ok_or(ReloadError::NoFile)?;
        let deadline = self.shared.clock.sleep_until(self.shared.clock.mono().plus_ms(RELOAD_READ_MS_MAX));
        let next = tokio::select! {
            next = load(file.clone(), self.shared.clock.wall()) => next?,
            () = deadline => return Err(ReloadError::TooSlow),
        };
        let (config, changes) = self.config.renewed_while(next, self.doors.inbound_listens());
        check_names(&self.shared.roster, &config, &changes)?;
        if self.doors.api_is_public() && config.api.tokens.is_empty() {
            return Err(ReloadError::Unguarded);
        }
        refuse_lapsed(&config, &changes)?;
        let courier = self.courier.prepare(config.endpoints.values())?;
        let doors = self.doors.prepare(&config)?;
        Ok((file, Prepared { config, changes, courier, doors }))
    }

    /// Puts a config in force. Only a daemon that stops has a part that says no, and then nobody is served by it any more.
    async fn apply(&mut self, file: &Path, prepared: Prepared) -> Result<Reloaded, ReloadError> {
        let Prepared { config, changes, courier, doors } = prepared;
        let config = Arc::new(config);
        self.courier.adopt(courier);
        let endpoints = config.endpoints.values().cloned().collect();
        self.control.reload(endpoints).await.map_err(|_| ReloadError::Stopping)?;
        self.outbox.configure(settings(&config.storage)).await;
        self.doors.adopt(&config, doors);
        self.behind.adopt(&config);
        let lapsed = config.lapsed.iter().flat_map(ConfigErrors::lines);
        let warnings: Vec<String> = config.warnings.iter().cloned().chain(lapsed).collect();
        self.config = config;
        ConfigReloaded { file, changes: &changes, warnings: &warnings, at: self.shared.clock.wall() }
            .tell(&self.shared.metrics);
        Ok(Reloaded { changes, warnings })
    }
}

/// Reads a config with all that it names, off the runtime's threads.
async fn load(file: PathBuf, now: UnixMs) -> Result<Config, ReloadError> {
    let loading = tokio::task::spawn_blocking(move || Config::load_to_run(&file, &process_env, now));
    match loading.await {
        Ok(loaded) => Ok(loaded?),
        Err(panic) => Err(ReloadError::Panicked(panic.to_string())),
    }
}

/// What has lapsed is told and no reason to keep other changes back; a certificate that comes with this very reload must hold.
fn refuse_lapsed(config: &Config, changes: &Changes) -> Result<(), ReloadError> {
    match &config.lapsed {
        Some(lapsed) if lapsed.errors().iter().any(|error| changes.touch(&error.key)) => Err(lapsed.clone().into()),
        _ => Ok(()),
    }
}

/// Whether there are numbers left for the endpoints that are new.
fn check_names(roster: &Roster, config: &Config, changes: &Changes) -> Result<(), ReloadError> {
    let met = roster.count_with(config.endpoints.keys());
    if !changes.added.is_empty() && met > ENDPOINT_NAMES_MET_MAX {
        return Err(ReloadError::TooManyNames { met });
    }
    Ok(())
}

/// What of `[storage]` may change while the outbox is open.
fn settings(storage: &Storage) -> StorageSettings {
    StorageSettings {
        retention_ms: storage.retention_ms,
        size_bytes_max: storage.size_bytes_max,
        free_bytes_min: storage.free_bytes_min,
        durability: storage.durability,
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

    use super::*;
    use crate::api::Reloads;
    use crate::clock::{ManualClock, ManualHandle, UnixMs};
    use crate::daemon::{Daemon, DaemonOptions};
    use crate::model::text::EndpointName;

    fn config(dir: &Path, lines: &str) -> Config {
        let text = format!("[api]\nlisten = \"127.0.0.1:0\"\n[storage]\ndir = {:?}\n{lines}", dir.join("data"));
        std::fs::write(dir.join("webhookd.toml"), &text).unwrap();
        Config::parse(&text, "webhookd.toml", dir, &|_| None).unwrap()
    }

    const ENDPOINT: &str = "[endpoint.a]\nurl = \"https://a.example.com/\"\nsign = \"none\"\n";

    #[test]
    fn new_names_are_taken_as_long_as_there_are_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let (before, roster) = (config(dir.path(), ""), Roster::shared());
        let (after, changes) = before.renewed(config(dir.path(), ENDPOINT));
        for n in 1..ENDPOINT_NAMES_MET_MAX {
            roster.number(&EndpointName::parse(&format!("old-{n}")).unwrap());
        }
        assert!(check_names(&roster, &after, &changes).is_ok());
        roster.number(&EndpointName::parse("one-more").unwrap());
        let error = check_names(&roster, &after, &changes).unwrap_err();
        assert!(matches!(error, ReloadError::TooManyNames { met } if met == ENDPOINT_NAMES_MET_MAX + 1), "{error:?}");
        // One that was met before needs no new number, and a config without new ones none at all.
        let known = Roster::shared();
        known.number(&EndpointName::parse("a").unwrap());
        assert!(check_names(&known, &after, &changes).is_ok());
        let (same, none) = after.renewed(config(dir.path(), ENDPOINT));
        assert!(check_names(&roster, &same, &none).is_ok());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_that_hangs_is_given_up_and_the_next_reload_works() {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(UnixMs(1_700_000_000_000));
        let options = DaemonOptions {
            clock: Arc::new(ManualHandle(Arc::clone(&clock))),
            seed: 1,
            config_file: Some(dir.path().join("webhookd.toml")),
            service: crate::systemd::Service::default(),
        };
        let daemon = Daemon::start(Arc::new(config(dir.path(), ENDPOINT)), options).await.unwrap();
        let good = std::fs::read_to_string(dir.path().join("webhookd.toml")).unwrap();
        let pipe = dir.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let secret = "[endpoint.b]\nurl = \"https://b.example.com/\"\nsecret = { file = \"pipe\" }\n";
        std::fs::write(dir.path().join("webhookd.toml"), format!("{good}{secret}")).unwrap();
        let reloads: Reloads = daemon.reloads.clone();
        let time = async {
            // It can be opened so once somebody reads it.
            let held = loop {
                match rustix::fs::open(&pipe, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()) {
                    Ok(held) => break held,
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            clock.advance_ms(RELOAD_READ_MS_MAX);
            held
        };
        let (refused, held) = tokio::join!(reloads.reload(None), time);
        assert!(matches!(refused, Err(ReloadError::TooSlow)), "{refused:?}");
        std::fs::write(dir.path().join("webhookd.toml"), good).unwrap();
        assert!(reloads.reload(None).await.unwrap().changes.is_empty());
        drop(held);
        daemon.stop(0).await;
    }
}
