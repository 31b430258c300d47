//! The courier over the network: a lane for each endpoint, which a reload can renew.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use hyper::header::HeaderValue;
use hyper::http::uri::InvalidUri;
use thiserror::Error;
use tokio_util::task::TaskTracker;

use super::connect::Connector;
use super::guard::{Guard, OwnListeners};
use super::resolve::Resolver;
use super::send::{Lane, Outcome};
use super::tls::{SharedTls, TlsSettings};
use super::{Attempted, Courier, Job};
use crate::clock::{SharedClock, UnixMs};
use crate::config::Endpoint;
use crate::model::attempt::AttemptError;
use crate::model::text::EndpointName;
use crate::policy::answer::{Verdict, judge};

/// Why a courier could not be made.
#[derive(Debug, Error)]
pub enum CourierError {
    /// The endpoint's URL is none that HTTP can ask for.
    #[error("endpoint {endpoint}: the url cannot be requested")]
    Url {
        /// The endpoint.
        endpoint: EndpointName,
        /// What is wrong with it.
        source: InvalidUri,
    },
    /// The endpoint's CA or client certificate does not hold.
    #[error("endpoint {endpoint}: tls cannot be used as configured")]
    Tls {
        /// The endpoint.
        endpoint: EndpointName,
        /// What is wrong with it.
        source: rustls::Error,
    },
}

/// Makes attempts over the network, with a pool of connections for each endpoint.
///
/// Its endpoints can be renewed while it works: [`HttpCourier::prepare`] finds what cannot be used, [`HttpCourier::adopt`]
/// puts it to use. Its connections run as tasks of its own, which end when it is dropped and the attempts under way are done.
#[derive(Debug)]
pub struct HttpCourier {
    /// Held for as long as it takes to find one and count a reference.
    lanes: RwLock<Lanes>,
    maker: LaneMaker,
}

type Lanes = HashMap<EndpointName, Arc<Lane>>;

/// What a courier may be renewed with: each endpoint is known to be usable.
#[derive(Debug)]
pub struct Prepared(Lanes);

impl HttpCourier {
    /// A courier to `endpoints` that never dials `own`. Nothing is connected, resolved or read from the disk yet.
    ///
    /// # Errors
    /// Names the first endpoint whose URL or TLS cannot be used.
    pub fn new<'a>(
        endpoints: impl Iterator<Item = &'a Arc<Endpoint>>,
        clock: SharedClock,
        own: OwnListeners,
    ) -> Result<Self, CourierError> {
        let courier = Self { lanes: RwLock::default(), maker: LaneMaker::new(clock, own) };
        courier.adopt(courier.prepare(endpoints)?);
        Ok(courier)
    }

    /// Makes ready for other endpoints and changes nothing yet. Where nothing about its connections is another, an endpoint
    /// keeps those it has, whatever else has changed (see [`Endpoint::connects_like`]).
    ///
    /// # Errors
    /// Names the first endpoint whose URL or TLS cannot be used.
    pub fn prepare<'a>(&self, endpoints: impl Iterator<Item = &'a Arc<Endpoint>>) -> Result<Prepared, CourierError> {
        let now = self.lanes.read().unwrap_or_else(PoisonError::into_inner).clone();
        let lane = |endpoint: &Arc<Endpoint>| {
            let before = now.get(&endpoint.name).filter(|lane| lane.endpoint().connects_like(endpoint));
            let lane = match before {
                Some(lane) => lane.renewed(Arc::clone(endpoint)).map_err(|source| url_fault(endpoint, source))?,
                None => self.maker.make(Arc::clone(endpoint))?,
            };
            Ok((endpoint.name.clone(), Arc::new(lane)))
        };
        endpoints.map(lane).collect::<Result<_, _>>().map(Prepared)
    }

    /// Goes on with these endpoints. Attempts under way end as they began, on the connections that they have.
    pub fn adopt(&self, prepared: Prepared) {
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *lanes, prepared.0);
        drop(lanes);
        // Closing the connections of those that are gone takes its time, and nobody shall wait for it.
        drop(before);
    }

    /// The endpoint's lane. One that was removed since its attempt was started gets a lane for this attempt alone.
    fn lane(&self, endpoint: &Arc<Endpoint>) -> Result<Arc<Lane>, CourierError> {
        let known = self.lanes.read().unwrap_or_else(PoisonError::into_inner).get(&endpoint.name).cloned();
        known.map_or_else(|| self.maker.make(Arc::clone(endpoint)).map(Arc::new), Ok)
    }
}

/// What all lanes share, and makes them.
#[derive(Debug)]
struct LaneMaker {
    tasks: TaskTracker,
    resolver: Arc<Resolver>,
    tls: Arc<SharedTls>,
    own: OwnListeners,
    clock: SharedClock,
}

impl LaneMaker {
    fn new(clock: SharedClock, own: OwnListeners) -> Self {
        let tasks = TaskTracker::new();
        let resolver = Arc::new(Resolver::new(tasks.clone()));
        let tls = Arc::new(SharedTls::new(tasks.clone()));
        Self { tasks, resolver, tls, own, clock }
    }

    fn make(&self, endpoint: Arc<Endpoint>) -> Result<Lane, CourierError> {
        let tls = TlsSettings::new(&self.tls, endpoint.tls.as_ref())
            .map_err(|source| CourierError::Tls { endpoint: endpoint.name.clone(), source })?;
        let guard = Guard::new(&endpoint.allow_networks, self.own.clone());
        let connector = Connector::new(guard, tls, self.resolver.for_one_endpoint(), Arc::clone(&self.clock));
        Lane::new(Arc::clone(&endpoint), connector, self.tasks.clone()).map_err(|source| url_fault(&endpoint, source))
    }
}

fn url_fault(endpoint: &Endpoint, source: InvalidUri) -> CourierError {
    CourierError::Url { endpoint: endpoint.name.clone(), source }
}

impl Courier for HttpCourier {
    async fn attempt(&self, job: Job) -> Attempted {
        let clock = &self.maker.clock;
        let at = clock.wall();
        let begun = clock.mono();
        let outcome = match self.lane(&job.endpoint) {
            Ok(lane) => lane.send(&job.event, job.n, at, begun, clock).await,
            // It was prepared once, so this is a fault of the program; it costs a retry, not the daemon.
            Err(error) => Outcome::failed(AttemptError::Connect, error.to_string()),
        };
        let duration_ms = u32::try_from(clock.mono().since(begun)).unwrap_or(u32::MAX);
        concluded(outcome, &job.endpoint, at, duration_ms, clock.wall())
    }
}

fn concluded(outcome: Outcome, endpoint: &Endpoint, at: UnixMs, duration_ms: u32, now: UnixMs) -> Attempted {
    match outcome {
        Outcome::Answered(answer) => {
            let status = answer.status.as_u16();
            let verdict = judge(
                status,
                answer.retry_after.as_ref().map(HeaderValue::as_bytes),
                answer.webhook_delivery.as_ref().map(HeaderValue::as_bytes),
                &endpoint.permanent,
                now,
            );
            let error = (!answer.status.is_success()).then_some(AttemptError::Status);
            let (response, detail) = (answer.body, answer.body_note);
            Attempted { at, status: Some(status), error, detail, duration_ms, response, verdict }
        }
        Outcome::Failed { error, detail } => Attempted {
            at,
            status: None,
            error: Some(error),
            detail: Some(detail),
            duration_ms,
            response: Vec::new(),
            verdict: Verdict::Retry { hint_ms: None, hold_endpoint: false },
        },
    }
}
