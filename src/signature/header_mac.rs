//! An HMAC of the body, or of a text around it, in one header: GitHub, Shopify, Slack, Zendesk and the generic `hmac`.
//!
//! They differ in the header, the hash, the spelling, a prefix, and in what is signed besides the body; so each is a row of
//! data, and the code is written once.

use std::borrow::Cow;

use hyper::header::{HeaderName, HeaderValue};
use thiserror::Error;

use super::mac::{Algorithm, Encoding, MacKey, Tag};
use super::received::{Received, seconds};
use super::refusal::Refusal;
use super::{Decimal, Signed, header_value};
use crate::clock::UnixMs;
use crate::limits;

/// One such scheme with its key.
#[derive(Clone)]
pub(super) struct HeaderMac {
    pub(super) key: MacKey,
    /// Where the signature stands.
    pub(super) header: HeaderName,
    pub(super) encoding: Encoding,
    /// What stands before the encoded signature.
    pub(super) prefix: Cow<'static, str>,
    pub(super) content: Content,
    /// Where the timestamp stands, if one is signed.
    pub(super) timestamp: Option<Timestamp>,
    /// Where the id stands, if one is signed.
    pub(super) id: Option<HeaderName>,
}

/// A signed timestamp.
#[derive(Clone)]
pub(super) struct Timestamp {
    pub(super) header: HeaderName,
    pub(super) spelling: Spelling,
    pub(super) tolerance_secs: u64,
}

/// How a timestamp is written.
#[derive(Clone, Copy)]
pub(super) enum Spelling {
    /// Whole seconds since the epoch.
    Seconds,
    /// RFC 3339, written in UTC with whole seconds.
    Rfc3339,
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Cow<'static, str>),
    Timestamp,
    Id,
    Body,
}

/// What is wrong with a template of signed content.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ContentError {
    /// A brace that opens no known name.
    #[error("has a brace that belongs to none of {{timestamp}}, {{id}} and {{body}}")]
    Brace,
    /// The body would not be signed, or signed more than once.
    #[error("must name {{body}} exactly once")]
    Body,
    /// Longer than the limit.
    #[error("has {len} bytes, at most {max} are allowed", max = Content::TEMPLATE_BYTES_MAX)]
    TooLong {
        /// Bytes given.
        len: usize,
    },
}

impl Content {
    const TEMPLATE_BYTES_MAX: usize = 256;

    /// The body alone.
    pub(super) fn body() -> Self {
        Self(vec![Part::Body])
    }

    /// Reads a template such as `v0:{timestamp}:{body}`.
    pub(super) fn parse(template: &str) -> Result<Self, ContentError> {
        if template.len() > Self::TEMPLATE_BYTES_MAX {
            return Err(ContentError::TooLong { len: template.len() });
        }
        let mut parts = Vec::new();
        let mut rest = template;
        while !rest.is_empty() {
            let names = [("{timestamp}", Part::Timestamp), ("{id}", Part::Id), ("{body}", Part::Body)];
            if let Some((name, part)) = names.into_iter().find(|(name, _)| rest.starts_with(name)) {
                rest = &rest[name.len()..];
                parts.push(part);
                continue;
            }
            let (text, after) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            if text.is_empty() || text.contains('}') {
                return Err(ContentError::Brace);
            }
            parts.push(Part::Text(Cow::Owned(text.to_owned())));
            rest = after;
        }
        if parts.iter().filter(|part| **part == Part::Body).count() != 1 {
            return Err(ContentError::Body);
        }
        Ok(Self(parts))
    }

    pub(super) fn names_timestamp(&self) -> bool {
        self.0.contains(&Part::Timestamp)
    }

    pub(super) fn names_id(&self) -> bool {
        self.0.contains(&Part::Id)
    }
}

impl HeaderMac {
    pub(super) fn github(secret: &[u8]) -> Self {
        Self {
            key: MacKey::new(Algorithm::Sha256, secret),
            header: HeaderName::from_static("x-hub-signature-256"),
            encoding: Encoding::Hex,
            prefix: Cow::Borrowed("sha256="),
            content: Content::body(),
            timestamp: None,
            id: None,
        }
    }

    pub(super) fn shopify(secret: &[u8]) -> Self {
        Self {
            header: HeaderName::from_static("x-shopify-hmac-sha256"),
            encoding: Encoding::Base64,
            prefix: Cow::Borrowed(""),
            ..Self::github(secret)
        }
    }

    pub(super) fn slack(secret: &[u8]) -> Self {
        Self {
            header: HeaderName::from_static("x-slack-signature"),
            prefix: Cow::Borrowed("v0="),
            content: Content(vec![
                Part::Text(Cow::Borrowed("v0:")),
                Part::Timestamp,
                Part::Text(Cow::Borrowed(":")),
                Part::Body,
            ]),
            timestamp: Some(Timestamp {
                header: HeaderName::from_static("x-slack-request-timestamp"),
                spelling: Spelling::Seconds,
                tolerance_secs: limits::TIMESTAMP_TOLERANCE_SECS,
            }),
            ..Self::github(secret)
        }
    }

