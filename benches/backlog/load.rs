//! Producers: keep-alive connections, each posting its next events once the last ones are acknowledged.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::{Failure, Options};

/// How long a producer rests after a 503.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);
/// How long it rests while too many events are live.
const LIVE_PAUSE: Duration = Duration::from_millis(1);

/// What is to be posted, and how far it has come.
pub(crate) struct Load {
    events: usize,
    batch: usize,
    payload: String,
    next: AtomicUsize,
    accepted: AtomicUsize,
    refused: AtomicUsize,
}

impl Load {
    /// `events` events of about `bytes` bytes each, `batch` in a request.
    pub(crate) fn new(events: usize, bytes: usize, batch: usize) -> Arc<Self> {
        let filler = bytes.saturating_sub(r#"{"id":"b-00000000","type":"bench.run","data":{"text":""}}"#.len());
        Arc::new(Self {
            events,
            batch,
            payload: "x".repeat(filler),
            next: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        })
    }

    /// Events acknowledged so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Requests that were answered 503, and sent again.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// Posts everything. `accepted` is called for each request's events; while `hold` says so, nothing more is sent.
    pub(crate) async fn post(
        self: &Arc<Self>,
        options: &Options,
        address: &str,
        accepted: impl Fn(usize) + Clone + Send + 'static,
        hold: impl Fn(usize) -> bool + Clone + Send + 'static,
    ) -> Result<(), Failure> {
        let mut producers = JoinSet::new();
        for _ in 0..options.connections {
            let (load, accepted, hold) = (Arc::clone(self), accepted.clone(), hold.clone());
            let mut producer = Producer::connect(address).await?;
            producers.spawn(async move {
                loop {
                    let first = load.next.fetch_add(load.batch, Ordering::Relaxed);
                    let end = load.events.min(first + load.batch);
                    if first >= end {
                        return Ok::<_, Failure>(());
                    }
                    while hold(load.accepted()) {
                        tokio::time::sleep(LIVE_PAUSE).await;
                    }
                    while !producer.post(first..end, &load.payload).await? {
                        load.refused.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(REFUSED_PAUSE).await;
                    }
                    load.accepted.fetch_add(end - first, Ordering::Relaxed);
                    accepted(end - first);
                }
            });
        }
        while let Some(ended) = producers.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// One keep-alive connection.
pub(crate) struct Producer {
    sender: SendRequest<Full<Bytes>>,
    address: String,
    body: String,
    _connection: JoinSet<()>,
}

impl Producer {
    pub(crate) async fn connect(address: &str) -> Result<Self, Failure> {
        let (sender, connection) = Self::dial(address).await?;
        Ok(Self { sender, address: address.to_owned(), body: String::new(), _connection: connection })
    }

    async fn dial(address: &str) -> Result<(SendRequest<Full<Bytes>>, JoinSet<()>), Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        Ok((sender, tasks))
    }

    pub(crate) async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<u16, Failure> {
        if self.sender.ready().await.is_err() {
            (self.sender, self._connection) = Self::dial(&self.address).await?;
        }
        let answer = self.sender.send_request(request).await?;
        let status = answer.status().as_u16();
        answer.into_body().collect().await?;
        Ok(status)
    }

    /// Posts an event that no endpoint counts.
    pub(crate) async fn post_one(&mut self, number: usize, payload: &str) -> Result<(), Failure> {
        let body = format!(r#"{{"id":"one-{number}","type":"bench.one","data":"{payload}"}}"#);
        let request = Request::post("/v1/events").header("host", "bench").header("content-type", "application/json");
        match self.exchange(request.body(Full::new(body.into()))?).await? {
            202 => Ok(()),
            other => Err(format!("an event was answered {other}").into()),
        }
    }

    /// Posts events by their numbers; false if they were refused for now.
    async fn post(&mut self, numbers: std::ops::Range<usize>, payload: &str) -> Result<bool, Failure> {
        self.body.clear();
        let one = numbers.len() == 1;
        let first = numbers.start;
        for n in numbers {
            let before = match (one, n == first) {
                (true, _) => "",
                (false, true) => "[",
                (false, false) => ",",
            };
            write!(self.body, r#"{before}{{"id":"b-{n:08}","type":"bench.run","data":{{"text":"{payload}"}}}}"#)?;
        }
        let path = if one { "/v1/events" } else { "/v1/events/batch" };
        if !one {
            self.body.push(']');
        }
        let request = Request::post(path).header("host", "bench").header("content-type", "application/json");
        let body = Full::new(Bytes::copy_from_slice(self.body.as_bytes()));
        match self.exchange(request.body(body)?).await? {
            // 200: an earlier try was stored all the same.
            200 | 202 => Ok(true),
            503 => Ok(false),
            other => Err(format!("event {first} was answered {other}").into()),
        }
    }
}
