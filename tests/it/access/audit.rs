//! The audit log of a real daemon.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::kit::{Client, Daemon, Receiver, Setup, eventually};

const API: &str = r#"
token.app = { secret = "send-token-0123456789", scope = "send" }
token.ops = { secret = "admin-token-0123456789", scope = "admin" }
"#;

/// The audit lines so far, without what differs from run to run; of a daemon that logs in JSON.
fn lines(daemon: &Daemon) -> Vec<Value> {
    let log = daemon.log();
    let lines =
        log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    let mut lines: Vec<Value> = lines.filter(|line| line["target"] == "webhookd::audit").collect();
    for line in &mut lines {
        let fields = line.as_object_mut().unwrap();
        assert_eq!(fields.remove("audit"), Some(json!(true)));
        if let Some(peer) = fields.remove("peer") {
            assert!(peer.as_str().unwrap().starts_with("127.0.0.1:"), "{peer}");
        }
        for common in ["timestamp", "level", "target", "message"] {
            fields.remove(common);
        }
    }
    lines
}

/// Waits for one more line, which must be this one.
#[track_caller]
fn expect(daemon: &Daemon, seen: &mut usize, expected: &Value) {
    let all = eventually(&format!("there is a line {expected}"), || {
        let all = lines(daemon);
        (all.len() > *seen).then_some(all)
    });
    assert_eq!(&all[*seen], expected);
    *seen += 1;
}

fn start(level: &str) -> Daemon {
    let mut daemon = Setup::new()
        .api(API)
        .token("admin-token-0123456789")
        .endpoint("app", "http://127.0.0.1:1/", "permanent = [400]")
        .prepare();
    daemon.launch(&[("WEBHOOKD_LOG", level)], &["--log", "json"]);
    eventually("it is ready", || {
        daemon.client().try_send("GET", "/readyz", &[], "").is_ok_and(|reply| reply.status == 200).then_some(())
    });
    daemon
}

