//! How long a start takes with so many retries pending.

use std::time::Duration;

use crate::harness::Failure;
use crate::harness::daemon::{Daemon, Usage};
use crate::harness::pile::Pile;
use crate::harness::shape::Shape;
use crate::{Options, Setting};

const DAY_SECS: u64 = 24 * 3600;
/// Events in a request while the backlog is made: it is not what is measured here.
const BATCH: usize = 100;
/// The size of an event where there are ten million, in bytes.
const TEN_MILLION_BYTES: usize = 100;

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    println!("\nstart: until /readyz says 200, with so many retries pending");
    println!("| pending | bytes each | start | ready after, s | RSS then, MiB | peak, MiB | disk, MiB |");
    println!("|---|---|---|---|---|---|---|");
    for events in &options.start {
        backlog(options, *events, options.bytes).await?;
    }
    if options.ten_million {
        backlog(options, 10_000_000, TEN_MILLION_BYTES).await?;
    }
    Ok(())
}

async fn backlog(options: &Options, events: usize, bytes: usize) -> Result<(), Failure> {
    // Nobody listens there.
    let sink = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let setting = Setting { sink, retry_secs: DAY_SECS, retention_secs: DAY_SECS, jitter: 0.0 };
    let mut daemon = Daemon::on_empty_folder(&options.dir, &setting.settings()).await?;
    let load = Pile::new(events, BATCH, Shape::new(bytes));
    let begin = std::time::Instant::now();
    load.post(&daemon.address, options.connections, |_| {}, |_| false).await?;
    let posted = begin.elapsed();
    let peak = daemon.memory().peak_kib / 1024;
    daemon.kill();
    row(&mut daemon, events, bytes, "SIGKILL while the last are tried").await?;
    // Long enough for what the daemon does when it is quiet.
    tokio::time::sleep(Duration::from_secs(2)).await;
    daemon.kill();
    row(&mut daemon, events, bytes, "SIGKILL 2 s later").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    daemon.stop().await?;
    row(&mut daemon, events, bytes, "stopped in order").await?;
    daemon.kill();
    daemon.chill();
    row(&mut daemon, events, bytes, "SIGKILL, nothing in the page cache").await?;
    eprintln!("  {events} accepted in {:.0} s, most memory {peak} MiB", posted.as_secs_f64());
    Ok(())
}

async fn row(daemon: &mut Daemon, events: usize, bytes: usize, what: &str) -> Result<(), Failure> {
    let ready = daemon.start().await?;
    let memory = daemon.memory();
    let usage = Usage::of(&daemon.data());
    println!(
        "| {events} | {bytes} | {what} | {:.2} | {} | {} | {} |",
        ready.as_secs_f64(),
        memory.resident_kib / 1024,
        memory.peak_kib / 1024,
        usage.bytes >> 20
    );
    Ok(())
}
