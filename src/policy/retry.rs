//! When to try again.

use std::time::UNIX_EPOCH;

use crate::clock::UnixMs;

const SECOND_MS: u64 = 1000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// The waits between attempts that the contract gives as default, in milliseconds: ten attempts in some 75 hours.
pub const DEFAULT_WAITS_MS: [u64; 9] = [
    5 * SECOND_MS,
    5 * MINUTE_MS,
    30 * MINUTE_MS,
    2 * HOUR_MS,
    5 * HOUR_MS,
    10 * HOUR_MS,
    14 * HOUR_MS,
    20 * HOUR_MS,
    24 * HOUR_MS,
];
/// The contract's default jitter.
pub const DEFAULT_JITTER: f64 = 0.2;
/// The contract's default for the longest `Retry-After` that is honoured, in milliseconds.
pub const DEFAULT_RETRY_AFTER_MS_MAX: u64 = 24 * HOUR_MS;

/// A retry schedule with its jitter.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Waits between attempts, in milliseconds.
    pub waits_ms: Vec<u64>,
    /// Each wait is multiplied by a random factor in 1 ± jitter (0 ..= 1).
    pub jitter: f64,
    /// The longest `Retry-After` that is honoured, in milliseconds.
    pub retry_after_ms_max: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            waits_ms: DEFAULT_WAITS_MS.to_vec(),
            jitter: DEFAULT_JITTER,
            retry_after_ms_max: DEFAULT_RETRY_AFTER_MS_MAX,
        }
    }
}

impl RetryPolicy {
    /// The wait in milliseconds after the `tries`-th attempt has failed; `None`: the schedule has run out.
    ///
    /// `tries` counts the attempts since the delivery was accepted or last replayed, the failed one included. `hint_ms`
    /// is the endpoint's `Retry-After`, which can lengthen a wait, up to [`RetryPolicy::retry_after_ms_max`], but
    /// neither shorten nor add one. `random` lies in 0 .. 1.
    #[must_use]
    pub fn wait_ms(&self, tries: u16, hint_ms: Option<u64>, random: f64) -> Option<u64> {
        let wait_ms = self.waits_ms.get(usize::from(tries).saturating_sub(1))?;
        let factor = 1.0 + self.jitter.clamp(0.0, 1.0) * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        // Waits lie far below 2^53, up to which a float is an exact integer; the cast saturates beyond its range.
        let jittered_ms = (*wait_ms as f64 * factor).round() as u64;
        Some(jittered_ms.max(self.honoured_ms(hint_ms)))
    }

    /// How long a 429 holds the whole endpoint, in milliseconds: the hint, capped, and at least the first wait of the
    /// schedule. The wait of the delivery that met the 429 would not do: late in its schedule it is a day, and its
    /// neighbours would stand still for it.
    #[must_use]
    pub fn hold_ms(&self, hint_ms: Option<u64>) -> u64 {
        self.waits_ms.first().copied().unwrap_or(DEFAULT_WAITS_MS[0]).max(self.honoured_ms(hint_ms))
    }

    /// How long the schedule lasts from the first attempt to the last, in milliseconds, without jitter and hints.
    #[must_use]
    pub fn span_ms(&self) -> u64 {
        self.waits_ms.iter().fold(0, |span, wait| span.saturating_add(*wait))
    }

    fn honoured_ms(&self, hint_ms: Option<u64>) -> u64 {
        hint_ms.unwrap_or(0).min(self.retry_after_ms_max)
    }
}

