//! The sources as `crate::fuzzing` sees them: everything that is read of a request, without the storage behind it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, Request, Uri};
use serde_json::Value;

use super::pick::Looked;
use super::{Inbound, Parts, kept, names, pointers, routes};
use crate::clock::{ManualClock, ManualHandle, SharedClock, UnixMs};
use crate::config::{Config, JsonPointer, Verification};
use crate::front::{Origin, Peer};
use crate::intake::readiness::Readiness;
use crate::intake::scan::is_json;
use crate::limits;
use crate::model::roster::Roster;
use crate::model::text::{EventId, EventType, IdempotencyKey, OrderingKey};
use crate::observe::Metrics;
use crate::signature::{SchemeKind, Signed, sign};

const NOW: UnixMs = UnixMs(1_614_265_330_000);
/// The id under which `{signature}` is made.
const ID: &str = "evt_1";
/// What stands for the true value of a header of the signature.
const SIGNATURE: &str = "{signature}";
/// What the addresses begin with that the source `near` takes something from.
const NEAR: &str = "192.0.2.";

/// Sources of every scheme. No input is to hold one of the secrets: what is taken under them was signed here.
const CONFIG: &str = r#"
[storage]
dir = "/nowhere"
[inbound]
max_body = "64KiB"
[endpoint.app]
url = "https://app.example.com/"
sign = "none"
[source.standard]
verify = { scheme = "standard", secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" }
[source.github]
verify = { scheme = "github", secret = "v3Yq0bX1kD7nZt5s" }
verify_token = "k0Wm8rQf2LhJ6uPc"
[source.stripe]
verify = { scheme = "stripe", secret = "v3Yq0bX1kD7nZt5s" }
key = { json = "/data/object/customer" }
[source.slack]
verify = { scheme = "slack", secret = "v3Yq0bX1kD7nZt5s" }
[source.twilio]
verify = { scheme = "twilio", secret = "v3Yq0bX1kD7nZt5s" }
event_type = { form = "EventType" }
[source.gitlab]
verify = { scheme = "gitlab", secret = "v3Yq0bX1kD7nZt5s" }
[source.zendesk]
verify = { scheme = "zendesk", secret = "v3Yq0bX1kD7nZt5s" }
[source.hmac]
verify = { scheme = "hmac", secret = "v3Yq0bX1kD7nZt5s", header = "x-sig", content = "{timestamp}.{id}.{body}" }
event_type = [{ header = "x-type" }, { json = "/a/0/b" }, { form = "t" }]
dedup = [{ json = "/id" }, { header = "x-id" }]
key = [{ header = "x-key" }, { form = "k" }]
[source.basic]
verify = { scheme = "basic", username = "vendor", secret = "v3Yq0bX1kD7nZt5s" }
[source.open]
verify = "none"
event_type = [{ header = "x-type" }, { json = "/type" }, { form = "type" }]
dedup = [{ header = "x-id" }, { json = "/id" }]
key = { json = "/key" }
[source.near]
verify = "none"
allow_networks = ["192.0.2.0/24"]
trusted_proxies = ["10.0.0.0/8"]
"#;

static SOURCES: LazyLock<Arc<Inbound>> = LazyLock::new(|| {
    let config = Config::parse(CONFIG, "fuzzing.toml", Path::new("/nowhere"), &|_| None);
    let config = config.unwrap_or_else(|errors| panic!("the config of the targets is not sound: {errors}"));
    let clock: SharedClock = Arc::new(ManualHandle(ManualClock::at(NOW)));
    Arc::new(Inbound::new(Parts {
        config: Arc::new(config),
        roster: Roster::shared(),
        clock,
        readiness: Arc::new(Readiness::default()),
        metrics: Metrics::shared(),
    }))
});

/// Answers a request of a third party as far as its storage, which never opens: 503 is the answer to what would be stored.
/// The status of the answer.
///
/// # Panics
/// Where something that must hold does not.
pub(crate) fn request(method: &Method, uri: &Uri, given: &HeaderMap, body: &[u8]) -> u16 {
    let sources = Arc::clone(&SOURCES);
    let served = uri.path().strip_prefix("/in/").and_then(|name| sources.sources.get(name));
    let schemes = served.and_then(|served| match &served.source.verify {
        Verification::Schemes(schemes) => Some(schemes.as_slice()),
        Verification::Unverified => None,
    });
    let is_open = served.is_some() && schemes.is_none();
    let headers = schemes.map_or_else(|| given.clone(), |schemes| with_signature(schemes, uri, given, body));
    let mut request = Request::new(Full::new(Bytes::copy_from_slice(body)));
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = headers.clone();

    let peer = Peer::new(Origin::Tcp(SocketAddr::from(([10, 1, 2, 3], 4000))));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without threads and sockets");
    let (status, answered) = runtime.block_on(async {
        let answer = routes::answer(Arc::clone(&sources), Arc::new(peer), request).await;
        let (head, body) = answer.into_parts();
        if head.status == 405 {
            assert!(head.headers.contains_key("allow"));
        }
        (head.status.as_u16(), body.collect().await.unwrap_or_else(|never| match never {}).to_bytes())
    });

    assert!(matches!(status, 200 | 204 | 401 | 403 | 404 | 405 | 413 | 415 | 503), "{status} {method} {uri}");
    if status >= 400 {
        let problem: Value = serde_json::from_slice(&answered).expect("a refusal is a problem");
        assert_eq!(problem["status"], status);
    }
    if status == 401 {
        let told = String::from_utf8_lossy(&answered);
        for word in crate::signature::Refusal::ALL {
            assert!(!told.contains(word.as_str()), "the reason is told: {told}");
        }
    }
    assert_eq!(status == 404, served.is_none(), "{uri}");
    let signed = given.values().any(|value| holds_placeholder(value.as_bytes()));
    if *method == Method::POST && matches!(status, 200 | 503) {
        assert!(is_open || signed, "a forgery is taken: {headers:?}");
    }
    assert!(status != 200 || *method != Method::GET, "nobody knows the token: {uri}");
    if let Some(served) = served {
        if !served.source.allow_networks.is_empty() && matches!(status, 200 | 204 | 503) {
            let said = given.get_all("x-forwarded-for").iter().any(|value| {
                // An IPv4 address may be written as a mapped one of IPv6, in hex as well.
                let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
                text.contains(NEAR) || text.contains("ffff:c000:2")
            });
            assert!(said, "an address that is not admitted: {given:?}");
        }
        reads_values(served, &headers, body);
    }
    status
}

/// What is read of a request keeps the rules of events, whatever it is.
fn reads_values(served: &super::Served, headers: &HeaderMap, body: &[u8]) {
    let looked = Looked::at(headers, body);
    let picked = served.places.pick(&looked);
    let source = &served.source.name;
    for value in [&picked.event_type, &picked.id, &picked.key].into_iter().flatten() {
        assert!(!value.is_empty(), "an empty value is none");
    }
    if let Some(word) = &picked.event_type {
        let event_type = names::event_type(source, word);
        assert!(EventType::parse(event_type.as_str()).is_ok());
        assert!(event_type.as_str().starts_with(&format!("{source}.")));
    }
    if let Some(id) = &picked.id {
        let key = names::idempotency_key(source, id);
        assert!(IdempotencyKey::parse(key.as_str()).is_ok());
        assert_eq!(key.as_str(), names::idempotency_key(source, id).as_str());
    }
    if let Some(key) = &picked.key {
        assert!(OrderingKey::parse(names::ordering_key(key).as_str()).is_ok());
    }
    let kept = kept::kept(headers);
    let bytes: usize = kept.iter().map(|kept| kept.name.len() + kept.value.len()).sum();
    assert!(bytes <= total(headers), "{bytes} bytes of headers");
    for header in &kept {
        let name: &str = &header.name;
        assert!(!["host", "authorization", "cookie", "content-length", "connection", "te"].contains(&name), "{name}");
    }
}

fn total(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// The given headers, and in each the true value where one is asked for.
fn with_signature(schemes: &[crate::signature::Scheme], uri: &Uri, given: &HeaderMap, body: &[u8]) -> HeaderMap {
    let id = EventId::parse(ID).expect("it keeps the rule of ids");
    let host = given.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let url = format!("http://{host}{}", uri.path_and_query().map_or("/", |path| path.as_str()));
    let signed = Signed { id: &id, timestamp_secs: NOW.secs(), body, url: &url };
    let mut truth = HeaderMap::new();
    truth.insert("webhook-id", HeaderValue::from_static(ID));
    truth.insert("webhook-timestamp", NOW.secs().into());
    // A form of a thousand fields is signed by nobody.
    if schemes.first().is_some_and(|scheme| scheme.kind() != SchemeKind::Twilio) || body.len() < limits::KIB {
        truth.extend(sign(schemes, &signed));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let value = match truth.get(name) {
            Some(truth) if holds_placeholder(value.as_bytes()) => truth.clone(),
            _ => value.clone(),
        };
        headers.append(name, value);
    }
    headers
}

fn holds_placeholder(value: &[u8]) -> bool {
    value.windows(SIGNATURE.len()).any(|window| window == SIGNATURE.as_bytes())
}

/// JSON pointers, a line each up to an empty one, and then a body: what is found is what serde's own value has there.
///
/// # Panics
/// Where it is not.
pub(crate) fn json_pointers(head: &[u8], body: &[u8]) {
    let Ok(head) = str::from_utf8(head) else { return };
    let mut pointers_read = Vec::new();
    for text in head.split('\n').take(limits::PICKS_MAX) {
        let well_formed = (text.is_empty() || text.starts_with('/'))
            && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        let read = JsonPointer::parse(text);
        assert_eq!(read.is_ok(), well_formed, "{text:?}: {read:?}");
        let Ok(read) = read else { continue };
        assert_eq!(read.to_string(), text);
        pointers_read.push(read);
    }
    let found = pointers::values(body, &pointers_read);
    assert_eq!(found.len(), pointers_read.len());
    let Ok(whole) = serde_json::from_slice::<Value>(body) else {
        // What serde refuses we may take: numbers beyond its range, arrays beyond its depth, halves of surrogates.
        assert!(is_json(body) || found.iter().all(Option::is_none), "values out of what is no JSON");
        return;
    };
    for (pointer, found) in pointers_read.iter().zip(found) {
        let alone = pointers::values(body, std::slice::from_ref(pointer)).pop().flatten();
        assert_eq!(alone, found, "{pointer} alone");
        match (whole.pointer(&pointer.to_string()), found) {
            (Some(Value::String(text)), found) => assert_eq!(found.as_deref(), Some(text.as_str()), "{pointer}"),
            (Some(Value::Bool(is)), found) => assert_eq!(found.as_deref(), Some(is.to_string().as_str()), "{pointer}"),
            (Some(Value::Number(number)), found) => {
                let text = found.unwrap_or_else(|| panic!("no number at {pointer}"));
                assert_eq!(serde_json::from_str::<serde_json::Number>(&text).ok().as_ref(), Some(number), "{pointer}");
            }
            (_, found) => assert_eq!(found, None, "{pointer}"),
        }
    }
}
