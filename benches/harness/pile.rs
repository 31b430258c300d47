//! Producers that post a fixed number of events as fast as they are taken, one or more in a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::Failure;
use super::connection::Connection;
use super::shape::Shape;

/// How long a producer rests after a 503.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);
/// How long it rests while too many events are live.
const LIVE_PAUSE: Duration = Duration::from_millis(1);

/// What is to be posted, and how far it has come.
pub(crate) struct Pile {
    events: usize,
    batch: usize,
    shape: Shape,
    next: AtomicUsize,
    accepted: AtomicUsize,
    refused: AtomicUsize,
}

impl Pile {
    /// `events` events, `batch` in a request.
    pub(crate) fn new(events: usize, batch: usize, shape: Shape) -> Arc<Self> {
        let zero = || AtomicUsize::new(0);
        Arc::new(Self { events, batch, shape, next: zero(), accepted: zero(), refused: zero() })
    }

    /// Events acknowledged so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Requests that were answered 503, and sent again.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// Posts everything over so many connections. `accepted` is called for each request's events; while `hold` says so, nothing
    /// more is sent.
    pub(crate) async fn post(
        self: &Arc<Self>,
        address: &str,
        connections: usize,
        accepted: impl Fn(usize) + Clone + Send + 'static,
        hold: impl Fn(usize) -> bool + Clone + Send + 'static,
    ) -> Result<(), Failure> {
        let mut producers = JoinSet::new();
        for _ in 0..connections {
            let (pile, accepted, hold) = (Arc::clone(self), accepted.clone(), hold.clone());
            let mut connection = Connection::to(address).await?;
            producers.spawn(async move {
                let mut body = String::new();
                loop {
                    let first = pile.next.fetch_add(pile.batch, Ordering::Relaxed);
                    let end = pile.events.min(first + pile.batch);
                    if first >= end {
                        return Ok::<_, Failure>(());
                    }
                    while hold(pile.accepted()) {
                        tokio::time::sleep(LIVE_PAUSE).await;
                    }
                    while !pile.request(&mut connection, first..end, &mut body).await? {
                        pile.refused.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(REFUSED_PAUSE).await;
                    }
                    pile.accepted.fetch_add(end - first, Ordering::Relaxed);
                    accepted(end - first);
                }
            });
        }
        while let Some(ended) = producers.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// Posts events by their numbers; false if they were refused for now.
    async fn request(
        &self,
        connection: &mut Connection,
        numbers: std::ops::Range<usize>,
        body: &mut String,
    ) -> Result<bool, Failure> {
        body.clear();
        let one = numbers.len() == 1;
        let first = numbers.start;
        for n in numbers {
            body.push_str(match (one, n == first) {
                (true, _) => "",
                (false, true) => "[",
                (false, false) => ",",
            });
            self.shape.write(n, body);
        }
        if !one {
            body.push(']');
        }
        match connection.post(if one { "/v1/events" } else { "/v1/events/batch" }, body).await? {
            // 200: an earlier try was stored all the same.
            200 | 202 => Ok(true),
            503 => Ok(false),
            other => Err(format!("event {first} was answered {other}").into()),
        }
    }
}
