//! Retries come due in no order, from every generation there is, while new events are posted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::harness::Failure;
use crate::harness::connection::Connection;
use crate::harness::daemon::Daemon;
use crate::harness::pile::Pile;
use crate::harness::shape::Shape;
use crate::receiver::{self, Received};
use crate::watch::Watch;
use crate::{Options, Setting};

const RETENTION_SECS: u64 = 60;
/// The pile must be complete before the first retry is due: so many events a second at least.
const RATE_MIN: usize = 8_000;
/// Retries are due within this share of their time, before and after it.
const JITTER: f64 = 0.3;
/// Time between two new events.
const PAUSE: Duration = Duration::from_millis(20);
const ROWS: usize = 5;

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let events = options.scatter;
    let retry_secs = (events / RATE_MIN) as u64 * 2 + 10;
    println!(
        "\nscatter: {events} events of {} bytes, each retried {retry_secs} s later, {:.0} % sooner or later",
        options.bytes,
        JITTER * 100.0
    );
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let sink = listener.local_addr()?.to_string();
    drop(listener);
    let setting = Setting { sink: sink.clone(), retry_secs, retention_secs: RETENTION_SECS, jitter: JITTER };
    let daemon = Daemon::on_empty_folder(&options.dir, &setting.settings()).await?;
    let load = Pile::new(events, options.batch, Shape::new(options.bytes));
    load.post(&daemon.address, options.connections, |_| {}, |_| false).await?;
    let received = Received::new(events, false);
    let _sink = receiver::serve(TcpListener::bind(&sink).await?, Arc::clone(&received));
    while received.count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut watch = Watch::new(&daemon, events.div_ceil(ROWS));
    let over = AtomicBool::new(false);
    let draining = async {
        let drained = watch.until(events, || received.count()).await;
        over.store(true, Ordering::Relaxed);
        drained
    };
    let ((took, _), waits) = tokio::join!(draining, trickle(&daemon.address, options.bytes, &over));
    let mut waits = waits?;
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "drained {} of {events} in {:.0} s, {} more than once; most memory {} MiB; 202 of new events meanwhile: p50 {:.1} ms, \
         p99 {:.1} ms, longest {:.1} ms",
        received.count(),
        took.as_secs_f64(),
        received.repeats(),
        watch.resident_mib_max(),
        at(0.5),
        at(0.99),
        at(1.0),
    );
    Ok(())
}

/// Posts one event after another until it is over; returns how long each was waited for.
async fn trickle(address: &str, bytes: usize, over: &AtomicBool) -> Result<Vec<Duration>, Failure> {
    let mut connection = Connection::to(address).await?;
    // The receiver does not count these.
    let shape = Shape::new(bytes).named("one", "bench.one");
    let mut body = String::new();
    let mut waits = Vec::new();
    while !over.load(Ordering::Relaxed) || waits.is_empty() {
        let asked = Instant::now();
        body.clear();
        shape.write(waits.len(), &mut body);
        match connection.post("/v1/events", &body).await? {
            202 => (),
            other => return Err(format!("an event was answered {other}").into()),
        }
        waits.push(asked.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    Ok(waits)
}
