//! A delivery on the wire: method, headers, body and signature, as the contract has them.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::kit::{Receiver, SECRET, SECRET_NEXT, Setup, ed25519_fits, hmac_fits};

#[test]
fn the_headers_are_those_of_the_contract_and_no_others() {
    let receiver = Receiver::start();
    let daemon =
        Setup::new().endpoint("app", &receiver.url("/hooks?x=1"), "headers = { \"x-tenant\" = \"acme\" }").start();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let event = r#"{"id":"evt-1","type":"invoice.paid","timestamp":"2022-11-03T20:26:10.344522Z","data":{"n":1}}"#;
    let headers = [("content-type", "application/json"), ("traceparent", trace)];
    daemon.client().send("POST", "/v1/events", &headers, event).expect(202);
    let request = &receiver.wait(1)[0];
    assert_eq!(request.method, "POST");
    assert_eq!(request.path, "/hooks");
    let names: BTreeSet<&str> = request.headers.keys().map(hyper::header::HeaderName::as_str).collect();
    let wanted = BTreeSet::from([
        "content-length",
        "content-type",
        "host",
        "traceparent",
        "user-agent",
        "webhook-attempt",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
        "x-tenant",
    ]);
    assert_eq!(names, wanted);
    assert_eq!(request.headers.len(), wanted.len(), "each header once");
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("host"), receiver.address().to_string());
    assert_eq!(request.header("user-agent"), format!("webhookd/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(request.header("webhook-id"), "evt-1");
    assert_eq!(request.header("webhook-attempt"), "1");
    assert_eq!(request.header("x-tenant"), "acme");
    assert_eq!(request.header("traceparent"), trace);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let timestamp: u64 = request.header("webhook-timestamp").parse().unwrap();
    assert!(now.abs_diff(timestamp) <= 10, "{timestamp} is not now ({now})");
    assert_eq!(request.text(), r#"{"type":"invoice.paid","timestamp":"2022-11-03T20:26:10.344522Z","data":{"n":1}}"#);
    assert!(hmac_fits(request, SECRET));
    assert!(!request.header("webhook-signature").contains(' '), "one secret, one signature");
}

#[test]
fn an_event_without_a_timestamp_says_when_it_was_accepted() {
    let receiver = Receiver::start();
    let daemon = Setup::new().endpoint("app", &receiver.url("/"), "").start();
    let before = jiff::Timestamp::now();
    let id = daemon.client().event("a", "1");
    let out: serde_json::Value = serde_json::from_slice(&receiver.wait(1)[0].body).unwrap();
    let told: jiff::Timestamp = out["timestamp"].as_str().unwrap().parse().unwrap();
    assert!((told.as_millisecond() - before.as_millisecond()).abs() < 10_000, "{told}");
    assert_eq!(daemon.client().look(&id)["at"], out["timestamp"]);
}

#[test]
fn json_is_passed_on_as_the_text_that_came() {
    let receiver = Receiver::start();
    let daemon = Setup::new()
        .endpoint("standard", &receiver.url("/standard"), "")
        .endpoint("raw", &receiver.url("/raw"), "format = \"raw\"")
        .endpoint("cloud", &receiver.url("/cloud"), "format = \"cloudevents\"")
        .start();
    let texts = [
        "123456789012345678901234567890",
        "1.10",
        "-0",
        "-0.0",
        "1E400",
        "0.1e-7",
        r#"{ "b" : 1.10 , "a":[ ],"b":2, "unknown": {"deep":[[[null]]]} }"#,
        r#""\u00e9 é \ud83d\ude00 😀 \/ \u0000""#,
        "null",
        "false",
        "[123456789012345678901234567890,1.10]",
        r#"{"":{"type":"x","data":0}}"#,
    ];
    for (n, text) in texts.iter().enumerate() {
        let event = format!(r#"{{"id":"t-{n}","type":"a","data":{text}}}"#);
        daemon.client().post("/v1/events", event).expect(202);
        let requests = receiver.wait(3 * (n + 1));
        for request in &requests[3 * n..] {
            assert_eq!(request.id(), format!("t-{n}"));
            match request.path.as_str() {
                "/raw" => assert_eq!(request.text(), *text),
                _ => assert!(request.text().contains(&format!(r#""data":{text}"#)), "{}", request.text()),
            }
            assert!(hmac_fits(request, SECRET), "{text}");
        }
        // And as it is shown: `data` stands there as it came.
        let shown = daemon.client().get(&format!("/v1/events/t-{n}")).expect(200).text();
        assert!(shown.contains(text), "{text} is not in {shown}");
    }
}

#[test]
fn json_posted_raw_comes_out_unchanged_in_every_format() {
    let receiver = Receiver::start();
    let daemon = Setup::new()
        .endpoint("standard", &receiver.url("/standard"), "")
        .endpoint("raw", &receiver.url("/raw"), "format = \"raw\"")
        .endpoint("cloud", &receiver.url("/cloud"), "format = \"cloudevents\"")
        .start();
    let text = "{\n  \"price\": 1.10,\n  \"n\": 123456789012345678901234567890\n}\n";
    let headers = [("content-type", "application/json")];
    daemon.client().send("POST", "/v1/raw/a.b", &headers, text).expect(202);
    for request in receiver.wait(3) {
        match request.path.as_str() {
            "/raw" => assert_eq!(request.text(), text),
            _ => assert!(request.text().contains(text.trim()), "{}: {}", request.path, request.text()),
        }
        assert!(hmac_fits(&request, SECRET));
    }
}

#[test]
fn a_cloudevents_delivery_has_the_required_attributes() {
    let receiver = Receiver::start();
    let daemon = Setup::new().endpoint("cloud", &receiver.url("/"), "format = \"cloudevents\"").start();
    let event = r#"{"id":"evt-1","type":"invoice.paid","timestamp":"2022-11-03T20:26:10Z","data":{"n":1}}"#;
    daemon.client().post("/v1/events", event).expect(202);
    let request = &receiver.wait(1)[0];
    assert!(request.header("content-type").starts_with("application/cloudevents+json"));
    let out: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(out["specversion"], "1.0");
    assert_eq!(out["id"], "evt-1");
    assert_eq!(out["type"], "invoice.paid");
    assert_eq!(out["time"], "2022-11-03T20:26:10Z");
    assert_eq!(out["data"], serde_json::json!({"n": 1}));
    assert!(!out["source"].as_str().unwrap().is_empty());
}

#[test]
fn several_secrets_sign_in_their_order() {
    let receiver = Receiver::start();
    let seed = [7_u8; 32];
    let key = ed25519_dalek::SigningKey::from_bytes(&seed);
    let mut pair = seed.to_vec();
    pair.extend_from_slice(key.verifying_key().as_bytes());
    let private = format!("whsk_{}", STANDARD.encode(pair));
    let lines = format!("url = \"{}\"\nsecret = [\"{SECRET_NEXT}\", \"{SECRET}\", \"{private}\"]", receiver.url("/"));
    let daemon = Setup::new().endpoint_alone("app", &lines).start();
    daemon.client().event("a", "{}");
    let request = &receiver.wait(1)[0];
    assert!(hmac_fits(request, SECRET));
    assert!(hmac_fits(request, SECRET_NEXT));
    assert!(ed25519_fits(request, key.verifying_key().as_bytes()));
    let versions: Vec<&str> =
        request.header("webhook-signature").split(' ').map(|signature| signature.split(',').next().unwrap()).collect();
    assert_eq!(versions, ["v1", "v1", "v1a"], "exactly one space between signatures");
}

#[test]
fn a_secret_may_come_from_a_file_or_the_environment() {
    let receiver = Receiver::start();
    let url = receiver.url("/");
    let mut daemon = Setup::new()
        .endpoint_alone("file", &format!("url = \"{url}file\"\nsecret = {{ file = \"secret.txt\" }}"))
        .endpoint_alone("env", &format!("url = \"{url}env\"\nsecret = {{ env = \"TEST_HOOK_SECRET\" }}"))
        .endpoint_alone("credential", &format!("url = \"{url}cred\"\nsecret = {{ credential = \"hook\" }}"))
        .prepare();
    std::fs::write(daemon.dir().join("secret.txt"), format!("{SECRET}\n")).unwrap();
    std::fs::create_dir(daemon.dir().join("credentials")).unwrap();
    std::fs::write(daemon.dir().join("credentials/hook"), SECRET).unwrap();
    let credentials = daemon.dir().join("credentials").display().to_string();
    daemon.run_with(&[("TEST_HOOK_SECRET", SECRET), ("CREDENTIALS_DIRECTORY", &credentials)]);
    daemon.client().event("a", "{}");
    for request in receiver.wait(3) {
        assert!(hmac_fits(&request, SECRET), "{}", request.path);
    }
}
