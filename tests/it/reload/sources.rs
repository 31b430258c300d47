//! Sources come and go while the daemon runs, and so do the settings of the listener that they share.

use std::net::TcpStream;

use serde_json::json;

use super::{append, reload, rewrite};
use crate::kit::{Setup, eventually, free_port};

const SOURCE: &str = "verify = { scheme = \"none\" }";

fn source(name: &str) -> String {
    format!("[source.{name}]\n{SOURCE}\n")
}

#[test]
fn sources_come_change_and_go_and_each_request_meets_those_of_its_time() {
    let daemon = Setup::new().source("first", SOURCE).start();
    let status = |path: &str| daemon.inbound().post(path, "{}").status;
    assert_eq!((status("/in/first"), status("/in/second")), (200, 404));
    append(&daemon, &source("second"));
    let answer = reload(&daemon);
    assert_eq!((&answer["sources"]["added"], &answer["needs_restart"]), (&json!(["second"]), &json!([])), "{answer}");
    assert_eq!((status("/in/first"), status("/in/second")), (200, 200));
    rewrite(&daemon, |config| config.replace("[source.first]", "[source.first]\nrespond = { status = 202 }"));
    assert_eq!(reload(&daemon)["sources"]["changed"], json!(["first"]));
    assert_eq!(status("/in/first"), 202);
    // The last one gone leaves a listener with nothing behind it.
    let bare = |config: String| config[..config.find("[source.first]").unwrap()].to_owned();
    rewrite(&daemon, bare);
    assert_eq!(reload(&daemon)["sources"]["removed"], json!(["first", "second"]));
    assert_eq!((status("/in/first"), status("/in/second")), (404, 404));
    append(&daemon, &source("third"));
    assert_eq!(reload(&daemon)["needs_restart"], json!([]));
    assert_eq!(status("/in/third"), 200);
}

#[test]
fn a_first_source_needs_a_restart_where_nothing_listens_and_that_is_said_until_then() {
    let mut daemon = Setup::new().inbound("").start();
    append(&daemon, &source("first"));
    for _ in 0..2 {
        assert_eq!(reload(&daemon)["needs_restart"], json!(["inbound"]));
        assert!(TcpStream::connect(daemon.inbound().address()).is_err());
    }
    daemon.client().event("a", "1");
    daemon.restart();
    daemon.inbound().post("/in/first", "{}").expect(200);
    assert_eq!(reload(&daemon)["needs_restart"], json!([]));
}

#[test]
fn limits_of_the_listener_count_at_once_and_its_place_after_a_restart() {
    let daemon = Setup::new().source("app", SOURCE).inbound("max_body = \"1KiB\"\nmax_connections = 1").start();
    let large = "x".repeat(2000);
    daemon.inbound().post("/in/app", large.clone()).problem(413);
    let taken = |places: usize| {
        eventually("so many places are taken", || {
            let page = daemon.client().get("/metrics").text();
            page.contains(&format!("webhookd_connections{{listener=\"inbound\"}} {places}\n")).then_some(())
        });
    };
    taken(0);
    let _seated = TcpStream::connect(daemon.inbound().address()).unwrap();
    taken(1);
    daemon.inbound().post("/in/app", "{}").problem(503);
    let listen = format!("listen = \"{}\"", daemon.inbound().address());
    let other = format!("listen = \"127.0.0.1:{}\"", free_port());
    rewrite(&daemon, |config| {
        config.replace(&listen, &other).replace("1KiB", "1MiB").replace("max_connections = 1", "max_connections = 9")
    });
    let answer = reload(&daemon);
    assert_eq!(answer["needs_restart"], json!(["inbound.listen"]), "{answer}");
    assert_eq!(answer["settings"], json!(["inbound.max_body", "inbound.max_connections"]), "{answer}");
    daemon.inbound().post("/in/app", large).expect(200);
}
