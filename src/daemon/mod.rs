//! The composition root: builds the parts, starts them in order, and stops them in the opposite one.
//!
//! Start: open the doors, which are listeners that are bound or taken from systemd (a port in use is known before the outbox is
//! touched), and serve them, not ready yet; open the outbox and put what is pending on the schedule; start the dispatcher; ready. Stop: take no more requests and start no more attempts; wait for those under way,
//! within a deadline; write, sync and close the outbox. What was not finished is pending again at the next start.
//!
//! | file | job |
//! |---|---|
//! | `certificates` | those of the listeners, watched |
//! | `descriptors` | the limit of open files, and how many connections it allows |
//! | `doors`, `table` | the listeners of `[api]` and `[inbound]`, and what stands behind them |
//! | `hardening` | what of the process's memory others may see |
//! | `listeners` | where a table is served |
//! | `reload` | another config in the place of the one in force |
//! | `signals` | runs until it is told to stop |
//! | `telling` | what systemd is told, and whether the parts live |

mod certificates;
mod descriptors;
mod doors;
mod hardening;
mod listeners;
mod reload;
mod signals;
mod table;
mod telling;

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::descriptors::raise_open_files;
pub use self::hardening::{forbid_core_dumps, make_files_private};
pub use self::listeners::HandedError;
pub use self::signals::{Ended, run_until_signalled};

use self::doors::{Behind, Doors};
use self::listeners::Opening;
use self::reload::Reloader;
use self::telling::{Teller, Watch};
use crate::api::Reloads;
use crate::clock::{SharedClock, SystemClock};
use crate::config::Config;
use crate::deliver::{CourierError, HttpCourier};
use crate::dispatch::{self, Dispatcher, Running};
use crate::front::{BindError, TlsError};
use crate::intake::readiness::{Core, Readiness};
use crate::limits::{GENERATION_BYTES_MAX, IN_FLIGHT_TOTAL_MAX};
use crate::model::roster::Roster;
use crate::observe::Metrics;
use crate::observe::audit::{Action, Actor, Trail};
use crate::outbox::{OpenError, Opened, Outbox, OutboxOptions, RealDisk};
use crate::schedule::Schedule;
use crate::systemd::Service;
use crate::systemd::notify::Notifier;

/// What a daemon is started with beside its config. A test may put its own in the place of the machine's.
#[derive(Debug)]
pub struct DaemonOptions {
    /// Time.
    pub clock: SharedClock,
    /// Seed of the jitter.
    pub seed: u64,
    /// The file that the config was read from, to be read again by a reload; `None`: there is none.
    pub config_file: Option<PathBuf>,
    /// What systemd gave, where it did.
    pub service: Service,
}

impl Default for DaemonOptions {
    fn default() -> Self {
        Self { clock: SystemClock::shared(), seed: fastrand::u64(..), config_file: None, service: Service::default() }
    }
}

