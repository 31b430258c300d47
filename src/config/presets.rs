//! Where the vendors put the type and the id of an event, for sources that say nothing of it themselves.

use hyper::header::HeaderName;

use super::pick::{JsonPointer, Pick};
use crate::signature::SchemeKind;

/// Where the type of an event stands.
pub(super) fn event_type(kind: SchemeKind) -> Vec<Pick> {
    match kind {
        SchemeKind::Github => vec![header("x-github-event")],
        SchemeKind::Shopify => vec![header("x-shopify-topic"), header("shopify-topic")],
        // Events, then interactions and the like, then commands.
        SchemeKind::Slack => vec![json("/event/type"), json("/type"), Pick::Form("command".into())],
        // Hooks of a project, then system hooks.
        SchemeKind::Gitlab => vec![json("/object_kind"), json("/event_name")],
        SchemeKind::Standard | SchemeKind::Stripe | SchemeKind::Zendesk => vec![json("/type")],
        SchemeKind::Twilio | SchemeKind::Hmac | SchemeKind::Token | SchemeKind::Basic => Vec::new(),
    }
}

/// Where the id stands that is the same when the vendor sends an event again.
pub(super) fn dedup(kind: SchemeKind) -> Vec<Pick> {
    match kind {
        SchemeKind::Github => vec![header("x-github-delivery")],
        SchemeKind::Stripe => vec![json("/id")],
        SchemeKind::Shopify => vec![header("x-shopify-webhook-id"), header("shopify-webhook-id")],
        SchemeKind::Slack => vec![json("/event_id")],
        SchemeKind::Gitlab => vec![header("x-gitlab-event-uuid")],
        SchemeKind::Standard => vec![header("webhook-id"), header("svix-id")],
        SchemeKind::Twilio => vec![header("i-twilio-idempotency-token")],
        // What a trigger of Zendesk sends is the user's own.
        SchemeKind::Zendesk | SchemeKind::Hmac | SchemeKind::Token | SchemeKind::Basic => Vec::new(),
    }
}

fn header(name: &'static str) -> Pick {
    Pick::Header(HeaderName::from_static(name))
}

fn json(pointer: &str) -> Pick {
    Pick::Json(JsonPointer::parse(pointer).expect("the pointers above begin with a slash and have no tilde"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_a_place_that_can_be() {
        let places = |kind| event_type(kind).len() + dedup(kind).len();
        let none: Vec<_> = SchemeKind::ALL.into_iter().filter(|kind| places(*kind) == 0).collect();
        assert_eq!(none, [SchemeKind::Hmac, SchemeKind::Token, SchemeKind::Basic]);
    }
}
