//! Time, injected: the program reads no clock but through [`Clock`].
//!
//! Waiting happens on the monotonic clock, what is stored is wall-clock milliseconds. A test drives a [`ManualClock`]
//! through a 75-hour retry schedule in milliseconds.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Wall-clock time in milliseconds since the Unix epoch. Shown as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// The moment `ms` milliseconds later.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment; 0 if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// Parses an RFC 3339 timestamp with an offset; `None` for anything else and for times before 1970.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let at: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(at.as_millisecond()).ok().map(Self)
    }
}

impl fmt::Display for UnixMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(ms) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "9999-12-31T23:59:59.999Z"),
        }
    }
}

/// Monotonic time in milliseconds since the clock was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonoMs(pub u64);

impl MonoMs {
    /// The moment `ms` milliseconds later.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment; 0 if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A sleep that a [`Clock`] hands out.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The two clocks of the program and the way to wait.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall-clock time. It may jump.
    fn wall(&self) -> UnixMs;
    /// Monotonic time. It never goes back.
    fn mono(&self) -> MonoMs;
    /// Completes once [`Clock::mono`] has reached `at`.
    fn sleep_until(&self, at: MonoMs) -> Sleep;
}

/// A clock shared by the whole daemon.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    pub fn shared() -> SharedClock {
        Arc::new(Self { origin: Instant::now() })
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn wall(&self) -> UnixMs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn mono(&self) -> MonoMs {
        MonoMs(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep_until(&self, at: MonoMs) -> Sleep {
        // Rounded up: a sleep never ends before its moment.
        let deadline = self.origin + Duration::from_millis(at.0.min(u64::from(u32::MAX) * 1000));
        Box::pin(tokio::time::sleep_until(deadline.into()))
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug)]
pub struct ManualClock {
    inner: Mutex<ManualTime>,
    moved: Arc<Notify>,
}

#[derive(Debug)]
struct ManualTime {
    wall: UnixMs,
    mono: MonoMs,
}

impl ManualClock {
    /// A clock that stands at `wall`.
    #[must_use]
    pub fn at(wall: UnixMs) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::new(ManualTime { wall, mono: MonoMs(0) }), moved: Arc::new(Notify::new()) })
    }

    /// Moves both clocks forward by `ms` milliseconds and wakes whoever is due.
    pub fn advance_ms(&self, ms: u64) {
        {
            let mut time = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            time.wall = time.wall.plus_ms(ms);
            time.mono = time.mono.plus_ms(ms);
        }
        self.moved.notify_waiters();
    }

    /// Sets the wall clock alone, as an administrator or NTP would.
    pub fn set_wall(&self, wall: UnixMs) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).wall = wall;
    }
}

/// A handle of a [`ManualClock`] that the daemon takes; the test keeps the clock itself.
#[derive(Clone, Debug)]
pub struct ManualHandle(pub Arc<ManualClock>);

impl Clock for ManualHandle {
    fn wall(&self) -> UnixMs {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner).wall
    }

    fn mono(&self) -> MonoMs {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner).mono
    }

    fn sleep_until(&self, at: MonoMs) -> Sleep {
        let clock = Arc::clone(&self.0);
        Box::pin(async move {
            let moved = Arc::clone(&clock.moved);
            loop {
                let notified = moved.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                if clock.inner.lock().unwrap_or_else(PoisonError::into_inner).mono >= at {
                    return;
                }
                notified.await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_is_shown_as_rfc_3339_with_milliseconds() {
        assert_eq!(UnixMs(1_614_265_330_007).to_string(), "2021-02-25T15:02:10.007Z");
        assert_eq!(UnixMs(1_614_265_330_000).to_string(), "2021-02-25T15:02:10.000Z");
    }

    #[test]
    fn rfc_3339_is_read_with_its_offset() {
        assert_eq!(UnixMs::parse_rfc3339("2021-02-25T16:02:10+01:00"), Some(UnixMs(1_614_265_330_000)));
        assert_eq!(UnixMs::parse_rfc3339("2021-02-25T15:02:10"), None, "no offset");
        assert_eq!(UnixMs::parse_rfc3339("1969-01-01T00:00:00Z"), None, "before the epoch");
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_only_who_is_due() {
        let clock = ManualClock::at(UnixMs(1000));
        let handle = ManualHandle(Arc::clone(&clock));
        let early = handle.sleep_until(MonoMs(10));
        let late = handle.sleep_until(MonoMs(20));
        tokio::pin!(late);
        clock.advance_ms(10);
        early.await;
        assert!(futures_pending(late.as_mut()).await);
        clock.advance_ms(10);
        late.await;
        assert_eq!(handle.wall(), UnixMs(1020));
    }

    async fn futures_pending<F: Future<Output = ()>>(mut future: Pin<&mut F>) -> bool {
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }
}
