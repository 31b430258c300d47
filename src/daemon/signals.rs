//! A daemon from its start to the signal that ends it.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::{Daemon, DaemonOptions, StartError};
use crate::config::Config;
use crate::limits::DRAIN_MS_MAX;
use crate::systemd::Service;
use crate::systemd::notify::Notice;

/// How a daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It drained and closed its outbox.
    InOrder,
    /// A second signal came while it drained: leave at once.
    AtOnce,
    /// A part of it failed. What was accepted is in the outbox.
    Broken,
}

/// Starts a daemon and runs it until SIGTERM or SIGINT, or until a part of it fails. `config` was read from `file`; SIGHUP
/// reads that anew. `service` is what systemd gave; it is told how things stand, also why the start failed.
///
/// # Errors
/// See [`StartError`].
pub async fn run_until_signalled(config: Arc<Config>, file: PathBuf, service: Service) -> Result<Ended, StartError> {
    let notifier = service.notifier.clone();
    let ended = run(config, file, service).await;
    if let Err(error) = &ended {
        notifier.tell(&[Notice::Status(&format!("the start failed: {error}"))]);
    }
    ended
}

async fn run(config: Arc<Config>, file: PathBuf, service: Service) -> Result<Ended, StartError> {
    let listen = |kind| signal(kind).map_err(|source| StartError::System { what: "cannot listen for signals", source });
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let mut hangup = listen(SignalKind::hangup())?;
    let options = DaemonOptions { config_file: Some(file), service, ..DaemonOptions::default() };
    let daemon = Daemon::start(config, options).await?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            part = daemon.broken() => {
                tracing::error!("{part} ended, which is a fault in webhookd; stopping, so that a new start can go on");
                let notifier = daemon.notifier();
                daemon.stop(0).await;
                notifier.tell(&[Notice::Status(&format!("{part} ended, which is a fault in webhookd"))]);
                return Ok(Ended::Broken);
            }
            // What comes of it is told where it is done; whoever wants to stop meanwhile is heard.
            _ = hangup.recv() => daemon.reload_soon(),
        }
    }
    tracing::info!("stopping: requests and attempts under way may finish; a second signal ends at once");
    tokio::select! {
        () = daemon.stop(DRAIN_MS_MAX) => Ok(Ended::InOrder),
        _ = terminate.recv() => Ok(Ended::AtOnce),
        _ = interrupt.recv() => Ok(Ended::AtOnce),
    }
}
