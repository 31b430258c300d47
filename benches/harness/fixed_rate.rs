//! Events at set moments, whether or not the daemon keeps up. Latencies count from the moment an event was due, so a stall is
//! not hidden by the producer waiting with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::connection::Connection;
use super::shape::Shape;
use super::times::{Quantiles, Times};
use super::{Failure, full_speed};

/// When each event is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    begin: Instant,
    /// Events a second.
    rate: usize,
    count: usize,
    /// The number of the first.
    first: usize,
}

impl Pace {
    /// So many events a second for so long, from `begin` on.
    pub(crate) fn new(begin: Instant, rate: usize, time: Duration) -> Self {
        Self { begin, rate, count: usize::try_from(time.as_secs()).unwrap_or(1).saturating_mul(rate), first: 0 }
    }

    /// The same with other numbers: a second run beside the times of a first.
    pub(crate) fn starting_at(self, first: usize) -> Self {
        Self { first, ..self }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// When event `n` is due.
    pub(crate) fn due(&self, n: usize) -> Instant {
        self.begin + Duration::from_secs_f64(n.saturating_sub(self.first) as f64 / self.rate as f64)
    }
}

/// Whoever posts one numbered request after another on one connection.
pub(crate) trait Poster: Send + 'static {
    /// Posts request `n`; returns the status of the answer.
    fn post(&mut self, n: usize) -> impl Future<Output = Result<u16, Failure>> + Send;
}

/// Posts events to the API.
pub(crate) struct Producer {
    connection: Connection,
    shape: Shape,
    body: String,
}

impl Producer {
    /// So many of them.
    pub(crate) async fn several(address: &str, connections: usize, shape: &Shape) -> Result<Vec<Self>, Failure> {
        let mut producers = Vec::new();
        for _ in 0..connections {
            let connection = Connection::to(address).await?;
            producers.push(Self { connection, shape: shape.clone(), body: String::new() });
        }
        Ok(producers)
    }
}

impl Poster for Producer {
    async fn post(&mut self, n: usize) -> Result<u16, Failure> {
        self.body.clear();
        self.shape.write(n, &mut self.body);
        self.connection.post("/v1/events", &self.body).await
    }
}

/// Posts at that pace over so many connections; returns how long after it was due each event was acknowledged.
pub(crate) async fn post(
    address: &str,
    connections: usize,
    pace: Pace,
    shape: &Shape,
    times: &Arc<Times>,
) -> Result<Quantiles, Failure> {
    post_by(Producer::several(address, connections, shape).await?, pace, times).await
}

/// The same by these posters.
pub(crate) async fn post_by(posters: Vec<impl Poster>, pace: Pace, times: &Arc<Times>) -> Result<Quantiles, Failure> {
    let mut producers = JoinSet::new();
    let mut queues = Vec::new();
    for mut poster in posters {
        let (queue, mut turns) = mpsc::channel::<usize>(1024);
        queues.push(queue);
        let times = Arc::clone(times);
        producers.spawn(async move {
            let mut latencies = Vec::new();
            while let Some(n) = turns.recv().await {
                latencies.extend(full_speed::one(&mut poster, n, pace.due(n), &times).await?);
            }
            Ok(latencies)
        });
    }
    // A thread of its own keeps the time: the runtime's timer is a millisecond coarse, and waiting in a busy loop would
    // take the processor that is to be measured.
    let end = (pace.first + pace.count).min(times.events());
    let pacer = std::thread::spawn(move || {
        for n in pace.first..end {
            std::thread::sleep(pace.due(n).saturating_duration_since(Instant::now()));
            if queues[n % queues.len()].blocking_send(n).is_err() {
                return;
            }
        }
    });
    let latencies = full_speed::join(producers).await?;
    pacer.join().map_err(|_| "the pacer panicked")?;
    Ok(latencies)
}
