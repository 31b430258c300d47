//! Query strings, percent-encoding, and moments as people write them.

use std::borrow::Cow;

use crate::clock::UnixMs;
use crate::config::units::parse_duration_ms;
use crate::front::problem::{Problem, ProblemKind, quoted};
use crate::limits;

/// The text behind percent-encoding (RFC 3986, section 2.1); with `form`, `+` means a space (as HTML forms send it).
/// `None` for a malformed escape, or where the bytes are no UTF-8.
#[must_use]
pub fn percent_decode(text: &str, form: bool) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|byte| byte == b'%' || (form && byte == b'+')) {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                out.push(u8::try_from(high * 16 + low).ok()?);
            }
            b'+' if form => out.push(b' '),
            _ => out.push(byte),
        }
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// The parameters of a query string: each one known, none twice.
#[derive(Debug)]
pub struct Query<'a> {
    given: Vec<(&'static str, Cow<'a, str>)>,
}

impl<'a> Query<'a> {
    /// Reads a query string that may have the parameters in `known`.
    ///
    /// # Errors
    /// 400 naming the parameter that is unknown, repeated or malformed.
    pub fn parse(query: Option<&'a str>, known: &[&'static str]) -> Result<Self, Problem> {
        let query = query.unwrap_or_default();
        if query.len() > limits::QUERY_BYTES_MAX {
            return Err(invalid(format!("the query string is longer than {} bytes", limits::QUERY_BYTES_MAX)));
        }
        let mut given: Vec<(&'static str, Cow<'a, str>)> = Vec::with_capacity(known.len());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = percent_decode(name, true).zip(percent_decode(value, true));
            let Some((name, value)) = decoded else {
                return Err(invalid(format!("the query parameter {} is not percent-encoded UTF-8", quoted(name))));
            };
            let Some(known) = known.iter().find(|known| **known == name) else {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(invalid(format!("the query parameter {} is unknown; known are: {known}", quoted(&name))));
            };
            if given.iter().any(|(name, _)| name == known) {
                return Err(invalid(format!("the query parameter {known} is given twice")));
            }
            given.push((*known, value));
        }
        Ok(Self { given })
    }

    /// The value of a parameter; an empty one counts as none.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.given.iter().find(|(given, _)| *given == name).map(|(_, value)| &**value)?;
        (!value.is_empty()).then_some(value)
    }

    /// The value of a parameter, read by `parse`.
    ///
    /// # Errors
    /// 400 with the parameter's name and what `parse` says.
    pub fn read<T, E: std::fmt::Display>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        parse(value).map(Some).map_err(|error| invalid(format!("the query parameter {name}={} {error}", quoted(value))))
    }
}

fn invalid(detail: String) -> Problem {
    Problem::new(ProblemKind::InvalidParameter, detail)
}

/// A moment in the past: RFC 3339, or how long ago, such as `15m`, `2h`, `7d`.
///
/// # Errors
/// What would do instead.
pub fn moment(text: &str, now: UnixMs) -> Result<UnixMs, &'static str> {
    if let Ok(ago_ms) = parse_duration_ms(text) {
        return Ok(UnixMs(now.0.saturating_sub(ago_ms)));
    }
    // A "+" that nobody has percent-encoded arrives as a space.
    let text = text.replace(' ', "+");
    rfc3339(&text)
        .ok_or("is no moment; write RFC 3339 such as 2026-11-20T09:30:00Z, or how long ago, such as 15m, 2h, 7d")
}

/// Whether a text has the shape of RFC 3339's `date-time`. The parser behind [`UnixMs`] takes more, and what is passed on
/// to receivers as it came must be the real thing.
#[must_use]
pub fn is_rfc3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some((head, rest)) = bytes.split_at_checked(19) else { return false };
    let shape = b"dddd-dd-ddTdd:dd:dd";
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'd' => byte.is_ascii_digit(),
        _ => byte.eq_ignore_ascii_case(shape),
    };
    if !head.iter().zip(shape).all(fits) {
        return false;
    }
    let offset = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
        None => rest,
    };
    let shaped = match offset {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    };
    shaped && text.parse::<jiff::Timestamp>().is_ok()
}

/// The moment of an RFC 3339 text; `None` for anything else and for times before 1970.
#[must_use]
pub fn rfc3339(text: &str) -> Option<UnixMs> {
    if is_rfc3339(text) { UnixMs::parse_rfc3339(text) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone() {
        assert_eq!(percent_decode("a%2Fb%20c+d%c3%BC", false).as_deref(), Some("a/b c+dü"));
        assert_eq!(percent_decode("a+b", true).as_deref(), Some("a b"));
        for bad in ["%", "%2", "%zz", "%+1", "%ff"] {
            assert_eq!(percent_decode(bad, false), None, "{bad}");
        }
    }

    #[test]
    fn unknown_repeated_and_malformed_parameters_are_named() {
        let known = ["id", "key"];
        let query = Query::parse(Some("id=a%20b&&key="), &known).unwrap();
        assert_eq!((query.get("id"), query.get("key")), (Some("a b"), None));
        for (text, named) in [("ID=1", "\"ID\""), ("id=1&id=2", "id"), ("key=%zz", "\"key\""), ("x", "\"x\"")] {
            let problem = Query::parse(Some(text), &known).unwrap_err();
            assert_eq!(problem.kind, ProblemKind::InvalidParameter);
            assert!(problem.detail.contains(&format!("parameter {named}")), "{}", problem.detail);
        }
        let long = "&".repeat(limits::QUERY_BYTES_MAX + 1);
        assert!(Query::parse(Some(&long), &known).is_err());
    }

    #[test]
    fn moments_are_dates_or_spans_ago() {
        let now = UnixMs(1_614_265_330_000);
        assert_eq!(moment("15m", now), Ok(UnixMs(now.0 - 900_000)));
        assert_eq!(moment("2021-02-25T15:02:10Z", now), Ok(now));
        assert_eq!(moment("2021-02-25T16:02:10 01:00", now), Ok(now), "an unencoded plus");
        assert!(moment("yesterday", now).is_err());
        assert_eq!(moment("99999999d", now), Ok(UnixMs(0)));
    }

    #[test]
    fn only_rfc_3339_is_passed_on() {
        let good = [
            "1985-04-12T23:20:50.52Z",
            "1996-12-19T16:39:57-08:00",
            "1990-12-31T23:59:60Z",
            "1937-01-01T12:00:27.87+00:20",
            "2026-01-01t00:00:00z",
        ];
        for text in good {
            assert!(is_rfc3339(text), "{text}");
        }
        let bad = [
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-01-01 00:00:00Z",
            "20260101T000000Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-01-01T00:00:00+01",
            "2026-01-01T00:00:00Z[UTC]",
            "2026-01-01T24:00:00Z",
            "",
            "ü026-01-01T00:00:00Z",
            "1614265330",
        ];
        for text in bad {
            assert!(!is_rfc3339(text), "{text}");
        }
        assert_eq!(rfc3339("1937-01-01T12:00:27Z"), None, "before 1970");
    }
}
