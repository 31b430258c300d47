//! What the schemes have in common when they read a request: one value a header, whole seconds, and the window around now.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::refusal::Refusal;

/// A request to verify.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body, byte for byte as it came.
    pub body: &'a [u8],
    /// Now, in seconds since the epoch.
    pub now_secs: u64,
    /// The public URL that the sender called, with its query; only Twilio signs it.
    pub url: Option<&'a str>,
}

impl<'a> Received<'a> {
    /// The value of a header that must be there once.
    pub(super) fn header(&self, name: &HeaderName) -> Result<&'a [u8], Refusal> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().ok_or(Refusal::MissingHeader)?;
        if values.next().is_some() {
            return Err(Refusal::DuplicateHeader);
        }
        Ok(HeaderValue::as_bytes(value))
    }

    /// Refuses a time further than `tolerance_secs` from now; exactly so far is still good.
    pub(super) fn in_window(&self, at_secs: u64, tolerance_secs: u64) -> Result<(), Refusal> {
        if at_secs.saturating_add(tolerance_secs) < self.now_secs {
            Err(Refusal::Stale)
        } else if at_secs > self.now_secs.saturating_add(tolerance_secs) {
            Err(Refusal::Future)
        } else {
            Ok(())
        }
    }
}

/// Reads whole seconds: ASCII digits and nothing else.
pub(super) fn seconds(text: &[u8]) -> Result<u64, Refusal> {
    // `parse` alone would take a leading plus sign.
    if !text.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::MalformedHeader);
    }
    str::from_utf8(text).ok().and_then(|digits| digits.parse().ok()).ok_or(Refusal::MalformedHeader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_are_seconds() {
        assert_eq!(seconds(b"1614265330"), Ok(1_614_265_330));
        for bad in ["", "+1", "-1", " 1", "1 ", "1.0", "1e3", "0x1", "18446744073709551616", "\u{661}"] {
            assert_eq!(seconds(bad.as_bytes()), Err(Refusal::MalformedHeader), "{bad:?}");
        }
    }

    #[test]
    fn the_window_is_closed_at_both_ends_and_never_overflows() {
        let headers = HeaderMap::new();
        let at = |now_secs| Received { headers: &headers, body: b"", now_secs, url: None };
        assert_eq!(at(1000).in_window(700, 300), Ok(()));
        assert_eq!(at(1000).in_window(699, 300), Err(Refusal::Stale));
        assert_eq!(at(1000).in_window(1300, 300), Ok(()));
        assert_eq!(at(1000).in_window(1301, 300), Err(Refusal::Future));
        assert_eq!(at(0).in_window(u64::MAX, 300), Err(Refusal::Future));
        assert_eq!(at(u64::MAX).in_window(0, 300), Err(Refusal::Stale));
        assert_eq!(at(10).in_window(0, 300), Ok(()));
    }
}
