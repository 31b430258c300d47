//! Web pages, as browsers speak for them: DNS rebinding, CSRF, CORS, frames.

use std::io::{Read, Write};
use std::net::TcpStream;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::kit::{Client, Daemon, Setup, block_on, runtime};

const EVENT: &str = r#"{"type":"a","data":1}"#;

/// One exchange over a connection of its own, to the byte as a browser might send it.
#[track_caller]
fn raw(daemon: &Daemon, request: &str) -> String {
    let mut stream = TcpStream::connect(daemon.listen()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[track_caller]
fn status(answer: &str) -> u16 {
    answer.get(9..12).unwrap_or_else(|| panic!("no answer: {answer:?}")).parse().unwrap()
}

fn post(host: &str, headers: &str) -> String {
    format!(
        "POST /v1/events HTTP/1.1\r\nhost: {host}\r\n{headers}content-type: text/plain\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{EVENT}",
        EVENT.len()
    )
}

fn stored(daemon: &Daemon) -> usize {
    daemon.client().get("/v1/events").expect(200).json()["events"].as_array().unwrap().len()
}

#[test]
fn a_page_of_a_name_that_points_to_this_machine_gets_nothing() {
    let daemon = Setup::new().api("hosts = [\"hooks.internal.example\"]").start();
    let port = daemon.listen().rsplit(':').next().unwrap().to_owned();
    for host in [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        "127.0.0.1.nip.io".to_owned(),
        format!("localhost.evil.example:{port}"),
        format!("user@127.0.0.1:{port}"),
        "0x7f.1".to_owned(),
        "2130706433".to_owned(),
        String::new(),
    ] {
        // A rebound page is of the same origin as its host, for its browser.
        let headers = format!("origin: http://{host}\r\nsec-fetch-site: same-origin\r\n");
        for request in [
            post(&host, &headers),
            format!(
                "GET /v1/events HTTP/1.1\r\nhost: {host}\r\nsec-fetch-site: same-origin\r\nconnection: close\r\n\r\n"
            ),
            format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"),
            format!("GET /metrics HTTP/1.0\r\nhost: {host}\r\n\r\n"),
            format!("GET http://{}/v1/events HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n", daemon.listen()),
        ] {
            let answer = raw(&daemon, &request);
            assert_eq!(status(&answer), 421, "{request}\n{answer}");
            assert!(
                answer.contains("urn:webhookd:problem:unknown-host") && answer.contains("hosts in [api]"),
                "{answer}"
            );
        }
    }
    assert_eq!(stored(&daemon), 0);
    for host in ["127.0.0.1:1", "[::1]", "localhost", "app.localhost", "HOOKS.internal.example.:9"] {
        assert_eq!(status(&raw(&daemon, &post(host, ""))), 202, "{host}");
    }
    let absolute =
        format!("GET http://evil.example/v1/events HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", daemon.listen());
    assert_eq!(status(&raw(&daemon, &absolute)), 421);
}

#[test]
fn http_2_is_guarded_alike() {
    let daemon = Setup::new().start();
    let ask = |authority: &str, host: Option<&str>| {
        let mut request = Request::get(format!("http://{authority}/v1/events"));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let request = request.body(Full::<bytes::Bytes>::default()).unwrap();
        block_on(async {
            let stream = tokio::net::TcpStream::connect(daemon.listen()).await.unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            let connection = runtime().spawn(connection);
            let answer = sender.send_request(request).await.unwrap();
            let status = answer.status().as_u16();
            let _ = answer.into_body().collect().await;
            connection.abort();
            status
        })
    };
    assert_eq!(ask("localhost:8400", None), 200);
    assert_eq!(ask(daemon.listen(), None), 200);
    assert_eq!(ask("evil.example", None), 421);
    assert_eq!(ask("evil.example", Some("localhost")), 421);
    assert_eq!(ask("localhost", Some("evil.example")), 421);
}

#[test]
fn a_page_of_another_origin_gets_nothing() {
    let daemon = Setup::new().start();
    let own = daemon.listen().to_owned();
    for headers in [
        "origin: https://evil.example\r\n".to_owned(),
        "origin: null\r\n".to_owned(),
        "origin: http://127.0.0.1:1\r\n".to_owned(),
        format!("origin: https://{own}\r\n"),
        "sec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors\r\nsec-fetch-dest: image\r\n".to_owned(),
        "sec-fetch-site: same-site\r\nsec-fetch-mode: cors\r\n".to_owned(),
        "sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\nsec-fetch-dest: iframe\r\n".to_owned(),
    ] {
        for request in [
            post(&own, &headers),
            format!("GET /v1/events HTTP/1.1\r\nhost: {own}\r\n{headers}connection: close\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nhost: {own}\r\n{headers}connection: close\r\n\r\n"),
        ] {
            let answer = raw(&daemon, &request);
            assert_eq!(status(&answer), 403, "{request}\n{answer}");
            assert!(answer.contains("urn:webhookd:problem:cross-origin"), "{answer}");
        }
    }
    assert_eq!(stored(&daemon), 0);
    let preflight = format!(
        "OPTIONS /v1/events HTTP/1.1\r\nhost: {own}\r\norigin: https://evil.example\r\n\
         access-control-request-method: POST\r\naccess-control-request-headers: authorization\r\nconnection: close\r\n\r\n"
    );
    assert_eq!(status(&raw(&daemon, &preflight)), 403);
    let options = format!("OPTIONS /v1/events HTTP/1.1\r\nhost: {own}\r\nconnection: close\r\n\r\n");
    assert_eq!(status(&raw(&daemon, &options)), 405);

    let link = "sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\nsec-fetch-dest: document\r\n";
    let follow = |path: &str| {
        status(&raw(&daemon, &format!("GET {path} HTTP/1.1\r\nhost: {own}\r\n{link}connection: close\r\n\r\n")))
    };
    assert_eq!((follow("/"), follow("/v1/events")), (200, 403), "a link leads to pages alone");
    let same = format!("origin: http://{own}\r\nsec-fetch-site: same-origin\r\n");
    assert_eq!(status(&raw(&daemon, &post(&own, &same))), 202);
}

#[test]
fn names_may_be_added_without_a_restart() {
    let daemon = Setup::new().start();
    let request = post("proxy.example", "origin: https://proxy.example\r\nsec-fetch-site: same-origin\r\n");
    assert_eq!(status(&raw(&daemon, &request)), 421);
    let text = std::fs::read_to_string(daemon.config()).unwrap();
    std::fs::write(daemon.config(), text.replace("[api]\n", "[api]\nhosts = [\"Proxy.Example\"]\n")).unwrap();
    let settings = daemon.client().post("/v1/reload", "").expect(200).json()["settings"].clone();
    assert_eq!(settings, serde_json::json!(["api.hosts"]));
    assert_eq!(status(&raw(&daemon, &request)), 202);
}

#[test]
fn a_unix_socket_may_be_asked_under_any_name_and_no_page_is_let_in_by_that() {
    let daemon = Setup::new().listen("unix:api.sock").start();
    let ask = |headers: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(daemon.dir().join("api.sock")).unwrap();
        let request = format!("GET /v1/events HTTP/1.1\r\nhost: a.example\r\n{headers}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        status(&answer)
    };
    assert_eq!(ask(""), 200);
    assert_eq!(ask("origin: https://a.example\r\n"), 200, "a proxy speaks TLS in front of it");
    assert_eq!(ask("origin: https://b.example\r\n"), 403);
}

#[test]
fn an_address_that_other_machines_reach_is_guarded_by_its_tokens_and_by_names_once_there_are_some() {
    let api = "token.ops = { secret = \"token-0123456789\", scope = \"admin\" }";
    for (hosts, expected) in [("", 200), ("hosts = [\"hooks.example\"]", 421)] {
        let listen = format!("0.0.0.0:{}", crate::kit::free_port());
        let daemon = Setup::new().listen(&listen).api(api).api(hosts).token("token-0123456789").start();
        let ask = |host: &str| {
            let head = format!("GET /v1/events HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
            status(&raw(&daemon, &format!("{head}authorization: Bearer token-0123456789\r\n\r\n")))
        };
        assert_eq!(ask("any.example"), expected);
        assert_eq!((ask("hooks.example:1"), ask("10.0.0.1")), (200, 200));
    }
}

/// What each answer says to a browser, whatever the answer is.
#[test]
fn every_answer_is_of_no_use_to_a_page() {
    let daemon = Setup::new().start();
    let own = daemon.listen().to_owned();
    let long = "x".repeat(100_000);
    let requests = [
        format!("GET / HTTP/1.1\r\nhost: {own}\r\nconnection: close\r\n\r\n"),
        format!("HEAD /metrics HTTP/1.1\r\nhost: {own}\r\nconnection: close\r\n\r\n"),
        format!("GET /none HTTP/1.1\r\nhost: {own}\r\nconnection: close\r\n\r\n"),
        format!("OPTIONS / HTTP/1.1\r\nhost: {own}\r\nconnection: close\r\n\r\n"),
        post(&own, "origin: https://evil.example\r\n"),
        post(&own, ""),
        post("evil.example", ""),
        format!("GET / HTTP/1.1\r\nhost: {own}\r\nx: {long}\r\n\r\n"),
        "no HTTP at all\r\n\r\n".to_owned(),
    ];
    for request in requests {
        let answer = raw(&daemon, &request).to_ascii_lowercase();
        let head = answer.split_once("\r\n\r\n").unwrap().0;
        for field in [
            "content-security-policy: default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
            "x-frame-options: deny",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
            "cross-origin-opener-policy: same-origin",
            "cache-control: no-store",
        ] {
            assert_eq!(head.lines().filter(|line| *line == field).count(), 1, "{field}\n{head}");
        }
        assert!(!head.contains("access-control-"), "{head}");
    }
}

#[test]
fn the_commands_reach_a_daemon_under_each_of_its_names() {
    let daemon = Setup::new().start();
    let port = daemon.listen().rsplit(':').next().unwrap().to_owned();
    for host in ["127.0.0.1", "localhost"] {
        let reply = Client::tcp(daemon.listen()).get("/healthz").expect(200);
        assert_eq!(reply.status, 200);
        let output = std::process::Command::new(crate::kit::binary())
            .args(["endpoints", "--json", "--api", &format!("http://{host}:{port}")])
            .env_remove("WEBHOOKD_TOKEN_FILE")
            .output()
            .unwrap();
        assert!(output.status.success(), "{host}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
