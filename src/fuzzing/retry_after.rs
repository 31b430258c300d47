//! `retry_after`: a status on the first line, `Retry-After` on the second, `webhook-delivery` on the third.

use crate::clock::UnixMs;
use crate::policy::answer::{Verdict, judge};
use crate::policy::retry::RetryPolicy;

/// No answer of an endpoint makes a wait longer than its policy allows, and seconds are read as what they say.
pub fn retry_after(data: &[u8]) {
    const NOW: UnixMs = UnixMs(1_700_000_000_000);
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let status = parts.next().and_then(|text| str::from_utf8(text).ok()).and_then(|text| text.parse().ok());
    let (said, word) = (parts.next(), parts.next());
    let status: u16 = status.unwrap_or(503);
    let verdict = judge(status, said, word, &[400, 422], NOW);
    assert_eq!(verdict, judge(status, said, word, &[400, 422], NOW), "the same answer means the same");
    let Verdict::Retry { hint_ms, hold_endpoint } = verdict else { return };
    assert!(!(200..300).contains(&status), "a 2xx has taken the event");
    assert_eq!(hold_endpoint, status == 429 || hint_ms.is_some());
    assert!(hint_ms.is_none() || matches!(status, 429 | 503), "only these two are asked when to come back");

    let text = said.map(<[u8]>::trim_ascii).filter(|text| !text.is_empty() && text.iter().all(u8::is_ascii_digit));
    if let (Some(digits), true) = (text, matches!(status, 429 | 503)) {
        let digits = digits.iter().skip_while(|digit| **digit == b'0');
        // A number past 20 digits is past the type as well.
        let secs = digits.take(21).fold(0_u128, |secs, digit| secs * 10 + u128::from(digit - b'0'));
        let expected = u64::try_from(secs).unwrap_or(u64::MAX).saturating_mul(1000);
        assert_eq!(hint_ms, Some(expected));
    }

    let policy = RetryPolicy::default();
    for tries in 1..=10 {
        for random in [0.0, 0.5, 0.999_999] {
            let Some(wait_ms) = policy.wait_ms(tries, hint_ms, random) else { continue };
            let longest_ms = policy.waits_ms[usize::from(tries) - 1] * 2;
            assert!(wait_ms <= longest_ms.max(policy.retry_after_ms_max), "{wait_ms} ms after {tries} tries");
            assert!(wait_ms >= hint_ms.unwrap_or(0).min(policy.retry_after_ms_max), "sooner than it was asked for");
        }
    }
    assert!(policy.hold_ms(hint_ms) <= policy.waits_ms[0].max(policy.retry_after_ms_max));
}
