//! Standard Webhooks: `webhook-signature` over `{webhook-id}.{webhook-timestamp}.{body}`.
//!
//! `v1` is HMAC-SHA256 under a `whsec_` secret, `v1a` is Ed25519 under a `whsk_` pair, verified with the `whpk_` public key.
//! The header holds one signature for each secret, separated by exactly one space. Writing is strict, because the official
//! Python library throws on anything else; reading skips tokens of other versions, empty ones too, as the specification asks.
//!
//! Svix signs alike under names of its own, from before the specification: `svix-id`, `svix-timestamp`, `svix-signature`. These
//! three are read where none of the specification's three is there, and never one of each.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_PAD_INDIFFERENT};
use ed25519_dalek::ed25519::signature::{MultipartSigner as _, MultipartVerifier as _};
use ed25519_dalek::{SIGNATURE_LENGTH, Signature, SigningKey, VerifyingKey};
use hyper::header::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::mac::{Algorithm, Encoding, MacKey, Tag};
use super::received::{Received, seconds};
use super::refusal::Refusal;
use super::secret::{RandomError, Secret, SecretError, random_32};
use super::{Decimal, Signed, header_value};
use crate::limits;

/// The three headers of a message under one set of names.
struct Trio {
    id: HeaderName,
    timestamp: HeaderName,
    signature: HeaderName,
}

/// The specification's.
static WEBHOOK: Trio = Trio {
    id: HeaderName::from_static("webhook-id"),
    timestamp: HeaderName::from_static("webhook-timestamp"),
    signature: HeaderName::from_static("webhook-signature"),
};
/// Svix's.
static SVIX: Trio = Trio {
    id: HeaderName::from_static("svix-id"),
    timestamp: HeaderName::from_static("svix-timestamp"),
    signature: HeaderName::from_static("svix-signature"),
};

const HMAC_PREFIX: &str = "whsec_";
const PRIVATE_PREFIX: &str = "whsk_";
const PUBLIC_PREFIX: &str = "whpk_";

/// Fewest and most bytes of an HMAC secret, decoded.
const HMAC_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Characters of an Ed25519 signature in base64.
const ED25519_CHARS: usize = SIGNATURE_LENGTH.div_ceil(3) * 4;

impl Trio {
    /// The names that a request is read by. Whoever could choose a header of each could have two readers see two messages.
    fn of(received: &Received<'_>) -> &'static Self {
        let named = |name: &HeaderName| received.headers.contains_key(name);
        if [&WEBHOOK.id, &WEBHOOK.timestamp, &WEBHOOK.signature].into_iter().any(named) { &WEBHOOK } else { &SVIX }
    }
}

/// A key of Standard Webhooks.
#[derive(Clone)]
pub struct StandardKey(Key);

#[derive(Clone)]
enum Key {
    Hmac(MacKey),
    Private(SigningKey),
    Public(VerifyingKey),
}

/// A new Ed25519 pair.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// `whsk_…`, for the one who signs.
    pub private: Secret,
    /// `whpk_…`, for everyone who verifies.
    pub public: String,
}

impl KeyPair {
    /// A pair from 32 random bytes.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate() -> Result<Self, RandomError> {
        let key = SigningKey::from_bytes(&*random_32()?);
        let pair = Zeroizing::new(key.to_keypair_bytes());
        Ok(Self {
            private: Secret::encoded(PRIVATE_PREFIX, pair.as_slice()),
            public: public_text(&key.verifying_key()),
        })
    }
}

impl StandardKey {
    /// Reads `whsec_` + base64 of 24 to 64 bytes, `whsk_` + base64 of a private and its public key (32 bytes each), or
    /// `whpk_` + base64 of a public key. The padding of the base64 may be left out.
    ///
    /// # Errors
    /// Says which part of that the secret breaks, without showing any of it.
    pub fn parse(secret: &Secret) -> Result<Self, SecretError> {
        let text = secret.expose();
        if let Some(rest) = text.strip_prefix(HMAC_PREFIX.as_bytes()) {
            let key = decode(rest)?;
            if !HMAC_BYTES.contains(&key.len()) {
                return Err(SecretError::HmacLength { found: key.len() });
            }
            Ok(Self(Key::Hmac(MacKey::new(Algorithm::Sha256, &key))))
        } else if let Some(rest) = text.strip_prefix(PRIVATE_PREFIX.as_bytes()) {
            let pair = decode(rest)?;
            let pair: &[u8; 64] = pair.as_slice().try_into().map_err(|_| SecretError::KeyLength {
                prefix: PRIVATE_PREFIX,
                expected: 64,
                found: pair.len(),
            })?;
            SigningKey::from_keypair_bytes(pair).map(|key| Self(Key::Private(key))).map_err(|_| SecretError::NoPair)
        } else if let Some(rest) = text.strip_prefix(PUBLIC_PREFIX.as_bytes()) {
            let key = decode(rest)?;
            let key: &[u8; 32] = key.as_slice().try_into().map_err(|_| SecretError::KeyLength {
                prefix: PUBLIC_PREFIX,
                expected: 32,
                found: key.len(),
            })?;
            // A weak key would let one signature fit many messages.
            match VerifyingKey::from_bytes(key) {
                Ok(key) if !key.is_weak() => Ok(Self(Key::Public(key))),
                _ => Err(SecretError::NoPublicKey),
            }
        } else {
            Err(SecretError::Prefix)
        }
    }

