//! The API while its config changes. The test stands in the daemon's place.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::api::{ReloadError, Reloaded};
use crate::config::{Changes, ConfigErrors, SourceChanges};
use crate::model::text::{EndpointName, SourceName};

const OLD: &str = "token.ops = { secret = \"old-token-0123456789\", scope = \"admin\" }";
const NEW: &str = "token.ops = { secret = \"new-token-0123456789\", scope = \"admin\" }";

fn renewed(api: &str) -> Arc<Config> {
    let endpoint = "[endpoint.fresh]\nurl = \"http://127.0.0.1:9/fresh\"\nsign = \"none\"\n";
    Arc::new(config(&format!("[api]\n{api}\n[storage]\ndir = \"/none\"\n{ENDPOINTS}{endpoint}")))
}

fn post(token: &str, id: &str) -> String {
    let body = format!(r#"{{"type":"order.made","data":1,"id":"{id}"}}"#);
    let length = body.len();
    format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// One answer off a connection that stays open: its status and its body.
async fn answer(stream: &mut TcpStream) -> (u16, String) {
    let mut got = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&got).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return (head[9..12].parse().unwrap(), body.to_owned());
            }
        }
        assert_ne!(stream.read_buf(&mut got).await.unwrap(), 0, "the connection was closed: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_request_of_an_open_connection_meets_the_new_config() {
    let bench = Bench::with(OLD).await;
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    stream.write_all(post("old-token-0123456789", "e1").as_bytes()).await.unwrap();
    let (status, body) = answer(&mut stream).await;
    assert_eq!((status, body.contains("fresh")), (202, false), "{body}");

    bench.front.adopt(&renewed(NEW));
    stream.write_all(post("old-token-0123456789", "e2").as_bytes()).await.unwrap();
    assert_eq!(answer(&mut stream).await.0, 401);
    stream.write_all(post("new-token-0123456789", "e2").as_bytes()).await.unwrap();
    let (status, body) = answer(&mut stream).await;
    assert_eq!((status, body.contains("fresh")), (202, true), "{body}");
    drop(stream);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_ends_under_the_config_that_it_began_with() {
    let bench = Bench::with(OLD).await;
    let body = format!(r#"{{"type":"order.made","data":"{}"}}"#, "x".repeat(4000));
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer old-token-0123456789\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // It is asked for once the request has passed token and limits.
    assert_eq!(answer(&mut stream).await.0, 100);
    bench.front.adopt(&renewed(&format!("max_body = \"1KiB\"\n{NEW}")));
    stream.write_all(body.as_bytes()).await.unwrap();
    let (status, answered) = answer(&mut stream).await;
    assert_eq!((status, answered.contains("fresh")), (202, false), "{answered}");
    let headers = [("authorization", "Bearer new-token-0123456789")];
    let late = bench.call("POST", "/v1/events", &headers, body).await;
    assert_eq!(late.problem().1, "body-too-large");
    drop(stream);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_asked_of_the_daemon_and_answered() {
    let mut bench = Bench::start().await;
    let name = |name: &str| EndpointName::parse(name).unwrap();
    let mut asked = std::mem::replace(&mut bench.asked, mpsc::channel(1).1);
    let daemon = async {
        let changes = Changes {
            added: vec![name("b")],
            changed: vec![name("a")],
            removed: vec![],
            sources: SourceChanges { added: vec![SourceName::parse("github").unwrap()], ..SourceChanges::default() },
            settings: vec!["api.token"],
            needs_restart: vec!["api.listen"],
        };
        let reply = asked.recv().await.unwrap().reply.unwrap();
        reply.send(Ok(Reloaded { changes, warnings: vec!["mind this".to_owned()] })).unwrap();
        let errors: ConfigErrors = Config::parse("x = 1\ny = 2", "a.toml", Path::new("/"), &|_| None).unwrap_err();
        asked.recv().await.unwrap().reply.unwrap().send(Err(ReloadError::Config(errors))).unwrap();
        asked.recv().await.unwrap().reply.unwrap().send(Err(ReloadError::NoFile)).unwrap();
        drop(asked);
    };
    let client = async {
        let got = bench.post("/v1/reload", "").await;
        let expected = json!({
            "endpoints": {"added": ["b"], "changed": ["a"], "removed": []},
            "sources": {"added": ["github"], "changed": [], "removed": []},
            "settings": ["api.token"], "needs_restart": ["api.listen"], "warnings": ["mind this"],
        });
        assert_eq!((got.status.as_u16(), got.json()), (200, expected));
        let refused = bench.post("/v1/reload", "").await;
        assert_eq!(refused.problem(), (422, "invalid-config".to_owned()));
        assert_eq!(refused.json()["errors"].as_array().unwrap().len(), 2);
        assert_eq!(bench.post("/v1/reload", "").await.problem(), (409, "no-config-file".to_owned()));
    };
    tokio::join!(daemon, client);
    // Nobody is there any more.
    assert_eq!(bench.post("/v1/reload", "").await.problem(), (503, "not-ready".to_owned()));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_operator_asks_for_a_reload() {
    let token = "token.app = { secret = \"app-token-0123456789\", scope = \"read\" }";
    let mut bench = Bench::with(token).await;
    let headers = [("authorization", "Bearer app-token-0123456789")];
    assert_eq!(bench.call("POST", "/v1/reload", &headers, "").await.problem().0, 403);
    assert_eq!(bench.post("/v1/reload", "").await.problem().0, 401);
    assert_eq!(bench.call("GET", "/v1/reload", &headers, "").await.problem().0, 405);
    assert!(bench.asked.try_recv().is_err());
    bench.stop().await;
}
