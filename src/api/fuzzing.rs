//! The API as `crate::fuzzing` sees it: everything that is read of a request, without the storage behind it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use tokio_util::task::TaskTracker;

use super::guard::ListensAt;
use super::query::{Query, is_rfc3339, moment, percent_decode, rfc3339};
use super::routes::{self, Route};
use super::{Api, Parts, Reloads, ingest};
use crate::clock::{ManualClock, ManualHandle, SharedClock, UnixMs};
use crate::config::Config;
use crate::front::Peer;
use crate::front::answer::{Answer, json};
use crate::front::problem::Problem;
use crate::intake::readiness::Readiness;
use crate::intake::targets::Targets;
use crate::limits;
use crate::model::roster::Roster;
use crate::observe::Metrics;
use crate::observe::audit::Trail;
use crate::outbox::Cursor;
use crate::policy::routing::{OPERATIONAL_PREFIX, TypeFilter};

/// The time.
pub(crate) const NOW: UnixMs = UnixMs(1_700_000_000_000);

const CONFIG: &str = r#"
[api]
max_body = "64KiB"
token.ci = { secret = "0123456789abcdef", scope = "send" }
token.ops = { secret = "fedcba9876543210", scope = "admin" }
[storage]
dir = "/nowhere"
[endpoint.billing]
url = "https://billing.example.com/"
events = ["invoice.*", "!invoice.draft"]
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
[endpoint.crm]
url = "https://crm.example.com/"
sign = "none"
"#;

/// What requests are read against; made once.
pub(crate) static BACKGROUND: LazyLock<Background> = LazyLock::new(Background::new);

/// A config with two endpoints and two tokens, and the API over it, whose storage never opens.
pub(crate) struct Background {
    pub(crate) targets: Targets,
    api: Arc<Api>,
}

impl Background {
    fn new() -> Self {
        let config = Config::parse(CONFIG, "fuzzing.toml", Path::new("/nowhere"), &|_| None);
        let config = Arc::new(config.expect("the config of the targets is sound"));
        let roster = Roster::shared();
        let targets = Targets::new(&config, &roster);
        let (reloads, _) = Reloads::channel();
        let clock: SharedClock = Arc::new(ManualHandle(ManualClock::at(NOW)));
        let metrics = Metrics::shared();
        let api = Arc::new(Api::new(Parts {
            config,
            roster,
            trail: Trail::shared(Arc::clone(&clock), Arc::clone(&metrics)),
            clock,
            readiness: Arc::new(Readiness::default()),
            metrics,
            reloads,
        }));
        Self { targets, api }
    }
}

/// Answers a request as the API does, up to the point where its storage would be asked. What is posted is read and checked
/// like everywhere else and then forgotten.
pub(crate) async fn answer(peer: Arc<Peer>, request: Request<Incoming>) -> Answer {
    let api = Arc::clone(&BACKGROUND.api);
    let posts = request.method() == Method::POST && request.uri().path().starts_with("/v1/");
    if !posts {
        let at = ListensAt::tcp(SocketAddr::from(([127, 0, 0, 1], 8400)));
        return routes::answer(api, at, TaskTracker::new(), peer, request).await;
    }
    read(&api, request).await.unwrap_or_else(Problem::into_response)
}

async fn read(api: &Api, request: Request<Incoming>) -> Result<Answer, Problem> {
    let drafts = match Route::of(request.uri().path())? {
        Some(Route::Raw { event_type }) => ingest::read_raw(api, &event_type, request).await?,
        Some(Route::Batch) => ingest::read_events(api, request, true).await?,
        _ => ingest::read_events(api, request, false).await?,
    };
    Ok(json(StatusCode::ACCEPTED, &drafts.len()))
}

