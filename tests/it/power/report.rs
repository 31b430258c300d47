//! The figures of a run, one line for each test, which `tests/run` shows.

use std::path::Path;

/// Writes the line where `tests/run` finds it, and prints it.
pub(super) fn tell(name: &str, line: &str) {
    println!("{line}");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("power-report-{name}.txt"));
    std::fs::write(file, format!("{line}\n")).unwrap();
}
