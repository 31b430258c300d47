//! Moments and spans as people type and read them.

use crate::clock::UnixMs;
use crate::config::units::parse_duration_ms;

/// Most milliseconds that a span may name: a hundred years, so that no sum with a moment overflows.
const SPAN_MS_MAX: u64 = 100 * 366 * 24 * 3600 * 1000;

/// A moment on the command line: a fixed one, or a span from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// RFC 3339, or a date at 00:00 UTC.
    At(UnixMs),
    /// So many milliseconds before or after now, as the option means it.
    Span(u64),
}

impl Moment {
    /// Reads `2026-11-20T09:30:00Z`, `2026-11-20` or `2h`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(ms) = span_ms(text) {
            return Ok(Self::Span(ms));
        }
        let date =
            |text: &str| (text.len() == 10).then(|| UnixMs::parse_rfc3339(&format!("{text}T00:00:00Z"))).flatten();
        match UnixMs::parse_rfc3339(text).or_else(|| date(text)) {
            Some(at) => Ok(Self::At(at)),
            None => Err(
                "expected a time such as 2026-11-20T09:30:00Z, a date (00:00 UTC), or a span such as 90s, 15m, 2h, 7d"
                    .to_owned(),
            ),
        }
    }

    /// The moment, a span being counted back from `now`.
    pub(super) fn past(self, now: UnixMs) -> UnixMs {
        match self {
            Self::At(at) => at,
            Self::Span(ms) => UnixMs(now.0.saturating_sub(ms)),
        }
    }

    /// The moment, a span being counted onwards from `now`.
    pub(super) fn future(self, now: UnixMs) -> UnixMs {
        match self {
            Self::At(at) => at,
            Self::Span(ms) => now.plus_ms(ms),
        }
    }
}

/// Reads a span such as `250ms`, `5s`, `2h`; for clap.
pub(super) fn parse_span_ms(text: &str) -> Result<u64, String> {
    span_ms(text).ok_or_else(|| "expected a span such as 250ms, 5s, 2m, 1h".to_owned())
}

fn span_ms(text: &str) -> Option<u64> {
    parse_duration_ms(text).ok().filter(|ms| *ms <= SPAN_MS_MAX)
}

/// A span for reading: `3 ms`, `1.2 s`, `5 min`, `2 h 30 min`, `3 d`.
pub(super) fn spoken_span(ms: u64) -> String {
    let (seconds, minutes, hours, days) = (ms / 1000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    let two = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big} {big_unit}"),
        _ => format!("{big} {big_unit} {small} {small_unit}"),
    };
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..10_000 => format!("{}.{} s", seconds, ms % 1000 / 100),
        10_000..120_000 => format!("{seconds} s"),
        120_000..3_600_000 => format!("{minutes} min"),
        3_600_000..86_400_000 => two(hours, "h", minutes % 60, "min"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

/// A moment of the API (RFC 3339 in UTC with milliseconds) in short: the time alone where it lies within the day of `now`.
pub(super) fn short_moment(at: &str, now: UnixMs) -> String {
    let Some(moment) = UnixMs::parse_rfc3339(at) else { return at.to_owned() };
    let text = moment.to_string();
    let today = now.to_string();
    match (text.split_once('T'), today.split_once('T')) {
        (Some((date, time)), Some((day, _))) if date == day => time.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_in_the_config() {
        assert_eq!(parse_span_ms("250ms"), Ok(250));
        assert_eq!(parse_span_ms("5s"), Ok(5000));
        assert_eq!(parse_span_ms("0s"), Ok(0));
        assert_eq!(parse_span_ms("7d"), Ok(7 * 86_400_000));
        for bad in ["", "5", "s", "-5s", "1.5s", "5 s", "5S", "99999999999999999999s", "5000000d", "5é"] {
            assert!(parse_span_ms(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn moments_are_times_dates_and_spans() {
        let now = UnixMs(1_614_265_330_000);
        assert_eq!(Moment::parse("2h").unwrap().past(now), UnixMs(now.0 - 7_200_000));
        assert_eq!(Moment::parse("2h").unwrap().future(now), UnixMs(now.0 + 7_200_000));
        assert_eq!(Moment::parse("2021-02-25T15:02:10Z").unwrap().past(now), now);
        assert_eq!(Moment::parse("2021-02-25").unwrap().past(now), UnixMs(1_614_211_200_000));
        for bad in ["yesterday", "2021-02-25T15:02:10", "2021-2-25", "", "2021-02-30", "ééééé"] {
            assert!(Moment::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_are_spoken_in_units_that_fit() {
        let spoken = [0, 999, 1200, 59_999, 120_000, 3_600_000, 9_000_000, 90_000_000].map(spoken_span);
        assert_eq!(spoken, ["0 ms", "999 ms", "1.2 s", "59 s", "2 min", "1 h", "2 h 30 min", "1 d 1 h"]);
    }

    #[test]
    fn a_moment_of_today_needs_no_date() {
        let now = UnixMs(1_614_265_330_000);
        assert_eq!(short_moment("2021-02-25T01:00:00.500Z", now), "01:00:00.500Z");
        assert_eq!(short_moment("2021-02-24T23:59:59.000Z", now), "2021-02-24T23:59:59.000Z");
        assert_eq!(short_moment("soon", now), "soon");
    }
}
