//! The address guard: what is private is dialled only where the config says so.

mod names;
mod rebinding;

use std::time::Duration;

use crate::kit::{Receiver, Setup, never};

/// The error word of an attempt at `url` with these lines in `[delivery]`.
fn error_at(url: &str, delivery: &str) -> String {
    let lines = format!("retry = []\ntimeout = \"3s\"\n{delivery}");
    let daemon = Setup::new().delivery_alone(&lines).endpoint("app", url, "").start();
    let id = daemon.client().event("a", "1");
    let dead = daemon.client().await_state(&id, "app", "dead");
    dead["attempts"][0]["error"].as_str().unwrap_or("none").to_owned()
}

#[test]
fn loopback_is_refused_in_every_spelling() {
    let receiver = Receiver::start();
    let port = receiver.address().port();
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "[::ffff:127.0.0.1]",
        "[::1]",
    ] {
        assert_eq!(error_at(&format!("http://{host}:{port}/"), ""), "address_refused", "{host}");
    }
    never(Duration::from_millis(100), "a refused address is dialled", || receiver.count() > 0);
}

#[test]
fn special_networks_are_refused() {
    for host in [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "169.254.169.254",
        "172.31.255.255",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[fe80::1]",
        "[fd00::1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ] {
        assert_eq!(error_at(&format!("http://{host}:9/"), ""), "address_refused", "{host}");
    }
}

#[test]
fn only_the_listed_network_is_opened() {
    let receiver = Receiver::start();
    let port = receiver.address().port();
    let daemon = Setup::new()
        .delivery_alone("retry = []")
        .endpoint("open", &format!("http://127.0.0.1:{port}/open"), "allow_networks = [\"127.0.0.1/32\"]")
        .endpoint("shut", &format!("http://127.0.0.1:{port}/shut"), "")
        .endpoint("other", &format!("http://127.0.0.1:{port}/other"), "allow_networks = [\"10.0.0.0/8\"]")
        .start();
    let id = daemon.client().event("a", "1");
    daemon.client().await_state(&id, "open", "delivered");
    // Not even over a connection that stands already, opened by an endpoint that may.
    for endpoint in ["shut", "other"] {
        let dead = daemon.client().await_state(&id, endpoint, "dead");
        assert_eq!(dead["attempts"][0]["error"], "address_refused", "{endpoint}");
    }
    assert_eq!(receiver.count(), 1);
}

#[test]
fn proxies_of_the_environment_are_ignored() {
    let receiver = Receiver::start();
    let proxy = Receiver::start();
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), "").prepare();
    let url = proxy.url("");
    daemon.run_with(&[("http_proxy", &url), ("HTTP_PROXY", &url), ("ALL_PROXY", &url), ("all_proxy", &url)]);
    daemon.client().event("a", "1");
    receiver.wait(1);
    assert_eq!(proxy.count(), 0);
}

#[test]
fn the_daemon_does_not_deliver_to_itself() {
    let port = crate::kit::free_port();
    let address = format!("127.0.0.1:{port}");
    let mut daemon = Setup::new()
        .listen(&address)
        .delivery("retry = []")
        .endpoint("mirror", &format!("http://{address}/v1/events"), "format = \"raw\"")
        .prepare();
    daemon.run();
    let id = daemon.client().event("a", "{\"type\":\"loop\",\"data\":1}");
    let dead = daemon.client().await_state(&id, "mirror", "dead");
    assert_eq!(dead["attempts"][0]["error"], "address_refused", "{dead}");
}
