//! The durable store of events and deliveries: the only place that names the storage engine and its codec.
//!
//! # Constraints
//! - An event is acknowledged after its commit was flushed **and** `fdatasync`ed, never before.
//! - Events handed in together are stored all or none.
//! - Nothing accepted is dropped: a full folder refuses new events and keeps the old ones.
//! - Disk is bounded by what is live plus retention: the store is a row of generations, each removed whole.
//! - Memory is bounded: a few generations are open, of the others a filter and a few numbers are kept.
//!
//! # Format
//! The data folder is described in `folder.rs`. A generation is one sled database of about 64 MiB of events. Every value is at
//! most 16 KiB, so that sled never makes a blob file, and stands in a frame with a version byte and a CRC over key and payload
//! (`frame.rs`). Keys are a kind and a big-endian number (`keys.rs`):
//!
//! | key | value |
//! |---|---|
//! | `n` number | an endpoint's name; rows carry the number |
//! | `h` first event | a pack of event heads: id, type, key, times, content type, fingerprint, targets, where the body is |
//! | `b` offset | a piece of the stream of bodies: small bodies share one, large ones span several |
//! | `o` running number | a pack of delivery states; the last row of a delivery counts |
//! | `a` running number | a pack of attempts, pointed at by the states |
//! | `x` first hash, `f` number, `z` | once sealed: the id index, the id filter, the seal |
//! | `d` | once nothing is pending: since when |
//!
//! A commit is a handful of inserts, however many events it has: the pieces of its bodies, then its heads; the last pack of
//! heads is flagged. States and attempts go to the generation of their event, so that a generation can be removed whole.
//!
//! # Operation
//! One thread writes (`writer.rs`); while it syncs, the next commit gathers in its bounded queue. Two threads read
//! (`readers.rs`). Fresh events go from the writer to the scheduler in memory, over the channel of [`Opened::news`].
//!
//! # Recovery
//! At the start each generation is opened with the care described in `engine.rs`; heads without the flag of a finished
//! commit are dropped (nobody was told that they were stored); states are folded over the heads, bodies are not touched; and
//! every delivery that is not finished is told to the scheduler.

mod commit;
mod endpoints;
mod engine;
mod filter;
mod folder;
mod frame;
mod generation;
mod ids;
mod keys;
mod leftover;
mod query;
mod readers;
mod recovery;
mod replay;
mod rows;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use query::{Cursor, EventSummary, ListQuery, Page, StoredDelivery, StoredEvent};

use crate::clock::{MonoMs, SharedClock};
use crate::config::Durability;
use crate::limits::{SCHEDULE_QUEUE_MAX, WRITER_QUEUE_BYTES_MAX, WRITER_QUEUE_MAX};
use crate::model::delivery::{DeliveryRef, EventRef, Settlement, Waiting};
use crate::model::endpoint::EndpointState;
use crate::model::event::{Event, NewEvent};
use crate::model::roster::{EndpointNo, Roster};
use crate::model::text::{EndpointName, EventId};
use crate::observe::Metrics;
use crate::observe::happening::Damaged;
use readers::Readers;
use store::Store;
use writer::{Accept, Command, Writer};

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
    /// Bytes of events after which a generation is sealed and the next begins; usually
    /// [`GENERATION_BYTES_MAX`](crate::limits::GENERATION_BYTES_MAX).
    pub generation_bytes: u64,
}

/// An outbox just opened, with what its scheduler needs.
#[derive(Debug)]
pub struct Opened {
    /// The outbox.
    pub outbox: Outbox,
    /// Deliveries to schedule, as they come. The writer waits when nobody takes them.
    pub news: mpsc::Receiver<News>,
    /// Endpoints that are not simply active.
    pub endpoint_states: Vec<(EndpointName, EndpointState)>,
}

/// What the scheduler is told.
#[derive(Debug)]
pub enum News {
    /// Events were accepted and are durable.
    Accepted(Vec<FreshEvent>),
    /// Deliveries were put back to pending.
    Revived(Vec<Waiting>),
}

/// An event straight from its acceptance.
#[derive(Clone, Debug)]
pub struct FreshEvent {
    /// Where it lies.
    pub place: EventRef,
    /// The event.
    pub event: Arc<Event>,
    /// Who takes it.
    pub targets: Vec<EndpointNo>,
}

/// The outbox, as everyone above it sees it. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Outbox {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<Store>,
    commands: mpsc::Sender<Command>,
    /// Bytes of events that may wait for the writer.
    room: Arc<Semaphore>,
    readers: Readers,
    size_bytes_max: u64,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Cancelled once the writer's thread has ended.
    writer_ended: CancellationToken,
}

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
    /// The outbox has stopped.
    #[error("the outbox has stopped")]
    Stopped,
}

