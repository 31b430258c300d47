//! The daemon at work under the confinement of its unit, read from the unit itself.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;

use super::{Manager, have, units};
use crate::kit::{Daemon, Receiver, Setup, binary};

/// Nobody in particular.
const UID: u32 = 64_321;

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/systemd/confine.py")
}

/// The words before a program that is to be confined; `None` where that cannot be done here.
fn confining(writable: &Path) -> Option<Vec<String>> {
    let uid = UID.to_string();
    let words = [Path::new("python3"), &script(), &units().join("webhookd.service"), Path::new(&uid), writable];
    let words: Vec<String> = words.iter().map(|word| word.to_str().unwrap().to_owned()).collect();
    if !(have("python3", "python3") && have("systemd-analyze", "systemd") && have("cc", "build-essential")) {
        return None;
    }
    let tried = run(&words, &["/bin/true"]);
    if !tried.status.success() {
        let why = String::from_utf8_lossy(&tried.stderr).into_owned();
        println!("LEFT OUT: nothing can be confined here; run as root (a container wants --cap-add SYS_ADMIN): {why}");
        return None;
    }
    Some(words)
}

fn run(words: &[String], command: &[&str]) -> Output {
    Command::new(&words[0]).args(&words[1..]).args(command).output().unwrap()
}

/// Gives the daemon's folder, with the binary in it, to the user that it will run as.
fn hand_to_user(daemon: &Daemon) -> PathBuf {
    let program = daemon.dir().join("webhookd");
    fs::copy(binary(), &program).unwrap();
    for path in [daemon.dir(), &daemon.data(), &daemon.config(), &program] {
        std::os::unix::fs::chown(path, Some(UID), Some(UID)).unwrap();
    }
    program
}

#[test]
fn the_daemon_works_under_the_confinement_of_its_unit() {
    let receiver = Receiver::start();
    let by_name = receiver.url("/named").replace("127.0.0.1", "localhost");
    let mut daemon = Setup::new()
        .endpoint("plain", &receiver.url("/plain"), "")
        .endpoint("named", &by_name, "")
        .endpoint("secure", &receiver.url("/").replace("http:", "https:"), "retry = []")
        .prepare();
    let Some(words) = confining(daemon.dir()) else { return };
    // What the confinement is for does not work in it.
    let status = run(&words, &["/bin/cat", "/proc/self/status"]);
    let status = String::from_utf8(status.stdout).unwrap();
    for line in ["Seccomp:\t2", "NoNewPrivs:\t1", "CapBnd:\t0000000000000000", &format!("Uid:\t{UID}")] {
        assert!(status.contains(line), "{line:?} is missing in:\n{status}");
    }
    for command in ["echo > /tmp/webhookd-confined", "echo > /etc/webhookd-confined", "unshare -U true", "ls /proc/sys"]
    {
        let output = run(&words, &["/bin/sh", "-c", command]);
        assert!(!output.status.success(), "{command} works: {output:?}");
    }

    let program = hand_to_user(&daemon);
    let manager = Manager::new();
    fs::set_permissions(Path::new(&manager.place()).parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(manager.place(), fs::Permissions::from_mode(0o777)).unwrap();
    daemon.start_under(&words);
    daemon.start_copy(program);
    daemon.spawn(&[("NOTIFY_SOCKET", &manager.place()), ("WATCHDOG_USEC", "3000000")]);
    manager.until_says("READY=1");
    manager.until_says("WATCHDOG=1");
    let id = daemon.client().event("a", "1");
    daemon.client().await_state(&id, "plain", "delivered");
    daemon.client().await_state(&id, "named", "delivered");
    let secure = daemon.client().await_state(&id, "secure", "dead");
    assert_eq!(secure["attempts"][0]["error"], "tls", "the other end speaks none: {secure}");

    let maps = fs::read_to_string(format!("/proc/{}/maps", daemon.pid())).unwrap();
    let loose: Vec<_> = maps.lines().filter(|line| line.split(' ').nth(1).unwrap().starts_with("rwx")).collect();
    assert!(maps.contains("/webhookd") && loose.is_empty(), "memory that can be written and executed: {loose:#?}");
    let stored = fs::read_dir(daemon.data()).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
    for found in stored {
        assert_eq!((found.uid(), found.mode() & 0o077), (UID, 0), "stored for the service alone");
    }

    daemon.signal(Signal::HUP);
    manager.until_says("RELOADING=1");
    manager.until_says("READY=1");
    daemon.signal(Signal::TERM);
    manager.until_says("STOPPING=1");
    assert!(daemon.wait(Duration::from_secs(10)).success(), "{}", daemon.log());
    assert!(!daemon.log().contains("Operation not permitted"), "{}", daemon.log());
}
