//! What a backlog costs: `cargo bench --bench backlog [cycle] [pile] [scatter] [start]`.
//!
//! The real daemon runs as a process of its own with `durability = "fsync"`; producers and receiver are in this process, on
//! the same machine and the same processors. Memory is the daemon's resident set, looked at every 200 ms; disk is what the
//! data folder takes of the file system. Three scenes:
//!
//! - `cycle`: 2,000,000 events go through while 10,000 are always live: the receiver answers one request for each event
//!   that is accepted beyond those.
//! - `pile`: the endpoint refuses connections while 1,000,000 events are accepted, each tried once; the daemon is killed with
//!   SIGKILL and started again; then the endpoint comes back, the retries come due, and everything drains.
//! - `scatter`: 500,000 retries come due in no order, from every generation there is, while one new event after another is
//!   posted: what that costs those.
//! - `start`: how long the daemon takes to be ready with 1,000, 100,000 and 1,000,000 retries pending: just after SIGKILL,
//!   after another SIGKILL, after a stop in order, and with nothing of the data folder in the page cache.
//!
//! Environment: `BACKLOG_CYCLE` (2000000 events), `BACKLOG_LIVE` (10000), `BACKLOG_PILE` (1000000 events), `BACKLOG_SCATTER` (500000
//! events), `BACKLOG_START` (1000,100000,1000000), `BACKLOG_TEN_MILLION` (1: `start` with 10,000,000 events of 100 bytes as well, 12 GB of disk),
//! `BACKLOG_BYTES` (1024 an event), `BACKLOG_CONNECTIONS` (64), `BACKLOG_BATCH` (1 event a request), `BACKLOG_DIR` (where
//! the data folder goes; by default below `target/`).
#![allow(clippy::unwrap_used, reason = "a benchmark may unwrap")]
#![allow(clippy::disallowed_methods, reason = "a benchmark lives on the machine's clock and owns its runtime")]

mod cycle;
#[path = "../harness/mod.rs"]
mod harness;
mod pile;
mod receiver;
mod scatter;
mod start;
mod watch;

use std::path::PathBuf;

use harness::Failure;
use harness::daemon::Settings;
use harness::environment::{folder, number, numbers, text};

/// Most events of one scene: the room for what is received of them is set aside beforehand.
const EVENTS_MAX: usize = 20_000_000;

/// What the environment asks for.
struct Options {
    cycle: usize,
    live: usize,
    pile: usize,
    scatter: usize,
    start: Vec<usize>,
    ten_million: bool,
    bytes: usize,
    connections: usize,
    batch: usize,
    dir: PathBuf,
}

impl Options {
    fn read() -> Self {
        Self {
            cycle: number("BACKLOG_CYCLE", 2_000_000, EVENTS_MAX),
            live: number("BACKLOG_LIVE", 10_000, EVENTS_MAX),
            pile: number("BACKLOG_PILE", 1_000_000, EVENTS_MAX),
            scatter: number("BACKLOG_SCATTER", 500_000, EVENTS_MAX),
            start: numbers("BACKLOG_START", "1000,100000,1000000", EVENTS_MAX),
            ten_million: text("BACKLOG_TEN_MILLION").is_some_and(|value| value == "1"),
            bytes: number("BACKLOG_BYTES", 1024, 512 * 1024),
            connections: number("BACKLOG_CONNECTIONS", 64, 4096),
            batch: number("BACKLOG_BATCH", 1, 1000),
            dir: folder("BACKLOG_DIR"),
        }
    }
}

/// What a scene asks of its daemon.
struct Setting {
    sink: String,
    retry_secs: u64,
    retention_secs: u64,
    /// By what share a retry comes earlier or later.
    jitter: f64,
}

impl Setting {
    fn settings(&self) -> Settings {
        // What a backlog costs that is tried all the same; what a breaker spares is told by the bench `neighbours`.
        Settings::default()
            .endpoint("sink", &self.sink, "breaker = \"off\"")
            .storage("max_size = \"100GiB\"")
            .storage(&format!("retention = \"{}s\"", self.retention_secs))
            .delivery(&format!("retry = [\"{}s\", \"24h\"]", self.retry_secs))
            .delivery(&format!("jitter = {:.2}", self.jitter))
    }
}

fn main() -> Result<(), Failure> {
    let options = Options::read();
    let scenes: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |scene: &str| scenes.is_empty() || scenes.iter().any(|name| name == scene);
    println!("{}", harness::machine::machine(&options.dir));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if wanted("cycle") {
            cycle::run(&options).await?;
        }
        if wanted("pile") {
            pile::run(&options).await?;
        }
        if wanted("scatter") {
            scatter::run(&options).await?;
        }
        if wanted("start") {
            start::run(&options).await?;
        }
        Ok(())
    })
}
