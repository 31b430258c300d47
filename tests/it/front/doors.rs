//! Two listeners of one daemon: nothing of the one is on the other, and a crowd at one leaves the other free.

use std::time::Duration;

use rustix::process::Signal;

use super::raw::{Raw, metric};
use crate::kit::{Answer, Receiver, Setup, eventually};

const SOURCE: &str = "verify = { scheme = \"none\" }";

#[test]
fn nothing_of_the_api_is_where_third_parties_post_and_no_source_is_on_the_api() {
    let daemon = Setup::new().source("app", SOURCE).start();
    let index = daemon.client().get("/").expect(200).text();
    let paths: Vec<&str> = index.split_whitespace().filter(|word| word.starts_with('/')).collect();
    assert!(paths.len() > 10, "{index}");
    let more = [
        "/",
        "/healthz",
        "/metrics",
        "/openapi.json",
        "/dashboard.js",
        "/v1",
        "/in",
        "/in/",
        "/in/none",
        "/in/app/x",
        "/IN/app",
    ];
    let named = paths.iter().map(|path| path.replace(['{', '}'], ""));
    for path in named.chain(more.into_iter().map(str::to_owned)) {
        for method in ["GET", "POST", "HEAD", "DELETE", "OPTIONS"] {
            let reply = daemon.inbound().send(method, &path, &[], "{}");
            assert_eq!(reply.status, 404, "{method} {path}: {}", reply.text());
        }
    }
    daemon.inbound().post("/in/app", "{}").expect(200);
    for method in ["GET", "POST", "OPTIONS"] {
        daemon.client().send(method, "/in/app", &[], "{}").problem(404);
    }
    let listed = daemon.client().get("/v1/events").expect(200).json();
    assert_eq!(listed["events"].as_array().unwrap().len(), 1, "{listed}");
    let ready = daemon.log().lines().find(|line| line.contains(" ready ")).unwrap_or_default().to_owned();
    for address in [daemon.listen(), daemon.inbound().address()] {
        assert!(ready.contains(&format!("http://{address}")), "{ready}");
    }
}

#[test]
fn without_a_source_nothing_listens_for_third_parties() {
    let daemon = Setup::new().inbound("").start();
    assert!(std::net::TcpStream::connect(daemon.inbound().address()).is_err());
    let page = daemon.client().get("/metrics").expect(200).text();
    assert!(!page.contains("listener=\"inbound\""), "{page}");
}

#[test]
fn the_places_of_each_listener_are_its_own() {
    let lines = "max_connections = 3\nmax_connections_per_address = 2";
    let daemon = Setup::new().api("max_connections = 8").source("app", SOURCE).inbound(lines).start();
    let inbound = || Raw::at(daemon.inbound().address());
    let mut seated: Vec<Raw> = (0..3).map(|_| inbound()).collect();
    assert!(seated.iter_mut().all(|raw| raw.post("/in/app") == Some(200)), "loopback is not counted by address");
    for _ in 0..50 {
        let answer = inbound().rest_text();
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("too-many-connections"), "{answer}");
        daemon.client().get("/readyz").expect(200);
    }
    assert!(
        metric(&daemon, "webhookd_connections_refused_total{listener=\"inbound\",reason=\"max_connections\"}") >= 50
    );
    assert_eq!(metric(&daemon, "webhookd_connections_refused_total{listener=\"api\",reason=\"max_connections\"}"), 0);
    assert_eq!(metric(&daemon, "webhookd_connections{listener=\"inbound\"}"), 3);
    // And the other way round.
    let mut crowd: Vec<Raw> = (0..7).map(|_| Raw::to(&daemon)).collect();
    assert!(crowd.iter_mut().all(Raw::ask));
    assert!(seated.iter_mut().all(|raw| raw.post("/in/app") == Some(200)));
}

#[test]
fn while_the_daemon_drains_third_parties_are_told_to_come_again() {
    let app = Receiver::answering(|_| Answer::status(200).after(Duration::from_millis(2500)));
    let mut daemon = Setup::new().endpoint("app", &app.url("/"), "").source("app", SOURCE).start();
    daemon.inbound().post("/in/app", "{}").expect(200);
    app.wait(1);
    daemon.signal(Signal::TERM);
    eventually("it is draining", || (daemon.client().get("/readyz").status == 503).then_some(()));
    let reply = daemon.inbound().post("/in/app", "{}");
    reply.problem(503);
    assert!(reply.header("retry-after").is_some());
    assert!(daemon.wait(Duration::from_secs(20)).success());
    assert_eq!(app.count(), 1);
}

#[test]
fn what_is_delivered_to_the_own_inbound_listener_is_refused() {
    let daemon = Setup::new().source("app", SOURCE).prepare();
    let url = format!("http://{}/in/app", daemon.inbound().address());
    let config = std::fs::read_to_string(daemon.config()).unwrap();
    let endpoint = format!("\n[endpoint.loop]\nurl = \"{url}\"\nsign = \"none\"\nretry = []\n");
    std::fs::write(daemon.config(), config + &endpoint).unwrap();
    let mut daemon = daemon;
    daemon.run();
    let id = daemon.client().event("a", "1");
    let delivery = daemon.client().await_state(&id, "loop", "dead");
    assert_eq!(delivery["attempts"][0]["error"], "address_refused", "{delivery}");
}

#[test]
fn faults_of_the_listener_name_its_table() {
    let mut daemon = Setup::new().source("app", SOURCE).prepare();
    let taken = std::net::TcpListener::bind(daemon.inbound().address()).unwrap();
    daemon.spawn(&[]);
    assert_eq!(daemon.wait(Duration::from_secs(10)).code(), Some(1));
    let log = daemon.log();
    let address = taken.local_addr().unwrap();
    assert!(
        log.contains(&format!("{address} is in use by another process; stop it, or choose another [inbound] listen")),
        "{log}"
    );
    drop(taken);
    daemon.run();
    let large = "x".repeat(2 << 20);
    let problem = daemon.inbound().post("/in/app", large).problem(413);
    assert!(problem["detail"].as_str().unwrap().contains("[inbound] max_body"), "{problem}");
}