    /// Whether it can sign; a `whpk_` key only verifies.
    #[must_use]
    pub fn can_sign(&self) -> bool {
        !matches!(self.0, Key::Public(_))
    }

    /// The `whpk_…` text that verifies what this key signs; `None` for an HMAC key.
    #[must_use]
    pub fn public(&self) -> Option<String> {
        match &self.0 {
            Key::Hmac(_) => None,
            Key::Private(key) => Some(public_text(&key.verifying_key())),
            Key::Public(key) => Some(public_text(key)),
        }
    }

    /// Characters that [`StandardKey::write`] appends.
    fn written_len(&self) -> usize {
        match &self.0 {
            Key::Hmac(_) => "v1,".len() + 44,
            Key::Private(_) => "v1a,".len() + ED25519_CHARS,
            Key::Public(_) => 0,
        }
    }

    /// Appends the signature of the content, given in parts.
    fn write(&self, content: &[&[u8]], text: &mut String) {
        match &self.0 {
            Key::Hmac(key) => {
                text.push_str("v1,");
                key.tag(content.iter().copied()).write(Encoding::Base64, text);
            }
            Key::Private(key) => {
                text.push_str("v1a,");
                STANDARD.encode_string(key.multipart_sign(content).to_bytes(), text);
            }
            Key::Public(_) => {}
        }
    }

    /// Whether one of the header's signatures fits.
    pub(super) fn verify(&self, received: &Received<'_>) -> Result<(), Refusal> {
        let names = Trio::of(received);
        let id = received.header(&names.id)?;
        let timestamp = received.header(&names.timestamp)?;
        let signatures = received.header(&names.signature)?;
        // With a dot in it, one content could be read as two different messages.
        if id.is_empty() || id.contains(&b'.') {
            return Err(Refusal::MalformedHeader);
        }
        received.in_window(seconds(timestamp)?, limits::TIMESTAMP_TOLERANCE_SECS)?;
        if signatures.split(|byte| *byte == b' ').count() > limits::SIGNATURES_MAX {
            return Err(Refusal::MalformedHeader);
        }
        let content: [&[u8]; 5] = [id, b".", timestamp, b".", received.body];
        match &self.0 {
            Key::Hmac(key) => {
                let expected = key.tag(content);
                any_fits(signatures, b"v1,", |text| {
                    Tag::parse(text, Algorithm::Sha256, Encoding::Base64).map(|tag| expected.fits(&tag))
                })
            }
            Key::Private(key) => verify_ed25519(&key.verifying_key(), &content, signatures),
            Key::Public(key) => verify_ed25519(key, &content, signatures),
        }
    }
}

fn verify_ed25519(key: &VerifyingKey, content: &[&[u8]], signatures: &[u8]) -> Result<(), Refusal> {
    any_fits(signatures, b"v1a,", |text| {
        // Room for whole groups of three bytes, as the decoder asks.
        let mut bytes = [0; SIGNATURE_LENGTH.div_ceil(3) * 3];
        if text.len() != ED25519_CHARS || STANDARD.decode_slice(text, &mut bytes) != Ok(SIGNATURE_LENGTH) {
            return None;
        }
        let signature = Signature::from_slice(&bytes[..SIGNATURE_LENGTH]).ok()?;
        Some(key.multipart_verify(content, &signature).is_ok())
    })
}

/// Tries each token of one version. `fits` gives `None` for one that cannot be read. A header with tokens of that version of
/// which none can be read is malformed; one without any is readable and fits nothing.
fn any_fits(signatures: &[u8], version: &[u8], fits: impl Fn(&[u8]) -> Option<bool>) -> Result<(), Refusal> {
    let mut refusal = Refusal::Mismatch;
    let mut readable = false;
    for text in signatures.split(|byte| *byte == b' ').filter_map(|token| token.strip_prefix(version)) {
        match fits(text) {
            Some(true) => return Ok(()),
            Some(false) => readable = true,
            None => refusal = Refusal::MalformedHeader,
        }
    }
    Err(if readable { Refusal::Mismatch } else { refusal })
}

/// The `webhook-signature` header with a signature for each key, in the order given; `None` if no key can sign.
pub(super) fn sign<'k>(
    keys: impl Iterator<Item = &'k StandardKey> + Clone,
    signed: &Signed<'_>,
) -> Option<(HeaderName, HeaderValue)> {
    let keys = keys.filter(|key| key.can_sign());
    let len = keys.clone().map(|key| key.written_len() + 1).sum::<usize>().checked_sub(1)?;
    let timestamp = Decimal::new(signed.timestamp_secs);
    let content: [&[u8]; 5] = [signed.id.as_str().as_bytes(), b".", timestamp.as_bytes(), b".", signed.body];
    let mut text = String::with_capacity(len);
    for key in keys {
        if !text.is_empty() {
            text.push(' ');
        }
        key.write(&content, &mut text);
    }
    debug_assert_eq!(text.len(), len, "the header is written into memory taken once");
    Some((WEBHOOK.signature.clone(), header_value(text)))
}

