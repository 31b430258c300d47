//! What comes in goes on to the app as every event does.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::kit::{Receiver, Setup};

const SOURCE: &str = "\
verify = { scheme = \"github\", secret = \"It's a Secret to Everybody\" }
event_type = { header = \"x-github-event\" }
dedup = { header = \"x-github-delivery\" }";

#[test]
fn a_request_of_github_is_acknowledged_once_and_forwarded_as_it_came() {
    let app = Receiver::start();
    let endpoint = format!("url = \"{}\"\nsign = \"none\"\nformat = \"raw\"\nevents = [\"github.*\"]", app.url("/app"));
    let daemon = Setup::new().endpoint_alone("app", &endpoint).source("github", SOURCE).start();
    let body = br#"{"zen": "Keep it logically awesome.", "n": 1.10}"#;
    let mut mac = Hmac::<Sha256>::new_from_slice(b"It's a Secret to Everybody").unwrap();
    mac.update(body);
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let headers = BTreeMap::from([
        ("content-type", "application/json"),
        ("x-github-event", "ping"),
        ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
        ("x-hub-signature-256", signature.as_str()),
    ]);
    let headers: Vec<_> = headers.into_iter().collect();
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