impl From<engine::EngineError> for ReadError {
    fn from(error: engine::EngineError) -> Self {
        Self::Engine(error.to_string())
    }
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Read(error) => error,
            other => Self::Engine(other.to_string()),
        }
    }
}

/// Why the outbox could not be opened. Nothing in the folder was changed then but for what a crash had left half done.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file system refused.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another daemon uses the folder.
    #[error("the data folder {} is in use by another webhookd: stop that one, or set another [storage] dir", dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder is of another program or another version.
    #[error("{} is no data folder of this version of webhookd ({found}): set another [storage] dir", dir.display())]
    Format {
        /// The folder.
        dir: PathBuf,
        /// What was found instead.
        found: String,
    },
    /// A file is damaged.
    #[error("{} is damaged: {what}; restore it, or move it away to go on without it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A generation could not be opened.
    #[error(
        "generation {no:08} of the outbox cannot be opened: {error}; if its disk is sound, move its folder away to go on without its events"
    )]
    Generation {
        /// Its number, the name of its folder.
        no: u32,
        /// Why not.
        error: String,
    },
    /// The storage engine or a thread could not be started.
    #[error("the outbox could not be started: {0}")]
    Engine(String),
}

/// Why something could not be written or read; for the inside of this module.
#[derive(Debug, Error)]
enum StoreError {
    #[error(transparent)]
    Engine(#[from] engine::EngineError),
    #[error("a row could not be encoded: {0}")]
    Codec(#[from] bincode::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("a number outgrew its field")]
    TooLarge,
    #[error("the disk refused a new generation a moment ago; it is tried again shortly")]
    Resting,
    #[error("the generation was removed")]
    Gone,
}

impl Outbox {
    /// Opens the outbox in its folder and calls `each` with every delivery that is not finished.
    ///
    /// Waits for the disk: call it where that is allowed, within a tokio runtime.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        options: OutboxOptions,
        clock: SharedClock,
        roster: Arc<Roster>,
        metrics: Arc<Metrics>,
        each: impl FnMut(Waiting),
    ) -> Result<Opened, OpenError> {
        let folder = folder::Folder::open(&options.dir)?;
        let endpoints = endpoints::EndpointStates::open(folder.endpoints())?;
        let endpoint_states = endpoints.all();
        let recovered = recovery::recover(folder, roster, options.generation_bytes, clock.wall(), each)?;
        for (generation, what) in &recovered.damages {
            Damaged { generation: *generation, what }.tell(&metrics);
        }
        let store = recovered.store;
        let engine = |error: std::io::Error| OpenError::Engine(error.to_string());
        let readers = Readers::start(&store).map_err(engine)?;
        let (commands, queue) = mpsc::channel(WRITER_QUEUE_MAX);
        let (news, told) = mpsc::channel(SCHEDULE_QUEUE_MAX);
        let size_bytes_max = options.size_bytes_max;
        let mut writer = Writer {
            store: Arc::clone(&store),
            current: recovered.current,
            endpoints,
            options,
            clock,
            metrics,
            news,
            unsynced: BTreeMap::new(),
            unsynced_since: None,
            begin_again: MonoMs(0),
            seal_again: MonoMs(0),
        };
        writer.begin().map_err(|error| OpenError::Engine(error.to_string()))?;
        let writer_ended = CancellationToken::new();
        let guard = writer_ended.clone().drop_guard();
        let runtime = tokio::runtime::Handle::current();
        let thread = thread::Builder::new()
            .name("outbox-write".to_owned())
            .spawn(move || {
                let _guard = guard;
                writer.run(&runtime, queue);
            })
            .map_err(engine)?;
        let room = Arc::new(Semaphore::new(WRITER_QUEUE_BYTES_MAX));
        let writer = Mutex::new(Some(thread));
        let inner = Inner { store, commands, room, readers, size_bytes_max, writer, writer_ended };
        Ok(Opened { outbox: Self { inner: Arc::new(inner) }, news: told, endpoint_states })
    }

    /// Stores events, all or none, and returns once they are durable. Dropping the future does not undo it.
    ///
    /// The scheduler has them by then or a moment later: nobody needs to pass them on.
    ///
    /// # Errors
    /// See [`AcceptError`]; nothing was stored then.
    pub async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Accepted>, AcceptError> {
        let inner = &*self.inner;
        let bytes: usize = events.iter().map(|new| new.event.bytes()).sum();
        let bytes = u32::try_from(bytes.min(WRITER_QUEUE_BYTES_MAX)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&inner.room).try_acquire_many_owned(bytes).map_err(|_| AcceptError::Busy)?;
        // Ids of long ago are looked up here, on a reading thread, so that the writer never waits for an old generation.
        let horizon = inner.store.newest();
        let (events, known) = if events.iter().any(|new| commit::needs_disk(&inner.store, new, horizon)) {
            self.look_up(events).await?
        } else {
            let none = events.iter().map(|_| None).collect();
            (events, none)
        };
        let (reply, answer) = oneshot::channel();
        let accept = Accept { events, known, horizon, permit: Some(permit), reply };
        inner.commands.try_send(Command::Accept(accept)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AcceptError::Busy,
            mpsc::error::TrySendError::Closed(_) => AcceptError::Failed,
        })?;
        answer.await.map_err(|_| AcceptError::Failed)?
    }

