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

mod carve;
mod commit;
mod damage;
mod disk;
mod endpoints;
mod engine;
mod filter;
mod folder;
mod frame;
mod generation;
mod housekeeping;
mod ids;
mod keys;
pub mod offline;
mod query;
mod readers;
mod recovery;
mod replay;
mod rescue;
mod roll;
mod room;
mod rows;
mod settling;
mod shelf;
mod slot;
mod store;
mod summary;
mod survey;
#[cfg(test)]
mod tests;
mod watermark;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use damage::{Damage, Loss};
pub use disk::{Disk, RealDisk, SharedDisk, Space};
pub use query::{Cursor, EventSummary, ListQuery, Page, StoredDelivery, StoredEvent};
pub use room::Condition;

use crate::clock::{MonoMs, SharedClock};
use crate::config::Durability;
use crate::limits::{SCHEDULE_QUEUE_MAX, WRITER_QUEUE_BYTES_MAX, WRITER_QUEUE_MAX};
use crate::model::delivery::{DeliveryRef, EventRef, Settlement, Waiting};
use crate::model::endpoint::EndpointState;
use crate::model::event::{Event, NewEvent};
use crate::model::roster::{EndpointNo, Roster};
use crate::model::text::{EndpointName, EventId};
use crate::observe::Metrics;
use endpoints::EndpointStates;
use readers::Readers;
use recovery::Inventory;
use roll::Roll;
use room::Room;
use settling::Outcomes;
use store::Store;
use writer::{Accept, Command, Queues, Writer};

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
    /// Free bytes of the file system below which new events are refused; `None`: a twentieth of it, within bounds.
    pub free_bytes_min: Option<u64>,
    /// Bytes of events after which a generation is sealed and the next begins; usually
    /// [`GENERATION_BYTES_MAX`](crate::limits::GENERATION_BYTES_MAX).
    pub generation_bytes: u64,
    /// Where fsync and room are asked for; usually [`RealDisk`].
    pub disk: SharedDisk,
}

/// Endpoints that are not simply active.
type EndpointStateList = Vec<(EndpointName, EndpointState)>;

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
    settlements: mpsc::Sender<Settlement>,
    /// Bytes of events that may wait for the writer.
    waiting_bytes: Arc<Semaphore>,
    /// Whether events are taken.
    room: Arc<Room>,
    readers: Arc<Readers>,
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
    /// What is asked for was lost with a damaged generation; that was told when it was found.
    #[error("it was lost with a damaged generation: {0}")]
    Lost(String),
    /// The storage engine failed.
    #[error("the storage could not be read: {0}")]
    Engine(#[from] EngineFailure),
    /// A generation could not be opened just now, or is being mended.
    #[error("the storage could not be read: {0}")]
    Unavailable(String),
    /// The read itself failed, which is a fault in webhookd.
    #[error("the read panicked")]
    Panicked,
    /// The outbox has stopped.
    #[error("the outbox has stopped")]
    Stopped,
}

/// What the storage engine did not do.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct EngineFailure(#[from] engine::EngineError);

impl From<engine::EngineError> for ReadError {
    fn from(error: engine::EngineError) -> Self {
        Self::Engine(error.into())
    }
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Read(error) => error,
            StoreError::Engine(error) => error.into(),
            other => Self::Unavailable(other.to_string()),
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
    /// Part of the folder was removed.
    #[error(
        "the data folder {} is half deleted: {what}; restore it from a backup, or remove the whole folder to begin with an empty one",
        dir.display()
    )]
    HalfDeleted {
        /// The folder.
        dir: PathBuf,
        /// What is missing.
        what: String,
    },
    /// An import into the folder broke off.
    #[error("an import into {} was not finished, so that it holds half a store: remove the folder and import again", dir.display())]
    HalfMade {
        /// The folder.
        dir: PathBuf,
    },
    /// A folder to import into holds something already.
    #[error("{} is not empty (there is {found} in it): import into a new folder, set as [storage] dir", dir.display())]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
        /// What was found in it.
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
    /// The storage engine or a thread could not be started.
    #[error("the outbox could not be started: {0}")]
    Engine(String),
}

