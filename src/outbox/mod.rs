//! The durable store of events and deliveries: the only place that names the storage engine and its codec.
//!
//! # Constraints
//! - An event is acknowledged after its commit was flushed **and** `fdatasync`ed, never before.
//! - Events handed in together are stored all or none.
//! - Nothing accepted is dropped: a full folder refuses new events and keeps the old ones.
//! - Nothing is lost without a word: whatever is missing leaves a gap that is found, named and reported.
//! - One damaged generation never stops the rest, and no damage stops the start.
//! - Disk is bounded by what is live plus retention: the store is a row of generations, each removed whole.
//! - Memory is bounded: two generations are open in sled, some more are read, of the others a filter is kept.
//!
//! # Format
//! The data folder is described in `folder.rs`. A generation is one sled database of about 64 MiB of events. Every value is at
//! most 16 KiB, so that sled never makes a blob file, and stands in a frame that tells what it is, with a CRC (`frame.rs`).
//! Keys are a kind and a big-endian number (`keys.rs`):
//!
//! | key | value |
//! |---|---|
//! | `n` number | an endpoint's name; rows carry the number |
//! | `h` first event | a pack of event heads: id, type, key, times, content type, fingerprint, targets, where the body is |
//! | `b` offset | a piece of the stream of bodies: small bodies share one, large ones span several |
//! | `o` running number | a pack of delivery states; the last row of a delivery counts |
//! | `a` running number | a pack of attempts, pointed at by the states |
//! | `z` | once sealed: the seal |
//! | `l` running number | once rescued: what it lacks, and was told |
//! | `d` | once nothing is pending: since when |
//!
//! Beside sled's own files a generation has `durable` (how much of it is known to be on the disk, `watermark.rs`) and, while
//! sled opens it, a copy of its file (`caution.rs`). A sealed one has `ids` (which events it holds, `index.rs`), `summary` (what
//! the start needs to know of it, `summary.rs`), and `later`: sled never opens it again, so what becomes of its deliveries is
//! appended there, in the same frames (`sealed.rs`).
//!
//! A commit is a handful of inserts, however many events it has: the pieces of its bodies, then its heads; the last pack of
//! heads is flagged. States and attempts go to the generation of their event, so that a generation can be removed whole.
//!
//! # Operation
//! One thread writes (`writer.rs`, `settling.rs`); while it syncs, the next commit gathers in its bounded queue. Once a
//! second it keeps house (`housekeeping.rs`): seals, summarises, removes, mends, writes what was noted of endpoints
//! (`endpoints.rs`), judges whether there is room (`room.rs`) and whether it runs out (`low.rs`).
//! Two threads read (`readers.rs`). Fresh events go from the writer to the scheduler in memory, over the channel of
//! [`Opened::news`].
//!
//! # Recovery
//! At the start a generation with a summary is not opened at all, and of the others only the newest in sled. Of these heads
//! without the flag of a finished commit are dropped (nobody was told that they were stored), states are folded over the
//! heads, bodies are not touched; and every delivery that waits or is dead is told to the scheduler (`recovery.rs`).
//!
//! # Faults
//! | fault | what happens |
//! |---|---|
//! | the folder reaches `max_size`, or the file system `min_free` | new events are refused as [`Condition::is_full`]; deliveries go on and are recorded; events are taken again by themselves |
//! | a write is refused (full disk) | the commit is refused, its generation let go of and opened anew when there is room; outcomes are owed in memory, within bounds, and written then; then attempts wait; what the engine cannot open meanwhile is read without it |
//! | an fsync fails | as above, and nothing is added to that file any more: what was acknowledged is written anew (`rescue.rs`) and the old file goes |
//! | sled panics | caught; the generation is opened anew, and if that fails rescued |
//! | a damaged record, a torn tail, a flipped byte, a missing file | found by CRC, by a gap in the numbering, by the seal or the watermark, before sled may touch the file (`survey.rs`); every intact record is carved out of it (`carve.rs`) into a generation that takes its place; the damaged one is set aside with a report, [`Outbox::damages`] |
//! | a generation is gone | missed by the roll (`roll.rs`), reported in the same way |
//! | a generation cannot be opened just now | left shut and tried every second; until then no event is taken, since it may hold the same id |
//! | the file with what is kept of endpoints is damaged | set aside; all endpoints are active |
//! | that file cannot be written | what was noted stays in force in memory, and is written once the disk takes it |
//! | the folder is locked, of another program or version, half deleted, or cannot be written | the start stops with what to do, [`OpenError`], and changes nothing |
//! | the engine makes a blob file, against all that is known of it | an ERROR line at the start and whenever there are more, and a metric |
//!
//! What is lost with a damaged record: its events by number (heads), events by name (bodies; their deliveries end dead as
//! [`DeadReason::Lost`](crate::model::delivery::DeadReason::Lost)), or what happened to some deliveries (they are made again).

