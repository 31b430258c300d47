//! A disk that hangs: nothing fails, and nothing comes back either. Only a watchdog helps then, so the daemon must not keep it
//! quiet.

use std::time::{Duration, Instant};

use super::mount::{Mount, Rules};
use crate::kit::{Receiver, Setup, within};
use crate::systemd::Manager;

/// `WatchdogSec=`, in microseconds.
const WATCHDOG_USEC: &str = "1500000";
/// Some of it.
const SOME: Duration = Duration::from_secs(3);

#[test]
#[ignore = "needs /dev/fuse and tests/powercut: tests/run builds it"]
fn a_disk_that_hangs_ends_the_words_to_the_watchdog_and_is_told_once() {
    let disk = Mount::new("hang", 1, Rules { strict_dirs: false, ordered: true, fsync_us: 0 });
    let receiver = Receiver::start();
    let mut daemon = Setup::new().data(disk.path("data")).endpoint("app", &receiver.url("/"), "").prepare();
    let manager = Manager::new();
    daemon.spawn(&[("NOTIFY_SOCKET", &manager.place()), ("WATCHDOG_USEC", WATCHDOG_USEC)]);
    manager.until_says("READY=1");
    manager.until_says("WATCHDOG=1");
    daemon.client().get("/healthz").expect(200);

    let hung = disk.hang();
    let told = manager.until("it says who hangs", |told| told.status().starts_with("hanging: "));
    assert_eq!(told.last().unwrap().status(), "hanging: the outbox's writer does not answer");
    let begin = Instant::now();
    while begin.elapsed() < SOME {
        let told = manager.next_within(SOME / 6);
        assert!(!told.as_ref().is_some_and(|told| told.says("WATCHDOG=1")), "{told:?}");
    }
    let health = within(SOME * 3, "the health check fails", || {
        let reply = daemon.client().get("/healthz");
        (reply.status == 503).then(|| reply.json())
    });
    assert_eq!(health["status"], "hanging", "{health}");
    let lines = daemon.log().lines().filter(|line| line.contains("does not answer")).count();
    assert_eq!(lines, 1, "{}", daemon.log());

    drop(hung);
    manager.until_says("WATCHDOG=1");
    within(SOME, "it says that all is well", || daemon.log().contains("answer again").then_some(()));
    let id = daemon.client().event("a", "1");
    daemon.client().await_state(&id, "app", "delivered");
    assert!(daemon.stop().success());
}

#[test]
#[ignore = "needs /dev/fuse and tests/powercut: tests/run builds it"]
fn a_disk_that_refuses_everything_is_no_reason_to_be_killed() {
    let disk = Mount::new("refuse", 2, Rules { strict_dirs: false, ordered: true, fsync_us: 0 });
    let mut daemon = Setup::new().data(disk.path("data")).prepare();
    let manager = Manager::new();
    daemon.spawn(&[("NOTIFY_SOCKET", &manager.place()), ("WATCHDOG_USEC", WATCHDOG_USEC)]);
    manager.until_says("READY=1");
    disk.tell("eio on");
    within(SOME * 3, "events are refused", || {
        let reply = daemon.client().post("/v1/events", r#"{"type":"a","data":1}"#);
        (reply.status == 503).then_some(())
    });
    let told = manager.until("a status that says so", |told| told.status().starts_with("the disk refuses"));
    assert!(told.last().unwrap().says("WATCHDOG=1"), "{told:?}");
    for _ in 0..6 {
        manager.until_says("WATCHDOG=1");
    }
    daemon.client().get("/healthz").expect(200);
    assert!(!daemon.log().contains("does not answer"), "{}", daemon.log());
    disk.tell("eio off");
    assert!(daemon.stop().success());
}
