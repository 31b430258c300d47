//! Power cuts, full disks and failing fsyncs under load: what was acknowledged is delivered all the same.
//!
//! The daemon runs on the file system of `tests/powercut/`, producers post events of very different sizes, the receiver
//! refuses some of them. Round after round something happens to the disk; in the end every event that got its 202 must have
//! come in with the right body, and nothing may be pending. `POWER_SEED` repeats a run's choices (not the moments at which
//! threads meet them), `POWER_ROUNDS` sets the number of rounds of each test.
//!
//! These tests need `/dev/fuse` and the file system's binary, which `tests/run` builds; `WEBHOOKD_POWERCUT` names it. A plain
//! `cargo test` leaves them out and says so.

mod campaign;
mod cuts;
mod eio;
mod enospc;
mod hang;
mod load;
mod mount;
mod report;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The seed of a run.
fn seed() -> u64 {
    // Of a size that is easily typed.
    number("POWER_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000))
}

/// How many rounds a test has.
fn rounds(usual: u64) -> u64 {
    number("POWER_ROUNDS").unwrap_or(usual)
}
