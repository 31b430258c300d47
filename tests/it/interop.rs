//! Other people's libraries: they verify what the daemon sends, and send what it takes.
//!
//! The packages are those of `tests/interop/`, installed by `tests/run` below `target/interop`; the folder can be named
//! with `WEBHOOKD_INTEROP`. Without them these tests cannot run, so a plain `cargo test` leaves them out and says so.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::kit::{Received, Receiver, SECRET, SECRET_NEXT, Setup};

fn folder() -> PathBuf {
    let given = std::env::var_os("WEBHOOKD_INTEROP").map(PathBuf::from);
    given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/interop"))
}

/// Runs a script of `tests/interop/` on this input; what it printed.
#[track_caller]
pub(crate) fn script(name: &str, arguments: &[&str], input: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name);
    let mut command = match name.rsplit_once('.') {
        Some((_, "py")) => Command::new(folder().join("venv/bin/python")),
        _ => Command::new("node"),
    };
    let mut child = command
        .arg(file)
        .args(arguments)
        .env("WEBHOOKD_INTEROP", folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{name} does not start ({error}): run tests/run, which installs what it needs"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        // A script that gave up early has closed its input; its exit code tells.
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} ended with {}:\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A delivery as the scripts read it.
fn told(request: &Received, secrets: &[&str], public_keys: &[String]) -> String {
    let headers: BTreeMap<&str, &str> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let body = STANDARD.encode(&request.body);
    let line = json!({"headers": headers, "body_base64": body, "secrets": secrets, "public_keys": public_keys});
    format!("{line}\n")
}

