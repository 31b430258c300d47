//! From the words of a config to a [`Scheme`] that cannot be wrong.
//!
//! What is refused here is said in the words of the config, and never with any part of a secret.

use std::borrow::Cow;

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use thiserror::Error;

use super::header_mac::{Content, ContentError, HeaderMac, Spelling, Timestamp};
use super::kind::SchemeKind;
use super::mac::{Algorithm, Encoding, MacKey};
use super::secret::{Secret, SecretError};
use super::standard::StandardKey;
use super::stripe::StripeKey;
use super::token::Token;
use super::twilio::TwilioKey;
use super::{Form, Scheme};
use crate::limits;

/// What a scheme may be told besides its secret, as it stands in the config. Each scheme refuses what it has no use for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// `hmac` (needed), `token` and `basic` (default `authorization`): the header that carries it.
    pub header: Option<&'a str>,
    /// `hmac`: `sha1`, `sha256` (default) or `sha512`.
    pub algorithm: Option<&'a str>,
    /// `hmac`: `hex` (default) or `base64`.
    pub encoding: Option<&'a str>,
    /// `hmac` (default none), `token` (default `Bearer ` in `authorization`): what stands before the value.
    pub prefix: Option<&'a str>,
    /// `basic`: the user; without it the secret is `user:password`.
    pub username: Option<&'a str>,
    /// `hmac`: what is signed, with `{timestamp}`, `{id}` and `{body}`; default `{body}`.
    pub content: Option<&'a str>,
    /// `hmac` with a `{timestamp}`: the header with it, in whole seconds; default `webhook-timestamp`.
    pub timestamp_header: Option<&'a str>,
    /// `hmac` with an `{id}`: the header with it; default `webhook-id`.
    pub id_header: Option<&'a str>,
    /// `hmac` with a `{timestamp}`: how far it may lie from now, in seconds; default 300.
    pub tolerance_secs: Option<u64>,
}

/// Why no scheme could be made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SchemeError {
    /// The secret does not fit the scheme.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// An option that the scheme cannot do without.
    #[error("the scheme {kind} needs `{option}`")]
    Missing {
        /// The scheme.
        kind: SchemeKind,
        /// The option.
        option: &'static str,
    },
    /// An option that would have no effect.
    #[error("the scheme {kind} has no use for `{option}`: remove it")]
    NotTaken {
        /// The scheme.
        kind: SchemeKind,
        /// The option.
        option: &'static str,
    },
    /// An option that has no effect without another one.
    #[error("`{option}` has no effect unless `content` names {needs}")]
    NotNamed {
        /// The option.
        option: &'static str,
        /// What the content would have to name.
        needs: &'static str,
    },
    /// A word outside the closed set.
    #[error("`{option}` is {found:?}; expected {expected}")]
    Word {
        /// The option.
        option: &'static str,
        /// The word.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// No header name.
    #[error("`{option}` is {found:?}, which is no header name; expected a name such as x-signature")]
    HeaderName {
        /// The option.
        option: &'static str,
        /// What was given.
        found: String,
    },
    /// A header that the request carries for other ends.
    #[error("`{option}` is {found:?}, which every request carries for another end; choose another header")]
    HeaderTaken {
        /// The option.
        option: &'static str,
        /// The header.
        found: String,
    },
    /// Two options name one header.
    #[error("`{option}` is {found:?}, the header of the signature; choose another header")]
    HeaderTwice {
        /// The option.
        option: &'static str,
        /// The header.
        found: String,
    },
    /// Characters that no header value may carry.
    #[error("`{option}` must be visible ASCII characters and spaces, without a space at its start, and at most {max} bytes", max = TEXT_BYTES_MAX)]
    Text {
        /// The option.
        option: &'static str,
    },
    /// A user name with a colon (RFC 7617).
    #[error("`username` must not hold a colon: what follows it would be read as the password")]
    Colon,
    /// A template that cannot be used.
    #[error("`content` {0}")]
    Content(#[source] ContentError),
    /// A `whpk_` key where signatures are made.
    #[error("the secret is a public key (whpk_…), which only verifies; signing needs the whsk_… it belongs to")]
    PublicKey,
}

/// Longest prefix or user name, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// Headers that a request carries for other ends than a signature.
const TAKEN: [&str; 15] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "webhook-attempt",
    "webhook-id",
    "webhook-timestamp",
];

