//! What clients that waste the daemon's time cost those who do not: `cargo bench --bench clients`.
//!
//! The real daemon runs as a process of its own with `durability = "fsync"`; honest and other clients are in this process, on the
//! same machine and the same processors. In one run: honest clients post at set moments, alone; then beside idle connections (half of
//! which have asked something before) and slow clients: heads and bodies a byte a second, and clients that ask for large answers
//! and read nothing. Latencies count from the moment an event was due. The daemon's memory is looked at throughout, and last after
//! all the others have gone. Whoever is turned away or closed by the daemon comes again at once, as long as the run lasts.
//!
//! Environment: `BENCH_SECONDS` (30, alone and beside them each), `BENCH_RATE` (500 events/s), `BENCH_CONNECTIONS` (32 of the honest
//! clients), `BENCH_BYTES` (1024 an event), `BENCH_IDLE` (10000), `BENCH_SLOW` (500), `BENCH_DIR` (where the data folder goes; by
//! default below `target/`).
#![allow(clippy::unwrap_used, reason = "a benchmark may unwrap")]
#![allow(clippy::disallowed_methods, reason = "a benchmark lives on the machine's clock and owns its runtime")]

#[path = "../harness/mod.rs"]
mod harness;
mod wasters;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::daemon::{Daemon, Settings};
use harness::environment::{folder, number};
use harness::fixed_rate::{self, Pace};
use harness::shape::Shape;
use harness::times::{Quantiles, Times};
use harness::{Failure, machine, sink};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use wasters::Wasters;

/// How long what was accepted may take to be received after a run.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// How long the daemon has to give up what the others held.
const REST: Duration = Duration::from_secs(15);

/// What the environment asks for.
struct Options {
    time: Duration,
    rate: usize,
    connections: usize,
    bytes: usize,
    idle: usize,
    slow: usize,
    dir: PathBuf,
}

fn main() -> Result<(), Failure> {
    let options = Options {
        time: Duration::from_secs(number("BENCH_SECONDS", 30, 600) as u64),
        rate: number("BENCH_RATE", 500, 5_000),
        connections: number("BENCH_CONNECTIONS", 32, 1_024),
        bytes: number("BENCH_BYTES", 1024, 512 * 1024),
        idle: number("BENCH_IDLE", 10_000, 100_000),
        slow: number("BENCH_SLOW", 500, 10_000),
        dir: folder("BENCH_DIR"),
    };
    // Each connection is an open file here too; the daemon raises its own limit.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    println!("{}", machine::machine(&options.dir));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let daemon = Daemon::on_empty_folder(&options.dir, &Settings::sink(&listener.local_addr()?.to_string())).await?;
    let per_run = options.rate * usize::try_from(options.time.as_secs())?;
    let times = Times::new(2 * per_run);
    let _sink = sink::serve(listener, {
        let times = Arc::clone(&times);
        move |n| {
            times.receive(n);
            std::future::ready(())
        }
    });
    println!(
        "\nclients: {} events/s of {} bytes for {} s over {} connections, alone and beside {} idle and {} slow connections",
        options.rate,
        options.bytes,
        options.time.as_secs(),
        options.connections,
        options.idle,
        options.slow,
    );
    println!("\n| honest clients | 202 after due: p50, ms | p99 | p99.9 | longest | not 202 | daemon's memory, MiB |");
    println!("|---|---|---|---|---|---|---|");
    let row = |name: &str, latencies: &Quantiles, refused: usize| {
        let [p50, p99, p999, longest] = [0.5, 0.99, 0.999, 1.0].map(|share| latencies.at(share));
        let mib = daemon.memory().resident_kib / 1024;
        println!("| {name} | {p50:.2} | {p99:.2} | {p999:.2} | {longest:.2} | {refused} | {mib} |");
    };
    let alone = honest(options, &daemon, 0, &times).await?;
    row("alone", &alone, times.refused());

    let wasters = Wasters::start(daemon.address.parse()?, options.idle, options.slow).await?;
    println!("| {} connections made | | | | | | {} |", wasters.open(), daemon.memory().resident_kib / 1024);
    let beside = honest(options, &daemon, per_run, &times).await?;
    row("beside them", &beside, times.refused());
    println!("| ratio | {:.2} | {:.2} | | | | |", beside.at(0.5) / alone.at(0.5), beside.at(0.99) / alone.at(0.99));
    let peak = daemon.memory().peak_kib / 1024;
    let metrics = daemon.metrics().await?;
    let became = wasters.stop().await;
    tokio::time::sleep(REST).await;
    println!(
        "| {} s after they have gone | | | | | | {} (peak {peak}) |",
        REST.as_secs(),
        daemon.memory().resident_kib / 1024
    );
    times.drained(DRAIN_MAX).await;
    println!(
        "\nof {} honest events {} were accepted, {} received, {} more than once",
        2 * per_run,
        times.accepted(),
        times.received(),
        times.repeats()
    );
    println!("\n{became}");
    let told = |line: &&str| line.starts_with("webhookd_connections");
    println!("\nwhat the daemon counted beside them:");
    metrics.lines().filter(told).for_each(|line| println!("  {line}"));
    Ok(())
}

/// Honest clients for one run; `first` is the number of its first event.
async fn honest(options: &Options, daemon: &Daemon, first: usize, times: &Arc<Times>) -> Result<Quantiles, Failure> {
    let pace = Pace::new(Instant::now() + Duration::from_millis(50), options.rate, options.time).starting_at(first);
    fixed_rate::post(&daemon.address, options.connections, pace, &Shape::new(options.bytes), times).await
}
