//! How many verified requests of a source are taken.

use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::MonoMs;
use crate::front::problem::{Problem, ProblemKind};
use crate::policy::rate::{Pace, RateLimit};

/// The pace of a source, shared by the requests under way and by the snapshots of a config with the same rate.
#[derive(Clone, Debug)]
pub(super) struct SharedPace(Arc<Mutex<Pace>>);

impl SharedPace {
    /// A pace of which nothing was used yet.
    pub(super) fn new(limit: RateLimit) -> Self {
        Self(Arc::new(Mutex::new(Pace::new(limit))))
    }

    /// Whether it keeps this very rate.
    pub(super) fn keeps(&self, limit: RateLimit) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).limit() == limit
    }

    /// Takes one request, or says when to come again.
    pub(super) fn take(&self, now: MonoMs) -> Result<(), Problem> {
        let mut pace = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ready_at = pace.ready_at();
        if ready_at > now {
            let seconds = u32::try_from(ready_at.since(now).div_ceil(1000)).unwrap_or(u32::MAX);
            let detail = "more requests come than this source takes; nothing was stored, send it again later";
            return Err(Problem::new(ProblemKind::TooManyRequests, detail).retry_after_s(seconds));
        }
        pace.take(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: RateLimit = RateLimit { count: 2, per_ms: 10_000, burst: 2 };

    #[test]
    fn past_the_rate_it_says_when_there_is_room_again() {
        let pace = SharedPace::new(LIMIT);
        let take = |at| pace.take(MonoMs(at)).map_err(|problem| (problem.kind, problem.retry_after_s));
        assert_eq!(take(1000), Ok(()));
        assert_eq!(take(1000), Ok(()));
        assert_eq!(take(1000), Err((ProblemKind::TooManyRequests, Some(5))));
        assert_eq!(take(5999), Err((ProblemKind::TooManyRequests, Some(1))), "what was refused has used up nothing");
        assert_eq!(take(6000), Ok(()));
    }

    #[test]
    fn a_pace_is_kept_for_its_own_rate_alone() {
        let pace = SharedPace::new(LIMIT);
        assert!(pace.keeps(LIMIT));
        for other in
            [RateLimit { count: 3, ..LIMIT }, RateLimit { per_ms: 1, ..LIMIT }, RateLimit { burst: 1, ..LIMIT }]
        {
            assert!(!pace.keeps(other));
        }
    }
}
