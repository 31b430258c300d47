//! What operators may ask of the dispatcher.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::health::EndpointHealth;
use crate::config::Endpoint;
use crate::model::endpoint::{EndpointRecord, EndpointState};
use crate::model::roster::{EndpointNo, Roster};
use crate::outbox::Outbox;

/// Where an operator's wishes are handed in. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Control {
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) outbox: Outbox,
    pub(super) roster: Arc<Roster>,
}

/// Why a wish was not granted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ControlError {
    /// No such endpoint in the config.
    #[error("there is no such endpoint in the config")]
    UnknownEndpoint,
    /// It could not be stored, or the daemon is stopping.
    #[error("it could not be stored, or the daemon is stopping")]
    Unavailable,
}

/// What the dispatcher's task is asked.
#[derive(Debug)]
pub(super) enum Ask {
    /// How all endpoints of the config are doing.
    Health { reply: oneshot::Sender<Vec<EndpointHealth>> },
    /// Another config.
    Reload { endpoints: Vec<Arc<Endpoint>>, reply: oneshot::Sender<()> },
    /// A state that is persisted already.
    State { endpoint: EndpointNo, state: EndpointState, reply: oneshot::Sender<Option<EndpointHealth>> },
}

impl Control {
    /// Every endpoint of the config, by name. The metrics' gauges are set on the way.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`] while the daemon stops.
    pub async fn endpoints(&self) -> Result<Vec<EndpointHealth>, ControlError> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Health { reply }).await.map_err(|_| ControlError::Unavailable)?;
        answer.await.map_err(|_| ControlError::Unavailable)
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
        self.set(name, EndpointState::Paused).await
    }

    /// Lets them go again, also after the endpoint was disabled.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn resume(&self, name: &str) -> Result<EndpointHealth, ControlError> {
        self.set(name, EndpointState::Active).await
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

    async fn set(&self, name: &str, state: EndpointState) -> Result<EndpointHealth, ControlError> {
        self.endpoint(name).await?;
        let endpoint = self.roster.known(name).ok_or(ControlError::UnknownEndpoint)?;
        self.outbox.note_endpoint(endpoint, EndpointRecord { state, ..EndpointRecord::default() });
        self.outbox.store_endpoints().await.map_err(|_| ControlError::Unavailable)?;
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::State { endpoint, state, reply }).await.map_err(|_| ControlError::Unavailable)?;
        answer.await.map_err(|_| ControlError::Unavailable)?.ok_or(ControlError::UnknownEndpoint)
    }
}
