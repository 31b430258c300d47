//! Why a received request is refused: a closed set of words, fit for a metric's label.

use thiserror::Error;

/// Why a received request is refused. The word goes into the log and a metric, never into the answer: it would help a
/// forger more than a sender.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// A header that the scheme needs is not there.
    #[error("a header of the signature is missing")]
    MissingHeader,
    /// A header of the scheme is there more than once, so that two readers could see two values.
    #[error("a header of the signature is there more than once")]
    DuplicateHeader,
    /// A header of the scheme cannot be read: no number, no hex, no base64, the wrong prefix or length.
    #[error("a header of the signature cannot be read")]
    MalformedHeader,
    /// The body cannot be read as the form fields that were signed.
    #[error("the body cannot be read as the fields that were signed")]
    MalformedBody,
    /// The timestamp is older than the tolerance allows.
    #[error("the timestamp is too old")]
    Stale,
    /// The timestamp is further ahead than the tolerance allows.
    #[error("the timestamp lies in the future")]
    Future,
    /// The scheme signs the public URL, and it was not given or is no http(s) URL.
    #[error("the public URL that was signed is not known")]
    UnknownUrl,
    /// Readable, but no secret fits.
    #[error("the signature fits no secret")]
    Mismatch,
}

impl Refusal {
    /// Every refusal there is.
    pub const ALL: [Self; 8] = [
        Self::MissingHeader,
        Self::DuplicateHeader,
        Self::MalformedHeader,
        Self::MalformedBody,
        Self::Stale,
        Self::Future,
        Self::UnknownUrl,
        Self::Mismatch,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingHeader => "missing_header",
            Self::DuplicateHeader => "duplicate_header",
            Self::MalformedHeader => "malformed_header",
            Self::MalformedBody => "malformed_body",
            Self::Stale => "stale",
            Self::Future => "future",
            Self::UnknownUrl => "unknown_url",
            Self::Mismatch => "mismatch",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_refusal_has_a_word_of_its_own() {
        let words: BTreeSet<_> = Refusal::ALL.iter().map(|refusal| refusal.as_str()).collect();
        assert_eq!(words.len(), Refusal::ALL.len());
        assert!(words.iter().all(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }
}