/// Reads a `Retry-After` header (RFC 9110, section 10.2.3: seconds or an HTTP-date) as milliseconds from `now`.
///
/// A date that is past gives 0, a number too big for the type the biggest one; anything malformed gives `None`.
#[must_use]
pub fn parse_retry_after(value: &[u8], now: UnixMs) -> Option<u64> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let secs =
            text.bytes().fold(0_u64, |secs, digit| secs.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
        return Some(secs.saturating_mul(SECOND_MS));
    }
    let since_epoch = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let at = UnixMs(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX));
    Some(at.since(now))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::RETRY_WAIT_MS_MAX;

    #[test]
    fn the_default_schedule_is_the_contracts() {
        let policy = RetryPolicy::default();
        let waits: Vec<u64> = (1..=9).filter_map(|tries| policy.wait_ms(tries, None, 0.5)).collect();
        assert_eq!(waits, DEFAULT_WAITS_MS, "in the middle of the jitter stands the schedule itself");
        assert_eq!(policy.wait_ms(10, None, 0.5), None);
        assert_eq!(policy.span_ms(), 75 * HOUR_MS + 35 * MINUTE_MS + 5 * SECOND_MS);
    }

    #[test]
    fn jitter_reaches_from_end_to_end() {
        let policy = RetryPolicy { waits_ms: vec![10_000], jitter: 0.2, retry_after_ms_max: 0 };
        assert_eq!(policy.wait_ms(1, None, 0.0), Some(8_000));
        assert_eq!(policy.wait_ms(1, None, 0.75), Some(11_000));
        assert_eq!(policy.wait_ms(1, None, 1.0), Some(12_000));
        let still = RetryPolicy { jitter: 0.0, ..policy };
        assert_eq!(still.wait_ms(1, None, 0.0), Some(10_000));
    }

    #[test]
    fn a_hint_lengthens_a_wait_up_to_its_cap_and_adds_none() {
        let policy = RetryPolicy { waits_ms: vec![10_000], jitter: 0.0, retry_after_ms_max: 60_000 };
        assert_eq!(policy.wait_ms(1, Some(3_000), 0.5), Some(10_000), "not shorter than the schedule");
        assert_eq!(policy.wait_ms(1, Some(30_000), 0.5), Some(30_000));
        assert_eq!(policy.wait_ms(1, Some(u64::MAX), 0.5), Some(60_000));
        assert_eq!(policy.wait_ms(2, Some(30_000), 0.5), None);
    }

    #[test]
    fn a_hold_does_not_grow_with_the_schedule() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.hold_ms(None), 5_000);
        assert_eq!(policy.hold_ms(Some(1_000)), 5_000);
        assert_eq!(policy.hold_ms(Some(60_000)), 60_000);
        assert_eq!(policy.hold_ms(Some(u64::MAX)), DEFAULT_RETRY_AFTER_MS_MAX);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UnixMs(784_111_777_000);
        let parse = |text: &str| parse_retry_after(text.as_bytes(), now);
        assert_eq!(parse("120"), Some(120_000));
        assert_eq!(parse(" 0\t"), Some(0));
        assert_eq!(parse("99999999999999999999999999"), Some(u64::MAX));
        assert_eq!(parse("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60_000));
        assert_eq!(parse("Sunday, 06-Nov-94 08:49:38 GMT"), Some(1_000), "the obsolete forms are read too");
        assert_eq!(parse("Sun Nov  6 08:49:39 1994"), Some(2_000));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:36 GMT"), Some(0), "past");
    }

    #[test]
    fn a_malformed_retry_after_is_ignored() {
        for bad in
            ["", " ", "-1", "+5", "1.5", "5s", "1e3", "0x10", "soon", "1,2", "1 2", "Sun, 31 Feb 1994 08:49:37 GMT"]
        {
            assert_eq!(parse_retry_after(bad.as_bytes(), UnixMs(0)), None, "{bad:?}");
        }
        assert_eq!(parse_retry_after(b"12\xff", UnixMs(0)), None);
        assert_eq!(parse_retry_after("١٢".as_bytes(), UnixMs(0)), None, "digits are ASCII digits");
    }

    proptest! {
        #[test]
        fn a_wait_lies_between_its_bounds(
            wait in 0..=RETRY_WAIT_MS_MAX, jitter in 0.0..=1.0_f64, random in 0.0..1.0_f64,
            hint in prop::option::of(any::<u64>()), cap in 0..=RETRY_WAIT_MS_MAX,
        ) {
            let policy = RetryPolicy { waits_ms: vec![wait], jitter, retry_after_ms_max: cap };
            let got = policy.wait_ms(1, hint, random).unwrap();
            let honoured = hint.unwrap_or(0).min(cap);
            prop_assert!(got >= honoured);
            prop_assert!(got as f64 >= (wait as f64 * (1.0 - jitter)).floor());
            prop_assert!(got <= honoured.max((wait as f64 * (1.0 + jitter)).ceil() as u64));
        }

        #[test]
        fn no_retry_after_panics(value in prop::collection::vec(any::<u8>(), 0..40), now in any::<u64>()) {
            let _ = parse_retry_after(&value, UnixMs(now));
        }

        #[test]
        fn no_date_panics(
            text in "(Mon|Fri|Sunday), [0-9]{2}[ -](Jan|Feb|Dec)[ -][0-9]{2,4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
            now in any::<u64>(),
        ) {
            let _ = parse_retry_after(text.as_bytes(), UnixMs(now));
        }
    }
}
