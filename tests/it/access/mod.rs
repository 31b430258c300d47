//! Who may reach the API: loopback, unix sockets, tokens and their scopes, and no web page; what is told of those who do; and what
//! others on the machine may see.

mod audit;
mod pages;
mod private;

use crate::kit::{Receiver, Setup, free_port};

#[test]
fn the_api_answers_on_a_unix_socket() {
    let receiver = Receiver::start();
    let mut daemon = Setup::new().listen("unix:api.sock").endpoint("app", &receiver.url("/"), "").start();
    let id = daemon.client().event("a", "{\"n\":1}");
    assert_eq!(receiver.wait(1)[0].id(), id);
    daemon.client().await_state(&id, "app", "delivered");
    // A socket file that a kill left behind is no obstacle.
    daemon.kill();
    daemon.run();
    daemon.client().await_state(&id, "app", "delivered");
    assert!(daemon.stop().success());
    assert!(!daemon.dir().join("api.sock").exists(), "the socket is removed at the end");
}

const TOKENS: &str = r#"
token.app = { secret = "send-token-0123456789", scope = "send" }
token.eye = { secret = "read-token-0123456789", scope = "read" }
token.ops = { secret = "admin-token-0123456789", scope = "admin" }
"#;

#[test]
fn scopes_allow_what_they_say() {
    let receiver = Receiver::start();
    let daemon = Setup::new()
        .api(TOKENS)
        .token("admin-token-0123456789")
        .endpoint("app", &receiver.url("/"), "events = [\"b\"]")
        .start();
    let admin = daemon.client();
    admin.post("/v1/events", r#"{"id":"known","type":"a","data":1}"#).expect(202);
    let address = daemon.listen();
    let nobody = crate::kit::Client::tcp(address);
    let wrong = nobody.with_token("send-token-0123456780");
    let send = nobody.with_token("send-token-0123456789");
    let read = nobody.with_token("read-token-0123456789");

    // (method, path, body, lowest scope: 1 send, 2 read, 3 admin)
    let event = r#"{"type":"a","data":1}"#;
    let batch = r#"[{"type":"a","data":1}]"#;
    let requests = [
        ("POST", "/v1/events", event, 1),
        ("POST", "/v1/events/batch", batch, 1),
        ("POST", "/v1/raw/a", "x", 1),
        ("GET", "/v1/events", "", 2),
        ("GET", "/v1/events/known", "", 2),
        ("GET", "/v1/endpoints", "", 2),
        ("GET", "/v1/endpoints/app", "", 2),
        ("GET", "/metrics", "", 2),
        ("POST", "/v1/events/known/replay", "{}", 3),
        ("POST", "/v1/endpoints/app/pause", "", 3),
        ("POST", "/v1/endpoints/app/resume", "", 3),
    ];
    let headers = [("content-type", "application/json")];
    for (method, path, body, lowest) in requests {
        for (client, scope) in [(&send, 1), (&read, 2), (admin, 3)] {
            let reply = client.send(method, path, &headers, body);
            if scope >= lowest {
                assert!(reply.status < 300, "{method} {path} in scope {scope}: {} {}", reply.status, reply.text());
            } else {
                reply.problem(403);
            }
        }
        for client in [&nobody, &wrong] {
            let reply = client.send(method, path, &headers, body);
            reply.problem(401);
            assert!(reply.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")), "RFC 9110");
        }
    }
    nobody.get("/healthz").expect(200);
    for value in ["Basic c2VuZA==", "Bearer", "Bearer ", "send-token-0123456789", "Bearer  send-token-0123456789 x"] {
        nobody.send("GET", "/v1/events", &[("authorization", value)], "").problem(401);
    }
    let good = ("authorization", "Bearer read-token-0123456789");
    nobody.send("GET", "/v1/events", &[good, good], "").problem(401);
    nobody.get("/v1/events?access_token=read-token-0123456789").problem(401);
    nobody.get("/v1/events?token=read-token-0123456789").problem(401);
    // Whoever guesses is told the same, whatever it was.
    assert_eq!(nobody.get("/v1/events").body, wrong.get("/v1/events").body);
    // The scheme's name has no case (RFC 9110, 11.1).
    let lower = nobody.send("GET", "/v1/events", &[("authorization", "bearer read-token-0123456789")], "");
    lower.expect(200);
    for secret in ["send-token", "read-token", "admin-token"] {
        assert!(!daemon.log().contains(secret), "a token is in the log");
    }
}

#[test]
fn an_open_address_without_a_token_is_refused_at_start() {
    let listen = format!("0.0.0.0:{}", free_port());
    let mut daemon = Setup::new().listen(&listen).prepare();
    daemon.spawn(&[]);
    let status = daemon.wait(crate::kit::SOON);
    assert!(!status.success());
    let log = daemon.log();
    assert!(log.contains("token"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn an_open_address_with_a_token_starts() {
    let port = free_port();
    let mut daemon = Setup::new()
        .listen(&format!("0.0.0.0:{port}"))
        .api("token.ops = { secret = { file = \"token\" }, scope = \"admin\" }")
        .token("from-a-file-0123456789")
        .prepare();
    std::fs::write(daemon.dir().join("token"), "from-a-file-0123456789\n").unwrap();
    daemon.run();
    daemon.client().get("/v1/events").expect(200);
}
