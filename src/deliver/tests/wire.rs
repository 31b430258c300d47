//! What a well-behaved receiver sees, and what its answers come to.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, Version};

use super::fixture::{RESPONSE_BYTES_MAX, Receiver, Seen, Sender, endpoint, event, settle};
use crate::clock::{ManualClock, ManualHandle, UnixMs};
use crate::config::{Endpoint, Format};
use crate::deliver::Attempted;
use crate::model::attempt::AttemptError;
use crate::model::delivery::DeadReason;
use crate::model::endpoint::DisabledReason;
use crate::model::event::KeptHeader;
use crate::policy::answer::Verdict;
use crate::signature::secret::Secret;
use crate::signature::{Options, Received, Scheme, SchemeKind, verify};

type Headers = &'static [(&'static str, &'static str)];

fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &[u8]) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::copy_from_slice(body)));
    *answer.status_mut() = status.try_into().unwrap();
    for (name, value) in headers {
        answer.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    answer
}

fn ok(_: &Seen) -> Response<Full<Bytes>> {
    answer(200, &[], b"thanks")
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

/// One attempt at a receiver that gives this answer.
async fn attempt_answered(status: u16, headers: Headers, body: &'static [u8]) -> Attempted {
    let receiver = Receiver::start(move |_| answer(status, headers, body)).await;
    let attempted = Sender::new(Endpoint { permanent: vec![422], ..endpoint(&receiver.url()) }).attempt().await;
    assert_eq!(receiver.seen().len(), 1, "one attempt is one request");
    attempted
}

#[tokio::test]
async fn a_delivery_is_the_request_of_the_contract() {
    let receiver = Receiver::start(ok).await;
    let clock = ManualClock::at(UnixMs(1_700_000_000_999));
    let sender = Sender::with_clock(
        Endpoint {
            format: Format::Standard,
            headers: vec![
                (HeaderName::from_static("x-tenant"), HeaderValue::from_static("acme")),
                (HeaderName::from_static("x-tenant"), HeaderValue::from_static("second")),
            ],
            ..endpoint(&receiver.url())
        },
        std::sync::Arc::new(ManualHandle(clock)),
    );
    let mut event = event(br#"{"n":1.10}"#);
    event.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into());
    let attempted = sender.send(event, 3).await;

    assert_eq!(attempted.at, UnixMs(1_700_000_000_999));
    assert_eq!((attempted.status, attempted.error), (Some(200), None));
    assert_eq!(attempted.verdict, Verdict::Delivered);
    assert_eq!(attempted.response, b"thanks");
    let [seen] = receiver.seen().try_into().unwrap();
    assert_eq!((seen.method, seen.version), (Method::POST, Version::HTTP_11));
    assert_eq!(seen.uri, "/hook?x=1");
    assert_eq!(&seen.body[..], br#"{"type":"invoice.paid","timestamp":"2021-02-25T15:02:10.000Z","data":{"n":1.10}}"#);
    let expected = [
        "content-length: 80".to_owned(),
        "content-type: application/json".to_owned(),
        format!("host: {}", receiver.at),
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
        format!("user-agent: webhookd/{}", env!("CARGO_PKG_VERSION")),
        "webhook-attempt: 3".to_owned(),
        "webhook-id: evt_1".to_owned(),
        "webhook-timestamp: 1700000000".to_owned(),
        "x-tenant: acme".to_owned(),
        "x-tenant: second".to_owned(),
    ];
    assert_eq!(lines(&seen.headers), expected, "these headers and no others");
}

#[tokio::test]
async fn the_signature_covers_the_bytes_that_arrive() {
    let secret = Secret::new(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_vec());
    let scheme = || Scheme::new(SchemeKind::Standard, &secret, &Options::default()).unwrap();
    for format in [Format::Standard, Format::Raw, Format::CloudEvents] {
        let receiver = Receiver::start(ok).await;
        let clock = ManualClock::at(UnixMs(1_700_000_000_000));
        let sender = Sender::with_clock(
            Endpoint { format, signing: vec![scheme()], ..endpoint(&receiver.url()) },
            std::sync::Arc::new(ManualHandle(clock)),
        );
        sender.send(event(br#"{ "a" : 1 }"#), 1).await;
        let [seen] = receiver.seen().try_into().unwrap();
        let verified = |body| {
            let received = Received { headers: &seen.headers, body, now_secs: 1_700_000_000, url: None };
            verify(&[scheme()], &received)
        };
        verified(&seen.body).unwrap();
        assert!(verified(b"{}").is_err(), "the check itself can fail");
    }
}

#[tokio::test]
async fn raw_passes_on_the_kept_headers_but_for_those_that_are_ours_or_the_connections() {
    let receiver = Receiver::start(ok).await;
    let secret = Secret::new(b"s".to_vec());
    let scheme = Scheme::new(SchemeKind::Github, &secret, &Options::default()).unwrap();
    let sender = Sender::new(Endpoint {
        signing: vec![scheme],
        headers: vec![(HeaderName::from_static("x-tenant"), HeaderValue::from_static("acme"))],
        ..endpoint(&receiver.url())
    });
    let mut event = event(b"a=1");
    event.content.content_type = "application/x-www-form-urlencoded".into();
    let kept = [
        ("x-github-event", "push"),
        ("accept", "*/*"),
        ("accept", "text/html"),
        ("accept-encoding", "gzip"),
        ("content-type", "text/wrong"),
        ("user-agent", "GitHub-Hookshot/1"),
        ("webhook-id", "theirs"),
        ("webhook-attempt", "9"),
        ("x-hub-signature-256", "sha256=theirs"),
        ("x-tenant", "theirs"),
        ("connection", "x-secret-hop"),
        ("keep-alive", "5"),
        ("te", "trailers"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("host", "elsewhere"),
        ("content-length", "9999"),
        ("no header", "x"),
    ];
    let keep = |(name, value): (&str, &str)| KeptHeader { name: name.into(), value: value.as_bytes().into() };
    event.headers = kept.into_iter().map(keep).collect();
    event.headers.push(KeptHeader { name: "x-bytes".into(), value: b"a\xffb"[..].into() });
    sender.send(event, 1).await;

    let [seen] = receiver.seen().try_into().unwrap();
    assert_eq!(&seen.body[..], b"a=1");
    assert_eq!(seen.headers["x-bytes"].as_bytes(), b"a\xffb");
    let mut headers = seen.headers.clone();
    headers.remove("x-bytes");
    let mine = headers.remove("x-hub-signature-256").unwrap();
    assert!(mine.as_bytes().starts_with(b"sha256=") && mine.len() == 71, "{mine:?}");
    headers.remove("webhook-timestamp").unwrap();
    let expected = [
        "accept: */*".to_owned(),
        "accept: text/html".to_owned(),
        "content-length: 3".to_owned(),
        "content-type: application/x-www-form-urlencoded".to_owned(),
        format!("host: {}", receiver.at),
        format!("user-agent: webhookd/{}", env!("CARGO_PKG_VERSION")),
        "webhook-attempt: 1".to_owned(),
        "webhook-id: evt_1".to_owned(),
        "x-github-event: push".to_owned(),
        "x-tenant: acme".to_owned(),
    ];
    assert_eq!(lines(&headers), expected);
}

/// What an endpoint that signs so gets of a request that came signed by Standard Webhooks: id, timestamp, signature, `svix-id`.
async fn trio(signing: Vec<Scheme>, format: Format, came: &[(&str, &str)]) -> [Option<String>; 4] {
    let receiver = Receiver::start(ok).await;
    let clock = ManualClock::at(UnixMs(1_700_000_000_000));
    let endpoint = Endpoint { signing, format, ..endpoint(&receiver.url()) };
    let sender = Sender::with_clock(endpoint, std::sync::Arc::new(ManualHandle(clock)));
    let mut event = event(b"{}");
    let keep = |(name, value): &(&str, &str)| KeptHeader { name: (*name).into(), value: value.as_bytes().into() };
    event.headers = came.iter().map(keep).collect();
    sender.send(event, 1).await;
    let [seen] = receiver.seen().try_into().unwrap();
    assert_eq!(seen.headers["webhook-attempt"], "1");
    assert!(seen.headers.keys().all(|name| seen.headers.get_all(name).iter().count() == 1), "{:?}", seen.headers);
    ["webhook-id", "webhook-timestamp", "webhook-signature", "svix-id"]
        .map(|name| seen.headers.get(name).map(|value| value.to_str().unwrap().to_owned()))
}

const SIGNED_BY_THEM: Headers = &[
    ("webhook-id", "msg_theirs"),
    ("webhook-timestamp", "1600000000"),
    ("webhook-signature", "v1,theirs"),
    ("svix-id", "msg_svix"),
];

fn hmac_scheme(content: Option<&str>) -> Vec<Scheme> {
    let options = Options { header: Some("x-signature"), content, ..Options::default() };
    vec![Scheme::new(SchemeKind::Hmac, &Secret::new(b"s".to_vec()), &options).unwrap()]
}

#[tokio::test]
async fn the_app_can_verify_a_vendors_standard_webhook_itself() {
    let theirs = ["msg_theirs", "1600000000", "v1,theirs", "msg_svix"].map(|text| Some(text.to_owned()));
    let github = vec![Scheme::new(SchemeKind::Github, &Secret::new(b"s".to_vec()), &Options::default()).unwrap()];
    for signing in [Vec::new(), github, hmac_scheme(None)] {
        assert_eq!(trio(signing, Format::Raw, SIGNED_BY_THEM).await, theirs);
    }
}

#[tokio::test]
async fn where_our_signature_needs_its_own_id_and_time_they_take_the_place_of_the_vendors() {
    let secret = Secret::new(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_vec());
    let standard = vec![Scheme::new(SchemeKind::Standard, &secret, &Options::default()).unwrap()];
    let [id, timestamp, signature, svix] = trio(standard, Format::Raw, SIGNED_BY_THEM).await;
    assert_eq!((id.as_deref(), timestamp.as_deref()), (Some("evt_1"), Some("1700000000")));
    assert!(signature.is_some_and(|signature| signature.starts_with("v1,") && signature != "v1,theirs"));
    assert_eq!(svix.as_deref(), Some("msg_svix"));
    for content in ["{timestamp}.{body}", "{id}.{body}"] {
        let [id, timestamp, signature, _] = trio(hmac_scheme(Some(content)), Format::Raw, SIGNED_BY_THEM).await;
        assert_eq!((id.as_deref(), timestamp.as_deref()), (Some("evt_1"), Some("1700000000")), "{content}");
        assert_eq!(signature, None, "it would fit nothing");
    }
}

#[tokio::test]
async fn a_part_of_the_three_is_no_standard_webhook() {
    for came in [&SIGNED_BY_THEM[..2], &SIGNED_BY_THEM[1..], &[SIGNED_BY_THEM[0], SIGNED_BY_THEM[2]]] {
        let [id, timestamp, _, _] = trio(Vec::new(), Format::Raw, came).await;
        assert_eq!((id.as_deref(), timestamp.as_deref()), (Some("evt_1"), Some("1700000000")), "{came:?}");
    }
    let [id, _, signature, _] = trio(Vec::new(), Format::Standard, SIGNED_BY_THEM).await;
    assert_eq!((id.as_deref(), signature), (Some("evt_1"), None), "another body than the vendor has signed");
}

#[tokio::test]
async fn only_raw_passes_kept_headers_on() {
    let receiver = Receiver::start(ok).await;
    let sender = Sender::new(Endpoint { format: Format::Standard, ..endpoint(&receiver.url()) });
    let mut event = event(b"1");
    event.headers = vec![KeptHeader { name: "x-github-event".into(), value: b"push"[..].into() }];
    sender.send(event, 1).await;
    assert!(!receiver.seen()[0].headers.contains_key("x-github-event"));
}

#[tokio::test]
async fn a_mebibyte_arrives_whole() {
    let receiver = Receiver::start(ok).await;
    let body: Vec<u8> = (0..1024 * 1024_u32).map(|i| (i % 251) as u8).collect();
    let attempted = Sender::new(endpoint(&receiver.url())).send(event(&body), 1).await;
    assert_eq!(attempted.verdict, Verdict::Delivered);
    assert!(receiver.seen()[0].body == body);
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_never_followed() {
    let receiver = Receiver::start(|_| answer(302, &[("location", "/elsewhere")], b"")).await;
    let attempted = Sender::new(endpoint(&receiver.url())).attempt().await;
    assert_eq!((attempted.status, attempted.error), (Some(302), Some(AttemptError::Status)));
    assert_eq!(attempted.verdict, Verdict::Retry { hint_ms: None, hold_endpoint: false });
    settle().await;
    assert_eq!(receiver.seen().len(), 1);
}

#[tokio::test]
async fn answers_are_judged_by_status_and_headers() {
    let retry = |hint_ms, hold_endpoint| Verdict::Retry { hint_ms, hold_endpoint };
    let cases: [(u16, Headers, Verdict); 10] = [
        (204, &[], Verdict::Delivered),
        (299, &[], Verdict::Delivered),
        (400, &[], retry(None, false)),
        (422, &[], Verdict::Dead(DeadReason::Permanent)),
        (410, &[], Verdict::Disable(DisabledReason::Gone)),
        (429, &[("retry-after", "7")], retry(Some(7000), true)),
        (503, &[("retry-after", "7")], retry(Some(7000), true)),
        (503, &[("retry-after", "\u{20}soon")], retry(None, false)),
        (500, &[("webhook-delivery", "abort-message")], Verdict::Dead(DeadReason::Aborted)),
        (500, &[("webhook-delivery", "disable")], Verdict::Disable(DisabledReason::Asked)),
    ];
    for (status, headers, verdict) in cases {
        let attempted = attempt_answered(status, headers, b"").await;
        assert_eq!(attempted.verdict, verdict, "{status} {headers:?}");
        assert_eq!(attempted.status, Some(status));
        assert_eq!(attempted.error, (status >= 300).then_some(AttemptError::Status), "{status}");
    }
}

#[tokio::test]
async fn a_body_is_kept_to_the_limit_and_no_further() {
    static LONG: [u8; 5000] = [b'x'; 5000];
    let attempted = attempt_answered(500, &[], &LONG).await;
    assert_eq!((attempted.status, attempted.error), (Some(500), Some(AttemptError::Status)));
    assert_eq!(attempted.response, &LONG[..RESPONSE_BYTES_MAX]);
    let attempted = attempt_answered(200, &[], &LONG[..RESPONSE_BYTES_MAX]).await;
    assert_eq!(attempted.response.len(), RESPONSE_BYTES_MAX);
    assert_eq!(attempted.detail, None, "exactly so much is not too much");
}

#[tokio::test]
async fn nothing_is_kept_where_nothing_is_wanted() {
    let receiver = Receiver::start(ok).await;
    let sender = Sender::new(Endpoint { response_bytes_max: 0, ..endpoint(&receiver.url()) });
    let attempted = sender.attempt().await;
    assert_eq!((attempted.verdict, attempted.response), (Verdict::Delivered, Vec::new()));
}

#[tokio::test]
async fn a_body_is_kept_as_it_came_and_never_unpacked() {
    let attempted = attempt_answered(200, &[("content-encoding", "gzip")], b"\x1f\x8b\x08\x00").await;
    assert_eq!(attempted.response, b"\x1f\x8b\x08\x00");
}

#[tokio::test]
async fn the_next_attempt_goes_out_on_the_same_connection() {
    let receiver = Receiver::start(|_| answer(200, &[], &[b'x'; RESPONSE_BYTES_MAX])).await;
    let sender = Sender::new(endpoint(&receiver.url()));
    for n in 1..=5 {
        assert_eq!(sender.send(event(b"1"), n).await.verdict, Verdict::Delivered);
    }
    let connections: Vec<_> = receiver.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0; 5]);
}

#[tokio::test]
async fn attempts_at_once_share_what_connections_there_are() {
    let receiver = Receiver::start(ok).await;
    let sender = std::sync::Arc::new(Sender::new(endpoint(&receiver.url())));
    for _round in 0..4 {
        let mut attempts = tokio::task::JoinSet::new();
        for n in 1..=8 {
            let sender = std::sync::Arc::clone(&sender);
            attempts.spawn(async move { sender.send(event(b"1"), n).await.verdict });
        }
        for verdict in attempts.join_all().await {
            assert_eq!(verdict, Verdict::Delivered);
        }
    }
    let connections = receiver.seen().iter().map(|seen| seen.connection).max().unwrap() + 1;
    assert!(connections <= 16, "{connections} connections for at most 8 attempts at once");
}

#[tokio::test]
async fn two_endpoints_at_one_address_share_no_connection() {
    use crate::clock::SystemClock;
    use crate::deliver::{Courier, HttpCourier, Job, OwnListeners};
    use crate::model::text::EndpointName;
    use std::sync::Arc;

    let receiver = Receiver::start(ok).await;
    let open = Arc::new(endpoint(&receiver.url()));
    let name = EndpointName::parse("closed").unwrap();
    let closed = Arc::new(Endpoint { name, allow_networks: Vec::new(), ..endpoint(&receiver.url()) });
    let both = [open, closed];
    let courier = HttpCourier::new(both.iter(), SystemClock::shared(), OwnListeners::default()).unwrap();
    let mut words = Vec::new();
    for endpoint in &both {
        let job = Job { event: Arc::new(event(b"1")), endpoint: Arc::clone(endpoint), n: 1 };
        words.push(courier.attempt(job).await.error);
    }
    assert_eq!(words, [None, Some(AttemptError::AddressRefused)]);
}
