//! Judges the signature of a request, and says in words why one does not hold.

use hyper::header::{HeaderMap, HeaderValue};

use super::when::spoken_span;
use crate::clock::UnixMs;
use crate::limits;
use crate::signature::{Received, Refusal, Scheme, SchemeKind, verify};

/// The schemes of one request, with what is known of the headers that they read.
#[derive(Clone, Debug)]
pub(super) struct Judge {
    schemes: Vec<Scheme>,
    kind: SchemeKind,
    /// Every header that the signature takes.
    headers: Vec<String>,
    stamp: Option<Stamp>,
}

/// Where a signature tells its time.
#[derive(Clone, Debug)]
enum Stamp {
    /// In whole seconds.
    Seconds(String),
    /// As RFC 3339.
    Rfc3339(String),
    /// As `t=` among other things.
    Item(String),
}

/// Why a signature does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The reason.
    pub(super) refusal: Refusal,
    /// The reason in words, with what the headers tell.
    pub(super) words: String,
}

/// What the scheme `hmac`, `token` or `basic` was told of its headers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told<'a> {
    /// The header of the signature.
    pub(super) header: Option<&'a str>,
    /// The header of a signed timestamp.
    pub(super) timestamp: Option<&'a str>,
    /// The header of a signed id.
    pub(super) id: Option<&'a str>,
}

const STANDARD: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];
const SVIX: [&str; 3] = ["svix-id", "svix-timestamp", "svix-signature"];

impl Judge {
    /// One that asks these schemes, which are all of one kind.
    pub(super) fn new(kind: SchemeKind, schemes: Vec<Scheme>, told: Told<'_>) -> Self {
        let mut stamp = None;
        let headers: Vec<&str> = match kind {
            SchemeKind::Standard => STANDARD.to_vec(),
            SchemeKind::Github => vec!["x-hub-signature-256"],
            SchemeKind::Stripe => vec!["stripe-signature"],
            SchemeKind::Shopify => vec!["x-shopify-hmac-sha256"],
            SchemeKind::Slack => vec!["x-slack-signature", "x-slack-request-timestamp"],
            SchemeKind::Twilio => vec!["x-twilio-signature"],
            SchemeKind::Gitlab => vec!["x-gitlab-token"],
            SchemeKind::Zendesk => vec!["x-zendesk-webhook-signature", "x-zendesk-webhook-signature-timestamp"],
            SchemeKind::Hmac => {
                stamp = told.timestamp.map(|name| Stamp::Seconds(name.to_owned()));
                [told.header, told.timestamp, told.id].into_iter().flatten().collect()
            }
            SchemeKind::Token | SchemeKind::Basic => vec![told.header.unwrap_or("authorization")],
        };
        let stamp = stamp.or_else(|| match kind {
            SchemeKind::Standard => Some(Stamp::Seconds("webhook-timestamp".to_owned())),
            SchemeKind::Slack => Some(Stamp::Seconds("x-slack-request-timestamp".to_owned())),
            SchemeKind::Zendesk => Some(Stamp::Rfc3339("x-zendesk-webhook-signature-timestamp".to_owned())),
            SchemeKind::Stripe => Some(Stamp::Item("stripe-signature".to_owned())),
            _ => None,
        });
        Self { schemes, kind, headers: headers.into_iter().map(str::to_owned).collect(), stamp }
    }

    /// Judges a request that was sent to `url`.
    ///
    /// # Errors
    /// Why its signature does not hold.
    pub(super) fn judge(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: UnixMs,
        url: Option<&str>,
    ) -> Result<(), Verdict> {
        let received = Received { headers, body, now_secs: now.secs(), url };
        verify(&self.schemes, &received)
            .map_err(|refusal| Verdict { refusal, words: self.in_words(refusal, headers, now) })
    }

