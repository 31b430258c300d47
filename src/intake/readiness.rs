//! How far the daemon is.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::dispatch::Control;
use crate::front::problem::{Problem, ProblemKind};
use crate::outbox::{Condition, Outbox};

/// Whether the daemon takes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It opens its storage.
    Opening,
    /// It takes events.
    Ready,
    /// It stops.
    Draining,
    /// The storage is out of room. What is stored is served and delivered, and the outbox itself answers those who post.
    Full,
    /// The disk refuses to store anything; otherwise as [`Phase::Full`].
    Failing,
}

/// What requests are served from. It is there once the storage is open.
#[derive(Debug)]
pub struct Core {
    /// Where events are stored and read.
    pub outbox: Outbox,
    /// Where operators' wishes go.
    pub control: Control,
}

/// How far the daemon is: it tells the API, and the API answers by it.
#[derive(Debug, Default)]
pub struct Readiness {
    core: OnceLock<Core>,
    draining: AtomicBool,
}

impl Readiness {
    /// The storage is open: requests are served from now on.
    pub fn set_ready(&self, core: Core) {
        // A daemon opens its storage once; a second core would be a second daemon.
        let first = self.core.set(core).is_ok();
        debug_assert!(first, "the storage is opened once");
    }

    /// The daemon stops.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.core.get() {
            None => Phase::Opening,
            Some(_) if self.draining.load(Ordering::Relaxed) => Phase::Draining,
            Some(core) => match core.outbox.condition() {
                Condition::Open => Phase::Ready,
                condition if condition.is_full() => Phase::Full,
                _ => Phase::Failing,
            },
        }
    }

    /// What requests are served from, once that is open.
    ///
    /// # Errors
    /// 503 until then.
    pub fn core(&self) -> Result<&Core, Problem> {
        let opening = || Problem::new(ProblemKind::NotReady, "webhookd opens its storage").retry_after_s(2);
        self.core.get().ok_or_else(opening)
    }

    /// The same for whoever wants something written. A full storage does not stop it here: the outbox knows best when there is
    /// room again.
    ///
    /// # Errors
    /// 503 until the storage is open, and from when the daemon stops.
    pub fn core_to_change(&self) -> Result<&Core, Problem> {
        let core = self.core()?;
        if self.draining.load(Ordering::Relaxed) {
            return Err(Problem::new(ProblemKind::NotReady, "webhookd is stopping").retry_after_s(5));
        }
        Ok(core)
    }
}
