//! What a third party calls things, in the words that events have. A verified request is never refused for these: a vendor does
//! not send it again because a name is too long.

use sha2::{Digest, Sha256};

use crate::limits;
use crate::model::event::Fingerprint;
use crate::model::text::{EventType, IdempotencyKey, OrderingKey, SourceName};

/// The last part of a type where the config names no place for it.
pub(super) const EVENT: &str = "event";
/// The same where it names places, and the request has nothing there.
pub(super) const UNKNOWN: &str = "unknown";

const _: () = assert!(limits::SOURCE_NAME_BYTES_MAX + UNKNOWN.len() < limits::EVENT_TYPE_BYTES_MAX);

/// `<source>.<word>`: characters that no type has become `_`, and what is too long is cut.
pub(super) fn event_type(source: &SourceName, word: &str) -> EventType {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/');
    let room = limits::EVENT_TYPE_BYTES_MAX - source.as_str().len() - 1;
    let word: String = word.chars().take(room).map(|c| if fits(c) { c } else { '_' }).collect();
    EventType::parse(&format!("{source}.{word}"))
        .expect("every character is one that types have, and there are not too many")
}

/// `in/<source>/<id>`, or its hash where no key could be so long or have such characters.
pub(super) fn idempotency_key(source: &SourceName, id: &str) -> IdempotencyKey {
    let prefix = format!("in/{source}/");
    IdempotencyKey::parse(&format!("{prefix}{id}"))
        .or_else(|_| IdempotencyKey::parse(&format!("{prefix}{}", hashed(id))))
        .expect("a source's name and hex digits are visible ASCII, and few")
}

/// The value, or its hash where no ordering key could be so long or have such characters.
pub(super) fn ordering_key(value: &str) -> OrderingKey {
    OrderingKey::parse(value)
        .or_else(|_| OrderingKey::parse(&hashed(value)))
        .expect("hex digits are no control characters, and few")
}

fn hashed(text: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(text)))
}

/// The same for every request under one id, whatever else it says: the third party's word counts.
pub(super) fn fingerprint(source: &SourceName, key: Option<&IdempotencyKey>) -> Fingerprint {
    let mut hash = Sha256::new_with_prefix(b"inbound\0");
    hash.update(source.as_str());
    hash.update([0]);
    hash.update(key.map_or("", IdempotencyKey::as_str));
    let digest: [u8; 32] = hash.finalize().into();
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    Fingerprint(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(name: &str) -> SourceName {
        SourceName::parse(name).unwrap()
    }

    #[test]
    fn types_are_the_vendors_words_as_far_as_types_can_be() {
        let word = |word: &str| event_type(&source("x"), word).to_string();
        assert_eq!(word("push"), "x.push");
        assert_eq!(word("orders/create"), "x.orders/create");
        assert_eq!(word("Push Hook"), "x.Push_Hook");
        assert_eq!(word("ü*\n"), "x.___");
        assert_eq!(word(&"a".repeat(500)).len(), limits::EVENT_TYPE_BYTES_MAX);
    }

    #[test]
    fn ids_are_keys_of_their_source() {
        let key = |id: &str| idempotency_key(&source("x"), id).to_string();
        assert_eq!(key("72d3162e-cc78-11e3-81ab-4c9367dc0958"), "in/x/72d3162e-cc78-11e3-81ab-4c9367dc0958");
        let long = key(&"a".repeat(limits::IDEMPOTENCY_KEY_BYTES_MAX));
        assert!(long.starts_with("in/x/sha256:") && long.len() == "in/x/sha256:".len() + 64, "{long}");
        assert!(key("ü").starts_with("in/x/sha256:"));
        assert_ne!(key("ü"), key("ö"));
        assert_ne!(key("a"), idempotency_key(&source("y"), "a").to_string());
    }

    #[test]
    fn the_fingerprint_is_of_source_and_id_alone() {
        let print = |name: &str, id: &str| fingerprint(&source(name), Some(&idempotency_key(&source(name), id)));
        assert_eq!(print("x", "1"), print("x", "1"));
        assert_ne!(print("x", "1"), print("x", "2"));
        assert_ne!(print("x", "1"), print("y", "1"));
    }

    proptest! {
        #[test]
        fn whatever_a_vendor_calls_something_has_a_name(name in "[a-zA-Z0-9_-]{1,64}", word in "\\PC*|.{0,400}") {
            let source = source(&name);
            event_type(&source, &word);
            idempotency_key(&source, &word);
            if !word.is_empty() {
                ordering_key(&word);
            }
        }
    }
}
