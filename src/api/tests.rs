//! The API over real sockets, on a real outbox and dispatcher. Its endpoints are paused, so that nothing leaves.

mod operators;
mod posting;
mod reloads;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Parts, ReloadAsk, Reloads, Snapshots, serve};
use crate::clock::{ManualClock, ManualHandle, SharedClock, UnixMs};
use crate::config::{Config, Listen, Proxies};
use crate::deliver::{HttpCourier, OwnListeners};
use crate::dispatch::Dispatcher;
use crate::front::{Connections, Listener, Places, ProxyHeaders, Serving};
use crate::intake::readiness::{Core, Phase, Readiness};
use crate::intake::targets::Targets;
use crate::limits;
use crate::model::delivery::{DeliveryRef, Progress, Settlement, Standing};
use crate::model::endpoint::{EndpointRecord, EndpointState};
use crate::model::roster::Roster;
use crate::model::text::EventId;
use crate::observe::Metrics;
use crate::observe::audit::Trail;
use crate::outbox::{Opened, Outbox, OutboxOptions};
use crate::schedule::Schedule;

const NOW: UnixMs = UnixMs(1_700_000_000_000);

const ENDPOINTS: &str = r#"
[endpoint.billing]
url = "http://127.0.0.1:9/billing"
events = ["invoice.*", "!invoice.draft"]
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
[endpoint.crm]
url = "http://127.0.0.1:9/crm"
sign = "none"
[endpoint.idle]
url = "http://127.0.0.1:9/idle"
events = ["never"]
sign = "none"
"#;

fn config(text: &str) -> Config {
    Config::parse(text, "test.toml", Path::new("/"), &|_| None).unwrap()
}

/// The endpoints of the tests: `billing` takes `invoice.*`, `crm` everything, `idle` nothing that comes.
pub(super) fn targets() -> Targets {
    Targets::new(&config(&format!("[storage]\ndir = \"/none\"\n{ENDPOINTS}")), &Roster::shared())
}

/// An API that runs, with all it stands on.
struct Bench {
    address: std::net::SocketAddr,
    front: Arc<Snapshots>,
    /// Reloads that somebody asked for.
    asked: mpsc::Receiver<ReloadAsk>,
    outbox: Outbox,
    roster: Arc<Roster>,
    clock: Arc<ManualClock>,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    tracker: TaskTracker,
    _folder: tempfile::TempDir,
}

/// An answer, read whole.
#[derive(Debug)]
struct Got {
    status: StatusCode,
    head: Response<()>,
    body: Bytes,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The status and the problem's word.
    fn problem(&self) -> (u16, String) {
        assert_eq!(self.head.headers()["content-type"], "application/problem+json", "{self:?}");
        let kind = self.json()["type"].as_str().unwrap().to_owned();
        (self.status.as_u16(), kind.strip_prefix(crate::front::problem::TYPE_PREFIX).unwrap().to_owned())
    }
}

impl Bench {
    async fn start() -> Self {
        Self::with("").await
    }

    /// `api` is put into the config's `[api]`.
    async fn with(api: &str) -> Self {
        Self::changed(api, |_| {}).await
    }

    async fn changed(api: &str, change: impl FnOnce(&mut Config)) -> Self {
        let (bench, core) = Self::opening(api, change).await;
        bench.readiness.set_ready(core);
        bench
    }

