//! How many requests of a source are taken.

use super::{events, github, refused};
use crate::kit::Setup;

fn paced(rate: &str) -> String {
    format!("{}\nrate_limit = {rate}", github::SOURCE)
}

#[test]
fn past_the_rate_a_source_is_told_when_to_come_again_and_others_are_not_touched() {
    let daemon =
        Setup::new().source("github", &paced("{ rate = \"1/h\", burst = 3 }")).source("other", github::SOURCE).start();
    for _ in 0..3 {
        github::post(&daemon, &[], b"{}").expect(200);
    }
    for _ in 0..2 {
        let reply = github::post(&daemon, &[], b"{}");
        assert_eq!(reply.problem(429)["type"], "urn:webhookd:problem:too-many-requests");
        let wait: u32 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((3500..=3600).contains(&wait), "{wait}");
    }
    assert_eq!(refused(&daemon, "github", "too-many-requests"), 2);
    github::post_to(&daemon, "/in/other", &[], b"{}").expect(200);
    assert_eq!(events(&daemon).len(), 4);
}

#[test]
fn who_cannot_sign_uses_up_nothing_of_the_rate() {
    let daemon = Setup::new().source("github", &paced("{ rate = \"1/h\", burst = 1 }")).start();
    let forged = format!("sha256={}", "0a".repeat(32));
    for _ in 0..20 {
        daemon.inbound().send("POST", "/in/github", &[("x-hub-signature-256", &forged)], "{}").problem(401);
    }
    github::post(&daemon, &[], b"{}").expect(200);
    daemon.inbound().send("POST", "/in/github", &[("x-hub-signature-256", &forged)], "{}").problem(401);
    github::post(&daemon, &[], b"{}").problem(429);
}

#[test]
fn a_reload_gives_no_new_rate() {
    let daemon = Setup::new().source("github", &paced("{ rate = \"1/h\", burst = 1 }")).start();
    github::post(&daemon, &[], b"{}").expect(200);
    let before = std::fs::read_to_string(daemon.config()).unwrap();
    std::fs::write(daemon.config(), format!("{before}\nrespond = {{ status = 202 }}\n")).unwrap();
    daemon.client().post("/v1/reload", "").expect(200);
    github::post(&daemon, &[], b"{}").problem(429);
    std::fs::write(daemon.config(), before.replace("1/h", "2/h")).unwrap();
    daemon.client().post("/v1/reload", "").expect(200);
    github::post(&daemon, &[], b"{}").expect(200);
}
