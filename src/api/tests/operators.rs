//! What operators ask and wish.

use super::*;
use crate::model::attempt::{Attempt, AttemptError};
use crate::model::delivery::DeadReason;

const DEAD: Standing = Standing::Dead(DeadReason::Exhausted);

async fn listed(bench: &Bench, query: &str) -> Vec<String> {
    let got = bench.get(&format!("/v1/events?{query}")).await;
    assert_eq!(got.status, 200, "{query}: {got:?}");
    let json = got.json();
    json["events"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

async fn state(bench: &Bench, id: &str, endpoint: &str) -> Option<String> {
    let json = bench.get(&format!("/v1/events/{id}")).await.json();
    let deliveries = json["deliveries"].as_array().unwrap();
    let delivery = deliveries.iter().find(|delivery| delivery["endpoint"] == endpoint)?;
    Some(delivery["state"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_listed_newest_first_by_whatever_is_asked() {
    let bench = Bench::start().await;
    bench.event_that_stands("e1", "invoice.paid", "billing", DEAD).await;
    bench.clock.advance_ms(60_000);
    bench.event_that_stands("e2", "invoice.paid", "billing", Standing::Delivered).await;
    bench.clock.advance_ms(60_000);
    bench.event_that_stands("e3", "order.made", "crm", Standing::Delivered).await;
    let table: [(&str, &[&str]); 12] = [
        ("", &["e3", "e2", "e1"]),
        ("type=invoice.*", &["e2", "e1"]),
        ("type=order.made,none", &["e3"]),
        ("endpoint=billing", &["e2", "e1"]),
        ("state=dead", &["e1"]),
        ("endpoint=billing&state=delivered", &["e2"]),
        ("endpoint=idle", &[]),
        ("since=90s", &["e3", "e2"]),
        ("until=2023-11-14T22:14:20Z", &["e1"]),
        ("since=2023-11-14T23:14:20%2B01:00&until=2023-11-14T23:15:20+01:00", &["e2"]),
        ("limit=2", &["e3", "e2"]),
        ("key=", &[]),
    ];
    for (query, expected) in &table[..11] {
        assert_eq!(listed(&bench, query).await, *expected, "{query}");
    }
    let page = bench.get("/v1/events?limit=2").await.json();
    let rest = bench.get(&format!("/v1/events?limit=2&cursor={}", page["next"].as_str().unwrap())).await.json();
    assert_eq!((rest["events"][0]["id"].as_str(), &rest["next"]), (Some("e1"), &Value::Null));
    let dead = serde_json::json!({
        "endpoint": "billing", "state": "dead", "reason": "exhausted", "next_attempt_at": null, "attempts_made": 1,
    });
    assert_eq!(rest["events"][0]["deliveries"][0], dead);

    for bad in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "state=lost",
        "since=noon",
        "cursor=x",
        "type=a%20b",
        "key=k",
        "type=a&type=b",
    ] {
        assert_eq!(
            bench.get(&format!("/v1/events?{bad}")).await.problem(),
            (400, "invalid-parameter".to_owned()),
            "{bad}"
        );
    }
    assert_eq!(bench.get("/v1/events?endpoint=nobody").await.problem(), (422, "unknown-endpoint".to_owned()));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_is_shown() {
    let bench = Bench::start().await;
    bench
        .post("/v1/events", r#"{"type":"order.made","data":null,"id":"e1","deliver_at":"2023-11-14T23:00:00Z"}"#)
        .await;
    let event = bench.outbox.find(&EventId::parse("e1").unwrap()).await.unwrap().unwrap().place;
    let delivery = DeliveryRef { event, endpoint: bench.roster.known("crm").unwrap() };
    let attempts =
        [(None, Some(AttemptError::Connect), &b""[..]), (Some(500), Some(AttemptError::Status), b"caf\xc3\xa9 \xff")];
    for (n, (status, error, response)) in (1..).zip(attempts) {
        let attempt = Attempt { n, at: NOW, status, error, duration_ms: 7, response: response.to_vec() };
        let standing = if n == 2 { DEAD } else { Standing::Pending { next_at: NOW.plus_ms(5000) } };
        let progress = Progress { tries: n, made: n };
        bench.outbox.settle(Settlement { delivery, attempt: Some(attempt), standing, progress }).await;
    }
    bench.outbox.replay(Vec::new()).await.unwrap();
    let shown = bench.get("/v1/events/e1").await.json();
    let at = "2023-11-14T22:13:20.000Z";
    let expected = serde_json::json!({
        "id": "e1", "type": "order.made", "key": null, "at": at, "timestamp": null, "deliver_at": "2023-11-14T23:00:00.000Z",
        "content_type": "application/json", "data": null,
        "deliveries": [{
            "endpoint": "crm", "state": "dead", "reason": "exhausted", "next_attempt_at": null,
            "attempts": [
                {"n": 1, "at": at, "status": null, "error": "connect", "duration_ms": 7, "response": ""},
                {"n": 2, "at": at, "status": 500, "error": "status", "duration_ms": 7, "response": "café \u{fffd}"},
            ],
        }],
    });
    assert_eq!(shown, expected);
    let head = bench.call("HEAD", "/v1/events/e1", &[], "").await;
    let full = bench.get("/v1/events/e1").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.head.headers()["content-length"], full.body.len().to_string());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_replayed_to_its_own_endpoints_or_to_those_named() {
    let bench = Bench::start().await;
    bench.event_that_stands("e1", "invoice.paid", "billing", DEAD).await;
    let got = bench.post("/v1/events/e1/replay", "").await;
    assert_eq!(got.status, 202, "{got:?}");
    assert_eq!(got.json(), serde_json::json!({"id": "e1", "replayed": 1, "endpoints": ["billing"]}));
    assert_eq!(state(&bench, "e1", "billing").await.as_deref(), Some("pending"));
    let got = bench.post("/v1/events/e1/replay", "{}").await;
    assert_eq!((got.status.as_u16(), got.json()["replayed"].as_u64()), (202, Some(0)), "all are pending");
    let got = bench.post("/v1/events/e1/replay", r#"{"endpoints":["idle","idle"]}"#).await;
    assert_eq!(got.json(), serde_json::json!({"id": "e1", "replayed": 1, "endpoints": ["idle"]}));
    assert_eq!(state(&bench, "e1", "idle").await.as_deref(), Some("pending"), "it never had it");

    bench.settle("e1", "crm", DEAD, Progress { tries: 1, made: limits::ATTEMPTS_MAX }).await;
    let got = bench.post("/v1/events/e1/replay", "").await;
    assert_eq!(got.problem(), (409, "attempts-exhausted".to_owned()));
    let table = [
        ("/v1/events/none/replay", "", 404, "event-not-found"),
        ("/v1/events/a.b/replay", "", 404, "event-not-found"),
        ("/v1/events/e1/replay", r#"{"endpoints":["nobody"]}"#, 422, "unknown-endpoint"),
        ("/v1/events/e1/replay", r#"{"endpoints":"crm"}"#, 422, "invalid-field"),
        ("/v1/events/e1/replay", r#"{"endpoint":["crm"]}"#, 422, "unknown-field"),
        ("/v1/events/e1/replay", "{", 400, "invalid-json"),
    ];
    for (path, body, status, word) in table {
        assert_eq!(bench.post(path, body).await.problem(), (status, word.to_owned()), "{path} {body}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_gets_what_it_has_missed() {
    let bench = Bench::start().await;
    bench.event_that_stands("dead", "invoice.paid", "billing", DEAD).await;
    bench.event_that_stands("done", "invoice.paid", "billing", Standing::Delivered).await;
    bench.post("/v1/events", r#"{"type":"invoice.paid","data":1,"id":"waits"}"#).await;
    bench.post("/v1/events", r#"{"type":"invoice.paid","data":1,"id":"early","endpoints":["crm"]}"#).await;
    bench.post("/v1/events", r#"{"type":"order.made","data":1,"id":"other"}"#).await;
    let replay = async |body: &'static str| {
        let got = bench.post("/v1/endpoints/billing/replay", body).await;
        assert_eq!((got.status.as_u16(), got.json()["endpoint"].as_str()), (202, Some("billing")), "{body}: {got:?}");
        got.json()["replayed"].as_u64().unwrap()
    };
    bench.clock.advance_ms(60_000);
    assert_eq!(replay(r#"{"since":"30s"}"#).await, 0);
    assert_eq!(replay(r#"{"until":"2h"}"#).await, 0);
    assert_eq!(replay(r#"{"state":"dead","since":"2m","until":"30s"}"#).await, 1);
    assert_eq!(state(&bench, "early", "billing").await, None);
    assert_eq!(replay("").await, 1, "what it never had");
    assert_eq!(state(&bench, "early", "billing").await.as_deref(), Some("pending"));
    assert_eq!(state(&bench, "done", "billing").await.as_deref(), Some("delivered"));
    assert_eq!(replay(r#"{"state":"any"}"#).await, 1);
    assert_eq!(state(&bench, "done", "billing").await.as_deref(), Some("pending"));
    assert_eq!(state(&bench, "other", "billing").await, None, "not of its types");
    assert_eq!(bench.post("/v1/endpoints/nobody/replay", "").await.problem(), (404, "endpoint-not-found".to_owned()));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_shown_paused_resumed_and_pinged() {
    let bench = Bench::start().await;
    let all = bench.get("/v1/endpoints").await.json();
    let names: Vec<_> = all["endpoints"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["billing", "crm", "idle"]);
    let shown = bench.get("/v1/endpoints/billing").await.json();
    assert_eq!(shown["url"], "http://127.0.0.1:9/billing");
    assert_eq!(shown["events"], serde_json::json!(["invoice.*", "!invoice.draft"]));
    assert_eq!(
        (shown["state"].as_str(), &shown["reason"], &shown["breaker"]),
        (Some("paused"), &Value::Null, &Value::from("closed"))
    );
    assert_eq!(
        (shown["backlog"].as_u64(), &shown["success_rate"], &shown["last_error"]),
        (Some(0), &Value::Null, &Value::Null)
    );

    let got = bench.post("/v1/endpoints/idle/ping", "").await;
    assert_eq!((got.status.as_u16(), &got.json()["endpoints"]), (202, &serde_json::json!(["idle"])), "{got:?}");
    let event = bench.get(&format!("/v1/events/{}", got.json()["id"].as_str().unwrap())).await.json();
    assert_eq!(
        (event["type"].as_str(), &event["data"]),
        (Some("webhookd.ping"), &serde_json::json!({"endpoint": "idle"}))
    );

    let got = bench.post("/v1/endpoints/crm/resume", "").await;
    assert_eq!((got.status.as_u16(), got.json()["state"].as_str()), (200, Some("active")), "{got:?}");
    let got = bench.post("/v1/endpoints/crm/pause", "").await;
    assert_eq!((got.status.as_u16(), got.json()["state"].as_str()), (200, Some("paused")), "{got:?}");
    for path in ["/v1/endpoints/nobody/pause", "/v1/endpoints/nobody/resume", "/v1/endpoints/nobody/ping"] {
        assert_eq!(bench.post(path, "").await.problem(), (404, "endpoint-not-found".to_owned()), "{path}");
    }
    assert_eq!(bench.get("/v1/endpoints/nobody").await.problem(), (404, "endpoint-not-found".to_owned()));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_methods_tokens_and_origins_are_checked() {
    let bench = Bench::with(
        "token.app = { secret = \"sending-token-0000\", scope = \"send\" }\n\
         token.ops = { secret = \"admin-token-000000\", scope = \"admin\" }",
    )
    .await;
    let (app, ops) = (("authorization", "Bearer sending-token-0000"), ("authorization", "Bearer admin-token-000000"));
    let event = r#"{"type":"a","data":1}"#;
    assert_eq!(bench.get("/healthz").await.status, 200);
    assert_eq!(bench.get("/readyz").await.problem(), (401, "unauthorized".to_owned()));
    assert_eq!(bench.post("/v1/events", event).await.problem().0, 401);
    assert_eq!(bench.call("POST", "/v1/events", &[app], event).await.status, 202);
    let got = bench.call("GET", "/v1/events", &[app], "").await;
    assert_eq!(got.problem(), (403, "insufficient-scope".to_owned()));
    assert_eq!(bench.call("POST", "/v1/endpoints/crm/pause", &[app], "").await.problem().0, 403);
    for path in ["/", "/readyz", "/metrics", "/v1/events", "/v1/endpoints"] {
        assert_eq!(bench.call("GET", path, &[ops], "").await.status, 200, "{path}");
    }
    let metrics = bench.call("GET", "/metrics", &[ops], "").await;
    assert!(String::from_utf8_lossy(&metrics.body).contains("webhookd_events_accepted_total{via=\"json\"} 1"));

    assert_eq!(bench.get("/v1/stream").await.problem(), (404, "not-found".to_owned()));
    let got = bench.call("DELETE", "/v1/events", &[ops], "").await;
    assert_eq!((got.problem().0, &got.head.headers()["allow"]), (405, &"GET, HEAD, POST".parse().unwrap()));
    let got = bench.get("/v1/raw/a").await;
    assert_eq!((got.problem().0, &got.head.headers()["allow"]), (405, &"POST".parse().unwrap()));
    let got = bench.call("POST", "/v1/events", &[app, ("origin", "http://evil.example")], event).await;
    assert_eq!(got.problem(), (403, "cross-origin".to_owned()));
    assert_eq!(bench.get("/v1/events/%zz").await.problem(), (400, "bad-request".to_owned()));
    bench.stop().await;
}