    /// A daemon that serves already and has not yet opened its storage, as the API sees it.
    async fn opening(api: &str, change: impl FnOnce(&mut Config)) -> (Self, Core) {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("data");
        let mut config = config(&format!("[api]\n{api}\n[storage]\ndir = {dir:?}\n{ENDPOINTS}"));
        change(&mut config);
        let config = Arc::new(config);
        let clock = ManualClock::at(NOW);
        let shared: SharedClock = Arc::new(ManualHandle(Arc::clone(&clock)));
        let (roster, metrics, readiness) = (Roster::shared(), Metrics::shared(), Arc::new(Readiness::default()));
        let options = OutboxOptions {
            dir,
            retention_ms: config.storage.retention_ms,
            size_bytes_max: config.storage.size_bytes_max,
            durability: config.storage.durability,
            generation_bytes: limits::GENERATION_BYTES_MAX,
            free_bytes_min: None,
            disk: crate::outbox::RealDisk::shared(),
        };
        let opened =
            Outbox::open(options, Arc::clone(&shared), Arc::clone(&roster), Arc::clone(&metrics), |_| {}).unwrap();
        let Opened { outbox, news, .. } = opened;
        let paused = EndpointRecord { state: EndpointState::Paused, ..EndpointRecord::default() };
        let paused: Vec<_> = config.endpoints.keys().map(|name| (name.clone(), paused)).collect();
        let own = OwnListeners::from_iter([]);
        let courier = HttpCourier::new(config.endpoints.values(), Arc::clone(&shared), own).unwrap();
        let dispatcher = Dispatcher {
            outbox: outbox.clone(),
            courier,
            clock: Arc::clone(&shared),
            metrics: Arc::clone(&metrics),
            roster: Arc::clone(&roster),
            schedule: Schedule::new(limits::IN_FLIGHT_TOTAL_MAX),
            news,
            seed: 1,
        };
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let running = dispatcher.start(config.endpoints.values(), &paused, stop.clone(), &tracker);
        let (reloads, asked) = Reloads::channel();
        let trail = Trail::shared(Arc::clone(&shared), Arc::clone(&metrics));
        let front = Snapshots::new(Parts {
            config,
            roster: Arc::clone(&roster),
            clock: shared,
            readiness: Arc::clone(&readiness),
            metrics: Arc::clone(&metrics),
            reloads,
            trail,
        });
        let listener = Listener::bind("api", &Listen::Tcp("127.0.0.1:0".parse().unwrap())).await.unwrap();
        let address = listener.tcp_address().unwrap();
        let places = Places { all: 1000, per_address: 1000 };
        let connections = Connections::new("api", places, Metrics::shared());
        let proxies = ProxyHeaders::new("api", Proxies::default(), Metrics::shared());
        let (shutdown, tracker_of) = (stop.clone(), tracker.clone());
        let serving = Serving { shutdown, tracker: tracker_of, connections, tls: None, proxies };
        tracker.spawn(serve(listener, Arc::clone(&front), serving));
        let core = Core { outbox: outbox.clone(), control: running.control };
        let _folder = folder;
        (Self { address, front, asked, outbox, roster, clock, readiness, metrics, stop, tracker, _folder }, core)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Got {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        self.tracker.spawn(connection);
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Got { status: head.status, head: Response::from_parts(head, ()), body }
    }

    async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Got {
        let mut request = Request::builder().method(method).uri(path).header("host", self.address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::new(body.into())).unwrap()).await
    }

    async fn get(&self, path: &str) -> Got {
        self.call("GET", path, &[], "").await
    }

    async fn post(&self, path: &str, body: impl Into<Bytes>) -> Got {
        self.call("POST", path, &[], body).await
    }

    /// Posts an event and puts its delivery to `endpoint` into a state, as if attempts had led there.
    async fn event_that_stands(&self, id: &str, event_type: &str, endpoint: &str, standing: Standing) {
        let posted = self.post("/v1/events", format!(r#"{{"type":"{event_type}","data":1,"id":"{id}"}}"#)).await;
        assert_eq!(posted.status, 202, "{posted:?}");
        self.settle(id, endpoint, standing, Progress { tries: 1, made: 1 }).await;
    }

    async fn settle(&self, id: &str, endpoint: &str, standing: Standing, progress: Progress) {
        let event = self.outbox.find(&EventId::parse(id).unwrap()).await.unwrap().unwrap().place;
        let delivery = DeliveryRef { event, endpoint: self.roster.known(endpoint).unwrap() };
        self.outbox.settle(Settlement { delivery, attempt: None, standing, progress }).await;
        // The writer takes what comes in order: once this is answered, the settlement is visible.
        self.outbox.replay(Vec::new()).await.unwrap();
    }

    async fn stop(self) {
        self.readiness.set_draining();
        self.stop.cancel();
        self.tracker.close();
        self.outbox.close().await;
        self.tracker.wait().await;
    }
}
