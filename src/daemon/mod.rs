//! The composition root: builds the parts, starts them in order, and stops them in the opposite one.
//!
//! Start: bind the API, or take the sockets that systemd hands over (a port in use is known before the outbox is touched), and serve it, not ready yet; open the outbox and
//! put what is pending on the schedule; start the dispatcher; ready. Stop: take no more requests and start no more attempts; wait for those under way,
//! within a deadline; write, sync and close the outbox. What was not finished is pending again at the next start.
//!
//! | file | job |
//! |---|---|
//! | `certificates` | those of the listeners, watched |
//! | `descriptors` | the limit of open files, and how many connections it allows |
//! | `hardening` | what of the process's memory others may see |
//! | `listeners` | where the API is served |
//! | `reload` | another config in the place of the one in force |
//! | `signals` | runs until it is told to stop |
//! | `telling` | what systemd is told, and whether the parts live |

mod certificates;
mod descriptors;
mod hardening;
mod listeners;
mod reload;
mod signals;
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

use self::certificates::Certificates;
use self::listeners::Listeners;
use self::reload::Reloader;
use self::telling::{Teller, Watch};
use crate::api::{Parts, Reloads, Snapshots};
use crate::clock::{SharedClock, SystemClock};
use crate::config::Config;
use crate::deliver::{CourierError, HttpCourier, OwnListeners};
use crate::dispatch::{self, Dispatcher};
use crate::front::{BindError, Connections, Listener, Places, Serving, TlsError};
use crate::inbound;
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
    /// The API's listener.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificate of the API's listener.
    #[error("[api] tls: {0}")]
    Tls(#[from] TlsError),
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

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    address: String,
    /// Ends the dispatcher, which lets attempts under way finish.
    stop: CancellationToken,
    drained: CancellationToken,
    dispatcher_ended: CancellationToken,
    /// Ends the front.
    hang_up: CancellationToken,
    serving: TaskTracker,
    outbox: Outbox,
    clock: SharedClock,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    reloads: Reloads,
    teller: Teller,
    trail: Arc<Trail>,
}

impl Daemon {
    /// Starts a daemon; it is ready when this returns. Its tasks run on the runtime that this is called on.
    ///
    /// # Errors
    /// See [`StartError`]; nothing runs then.
    pub async fn start(config: Arc<Config>, options: DaemonOptions) -> Result<Self, StartError> {
        let DaemonOptions { clock, seed, config_file, service } = options;
        let Service { notifier, watchdog, sockets } = service;
        let teller = Teller::new(notifier);
        let (roster, metrics, readiness) = (Roster::shared(), Metrics::shared(), Arc::new(Readiness::default()));
        let certificates = Certificates::new(&config, &clock, &metrics)?;
        let tls = certificates.api();
        let listeners = Listeners::open(&config.api, sockets).await?;
        let (address, public) = (listeners.address(tls.is_some()), listeners.are_public());
        let own = OwnListeners::from_iter(listeners.tcp_addresses());
        let courier = Arc::new(HttpCourier::new(config.endpoints.values(), Arc::clone(&clock), own)?);
        // Numbers in the order of the config, which is the order that answers name them in.
        for name in config.endpoints.keys() {
            roster.number(name);
        }
        let (stop, hang_up) = (CancellationToken::new(), CancellationToken::new());
        let (dispatching, serving) = (TaskTracker::new(), TaskTracker::new());
        let (reloads, asked) = Reloads::channel();
        let trail = Trail::shared(Arc::clone(&clock), Arc::clone(&metrics));
        let front = Snapshots::new(Parts {
            config: Arc::clone(&config),
            roster: Arc::clone(&roster),
            clock: Arc::clone(&clock),
            readiness: Arc::clone(&readiness),
            metrics: Arc::clone(&metrics),
            reloads: reloads.clone(),
            trail: Arc::clone(&trail),
        });
        let connections = Connections::new("api", descriptors::places(&config), Arc::clone(&metrics));
        let on_api =
            Serving { shutdown: hang_up.clone(), tracker: serving.clone(), connections: Arc::clone(&connections), tls };
        let opened_at_last = CancellationToken::new();
        listeners.serve(&front, &on_api, &clock, &opened_at_last);
        let mut sources = None;
        if let Some(inbound) = config.inbound.as_ref().filter(|_| !config.sources.is_empty()) {
            let listener = Listener::bind(&inbound.listen).await?;
            let places = Places { all: inbound.connections_max, per_address: inbound.connections_per_address_max };
            let snapshots = inbound::Snapshots::new(inbound::Parts {
                config: Arc::clone(&config),
                roster: Arc::clone(&roster),
                clock: Arc::clone(&clock),
                readiness: Arc::clone(&readiness),
                metrics: Arc::clone(&metrics),
            });
            let on_inbound = Serving {
                shutdown: hang_up.clone(),
                tracker: serving.clone(),
                connections: Connections::new("inbound", places, Arc::clone(&metrics)),
                tls: None,
            };
            serving.spawn(inbound::serve(listener, Arc::clone(&snapshots), on_inbound));
            sources = Some(snapshots);
        }
        serving.spawn(Arc::clone(&trail).sum_up(hang_up.clone()));
        // If this fails, dropping the guard ends the front again.
        let guard = hang_up.clone().drop_guard();
        let (opened, schedule) = tokio::select! {
            opened = open_outbox(&config, &clock, &roster, &metrics) => opened?,
            never = teller.opening(&clock) => match never {},
        };
        guard.disarm();
        let Opened { outbox, news, endpoints } = opened;
        let pending = schedule.total_pending();
        let dispatcher = Dispatcher {
            outbox: outbox.clone(),
            courier: Arc::clone(&courier),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            roster: Arc::clone(&roster),
            schedule,
            news,
            seed,
        };
        let running = dispatcher.start(config.endpoints.values(), &endpoints, stop.clone(), &dispatching);
        let endpoints_count = config.endpoints.len();
        let control = running.control.clone();
        let watch = Watch {
            teller: teller.clone(),
            watchdog,
            control,
            readiness: Arc::clone(&readiness),
            clock: Arc::clone(&clock),
        };
        readiness.set_ready(Core { outbox: outbox.clone(), control: running.control.clone() });
        opened_at_last.cancel();
        metrics.ready.set(1);
        metrics.config_loaded(clock.wall());
        let dir = config.storage.dir.display();
        tracing::info!(address, endpoints = config.endpoints.len(), pending, %dir, "ready");
        let reloader = Reloader {
            file: config_file,
            config,
            roster,
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            courier,
            control: running.control,
            outbox: outbox.clone(),
            front,
            sources,
            certificates,
            teller: teller.clone(),
            public,
            connections,
        };
        serving.spawn(reloader.run(asked, stop.clone()));
        // First that it is ready, then that it lives.
        teller.ready(endpoints_count, pending);
        serving.spawn(watch.run(hang_up.clone()));
        let (drained, dispatcher_ended) = (running.drained, running.ended);
        Ok(Self {
            address,
            stop,
            drained,
            dispatcher_ended,
            hang_up,
            serving,
            outbox,
            clock,
            readiness,
            metrics,
            reloads,
            teller,
            trail,
        })
    }

