//! How many events a second go in and out, and how long it takes: `cargo bench --bench throughput`.
//!
//! The real daemon runs as a process of its own with `durability = "fsync"`; producers and sink are in this process, on
//! the same machine and the same processors. Two runs:
//!
//! - **full speed**: so many keep-alive connections, each posting its next event once the last one is acknowledged;
//! - **fixed rate**: events at set moments, 1,000 a second, whether or not the daemon keeps up. Latencies count from the
//!   moment an event was due, so a stall is not hidden by the producer waiting with it.
//!
//! Environment: `BENCH_SECONDS` (10), `BENCH_CONNECTIONS` (64), `BENCH_RATE` (1000), `BENCH_BYTES` (1024), `BENCH_DIR`
//! (where the data folder goes; by default below `target/`, so on the disk that holds the sources).
#![allow(clippy::unwrap_used, reason = "a benchmark may unwrap")]
#![allow(clippy::disallowed_methods, reason = "a benchmark lives on the machine's clock and owns its runtime")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinSet;

mod harness;

use harness::Failure;
use harness::daemon::{Daemon, Settings};
use harness::fixed_rate::{self, Pace};
use harness::full_speed;
use harness::shape::Shape;
use harness::times::{Quantiles, Times};
use harness::{environment, machine, sink};

/// Most events of one run: the room for their times is set aside beforehand.
const EVENTS_MAX: usize = 4_000_000;
/// How long the backlog may take to drain after a run.
const DRAIN_MAX: Duration = Duration::from_secs(60);

struct Options {
    time: Duration,
    connections: usize,
    rate: usize,
    bytes: usize,
    dir: PathBuf,
}

impl Options {
    fn read() -> Self {
        Self {
            time: Duration::from_secs(environment::number("BENCH_SECONDS", 10, 300) as u64),
            connections: environment::number("BENCH_CONNECTIONS", 64, 4096),
            rate: environment::number("BENCH_RATE", 1000, 1_000_000),
            bytes: environment::number("BENCH_BYTES", 1024, 512 * 1024),
            dir: environment::folder("BENCH_DIR"),
        }
    }
}

fn main() -> Result<(), Failure> {
    let options = Options::read();
    println!("{}", machine::machine(&options.dir));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        Run::start(&options).await?.full_speed(&options).await?;
        Run::start(&options).await?.fixed_rate(&options).await
    })
}

/// A daemon, a sink, and the times of one run.
struct Run {
    daemon: Daemon,
    times: Arc<Times>,
    _sink: JoinSet<()>,
}

impl Run {
    async fn start(options: &Options) -> Result<Self, Failure> {
        let times = Times::new(EVENTS_MAX);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let sink = sink::serve(listener, {
            let times = Arc::clone(&times);
            move |n| {
                times.receive(n);
                std::future::ready(())
            }
        });
        let daemon = Daemon::on_empty_folder(&options.dir, &Settings::sink(&address)).await?;
        Ok(Self { daemon, times, _sink: sink })
    }

    /// Every connection posts its next event once the last one is acknowledged.
    async fn full_speed(self, options: &Options) -> Result<(), Failure> {
        let (shape, times) = (Shape::new(options.bytes), &self.times);
        let begin = Instant::now();
        let latencies =
            full_speed::post(&self.daemon.address, options.connections, options.time, &shape, times).await?;
        let took = begin.elapsed();
        let (received, accepted) = (times.received(), times.accepted());
        let all = times.drained(DRAIN_MAX).await.then(|| begin.elapsed());
        println!(
            "full speed: {} connections, {} bytes, {:.1} s",
            options.connections,
            options.bytes,
            took.as_secs_f64()
        );
        println!("  accepted            {:>9.0} events/s   ({accepted} in all)", accepted as f64 / took.as_secs_f64());
        println!("  delivered meanwhile {:>9.0} events/s   ({received} in all)", received as f64 / took.as_secs_f64());
        match all {
            Some(all) => {
                let rate = accepted as f64 / all.as_secs_f64();
                println!(
                    "  accepted + delivered{rate:>9.0} events/s   (the last one received after {:.1} s)",
                    all.as_secs_f64()
                );
            }
            None => println!("  the backlog did not drain within {} s", DRAIN_MAX.as_secs()),
        }
        self.report(&latencies, "202 after sending");
        Ok(())
    }

    /// Events at set moments.
    async fn fixed_rate(self, options: &Options) -> Result<(), Failure> {
        let (shape, times) = (Shape::new(options.bytes), &self.times);
        let pace = Pace::new(Instant::now() + Duration::from_millis(50), options.rate, options.time);
        let latencies = fixed_rate::post(&self.daemon.address, options.connections, pace, &shape, times).await?;
        println!("fixed rate: {} events/s for {} s, {} bytes", options.rate, options.time.as_secs(), options.bytes);
        if !times.drained(DRAIN_MAX).await {
            println!("  the backlog did not drain within {} s", DRAIN_MAX.as_secs());
        }
        self.report(&latencies, "202 after due");
        Ok(())
    }

    fn report(&self, latencies: &Quantiles, name: &str) {
        println!("  {name:<20}{latencies}");
        println!("  {:<20}{}", "received after 202", self.times.waits());
        println!(
            "  refused {}, received more than once {}, daemon's memory {}",
            self.times.refused(),
            self.times.repeats(),
            self.daemon.memory()
        );
    }
}
