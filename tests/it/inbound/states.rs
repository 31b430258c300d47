//! What a third party is answered while webhookd cannot store: that it is to come again.

use std::time::Duration;

use super::{events, github, refused};
use crate::kit::{Answer, Receiver, SOON, Setup, Tmpfs, eventually, within};

#[test]
fn while_it_drains_it_takes_nothing_and_says_when_to_come_again() {
    let app = Receiver::answering(|_| Answer::status(200).after(Duration::from_millis(1500)));
    let endpoint = format!("url = \"{}\"\nsign = \"none\"", app.url("/"));
    let mut daemon = Setup::new().endpoint_alone("app", &endpoint).source("github", github::SOURCE).start();
    github::post(&daemon, &[("x-github-delivery", "d1")], b"{}").expect(200);
    app.wait(1);
    daemon.signal(rustix::process::Signal::TERM);
    eventually("it is draining", || (daemon.client().get("/readyz").status == 503).then_some(()));
    let late = github::post(&daemon, &[("x-github-delivery", "d2")], b"{}");
    assert_eq!(late.problem(503)["type"], "urn:webhookd:problem:not-ready");
    assert!(late.header("retry-after").is_some());
    daemon.inbound().send("POST", "/in/github", &[], "{}").problem(401);
    assert!(daemon.wait(Duration::from_secs(20)).success());
    daemon.run();
    assert_eq!(events(&daemon).len(), 1);
    github::post(&daemon, &[("x-github-delivery", "d2")], b"{}").expect(200);
    assert_eq!(events(&daemon).len(), 2);
}

#[test]
fn on_a_full_disk_it_refuses_until_there_is_room_and_keeps_what_it_has_acknowledged() {
    let Some(disk) = Tmpfs::mount(64) else { return };
    let daemon = Setup::new().data(disk.path("data")).source("github", github::SOURCE).start();
    github::post(&daemon, &[("x-github-delivery", "d1")], b"{}").expect(200);
    disk.fill_up("filler");
    let refusal = within(SOON, "it refuses", || {
        let reply = github::post(&daemon, &[], &vec![b'x'; 100_000]);
        (reply.status != 200).then_some(reply)
    });
    assert!(refusal.problem(503)["type"].as_str().unwrap().starts_with("urn:webhookd:problem:storage-"));
    let wait: u32 = refusal.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(refused(&daemon, "github", "storage-full") + refused(&daemon, "github", "storage-failed") >= 1);
    daemon.inbound().send("POST", "/in/github", &[], "{}").problem(401);
    disk.remove("filler");
    within(3 * SOON, "it takes requests again", || (github::post(&daemon, &[], b"{}").status == 200).then_some(()));
    let before = events(&daemon).len();
    github::post(&daemon, &[("x-github-delivery", "d1")], b"{}").expect(200);
    assert_eq!(events(&daemon).len(), before, "what was acknowledged before is known still");
}
