//! A secret's bytes, wiped when dropped and never shown.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::limits;

/// A secret.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// The system gave no random bytes.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the system gives no random bytes")]
pub struct RandomError(#[from] getrandom::Error);

impl Secret {
    /// Takes the bytes as they are.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A new Standard Webhooks secret for HMAC-SHA256: `whsec_` and the base64 of 32 random bytes.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate() -> Result<Self, RandomError> {
        Ok(Self::encoded("whsec_", random_32()?.as_slice()))
    }

    /// A prefix and the base64 of some bytes, in one piece of memory that is wiped.
    pub(super) fn encoded(prefix: &str, bytes: &[u8]) -> Self {
        let encoded_len = bytes.len().div_ceil(3) * 4;
        let mut text = Zeroizing::new(vec![0; prefix.len() + encoded_len]);
        text[..prefix.len()].copy_from_slice(prefix.as_bytes());
        let written = STANDARD.encode_slice(bytes, &mut text[prefix.len()..]);
        debug_assert_eq!(written, Ok(encoded_len), "four characters for each three bytes begun");
        Self(text)
    }

    /// The bytes, for computing with; never for showing.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether `other` is this secret, in a time that tells nothing but whether the lengths are equal.
    #[must_use]
    pub fn ct_eq(&self, other: &[u8]) -> bool {
        self.0.ct_eq(other).into()
    }
}

/// 32 bytes from the system's random source.
pub(super) fn random_32() -> Result<Zeroizing<[u8; 32]>, RandomError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice())?;
    Ok(bytes)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What is wrong with a secret. It never holds any part of it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SecretError {
    /// Nothing was given.
    #[error("the secret is empty")]
    Empty,
    /// Longer than the limit.
    #[error("the secret has {found} bytes; at most {max} are allowed", max = limits::SECRET_BYTES_MAX)]
    TooLong {
        /// Bytes given.
        found: usize,
    },
    /// Likely left by an editor or `echo`.
    #[error("the secret starts or ends with a line break: remove it")]
    LineBreak,
    /// None of the prefixes of Standard Webhooks.
    #[error(
        "the secret starts with none of whsec_, whsk_ and whpk_, which Standard Webhooks asks for; `webhookd secret new` \
         makes one"
    )]
    Prefix,
    /// Not base64 behind the prefix.
    #[error("the secret is not base64 behind its prefix; expected one secret and nothing else, so no second line")]
    Base64,
    /// An HMAC secret outside the range.
    #[error("the secret has {found} bytes behind whsec_, decoded; Standard Webhooks asks for 24 to 64")]
    HmacLength {
        /// Bytes given.
        found: usize,
    },
    /// An Ed25519 key of another length.
    #[error("the secret has {found} bytes behind {prefix}, decoded; expected {expected}")]
    KeyLength {
        /// The prefix.
        prefix: &'static str,
        /// Bytes expected.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// Two halves that are no pair.
    #[error("the secret is no Ed25519 pair: its second half is not the public key of its first")]
    NoPair,
    /// No point of the curve, or a weak one.
    #[error("the secret is no usable Ed25519 public key")]
    NoPublicKey,
    /// Bytes that no header value may carry.
    #[error("the secret has a control character, or a space at an end, which a header cannot carry")]
    NoHeaderValue,
    /// `basic` without a user.
    #[error("the secret holds no colon; give `username`, or a secret of the form user:password")]
    NoUser,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_equals_itself_alone_and_is_not_shown() {
        let secret = Secret::new(b"hunter2".to_vec());
        assert!(secret.ct_eq(b"hunter2"));
        for other in ["hunter3", "hunter", "hunter22", ""] {
            assert!(!secret.ct_eq(other.as_bytes()), "{other}");
        }
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn a_new_secret_is_prefixed_base64_of_32_bytes_and_new_each_time() {
        let secret = Secret::generate().unwrap();
        let text = str::from_utf8(secret.expose()).unwrap();
        assert_eq!(STANDARD.decode(text.strip_prefix("whsec_").unwrap()).unwrap().len(), 32);
        assert!(!secret.ct_eq(Secret::generate().unwrap().expose()));
    }
}