impl SchemeError {
    /// The option at fault, `None` where it is the secret.
    #[must_use]
    pub fn option(&self) -> Option<&'static str> {
        match self {
            Self::Secret(SecretError::NoUser) => Some("username"),
            Self::Secret(_) | Self::PublicKey => None,
            Self::Missing { option, .. }
            | Self::NotTaken { option, .. }
            | Self::NotNamed { option, .. }
            | Self::Word { option, .. }
            | Self::HeaderName { option, .. }
            | Self::HeaderTaken { option, .. }
            | Self::HeaderTwice { option, .. }
            | Self::Text { option } => Some(option),
            Self::Colon => Some("username"),
            Self::Content(_) => Some("content"),
        }
    }
}

impl Scheme {
    /// A scheme that verifies, and that signs too unless its secret is a public key.
    ///
    /// # Errors
    /// Says which option, or what about the secret, does not fit `kind`.
    pub fn new(kind: SchemeKind, secret: &Secret, options: &Options<'_>) -> Result<Self, SchemeError> {
        options.only_taken_by(kind)?;
        let bytes = secret.expose();
        if bytes.is_empty() {
            return Err(SecretError::Empty.into());
        }
        if bytes.len() > limits::SECRET_BYTES_MAX {
            return Err(SecretError::TooLong { found: bytes.len() }.into());
        }
        if [bytes.first(), bytes.last()].iter().flatten().any(|byte| matches!(byte, b'\r' | b'\n')) {
            return Err(SecretError::LineBreak.into());
        }
        let form = match kind {
            SchemeKind::Standard => Form::Standard(StandardKey::parse(secret)?),
            SchemeKind::Github => Form::HeaderMac(HeaderMac::github(bytes)),
            SchemeKind::Stripe => Form::Stripe(StripeKey::new(bytes)),
            SchemeKind::Shopify => Form::HeaderMac(HeaderMac::shopify(bytes)),
            SchemeKind::Slack => Form::HeaderMac(HeaderMac::slack(bytes)),
            SchemeKind::Twilio => Form::Twilio(TwilioKey::new(bytes)),
            SchemeKind::Gitlab => Form::Token(Token::gitlab(bytes)?),
            SchemeKind::Zendesk => Form::HeaderMac(HeaderMac::zendesk(bytes)),
            SchemeKind::Hmac => Form::HeaderMac(options.hmac(bytes)?),
            SchemeKind::Token => {
                let prefix = options.prefix.map(|prefix| header_text("prefix", prefix)).transpose()?;
                Form::Token(Token::new(options.header_or_authorization()?, prefix, bytes)?)
            }
            SchemeKind::Basic => {
                let user = options.username.map(|user| header_text("username", user)).transpose()?;
                if user.is_some_and(|user| user.contains(':')) {
                    return Err(SchemeError::Colon);
                }
                Form::Token(Token::basic(options.header_or_authorization()?, user, bytes)?)
            }
        };
        Ok(Self { kind, form })
    }

    /// A scheme that can sign.
    ///
    /// # Errors
    /// As [`Scheme::new`], and for a `whpk_` key.
    pub fn for_signing(kind: SchemeKind, secret: &Secret, options: &Options<'_>) -> Result<Self, SchemeError> {
        let scheme = Self::new(kind, secret, options)?;
        if scheme.can_sign() { Ok(scheme) } else { Err(SchemeError::PublicKey) }
    }
}

