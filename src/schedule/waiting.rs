//! A delivery that waits, in few bytes: there may be a million.

use std::num::NonZeroU64;

use crate::clock::{MonoMs, UnixMs};
use crate::model::delivery::{EventRef, KeyHash, Progress};
use crate::model::roster::EndpointNo;

/// An ordering key, in a form whose absence takes no byte more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(NonZeroU64);

impl Key {
    /// Stands for every key where a lane keeps one order for all.
    pub(super) const WHOLE: Self = Self(NonZeroU64::MIN);

    /// The hash 0 counts as 1: those two keys wait for each other, as two keys with one hash do.
    pub(super) fn of(hash: KeyHash) -> Self {
        Self(NonZeroU64::new(hash.0).unwrap_or(NonZeroU64::MIN))
    }
}

/// A delivery in its lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) event: EventRef,
    pub(super) accepted_at: UnixMs,
    pub(super) due: MonoMs,
    pub(super) key: Option<Key>,
    pub(super) progress: Progress,
}

/// A delivery on the wheel, which knows when it is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sleeper {
    event: EventRef,
    accepted_at: UnixMs,
    key: Option<Key>,
    progress: Progress,
    pub(super) endpoint: EndpointNo,
}

impl Sleeper {
    pub(super) fn new(waiting: Waiting, endpoint: EndpointNo) -> Self {
        let Waiting { event, accepted_at, due: _, key, progress } = waiting;
        Self { event, accepted_at, key, progress, endpoint }
    }

    pub(super) fn wake(self, due: MonoMs) -> Waiting {
        let Self { event, accepted_at, key, progress, endpoint: _ } = self;
        Waiting { event, accepted_at, due, key, progress }
    }
}
