//! Producers that post their next event once the last one is acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::Failure;
use super::fixed_rate::{Poster, Producer};
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
    post_by(Producer::several(address, connections, shape).await?, time, times).await
}

/// The same by these posters.
pub(crate) async fn post_by(
    posters: Vec<impl Poster>,
    time: Duration,
    times: &Arc<Times>,
) -> Result<Quantiles, Failure> {
    let mut producers = JoinSet::new();
    let (end, count) = (Instant::now() + time, posters.len());
    for (first, mut poster) in posters.into_iter().enumerate() {
        let times = Arc::clone(times);
        producers.spawn(async move {
            let mut latencies = Vec::new();
            for n in (first..times.events()).step_by(count) {
                let sent = Instant::now();
                if sent >= end {
                    break;
                }
                latencies.extend(one(&mut poster, n, sent, &times).await?);
            }
            Ok(latencies)
        });
    }
    join(producers).await
}

/// Posts request `n`; returns how long after `since` it was acknowledged, and nothing where it was refused for now.
pub(super) async fn one(
    poster: &mut impl Poster,
    n: usize,
    since: Instant,
    times: &Times,
) -> Result<Option<u32>, Failure> {
    match poster.post(n).await? {
        200 | 202 => Ok(Some(times.acknowledge(n, since))),
        429 | 503 => {
            times.refuse();
            Ok(None)
        }
        other => Err(format!("request {n} was answered {other}").into()),
    }
}

pub(super) async fn join(mut producers: JoinSet<Result<Vec<u32>, Failure>>) -> Result<Quantiles, Failure> {
    let mut all = Vec::new();
    while let Some(latencies) = producers.join_next().await {
        all.extend(latencies??);
    }
    Ok(Quantiles::of(all))
}
