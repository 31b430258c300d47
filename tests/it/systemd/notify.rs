//! What systemd is told, in which order.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Manager, Told, monotonic_usec};
use crate::kit::{Answer, Daemon, Receiver, SOON, Setup, eventually};

const WAIT: Duration = Duration::from_secs(10);

fn start(daemon: &mut Daemon, manager: &Manager, more: &[(&str, &str)]) -> Told {
    let place = manager.place();
    daemon.spawn(&[&[("NOTIFY_SOCKET", place.as_str())], more].concat());
    manager.until_says("READY=1")
}

/// A reload from its beginning to its end, whose status is given.
#[track_caller]
fn reload(manager: &Manager, ask: impl FnOnce()) -> String {
    let before = monotonic_usec();
    ask();
    let begun = manager.until_says("RELOADING=1");
    // A word to the watchdog may come between them.
    let done = manager.until_says("READY=1");
    let usec: u64 = begun.value("MONOTONIC_USEC").expect("the moment goes with it").parse().unwrap();
    assert!((before..=monotonic_usec()).contains(&usec), "{usec} is not between {before} and now");
    done.status().to_owned()
}

fn rewrite(daemon: &Daemon, edit: impl FnOnce(String) -> String) {
    let config = std::fs::read_to_string(daemon.config()).unwrap();
    std::fs::write(daemon.config(), edit(config)).unwrap();
}

#[test]
fn a_life_is_told_from_opening_to_stopping() {
    let receiver = Receiver::answering(|_| Answer::status(200).after(Duration::from_millis(700)));
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), "").prepare();
    let manager = Manager::new();
    daemon.spawn(&[("NOTIFY_SOCKET", &manager.place())]);
    let first = manager.next();
    assert_eq!((first.status(), first.value("EXTEND_TIMEOUT_USEC")), ("opening the outbox", Some("30000000")));
    let ready = manager.next();
    assert!(ready.says("READY=1"), "{ready:?}");
    assert_eq!(ready.status(), "ready: 1 endpoint, 0 pending");
    daemon.client().get("/readyz").expect(200);

    daemon.client().event("a", "1");
    receiver.wait(1);
    daemon.signal(Signal::TERM);
    let stopping = manager.next();
    assert!(stopping.says("STOPPING=1") && stopping.status().starts_with("draining: "), "{stopping:?}");
    assert!(daemon.wait(WAIT).success());
    assert!(manager.next_within(Duration::from_millis(1)).is_none(), "nothing is told of a daemon that stops");
}

#[test]
fn every_reload_is_told_from_beginning_to_end_and_a_refused_one_with_its_first_fault() {
    let mut daemon = Setup::new().endpoint("app", "http://127.0.0.1:9/", "").prepare();
    let manager = Manager::new();
    // The watchdog has the status refreshed soon.
    start(&mut daemon, &manager, &[("WATCHDOG_USEC", "900000")]);
    let by_signal = reload(&manager, || daemon.signal(Signal::HUP));
    assert!(by_signal.starts_with("ready"), "{by_signal}");
    let by_api = reload(&manager, || drop(daemon.client().post("/v1/reload", "").expect(200)));
    assert!(by_api.starts_with("ready"), "{by_api}");

    rewrite(&daemon, |config| config.replace("[storage]", "[storage]\ncolour = 1\nshape = 2"));
    let refused = reload(&manager, || drop(daemon.client().post("/v1/reload", "").expect(422)));
    assert!(refused.contains("refused") && refused.contains("storage.colour"), "{refused}");
    assert!(!refused.contains("storage.shape"), "one fault is enough for one line: {refused}");
    let later = manager.until("a refreshed status", |told| told.says("WATCHDOG=1") && !told.status().is_empty());
    let later = later.last().unwrap().status();
    assert!(later.starts_with("ready: 1 endpoint, 0 pending; the last reload was refused"), "{later}");

    rewrite(&daemon, |config| config.replace("colour = 1\nshape = 2", ""));
    reload(&manager, || daemon.signal(Signal::HUP));
    manager.until("the fault is gone", |told| told.status() == "ready: 1 endpoint, 0 pending");
    assert!(daemon.stop().success());
}

#[test]
fn a_start_that_fails_says_why_and_is_never_ready() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let in_use = taken.local_addr().unwrap().to_string();
    let cases = [
        (Setup::new().listen(&in_use), 1, "is in use by another process"),
        (Setup::new().storage("colour = 1"), 2, "storage.colour"),
    ];
    for (setup, code, why) in cases {
        let (mut daemon, manager) = (setup.prepare(), Manager::new());
        daemon.spawn(&[("NOTIFY_SOCKET", &manager.place())]);
        assert_eq!(daemon.wait(WAIT).code(), Some(code), "{}", daemon.log());
        let mut last = None;
        while let Some(told) = manager.next_within(Duration::from_millis(1)) {
            assert!(!told.says("READY=1"), "{told:?}");
            last = Some(told);
        }
        let last = last.expect("it says why");
        assert!(last.status().starts_with("the start failed: ") && last.status().contains(why), "{last:?}");
    }
}

#[test]
fn the_watchdog_hears_that_the_daemon_is_alive_three_times_in_its_interval() {
    let mut daemon = Setup::new().prepare();
    let manager = Manager::new();
    start(&mut daemon, &manager, &[("WATCHDOG_USEC", "1500000")]);
    // The first one comes at once; on a machine that is busy one may be late, and still in time.
    manager.until_says("WATCHDOG=1");
    let begin = Instant::now();
    for n in 1..=6 {
        let last = Instant::now();
        manager.until_says("WATCHDOG=1");
        assert!(last.elapsed() < Duration::from_millis(1500), "word {n} came after {:?}", last.elapsed());
    }
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(2500), "six words in {took:?}: more often than asked");
    assert!(daemon.stop().success());
    assert!(!daemon.log().contains("does not answer"), "{}", daemon.log());
}

#[test]
fn a_watchdog_for_another_process_is_left_to_that() {
    let mut daemon = Setup::new().prepare();
    let manager = Manager::new();
    start(&mut daemon, &manager, &[("WATCHDOG_USEC", "90000"), ("WATCHDOG_PID", "1")]);
    let told = manager.next_within(Duration::from_millis(500));
    assert!(!told.is_some_and(|told| told.says("WATCHDOG=1")));
}

#[test]
fn an_abstract_notify_socket_is_told_and_without_one_the_daemon_runs_as_ever() {
    let name = format!("webhookd-it-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut daemon = Setup::new().prepare();
    daemon.run_with(&[("NOTIFY_SOCKET", &format!("@{name}")), ("WATCHDOG_USEC", "x")]);
    let mut bytes = [0; 1024];
    eventually("it is ready", || {
        let len = socket.recv(&mut bytes).unwrap();
        bytes[..len].starts_with(b"READY=1\n").then_some(())
    });
    assert!(daemon.stop().success());
    daemon.run_with(&[("NOTIFY_SOCKET", "/nonexistent/notify"), ("WATCHDOG_USEC", "60000000")]);
    assert!(daemon.stop().success());
}
