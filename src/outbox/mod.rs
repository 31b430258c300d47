//! The durable store of events and deliveries: the only place that names the storage engine and its codec.

mod query;

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

pub use query::{Cursor, EventSummary, ListQuery, Page, StoredDelivery, StoredEvent};

use crate::config::Durability;
use crate::model::delivery::{DeliveryRef, EventRef, Settlement};
use crate::model::endpoint::EndpointState;
use crate::model::event::{Event, NewEvent};
use crate::model::roster::EndpointNo;
use crate::model::text::{EndpointName, EventId};

/// What the outbox is opened with.
#[derive(Clone, Debug)]
pub struct OutboxOptions {
    /// The data folder.
    pub dir: PathBuf,
    /// How long finished events are kept, in milliseconds.
    pub retention_ms: u64,
    /// Bytes on disk past which new events are refused.
    pub size_bytes_max: u64,
    /// When an event counts as stored.
    pub durability: Durability,
}

/// The outbox, as everyone above it sees it. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Outbox {}

/// What became of one event that was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its id; for a duplicate, the id of the first.
    pub id: EventId,
    /// The endpoints that take it, in the order of the config.
    pub endpoints: Vec<EndpointName>,
    /// True where it was known already; nothing was stored again.
    pub duplicate: bool,
}

/// Why events were not accepted. None of those handed in together was stored.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AcceptError {
    /// Another event is known under this id or `Idempotency-Key`.
    #[error("another event is known as {id}")]
    Conflict {
        /// Which of the events handed in, from 0.
        index: usize,
        /// The id of the event that is known.
        id: EventId,
    },
    /// The data folder has reached its limit.
    #[error("the data folder is full")]
    Full,
    /// More waits to be written than the queue holds.
    #[error("too many events wait to be written")]
    Busy,
    /// The write or the fsync failed, or the outbox has stopped.
    #[error("the event could not be stored")]
    Failed,
}

/// Why something stored could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// A stored record is damaged.
    #[error("a stored record is damaged: {0}")]
    Damaged(String),
    /// The storage engine failed.
    #[error("the storage could not be read: {0}")]
    Engine(String),
}

impl Outbox {
    /// Stores events, all or none, and returns once they are durable. Dropping the future does not undo it.
    ///
    /// The scheduler has them by then: nobody needs to pass them on.
    ///
    /// # Errors
    /// See [`AcceptError`]; nothing was stored then.
    pub async fn accept(&self, _events: Vec<NewEvent>) -> Result<Vec<Accepted>, AcceptError> {
        unimplemented!()
    }

    /// Records what has happened to a delivery. Visible to readers at once, durable a moment later.
    pub async fn settle(&self, _settlement: Settlement) {
        unimplemented!()
    }

    /// The event with this id, with every delivery and attempt.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn find(&self, _id: &EventId) -> Result<Option<StoredEvent>, ReadError> {
        unimplemented!()
    }

    /// The event alone, for an attempt.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn load(&self, _event: EventRef) -> Result<Option<Arc<Event>>, ReadError> {
        unimplemented!()
    }

    /// A page of events, newest first.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn list(&self, _query: ListQuery) -> Result<Page, ReadError> {
        unimplemented!()
    }

    /// Puts deliveries back to pending, due now, durably. Deliveries that are pending already are left alone; an endpoint
    /// that never had the event gets it. Returns how many deliveries are pending now that were not.
    ///
    /// # Errors
    /// [`AcceptError`] where it could not be written.
    pub async fn replay(&self, _deliveries: Vec<DeliveryRef>) -> Result<usize, AcceptError> {
        unimplemented!()
    }

    /// Records an endpoint's state, durably.
    ///
    /// # Errors
    /// [`AcceptError`] where it could not be written.
    pub async fn set_endpoint_state(&self, _endpoint: EndpointNo, _state: EndpointState) -> Result<(), AcceptError> {
        unimplemented!()
    }
}
