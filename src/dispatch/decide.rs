//! What an outcome means for the delivery and for its endpoint. Pure.

use crate::clock::UnixMs;
use crate::limits::ATTEMPTS_MAX;
use crate::model::delivery::{DeadReason, Progress, Standing};
use crate::model::endpoint::DisabledReason;
use crate::policy::answer::Verdict;
use crate::policy::breaker::Signal;
use crate::policy::retry::RetryPolicy;

/// What is to be done after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// Where the delivery stands now.
    pub(super) standing: Standing,
    /// How far it has come, this attempt included.
    pub(super) progress: Progress,
    /// What it tells of the endpoint.
    pub(super) signal: Signal,
    /// The endpoint is switched off, where the answer asked for it.
    pub(super) disable: Option<DisabledReason>,
    /// So long the whole endpoint waits, in milliseconds.
    pub(super) hold_ms: Option<u64>,
}

/// What came of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    /// The status, where an answer came.
    pub(super) status: Option<u16>,
}

/// What an attempt tells of its endpoint. A status that is permanent, or an abort, is said of the event; so is a 410 of the
/// endpoint, but that is switched off for it anyway.
fn signal(Judged { verdict, status }: Judged) -> Signal {
    match verdict {
        Verdict::Delivered | Verdict::DeliveredLast(_) => Signal::Success,
        Verdict::Retry { .. } if status == Some(429) => Signal::Limited,
        Verdict::Retry { .. } => Signal::Failure,
        Verdict::Dead(_) | Verdict::Disable(_) => Signal::Nothing,
    }
}

/// Decides by the verdict on an attempt. `before` is how far the delivery had come before it; `random` lies in 0 .. 1.
pub(super) fn decide(judged: Judged, policy: &RetryPolicy, before: Progress, random: f64, now: UnixMs) -> Decision {
    let verdict = judged.verdict;
    let progress = Progress { tries: before.tries.saturating_add(1), made: before.made.saturating_add(1) };
    let wait = |hint_ms| {
        if progress.made >= ATTEMPTS_MAX {
            return Standing::Dead(DeadReason::Exhausted);
        }
        match policy.wait_ms(progress.tries, hint_ms, random) {
            Some(wait_ms) => Standing::Pending { next_at: now.plus_ms(wait_ms) },
            None => Standing::Dead(DeadReason::Exhausted),
        }
    };
    let (standing, disable, hold_ms) = match verdict {
        Verdict::Delivered => (Standing::Delivered, None, None),
        Verdict::DeliveredLast(reason) => (Standing::Delivered, Some(reason), None),
        Verdict::Retry { hint_ms, hold_endpoint } => {
            (wait(hint_ms), None, hold_endpoint.then(|| policy.hold_ms(hint_ms)))
        }
        Verdict::Dead(reason) => (Standing::Dead(reason), None, None),
        // The delivery waits for the endpoint to be resumed: it is due then, and its schedule has not run.
        Verdict::Disable(reason) => (Standing::Pending { next_at: now }, Some(reason), None),
    };
    let progress = match verdict {
        Verdict::Disable(_) => Progress { tries: before.tries, ..progress },
        _ => progress,
    };
    Decision { standing, progress, signal: signal(judged), disable, hold_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_000_000);

    fn policy() -> RetryPolicy {
        RetryPolicy { waits_ms: vec![5_000, 300_000], jitter: 0.0, retry_after_ms_max: 60_000 }
    }

    fn after(verdict: Verdict, tries: u16, made: u16) -> Decision {
        let judged = Judged { verdict, status: Some(500) };
        decide(judged, &policy(), Progress { tries, made }, 0.5, NOW)
    }

    const RETRY: Verdict = Verdict::Retry { hint_ms: None, hold_endpoint: false };

    #[test]
    fn failures_follow_the_schedule_and_then_the_delivery_is_dead() {
        assert_eq!(after(RETRY, 0, 0).standing, Standing::Pending { next_at: NOW.plus_ms(5_000) });
        assert_eq!(after(RETRY, 1, 1).standing, Standing::Pending { next_at: NOW.plus_ms(300_000) });
        assert_eq!(after(RETRY, 2, 2).standing, Standing::Dead(DeadReason::Exhausted));
        assert_eq!(after(RETRY, 2, 2).progress, Progress { tries: 3, made: 3 });
    }

    #[test]
    fn after_a_replay_the_schedule_starts_anew_and_the_attempts_count_on() {
        let decision = after(RETRY, 0, 3);
        assert_eq!(decision.standing, Standing::Pending { next_at: NOW.plus_ms(5_000) });
        assert_eq!(decision.progress, Progress { tries: 1, made: 4 });
        assert_eq!(after(RETRY, 0, ATTEMPTS_MAX - 1).standing, Standing::Dead(DeadReason::Exhausted));
    }

    #[test]
    fn a_429_holds_the_endpoint_as_well() {
        let decision = after(Verdict::Retry { hint_ms: Some(20_000), hold_endpoint: true }, 0, 0);
        assert_eq!(decision.standing, Standing::Pending { next_at: NOW.plus_ms(20_000) });
        assert_eq!(decision.hold_ms, Some(20_000));
    }

    #[test]
    fn a_410_disables_the_endpoint_and_the_delivery_waits_without_using_up_its_schedule() {
        let decision = after(Verdict::Disable(DisabledReason::Gone), 2, 2);
        assert_eq!(decision.standing, Standing::Pending { next_at: NOW });
        assert_eq!(decision.progress, Progress { tries: 2, made: 3 });
        assert_eq!(decision.disable, Some(DisabledReason::Gone));
    }

    #[test]
    fn what_is_said_of_the_event_is_not_held_against_the_endpoint() {
        let of = |verdict, status| signal(Judged { verdict, status });
        assert_eq!(of(RETRY, None), Signal::Failure);
        assert_eq!(of(RETRY, Some(503)), Signal::Failure);
        assert_eq!(of(RETRY, Some(429)), Signal::Limited);
        assert_eq!(of(Verdict::Dead(DeadReason::Permanent), Some(422)), Signal::Nothing);
        assert_eq!(of(Verdict::Delivered, Some(200)), Signal::Success);
        assert_eq!(of(Verdict::DeliveredLast(DisabledReason::Asked), Some(200)), Signal::Success);
    }
}
