//! A receiver of webhooks for trying things out, shared by `listen` and `demo`: it takes every request, checks its
//! signature if told to, misbehaves or passes on if told to, and reports what it saw.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::forward::{Forward, Forwarded};
use crate::clock::{SharedClock, UnixMs};
use crate::limits;

/// The header that stays the same over all attempts at a delivery (Standard Webhooks).
const ID_HEADER: &str = "webhook-id";

/// How a request is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Manner {
    /// The first so many attempts of each webhook id fail.
    pub(super) fail_first: u32,
    /// With `fail_first`, the status of those failures; without it, the status of every answer.
    pub(super) status: Option<u16>,
    /// How long to wait before answering, in milliseconds.
    pub(super) delay_ms: u64,
}

impl Manner {
    /// What the `attempt`-th request with one id is refused with, if it is; `genuine` is what became of its signature. A status
    /// that is told for all may be one of success.
    fn refusal(self, attempt: u32, genuine: bool) -> Option<StatusCode> {
        let told = self.status.and_then(|status| StatusCode::from_u16(status).ok());
        if self.fail_first > 0 {
            if attempt <= self.fail_first {
                return Some(told.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
            }
        } else if told.is_some() {
            return told;
        }
        (!genuine).then_some(StatusCode::UNAUTHORIZED)
    }
}

/// Judges a request's signature: URI, headers, body, now. The error says why it does not hold.
pub(super) type Verify = Arc<dyn Fn(&Uri, &HeaderMap, &[u8], UnixMs) -> Result<(), String> + Send + Sync>;

/// Chooses the manner for a path.
pub(super) type Manners = Arc<dyn Fn(&str) -> Manner + Send + Sync>;

/// One request, as it was seen.
#[derive(Clone, Debug)]
pub(super) struct Hit {
    /// When it had arrived.
    pub(super) at: UnixMs,
    /// From where.
    pub(super) from: SocketAddr,
    /// Its method.
    pub(super) method: Method,
    /// Its path with the query.
    pub(super) target: String,
    /// Its headers.
    pub(super) headers: HeaderMap,
    /// Its body, or nothing where it was too large.
    pub(super) body: Bytes,
    /// How often this webhook id has come to this path, from 1.
    pub(super) attempt: u32,
    /// Its signature, where one is asked for.
    pub(super) signature: Option<Result<(), String>>,
    /// What became of it where it was passed on.
    pub(super) forwarded: Option<Forwarded>,
    /// The status it was answered.
    pub(super) answered: StatusCode,
}

impl Hit {
    /// A header as text, if it is there and is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A bound listener that has not begun to answer.
pub(super) struct Receiver {
    listener: TcpListener,
    address: SocketAddr,
}

/// What a receiver needs for answering.
pub(super) struct Service {
    /// How to answer.
    pub(super) manners: Manners,
    /// How to judge signatures, if at all.
    pub(super) verify: Option<Verify>,
    /// Where to pass on what is not refused here, if at all.
    pub(super) forward: Option<Forward>,
    /// The time.
    pub(super) clock: SharedClock,
    /// Where requests are reported. When it is full, requests wait.
    pub(super) hits: mpsc::Sender<Hit>,
}

impl Receiver {
    /// Takes the address; port 0 is any free one.
    pub(super) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is cancelled; connections end with it.
    pub(super) async fn serve(self, service: Service, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(limits::LISTEN_CONNECTIONS_MAX));
        let answering = Arc::new(Answering { service, tally: Mutex::new(Tally::default()) });
        let mut connections = JoinSet::new();
        let _ = stop
            .run_until_cancelled(async {
                loop {
                    let permit = Arc::clone(&room).acquire_owned().await;
                    while connections.try_join_next().is_some() {}
                    match self.listener.accept().await {
                        Ok((stream, from)) => {
                            let answering = Arc::clone(&answering);
                            connections.spawn(async move {
                                answering.connection(stream, from).await;
                                drop(permit);
                            });
                        }
                        // Out of file descriptors, most likely: some connection has to end first.
                        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                }
            })
            .await;
        connections.shutdown().await;
    }
}

struct Answering {
    service: Service,
    tally: Mutex<Tally>,
}

impl Answering {
    async fn connection(self: Arc<Self>, stream: TcpStream, from: SocketAddr) {
        // Without it an answer may wait 40 ms for an acknowledgement; with it refused, nothing else changes.
        let _ = stream.set_nodelay(true);
        let service = service_fn(|request| {
            let answering = Arc::clone(&self);
            async move { Ok::<_, Infallible>(answering.answer(request, from).await) }
        });
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(Duration::from_millis(limits::REQUEST_HEAD_MS_MAX));
        server.max_buf_size(limits::REQUEST_HEAD_BYTES_MAX);
        // A connection that breaks off is the sender's affair; it will say so itself.
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: Request<Incoming>, from: SocketAddr) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let reading = Limited::new(body, limits::LISTEN_BODY_BYTES_MAX).collect();
        let reading = tokio::time::timeout(Duration::from_millis(limits::REQUEST_BODY_MS_MAX), reading).await;
        let (body, refused) = match reading {
            Ok(Ok(body)) => (body.to_bytes(), None),
            Ok(Err(error)) if error.is::<LengthLimitError>() => (Bytes::new(), Some(StatusCode::PAYLOAD_TOO_LARGE)),
            Ok(Err(_)) => (Bytes::new(), Some(StatusCode::BAD_REQUEST)),
            Err(_) => (Bytes::new(), Some(StatusCode::REQUEST_TIMEOUT)),
        };
        let service = &self.service;
        let at = service.clock.wall();
        let path = head.uri.path();
        let attempt = {
            let id = head.headers.get(ID_HEADER).map_or(&b""[..], |id| id.as_bytes());
            self.tally.lock().unwrap_or_else(PoisonError::into_inner).count(path, id)
        };
        let signature = service
            .verify
            .as_ref()
            .filter(|_| refused.is_none())
            .map(|verify| verify(&head.uri, &head.headers, &body, at));
        let manner = (service.manners)(path);
        let refused = refused.or_else(|| manner.refusal(attempt, !matches!(signature, Some(Err(_)))));
        let (response, forwarded) = match (&service.forward, refused) {
            (Some(forward), None) => {
                let passed = forward.pass(&head.method, &head.uri, &head.headers, body.clone()).await;
                (passed.0, Some(passed.1))
            }
            (_, refused) => (plain(refused.unwrap_or(StatusCode::OK)), None),
        };
        let answered = response.status();
        let target = head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string);
        let (method, headers) = (head.method, head.headers);
        let hit = Hit { at, from, method, target, headers, body, attempt, signature, forwarded, answered };
        // Nobody looks any more once the command ends; the sender still gets its answer.
        let _ = service.hits.send(hit).await;
        if manner.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(manner.delay_ms)).await;
        }
        response
    }
}

/// An answer that says its status.
fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(match status {
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED => Bytes::new(),
        status => Bytes::from(format!("{status}\n")),
    }));
    *response.status_mut() = status;
    response
}

/// Counts the attempts of each webhook id on each path; the oldest ids are forgotten. Requests without an id count together.
#[derive(Debug, Default)]
struct Tally {
    seen: HashMap<TallyKey, u32>,
    order: VecDeque<TallyKey>,
}

/// Path and id, shared between the two collections.
type TallyKey = Arc<(Box<str>, Box<[u8]>)>;

impl Tally {
    fn count(&mut self, path: &str, id: &[u8]) -> u32 {
        let key = TallyKey::new((path.into(), id.into()));
        if let Some(count) = self.seen.get_mut(&key) {
            *count = count.saturating_add(1);
            return *count;
        }
        if self.seen.len() >= limits::LISTEN_IDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        self.order.push_back(Arc::clone(&key));
        self.seen.insert(key, 1);
        1
    }
}

#[cfg(test)]
mod tests;
