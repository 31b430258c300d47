//! The daemon's core under a clock, a network and a disk of ours: outbox, schedule, policy and dispatch as they are, thousands
//! of small lives with crashes, faults, delays and clock jumps, and an account of what must hold.
//!
//! - Every event that was acknowledged is delivered, dead or pending, and in the end one of the first two.
//! - Nothing is delivered that was not accepted, and never with another body.
//! - No attempt is made before it is due, to an endpoint that is closed, held or not in the config, or while another is under
//!   way; nor out of order, faster than the rate, or to an endpoint that is down but as a probe. Whatever may go, goes.
//! - What endpoints are told to be they are, over restarts and reloads too, and what happens to them is told once.
//! - Nothing is stored twice under one id or `Idempotency-Key`; repeats and conflicts are told as such.
//! - What damage took is named.
//! - After faults everything comes back by itself, and retention gives the disk back.
//!
//! # Seeds
//! A seed chooses everything that is chosen: endpoints and what they answer, schedules, events, acts of operators, moments,
//! faults, kills. `SIM_SEED` runs one, `SIM_SEEDS` says how many there are: every other one is always the same, the rest are
//! new ones each time. `SIM_SECS` ends the run after so many seconds, however many are left. `SIM_TELL=1` tells the story
//! while it happens.
//!
//! # What a seed does not decide
//! The outbox's threads are real. Acts follow one another only when these have come to rest, so what happens is the same
//! each time; but how outcomes of attempts that end in the same moment are packed into rows, and so which write meets the
//! n-th refusal or the kill, may differ. A seed that fails by such a race may need a few repetitions.
//!
//! | module | job |
//! |---|---|
//! | `plan`, `setup` | what a seed does, and with what |
//! | `world` | the core in its surroundings: lives, rests, acts |
//! | `network`, `disk` | what stands in for the real ones |
//! | `content` | bodies of events |
//! | `ledger` | what must hold |
//! | `report` | stories and figures |

mod content;
mod disk;
mod ledger;
mod network;
mod plan;
mod report;
mod setup;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use report::Counts;

/// Seeds of a run where `SIM_SEEDS` does not say.
const SEEDS: u64 = 100;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn seeds() -> Vec<u64> {
    if let Some(seed) = from_environment("SIM_SEED") {
        return vec![seed];
    }
    let count = from_environment("SIM_SEEDS").unwrap_or(SEEDS);
    let fresh = fastrand::u64(..1 << 40);
    (0..count).map(|n| if n % 2 == 0 { n / 2 } else { fresh + n / 2 }).collect()
}

fn run(seed: u64) -> Result<Counts, String> {
    match catch_unwind(AssertUnwindSafe(|| plan::live(seed))) {
        Ok(Ok(counts)) => Ok(counts),
        Ok(Err(failure)) => Err(failure.to_string()),
        Err(_) => Err(format!(
            "seed {seed} panicked; repeat it with SIM_SEED={seed} SIM_TELL=1 cargo test --locked --test it sim::every_seed -- --nocapture"
        )),
    }
}

#[test]
fn every_seed_keeps_what_was_promised() {
    if std::env::var_os("SIM_TELL").is_some() {
        let _ = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_target(false)
            .without_time()
            .with_ansi(false)
            .try_init();
    }
    let seeds = seeds();
    let secs_max = from_environment("SIM_SECS").unwrap_or(u64::MAX);
    let threads = from_environment("SIM_THREADS").unwrap_or(2) as usize;
    let (next, failures, counts) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(Counts::default()));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while begun.elapsed().as_secs() < secs_max
                    && let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    match run(*seed) {
                        Ok(figures) => *counts.lock().unwrap() += figures,
                        Err(failure) => failures.lock().unwrap().push(failure),
                    }
                }
            });
        }
    });
    let (failures, counts) = (failures.into_inner().unwrap(), counts.into_inner().unwrap());
    let secs = begun.elapsed().as_secs_f64();
    let lived = next.into_inner().min(seeds.len());
    println!("simulation: {lived} seeds in {secs:.1} s, {} failed: {counts}", failures.len());
    assert!(
        failures.is_empty(),
        "{} of {lived} seeds failed\n{}",
        failures.len(),
        failures[..failures.len().min(from_environment("SIM_SHOWN").unwrap_or(3) as usize)].join("\n\n")
    );
}