    async fn look_up(&self, events: Vec<NewEvent>) -> Result<(Vec<NewEvent>, Vec<Option<commit::Known>>), AcceptError> {
        let looked_up = self.inner.readers.read(move |store| {
            let known: Result<Vec<_>, _> = events.iter().map(|new| commit::look_up(store, new, 0)).collect();
            Ok((known?, events))
        });
        looked_up.await.map(|(known, events)| (events, known)).map_err(|error| {
            tracing::error!(%error, "an event's id could not be looked up; the event was refused with 503");
            AcceptError::Failed
        })
    }

    /// Records what has happened to a delivery. Visible to readers once it is written, durable a moment later.
    pub async fn settle(&self, settlement: Settlement) {
        // A closed queue means that the outbox has stopped: the delivery is pending at the next start.
        let _ = self.inner.commands.send(Command::Settle(settlement)).await;
    }

    /// The event with this id, with every delivery and attempt.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn find(&self, id: &EventId) -> Result<Option<StoredEvent>, ReadError> {
        let id = id.clone();
        self.inner.readers.read(move |store| query::find(store, &id)).await
    }

    /// The event alone, for an attempt.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn load(&self, event: EventRef) -> Result<Option<Arc<Event>>, ReadError> {
        self.inner.readers.read(move |store| query::load(store, event)).await
    }

    /// A page of events, newest first.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn list(&self, query: ListQuery) -> Result<Page, ReadError> {
        self.inner.readers.read(move |store| query::list(store, &query)).await
    }

    /// Puts deliveries back to pending, due now, durably. Deliveries that are pending already are left alone; an endpoint
    /// that never had the event gets it. Returns how many deliveries are pending now that were not.
    ///
    /// # Errors
    /// [`AcceptError`] where it could not be written.
    pub async fn replay(&self, deliveries: Vec<DeliveryRef>) -> Result<usize, AcceptError> {
        let (reply, answer) = oneshot::channel();
        self.inner.commands.send(Command::Replay { deliveries, reply }).await.map_err(|_| AcceptError::Failed)?;
        answer.await.map_err(|_| AcceptError::Failed)?
    }

    /// Records an endpoint's state, durably.
    ///
    /// # Errors
    /// [`AcceptError`] where it could not be written.
    pub async fn set_endpoint_state(&self, endpoint: EndpointNo, state: EndpointState) -> Result<(), AcceptError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::EndpointState { endpoint, state, reply };
        self.inner.commands.send(command).await.map_err(|_| AcceptError::Failed)?;
        answer.await.map_err(|_| AcceptError::Failed)?
    }

    /// Writes what waits, makes it durable and closes the files. Whoever asks for something afterwards is refused.
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.inner.commands.send(Command::Stop { reply }).await.is_ok() {
            let _ = answer.await;
        }
        let inner = Arc::clone(&self.inner);
        let closed = tokio::task::spawn_blocking(move || {
            let thread = inner.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
            // The writer has answered and is about to end.
            let _ = thread.map(JoinHandle::join);
            inner.readers.close();
            inner.store.close_all();
            inner.store.folder().unlock();
        });
        // It fails only where the runtime is going away, and the process with it.
        let _ = closed.await;
    }

    /// Completes once the writer has ended. Unless the outbox was closed that is a fault: nothing can be stored any more.
    pub async fn ended(&self) {
        self.inner.writer_ended.cancelled().await;
    }

    /// Whether new events are refused because the data folder has reached its limit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.inner.store.disk_bytes() >= self.inner.size_bytes_max
    }
}