    /// Where the API listens: `http://…`, `https://…` or `unix:…`, with the port that was really bound; several with commas between.
    #[must_use]
    pub fn api_address(&self) -> &str {
        &self.address
    }

    /// The daemon's metrics.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The way to systemd.
    fn notifier(&self) -> Notifier {
        self.teller.notifier()
    }

    /// Asks for the config to be read anew, as SIGHUP does. What comes of it is in the log.
    pub fn reload_soon(&self) {
        self.reloads.reload_soon(Some(self.trail.begin(Action::Reload, &Actor::Signal, None, None)));
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
        self.teller.stopping();
        self.readiness.set_draining();
        self.metrics.ready.set(0);
        self.stop.cancel();
        let finished = async {
            self.drained.cancelled().await;
            self.hang_up.cancel();
            self.serving.close();
            self.serving.wait().await;
        };
        let deadline = self.clock.sleep_until(self.clock.mono().plus_ms(drain_ms));
        tokio::select! {
            () = finished => {}
            () = deadline => tracing::warn!(
                "requests or attempts were still under way at the deadline; the deliveries are pending at the next start"
            ),
        }
        self.hang_up.cancel();
        self.outbox.close().await;
        tracing::info!("stopped");
    }
}

async fn open_outbox(
    config: &Config,
    clock: &SharedClock,
    roster: &Arc<Roster>,
    metrics: &Arc<Metrics>,
) -> Result<(Opened, Schedule), StartError> {
    let options = OutboxOptions {
        dir: config.storage.dir.clone(),
        retention_ms: config.storage.retention_ms,
        size_bytes_max: config.storage.size_bytes_max,
        free_bytes_min: config.storage.free_bytes_min,
        durability: config.storage.durability,
        generation_bytes: GENERATION_BYTES_MAX,
        disk: RealDisk::shared(),
    };
    let (clock, roster, metrics) = (Arc::clone(clock), Arc::clone(roster), Arc::clone(metrics));
    let blocking = dispatch::blocking(config.endpoints.values(), &roster);
    let opening = tokio::task::spawn_blocking(move || {
        let mut schedule = Schedule::new(IN_FLIGHT_TOTAL_MAX);
        let admit = |told| dispatch::recover(&mut schedule, &told, &clock, &blocking);
        let opened = Outbox::open(options, Arc::clone(&clock), roster, metrics, admit)?;
        Ok((opened, schedule))
    });
    opening.await.unwrap_or_else(|panic| Err(OpenError::Engine(panic.to_string()))).map_err(StartError::Outbox)
}