/// Hands deliveries to the Python and the npm library; each must verify as many signatures as expected.
#[track_caller]
fn verified_by_both(input: &str, expected: usize) {
    for name in ["verify.py", "verify.js"] {
        let answer: Value = serde_json::from_str(&script(name, &[], input)).unwrap();
        assert_eq!(answer["verified"], expected, "{name}");
    }
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_standard_webhooks_libraries_verify_every_kind_of_secret() {
    let receiver = Receiver::start();
    let seed = [42_u8; 32];
    let public = *ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().as_bytes();
    let private = format!("whsk_{}", STANDARD.encode([seed, public].concat()));
    let endpoint = |path: &str, secret: &str| format!("url = \"{}\"\nsecret = {secret}", receiver.url(path));
    let daemon = Setup::new()
        .endpoint_alone("one", &endpoint("/one", &format!("\"{SECRET}\"")))
        .endpoint_alone("two", &endpoint("/two", &format!("[\"{SECRET_NEXT}\", \"{SECRET}\"]")))
        .endpoint_alone("ed", &endpoint("/ed", &format!("\"{private}\"")))
        .endpoint_alone("mixed", &endpoint("/mixed", &format!("[\"{private}\", \"{SECRET}\", \"{SECRET_NEXT}\"]")))
        .start();
    let bodies = [r#"{"n":1.10}"#, r#""Grüße € 😀""#, "null", r#"{ "spaced" : [ 1 , 2 ] }"#];
    for body in bodies {
        daemon.client().event("a.b", body);
    }
    let public = STANDARD.encode(public);
    let mut input = String::new();
    for request in receiver.wait(4 * bodies.len()) {
        let (secrets, keys): (&[&str], Vec<String>) = match request.path.as_str() {
            "/one" => (&[SECRET], vec![]),
            "/two" => (&[SECRET, SECRET_NEXT], vec![]),
            "/ed" => (&[], vec![public.clone()]),
            _ => (&[SECRET, SECRET_NEXT], vec![public.clone()]),
        };
        input.push_str(&told(&request, secrets, &keys));
    }
    verified_by_both(&input, bodies.len() * (1 + 2 + 1 + 3));
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn githubs_published_payloads_come_out_unchanged_and_signed() {
    let receiver = Receiver::start();
    let daemon = Setup::new()
        .endpoint("standard", &receiver.url("/standard"), "events = [\"event.*\"]")
        .endpoint("data", &receiver.url("/data"), "events = [\"event.*\"]\nformat = \"raw\"")
        .endpoint("raw", &receiver.url("/raw"), "events = [\"raw.*\"]\nformat = \"raw\"")
        .start();
    let payloads = lines(&script("github_payloads.js", &[], ""));
    assert!(payloads.len() >= 200, "only {} payloads", payloads.len());
    for (n, payload) in payloads.iter().enumerate() {
        let (event, body) = (payload["event"].as_str().unwrap(), payload["body"].as_str().unwrap());
        let posted = format!(r#"{{"id":"e-{n}","type":"event.{event}","data":{body}}}"#);
        daemon.client().post("/v1/events", posted).expect(202);
        daemon.client().post(&format!("/v1/raw/raw.{event}?id=r-{n}"), body.to_owned()).expect(202);
    }
    let requests = receiver.wait(3 * payloads.len());
    assert_eq!(requests.len(), 3 * payloads.len());
    let mut input = String::new();
    for request in &requests {
        let (way, n) = request.id().split_once('-').unwrap();
        let payload = &payloads[n.parse::<usize>().unwrap()];
        let (event, body) = (payload["event"].as_str().unwrap(), payload["body"].as_str().unwrap());
        match (way, request.path.as_str()) {
            ("e", "/standard") => {
                let start = format!(r#"{{"type":"event.{event}","timestamp":""#);
                assert!(request.text().starts_with(&start), "{}", &request.text()[..100]);
                assert!(request.text().ends_with(&format!(r#","data":{body}}}"#)), "{event} was changed");
            }
            ("e", "/data") | ("r", "/raw") => assert!(request.text() == body, "{event} was changed"),
            other => panic!("{other:?}"),
        }
        input.push_str(&told(request, &[SECRET], &[]));
    }
    verified_by_both(&input, requests.len());
    println!("{} GitHub payloads in and out three ways, {} signatures verified twice", payloads.len(), requests.len());
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_cloudevents_sdk_sends_to_it_and_reads_from_it() {
    let receiver = Receiver::start();
    let daemon = Setup::new().endpoint("cloud", &receiver.url("/"), "format = \"cloudevents\"").start();
    let sent = lines(&script("cloudevents_send.py", &[daemon.listen()], ""));
    assert_eq!(sent.len(), 13, "{sent:?}");
    for event in &sent {
        assert_eq!(event["status"], 202, "{event}");
    }
    let requests = receiver.wait(sent.len());
    let input: String = requests.iter().map(|request| told(request, &[SECRET], &[])).collect();
    verified_by_both(&input, sent.len());
    let read = lines(&script("cloudevents_read.py", &[], &input));
    for event in &sent {
        let id = &event["attributes"]["id"];
        let found: Vec<&Value> = read.iter().filter(|out| out["attributes"]["id"] == *id).collect();
        assert_eq!(found.len(), 1, "{id}");
        assert_eq!(found[0]["attributes"], event["attributes"], "{id}");
        assert_eq!(found[0]["data"], event["data"], "{id}");
    }
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn prometheus_reads_the_metrics() {
    let receiver = Receiver::start();
    let daemon = Setup::new()
        .delivery("retry = []")
        .endpoint("app", &receiver.url("/"), "")
        .endpoint("closed", "http://127.0.0.1:1/", "")
        .start();
    for n in 0..7 {
        let id = daemon.client().event("a", &n.to_string());
        daemon.client().await_state(&id, "app", "delivered");
        daemon.client().await_state(&id, "closed", "dead");
    }
    let reply = daemon.client().get("/metrics").expect(200);
    let kind = reply.header("content-type").unwrap().to_owned();
    let sums: BTreeMap<String, f64> =
        serde_json::from_str(&script("metrics_read.py", &[&kind], &reply.text())).unwrap();
    assert_eq!(sums["webhookd_events_accepted_total"], 7.0, "{sums:?}");
    assert_eq!(sums["webhookd_attempts_total"], 14.0, "{sums:?}");
    assert_eq!(sums["webhookd_accepted_to_delivered_seconds_count"], 7.0, "{sums:?}");
    assert_eq!(sums["webhookd_deliveries_pending"], 0.0, "{sums:?}");
}
