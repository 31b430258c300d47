//! Producers that post their next event once the last one is acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::Failure;
use super::connection::Connection;
use super::shape::Shape;
use super::times::{Quantiles, Times};

/// Posts on so many connections for so long, or until `times` has no more room; returns how long after it was sent each event
/// was acknowledged. Connection `c` posts the numbers `c`, `c + connections`, and so on.
pub(crate) async fn post(
    address: &str,
    connections: usize,
    time: Duration,
    shape: &Shape,
    times: &Arc<Times>,
) -> Result<Quantiles, Failure> {
    let mut producers = JoinSet::new();
    let end = Instant::now() + time;
    for first in 0..connections {
        let (times, shape) = (Arc::clone(times), shape.clone());
        let mut connection = Connection::to(address).await?;
        producers.spawn(async move {
            let (mut latencies, mut body) = (Vec::new(), String::new());
            for n in (first..times.events()).step_by(connections) {
                let sent = Instant::now();
                if sent >= end {
                    break;
                }
                latencies.extend(one(&mut connection, n, sent, &shape, &times, &mut body).await?);
            }
            Ok(latencies)
        });
    }
    join(producers).await
}

/// Posts event `n`; returns how long after `since` it was acknowledged, and nothing where it was refused for now.
pub(super) async fn one(
    connection: &mut Connection,
    n: usize,
    since: Instant,
    shape: &Shape,
    times: &Times,
    body: &mut String,
) -> Result<Option<u32>, Failure> {
    body.clear();
    shape.write(n, body);
    match connection.post("/v1/events", body).await? {
        202 => Ok(Some(times.acknowledge(n, since))),
        503 => {
            times.refuse();
            Ok(None)
        }
        other => Err(format!("event {n} was answered {other}").into()),
    }
}

pub(super) async fn join(mut producers: JoinSet<Result<Vec<u32>, Failure>>) -> Result<Quantiles, Failure> {
    let mut all = Vec::new();
    while let Some(latencies) = producers.join_next().await {
        all.extend(latencies??);
    }
    Ok(Quantiles::of(all))
}
