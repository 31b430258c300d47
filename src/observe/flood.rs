//! Lines that strangers can cause as often as they like: so many a second are told one by one, the others are counted, and told
//! in one line.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::{MonoMs, SharedClock};

/// How long is counted before what was not told one by one is told, in milliseconds.
const WINDOW_MS: u64 = 1000;

/// Bounds the lines of one kind.
#[derive(Debug)]
pub(super) struct Flood {
    clock: SharedClock,
    /// Lines a second.
    max: u32,
    window: Mutex<Window>,
    /// Some were not told.
    held_back: Notify,
}

/// One second.
#[derive(Debug)]
struct Window {
    since: MonoMs,
    told: u32,
    held_back: u64,
}

/// What is to be written when something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Whether it is told by itself.
    pub(super) tells: bool,
    /// How many of an earlier second were not, and are to be told in one line before it.
    pub(super) owed: u64,
}

impl Flood {
    /// At most `max` lines a second.
    pub(super) fn new(clock: SharedClock, max: u32) -> Self {
        let window = Mutex::new(Window { since: clock.mono(), told: 0, held_back: 0 });
        Self { clock, max, window, held_back: Notify::new() }
    }

    /// Something happens.
    pub(super) fn happened(&self) -> Turn {
        let now = self.clock.mono();
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let mut owed = 0;
        if now.since(window.since) >= WINDOW_MS {
            owed = window.held_back;
            *window = Window { since: now, told: 0, held_back: 0 };
        }
        let tells = window.told < self.max;
        if tells {
            window.told += 1;
        } else {
            window.held_back += 1;
            self.held_back.notify_one();
        }
        Turn { tells, owed }
    }

    /// How many were not told so far; whoever asks tells them.
    pub(super) fn owed(&self) -> u64 {
        std::mem::take(&mut self.window.lock().unwrap_or_else(PoisonError::into_inner).held_back)
    }

    /// Has `tell` write in time how many were not told one by one, until `stop` is cancelled.
    pub(super) async fn sum_up(&self, stop: &CancellationToken, tell: impl Fn(u64)) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.held_back.notified() => {}
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(Duration::from_millis(WINDOW_MS)) => {}
            }
            tell(self.owed());
        }
        tell(self.owed());
    }
}