/// Why the daemon did not start. Each is one line that says what to do.
#[derive(Debug, Error)]
pub enum StartError {
    /// A listener.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificate of a listener.
    #[error("[{table}] tls: {source}")]
    Tls {
        /// The listener's table.
        table: &'static str,
        /// What is wrong.
        source: TlsError,
    },
    /// A socket that systemd hands over.
    #[error(transparent)]
    Handed(#[from] HandedError),
    /// The data folder.
    #[error(transparent)]
    Outbox(#[from] OpenError),
    /// An endpoint.
    #[error(transparent)]
    Courier(#[from] CourierError),
    /// The operating system refused something that every daemon needs.
    #[error("{what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

/// What every part of a daemon shares.
#[derive(Clone, Debug)]
struct Shared {
    clock: SharedClock,
    roster: Arc<Roster>,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    trail: Arc<Trail>,
}

impl Shared {
    fn new(config: &Config, clock: SharedClock) -> Self {
        let (roster, metrics) = (Roster::shared(), Metrics::shared());
        // Numbers in the order of the config, which is the order that answers name them in.
        for name in config.endpoints.keys() {
            roster.number(name);
        }
        let trail = Trail::shared(Arc::clone(&clock), Arc::clone(&metrics));
        Self { clock, roster, metrics, readiness: Arc::default(), trail }
    }
}

/// The tasks of a daemon, and how each kind is told to end.
#[derive(Clone, Debug, Default)]
struct Tasks {
    /// Ends the dispatcher, which lets attempts under way finish, and whoever reloads.
    stop: CancellationToken,
    dispatching: TaskTracker,
    /// Ends the doors.
    hang_up: CancellationToken,
    serving: TaskTracker,
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    api_address: String,
    inbound_address: Option<String>,
    shared: Shared,
    tasks: Tasks,
    outbox: Outbox,
    drained: CancellationToken,
    dispatcher_ended: CancellationToken,
    reloads: Reloads,
    teller: Teller,
}

impl Daemon {
    /// Starts a daemon; it is ready when this returns. Its tasks run on the runtime that this is called on.
    ///
    /// # Errors
    /// See [`StartError`]; nothing runs then.
    pub async fn start(config: Arc<Config>, options: DaemonOptions) -> Result<Self, StartError> {
        let DaemonOptions { clock, seed, config_file, service } = options;
        let Service { notifier, watchdog, sockets } = service;
        let (shared, tasks, teller) = (Shared::new(&config, clock), Tasks::default(), Teller::new(notifier));
        // If anything fails, dropping the guard ends what is served by then.
        let guard = tasks.hang_up.clone().drop_guard();

        let mut doors = Doors::open(&config, sockets, &shared, &tasks).await?;
        let (api_address, inbound_address) = (doors.api_address(), doors.inbound_address());
        let courier = HttpCourier::new(config.endpoints.values(), Arc::clone(&shared.clock), doors.own_listeners())
            .map(Arc::new)?;
        let (reloads, asked) = Reloads::channel();
        let behind = Behind::new(&config, &shared, &reloads);
        let opening = Opening::begins(&shared.clock);
        doors.serve(&behind, &opening);
        tasks.serving.spawn(Arc::clone(&shared.trail).sum_up(tasks.hang_up.clone()));

        let (opened, schedule) = tokio::select! {
            opened = open_outbox(&config, &shared) => opened?,
            never = teller.opening(&shared.clock) => match never {},
        };
        guard.disarm();
        let (outbox, pending, endpoints) = (opened.outbox.clone(), schedule.total_pending(), config.endpoints.len());
        let Running { control, drained, ended } =
            start_dispatcher(opened, schedule, &config, &courier, seed, &shared, &tasks);
        shared.readiness.set_ready(Core { outbox: outbox.clone(), control: control.clone() });
        opening.ends();
        shared.metrics.ready.set(1);
        shared.metrics.config_loaded(shared.clock.wall());
        let (address, inbound, dir) = (&api_address, &inbound_address, config.storage.dir.display());
        tracing::info!(address, inbound, endpoints, pending, %dir, "ready");

        let watch = Watch {
            teller: teller.clone(),
            watchdog,
            control: control.clone(),
            readiness: Arc::clone(&shared.readiness),
            clock: Arc::clone(&shared.clock),
        };
        let reloader = Reloader {
            file: config_file,
            config,
            shared: shared.clone(),
            courier,
            control,
            outbox: outbox.clone(),
            doors,
            behind,
            teller: teller.clone(),
        };
        tasks.serving.spawn(reloader.run(asked, tasks.stop.clone()));
        // First that it is ready, then that it lives.
        teller.ready(endpoints, pending);
        tasks.serving.spawn(watch.run(tasks.hang_up.clone()));
        let dispatcher_ended = ended;
        Ok(Self { api_address, inbound_address, shared, tasks, outbox, drained, dispatcher_ended, reloads, teller })
    }

    /// Where the API listens: `http://…`, `https://…` or `unix:…`, with the port that was really bound; several with commas between.
    #[must_use]
    pub fn api_address(&self) -> &str {
        &self.api_address
    }

    /// Where third parties post, in the same words; `None`: there is no source, and nothing listens for them.
    #[must_use]
    pub fn inbound_address(&self) -> Option<&str> {
        self.inbound_address.as_deref()
    }

    /// The daemon's metrics.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// The way to systemd.
    fn notifier(&self) -> Notifier {
        self.teller.notifier()
    }

    /// Asks for the config to be read anew, as SIGHUP does. What comes of it is in the log.
    pub fn reload_soon(&self) {
        self.reloads.reload_soon(Some(self.shared.trail.begin(Action::Reload, &Actor::Signal, None, None)));
    }

    /// Completes where a part that everything depends on has ended though nobody stopped it, and tells which. The daemon is of
    /// no use then: it should stop and be started again.
    pub async fn broken(&self) -> &'static str {
        tokio::select! {
            () = self.outbox.ended() => "the outbox's writer",
            () = self.dispatcher_ended.cancelled() => "the dispatcher",
        }
    }

    /// Stops the daemon: requests and attempts under way may finish for at most `drain_ms` milliseconds.
    ///
    /// While attempts are under way the API still answers: that it is draining, 503 to what would change something, and
    /// what became of the events.
    pub async fn stop(self, drain_ms: u64) {
        let Self { shared: Shared { clock, readiness, metrics, .. }, tasks, .. } = &self;
        self.teller.stopping();
        readiness.set_draining();
        metrics.ready.set(0);
        tasks.stop.cancel();
        let finished = async {
            self.drained.cancelled().await;
            tasks.hang_up.cancel();
            tasks.serving.close();
            tasks.serving.wait().await;
        };
        let deadline = clock.sleep_until(clock.mono().plus_ms(drain_ms));
        tokio::select! {
            () = finished => {}
            () = deadline => tracing::warn!(
                "requests or attempts were still under way at the deadline; the deliveries are pending at the next start"
            ),
        }
        tasks.hang_up.cancel();
        self.outbox.close().await;
        tracing::info!("stopped");
    }
}

async fn open_outbox(config: &Config, shared: &Shared) -> Result<(Opened, Schedule), StartError> {
    let options = OutboxOptions {
        dir: config.storage.dir.clone(),
        retention_ms: config.storage.retention_ms,
        size_bytes_max: config.storage.size_bytes_max,
        free_bytes_min: config.storage.free_bytes_min,
        durability: config.storage.durability,
        generation_bytes: GENERATION_BYTES_MAX,
        disk: RealDisk::shared(),
    };
    let Shared { clock, roster, metrics, .. } = shared.clone();
    let blocking = dispatch::blocking(config.endpoints.values(), &roster);
    let opening = tokio::task::spawn_blocking(move || {
        let mut schedule = Schedule::new(IN_FLIGHT_TOTAL_MAX);
        let admit = |told| dispatch::recover(&mut schedule, &told, &clock, &blocking);
        let opened = Outbox::open(options, Arc::clone(&clock), roster, metrics, admit)?;
        Ok((opened, schedule))
    });
    opening.await.unwrap_or_else(|panic| Err(OpenError::Engine(panic.to_string()))).map_err(StartError::Outbox)
}

fn start_dispatcher(
    opened: Opened,
    schedule: Schedule,
    config: &Config,
    courier: &Arc<HttpCourier>,
    seed: u64,
    shared: &Shared,
    tasks: &Tasks,
) -> Running {
    let Opened { outbox, news, endpoints } = opened;
    let Shared { clock, roster, metrics, .. } = shared.clone();
    let dispatcher = Dispatcher { outbox, courier: Arc::clone(courier), clock, metrics, roster, schedule, news, seed };
    dispatcher.start(config.endpoints.values(), &endpoints, tasks.stop.clone(), &tasks.dispatching)
}
