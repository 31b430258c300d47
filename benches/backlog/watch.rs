//! The table over time that a scene prints while it runs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::harness::daemon::{Daemon, Usage};
use crate::harness::machine::Memory;

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Looks at a daemon and prints a row each time so many more events are through.
pub(crate) struct Watch {
    pid: u32,
    data: PathBuf,
    step: usize,
    begin: Instant,
    /// When the last row was printed, and what it told.
    last: (Instant, usize),
    resident_kib_max: u64,
    disk_bytes_max: u64,
}

impl Watch {
    /// Prints the head of the table. A row comes for each `step` events.
    pub(crate) fn new(daemon: &Daemon, step: usize) -> Self {
        println!("| events | events/s since the last row | RSS, MiB | disk, MiB | generations |");
        println!("|---|---|---|---|---|");
        let now = Instant::now();
        let (pid, data) = (daemon.pid(), daemon.data());
        Self { pid, data, step, begin: now, last: (now, 0), resident_kib_max: 0, disk_bytes_max: 0 }
    }

    /// Looks on until `count` says that `events` are through, or nothing comes any more; returns how long it took and whether
    /// all came.
    pub(crate) async fn until(&mut self, events: usize, count: impl Fn() -> usize) -> (Duration, bool) {
        const STALL_MAX: Duration = Duration::from_secs(120);
        let mut moved = (Instant::now(), count());
        loop {
            let through = count();
            let done = through >= events;
            self.look(through, done);
            if through != moved.1 {
                moved = (Instant::now(), through);
            }
            if done || moved.0.elapsed() > STALL_MAX {
                return (self.begin.elapsed(), done);
            }
            tokio::time::sleep(PAUSE.min(Duration::from_millis(20 + events as u64 / 1000))).await;
        }
    }

    fn look(&mut self, through: usize, last: bool) {
        let memory = Memory::of(self.pid);
        self.resident_kib_max = self.resident_kib_max.max(memory.resident_kib);
        let due = through / self.step > self.last.1 / self.step;
        if !due && !last {
            return;
        }
        let usage = Usage::of(&self.data);
        self.disk_bytes_max = self.disk_bytes_max.max(usage.bytes);
        let rate = (through - self.last.1) as f64 / self.last.0.elapsed().as_secs_f64();
        println!(
            "| {through} | {rate:.0} | {} | {} | {} |",
            memory.resident_kib / 1024,
            usage.bytes >> 20,
            usage.generations
        );
        self.last = (Instant::now(), through);
    }

    /// The most memory that was seen, in MiB.
    pub(crate) fn resident_mib_max(&self) -> u64 {
        self.resident_kib_max / 1024
    }

    /// The most disk that was seen, in MiB.
    pub(crate) fn disk_mib_max(&self) -> u64 {
        self.disk_bytes_max >> 20
    }
}

/// Waits until the disk has been as it is for a while, or `longest` has passed.
pub(crate) async fn settled(daemon: &Daemon, longest: Duration) -> Usage {
    let begin = Instant::now();
    let mut usage = Usage::of(&daemon.data());
    while usage.generations > 0 && begin.elapsed() < longest {
        tokio::time::sleep(PAUSE).await;
        usage = Usage::of(&daemon.data());
    }
    usage
}
