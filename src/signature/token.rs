//! A fixed secret in a header: `token`, `basic`, and GitLab's `x-gitlab-token`.
//!
//! Nothing of the request is signed, so such a secret is only as safe as the connection that it travels on.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::received::Received;
use super::refusal::Refusal;
use super::secret::SecretError;

/// What stands before a token in `authorization` (RFC 6750, section 2.1).
const BEARER: &str = "Bearer ";
/// What stands before a user and password (RFC 7617, section 2).
const BASIC: &str = "Basic ";

/// The header's value, whole.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) header: HeaderName,
    value: HeaderValue,
    /// Bytes of the value that are no secret.
    prefix_len: usize,
}

impl Token {
    /// GitLab's: the bare secret in its own header.
    pub(super) fn gitlab(secret: &[u8]) -> Result<Self, SecretError> {
        Self::with_prefix(HeaderName::from_static("x-gitlab-token"), "", secret)
    }

    /// A secret in `header`, behind `prefix`. Where none is given, `authorization` gets `Bearer `, unless the secret brings
    /// its own scheme, as `Token abc` does.
    pub(super) fn new(header: HeaderName, prefix: Option<&str>, secret: &[u8]) -> Result<Self, SecretError> {
        let prefix = prefix.unwrap_or(if header == AUTHORIZATION && !secret.contains(&b' ') { BEARER } else { "" });
        Self::with_prefix(header, prefix, secret)
    }

    /// A user and a password; without a user the secret holds both, with a colon between them.
    pub(super) fn basic(header: HeaderName, user: Option<&str>, secret: &[u8]) -> Result<Self, SecretError> {
        let user = user.map(|user| [user.as_bytes(), b":"].concat());
        if user.is_none() && !secret.contains(&b':') {
            return Err(SecretError::NoUser);
        }
        if secret.iter().any(u8::is_ascii_control) {
            return Err(SecretError::NoHeaderValue);
        }
        let pair = Zeroizing::new([user.unwrap_or_default().as_slice(), secret].concat());
        Self::with_prefix(header, BASIC, Zeroizing::new(STANDARD.encode(&pair)).as_bytes())
    }

    fn with_prefix(header: HeaderName, prefix: &str, secret: &[u8]) -> Result<Self, SecretError> {
        // White space at the ends would be lost on the way, and control characters are not allowed (RFC 9110, section 5.5).
        let trimmed = secret.trim_ascii() == secret;
        let bytes = Zeroizing::new([prefix.as_bytes(), secret].concat());
        let mut value = HeaderValue::from_bytes(&bytes).ok().filter(|_| trimmed).ok_or(SecretError::NoHeaderValue)?;
        value.set_sensitive(true);
        Ok(Self { header, value, prefix_len: prefix.len() })
    }

    pub(super) fn verify(&self, received: &Received<'_>) -> Result<(), Refusal> {
        let value = received.header(&self.header)?;
        let (prefix, secret) = value.split_at_checked(self.prefix_len).ok_or(Refusal::MalformedHeader)?;
        let (expected_prefix, expected) = self.value.as_bytes().split_at(self.prefix_len);
        // The name of an authentication scheme has no case (RFC 9110, section 11.1).
        if !prefix.eq_ignore_ascii_case(expected_prefix) || secret.is_empty() {
            return Err(Refusal::MalformedHeader);
        }
        if expected.ct_eq(secret).into() { Ok(()) } else { Err(Refusal::Mismatch) }
    }

    pub(super) fn sign(&self) -> (HeaderName, HeaderValue) {
        (self.header.clone(), self.value.clone())
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderMap;

    use super::*;

    fn answer(token: &Token, value: &str) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(token.header.clone(), value.parse().unwrap());
        token.verify(&Received { headers: &headers, body: b"", now_secs: 0, url: None })
    }

    #[test]
    fn authorization_gets_bearer_and_other_headers_the_bare_secret() {
        let named = HeaderName::from_static("x-token");
        for (header, prefix, secret, expected) in [
            (AUTHORIZATION, None, "abc", "Bearer abc"),
            (AUTHORIZATION, None, "Token abc", "Token abc"),
            (AUTHORIZATION, Some(""), "abc", "abc"),
            (AUTHORIZATION, Some("Token "), "abc", "Token abc"),
            (named.clone(), None, "abc", "abc"),
            (named, Some("v1:"), "abc", "v1:abc"),
        ] {
            let token = Token::new(header, prefix, secret.as_bytes()).unwrap();
            let (_, value) = token.sign();
            assert_eq!(value, expected);
            assert!(value.is_sensitive());
            assert_eq!(answer(&token, expected), Ok(()));
        }
    }

    #[test]
    fn user_and_password_are_encoded_as_rfc_7617_shows() {
        let split = Token::basic(AUTHORIZATION, Some("Aladdin"), b"open sesame").unwrap();
        let whole = Token::basic(AUTHORIZATION, None, b"Aladdin:open sesame").unwrap();
        for token in [split, whole] {
            assert_eq!(token.sign().1, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
            assert_eq!(answer(&token, "basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), Ok(()));
            assert_eq!(answer(&token, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZg=="), Err(Refusal::Mismatch));
            assert_eq!(answer(&token, "Basic qWxhZGRpbjpvcGVuIHNlc2FtZQ=="), Err(Refusal::Mismatch));
        }
        assert_eq!(Token::basic(AUTHORIZATION, None, b"open").err(), Some(SecretError::NoUser));
        assert_eq!(Token::basic(AUTHORIZATION, Some("u"), b"a\0b").err(), Some(SecretError::NoHeaderValue));
    }

    #[test]
    fn other_values_are_refused() {
        let token = Token::new(AUTHORIZATION, None, b"abc").unwrap();
        for (value, refusal) in [
            ("", Refusal::MalformedHeader),
            ("abc", Refusal::MalformedHeader),
            ("Bearer", Refusal::MalformedHeader),
            ("Basic abc", Refusal::MalformedHeader),
            ("Bearer ab", Refusal::Mismatch),
            ("Bearer abd", Refusal::Mismatch),
            ("Bearer ABC", Refusal::Mismatch),
            ("Bearer abcd", Refusal::Mismatch),
            ("Bearer  abc", Refusal::Mismatch),
        ] {
            assert_eq!(answer(&token, value), Err(refusal), "{value:?}");
        }
    }

    #[test]
    fn secrets_that_no_header_carries_are_refused() {
        for bad in ["a\nb", "a\0", "\u{7f}", " a", "a ", "\ta"] {
            let refused = Token::new(AUTHORIZATION, None, bad.as_bytes()).err();
            assert_eq!(refused, Some(SecretError::NoHeaderValue), "{bad:?}");
        }
    }
}
