//! How long third parties wait for their acknowledgement, and what becomes of a surge: `cargo bench --bench inbound`.
//!
//! The real daemon runs as a process of its own with `durability = "fsync"`; the third party and the app are in this process, on
//! the same machine and the same processors. Requests are signed as GitHub does it, each with an id of its own, and every one is
//! verified, deduplicated, stored and forwarded. Three runs, each on an empty folder:
//!
//! - **app up**: requests at set moments, 1,000 a second, whether or not the daemon keeps up. Latencies count from the moment a
//!   request was due, so a stall is not hidden by the sender waiting with it;
//! - **app down**: the same, and nobody listens at the endpoint's address for the whole run; the app comes up after it;
//! - **surge**: 50,000 requests as fast as they go, each connection sending its next one once the last one is answered. Latencies
//!   count from the moment a request was sent. The app is up.
//!
//! Environment: `BENCH_SECONDS` (30, of the first two runs), `BENCH_RATE` (1000 requests/s), `BENCH_CONNECTIONS` (32 of these
//! runs), `BENCH_SURGE` (50000 requests), `BENCH_SURGE_CONNECTIONS` (256), `BENCH_BYTES` (1024 a body), `BENCH_DIR` (where the
//! data folder goes; by default below `target/`).
#![allow(clippy::unwrap_used, reason = "a benchmark may unwrap")]
#![allow(clippy::disallowed_methods, reason = "a benchmark lives on the machine's clock and owns its runtime")]

#[path = "../harness/mod.rs"]
mod harness;
mod vendor;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::daemon::{Daemon, Settings};
use harness::environment::{folder, number};
use harness::fixed_rate::{self, Pace};
use harness::full_speed;
use harness::times::{Quantiles, Times};
use harness::{Failure, machine, sink};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use vendor::{SOURCE, Vendor};

/// How long the app may take to get what was acknowledged.
const DRAIN_MAX: Duration = Duration::from_secs(300);
/// What the app goes by: the id that the third party has given.
const NUMBERED_BY: &str = "x-github-delivery";
/// An endpoint as an app has it that wants requests as they came; one that was down is tried again soon.
const ENDPOINT: &str = "format = \"raw\"\nretry = [\"1s\", \"2s\", \"5s\", \"5s\", \"5s\", \"5s\", \"5s\", \"5s\", \"5s\", \
     \"5s\", \"5s\", \"5s\", \"5s\", \"5s\", \"5s\", \"5s\", \"5s\", \"5s\", \"5s\", \"5s\", \"5s\", \"5s\", \"5s\", \"5s\", \
     \"30s\", \"30s\", \"30s\", \"30s\", \"30s\", \"30s\"]\nbreaker = { failures = 20, cooldown = \"1s\" }";

struct Options {
    time: Duration,
    rate: usize,
    connections: usize,
    surge: usize,
    surge_connections: usize,
    bytes: usize,
    dir: PathBuf,
}

fn main() -> Result<(), Failure> {
    let options = Options {
        time: Duration::from_secs(number("BENCH_SECONDS", 30, 600) as u64),
        rate: number("BENCH_RATE", 1000, 100_000),
        connections: number("BENCH_CONNECTIONS", 32, 4096),
        surge: number("BENCH_SURGE", 50_000, 2_000_000),
        surge_connections: number("BENCH_SURGE_CONNECTIONS", 256, 4096),
        bytes: number("BENCH_BYTES", 1024, 512 * 1024),
        dir: folder("BENCH_DIR"),
    };
    println!("{}", machine::machine(&options.dir));
    println!(
        "\ninbound: {} requests/s of {} bytes for {} s over {} connections; a surge of {} over {}",
        options.rate,
        options.bytes,
        options.time.as_secs(),
        options.connections,
        options.surge,
        options.surge_connections
    );
    println!(
        "\n| run | requests | 2xx | 429 or 503 | seconds | ack, ms: p50 | p99 | p99.9 | longest | the app had all after | \
         more than once | daemon's memory, MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        at_a_rate(&options, true).await?;
        at_a_rate(&options, false).await?;
        surge(&options).await
    })
}

/// A daemon, the address of its app, and the times of one run.
struct Scene {
    daemon: Daemon,
    app: String,
    times: Arc<Times>,
    sink: Option<JoinSet<()>>,
}

impl Scene {
    async fn start(options: &Options, requests: usize, app_is_up: bool) -> Result<Self, Failure> {
        let times = Times::new(requests);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let app = listener.local_addr()?.to_string();
        let settings = Settings::default().endpoint("app", &app, ENDPOINT).source("github", SOURCE);
        let mut scene =
            Self { daemon: Daemon::on_empty_folder(&options.dir, &settings).await?, app, times, sink: None };
        if app_is_up {
            scene.listen(listener);
        }
        Ok(scene)
    }

    fn listen(&mut self, listener: TcpListener) {
        let times = Arc::clone(&self.times);
        self.sink = Some(sink::serve_by(listener, NUMBERED_BY, move |n| {
            times.receive(n);
            std::future::ready(())
        }));
    }

    async fn vendors(&self, connections: usize, bytes: usize) -> Result<Vec<Vendor>, Failure> {
        let mut vendors = Vec::new();
        for _ in 0..connections {
            vendors.push(Vendor::to(&self.daemon.inbound, bytes).await?);
        }
        Ok(vendors)
    }

    /// Waits until the app has all that was acknowledged, and prints the row of the run.
    async fn report(&mut self, name: &str, took: Duration, latencies: &Quantiles) -> Result<(), Failure> {
        let begin = Instant::now();
        let mib = self.daemon.memory().resident_kib / 1024;
        if self.sink.is_none() {
            let listener = TcpListener::bind(&self.app).await?;
            self.listen(listener);
        }
        let times = &self.times;
        let all = if times.drained(DRAIN_MAX).await {
            format!("{:.1} s", begin.elapsed().as_secs_f64())
        } else {
            format!("NOT: {} missing", times.accepted() - times.received())
        };
        let [p50, p99, p999, longest] = [0.5, 0.99, 0.999, 1.0].map(|share| latencies.at(share));
        println!(
            "| {name} | {} | {} | {} | {:.1} | {p50:.2} | {p99:.2} | {p999:.2} | {longest:.2} | {all} | {} | {mib} |",
            times.events(),
            times.accepted(),
            times.refused(),
            took.as_secs_f64(),
            times.repeats(),
        );
        Ok(())
    }
}

async fn at_a_rate(options: &Options, app_is_up: bool) -> Result<(), Failure> {
    let requests = options.rate * usize::try_from(options.time.as_secs())?;
    let mut scene = Scene::start(options, requests, app_is_up).await?;
    let vendors = scene.vendors(options.connections, options.bytes).await?;
    let begin = Instant::now() + Duration::from_millis(50);
    let pace = Pace::new(begin, options.rate, options.time);
    let latencies = fixed_rate::post_by(vendors, pace, &scene.times).await?;
    let name = if app_is_up { "at a rate, app up" } else { "at a rate, app down" };
    scene.report(name, begin.elapsed(), &latencies).await
}

async fn surge(options: &Options) -> Result<(), Failure> {
    let mut scene = Scene::start(options, options.surge, true).await?;
    let vendors = scene.vendors(options.surge_connections, options.bytes).await?;
    let begin = Instant::now();
    let latencies = full_speed::post_by(vendors, DRAIN_MAX, &scene.times).await?;
    scene.report("surge", begin.elapsed(), &latencies).await
}
