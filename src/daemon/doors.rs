//! The doors of the daemon, one for each table of the config that names a listener: `[api]`, and `[inbound]` where there is a source,
//! or where systemd hands over a socket for it.
//!
//! A door is opened (bound) before anything else is touched, served before the storage is open, and told by a reload what has
//! changed. Both go the same way; only what stands behind them differs.

use std::sync::Arc;

use super::certificates::{Certificates, Renewed};
use super::listeners::{Listeners, Opening, guard, sorted};
use super::table::Table;
use super::{Shared, StartError, Tasks, descriptors};
use crate::api::{self, ReloadError, Reloads};
use crate::config::Config;
use crate::deliver::OwnListeners;
use crate::front::{Connections, Listener, ProxyHeaders, Serving, TlsSettings};
use crate::inbound;
use crate::systemd::sockets::HandedSocket;

/// All doors.
#[derive(Debug)]
pub(super) struct Doors {
    api: Door,
    inbound: Option<Door>,
    certificates: Certificates,
}

/// One of them.
#[derive(Debug)]
struct Door {
    table: Table,
    listeners: Listeners,
    serving: Serving,
}

/// What stands behind the doors.
#[derive(Debug)]
pub(super) struct Behind {
    api: Arc<api::Snapshots>,
    inbound: Arc<inbound::Snapshots>,
}

/// What a config needs of the doors, ready made.
#[derive(Debug)]
pub(super) struct PreparedDoors(Vec<(Table, TlsSettings)>);

impl Behind {
    pub(super) fn new(config: &Arc<Config>, shared: &Shared, reloads: &Reloads) -> Self {
        let Shared { clock, roster, metrics, readiness, trail } = shared;
        let api = api::Snapshots::new(api::Parts {
            config: Arc::clone(config),
            roster: Arc::clone(roster),
            clock: Arc::clone(clock),
            readiness: Arc::clone(readiness),
            metrics: Arc::clone(metrics),
            reloads: reloads.clone(),
            trail: Arc::clone(trail),
        });
        let inbound = inbound::Snapshots::new(inbound::Parts {
            config: Arc::clone(config),
            roster: Arc::clone(roster),
            clock: Arc::clone(clock),
            readiness: Arc::clone(readiness),
            metrics: Arc::clone(metrics),
        });
        Self { api, inbound }
    }

    /// Serves by another config from now on.
    pub(super) fn adopt(&self, config: &Arc<Config>) {
        self.api.adopt(config);
        self.inbound.adopt(config);
    }
}

impl Doors {
    /// Opens them: on the sockets that were handed over, and else where the config says. Nobody is served yet.
    pub(super) async fn open(
        config: &Config,
        handed: Vec<HandedSocket>,
        shared: &Shared,
        tasks: &Tasks,
    ) -> Result<Self, StartError> {
        let [for_api, for_inbound] = sorted(handed)?;
        guard(&config.api, &for_api)?;
        let inbound_is_served = !config.sources.is_empty() || !for_inbound.is_empty();
        let served = if inbound_is_served { &Table::ALL[..] } else { &[Table::Api] };
        let certificates = Certificates::new(config, served, &shared.clock, &shared.metrics)?;
        let door = async |table: Table, handed| {
            let terms = table.terms(config);
            let listeners = Listeners::open(table, &terms.listen, handed).await?;
            let places = descriptors::places(config, table, served);
            let connections = Connections::new(table.word(), places, Arc::clone(&shared.metrics));
            let proxies = ProxyHeaders::new(table.word(), terms.proxies, Arc::clone(&shared.metrics));
            let (shutdown, tracker) = (tasks.hang_up.clone(), tasks.serving.clone());
            let serving = Serving { shutdown, tracker, connections, tls: certificates.of(table), proxies };
            Ok::<_, StartError>(Door { table, listeners, serving })
        };
        let api = door(Table::Api, for_api).await?;
        let inbound = if inbound_is_served { Some(door(Table::Inbound, for_inbound).await?) } else { None };
        Ok(Self { api, inbound, certificates })
    }

    fn all(&self) -> impl Iterator<Item = &Door> {
        [Some(&self.api), self.inbound.as_ref()].into_iter().flatten()
    }

    /// Where the API is, as `--api` takes each place, with commas between.
    pub(super) fn api_address(&self) -> String {
        self.api.address()
    }

    /// Where third parties post; `None`: nothing listens for them.
    pub(super) fn inbound_address(&self) -> Option<String> {
        self.inbound.as_ref().map(Door::address)
    }

    /// Whether other machines reach the API, wherever the config says that it listens.
    pub(super) fn api_is_public(&self) -> bool {
        self.api.listeners.are_public()
    }

    /// Where nothing may ever be delivered to.
    pub(super) fn own_listeners(&self) -> OwnListeners {
        self.all().flat_map(|door| door.listeners.tcp_addresses().iter().copied()).collect()
    }

    /// Lets clients in.
    pub(super) fn serve(&mut self, behind: &Behind, opening: &Opening) {
        let (api, inbound) = (&behind.api, &behind.inbound);
        self.api.serve(opening, |listener, serving| api::serve(listener, Arc::clone(api), serving));
        if let Some(door) = &mut self.inbound {
            door.serve(opening, |listener, serving| inbound::serve(listener, Arc::clone(inbound), serving));
        }
    }

    /// Watches the certificates until another one has been put in force, and hands it out. It may be dropped at any point and
    /// called again.
    pub(super) async fn renewed(&mut self) -> Renewed {
        self.certificates.renewed().await
    }

    /// Whether anything listens for third parties.
    pub(super) fn inbound_listens(&self) -> bool {
        self.inbound.is_some()
    }

    /// What can fail about another config. Nothing is changed yet.
    pub(super) fn prepare(&self, config: &Config) -> Result<PreparedDoors, ReloadError> {
        self.certificates.prepare(config).map(PreparedDoors)
    }

    /// Puts in force what was prepared for this config.
    pub(super) fn adopt(&mut self, config: &Config, prepared: PreparedDoors) {
        self.certificates.adopt(config, prepared.0);
        let served: Vec<Table> = self.all().map(|door| door.table).collect();
        for door in self.all() {
            door.serving.proxies.adopt(door.table.terms(config).proxies);
            door.serving.connections.set_places(descriptors::places(config, door.table, &served));
        }
    }
}

impl Door {
    fn address(&self) -> String {
        self.listeners.address(self.serving.tls.is_some())
    }

    fn serve<F>(&mut self, opening: &Opening, serve: impl Fn(Listener, Serving) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.listeners.serve(&self.serving, opening, serve);
    }
}