    pub(super) fn zendesk(secret: &[u8]) -> Self {
        Self {
            header: HeaderName::from_static("x-zendesk-webhook-signature"),
            content: Content(vec![Part::Timestamp, Part::Body]),
            timestamp: Some(Timestamp {
                header: HeaderName::from_static("x-zendesk-webhook-signature-timestamp"),
                spelling: Spelling::Rfc3339,
                tolerance_secs: limits::TIMESTAMP_TOLERANCE_SECS,
            }),
            ..Self::shopify(secret)
        }
    }

    /// Whether the timestamp or the id that is signed stands in a header that every delivery has anyway.
    pub(super) fn relies_on_delivery_headers(&self) -> bool {
        self.timestamp.as_ref().is_some_and(|timestamp| timestamp.header.as_str() == "webhook-timestamp")
            || self.id.as_ref().is_some_and(|header| header.as_str() == "webhook-id")
    }

    fn tag(&self, timestamp: &[u8], id: &[u8], body: &[u8]) -> Tag {
        self.key.tag(self.content.0.iter().map(|part| match part {
            Part::Text(text) => text.as_bytes(),
            Part::Timestamp => timestamp,
            Part::Id => id,
            Part::Body => body,
        }))
    }

    pub(super) fn verify(&self, received: &Received<'_>) -> Result<(), Refusal> {
        let signature = received.header(&self.header)?;
        let timestamp = match &self.timestamp {
            Some(timestamp) => timestamp.verify(received)?,
            None => b"",
        };
        let id = match &self.id {
            Some(header) => received.header(header)?,
            None => b"",
        };
        let tag = signature
            .strip_prefix(self.prefix.as_bytes())
            .and_then(|text| Tag::parse(text, self.key.algorithm(), self.encoding))
            .ok_or(Refusal::MalformedHeader)?;
        if self.tag(timestamp, id, received.body).fits(&tag) { Ok(()) } else { Err(Refusal::Mismatch) }
    }

    /// The signature's header, and those of the timestamp and the id where a delivery does not carry them anyway.
    pub(super) fn sign(&self, signed: &Signed<'_>) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::with_capacity(3);
        let decimal;
        let rfc3339;
        let timestamp = match self.timestamp.as_ref().map(|timestamp| timestamp.spelling) {
            None => "",
            Some(Spelling::Seconds) => {
                decimal = Decimal::new(signed.timestamp_secs);
                decimal.as_str()
            }
            Some(Spelling::Rfc3339) => {
                // A time that no calendar reaches is written as the last one that it does.
                let secs = i64::try_from(signed.timestamp_secs).unwrap_or(i64::MAX);
                rfc3339 = jiff::Timestamp::from_second(secs).unwrap_or(jiff::Timestamp::MAX).to_string();
                rfc3339.as_str()
            }
        };
        let tag = self.tag(timestamp.as_bytes(), signed.id.as_str().as_bytes(), signed.body);
        let mut text = String::with_capacity(self.prefix.len() + tag.written_len(self.encoding));
        text.push_str(&self.prefix);
        tag.write(self.encoding, &mut text);
        headers.push((self.header.clone(), header_value(text)));
        if let Some(Timestamp { header, .. }) = &self.timestamp
            && header.as_str() != "webhook-timestamp"
        {
            headers.push((header.clone(), header_value(timestamp.to_owned())));
        }
        if let Some(header) = &self.id
            && header.as_str() != "webhook-id"
        {
            headers.push((header.clone(), header_value(signed.id.as_str().to_owned())));
        }
        headers
    }
}

impl Timestamp {
    /// The text of the timestamp, once it is known to lie within the tolerance.
    fn verify<'a>(&self, received: &Received<'a>) -> Result<&'a [u8], Refusal> {
        let text = received.header(&self.header)?;
        let at_secs = match self.spelling {
            Spelling::Seconds => seconds(text)?,
            Spelling::Rfc3339 => str::from_utf8(text)
                .ok()
                .and_then(UnixMs::parse_rfc3339)
                .map(UnixMs::secs)
                .ok_or(Refusal::MalformedHeader)?,
        };
        received.in_window(at_secs, self.tolerance_secs)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_read_in_their_order() {
        assert_eq!(Content::parse("v0:{timestamp}:{body}").unwrap(), HeaderMac::slack(b"k").content);
        assert_eq!(Content::parse("{timestamp}{body}").unwrap(), HeaderMac::zendesk(b"k").content);
        let all = Content::parse("{id}.{timestamp}.{body}!").unwrap();
        assert!(all.names_id() && all.names_timestamp());
        assert_eq!(all.0.len(), 6);
    }

    #[test]
    fn templates_that_sign_no_body_or_name_something_else_are_refused() {
        for bad in ["", "{timestamp}", "{body}{body}", "x"] {
            assert_eq!(Content::parse(bad), Err(ContentError::Body), "{bad}");
        }
        for bad in ["{Body}", "{body", "body}", "{url}{body}", "{{body}}", "{}{body}", "{body}}"] {
            assert_eq!(Content::parse(bad), Err(ContentError::Brace), "{bad}");
        }
        let long = format!("{}{{body}}", "x".repeat(Content::TEMPLATE_BYTES_MAX));
        assert_eq!(Content::parse(&long), Err(ContentError::TooLong { len: long.len() }));
        assert_eq!(ContentError::Brace.to_string(), "has a brace that belongs to none of {timestamp}, {id} and {body}");
    }
}
