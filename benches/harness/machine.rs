//! What a benchmark ran on, and how much memory and processor time a process takes.

use std::fmt;
use std::path::Path;

/// Memory of a process, from /proc, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) resident_kib: u64,
    /// The most that was ever resident.
    pub(crate) peak_kib: u64,
}

impl Memory {
    /// That of process `pid`; nothing where it is gone.
    pub(crate) fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            value.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
        };
        Self { resident_kib: field("VmRSS:"), peak_kib: field("VmHWM:") }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB (peak {} MiB)", self.resident_kib / 1024, self.peak_kib / 1024)
    }
}

/// Processor time that process `pid` has taken, of all its threads, in seconds; 0 where it is gone.
pub(crate) fn processor_secs(pid: u32) -> f64 {
    /// Ticks a second in what /proc tells: the same on every machine that this is built for.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in brackets may hold spaces; user and system time are the 12th and 13th field behind it.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS
}

/// What the figures were measured on.
pub(crate) fn machine(dir: &Path) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")).map(|rest| rest.trim_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    let mounts = read("/proc/self/mounts");
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (_, point, kind) = (fields.next()?, fields.next()?, fields.next()?);
        dir.starts_with(point).then_some((point.len(), kind))
    });
    let filesystem = mounts.max().map_or("?", |(_, kind)| kind);
    format!(
        "machine: {cores} cores ({}), load {load} before the start, Linux {}, data on {filesystem}, webhookd {}",
        model.unwrap_or("unknown processor"),
        kernel.trim(),
        env!("CARGO_PKG_VERSION"),
    )
}
