//! What operators may ask of the dispatcher.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::health::EndpointHealth;
use super::liveness::{LastHeard, Pulse};
use crate::config::Endpoint;
use crate::model::roster::{EndpointNo, Roster};
use crate::outbox::Outbox;

/// Where an operator's wishes are handed in. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Control {
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) outbox: Outbox,
    pub(super) roster: Arc<Roster>,
    /// How many endpoints were switched off, by their answers, and are not known to be stored so.
    pub(super) unstored: Arc<AtomicUsize>,
    /// What was heard when it was last asked whether the parts live.
    pub(super) last_heard: Arc<LastHeard>,
}

/// Why a wish was not granted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ControlError {
    /// No such endpoint in the config.
    #[error("there is no such endpoint in the config")]
    UnknownEndpoint,
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Unavailable,
    /// It is in force, and the disk did not take it.
    #[error("it is in force, but the disk did not take it; it is stored as soon as the disk does")]
    NotStored,
}

/// What an operator does to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    Pause,
    Resume,
}

/// What the dispatcher's task is asked.
#[derive(Debug)]
pub(super) enum Ask {
    /// How all endpoints are doing.
    Health { reply: oneshot::Sender<Vec<EndpointHealth>> },
    /// Whether it lives, and how much there is to do.
    Pulse { reply: oneshot::Sender<Pulse> },
    /// Another config.
    Reload { endpoints: Vec<Arc<Endpoint>>, reply: oneshot::Sender<()> },
    /// An endpoint is held, or let go.
    Switch { endpoint: EndpointNo, to: Switch, reply: oneshot::Sender<Option<EndpointHealth>> },
}

impl Control {
    /// Every endpoint of the config, and every other that something waits for, by name. The metrics' gauges are set on the way.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`] while the daemon stops.
    pub async fn endpoints(&self) -> Result<Vec<EndpointHealth>, ControlError> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Health { reply }).await.map_err(|_| ControlError::Unavailable)?;
        let all = answer.await.map_err(|_| ControlError::Unavailable)?;
        if self.unstored.load(Ordering::Relaxed) > 0 {
            // What is shown stays so over a kill. Where the disk refuses, that is told elsewhere.
            let _ = self.outbox.store_endpoints().await;
        }
        Ok(all)
    }

    /// One endpoint.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn endpoint(&self, name: &str) -> Result<EndpointHealth, ControlError> {
        let mut all = self.endpoints().await?;
        let at = all.iter().position(|health| health.name.as_str() == name).ok_or(ControlError::UnknownEndpoint)?;
        Ok(all.swap_remove(at))
    }

    /// Holds an endpoint's deliveries, over restarts too. Attempts under way run to their end.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn pause(&self, name: &str) -> Result<EndpointHealth, ControlError> {
        self.switch(name, Switch::Pause).await
    }

    /// Lets them go again, also after the endpoint was disabled. Its history begins anew: its breaker is closed, no hold stands,
    /// and dead deliveries hold nobody up.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn resume(&self, name: &str) -> Result<EndpointHealth, ControlError> {
        self.switch(name, Switch::Resume).await
    }

    /// Goes on with the endpoints of another config. Deliveries to those that are not among them are kept and wait; attempts
    /// under way run to their end.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`] while the daemon stops.
    pub async fn reload(&self, endpoints: Vec<Arc<Endpoint>>) -> Result<(), ControlError> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Reload { endpoints, reply }).await.map_err(|_| ControlError::Unavailable)?;
        answer.await.map_err(|_| ControlError::Unavailable)
    }

    pub(super) async fn ask_pulse(&self) -> Result<Pulse, ControlError> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Pulse { reply }).await.map_err(|_| ControlError::Unavailable)?;
        answer.await.map_err(|_| ControlError::Unavailable)
    }

    async fn switch(&self, name: &str, to: Switch) -> Result<EndpointHealth, ControlError> {
        let endpoint = self.roster.known(name).ok_or(ControlError::UnknownEndpoint)?;
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Switch { endpoint, to, reply }).await.map_err(|_| ControlError::Unavailable)?;
        let health = answer.await.map_err(|_| ControlError::Unavailable)?.ok_or(ControlError::UnknownEndpoint)?;
        self.outbox.store_endpoints().await.map_err(|_| ControlError::NotStored)?;
        Ok(health)
    }
}
