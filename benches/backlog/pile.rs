//! Events pile up for an endpoint that is down, the daemon is killed, the endpoint comes back, everything drains.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::harness::Failure;
use crate::harness::daemon::{Daemon, Usage};
use crate::harness::pile::Pile;
use crate::harness::shape::Shape;
use crate::receiver::{self, Received};
use crate::watch::{self, Watch};
use crate::{Options, Setting};

/// Long enough that generations are sealed when they are full, and not for their age.
const RETENTION_SECS: u64 = 60;
/// The pile must be complete before the first retry is due: so many events a second at least …
const RATE_MIN: usize = 8_000;
/// … and so long for the kill and the start.
const RESTART_SECS: u64 = 20;
/// Rows of each table.
const ROWS: usize = 10;

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let events = options.pile;
    let retry_secs = (events / RATE_MIN) as u64 + RESTART_SECS;
    println!("\npile: {events} events of {} bytes for an endpoint that refuses connections", options.bytes);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let sink = listener.local_addr()?.to_string();
    drop(listener);
    let setting = Setting { sink: sink.clone(), retry_secs, retention_secs: RETENTION_SECS, jitter: 0.0 };
    let mut daemon = Daemon::on_empty_folder(&options.dir, &setting.settings()).await?;
    let load = Pile::new(events, options.batch, Shape::new(options.bytes));
    let begin = Instant::now();
    let mut watch = Watch::new(&daemon, events.div_ceil(ROWS));
    let posting = load.post(&daemon.address, options.connections, |_| {}, |_| false);
    let (posted, (took, _)) = tokio::join!(posting, watch.until(events, || load.accepted()));
    posted?;
    println!(
        "accepted {:.0} events/s over {:.0} s, each tried once; most memory {} MiB; {} requests refused with 503",
        events as f64 / took.as_secs_f64(),
        took.as_secs_f64(),
        daemon.memory().peak_kib / 1024,
        load.refused()
    );

    let before = daemon.memory();
    daemon.kill();
    let ready = daemon.start().await?;
    let memory = daemon.memory();
    println!(
        "SIGKILL at {} MiB; ready again after {:.2} s, memory {memory}",
        before.resident_kib / 1024,
        ready.as_secs_f64()
    );
    let received = Received::new(events, false);
    let _sink = receiver::serve(TcpListener::bind(&sink).await?, Arc::clone(&received));
    let due = begin + Duration::from_secs(retry_secs);
    println!("the endpoint is back; the first retry is due in {:.0} s", (due - Instant::now()).as_secs_f64());
    while received.count() == 0 && Instant::now() < due + Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut watch = Watch::new(&daemon, events.div_ceil(ROWS));
    let (took, all) = watch.until(events, || received.count()).await;
    println!(
        "drained {} of {events}{} in {:.0} s, {:.0} events/s, {} more than once; most memory {} MiB",
        received.count(),
        if all { "" } else { " (and no more came)" },
        took.as_secs_f64(),
        received.count() as f64 / took.as_secs_f64(),
        received.repeats(),
        watch.resident_mib_max(),
    );
    let Usage { bytes, generations } = watch::settled(&daemon, Duration::from_secs(RETENTION_SECS + 30)).await;
    println!(
        "after retention {} MiB on disk in {generations} generations, memory {} MiB",
        bytes >> 20,
        daemon.memory().resident_kib / 1024
    );
    Ok(())
}
