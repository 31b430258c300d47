//! What vendors ask before they send: each proves that whoever answers wants their requests.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use url::form_urlencoded;

use crate::config::Source;
use crate::front::answer::{Answer, ON_EVERY_ANSWER, with_body};
use crate::front::problem::{Problem, ProblemKind};
use crate::policy::rate::RateLimit;

/// The methods of a source that answers a `hub.challenge`, and of every other.
const ALLOWED: [&str; 2] = ["GET, POST, OPTIONS", "POST, OPTIONS"];

const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// The methods that a source allows.
pub(super) fn allowed(source: &Source) -> &'static str {
    if source.verify_token.is_some() { ALLOWED[0] } else { ALLOWED[1] }
}

/// `OPTIONS`: the validation of CloudEvents (HTTP 1.1 Web Hooks for Event Delivery 1.0, section 4). The headers are the consent;
/// who does not ask for it as it is laid down there gets none.
pub(super) fn consent(source: &Source, headers: &HeaderMap) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let fields = answer.headers_mut();
    fields.extend(ON_EVERY_ANSWER.iter().cloned());
    fields.insert(ALLOW, HeaderValue::from_static(allowed(source)));
    let mut origins = headers.get_all(REQUEST_ORIGIN).iter();
    if let (Some(origin), None) = (origins.next(), origins.next())
        && !origin.is_empty()
    {
        fields.insert(ALLOWED_ORIGIN, origin.clone());
        let rate = source.rate_limit.map_or(HeaderValue::from_static("*"), |limit| per_minute(limit).into());
        fields.insert(ALLOWED_RATE, rate);
        *answer.status_mut() = StatusCode::OK;
    }
    answer
}

/// A rate in requests a minute. The specification knows none below one.
fn per_minute(limit: RateLimit) -> u64 {
    (u64::from(limit.count).saturating_mul(60_000) / limit.per_ms.max(1)).max(1)
}

/// `GET` with `hub.challenge`, as WebSub has it and Meta uses it: whoever shows the token that was agreed on gets the challenge.
pub(super) fn subscribe(source: &Source, query: Option<&str>) -> Result<Answer, Problem> {
    let Some(token) = &source.verify_token else { return Err(method_not_allowed(source)) };
    let fields = || form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let field = |wanted: &str| fields().find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned());
    let challenge = field("hub.challenge").filter(|challenge| !challenge.is_empty());
    let shown = field("hub.verify_token").unwrap_or_default();
    let fits = token.ct_eq(shown.as_bytes());
    match challenge {
        Some(challenge) if fits && field("hub.mode").as_deref() == Some("subscribe") => Ok(text(challenge)),
        _ => Err(Problem::new(ProblemKind::ChallengeRefused, "the request does not show what was agreed on")),
    }
}

/// Slack's `url_verification`, or any other challenge: the text, as it came.
pub(super) fn text(challenge: String) -> Answer {
    let mut answer = with_body(StatusCode::OK, "text/plain; charset=utf-8", Bytes::from(challenge));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    answer
}

/// What another method gets.
pub(super) fn method_not_allowed(source: &Source) -> Problem {
    let mut problem = Problem::new(ProblemKind::MethodNotAllowed, "webhooks are posted here");
    problem.allow = Some(allowed(source));
    problem
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::super::tests::{headers, source};
    use super::*;
    use crate::signature::secret::Secret;

    fn meta() -> Source {
        Source { verify_token: Some(Secret::new(b"agreed on".to_vec())), ..source() }
    }

    #[tokio::test]
    async fn a_challenge_is_echoed_to_whoever_shows_the_token() {
        let query = "hub.mode=subscribe&hub.challenge=115820%3Cb%3E&hub.verify_token=agreed+on";
        let answer = subscribe(&meta(), Some(query)).unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()[CONTENT_TYPE], "text/plain");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "115820<b>");
    }

    #[test]
    fn anything_else_is_refused() {
        for query in [
            "hub.mode=subscribe&hub.challenge=1&hub.verify_token=other",
            "hub.mode=subscribe&hub.challenge=1&hub.verify_token=",
            "hub.mode=subscribe&hub.challenge=1",
            "hub.mode=subscribe&hub.verify_token=agreed+on",
            "hub.mode=subscribe&hub.challenge=&hub.verify_token=agreed+on",
            "hub.mode=unsubscribe&hub.challenge=1&hub.verify_token=agreed+on",
            "hub.challenge=1&hub.verify_token=agreed+on",
            "hub.mode=subscribe&hub.challenge=1&hub.verify_token=other&hub.verify_token=agreed+on",
            "",
        ] {
            let kind = subscribe(&meta(), Some(query)).map(|_| ()).map_err(|problem| problem.kind);
            assert_eq!(kind, Err(ProblemKind::ChallengeRefused), "{query}");
        }
        let problem = subscribe(&source(), Some("hub.mode=subscribe&hub.challenge=1")).unwrap_err();
        assert_eq!((problem.kind, problem.allow), (ProblemKind::MethodNotAllowed, Some("POST, OPTIONS")));
    }

    #[test]
    fn consent_is_given_to_the_origin_that_asks_for_it() {
        let asked =
            headers(&[("webhook-request-origin", b"eventemitter.example.com"), ("webhook-request-rate", b"120")]);
        let limit = |count, per_ms| Some(RateLimit { count, per_ms, burst: 1 });
        for (rate_limit, rate) in
            [(None, "*"), (limit(10, 1000), "600"), (limit(90, 60_000), "90"), (limit(1, 3_600_000), "1")]
        {
            let answer = consent(&Source { rate_limit, ..source() }, &asked);
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()[ALLOWED_ORIGIN], "eventemitter.example.com");
            assert_eq!(answer.headers()[ALLOWED_RATE], rate);
            assert_eq!(answer.headers()[ALLOW], "POST, OPTIONS");
        }
    }

    #[test]
    fn nobody_is_given_a_consent_that_he_has_not_asked_for() {
        const ASKED: &str = "webhook-request-origin";
        let (other, empty) = (("origin", &b"https://a.example"[..]), (ASKED, &b""[..]));
        let twice = vec![(ASKED, &b"a.example"[..]), (ASKED, &b"b.example"[..])];
        for fields in [vec![], vec![other], vec![empty], twice] {
            let answer = consent(&meta(), &headers(&fields));
            assert_eq!(answer.status(), 204);
            assert!(!answer.headers().keys().any(|name| name.as_str().starts_with("webhook-allowed")));
            assert_eq!(answer.headers()[ALLOW], "GET, POST, OPTIONS");
        }
    }
}
