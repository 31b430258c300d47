//! What an answer means.

use super::retry::parse_retry_after;
use crate::clock::UnixMs;
use crate::model::delivery::DeadReason;
use crate::model::endpoint::DisabledReason;

/// What is to become of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Delivered,
    /// Done, and the endpoint wants no more deliveries after this one.
    DeliveredLast(DisabledReason),
    /// Try again on the schedule.
    Retry {
        /// `Retry-After`, in milliseconds from now.
        hint_ms: Option<u64>,
        /// True for a 429 and for a 503 with a `Retry-After`: the whole endpoint waits, not this delivery alone.
        hold_endpoint: bool,
    },
    /// Nobody tries any more.
    Dead(DeadReason),
    /// The endpoint wants no more deliveries; this one stays pending.
    Disable(DisabledReason),
}

/// Judges an endpoint's answer by its status, its headers `retry-after` and `webhook-delivery`, and the endpoint's
/// `permanent` statuses. In this order:
///
/// 1. A 2xx has taken the event, whatever else it says: `webhook-delivery: disable` disables the endpoint besides,
///    `abort-message` has nothing left to abort.
/// 2. 410, or `webhook-delivery: disable`: the endpoint is disabled. This is said of the endpoint, so it goes before
///    what concerns the delivery alone, also where 410 is listed as permanent: the delivery waits for a resume
///    instead of dying of it.
/// 3. `webhook-delivery: abort-message`, then a permanent status: dead at once.
/// 4. 429 and 503 honour `retry-after`. It is said of the endpoint, so the whole of it waits; a 429 without one holds it too.
/// 5. Everything else, a 3xx too, is tried again.
///
/// The word of `webhook-delivery` is read without regard to case; words it does not know are ignored, as is a malformed
/// `retry-after`.
#[must_use]
pub fn judge(
    status: u16,
    retry_after: Option<&[u8]>,
    webhook_delivery: Option<&[u8]>,
    permanent: &[u16],
    now: UnixMs,
) -> Verdict {
    let says =
        |word: &str| webhook_delivery.is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(word.as_bytes()));
    let disable = says("disable");
    match status {
        200..=299 if disable => Verdict::DeliveredLast(DisabledReason::Asked),
        200..=299 => Verdict::Delivered,
        410 => Verdict::Disable(DisabledReason::Gone),
        _ if disable => Verdict::Disable(DisabledReason::Asked),
        _ if says("abort-message") => Verdict::Dead(DeadReason::Aborted),
        _ if permanent.contains(&status) => Verdict::Dead(DeadReason::Permanent),
        _ => {
            let said = retry_after.filter(|_| matches!(status, 429 | 503));
            let hint_ms = said.and_then(|value| parse_retry_after(value, now));
            Verdict::Retry { hint_ms, hold_endpoint: status == 429 || hint_ms.is_some() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Verdict = Verdict::Retry { hint_ms: None, hold_endpoint: false };

    fn answer(status: u16) -> Verdict {
        judge(status, None, None, &[], UnixMs(0))
    }

    fn answer_saying(status: u16, word: &str) -> Verdict {
        judge(status, None, Some(word.as_bytes()), &[], UnixMs(0))
    }

    #[test]
    fn every_2xx_is_a_success_and_nothing_else_is() {
        for status in 0..=u16::MAX {
            assert_eq!(answer(status) == Verdict::Delivered, (200..300).contains(&status), "{status}");
        }
    }

    #[test]
    fn what_is_no_success_is_tried_again() {
        for status in
            [100, 199, 300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 409, 411, 422, 500, 502, 503, 504, 599]
        {
            assert_eq!(answer(status), RETRY, "{status}");
        }
        assert_eq!(answer(429), Verdict::Retry { hint_ms: None, hold_endpoint: true });
    }

    #[test]
    fn retry_after_counts_for_429_and_503_alone_and_holds_the_endpoint() {
        let with = |status, value: &str| judge(status, Some(value.as_bytes()), None, &[], UnixMs(0));
        assert_eq!(with(429, "7"), Verdict::Retry { hint_ms: Some(7_000), hold_endpoint: true });
        assert_eq!(with(503, "7"), Verdict::Retry { hint_ms: Some(7_000), hold_endpoint: true });
        assert_eq!(with(503, "soon"), RETRY);
        assert_eq!(with(500, "7"), RETRY);
        assert_eq!(with(301, "7"), RETRY);
    }

    #[test]
    fn gone_and_disable_disable_the_endpoint() {
        assert_eq!(answer(410), Verdict::Disable(DisabledReason::Gone));
        assert_eq!(answer_saying(410, "disable"), Verdict::Disable(DisabledReason::Gone));
        assert_eq!(answer_saying(410, "abort-message"), Verdict::Disable(DisabledReason::Gone));
        assert_eq!(answer_saying(500, " Disable "), Verdict::Disable(DisabledReason::Asked));
        assert_eq!(judge(410, None, None, &[410], UnixMs(0)), Verdict::Disable(DisabledReason::Gone));
        assert_eq!(judge(400, None, Some(b"disable"), &[400], UnixMs(0)), Verdict::Disable(DisabledReason::Asked));
    }

    #[test]
    fn a_success_stays_one_whatever_the_header_says() {
        assert_eq!(answer_saying(200, "disable"), Verdict::DeliveredLast(DisabledReason::Asked));
        assert_eq!(answer_saying(204, "abort-message"), Verdict::Delivered);
        assert_eq!(judge(200, None, None, &[200], UnixMs(0)), Verdict::Delivered);
    }

    #[test]
    fn aborted_and_permanent_deliveries_are_dead() {
        assert_eq!(answer_saying(500, "abort-message"), Verdict::Dead(DeadReason::Aborted));
        assert_eq!(answer_saying(429, "ABORT-MESSAGE"), Verdict::Dead(DeadReason::Aborted));
        assert_eq!(judge(422, None, None, &[400, 422], UnixMs(0)), Verdict::Dead(DeadReason::Permanent));
        assert_eq!(judge(404, None, None, &[400, 422], UnixMs(0)), RETRY);
    }

    #[test]
    fn unknown_words_are_ignored() {
        for word in ["", "disabled", "disable, abort-message", "abort", "\u{e9}"] {
            assert_eq!(answer_saying(500, word), RETRY, "{word:?}");
        }
    }
}