/// A path, a query, patterns apart by commas and a type, a line each.
pub fn api_path_query(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut lines = text.splitn(4, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (path, query, patterns, event_type) = (line(), line(), line(), line());
    is_decoded_as_written(path);
    leads_somewhere(path);
    is_a_query(query);
    matches_as_a_plain_matcher(patterns, event_type);
    is_a_moment(event_type);
}

/// Percent-encoding every byte and taking it back changes nothing; what is decoded is never longer than what was written.
fn is_decoded_as_written(text: &str) {
    for form in [false, true] {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        assert_eq!(percent_decode(&encoded, form).as_deref(), Some(text));
        if let Some(decoded) = percent_decode(text, form) {
            assert!(decoded.len() <= text.len());
        }
    }
}

fn leads_somewhere(path: &str) {
    let Ok(Some(route)) = Route::of(path) else { return };
    let (get, post) = route.access();
    assert!(get.is_some() || post.is_some(), "{route:?} is there for nobody");
    if let Route::Raw { event_type } = &route {
        let written = path.strip_prefix("/v1/raw/").expect("raw events have a path of their own");
        assert_eq!(percent_decode(written, false).as_deref(), Some(event_type.as_str()));
    }
}

fn is_a_query(text: &str) {
    const KNOWN: &[&str] = &["id", "key", "limit", "after", "since"];
    let Ok(query) = Query::parse(Some(text), KNOWN) else { return };
    assert!(text.len() <= limits::QUERY_BYTES_MAX);
    for name in KNOWN {
        let Some(value) = query.get(name) else { continue };
        assert!(!value.is_empty() && value.len() <= text.len());
        if let Ok(cursor) = value.parse::<Cursor>() {
            assert_eq!(cursor.to_string(), value.to_ascii_lowercase());
        }
        is_a_moment(value);
    }
}

fn is_a_moment(text: &str) {
    if let Ok(at) = moment(text, NOW) {
        assert!(at <= NOW || rfc3339(&text.replace(' ', "+")) == Some(at), "an age lies ahead: {text}");
    }
    if let Some(at) = rfc3339(text) {
        assert!(is_rfc3339(text));
        assert_eq!(rfc3339(&at.to_string()), Some(at), "a moment is written so that it is read again: {text}");
    }
}

fn matches_as_a_plain_matcher(patterns: &str, event_type: &str) {
    let patterns: Vec<&str> = patterns.split(',').filter(|pattern| !pattern.is_empty()).collect();
    let Ok(filter) = TypeFilter::parse(&patterns) else { return };
    assert!(patterns.len() <= limits::TYPE_PATTERNS_MAX);
    let again = TypeFilter::parse(&filter.patterns()).expect("patterns are written so that they are read again");
    // The plain matcher takes time in the product of the lengths.
    if event_type.len() > limits::EVENT_TYPE_BYTES_MAX {
        return;
    }
    let operational = event_type.starts_with(OPERATIONAL_PREFIX);
    let mut included = patterns.iter().filter(|pattern| !pattern.starts_with('!'));
    let taken_for = |pattern: &str| {
        let spelt_out = pattern.split('*').next().is_some_and(|first| first.starts_with(OPERATIONAL_PREFIX));
        (!operational || spelt_out) && plainly_matches(pattern.as_bytes(), event_type.as_bytes())
    };
    let only_exclusions = !patterns.is_empty() && patterns.iter().all(|pattern| pattern.starts_with('!'));
    let includes = included.any(|pattern| taken_for(pattern)) || (only_exclusions && taken_for("*"));
    let mut excluded = patterns.iter().filter_map(|pattern| pattern.strip_prefix('!'));
    let excludes = excluded.any(|pattern| plainly_matches(pattern.as_bytes(), event_type.as_bytes()));
    assert_eq!(filter.takes(event_type), includes && !excludes, "{patterns:?} {event_type:?}");
    assert_eq!(filter.takes(event_type), again.takes(event_type), "{patterns:?} {event_type:?}");
}

/// A star stands for any run of characters: which ends of `text` the pattern can have reached, one sign after the other.
fn plainly_matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for sign in pattern {
        let mut next = vec![false; text.len() + 1];
        for end in 0..=text.len() {
            next[end] = match sign {
                b'*' => reached[end] || (end > 0 && next[end - 1]),
                sign => end > 0 && reached[end - 1] && text[end - 1] == *sign,
            };
        }
        reached = next;
    }
    reached[text.len()]
}
