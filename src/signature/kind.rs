//! The names of the schemes.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Which scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SchemeKind {
    /// Standard Webhooks, HMAC-SHA256 or Ed25519.
    Standard,
    /// `x-hub-signature-256`
    Github,
    /// `stripe-signature`
    Stripe,
    /// `x-shopify-hmac-sha256`
    Shopify,
    /// `x-slack-signature`
    Slack,
    /// `x-twilio-signature`
    Twilio,
    /// `x-gitlab-token`
    Gitlab,
    /// `x-zendesk-webhook-signature`
    Zendesk,
    /// An HMAC in a header of one's choice.
    Hmac,
    /// A fixed secret in a header.
    Token,
    /// `authorization: Basic …`
    Basic,
}

/// A word that names no scheme.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "there is no signature scheme {found:?}; expected one of standard, github, stripe, shopify, slack, twilio, gitlab, \
     zendesk, hmac, token, basic"
)]
pub struct UnknownScheme {
    /// The word.
    pub found: String,
}

impl SchemeKind {
    /// Every scheme there is.
    pub const ALL: [Self; 11] = [
        Self::Standard,
        Self::Github,
        Self::Stripe,
        Self::Shopify,
        Self::Slack,
        Self::Twilio,
        Self::Gitlab,
        Self::Zendesk,
        Self::Hmac,
        Self::Token,
        Self::Basic,
    ];

    /// Its word in the config.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Github => "github",
            Self::Stripe => "stripe",
            Self::Shopify => "shopify",
            Self::Slack => "slack",
            Self::Twilio => "twilio",
            Self::Gitlab => "gitlab",
            Self::Zendesk => "zendesk",
            Self::Hmac => "hmac",
            Self::Token => "token",
            Self::Basic => "basic",
        }
    }
}

impl fmt::Display for SchemeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SchemeKind {
    type Err = UnknownScheme;

    fn from_str(word: &str) -> Result<Self, UnknownScheme> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| UnknownScheme { found: word.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_means_its_scheme_and_the_error_names_them_all() {
        let error = "HMAC".parse::<SchemeKind>().unwrap_err().to_string();
        for kind in SchemeKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert!(error.contains(kind.as_str()), "{error} lacks {kind}");
        }
    }
}
