//! Where the daemon delivers to: a receiver that answers when it is let, and knows what it has had.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::sink;

/// What was received, one bit an event.
pub(crate) struct Received {
    bits: Vec<AtomicU64>,
    count: AtomicUsize,
    repeats: AtomicUsize,
    /// Answers that may be given.
    turns: Semaphore,
    /// Whether answers need a turn.
    held: AtomicBool,
}

impl Received {
    /// For `events` events; answers need a turn until [`Received::release`].
    pub(crate) fn new(events: usize, held: bool) -> Arc<Self> {
        Arc::new(Self {
            bits: std::iter::repeat_with(|| AtomicU64::new(0)).take(events.div_ceil(64)).collect(),
            count: AtomicUsize::new(0),
            repeats: AtomicUsize::new(0),
            turns: Semaphore::new(0),
            held: AtomicBool::new(held),
        })
    }

    /// Lets so many answers go.
    pub(crate) fn allow(&self, answers: usize) {
        self.turns.add_permits(answers);
    }

    /// Lets all answers go from here on.
    pub(crate) fn release(&self) {
        self.held.store(false, Ordering::Relaxed);
        self.turns.close();
    }

    /// Different events received and answered.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Requests for events that were received before.
    pub(crate) fn repeats(&self) -> usize {
        self.repeats.load(Ordering::Relaxed)
    }

    async fn take(self: Arc<Self>, n: usize) {
        if self.held.load(Ordering::Relaxed)
            && let Ok(turn) = self.turns.acquire().await
        {
            turn.forget();
        }
        if let Some(word) = self.bits.get(n / 64) {
            let bit = 1 << (n % 64);
            let known = word.fetch_or(bit, Ordering::Relaxed) & bit != 0;
            if known { &self.repeats } else { &self.count }.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Serves until it is dropped.
pub(crate) fn serve(listener: TcpListener, received: Arc<Received>) -> JoinSet<()> {
    sink::serve(listener, move |n| Arc::clone(&received).take(n))
}
