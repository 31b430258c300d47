//! Keyed hashes and their two spellings.
//!
//! A [`MacKey`] holds the hash states after the key's blocks. Signing clones those states, a few hundred bytes on the stack,
//! instead of hashing the key anew for each delivery.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq as _;

/// The longest tag, that of SHA-512, in bytes.
const TAG_BYTES_MAX: usize = 64;
/// Room that the base64 decoder asks for: whole groups of three bytes.
const DECODE_BYTES_MAX: usize = TAG_BYTES_MAX.div_ceil(3) * 3;

/// The hash under an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha1,
    Sha256,
    Sha512,
}

impl Algorithm {
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            "sha1" => Some(Self::Sha1),
            "sha256" => Some(Self::Sha256),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    fn tag_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// How a tag is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Written in lower case, read in either.
    Hex,
    /// The standard alphabet with padding.
    Base64,
}

impl Encoding {
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            "hex" => Some(Self::Hex),
            "base64" => Some(Self::Base64),
            _ => None,
        }
    }
}

/// An HMAC with its key taken in, ready for content.
#[derive(Clone)]
pub(super) enum MacKey {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

impl MacKey {
    pub(super) fn new(algorithm: Algorithm, key: &[u8]) -> Self {
        const ANY: &str = "HMAC takes keys of any length (RFC 2104, section 2)";
        match algorithm {
            Algorithm::Sha1 => Self::Sha1(Hmac::new_from_slice(key).expect(ANY)),
            Algorithm::Sha256 => Self::Sha256(Hmac::new_from_slice(key).expect(ANY)),
            Algorithm::Sha512 => Self::Sha512(Hmac::new_from_slice(key).expect(ANY)),
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha1(_) => Algorithm::Sha1,
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The tag of the parts, one after the other.
    pub(super) fn tag<'p>(&self, parts: impl IntoIterator<Item = &'p [u8]>) -> Tag {
        let mut running = self.clone();
        for part in parts {
            match &mut running {
                Self::Sha1(mac) => mac.update(part),
                Self::Sha256(mac) => mac.update(part),
                Self::Sha512(mac) => mac.update(part),
            }
        }
        match running {
            Self::Sha1(mac) => Tag::from_slice(&mac.finalize().into_bytes()),
            Self::Sha256(mac) => Tag::from_slice(&mac.finalize().into_bytes()),
            Self::Sha512(mac) => Tag::from_slice(&mac.finalize().into_bytes()),
        }
    }
}

/// The result of an HMAC, computed or received.
#[derive(Clone, Copy)]
pub(super) struct Tag {
    bytes: [u8; TAG_BYTES_MAX],
    len: usize,
}

impl Tag {
    fn from_slice(tag: &[u8]) -> Self {
        let mut bytes = [0; TAG_BYTES_MAX];
        bytes[..tag.len()].copy_from_slice(tag);
        Self { bytes, len: tag.len() }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Reads a received tag; `None` unless it has exactly the length that `algorithm` gives.
    pub(super) fn parse(text: &[u8], algorithm: Algorithm, encoding: Encoding) -> Option<Self> {
        let len = algorithm.tag_bytes();
        let mut room = [0; DECODE_BYTES_MAX];
        match encoding {
            Encoding::Hex => hex::decode_to_slice(text, room.get_mut(..len)?).ok()?,
            Encoding::Base64 => {
                // Checked first, so that a longer text never meets the end of the room.
                if text.len() != len.div_ceil(3) * 4 || STANDARD.decode_slice(text, &mut room).ok()? != len {
                    return None;
                }
            }
        }
        Some(Self::from_slice(&room[..len]))
    }

    /// Whether the two are the same, in a time that does not depend on where they differ.
    pub(super) fn fits(&self, other: &Self) -> bool {
        self.as_slice().ct_eq(other.as_slice()).into()
    }

    /// Appends the tag to `text`.
    pub(super) fn write(&self, encoding: Encoding, text: &mut String) {
        match encoding {
            Encoding::Hex => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                for byte in self.as_slice() {
                    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
                    text.push(char::from(DIGITS[usize::from(byte & 15)]));
                }
            }
            Encoding::Base64 => STANDARD.encode_string(self.as_slice(), text),
        }
    }

    /// How many characters [`Tag::write`] appends.
    pub(super) fn written_len(&self, encoding: Encoding) -> usize {
        match encoding {
            Encoding::Hex => self.len * 2,
            Encoding::Base64 => self.len.div_ceil(3) * 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex_tag(algorithm: Algorithm, key: &[u8], parts: &[&[u8]]) -> String {
        let mut text = String::new();
        MacKey::new(algorithm, key).tag(parts.iter().copied()).write(Encoding::Hex, &mut text);
        text
    }

    #[test]
    fn the_hashes_give_what_their_rfcs_give() {
        // RFC 2202 section 3 (test case 2) and RFC 4231 section 4.3, cut in parts: cutting changes nothing.
        let parts: [&[u8]; 3] = [b"what do ya want ", b"", b"for nothing?"];
        assert_eq!(hex_tag(Algorithm::Sha1, b"Jefe", &parts), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        assert_eq!(
            hex_tag(Algorithm::Sha256, b"Jefe", &parts),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex_tag(Algorithm::Sha512, b"Jefe", &parts),
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd\
             caeab1a34d4a6b4b636e070a38bce737"
        );
        // RFC 4231 section 4.7: a key longer than the hash's block.
        assert_eq!(
            hex_tag(Algorithm::Sha256, &[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"]),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn a_key_is_used_again_and_again() {
        let key = MacKey::new(Algorithm::Sha256, b"key");
        assert!(key.tag([b"a".as_slice()]).fits(&key.tag([b"a".as_slice()])));
        assert!(!key.tag([b"a".as_slice()]).fits(&key.tag([b"b".as_slice()])));
    }

    #[test]
    fn tags_are_read_in_their_full_length_only() {
        for algorithm in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
            for encoding in [Encoding::Hex, Encoding::Base64] {
                let tag = MacKey::new(algorithm, b"k").tag([]);
                let mut text = String::new();
                tag.write(encoding, &mut text);
                assert_eq!(text.len(), tag.written_len(encoding));
                let parse = |text: &str| Tag::parse(text.as_bytes(), algorithm, encoding);
                assert!(parse(&text).is_some_and(|read| read.fits(&tag)));
                assert!(parse(&text[..text.len() - 1]).is_none());
                assert!(parse(&text[..text.len() - 4]).is_none());
                assert!(parse(&format!("{text}0")).is_none());
                assert!(parse(&format!("{text}{text}")).is_none());
                assert!(parse(&text.replace(&text[3..4], "!")).is_none());
                assert!(parse("").is_none());
            }
        }
    }
}