#[test]
fn acts_and_refusals_are_told_with_who_and_what_even_where_nothing_else_is() {
    let receiver = Receiver::start();
    let mut daemon = start("off");
    let text = std::fs::read_to_string(daemon.config()).unwrap();
    std::fs::write(daemon.config(), text.replace("http://127.0.0.1:1/", &receiver.url("/"))).unwrap();
    let (admin, nobody) = (daemon.client().clone(), Client::tcp(daemon.listen()));
    let send = nobody.with_token("send-token-0123456789");
    let mut seen = 0;
    admin.post("/v1/reload", "").expect(200);
    expect(&daemon, &mut seen, &json!({"action": "reload", "actor": "token:ops", "outcome": "ok", "status": 200}));
    daemon.signal(Signal::HUP);
    expect(&daemon, &mut seen, &json!({"action": "reload", "actor": "signal", "outcome": "ok"}));
    admin.post("/v1/endpoints/app/pause", "").expect(200);
    expect(
        &daemon,
        &mut seen,
        &json!({"action": "pause", "actor": "token:ops", "object": "app", "outcome": "ok", "status": 200}),
    );
    admin.post("/v1/endpoints/none/pause", "").problem(404);
    let missing = json!({
        "action": "pause", "actor": "token:ops", "object": "none", "outcome": "endpoint-not-found", "status": 404,
    });
    expect(&daemon, &mut seen, &missing);
    admin.post("/v1/endpoints/app/resume", "").expect(200);
    expect(
        &daemon,
        &mut seen,
        &json!({"action": "resume", "actor": "token:ops", "object": "app", "outcome": "ok", "status": 200}),
    );
    admin.post("/v1/endpoints/app/ping", "").expect(202);
    expect(
        &daemon,
        &mut seen,
        &json!({"action": "ping", "actor": "token:ops", "object": "app", "outcome": "ok", "status": 202}),
    );
    // Posting events is no act.
    admin.post("/v1/events", r#"{"id":"known","type":"a","data":1}"#).expect(202);
    admin.await_state("known", "app", "delivered");
    admin.post("/v1/events/known/replay", "{}").expect(202);
    let replay = json!({
        "action": "replay", "actor": "token:ops", "object": "known", "outcome": "ok", "status": 202, "count": 1,
    });
    expect(&daemon, &mut seen, &replay);
    admin.await_state("known", "app", "delivered");
    receiver.wait(3);
    let wish = r#"{"state":"delivered","until":"2100-01-01T00:00:00Z"}"#;
    // The ping is not one of the types that the endpoint takes by itself.
    eventually("both are delivered", || {
        let state = |event: &Value| event["deliveries"][0]["state"] == "delivered";
        admin.get("/v1/events").json()["events"].as_array().unwrap().iter().all(state).then_some(())
    });
    admin.post("/v1/endpoints/app/replay", wish).expect(202);
    let replay = json!({
        "action": "replay", "actor": "token:ops", "object": "app", "outcome": "ok", "status": 202, "count": 1,
        "filter": "state=delivered until=2100-01-01T00:00:00.000Z",
    });
    expect(&daemon, &mut seen, &replay);

    nobody.get("/v1/events?token=secret-in-a-query").problem(401);
    let refused = |action: &str, actor: &str, word: &str, status: u16| json!({"action": action, "actor": actor, "outcome": word, "status": status});
    expect(&daemon, &mut seen, &refused("read", "anonymous", "unauthorized", 401));
    nobody.with_token("guessed-token-0123456789").post("/v1/events", "{}").problem(401);
    expect(&daemon, &mut seen, &refused("send", "unknown", "unauthorized", 401));
    send.post("/v1/endpoints/app/pause", "").problem(403);
    let mut scope = refused("pause", "token:app", "insufficient-scope", 403);
    scope["object"] = json!("app");
    expect(&daemon, &mut seen, &scope);
    admin.send("POST", "/v1/reload", &[("origin", "https://evil.example")], "").problem(403);
    let mut origin = refused("reload", "anonymous", "cross-origin", 403);
    origin["object"] = json!("https://evil.example");
    expect(&daemon, &mut seen, &origin);
    send.post("/v1/events/x%22%0a%1b%5b2Kforged/replay", "").problem(403);
    let mut forged = refused("replay", "token:app", "insufficient-scope", 403);
    forged["object"] = json!("x\"\\n\\u{1b}[2Kforged");
    expect(&daemon, &mut seen, &forged);
    assert!(daemon.stop().success());
    assert_eq!(lines(&daemon).len(), seen, "nothing else is told");
    let log = daemon.log();
    for secret in ["send-token", "admin-token", "guessed-token", "secret-in-a-query"] {
        assert!(!log.contains(secret), "{secret}:\n{log}");
    }
    assert_eq!(log.lines().count(), seen, "nothing but these:\n{log}");
}

#[test]
fn a_reload_that_is_refused_is_an_act_too() {
    let daemon = start("error");
    std::fs::write(daemon.config(), "[api]\ncolour = 1\n").unwrap();
    daemon.client().post("/v1/reload", "").problem(422);
    let mut seen = 0;
    let expected = json!({"action": "reload", "actor": "token:ops", "outcome": "invalid-config", "status": 422});
    expect(&daemon, &mut seen, &expected);
}

#[test]
fn a_flood_of_wrong_tokens_neither_fills_the_log_nor_hides_an_act() {
    const TRIES: u64 = 300;
    let daemon = start("error");
    let wrong = Client::tcp(daemon.listen()).with_token("guessed-token-0123456789");
    for _ in 0..TRIES {
        wrong.get("/v1/events").problem(401);
    }
    daemon.client().post("/v1/endpoints/app/pause", "").expect(200);
    let all = lines(&daemon);
    assert!(all.iter().any(|line| line["action"] == "pause"), "{all:?}");
    let told = || {
        let all = lines(&daemon);
        let one_by_one = all.iter().filter(|line| line["outcome"] == "unauthorized").count() as u64;
        let together: u64 =
            all.iter().filter(|line| line["action"] == "several").filter_map(|line| line["count"].as_u64()).sum();
        (one_by_one, together)
    };
    let (one_by_one, together) = eventually("every refusal is told, alone or with others", || {
        let (one_by_one, together) = told();
        (one_by_one + together == TRIES).then_some((one_by_one, together))
    });
    assert!(together > 0 && one_by_one >= 20, "{one_by_one} {together}");
    let metrics = daemon.client().get("/metrics").text();
    assert!(metrics.contains(&format!("webhookd_audit_held_back_total {together}\n")), "{metrics}");
    assert!(
        metrics.contains(&format!("webhookd_requests_refused_total{{reason=\"unauthorized\"}} {TRIES}\n")),
        "{metrics}"
    );
}
