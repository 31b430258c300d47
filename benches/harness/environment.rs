//! What the environment asks for.

use std::path::PathBuf;

/// The text of variable `name`.
pub(crate) fn text(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The number in variable `name`, at least 1 and at most `most`; `default` where there is none.
pub(crate) fn number(name: &str, default: usize, most: usize) -> usize {
    text(name).and_then(|text| text.parse().ok()).unwrap_or(default).clamp(1, most)
}

/// The numbers in variable `name`, separated by commas, each at least 1 and at most `most`.
pub(crate) fn numbers(name: &str, default: &str, most: usize) -> Vec<usize> {
    let text = text(name).unwrap_or_else(|| default.to_owned());
    text.split(',').filter_map(|n| n.trim().parse::<usize>().ok()).map(|n| n.clamp(1, most)).collect()
}

/// The folder in variable `name`; by default below `target/`, so on the disk that holds the sources.
pub(crate) fn folder(name: &str) -> PathBuf {
    std::env::var_os(name).map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from)
}
