//! `inbound_request` and `json_pointers`: what third parties post, and where in it a value is looked for.

use hyper::{Method, Uri};

use super::message;
use crate::inbound::fuzzing;

/// A method and a target on the first line, headers on the next ones, a blank line, a body; `{signature}` in the value of a
/// header of the signature stands for the true one.
pub fn inbound_request(data: &[u8]) {
    answer(data);
}

/// The status of the answer, where the input is a request.
fn answer(data: &[u8]) -> Option<u16> {
    let (head, body) = message::split(data);
    let mut lines = message::lines(head);
    let first = lines.next().and_then(|line| str::from_utf8(line).ok()).unwrap_or_default();
    let (method, target) = first.split_once(' ')?;
    let (method, uri) = (method.parse::<Method>().ok()?, target.parse::<Uri>().ok()?);
    Some(fuzzing::request(&method, &uri, &message::headers(lines), body))
}

/// Pointers, a line each, a blank line, a body.
pub fn json_pointers(data: &[u8]) {
    let (pointers, body) = message::split(data);
    fuzzing::json_pointers(pointers, body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::SchemeKind;

    /// A target whose every input is refused would find nothing behind that.
    #[test]
    fn what_is_signed_gets_as_far_as_the_storage() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/inbound_request");
        let status = |name: &str| answer(&std::fs::read(folder.join(name)).unwrap()).unwrap();
        // The others make no source of their own: a fixed secret is tried by `gitlab` and `basic`.
        for kind in SchemeKind::ALL.iter().filter(|kind| !matches!(kind, SchemeKind::Shopify | SchemeKind::Token)) {
            assert_eq!(status(kind.as_str()), 503, "{kind}");
        }
        for (name, expected) in [
            ("slack-challenge", 200),
            ("options", 200),
            ("near", 503),
            ("near-not", 403),
            ("stripe-forged", 401),
            ("hub", 403),
            ("hub-no-token", 405),
            ("nowhere", 404),
            ("open-compressed", 415),
        ] {
            assert_eq!(status(name), expected, "{name}");
        }
    }
}
