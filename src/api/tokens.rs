//! Bearer tokens: who may do what.

use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use crate::config::{Scope, Token};
use crate::front::problem::{Problem, ProblemKind, scope_word};
use crate::observe::audit::Actor;

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
    name: Arc<str>,
    digest: [u8; 32],
    scope: Scope,
}

/// A request that may not do what it wants.
#[derive(Debug)]
pub struct Denied {
    /// Who sent it.
    pub actor: Actor,
    /// The scope of its token, where that is known.
    has: Option<Scope>,
    needs: Scope,
}

impl Denied {
    /// What is answered. It tells neither whether a token was sent nor what was wrong with it.
    #[must_use]
    pub fn problem(&self) -> Problem {
        if let Some(has) = self.has {
            return Problem::insufficient_scope(has, self.needs);
        }
        let detail = format!(
            "send one header \"Authorization: Bearer …\" with a token of [api] token.* of scope {} or more",
            scope_word(self.needs)
        );
        Problem::new(ProblemKind::Unauthorized, detail)
    }
}

fn digest(value: &[u8]) -> [u8; 32] {
    Sha256::digest(value).into()
}

impl Tokens {
    /// Takes the tokens of a config; without any, everyone may do everything.
    #[must_use]
    pub fn new(tokens: &[Token]) -> Self {
        let known = |token: &Token| Known {
            name: token.name.as_str().into(),
            digest: digest(token.secret.expose()),
            scope: token.scope,
        };
        Self { known: tokens.iter().map(known).collect() }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Who sends a request with these headers, where it may do what `needs` asks for. A token stands in the one
    /// `Authorization`, and nowhere else.
    ///
    /// Whoever guesses learns nothing: no token, a wrong one and several are answered alike, after the same work.
    ///
    /// # Errors
    /// 401 without a token that is known, 403 where its scope does not reach so far.
    pub fn permit(&self, headers: &HeaderMap, needs: Scope) -> Result<Actor, Denied> {
        if self.known.is_empty() {
            return Ok(Actor::Anonymous);
        }
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let (first, several) = (fields.next(), fields.next().is_some());
        let given = first.filter(|_| !several).and_then(|field| bearer(field.as_bytes()));
        // No token of the config is empty.
        let Some(known) = self.find(given.unwrap_or_default()) else {
            let actor = if first.is_some() { Actor::Unknown } else { Actor::Anonymous };
            return Err(Denied { actor, has: None, needs });
        };
        let actor = Actor::Token(Arc::clone(&known.name));
        if known.scope < needs {
            return Err(Denied { actor, has: Some(known.scope), needs });
        }
        Ok(actor)
    }

    fn find(&self, given: &[u8]) -> Option<&Known> {
        let given = digest(given);
        // 0 stands for "none"; every token is looked at, whichever fits.
        let mut found = 0u32;
        for (place, known) in (1u32..).zip(&self.known) {
            found.conditional_assign(&place, known.digest.ct_eq(&given));
        }
        let place = usize::try_from(found).ok()?.checked_sub(1)?;
        self.known.get(place)
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
    use hyper::header::HeaderValue;

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

    fn headers(authorization: &[&str]) -> HeaderMap {
        let field = |text: &&str| (AUTHORIZATION, HeaderValue::from_str(text).unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in authorization.iter().map(field) {
            headers.append(name, value);
        }
        headers
    }

    fn status(tokens: &Tokens, authorization: &[&str], needs: Scope) -> u16 {
        let result = tokens.permit(&headers(authorization), needs);
        result.map_or_else(|denied| denied.problem().kind.status().as_u16(), |_| 200)
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
            let got = [Scope::Send, Scope::Read, Scope::Admin].map(|needs| status(&tokens, &[header], needs));
            assert_eq!(got, expected, "{header}");
        }
    }

    #[test]
    fn anything_but_one_known_token_is_the_same_401() {
        const GOOD: &str = "Bearer sending-token-0000";
        let tokens = tokens();
        let none = tokens.permit(&HeaderMap::new(), Scope::Send).unwrap_err();
        assert_eq!(none.actor, Actor::Anonymous);
        let bad: [&[&str]; 9] = [
            &["Bearer"],
            &["Bearer "],
            &[""],
            &["Basic c2VuZA=="],
            &["sending-token-0000"],
            &["Bearer sending-token-000"],
            &["Bearer x"],
            &[GOOD, GOOD],
            &["Basic c2VuZA==", GOOD],
        ];
        for given in bad {
            let denied = tokens.permit(&headers(given), Scope::Send).unwrap_err();
            assert_eq!((&denied.actor, denied.problem()), (&Actor::Unknown, none.problem()), "{given:?}");
        }
        let answer = none.problem().into_response();
        assert_eq!(answer.status(), 401);
        assert!(answer.headers().contains_key("www-authenticate"));
    }

    #[test]
    fn who_asks_is_known_by_the_tokens_name() {
        let tokens = tokens();
        let given = headers(&["Bearer reading-token-0000"]);
        assert_eq!(tokens.permit(&given, Scope::Send).unwrap(), Actor::Token("grafana".into()));
        assert_eq!(tokens.permit(&given, Scope::Admin).unwrap_err().actor, Actor::Token("grafana".into()));
    }

    #[test]
    fn without_tokens_everyone_may_do_everything() {
        assert_eq!(Tokens::new(&[]).permit(&HeaderMap::new(), Scope::Admin).unwrap(), Actor::Anonymous);
    }

    #[test]
    fn no_token_shows_in_debug_output_or_problems() {
        let tokens = tokens();
        let denied = tokens.permit(&headers(&["Bearer some-wrong-secret"]), Scope::Send).unwrap_err();
        let text = format!("{tokens:?} {denied:?} {:?}", denied.problem());
        assert!(!text.contains("token-0000") && !text.contains("some-wrong-secret"), "{text}");
    }
}
