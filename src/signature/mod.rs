//! Every signature scheme once, both ways. Pure: no I/O, no clock, no async; only making a new secret asks the system for
//! random bytes.
//!
//! | file | scheme |
//! |---|---|
//! | `standard` | `standard`: Standard Webhooks, HMAC-SHA256 and Ed25519 |
//! | `stripe` | `stripe` |
//! | `header_mac` | `github`, `shopify`, `slack`, `zendesk`, and `hmac` with everything configurable |
//! | `twilio` | `twilio` |
//! | `token` | `token`, `basic`, `gitlab` |
//!
//! Around them: `kind` has their names, `options` makes a [`Scheme`] from a config's words, `mac` the keyed hashes, `received`
//! what reading a request has in common, `refusal` why one is refused, `secret` the secret itself, `alike` whether two do the same.
//!
//! Signing happens on every attempt, so a scheme keeps its hash states prepared, and header texts are written into memory
//! that is taken once.

mod alike;
mod header_mac;
mod kind;
mod mac;
mod options;
mod received;
mod refusal;
pub mod secret;
pub mod standard;
mod stripe;
mod token;
pub mod twilio;

#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};

pub use self::alike::{sign_alike, verify_alike};
pub use self::header_mac::ContentError;
pub use self::kind::{SchemeKind, UnknownScheme};
pub use self::options::{Options, SchemeError};
pub use self::received::Received;
pub use self::refusal::Refusal;
pub use self::secret::SecretError;
use crate::model::text::EventId;

/// A scheme with its key. Made by [`Scheme::new`] or [`Scheme::for_signing`].
#[derive(Clone)]
pub struct Scheme {
    kind: SchemeKind,
    form: Form,
}

#[derive(Clone)]
enum Form {
    Standard(standard::StandardKey),
    Stripe(stripe::StripeKey),
    HeaderMac(header_mac::HeaderMac),
    Twilio(twilio::TwilioKey),
    Token(token::Token),
}

/// A request to sign.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// What `webhook-id` says.
    pub id: &'a EventId,
    /// What `webhook-timestamp` says: the time of this attempt, in seconds since the epoch.
    pub timestamp_secs: u64,
    /// The body, byte for byte as it will be sent.
    pub body: &'a [u8],
    /// The URL it is sent to; only Twilio signs it.
    pub url: &'a str,
}

impl Scheme {
    /// Which scheme it is.
    #[must_use]
    pub fn kind(&self) -> SchemeKind {
        self.kind
    }

    /// Whether it can sign; with a `whpk_` key it only verifies.
    #[must_use]
    pub fn can_sign(&self) -> bool {
        match &self.form {
            Form::Standard(key) => key.can_sign(),
            _ => true,
        }
    }

    /// Whether its signature covers `webhook-id` or `webhook-timestamp` as a delivery carries them, beside the headers that
    /// [`sign`] makes.
    #[must_use]
    pub fn relies_on_delivery_headers(&self) -> bool {
        match &self.form {
            Form::Standard(_) => true,
            Form::HeaderMac(mac) => mac.relies_on_delivery_headers(),
            Form::Stripe(_) | Form::Twilio(_) | Form::Token(_) => false,
        }
    }

    fn verify(&self, received: &Received<'_>) -> Result<(), Refusal> {
        match &self.form {
            Form::Standard(key) => key.verify(received),
            Form::Stripe(key) => key.verify(received),
            Form::HeaderMac(mac) => mac.verify(received),
            Form::Twilio(key) => key.verify(received),
            Form::Token(token) => token.verify(received),
        }
    }
}

/// The headers that sign a request.
///
/// `schemes` are the secrets of one endpoint under one scheme, in the order of the config. With `standard` and `stripe` all of
/// them sign, in that order, in one header. The other schemes have room for one signature: the first secret signs. Empty for
/// no schemes. `webhook-id` and `webhook-timestamp` are not among the headers, every delivery carries them anyway.
///
/// The values of `token`, `basic` and `gitlab` are marked sensitive.
#[must_use]
pub fn sign(schemes: &[Scheme], signed: &Signed<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let Some(first) = schemes.first() else { return Vec::new() };
    match &first.form {
        Form::Standard(_) => {
            let keys = schemes.iter().filter_map(|scheme| match &scheme.form {
                Form::Standard(key) => Some(key),
                _ => None,
            });
            standard::sign(keys, signed).into_iter().collect()
        }
        Form::Stripe(_) => {
            let keys = schemes.iter().filter_map(|scheme| match &scheme.form {
                Form::Stripe(key) => Some(key),
                _ => None,
            });
            vec![stripe::sign(keys, signed)]
        }
        Form::HeaderMac(mac) => mac.sign(signed),
        Form::Twilio(key) => vec![key.sign(signed)],
        Form::Token(token) => vec![token.sign()],
    }
}

/// Verifies a received request: any secret that fits is enough.
///
/// Secrets and signatures are compared in a time that does not tell where they differ. Hex is read in either case; headers
/// of the signature that are there twice are refused, even if they agree.
///
/// # Errors
/// Why it is refused, as the first secret sees it. No secret at all fits nothing: a source that is not to be verified must
/// not ask.
pub fn verify(schemes: &[Scheme], received: &Received<'_>) -> Result<(), Refusal> {
    let mut refusal = None;
    for scheme in schemes {
        match scheme.verify(received) {
            Ok(()) => return Ok(()),
            Err(reason) => refusal = refusal.or(Some(reason)),
        }
    }
    Err(refusal.unwrap_or(Refusal::Mismatch))
}

impl From<standard::StandardKey> for Scheme {
    fn from(key: standard::StandardKey) -> Self {
        Self { kind: SchemeKind::Standard, form: Form::Standard(key) }
    }
}

impl fmt::Debug for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Scheme");
        out.field("kind", &self.kind);
        match &self.form {
            Form::Standard(key) => out.field("key", key),
            Form::HeaderMac(mac) => out.field("header", &mac.header),
            Form::Token(token) => out.field("header", &token.header),
            Form::Stripe(_) | Form::Twilio(_) => &mut out,
        };
        out.finish_non_exhaustive()
    }
}

/// A header value from a text that this module wrote.
fn header_value(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(text))
        .expect("digits, hex, base64, dates, an event's id and a checked prefix are visible ASCII")
}

/// A number in decimal digits, without memory taken.
struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    fn new(mut number: u64) -> Self {
        let mut digits = [b'0'; 20];
        let mut start = digits.len() - 1;
        while number > 9 {
            digits[start] += (number % 10) as u8;
            number /= 10;
            start -= 1;
        }
        digits[start] += number as u8;
        Self { digits, start }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }

    fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).expect("digits are ASCII")
    }
}
