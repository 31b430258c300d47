//! Who may post, by the address of the client.

use super::{events, github, refused};
use crate::kit::{Client, Daemon, Setup};

fn source(lines: &str) -> String {
    format!("{}\n{lines}", github::SOURCE)
}

fn post(daemon: &Daemon, path: &str, forwarded: &[&str]) -> u16 {
    let headers: Vec<_> = forwarded.iter().map(|value| ("x-forwarded-for", *value)).collect();
    github::post_to(daemon, path, &headers, b"{}").status
}

#[test]
fn only_allowed_addresses_may_post_and_ask() {
    let daemon = Setup::new()
        .source("here", &source("allow_networks = [\"127.0.0.0/8\"]"))
        .source("there", &source("allow_networks = [\"192.0.2.0/24\", \"2001:db8::/32\"]\nverify_token = \"t\""))
        .start();
    assert_eq!(post(&daemon, "/in/here", &[]), 200);
    assert_eq!(post(&daemon, "/in/there", &[]), 403);
    daemon.inbound().send("OPTIONS", "/in/there", &[("webhook-request-origin", "a.example")], "").problem(403);
    let asked = daemon.inbound().get("/in/there?hub.mode=subscribe&hub.challenge=1&hub.verify_token=t");
    asked.problem(403);
    assert_eq!(refused(&daemon, "there", "address-refused"), 3);
    assert!(daemon.log().contains("reason=\"address-refused\""), "{}", daemon.log());
    assert_eq!(events(&daemon).len(), 1);
}

#[test]
fn a_client_that_is_no_proxy_of_ours_cannot_say_where_it_is() {
    let lines = "allow_networks = [\"192.0.2.0/24\"]\ntrusted_proxies = [\"10.0.0.0/8\"]";
    let daemon = Setup::new().source("github", &source(lines)).start();
    for forged in [&["192.0.2.1"][..], &["192.0.2.1, 10.0.0.1"], &["192.0.2.1", "10.0.0.1"]] {
        assert_eq!(post(&daemon, "/in/github", forged), 403, "{forged:?}");
    }
}

#[test]
fn behind_a_proxy_the_last_address_that_is_no_proxy_of_ours_counts() {
    let lines = "allow_networks = [\"192.0.2.0/24\"]\ntrusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]";
    let daemon = Setup::new().source("github", &source(lines)).start();
    for (forwarded, status) in [
        (&["192.0.2.1"][..], 200),
        (&["8.8.8.8, 192.0.2.1, 10.0.0.1"], 200),
        (&["8.8.8.8", "192.0.2.1", "10.0.0.1, 10.0.0.2"], 200),
        (&["::ffff:192.0.2.1"], 200),
        (&["192.0.2.1:5000"], 200),
        (&["junk, 192.0.2.1"], 200),
        (&["192.0.2.1, 8.8.8.8"], 403),
        (&["192.0.2.1", "8.8.8.8, 10.0.0.1"], 403),
        (&["192.0.2.1, junk"], 403),
        (&["2001:db8::1"], 403),
        (&["unknown"], 403),
        (&[], 403),
        (&["10.0.0.9"], 403),
    ] {
        assert_eq!(post(&daemon, "/in/github", forwarded), status, "{forwarded:?}");
    }
    let log = daemon.log();
    assert!(log.contains("client=8.8.8.8") && log.contains("peer=127.0.0.1:"), "client and proxy are told: {log}");
}

#[test]
fn over_a_unix_socket_the_client_is_known_only_where_the_proxy_before_it_is_trusted() {
    let daemon = Setup::new()
        .inbound_unix("in.sock")
        .source("any", github::SOURCE)
        .source("closed", &source("allow_networks = [\"192.0.2.0/24\", \"127.0.0.0/8\"]"))
        .source("proxied", &source("allow_networks = [\"192.0.2.0/24\"]\ntrusted_proxies = [\"unix\"]"))
        .start();
    assert_eq!(post(&daemon, "/in/any", &[]), 200);
    assert_eq!(post(&daemon, "/in/closed", &["192.0.2.1"]), 403);
    assert_eq!(post(&daemon, "/in/proxied", &["192.0.2.1"]), 200);
    assert_eq!(post(&daemon, "/in/proxied", &["192.0.2.1, 8.8.8.8"]), 403);
    assert_eq!(post(&daemon, "/in/proxied", &[]), 403);
}

#[test]
fn an_ipv4_client_of_an_ipv6_socket_is_judged_as_ipv4() {
    let mut daemon = Setup::new().source("github", &source("allow_networks = [\"127.0.0.0/8\"]")).prepare();
    let address = daemon.inbound().address().to_owned();
    let port = address.rsplit(':').next().unwrap();
    let config = std::fs::read_to_string(daemon.config()).unwrap();
    std::fs::write(daemon.config(), config.replace(&address, &format!("[::]:{port}"))).unwrap();
    daemon.run();
    assert_eq!(post(&daemon, "/in/github", &[]), 200);
    let signature = github::signature(b"{}");
    let signed = [("x-hub-signature-256", signature.as_str())];
    Client::tcp(format!("[::1]:{port}")).send("POST", "/in/github", &signed, "{}").problem(403);
}
