//! What endpoints do to each other, and what order and an outage cost:
//! `cargo bench --bench neighbours [healthy] [order] [recovery]`.
//!
//! The real daemon runs as a process of its own with `durability = "fsync"`; producers and all receivers are in this process,
//! on the same machine and the same processors. Each run has an empty data folder. Three scenes:
//!
//! - `healthy`: events at set moments to one endpoint that is well, alone and beside 100 neighbours that hang, refuse, reset, answer
//!   500, answer 429, drip their head or drip their body a byte a second; the neighbours get events of their own all the while. The
//!   runs take turns: alone, beside them, alone, beside them. Latencies count from the moment an event was due.
//! - `order`: events a second of one endpoint with `order = "none"`, with `"key"` and few or many keys, and with `"strict"`, taking
//!   turns. The sink knows in which order the events of a key were accepted, and counts those that come out of it.
//! - `recovery`: an endpoint is down while 200,000 events pile up; then it comes back. What was asked of it while it was down, and
//!   how it is found well again and drains. `breaker = { failures = 20, cooldown = "1s", max_cooldown = "5s" }`, so that a run takes
//!   a minute; by default probes are up to ten minutes apart. A delivery that has failed is due again after 5 s and then every 10 s;
//!   by default those that were probes twice would be waited for five minutes and more.
//!
//! Environment, for all: `BENCH_CONNECTIONS` (64 of the producers), `BENCH_BYTES` (1024 an event), `BENCH_DIR` (where the data
//! folder goes; by default below `target/`), `BENCH_ROUNDS` (2: how often each run of a scene is made, not of `recovery`).
//! `healthy`: `BENCH_SECONDS` (60), `BENCH_RATE` (200 events/s), `BENCH_NEIGHBOURS` (100), `BENCH_NEIGHBOUR_RATE` (10 events/s, each
//! to all of them), `BENCH_BREAKER` (`off`: the neighbours have none).
//! `order`: `BENCH_SECONDS` (10), `BENCH_KEYS` (1000,1000000).
//! `recovery`: `BENCH_EVENTS` (200000), `BENCH_DOWN_SECONDS` (20: how much longer it is down once all have piled up), `BENCH_ANSWER_MS`
//! (1: how long the endpoint takes to answer, which bounds how fast it drains; 0: at once), `BENCH_ORDER` (`none`; `key` with the first of `BENCH_KEYS`, `strict`).
#![allow(clippy::unwrap_used, reason = "a benchmark may unwrap")]
#![allow(clippy::disallowed_methods, reason = "a benchmark lives on the machine's clock and owns its runtime")]

#[path = "../harness/mod.rs"]
mod harness;
mod healthy;
mod misdeed;
mod order;
mod outage;
mod recovery;
mod sequence;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use harness::environment::{folder, number, numbers, text};
use harness::{Failure, machine};

/// Most events of one run: the room for their times is set aside beforehand.
const EVENTS_MAX: usize = 4_000_000;

/// What the environment asks for.
struct Options {
    healthy_time: Duration,
    order_time: Duration,
    rounds: usize,
    connections: usize,
    bytes: usize,
    rate: usize,
    neighbours: usize,
    neighbour_rate: usize,
    breaker: bool,
    keys: Vec<usize>,
    events: usize,
    down: Duration,
    answer: Duration,
    order: String,
    dir: PathBuf,
}

impl Options {
    fn read() -> Result<Self, Failure> {
        let seconds = |name, default, most| Duration::from_secs(number(name, default, most) as u64);
        let order = text("BENCH_ORDER").unwrap_or_else(|| "none".to_owned());
        if !["none", "key", "strict"].contains(&order.as_str()) {
            return Err(format!("BENCH_ORDER={order}: expected none, key or strict").into());
        }
        let breaker = match text("BENCH_BREAKER").as_deref() {
            None => true,
            Some("off") => false,
            Some(other) => return Err(format!("BENCH_BREAKER={other}: expected off, or nothing").into()),
        };
        let keys = numbers("BENCH_KEYS", "1000,1000000", EVENTS_MAX);
        if keys.is_empty() {
            return Err("BENCH_KEYS: expected numbers separated by commas".into());
        }
        let answer_ms = text("BENCH_ANSWER_MS").and_then(|text| text.parse().ok()).unwrap_or(1);
        Ok(Self {
            healthy_time: seconds("BENCH_SECONDS", 60, 600),
            order_time: seconds("BENCH_SECONDS", 10, 120),
            rounds: number("BENCH_ROUNDS", 2, 20),
            connections: number("BENCH_CONNECTIONS", 64, 4096),
            bytes: number("BENCH_BYTES", 1024, 512 * 1024),
            rate: number("BENCH_RATE", 200, 5_000),
            neighbours: number("BENCH_NEIGHBOURS", 100, 1_000),
            neighbour_rate: number("BENCH_NEIGHBOUR_RATE", 10, 1_000),
            breaker,
            keys,
            events: number("BENCH_EVENTS", 200_000, EVENTS_MAX),
            down: seconds("BENCH_DOWN_SECONDS", 20, 600),
            answer: Duration::from_millis(answer_ms.min(10_000)),
            order,
            dir: folder("BENCH_DIR"),
        })
    }
}

fn main() -> Result<(), Failure> {
    let options = Options::read()?;
    let scenes: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if let Some(unknown) = scenes.iter().find(|scene| !["healthy", "order", "recovery"].contains(&scene.as_str())) {
        return Err(format!("there is no scene {unknown}: expected healthy, order or recovery").into());
    }
    let wanted = |scene: &str| scenes.is_empty() || scenes.iter().any(|name| name == scene);
    println!("{}", machine::machine(&options.dir));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if wanted("healthy") {
            healthy::run(&options).await?;
        }
        if wanted("order") {
            order::run(&options).await?;
        }
        if wanted("recovery") {
            recovery::run(&options).await?;
        }
        Ok(())
    })
}
