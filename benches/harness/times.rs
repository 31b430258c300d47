//! When each event was acknowledged and received.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Times in microseconds since the origin; 0: not yet.
pub(crate) struct Times {
    origin: Instant,
    acknowledged: Vec<AtomicU32>,
    received: Vec<AtomicU32>,
    accepted_count: AtomicUsize,
    received_count: AtomicUsize,
    repeats: AtomicUsize,
    refused: AtomicUsize,
}

impl Times {
    /// For the events with numbers below `events`.
    pub(crate) fn new(events: usize) -> Arc<Self> {
        let column = || std::iter::repeat_with(|| AtomicU32::new(0)).take(events).collect();
        Arc::new(Self {
            origin: Instant::now(),
            acknowledged: column(),
            received: column(),
            accepted_count: AtomicUsize::new(0),
            received_count: AtomicUsize::new(0),
            repeats: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        })
    }

    /// For how many events there is room.
    pub(crate) fn events(&self) -> usize {
        self.acknowledged.len()
    }

    /// Microseconds since the origin, at least 1.
    pub(crate) fn now(&self) -> u32 {
        u32::try_from(self.origin.elapsed().as_micros()).expect("a benchmark takes less than an hour").max(1)
    }

    /// Event `n` was acknowledged just now; returns how long after `since` that is.
    pub(crate) fn acknowledge(&self, n: usize, since: Instant) -> u32 {
        let now = self.now();
        self.acknowledged[n].store(now, Ordering::Relaxed);
        self.accepted_count.fetch_add(1, Ordering::Relaxed);
        now.saturating_sub(self.micros(since))
    }

    /// Whether event `n` was acknowledged.
    pub(crate) fn is_accepted(&self, n: usize) -> bool {
        self.acknowledged[n].load(Ordering::Relaxed) > 0
    }

    /// A request was answered 429 or 503.
    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Event `n` was received just now; true if it is for the first time.
    pub(crate) fn receive(&self, n: usize) -> bool {
        let Some(slot) = self.received.get(n) else { return false };
        let first = slot.compare_exchange(0, self.now(), Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if first { &self.received_count } else { &self.repeats }.fetch_add(1, Ordering::Relaxed);
        first
    }

    /// Events acknowledged.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted_count.load(Ordering::Relaxed)
    }

    /// Different events received.
    pub(crate) fn received(&self) -> usize {
        self.received_count.load(Ordering::Relaxed)
    }

    /// Requests for events that were received before.
    pub(crate) fn repeats(&self) -> usize {
        self.repeats.load(Ordering::Relaxed)
    }

    /// Requests that were answered 429 or 503.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// Waits until everything accepted was received; false if that takes longer than `longest`.
    pub(crate) async fn drained(&self, longest: Duration) -> bool {
        let deadline = Instant::now() + longest;
        while self.received() < self.accepted() {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// How long after its 202 each event was received.
    pub(crate) fn waits(&self) -> Quantiles {
        let pairs = self.acknowledged.iter().zip(&self.received);
        let pairs = pairs.map(|(a, r)| (a.load(Ordering::Relaxed), r.load(Ordering::Relaxed)));
        Quantiles::of(pairs.filter(|(a, r)| *a > 0 && *r > 0).map(|(a, r)| r.saturating_sub(a)).collect())
    }

    /// How long after it was due each event was received.
    pub(crate) fn delays(&self, due: impl Fn(usize) -> Instant) -> Quantiles {
        let received = self.received.iter().map(|received| received.load(Ordering::Relaxed)).enumerate();
        let received = received.filter(|(_, at)| *at > 0);
        Quantiles::of(received.map(|(n, at)| at.saturating_sub(self.micros(due(n)))).collect())
    }

    fn micros(&self, at: Instant) -> u32 {
        u32::try_from(at.saturating_duration_since(self.origin).as_micros()).unwrap_or(u32::MAX)
    }
}

/// Times in order, in microseconds.
pub(crate) struct Quantiles(Vec<u32>);

impl Quantiles {
    pub(crate) fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        Self(micros)
    }

    /// What this share of them stays within, in milliseconds.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let place = (self.0.len().saturating_sub(1) as f64 * share) as usize;
        self.0.get(place).map_or(f64::NAN, |micros| f64::from(*micros) / 1000.0)
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(f, "no events");
        }
        let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|share| self.at(share));
        write!(f, "p50 {p50:.2} ms   p99 {p99:.2} ms   p99.9 {p999:.2} ms   max {max:.2} ms")
    }
}