    fn in_words(&self, refusal: Refusal, headers: &HeaderMap, now: UnixMs) -> String {
        let count = |name: &&String| headers.get_all(name.as_str()).iter().count();
        let read = self.headers_read(headers);
        let named = |wanted: &dyn Fn(usize) -> bool| {
            read.iter().filter(|name| wanted(count(name))).map(String::as_str).collect::<Vec<_>>().join(", ")
        };
        match refusal {
            Refusal::MissingHeader => format!("{refusal}: {}", named(&|count| count == 0)),
            Refusal::DuplicateHeader => format!("{refusal}: {}", named(&|count| count > 1)),
            Refusal::MalformedHeader => match self.form() {
                Some(form) => format!("{refusal}: expected {form}"),
                None => refusal.to_string(),
            },
            Refusal::MalformedBody => {
                format!("{refusal}: it has more than the {} fields that are read", limits::SIGNED_FIELDS_MAX)
            }
            Refusal::Stale | Refusal::Future => match self.time(headers) {
                Some(at) if at < now => format!("{refusal}: it lies {} back", spoken_span(now.since(at))),
                Some(at) => format!("{refusal}: it lies {} ahead", spoken_span(at.since(now))),
                None => refusal.to_string(),
            },
            Refusal::UnknownUrl => {
                format!(
                    "{refusal}: give it with --url, as the sender calls it: https://hooks.example.com/in/twilio?a=b"
                )
            }
            Refusal::Mismatch => format!("{refusal}: {}", self.mismatch()),
        }
    }

    /// The headers that the scheme reads of this request: Svix's own names where it has none of the standard ones.
    fn headers_read(&self, headers: &HeaderMap) -> Vec<String> {
        let any = |names: [&str; 3]| names.iter().any(|name| headers.contains_key(*name));
        if self.kind == SchemeKind::Standard && !any(STANDARD) && any(SVIX) {
            return SVIX.map(str::to_owned).to_vec();
        }
        self.headers.clone()
    }

