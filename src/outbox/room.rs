//! Whether new events are taken, and why not: the folder's own limit, the file system's floor, a disk that refuses.

use std::sync::{Mutex, PoisonError};

use super::disk::Space;
use crate::limits::{FREE_BYTES_DEFAULT, FREE_SHARE_DEFAULT};
use crate::observe::Metrics;
use crate::observe::storage::{EventsRefused, EventsTaken};

/// How the outbox is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It takes events.
    Open,
    /// The data folder has reached `max_size`.
    Full {
        /// Bytes that it takes.
        bytes: u64,
        /// Bytes that it may take.
        bytes_max: u64,
    },
    /// The file system has no more than `min_free` left.
    NoSpace {
        /// Bytes that are free.
        free_bytes: u64,
        /// Bytes that must stay free.
        free_bytes_min: u64,
    },
    /// The disk refuses to write or to sync, or a generation cannot be opened.
    Failing {
        /// What it said.
        why: String,
    },
}

impl Condition {
    /// Whether events are refused for want of room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::NoSpace { .. })
    }

    /// The word for metrics; `None` while events are taken.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Open => None,
            Self::Full { .. } => Some("max_size"),
            Self::NoSpace { .. } => Some("min_free"),
            Self::Failing { .. } => Some("failing"),
        }
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open => f.write_str("events are taken"),
            Self::Full { bytes, bytes_max } => write!(
                f,
                "the data folder has reached max_size of [storage] ({bytes} of {bytes_max} bytes); new events are refused \
                 until deliveries finish and retention makes room, or max_size is raised"
            ),
            Self::NoSpace { free_bytes, free_bytes_min } => write!(
                f,
                "the file system of the data folder has {free_bytes} bytes left, and min_free of [storage] keeps \
                 {free_bytes_min} of them; new events are refused until there is room"
            ),
            Self::Failing { why } => {
                write!(f, "the disk of the data folder refuses ({why}); new events are refused until it works again")
            }
        }
    }
}

/// The bytes of a file system that stay free where the config does not say: a twentieth of it, within bounds.
pub(super) fn free_bytes_min(given: Option<u64>, space: Space) -> u64 {
    given.unwrap_or_else(|| {
        (space.total_bytes / FREE_SHARE_DEFAULT).clamp(*FREE_BYTES_DEFAULT.start(), *FREE_BYTES_DEFAULT.end())
    })
}

/// The condition as everybody sees it; the writer sets it.
#[derive(Debug)]
pub(super) struct Room {
    condition: Mutex<Condition>,
}

impl Room {
    pub(super) fn new() -> Self {
        Self { condition: Mutex::new(Condition::Open) }
    }

    pub(super) fn condition(&self) -> Condition {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets it, and tells it where it changed.
    pub(super) fn set(&self, now: &Condition, metrics: &Metrics) {
        let mut condition = self.condition.lock().unwrap_or_else(PoisonError::into_inner);
        if condition.reason() != now.reason() {
            match now.reason() {
                Some(reason) => EventsRefused { reason, why: &now.to_string() }.tell(metrics),
                None => EventsTaken.tell(metrics),
            }
        }
        condition.clone_from(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_follows_the_file_system_within_bounds() {
        let of = |total_mib: u64| free_bytes_min(None, Space { free_bytes: 0, total_bytes: total_mib << 20 }) >> 20;
        assert_eq!([of(64), of(1_000), of(100_000)], [16, 50, 256]);
        assert_eq!(free_bytes_min(Some(7), Space { free_bytes: 0, total_bytes: 1 << 40 }), 7);
    }
}