mod carve;
mod caution;
mod commit;
mod damage;
mod disk;
mod endpoints;
mod engine;
mod error;
mod filter;
mod folder;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod gaps;
mod generation;
mod housekeeping;
mod ids;
mod index;
mod keys;
mod lending;
mod lock;
mod low;
mod marker;
mod news;
pub mod offline;
mod opening;
mod private;
mod query;
mod readers;
mod recent;
mod recovery;
mod replay;
mod rescue;
mod roll;
mod room;
mod rows;
mod sealed;
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

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use damage::{Damage, Loss};
pub use disk::{Disk, RealDisk, SharedDisk, Space};
pub use error::{AcceptError, EngineFailure, OpenError, ReadError};
pub use low::StorageLow;
pub use news::{FreshEvent, News, Recovered};
pub use query::{Cursor, EventSummary, ListQuery, Page, StoredDelivery, StoredEvent};
pub use room::Condition;

use crate::clock::{MonoMs, SharedClock};
use crate::config::{self, Durability};
use crate::limits::{HEARTBEATS_MAX, SCHEDULE_QUEUE_MAX, WRITER_QUEUE_BYTES_MAX, WRITER_QUEUE_MAX};
use crate::model::delivery::{DeliveryRef, EventRef, Settlement};
use crate::model::endpoint::EndpointRecord;
use crate::model::event::{Event, NewEvent};
use crate::model::roster::{EndpointNo, Roster};
use crate::model::text::{EndpointName, EventId};
use crate::observe::Metrics;
use endpoints::Notes;
use error::StoreError;
use low::LowWatch;
use readers::Readers;
use room::Room;
use settling::{Outcome, Outcomes};
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

/// What of [`OutboxOptions`] may change while the outbox is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageSettings {
    /// As [`OutboxOptions::retention_ms`].
    pub retention_ms: u64,
    /// As [`OutboxOptions::size_bytes_max`].
    pub size_bytes_max: u64,
    /// As [`OutboxOptions::free_bytes_min`].
    pub free_bytes_min: Option<u64>,
    /// As [`OutboxOptions::durability`].
    pub durability: Durability,
}

impl From<&config::Storage> for StorageSettings {
    fn from(storage: &config::Storage) -> Self {
        let config::Storage { retention_ms, size_bytes_max, free_bytes_min, durability, dir: _ } = *storage;
        Self { retention_ms, size_bytes_max, free_bytes_min, durability }
    }
}

impl OutboxOptions {
    fn adopt(&mut self, settings: StorageSettings) {
        let StorageSettings { retention_ms, size_bytes_max, free_bytes_min, durability } = settings;
        (self.retention_ms, self.size_bytes_max) = (retention_ms, size_bytes_max);
        (self.free_bytes_min, self.durability) = (free_bytes_min, durability);
    }
}