fn public_text(key: &VerifyingKey) -> String {
    let mut text = PUBLIC_PREFIX.to_owned();
    STANDARD.encode_string(key.as_bytes(), &mut text);
    text
}

fn decode(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    // Taken in full first: a growing vector would leave copies of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(base64::decoded_len_estimate(text.len())));
    // The decoder's error names a byte of the secret, so it is not kept.
    STANDARD_PAD_INDIFFERENT.decode_vec(text, &mut bytes).map_err(|_| SecretError::Base64)?;
    Ok(bytes)
}

impl fmt::Debug for StandardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Key::Hmac(_) => "StandardKey(HMAC-SHA256)",
            Key::Private(_) => "StandardKey(Ed25519 pair)",
            Key::Public(_) => "StandardKey(Ed25519 public)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The pair of the seed 00 01 … 1f; its public half was computed by another implementation (OpenSSL).
    const PRIVATE: &str =
        "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA==";
    const PUBLIC: &str = "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";

    fn parse(text: &str) -> Result<StandardKey, SecretError> {
        StandardKey::parse(&Secret::new(text.as_bytes().to_vec()))
    }

    fn with_bytes(prefix: &str, bytes: &[u8]) -> String {
        format!("{prefix}{}", STANDARD.encode(bytes))
    }

    #[test]
    fn hmac_secrets_have_24_to_64_bytes() {
        for found in [24, 32, 64] {
            assert!(parse(&with_bytes("whsec_", &vec![7; found])).is_ok(), "{found}");
        }
        for found in [0, 1, 23, 65, 100] {
            let refused = parse(&with_bytes("whsec_", &vec![7; found])).unwrap_err();
            assert_eq!(refused, SecretError::HmacLength { found });
        }
    }

    #[test]
    fn padding_may_be_left_out_of_a_secret() {
        let padded = with_bytes("whsec_", &[7; 32]);
        assert!(padded.ends_with('='));
        assert!(parse(padded.trim_end_matches('=')).is_ok());
    }

    #[test]
    fn a_pair_is_read_and_gives_its_public_key() {
        let key = parse(PRIVATE).unwrap();
        assert!(key.can_sign());
        assert_eq!(key.public().as_deref(), Some(PUBLIC));
        let public = parse(PUBLIC).unwrap();
        assert!(!public.can_sign());
        assert_eq!(public.public().as_deref(), Some(PUBLIC));
        assert_eq!(parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap().public(), None);
    }

    #[test]
    fn wrong_keys_are_refused_without_being_shown() {
        let mut no_pair = [0; 64];
        no_pair[32..].copy_from_slice(&decode(&PUBLIC.as_bytes()[5..]).unwrap());
        // The first point of small order: the neutral element.
        let mut weak = [0; 32];
        weak[0] = 1;
        let private_32 = SecretError::KeyLength { prefix: "whsk_", expected: 64, found: 32 };
        let public_64 = SecretError::KeyLength { prefix: "whpk_", expected: 32, found: 64 };
        for (text, expected) in [
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(), SecretError::Prefix),
            ("WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(), SecretError::Prefix),
            (" whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(), SecretError::Prefix),
            ("whsec-MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(), SecretError::Prefix),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2Laqqq!".to_owned(), SecretError::Base64),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS".to_owned(), SecretError::Base64),
            ("whsec_MfKQ9r8G KYqrTwjUPD8ILPZIo2LaLaSw".to_owned(), SecretError::Base64),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa-_".to_owned(), SecretError::Base64),
            (with_bytes("whsk_", &[7; 32]), private_32),
            (with_bytes("whsk_", &no_pair), SecretError::NoPair),
            (with_bytes("whpk_", &[7; 64]), public_64),
            (with_bytes("whpk_", &weak), SecretError::NoPublicKey),
        ] {
            let refused = parse(&text).unwrap_err();
            assert_eq!(refused, expected, "{text}");
            let shown = format!("{refused} {refused:?}");
            let inner = text.trim_start().split_at(6).1;
            for at in 0..inner.len() - 8 {
                assert!(!shown.contains(&inner[at..at + 8]), "{shown} shows a part of {text}");
            }
        }
    }

    #[test]
    fn a_new_pair_signs_and_verifies_and_is_not_shown() {
        let pair = KeyPair::generate().unwrap();
        let key = StandardKey::parse(&pair.private).unwrap();
        assert_eq!(key.public(), Some(pair.public.clone()));
        assert!(StandardKey::parse(&Secret::new(pair.public.clone().into_bytes())).is_ok());
        assert_ne!(KeyPair::generate().unwrap().public, pair.public);
        let private = str::from_utf8(pair.private.expose()).unwrap();
        assert!(!format!("{pair:?} {key:?}").contains(&private[5..20]));
        assert!(StandardKey::parse(&Secret::generate().unwrap()).is_ok());
    }
}
