//! `POST /v1/reload`: the config is read anew.
//!
//! The one who reloads stands above the API, which hands the wish on through [`Reloads`] and waits for what came of it.

use hyper::StatusCode;
use serde::Serialize;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::Api;
use crate::config::{Changes, ConfigErrors, SourceChanges};
use crate::deliver::CourierError;
use crate::front::TlsError;
use crate::front::answer::{Answer, json};
use crate::front::problem::{Fault, Problem, ProblemKind};
use crate::limits;
use crate::model::text::{EndpointName, SourceName};
use crate::observe::audit::Entry;

/// Where a reload is asked for. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Reloads(mpsc::Sender<ReloadAsk>);

/// A wish that the config be read anew. Dropping it unanswered says that the daemon is stopping.
#[derive(Debug)]
pub struct ReloadAsk {
    /// Who waits for the answer.
    pub reply: Option<oneshot::Sender<Result<Reloaded, ReloadError>>>,
    /// Who asks, in the audit log.
    pub act: Option<Entry>,
}

/// A config that was read anew and is in force.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// What it changed.
    pub changes: Changes,
    /// What is legal in it but worth a word, one sentence each.
    pub warnings: Vec<String>,
}

/// Why a config was not put in force. The one before it is, as a whole.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// It has faults.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// An endpoint cannot be delivered to as configured.
    #[error(transparent)]
    Courier(#[from] CourierError),
    /// The certificate of a listener cannot be served.
    #[error("{table}.tls: {source}")]
    Tls {
        /// The listener's table.
        table: &'static str,
        /// Why not.
        source: TlsError,
    },
    /// Its new endpoints would be more than one process can number.
    #[error(
        "the config brings more new endpoint names than webhookd can take in while it runs: it has met {met} since its start \
         and in its storage, at most {} are possible; restart it",
        limits::ENDPOINT_NAMES_MET_MAX
    )]
    TooManyNames {
        /// Names met, with the new ones.
        met: usize,
    },
    /// Nobody would be asked any more who they are.
    #[error(
        "[api] has no token any more, and systemd hands over a socket that other machines can reach: everyone who does might send, \
         read and replay; keep a token, or have the socket unit listen on a loopback address or a unix socket"
    )]
    Unguarded,
    /// Some file hangs.
    #[error(
        "reading the config and the files that it names took longer than {} s; is one of them on a file system that hangs, \
         or a pipe?",
        limits::RELOAD_READ_MS_MAX / 1000
    )]
    TooSlow,
    /// Reading it panicked.
    #[error("reading the config failed, which is a fault in webhookd: {0}")]
    Panicked(String),
    /// There is none to read.
    #[error("this daemon was not started from a file, so there is nothing to reload")]
    NoFile,
    /// The daemon is stopping.
    #[error("webhookd is stopping")]
    Stopping,
}

impl ReloadError {
    /// Every fault in words, each of the config's as `file:line:column: key: message`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Config(errors) => errors.lines().collect(),
            Self::Courier(error) => vec![match std::error::Error::source(error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            }],
            other => vec![other.to_string()],
        }
    }
}

impl Reloads {
    /// The way to the one who reloads, and its other end.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<ReloadAsk>) {
        let (asks, asked) = mpsc::channel(limits::RELOADS_WAITING_MAX);
        (Self(asks), asked)
    }

    /// Asks for a reload, waits for its turn and its end. Dropping the future does not stop it.
    ///
    /// # Errors
    /// See [`ReloadError`].
    pub async fn reload(&self, act: Option<Entry>) -> Result<Reloaded, ReloadError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(ReloadAsk { reply: Some(reply), act }).await.map_err(|_| ReloadError::Stopping)?;
        answer.await.unwrap_or(Err(ReloadError::Stopping))
    }

    /// Asks for a reload and does not wait. Where many wait already, each of them reads what is in the file by then, so
    /// that one more would find nothing new.
    pub fn reload_soon(&self, act: Option<Entry>) {
        let _ = self.0.try_send(ReloadAsk { reply: None, act });
    }
}

#[derive(Serialize)]
struct Shown {
    endpoints: Named<EndpointName>,
    sources: Named<SourceName>,
    /// Keys outside the endpoints and sources that have another value now.
    settings: Vec<&'static str>,
    needs_restart: Vec<&'static str>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Named<N> {
    added: Vec<N>,
    changed: Vec<N>,
    removed: Vec<N>,
}

/// `POST /v1/reload`
pub(super) async fn reload(api: &Api, act: Option<Entry>) -> Result<Answer, Problem> {
    let Reloaded { changes, warnings } = api.reloads.reload(act).await.map_err(|error| Problem::from(&error))?;
    let Changes { added, changed, removed, sources, settings, needs_restart } = changes;
    let endpoints = Named { added, changed, removed };
    let SourceChanges { added, changed, removed } = sources;
    let sources = Named { added, changed, removed };
    Ok(json(StatusCode::OK, &Shown { endpoints, sources, settings, needs_restart, warnings }))
}

impl From<&ReloadError> for Problem {
    fn from(error: &ReloadError) -> Self {
        match error {
            ReloadError::NoFile => Self::new(ProblemKind::NoConfigFile, error.to_string()),
            ReloadError::Stopping => Self::new(ProblemKind::NotReady, error.to_string()).retry_after_s(5),
            _ => {
                let kind = ProblemKind::InvalidConfig;
                let errors: Vec<_> =
                    error.lines().into_iter().map(|detail| Fault { kind, detail, pointer: None }).collect();
                let count = errors.len();
                let faults = if count == 1 { "fault" } else { "faults" };
                let mut problem =
                    Self::new(kind, format!("{count} {faults} to mend; the config in force stays as it is"));
                // All of them: whoever asks is about to mend them.
                problem.errors = errors;
                problem
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn every_fault_is_told_with_its_place() {
        let text = "[api]\ncolour = 1\nx = 1\n[storage]\nretention = \"x\"\n";
        let errors = Config::parse(text, "a.toml", Path::new("/"), &|_| None).unwrap_err();
        let problem = Problem::from(&ReloadError::from(errors));
        assert_eq!((problem.kind.status().as_u16(), problem.errors.len()), (422, 3));
        assert!(problem.errors[0].detail.starts_with("a.toml:2:1: api.colour: "), "{problem:?}");
        assert!(problem.errors[2].detail.starts_with("a.toml:5:"), "{problem:?}");
        assert!(problem.detail.contains("3 faults"), "{problem:?}");
    }

    #[test]
    fn what_is_no_fault_of_the_config_has_a_kind_of_its_own() {
        assert_eq!(Problem::from(&ReloadError::NoFile).kind.status(), StatusCode::CONFLICT);
        assert_eq!(Problem::from(&ReloadError::Stopping).kind, ProblemKind::NotReady);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_daemon_that_stops() {
        let (reloads, mut asked) = Reloads::channel();
        let (answer, ()) = tokio::join!(reloads.reload(None), async { drop(asked.recv().await) });
        assert!(matches!(answer, Err(ReloadError::Stopping)));
        drop(asked);
        assert!(matches!(reloads.reload(None).await, Err(ReloadError::Stopping)));
        reloads.reload_soon(None);
    }
}