/// An outbox just opened, with what its scheduler needs.
#[derive(Debug)]
pub struct Opened {
    /// The outbox.
    pub outbox: Outbox,
    /// Deliveries to schedule, as they come. The writer waits when nobody takes them.
    pub news: mpsc::Receiver<News>,
    /// Endpoints of which something is kept, also some that the config may not have.
    pub endpoints: Vec<(EndpointName, EndpointRecord)>,
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
    outcomes: mpsc::Sender<Outcome>,
    clock: SharedClock,
    /// What is known of endpoints and not written yet.
    notes: Arc<Notes>,
    /// Bytes of events that may wait for the writer.
    waiting_bytes: Arc<Semaphore>,
    /// Heartbeats that may wait for the writer.
    heartbeats: Arc<Semaphore>,
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

impl Outbox {
    /// Opens the outbox in its folder and calls `each` with every delivery that waits or is dead, one generation after the other,
    /// in the order of acceptance.
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
        each: impl FnMut(Recovered),
    ) -> Result<Opened, OpenError> {
        let folder = folder::Folder::open(&options.dir)?;
        let records = opening::open_endpoints(&folder)?;
        let endpoints = records.all();
        let (store, inventory) = opening::open_store(folder, &options, roster, &metrics)?;
        let recovered = recovery::recover(&store, &inventory, options.generation_bytes, clock.wall(), each)?;
        let engine = |error: std::io::Error| OpenError::Engine(error.to_string());
        let readers = Arc::new(Readers::start(&store).map_err(engine)?);
        let (commands, queue) = mpsc::channel(WRITER_QUEUE_MAX);
        let (outcomes, told_outcomes) = mpsc::channel(WRITER_QUEUE_MAX);
        let (news, told) = mpsc::channel(SCHEDULE_QUEUE_MAX);
        let (room, notes) = (Arc::new(Room::new()), Arc::new(Notes::default()));
        let mut writer = Writer {
            store: Arc::clone(&store),
            current: recovered.current,
            endpoints: records,
            notes: Arc::clone(&notes),
            endpoints_refused: false,
            options,
            clock: Arc::clone(&clock),
            metrics,
            news,
            readers: Arc::clone(&readers),
            room: Arc::clone(&room),
            low: LowWatch::default(),
            outcomes: Outcomes::default(),
            trouble: None,
            shut: recovered.shut,
            why_shut: recovered.why_shut,
            begin_again: MonoMs(0),
            seal_again: MonoMs(0),
            mend_again: MonoMs(0),
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
                writer.run(&runtime, Queues { commands: queue, outcomes: told_outcomes });
            })
            .map_err(engine)?;
        let waiting_bytes = Arc::new(Semaphore::new(WRITER_QUEUE_BYTES_MAX));
        let heartbeats = Arc::new(Semaphore::new(HEARTBEATS_MAX));
        let writer = Mutex::new(Some(thread));
        let inner = Inner {
            store,
            commands,
            outcomes,
            clock,
            notes,
            waiting_bytes,
            heartbeats,
            room,
            readers,
            writer,
            writer_ended,
        };
        Ok(Opened { outbox: Self { inner: Arc::new(inner) }, news: told, endpoints })
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
        let horizon = inner.store.horizon();
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
        // Now, however long the queue is: whether an endpoint was resumed since depends on it.
        let at = self.inner.clock.wall();
        // A closed queue means that the outbox has stopped: the delivery is pending at the next start.
        let _ = self.inner.outcomes.send(Outcome { settlement, at }).await;
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

    /// Notes what is to be kept of an endpoint over restarts. The newest note counts; it is written within a second, and what
    /// the disk refuses once it takes it.
    pub fn note_endpoint(&self, endpoint: EndpointNo, record: EndpointRecord) {
        self.inner.notes.note(endpoint, record);
    }

    /// Writes everything that was noted of endpoints, durably.
    ///
    /// # Errors
    /// [`AcceptError`] where it could not be written. It stays noted.
    pub async fn store_endpoints(&self) -> Result<(), AcceptError> {
        let (reply, answer) = oneshot::channel();
        self.inner.commands.send(Command::StoreEndpoints { reply }).await.map_err(|_| AcceptError::Failed)?;
        answer.await.map_err(|_| AcceptError::Failed)?
    }

    /// Goes on with other settings, and judges by them at once what is kept and whether there is room.
    pub async fn configure(&self, settings: StorageSettings) {
        let (reply, answer) = oneshot::channel();
        if self.inner.commands.send(Command::Configure { settings, reply }).await.is_ok() {
            let _ = answer.await;
        }
    }

    /// Returns once the writer has been through everything that was handed in before, whatever the disk said to that. How long
    /// that may take is up to who asks.
    ///
    /// # Errors
    /// [`AcceptError::Failed`] where the outbox is closed.
    pub async fn heartbeat(&self) -> Result<(), AcceptError> {
        let permit = Arc::clone(&self.inner.heartbeats).acquire_owned().await.map_err(|_| AcceptError::Failed)?;
        let (reply, answer) = oneshot::channel();
        self.inner.commands.send(Command::Heartbeat { reply, permit }).await.map_err(|_| AcceptError::Failed)?;
        answer.await.map_err(|_| AcceptError::Failed)
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
