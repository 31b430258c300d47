//! Stripe: `stripe-signature: t=<seconds>,v1=<hex>[,v1=<hex>]` over `{t}.{body}`, under the whole secret as it is written,
//! `whsec_` included and not decoded.
//!
//! Stripe's own libraries only look at a timestamp's age; a timestamp in the future is refused here as well. Items of other
//! versions (`v0`) are skipped.

use hyper::header::{HeaderName, HeaderValue};

use super::mac::{Algorithm, Encoding, MacKey, Tag};
use super::received::{Received, seconds};
use super::refusal::Refusal;
use super::{Decimal, Signed, header_value};
use crate::limits;

static SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");

/// A Stripe signing secret.
#[derive(Clone)]
pub(super) struct StripeKey(MacKey);

impl StripeKey {
    pub(super) fn new(secret: &[u8]) -> Self {
        Self(MacKey::new(Algorithm::Sha256, secret))
    }

    pub(super) fn verify(&self, received: &Received<'_>) -> Result<(), Refusal> {
        let header = received.header(&SIGNATURE)?;
        let mut timestamp = None;
        let mut items = 0;
        for item in header.split(|byte| *byte == b',') {
            items += 1;
            if let Some(text) = item.strip_prefix(b"t=")
                && timestamp.replace(text).is_some()
            {
                return Err(Refusal::MalformedHeader);
            }
        }
        // One item is the timestamp.
        if items > limits::SIGNATURES_MAX + 1 {
            return Err(Refusal::MalformedHeader);
        }
        let timestamp = timestamp.ok_or(Refusal::MalformedHeader)?;
        received.in_window(seconds(timestamp)?, limits::TIMESTAMP_TOLERANCE_SECS)?;
        let expected = self.0.tag([timestamp, b".", received.body]);
        let mut refusal = Refusal::MalformedHeader;
        for text in header.split(|byte| *byte == b',').filter_map(|item| item.strip_prefix(b"v1=")) {
            match Tag::parse(text, Algorithm::Sha256, Encoding::Hex) {
                Some(tag) if expected.fits(&tag) => return Ok(()),
                Some(_) => refusal = Refusal::Mismatch,
                None => {}
            }
        }
        Err(refusal)
    }
}

/// The header with a `v1` for each key, in the order given.
pub(super) fn sign<'k>(
    keys: impl Iterator<Item = &'k StripeKey> + Clone,
    signed: &Signed<'_>,
) -> (HeaderName, HeaderValue) {
    const ITEM: &str = ",v1=";
    let timestamp = Decimal::new(signed.timestamp_secs);
    let len = "t=".len() + timestamp.as_bytes().len() + keys.clone().count() * (ITEM.len() + 64);
    let mut text = String::with_capacity(len);
    text.push_str("t=");
    text.push_str(timestamp.as_str());
    for key in keys {
        text.push_str(ITEM);
        key.0.tag([timestamp.as_bytes(), b".", signed.body]).write(Encoding::Hex, &mut text);
    }
    debug_assert_eq!(text.len(), len, "the header is written into memory taken once");
    (SIGNATURE.clone(), header_value(text))
}