/// Why something could not be written or read; for the inside of this module.
#[derive(Debug, Error)]
enum StoreError {
    #[error(transparent)]
    Engine(#[from] engine::EngineError),
    #[error("a row could not be encoded or decoded: {0}")]
    Codec(#[from] bincode::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("a number outgrew its field")]
    TooLarge,
    #[error("{what} generation {generation}: {source}")]
    Io { what: &'static str, generation: u32, source: std::io::Error },
    #[error("the disk refused a new generation a moment ago; it is tried again shortly")]
    Resting,
    #[error("the generation was removed")]
    Gone,
    #[error("generation {generation} is damaged and is being mended")]
    InDoubt { generation: u32 },
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
        let (endpoints, endpoint_states) = open_endpoints(&folder)?;
        let (store, inventory) = open_store(folder, &options, roster, &metrics)?;
        let recovered = recovery::recover(&store, &inventory, options.generation_bytes, clock.wall(), each)?;
        let engine = |error: std::io::Error| OpenError::Engine(error.to_string());
        let readers = Arc::new(Readers::start(&store).map_err(engine)?);
        let (commands, queue) = mpsc::channel(WRITER_QUEUE_MAX);
        let (settlements, settled) = mpsc::channel(WRITER_QUEUE_MAX);
        let (news, told) = mpsc::channel(SCHEDULE_QUEUE_MAX);
        let room = Arc::new(Room::new());
        let mut writer = Writer {
            store: Arc::clone(&store),
            current: recovered.current,
            endpoints,
            options,
            clock,
            metrics,
            news,
            readers: Arc::clone(&readers),
            room: Arc::clone(&room),
            outcomes: Outcomes::default(),
            trouble: None,
            shut: recovered.shut,
            why_shut: recovered.why_shut,
            begin_again: MonoMs(0),
            seal_again: MonoMs(0),
        };
        // A disk that refuses now may take events later; until then everything else goes on.
        if let Err(error) = writer.begin() {
            writer.trouble = Some(error.to_string());
        }
        writer.judge_room();
        let writer_ended = CancellationToken::new();
        let guard = writer_ended.clone().drop_guard();
        let runtime = tokio::runtime::Handle::current();
        let thread = thread::Builder::new()
            .name("outbox-write".to_owned())
            .spawn(move || {
                let _guard = guard;
                writer.run(&runtime, Queues { commands: queue, settlements: settled });
            })
            .map_err(engine)?;
        let waiting_bytes = Arc::new(Semaphore::new(WRITER_QUEUE_BYTES_MAX));
        let writer = Mutex::new(Some(thread));
        let inner = Inner { store, commands, settlements, waiting_bytes, room, readers, writer, writer_ended };
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
        let permit = Arc::clone(&inner.waiting_bytes).try_acquire_many_owned(bytes).map_err(|_| AcceptError::Busy)?;
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

    /// Records what has happened to a delivery. Visible to readers once it is written, durable a moment later. Waits while the
    /// disk refuses and many outcomes are owed to it already.
    pub async fn settle(&self, settlement: Settlement) {
        // A closed queue means that the outbox has stopped: the delivery is pending at the next start.
        let _ = self.inner.settlements.send(settlement).await;
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

    /// Whether new events are taken, and why not.
    #[must_use]
    pub fn condition(&self) -> Condition {
        self.inner.room.condition()
    }

    /// What was found damaged and lies set aside.
    #[must_use]
    pub fn damages(&self) -> Vec<Damage> {
        self.inner.store.damages()
    }
}

/// What endpoints or operators asked for. A file that is damaged is set aside, and all endpoints count as active: a daemon
/// that does not start would lose more.
fn open_endpoints(folder: &folder::Folder) -> Result<(EndpointStates, EndpointStateList), OpenError> {
    let path = folder.endpoints();
    let endpoints = match EndpointStates::open(path.clone(), folder.mark()) {
        Err(OpenError::Damaged { what, .. }) => {
            let aside = path.with_extension("damaged");
            tracing::error!(
                %what,
                aside = %aside.display(),
                "the file with the states of the endpoints is damaged and was set aside: all endpoints are active now, \
                 also those that were paused or disabled"
            );
            std::fs::rename(&path, &aside).map_err(|source| OpenError::Io {
                what: "cannot set aside",
                path: path.clone(),
                source,
            })?;
            EndpointStates::open(path, folder.mark())?
        }
        other => other?,
    };
    let states = endpoints.all();
    Ok((endpoints, states))
}

/// The store without its generations, and which there are.
fn open_store(
    folder: folder::Folder,
    options: &OutboxOptions,
    roster: Arc<Roster>,
    metrics: &Arc<Metrics>,
) -> Result<(Arc<Store>, Inventory), OpenError> {
    let io = |what| {
        let path = folder.dir().to_path_buf();
        move |source| OpenError::Io { what, path, source }
    };
    folder.tidy().map_err(io("cannot tidy up the outbox in"))?;
    let numbers = folder.generations().map_err(io("cannot read the generations of"))?;
    let (roll, missing) = Roll::open(&folder, &numbers);
    if numbers.is_empty() && !missing.is_empty() {
        let what = format!("all its generations are gone ({} of them)", missing.len());
        return Err(OpenError::HalfDeleted { dir: folder.dir().to_path_buf(), what });
    }
    let disk = Arc::clone(&options.disk);
    let store = Store::new(folder, roll, roster, disk, Arc::clone(metrics));
    Ok((Arc::new(store), Inventory { numbers, missing }))
}
