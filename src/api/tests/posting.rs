//! Events in, and what they answer.

use super::*;

fn ids(got: &Got) -> Vec<String> {
    let json = got.json();
    json["events"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_accepted_shown_and_known_again() {
    let bench = Bench::start().await;
    let data = r#"{"n":123456789012345678901234567890,"d":1.10,"z":1,"a":2,"a":3}"#;
    let body = format!(r#"{{"type":"invoice.paid","data":{data},"key":"k"}}"#);
    // As curl -d sends it.
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let got = bench.call("POST", "/v1/events", &form, body).await;
    assert_eq!(got.status, 202, "{got:?}");
    assert_eq!(got.head.headers()["content-type"], "application/json");
    assert_eq!(got.head.headers()["cache-control"], "no-store");
    let posted = got.json();
    let id = posted["id"].as_str().unwrap();
    assert!(id.starts_with("evt_"));
    assert_eq!(posted, serde_json::json!({"id": id, "endpoints": ["billing", "crm"], "duplicate": false}));

    let shown = bench.get(&format!("/v1/events/{id}")).await;
    assert_eq!(shown.status, 200);
    let text = String::from_utf8(shown.body.to_vec()).unwrap();
    assert!(text.contains(&format!("\"data\":{data},")), "{text}");
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&json["type"], &json["key"], &json["content_type"]),
        (&"invoice.paid".into(), &"k".into(), &"application/json".into())
    );
    assert_eq!(json["at"], "2023-11-14T22:13:20.000Z");
    assert_eq!(json["deliveries"][0]["endpoint"], "billing");
    assert_eq!(json["deliveries"][0]["state"], "pending");
    assert_eq!(json["deliveries"][0]["next_attempt_at"], "2023-11-14T22:13:20.000Z");
    assert_eq!(json["deliveries"][0]["attempts"], serde_json::json!([]));
    assert!(json.get("body_base64").is_none());

    let again =
        bench.post("/v1/events", format!(r#"{{"type":"invoice.paid","data":{data},"key":"k","id":"{id}"}}"#)).await;
    assert_eq!((again.status.as_u16(), again.json()["duplicate"].as_bool()), (200, Some(true)), "{again:?}");
    assert_eq!(again.json()["endpoints"], serde_json::json!(["billing", "crm"]));
    let other = bench.post("/v1/events", format!(r#"{{"type":"invoice.paid","data":2,"id":"{id}"}}"#)).await;
    assert_eq!(other.problem(), (409, "id-conflict".to_owned()));
    assert_eq!((other.json()["pointer"].as_str(), other.json()["id"].as_str()), (Some("/id"), Some(id)));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_stands_in_for_an_id() {
    let bench = Bench::start().await;
    let post = async |key: &str, data: u32| {
        let body = format!(r#"{{"type":"invoice.paid","data":{data}}}"#);
        bench.call("POST", "/v1/events", &[("idempotency-key", key)], body).await
    };
    let first = post("order 7", 1).await;
    assert_eq!(first.status, 202);
    let again = post("\"order 7\"", 1).await;
    assert_eq!((again.status.as_u16(), &again.json()["id"]), (200, &first.json()["id"]));
    let other = post("order 7", 2).await;
    assert_eq!(other.problem().0, 409);
    assert_eq!((&other.json()["id"], other.json().get("pointer")), (&first.json()["id"], None));
    assert_eq!(post("order 8", 1).await.status, 202);
    assert_eq!(post("", 1).await.problem(), (400, "invalid-header".to_owned()));

    let batch =
        async |body: &'static str| bench.call("POST", "/v1/events/batch", &[("idempotency-key", "b")], body).await;
    let body = r#"[{"type":"a","data":1},{"type":"a","data":1,"id":"own"}]"#;
    let (one, two) = (batch(body).await, batch(body).await);
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (202, 200), "{one:?} {two:?}");
    assert_eq!(ids(&one), ids(&two));
    let conflict = batch(r#"[{"type":"a","data":2},{"type":"a","data":1,"id":"own"}]"#).await;
    assert_eq!((conflict.problem().0, conflict.json()["pointer"].as_str()), (409, Some("/0")));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_stored_whole_or_not_at_all() {
    let bench = Bench::start().await;
    let good = r#"{"type":"a","data":1,"id":"e1"}"#;
    let got = bench.post("/v1/events/batch", format!(r#"[{good},{{"type":"a","data":1,"id":"e.2"}}]"#)).await;
    assert_eq!((got.problem().0, got.json()["pointer"].as_str()), (422, Some("/1/id")));
    assert_eq!(bench.get("/v1/events/e1").await.problem(), (404, "event-not-found".to_owned()));
    let got = bench.post("/v1/events/batch", format!("[{good}]")).await;
    assert_eq!((got.status.as_u16(), ids(&got)), (202, vec!["e1".to_owned()]));
    let got = bench.post("/v1/events/batch", format!(r#"[{{"type":"a","data":1}},{good}]"#)).await;
    assert_eq!((got.status.as_u16(), got.json()["events"][1]["duplicate"].as_bool()), (202, Some(true)));
    let got =
        bench.post("/v1/events/batch", r#"[{"type":"a","data":1,"id":"e3"},{"type":"a","data":2,"id":"e1"}]"#).await;
    assert_eq!((got.problem().0, got.json()["pointer"].as_str()), (409, Some("/1/id")));
    assert_eq!(bench.get("/v1/events/e3").await.status, 404);
    let got =
        bench.post("/v1/events/batch", r#"[{"type":"a","data":1,"id":"e4"},{"type":"a","data":2,"id":"e4"}]"#).await;
    assert_eq!((got.problem().0, got.json()["pointer"].as_str()), (409, Some("/1/id")), "one id, two events");
    assert_eq!(bench.get("/v1/events/e4").await.status, 404);
    let text = bench.metrics.text();
    assert!(text.contains("webhookd_events_accepted_total{via=\"batch\"} 2\n"), "{text}");
    assert!(text.contains("webhookd_events_duplicate_total 1\n"), "{text}");
    assert!(text.contains("webhookd_requests_refused_total{reason=\"id-conflict\"} 2\n"), "{text}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_bodies_come_back_byte_for_byte() {
    let bench = Bench::start().await;
    let bytes: Vec<u8> = (0..=255).collect();
    let got =
        bench.call("POST", "/v1/raw/orders/create?id=r1&key=k%201", &[("content-type", "image/png")], bytes).await;
    assert_eq!((got.status.as_u16(), got.json()["id"].as_str()), (202, Some("r1")), "{got:?}");
    let shown = bench.get("/v1/events/r1").await.json();
    assert_eq!((shown["type"].as_str(), shown["key"].as_str()), (Some("orders/create"), Some("k 1")));
    assert_eq!((shown["content_type"].as_str(), shown.get("data")), (Some("image/png"), None));
    assert!(shown["body_base64"].as_str().unwrap().starts_with("AAECAwQF"));
    let json = [("content-type", "application/json")];
    bench.call("POST", "/v1/raw/a?id=r2", &json, " {\"n\":1.10} ").await;
    let text = String::from_utf8(bench.get("/v1/events/r2").await.body.to_vec()).unwrap();
    assert!(text.contains(r#""data":{"n":1.10},"#), "{text}");
    assert_eq!(bench.post("/v1/raw/a?i=1", "x").await.problem(), (400, "invalid-parameter".to_owned()));
    assert_eq!(bench.post("/v1/raw/a%20b", "x").await.problem(), (422, "invalid-field".to_owned()));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cloudevents_come_in_every_mode() {
    let bench = Bench::start().await;
    let event = |id: &str| {
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"invoice.paid","data":{{"n":1.10}}}}"#)
    };
    let post = async |content_type: &str, body: String| {
        bench.call("POST", "/v1/events", &[("content-type", content_type)], body).await
    };
    let got = post("application/cloudevents+json", event("c1")).await;
    assert_eq!((got.status.as_u16(), got.json()["id"].as_str()), (202, Some("c1")), "{got:?}");
    assert_eq!(post("application/cloudevents+json", event("c1")).await.status, 200);
    let got = post("application/cloudevents-batch+json", format!("[{},{}]", event("c1"), event("c2"))).await;
    assert_eq!((got.status.as_u16(), ids(&got)), (202, vec!["c1".to_owned(), "c2".to_owned()]), "{got:?}");
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "c3"),
        ("ce-source", "/s"),
        ("ce-type", "a"),
        ("content-type", "text/plain"),
    ];
    let got = bench.call("POST", "/v1/events", &headers, "hello").await;
    assert_eq!((got.status.as_u16(), got.json()["id"].as_str()), (202, Some("c3")), "{got:?}");
    assert_eq!(bench.get("/v1/events/c3").await.json()["body_base64"], "aGVsbG8=");
    assert_eq!(post("application/cloudevents+avro", String::new()).await.problem().0, 415);
    let got = bench.call("POST", "/v1/events/batch", &headers, "hello").await;
    assert_eq!(got.problem().0, 415);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_context_is_kept_where_it_is_one() {
    let bench = Bench::start().await;
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (id, header, expected) in [("t1", good, Some(good)), ("t2", "nonsense", None)] {
        let body = format!(r#"{{"type":"a","data":1,"id":"{id}"}}"#);
        let got = bench.call("POST", "/v1/events", &[("traceparent", header)], body).await;
        assert_eq!(got.status, 202);
        let stored = bench.outbox.find(&EventId::parse(id).unwrap()).await.unwrap().unwrap();
        assert_eq!(stored.event.traceparent.as_deref(), expected);
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_past_the_limit_or_compressed_are_refused_and_the_daemon_goes_on() {
    let bench = Bench::with("max_body = \"64KiB\"").await;
    let body = |len: usize| format!(r#"{{"type":"a","data":"{}"}}"#, "x".repeat(len - 22));
    let got = bench.post("/v1/events", body(65_537)).await;
    assert_eq!(got.problem(), (413, "body-too-large".to_owned()));
    assert_eq!(got.head.headers()["connection"], "close");
    let got = bench.post("/v1/events", body(65_536)).await;
    assert_eq!(got.status, 202, "{got:?}");
    let gzip = [("content-encoding", "gzip")];
    assert_eq!(bench.call("POST", "/v1/events", &gzip, body(100)).await.problem().0, 415);
    let deep = format!(r#"{{"type":"a","data":{}}}"#, "[".repeat(60_000));
    assert_eq!(bench.post("/v1/events", deep).await.problem(), (400, "invalid-json".to_owned()));
    assert_eq!(bench.post("/v1/events", body(100)).await.status, 202);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_opens_or_stops_takes_nothing() {
    let (bench, core) = Bench::opening("", |_| {}).await;
    let event = r#"{"type":"a","data":1}"#;
    let got = bench.get("/readyz").await;
    assert_eq!((got.status.as_u16(), got.json()), (503, serde_json::json!({"status": "opening"})));
    assert_eq!((bench.get("/healthz").await.status.as_u16(), bench.get("/metrics").await.status.as_u16()), (200, 200));
    for path in ["/v1/events", "/v1/endpoints", "/v1/events/evt_1"] {
        assert_eq!(bench.get(path).await.problem(), (503, "not-ready".to_owned()), "{path}");
    }
    assert_eq!(bench.post("/v1/events", event).await.problem(), (503, "not-ready".to_owned()));
    bench.readiness.set_ready(core);
    assert_eq!(bench.get("/readyz").await.json(), serde_json::json!({"status": "ready"}));
    assert_eq!(bench.post("/v1/events", event).await.status, 202);
    bench.readiness.set_draining();
    assert_eq!(bench.readiness.phase(), Phase::Draining);
    assert_eq!(
        (bench.get("/readyz").await.status, bench.get("/healthz").await.status),
        (503.try_into().unwrap(), StatusCode::OK)
    );
    let got = bench.post("/v1/events", event).await;
    assert_eq!(got.problem(), (503, "not-ready".to_owned()));
    assert!(got.head.headers().contains_key("retry-after"));
    assert_eq!(bench.get("/v1/events").await.status, 200);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_folder_refuses_new_events_and_serves_the_old_ones() {
    let bench = Bench::changed("", |config| config.storage.size_bytes_max = 1).await;
    assert_eq!(bench.post("/v1/events", r#"{"type":"a","data":1,"id":"first"}"#).await.status, 202);
    while bench.get("/readyz").await.json()["status"] != "full" {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.get("/readyz").await.status, 503);
    let got = bench.post("/v1/events", r#"{"type":"a","data":2}"#).await;
    assert_eq!(got.problem(), (503, "storage-full".to_owned()));
    assert!(got.head.headers().contains_key("retry-after"));
    assert_eq!(bench.get("/v1/events/first").await.status, 200);
    bench.stop().await;
}