impl Options<'_> {
    /// Refuses what `kind` would ignore: a forgotten line in a config is a mistake worth telling.
    fn only_taken_by(&self, kind: SchemeKind) -> Result<(), SchemeError> {
        let given = [
            ("header", self.header.is_some()),
            ("algorithm", self.algorithm.is_some()),
            ("encoding", self.encoding.is_some()),
            ("prefix", self.prefix.is_some()),
            ("username", self.username.is_some()),
            ("content", self.content.is_some()),
            ("timestamp_header", self.timestamp_header.is_some()),
            ("id_header", self.id_header.is_some()),
            ("tolerance", self.tolerance_secs.is_some()),
        ];
        let taken = |option: &str| match kind {
            SchemeKind::Hmac => option != "username",
            SchemeKind::Token => matches!(option, "header" | "prefix"),
            SchemeKind::Basic => matches!(option, "header" | "username"),
            _ => false,
        };
        match given.into_iter().find(|(option, given)| *given && !taken(option)) {
            Some((option, _)) => Err(SchemeError::NotTaken { kind, option }),
            None => Ok(()),
        }
    }

    fn header_or_authorization(&self) -> Result<HeaderName, SchemeError> {
        self.header.map_or(Ok(AUTHORIZATION), |name| header_name("header", name))
    }

    fn hmac(&self, secret: &[u8]) -> Result<HeaderMac, SchemeError> {
        let header = self.header.ok_or(SchemeError::Missing { kind: SchemeKind::Hmac, option: "header" })?;
        let header = header_name("header", header)?;
        let algorithm = word("algorithm", self.algorithm, Algorithm::parse, "sha1, sha256 or sha512")?;
        let encoding = word("encoding", self.encoding, Encoding::parse, "hex or base64")?;
        let prefix = self.prefix.map_or(Ok(""), |prefix| header_text("prefix", prefix))?;
        let content = self.content.map_or(Ok(Content::body()), Content::parse).map_err(SchemeError::Content)?;
        for (option, given, named, needs) in [
            ("timestamp_header", self.timestamp_header.is_some(), content.names_timestamp(), "{timestamp}"),
            ("tolerance", self.tolerance_secs.is_some(), content.names_timestamp(), "{timestamp}"),
            ("id_header", self.id_header.is_some(), content.names_id(), "{id}"),
        ] {
            // A timestamp that is checked but not signed would be anyone's to choose.
            if given && !named {
                return Err(SchemeError::NotNamed { option, needs });
            }
        }
        let timestamp_header = part_header("timestamp_header", self.timestamp_header, "webhook-timestamp", &header)?;
        let id_header = part_header("id_header", self.id_header, "webhook-id", &header)?;
        Ok(HeaderMac {
            key: MacKey::new(algorithm.unwrap_or(Algorithm::Sha256), secret),
            header,
            other_header: None,
            encoding: encoding.unwrap_or(Encoding::Hex),
            prefix: Cow::Owned(prefix.to_owned()),
            timestamp: content.names_timestamp().then_some(Timestamp {
                header: timestamp_header,
                spelling: Spelling::Seconds,
                tolerance_secs: self.tolerance_secs.unwrap_or(limits::TIMESTAMP_TOLERANCE_SECS),
            }),
            id: content.names_id().then_some(id_header),
            content,
        })
    }
}

fn word<T>(
    option: &'static str,
    given: Option<&str>,
    parse: fn(&str) -> Option<T>,
    expected: &'static str,
) -> Result<Option<T>, SchemeError> {
    given
        .map(|found| parse(found).ok_or_else(|| SchemeError::Word { option, found: found.to_owned(), expected }))
        .transpose()
}

fn header_name(option: &'static str, name: &str) -> Result<HeaderName, SchemeError> {
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| SchemeError::HeaderName { option, found: name.to_owned() })?;
    if TAKEN.contains(&parsed.as_str()) {
        return Err(SchemeError::HeaderTaken { option, found: name.to_owned() });
    }
    Ok(parsed)
}

/// The header of a signed timestamp or id: the one that each delivery carries, unless another one is named.
fn part_header(
    option: &'static str,
    given: Option<&str>,
    default: &'static str,
    signature: &HeaderName,
) -> Result<HeaderName, SchemeError> {
    let Some(name) = given.filter(|name| !name.eq_ignore_ascii_case(default)) else {
        return Ok(HeaderName::from_static(default));
    };
    let header = header_name(option, name)?;
    if header == *signature {
        return Err(SchemeError::HeaderTwice { option, found: name.to_owned() });
    }
    Ok(header)
}

fn header_text<'t>(option: &'static str, text: &'t str) -> Result<&'t str, SchemeError> {
    let fits = text.len() <= TEXT_BYTES_MAX && text.is_ascii() && !text.starts_with(' ');
    // `HeaderValue` knows which characters may travel, but would also take a tab.
    if fits && !text.contains('\t') && HeaderValue::from_str(text).is_ok() {
        Ok(text)
    } else {
        Err(SchemeError::Text { option })
    }
}

#[cfg(test)]
mod tests;
