//! What comes in goes on to the app as every event does.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::github;
use crate::kit::{Answer, Daemon, Received, Receiver, SECRET, SECRET_NEXT, Setup, binary, eventually, hmac_fits};

#[test]
fn a_request_of_github_is_acknowledged_once_and_forwarded_as_it_came() {
    let app = Receiver::start();
    let endpoint = format!("url = \"{}\"\nsign = \"none\"\nformat = \"raw\"\nevents = [\"github.*\"]", app.url("/app"));
    let daemon = Setup::new().endpoint_alone("app", &endpoint).source("github", github::SOURCE).start();
    let body = br#"{"zen": "Keep it logically awesome.", "n": 1.10}"#;
    let signature = github::signature(body);
    let headers = [
        ("content-type", "application/json"),
        ("x-github-event", "ping"),
        ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
        ("x-hub-signature-256", signature.as_str()),
    ];
    for _ in 0..2 {
        daemon.inbound().send("POST", "/in/github", &headers, &body[..]).expect(200);
    }
    let forwarded = app.wait(1);
    assert_eq!(&forwarded[0].body[..], body);
    for (name, value) in &headers {
        assert_eq!(forwarded[0].header(name), *value, "{name}");
    }
    let listed = daemon.client().get("/v1/events").expect(200).json();
    assert_eq!(listed["events"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed["events"][0]["type"], "github.ping");
}

/// An endpoint of these lines beside its URL.
fn app(receiver: &Receiver, lines: &str) -> String {
    format!("url = \"{}\"\nformat = \"raw\"\n{lines}", receiver.url("/app"))
}

#[test]
fn with_the_app_down_everything_is_acknowledged_and_delivered_once_it_is_up() {
    let receiver = Receiver::answering(|_| Answer::status(503));
    let daemon = Setup::new()
        .delivery("retry = [\"100ms\", \"100ms\", \"100ms\", \"100ms\", \"60s\"]")
        .endpoint_alone("app", &app(&receiver, "sign = \"none\"\nbreaker = \"off\""))
        .source("github", github::SOURCE)
        .start();
    for n in 0..10 {
        github::post(&daemon, &[("x-github-delivery", &n.to_string())], format!("{{\"n\":{n}}}").as_bytes())
            .expect(200);
    }
    receiver.wait(10);
    receiver.answer(|_| Answer::status(200));
    eventually("all are delivered", || {
        let events = super::events(&daemon);
        events.iter().all(|event| event["deliveries"][0]["state"] == "delivered").then_some(())
    });
    let mut bodies: Vec<_> = receiver.requests().iter().map(|request| request.text().to_owned()).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies, (0..10).map(|n| format!("{{\"n\":{n}}}")).collect::<Vec<_>>());
}

#[test]
fn a_replay_is_the_request_as_it_came() {
    let receiver = Receiver::start();
    let daemon =
        Setup::new().endpoint_alone("app", &app(&receiver, "sign = \"none\"")).source("github", github::SOURCE).start();
    github::post(&daemon, &[("x-vendor", "a"), ("x-vendor", "b")], b"{ \"n\": 1.10 }").expect(200);
    receiver.wait(1);
    let id = super::events(&daemon)[0]["id"].as_str().unwrap().to_owned();
    daemon.client().await_state(&id, "app", "delivered");
    daemon.client().post(&format!("/v1/events/{id}/replay"), "{}").expect(202);
    let requests = receiver.wait(2);
    let [first, again] = [&requests[0], &requests[1]];
    assert_eq!((&first.body[..], &again.body), (&b"{ \"n\": 1.10 }"[..], &first.body));
    for name in ["x-vendor", "x-hub-signature-256", "x-github-event", "webhook-id"] {
        let values = |request: &Received| request.headers.get_all(name).iter().cloned().collect::<Vec<_>>();
        assert_eq!(values(first), values(again), "{name}");
    }
    assert_eq!(again.attempt(), 2);
}

/// Posts as a vendor that signs with Standard Webhooks; the three headers.
fn post_standard(daemon: &Daemon, body: &[u8]) -> [(&'static str, String); 3] {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().to_string();
    let key = STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(&[format!("msg_1.{now}.").as_bytes(), body].concat());
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    let signed = [("webhook-id", "msg_1".to_owned()), ("webhook-timestamp", now), ("webhook-signature", signature)];
    let headers: Vec<_> = signed.iter().map(|(name, value)| (*name, value.as_str())).collect();
    daemon.inbound().send("POST", "/in/vendor", &headers, body.to_vec()).expect(200);
    signed
}

#[test]
fn an_app_can_verify_a_standard_webhook_of_the_vendor_or_ours() {
    let (theirs, ours) = (Receiver::start(), Receiver::start());
    let daemon = Setup::new()
        .endpoint_alone("theirs", &app(&theirs, "sign = \"none\""))
        .endpoint_alone("ours", &app(&ours, &format!("secret = \"{SECRET_NEXT}\"")))
        .source("vendor", &format!("verify = {{ scheme = \"standard\", secret = \"{SECRET}\" }}"))
        .start();
    let signed = post_standard(&daemon, b"{\"type\":\"invoice.paid\"}");
    let theirs = &theirs.wait(1)[0];
    for (name, value) in &signed {
        assert_eq!(theirs.header(name), value);
    }
    assert!(hmac_fits(theirs, SECRET));
    let ours = &ours.wait(1)[0];
    assert!(hmac_fits(ours, SECRET_NEXT) && !hmac_fits(ours, SECRET));
    assert_eq!(ours.id(), super::only_event(&daemon)["id"]);
    assert_eq!(super::only_event(&daemon)["type"], "vendor.invoice.paid");
}

#[test]
fn an_export_takes_headers_and_the_id_of_the_vendor_along() {
    let mut daemon = Setup::new().source("github", github::SOURCE).start();
    github::post(&daemon, &[("x-github-delivery", "d1"), ("x-vendor", "a"), ("x-vendor", "b")], b"{}").expect(200);
    assert!(daemon.stop().success());
    let store = |daemon: &Daemon, arguments: &[&str]| {
        let config = daemon.config();
        let output = Command::new(binary()).arg("store").args(arguments).arg("--config").arg(config).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let export = store(&daemon, &["export"]);
    let receiver = Receiver::start();
    let mut other = Setup::new()
        .endpoint_alone("app", &app(&receiver, "sign = \"none\""))
        .source("github", github::SOURCE)
        .prepare();
    let file = other.dir().join("events.ndjson");
    std::fs::write(&file, export).unwrap();
    store(&other, &["import", file.to_str().unwrap()]);
    other.run();
    github::post(&other, &[("x-github-delivery", "d1")], b"{}").expect(200);
    let event = super::only_event(&other);
    other.client().post("/v1/endpoints/app/replay", r#"{"since":"2020-01-01T00:00:00Z"}"#).expect(202);
    let request = &receiver.wait(1)[0];
    assert_eq!(request.id(), event["id"]);
    let values: Vec<_> = request.headers.get_all("x-vendor").iter().collect();
    assert_eq!(values, ["a", "b"]);
    assert_eq!(request.header("x-hub-signature-256"), github::signature(b"{}"));
}
