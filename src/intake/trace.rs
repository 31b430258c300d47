//! `traceparent`: the producer's trace context, passed on with each attempt (W3C Trace Context, section 3.2).

use crate::limits::TRACEPARENT_BYTES_MAX;

/// The value if it is a `traceparent`; a malformed one is ignored, as the recommendation asks.
#[must_use]
pub fn traceparent(text: &str) -> Option<Box<str>> {
    fn hex(part: &str, digits: usize) -> bool {
        part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }
    let text = text.trim_matches([' ', '\t']);
    if text.len() > TRACEPARENT_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut parts = text.splitn(5, '-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let shaped = hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    let more_than_version_00_has = version == "00" && parts.next().is_some();
    let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let fits = shaped && version != "ff" && !more_than_version_00_has && !zero(trace) && !zero(parent);
    fits.then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_ones_are_kept() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(traceparent(&format!(" {good} ")).as_deref(), Some(good));
        assert!(traceparent("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes").is_some());
        let bad = [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        ];
        for text in bad {
            assert_eq!(traceparent(text), None, "{text}");
        }
    }
}