    /// What the signature's headers look like.
    fn form(&self) -> Option<&'static str> {
        match self.kind {
            SchemeKind::Standard => Some("webhook-signature: v1,<base64> (or v1a,<base64>) and a timestamp in seconds"),
            SchemeKind::Github => Some("x-hub-signature-256: sha256=<64 hex digits>"),
            SchemeKind::Stripe => Some("stripe-signature: t=<seconds>,v1=<64 hex digits>"),
            SchemeKind::Shopify => Some("x-shopify-hmac-sha256: <base64>"),
            SchemeKind::Slack => Some("x-slack-signature: v0=<64 hex digits> and a timestamp in seconds"),
            SchemeKind::Twilio => Some("x-twilio-signature: <base64>"),
            SchemeKind::Zendesk => {
                Some("x-zendesk-webhook-signature: <base64> and a timestamp such as 2026-11-20T09:30:00Z")
            }
            SchemeKind::Hmac => Some("what --prefix, --encoding and --algorithm say, and a timestamp in seconds"),
            SchemeKind::Basic => Some("Basic <base64 of user:password>"),
            SchemeKind::Token => Some("what --prefix says, and the secret after it"),
            SchemeKind::Gitlab => None,
        }
    }

    fn mismatch(&self) -> &'static str {
        match self.kind {
            SchemeKind::Gitlab | SchemeKind::Token | SchemeKind::Basic => "it is another one",
            SchemeKind::Twilio => {
                "another secret signed it, the sender called another URL, or the body was changed on its way"
            }
            _ => "another secret signed it, or the body was changed on its way",
        }
    }

    /// The time that the signature tells.
    fn time(&self, headers: &HeaderMap) -> Option<UnixMs> {
        let text = |name: &str| {
            let svix = name.strip_prefix("web").and_then(|_| headers.get("svix-timestamp"));
            headers.get(name).or(svix).map(HeaderValue::as_bytes).and_then(|value| str::from_utf8(value).ok())
        };
        let secs = |text: &str| text.parse::<u64>().ok().map(|secs| UnixMs(secs.saturating_mul(1000)));
        match self.stamp.as_ref()? {
            Stamp::Seconds(name) => secs(text(name)?),
            Stamp::Rfc3339(name) => UnixMs::parse_rfc3339(text(name)?),
            Stamp::Item(name) => secs(text(name)?.split(',').find_map(|item| item.trim().strip_prefix("t="))?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::secret::Secret;
    use crate::signature::{Options, Signed, sign};

    const NOW: UnixMs = UnixMs(1_614_265_330_000);

    fn judge(kind: SchemeKind) -> Judge {
        let secret = match kind {
            SchemeKind::Standard => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            SchemeKind::Basic => "user:password",
            _ => "a-secret-of-some-length",
        };
        let options = match kind {
            SchemeKind::Hmac => {
                Options { header: Some("x-sig"), content: Some("{timestamp}.{body}"), ..Options::default() }
            }
            _ => Options::default(),
        };
        let scheme = Scheme::new(kind, &Secret::new(secret.into()), &options).unwrap();
        let told = match kind {
            SchemeKind::Hmac => Told { header: Some("x-sig"), timestamp: Some("webhook-timestamp"), ..Told::default() },
            _ => Told::default(),
        };
        Judge::new(kind, vec![scheme], told)
    }

    fn signed(judge: &Judge, timestamp_secs: u64) -> HeaderMap {
        let id = crate::model::text::EventId::parse("evt_1").unwrap();
        let signed = Signed { id: &id, timestamp_secs, body: b"{}", url: "https://example.com/" };
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "evt_1".parse().unwrap());
        headers.insert("webhook-timestamp", timestamp_secs.into());
        headers.extend(sign(&judge.schemes, &signed));
        headers
    }

    #[test]
    fn every_scheme_says_what_is_missing_and_what_it_would_look_like() {
        for kind in SchemeKind::ALL {
            let judge = judge(kind);
            let url = Some("https://example.com/");
            assert_eq!(judge.judge(&signed(&judge, NOW.secs()), b"{}", NOW, url), Ok(()), "{kind}");
            let bare = judge.judge(&HeaderMap::new(), b"{}", NOW, url).unwrap_err();
            assert_eq!(bare.refusal, Refusal::MissingHeader);
            for name in &judge.headers {
                assert!(bare.words.contains(name.as_str()), "{kind}: {}", bare.words);
            }
            let mut twice = signed(&judge, NOW.secs());
            let value = twice[judge.headers[0].as_str()].clone();
            twice.append(judge.headers[0].parse::<hyper::header::HeaderName>().unwrap(), value);
            let twice = judge.judge(&twice, b"{}", NOW, url).unwrap_err();
            assert_eq!(twice.refusal, Refusal::DuplicateHeader);
            assert!(twice.words.ends_with(&format!(": {}", judge.headers[0])), "{kind}: {}", twice.words);
            let mut spoilt = signed(&judge, NOW.secs());
            spoilt.insert(judge.headers[0].parse::<hyper::header::HeaderName>().unwrap(), "nonsense".parse().unwrap());
            let spoilt = judge.judge(&spoilt, b"{}", NOW, url).unwrap_err();
            assert!(spoilt.words.contains(": "), "{kind}: {}", spoilt.words);
        }
    }

    #[test]
    fn every_scheme_with_a_time_says_how_far_it_lies_from_now() {
        let mut timed = 0;
        for kind in SchemeKind::ALL {
            let judge = judge(kind);
            if judge.stamp.is_none() {
                continue;
            }
            timed += 1;
            for (secs, words) in [(NOW.secs() - 1330, "it lies 22 min back"), (NOW.secs() + 7200, "it lies 2 h ahead")]
            {
                let verdict = judge.judge(&signed(&judge, secs), b"{}", NOW, None).unwrap_err();
                assert!(verdict.words.ends_with(words), "{kind}: {}", verdict.words);
            }
        }
        assert_eq!(timed, 5);
    }

    #[test]
    fn twilio_asks_for_its_url_and_says_that_it_may_be_another_one() {
        let judge = judge(SchemeKind::Twilio);
        let headers = signed(&judge, NOW.secs());
        let verdict = judge.judge(&headers, b"{}", NOW, None).unwrap_err();
        assert!(verdict.words.contains("--url"), "{}", verdict.words);
        let verdict = judge.judge(&headers, b"{}", NOW, Some("https://example.com/other")).unwrap_err();
        assert!(verdict.words.contains("called another URL"), "{}", verdict.words);
    }

    #[test]
    fn a_time_that_is_no_number_is_not_guessed_at() {
        let judge = judge(SchemeKind::Standard);
        let mut headers = signed(&judge, NOW.secs());
        headers.insert("webhook-timestamp", "99999999999999999999".parse().unwrap());
        let words = judge.in_words(Refusal::Future, &headers, NOW);
        assert_eq!(words, Refusal::Future.to_string());
    }

    #[test]
    fn svix_s_own_headers_are_asked_for_where_none_of_the_standard_ones_is_there() {
        let judge = judge(SchemeKind::Standard);
        let mut headers = HeaderMap::new();
        headers.insert("svix-id", "msg_1".parse().unwrap());
        let words = judge.in_words(Refusal::MissingHeader, &headers, NOW);
        assert!(words.ends_with(": svix-timestamp, svix-signature"), "{words}");
        headers.insert("svix-timestamp", "1614265000".parse().unwrap());
        assert!(judge.in_words(Refusal::Stale, &headers, NOW).ends_with("5 min back"));
    }
}
