//! Bearer tokens: who may do what.

use hyper::header::HeaderValue;
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use crate::config::{Scope, Token};
use crate::front::problem::{Problem, ProblemKind, scope_word};

/// The tokens of the config, as digests.
///
/// What a client sends is digested too and compared with every token in constant time, so that neither the place of the
/// first different byte nor a token's length shows in the time an answer takes.
#[derive(Debug)]
pub struct Tokens {
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    digest: [u8; 32],
    scope: Scope,
}

fn digest(value: &[u8]) -> [u8; 32] {
    Sha256::digest(value).into()
}

impl Tokens {
    /// Takes the tokens of a config; without any, everyone may do everything.
    #[must_use]
    pub fn new(tokens: &[Token]) -> Self {
        let known = |token: &Token| Known { digest: digest(token.secret.expose()), scope: token.scope };
        Self { known: tokens.iter().map(known).collect() }
    }

    /// Whether a request with this `Authorization` may do what `needs` asks for.
    ///
    /// # Errors
    /// 401 without a token that is known, 403 where its scope does not reach so far.
    pub fn permit(&self, authorization: Option<&HeaderValue>, needs: Scope) -> Result<(), Problem> {
        if self.known.is_empty() {
            return Ok(());
        }
        let Some(given) = authorization.and_then(|value| bearer(value.as_bytes())) else {
            let detail = format!("send \"Authorization: Bearer …\" with a token of scope {}", scope_word(needs));
            return Err(Problem::new(ProblemKind::Unauthorized, detail));
        };
        match self.scope_of(given) {
            None => Err(Problem::new(ProblemKind::Unauthorized, "the token is not one of [api] token.*")),
            Some(has) if has < needs => Err(Problem::insufficient_scope(has, needs)),
            Some(_) => Ok(()),
        }
    }

    fn scope_of(&self, given: &[u8]) -> Option<Scope> {
        let given = digest(given);
        // 0 stands for "none"; every token is looked at, whichever fits.
        let mut found = 0u32;
        for (place, known) in (1u32..).zip(&self.known) {
            found.conditional_assign(&place, known.digest.ct_eq(&given));
        }
        let place = usize::try_from(found).ok()?.checked_sub(1)?;
        self.known.get(place).map(|known| known.scope)
    }
}

/// The token of `Bearer <token>` (RFC 6750, section 2.1; the scheme's case does not matter).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return None;
    }
    let token = token.trim_ascii();
    (!token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::secret::Secret;

    fn tokens() -> Tokens {
        let token = |name: &str, value: &str, scope| Token {
            name: name.to_owned(),
            secret: Secret::new(value.as_bytes().to_vec()),
            scope,
        };
        Tokens::new(&[
            token("app", "sending-token-0000", Scope::Send),
            token("grafana", "reading-token-0000", Scope::Read),
            token("ops", "admin-token-000000", Scope::Admin),
        ])
    }

    fn status(tokens: &Tokens, header: Option<&str>, needs: Scope) -> u16 {
        let value = header.map(|text| HeaderValue::from_str(text).unwrap());
        tokens.permit(value.as_ref(), needs).map_or_else(|problem| problem.kind.status().as_u16(), |()| 200)
    }

    #[test]
    fn each_scope_includes_the_smaller_ones() {
        let tokens = tokens();
        let table = [
            ("Bearer sending-token-0000", [200, 403, 403]),
            ("bearer reading-token-0000", [200, 200, 403]),
            ("BEARER  admin-token-000000 ", [200, 200, 200]),
        ];
        for (header, expected) in table {
            let got = [Scope::Send, Scope::Read, Scope::Admin].map(|needs| status(&tokens, Some(header), needs));
            assert_eq!(got, expected, "{header}");
        }
    }

    #[test]
    fn anything_but_a_known_token_is_401() {
        let tokens = tokens();
        let bad = ["Bearer", "Bearer ", "Basic c2VuZA==", "sending-token-0000", "Bearer sending-token-000", "Bearer x"];
        assert_eq!(status(&tokens, None, Scope::Send), 401);
        for header in bad {
            assert_eq!(status(&tokens, Some(header), Scope::Send), 401, "{header}");
        }
        let problem = tokens.permit(None, Scope::Send).unwrap_err().into_response();
        assert!(problem.headers().contains_key("www-authenticate"));
    }

    #[test]
    fn without_tokens_everyone_may_do_everything() {
        assert_eq!(status(&Tokens::new(&[]), None, Scope::Admin), 200);
    }

    #[test]
    fn no_token_shows_in_debug_output_or_problems() {
        let tokens = tokens();
        let value = HeaderValue::from_static("Bearer some-wrong-secret");
        let problem = tokens.permit(Some(&value), Scope::Send).unwrap_err();
        let text = format!("{tokens:?} {problem:?}");
        assert!(!text.contains("token-0000") && !text.contains("some-wrong-secret"), "{text}");
    }
}
