//! Short texts with a rule each: names, ids, types, keys. Parsed once, shared cheaply, never empty.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::delivery::KeyHash;
use crate::limits;

/// Why a text is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TextError {
    /// Nothing was given.
    #[error("must not be empty")]
    Empty,
    /// Longer than the limit.
    #[error("has {len} bytes, at most {max} are allowed")]
    TooLong {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A character outside the allowed set.
    #[error("has the character {found:?} at byte {at}; allowed are {allowed}")]
    Character {
        /// The character.
        found: char,
        /// Its byte position.
        at: usize,
        /// What would do.
        allowed: &'static str,
    },
}

fn check(text: &str, max: usize, allowed: &'static str, fits: fn(char) -> bool) -> Result<(), TextError> {
    if text.is_empty() {
        return Err(TextError::Empty);
    }
    if text.len() > max {
        return Err(TextError::TooLong { len: text.len(), max });
    }
    match text.char_indices().find(|(_, c)| !fits(*c)) {
        Some((at, found)) => Err(TextError::Character { found, at, allowed }),
        None => Ok(()),
    }
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, max $max:expr, allowed $allowed:expr, $fits:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a text that follows the rule.
            ///
            /// # Errors
            /// Says which part of the rule the text breaks.
            pub fn parse(text: &str) -> Result<Self, TextError> {
                check(text, $max, $allowed, $fits)?;
                Ok(Self(text.into()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }
    };
}

text! {
    /// The id of an event, the same on every attempt (`webhook-id`). Visible ASCII without `.`: Standard Webhooks signs
    /// `id.timestamp.body`, and an id with a dot could be read two ways.
    EventId, max limits::EVENT_ID_BYTES_MAX, allowed "visible ASCII characters except '.'",
    |c| c.is_ascii_graphic() && c != '.'
}

text! {
    /// The type of an event, such as `invoice.paid`.
    EventType, max limits::EVENT_TYPE_BYTES_MAX, allowed "letters, digits and _ - . : /",
    |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/')
}

text! {
    /// The ordering key of an event.
    OrderingKey, max limits::ORDERING_KEY_BYTES_MAX, allowed "all but control characters",
    |c| !c.is_control()
}

impl OrderingKey {
    /// The first eight bytes of its SHA-256: stored, so the same in every version. Two keys that share them would keep their
    /// order among each other too, which costs nothing but a wait.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        Self::hash_of(self.as_str())
    }

    /// The same of a key as it was stored, also where it would not be taken any more.
    #[must_use]
    pub fn hash_of(text: &str) -> KeyHash {
        let mut first = [0; 8];
        first.copy_from_slice(&Sha256::digest(text.as_bytes())[..8]);
        KeyHash(u64::from_be_bytes(first))
    }
}

text! {
    /// The name of an endpoint, as in `[endpoint.NAME]`.
    EndpointName, max limits::ENDPOINT_NAME_BYTES_MAX, allowed "letters, digits, _ and -",
    |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

text! {
    /// The name of a source, as in `[source.NAME]`: the last part of its path, and the first of the types of its events.
    SourceName, max limits::SOURCE_NAME_BYTES_MAX, allowed "letters, digits, _ and -",
    |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

text! {
    /// What a producer sends as `Idempotency-Key`.
    IdempotencyKey, max limits::IDEMPOTENCY_KEY_BYTES_MAX, allowed "visible ASCII characters and spaces",
    |c| c.is_ascii_graphic() || c == ' '
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_refuse_dots_and_control_characters() {
        assert!(EventId::parse("evt_01ARZ3NDEKTSV4RRFFQ69G5FAV").is_ok());
        for bad in ["a.b", "a b", "a\n", "ü", "a\u{7f}"] {
            assert!(matches!(EventId::parse(bad), Err(TextError::Character { .. })), "{bad:?}");
        }
        assert_eq!(EventId::parse(""), Err(TextError::Empty));
        let long = "x".repeat(limits::EVENT_ID_BYTES_MAX + 1);
        assert!(matches!(EventId::parse(&long), Err(TextError::TooLong { .. })));
        assert!(EventId::parse(&long[1..]).is_ok());
    }

    #[test]
    fn types_take_the_names_that_vendors_use() {
        for good in ["invoice.paid", "com.github.pull_request.opened", "customer-created", "a", "orders/create", "a:b"]
        {
            assert!(EventType::parse(good).is_ok(), "{good}");
        }
        assert!(EventType::parse("invoice paid").is_err());
        assert!(EventType::parse("*").is_err());
    }
}
