//! Open files: connections cannot take those that deliveries and the storage need.

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::raw::{Raw, metric};
use crate::kit::{Receiver, Setup, eventually};

#[test]
fn where_few_files_may_be_open_there_are_fewer_places_and_deliveries_go_on() {
    let receiver = Receiver::start();
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), "").prepare();
    daemon.start_under(&["sh", "-c", "ulimit -n 900 && exec \"$@\"", "sh"]);
    daemon.run();
    let told: Vec<String> =
        daemon.log().lines().filter(|line| line.contains("LimitNOFILE")).map(str::to_owned).collect();
    assert!(told.len() == 1 && told[0].contains("WARN") && told[0].contains("16384"), "{told:?}");
    // All places are taken, and more are asked for.
    let mut crowd: Vec<Raw> = (0..400).map(|_| Raw::to(&daemon)).collect();
    eventually("the last ones are turned away", || crowd.last_mut().unwrap().closed().then_some(()));
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    assert!(open < 400, "{open} files are open");
    for n in 0..50 {
        let body = format!(r#"{{"type":"a","data":{n}}}"#);
        // Who is turned away comes again: places are taken from those who do nothing with theirs.
        eventually("an honest client finds a place", || {
            let headers = [("content-type", "application/json")];
            let reply = daemon.client().try_send("POST", "/v1/events", &headers, body.clone()).ok()?;
            (reply.status == 202).then_some(())
        });
    }
    receiver.wait(50);
    drop(crowd);
    eventually("there is room again", || Raw::to(&daemon).ask().then_some(()));
    assert!(!daemon.log().contains("could not be accepted"), "{}", daemon.log());
}

#[test]
fn a_daemon_without_a_file_left_neither_spins_nor_floods_its_log_and_recovers() {
    let receiver = Receiver::start();
    let daemon = Setup::new().endpoint("app", &receiver.url("/"), "").start();
    daemon.client().event("a", "1");
    receiver.wait(1);
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap()).unwrap();
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count() as u64;
    let usual = getrlimit(Resource::Nofile);
    // Somebody else takes the files, so to say: five are left.
    let low = Rlimit { current: Some(open + 5), maximum: usual.maximum };
    prlimit(Some(pid), Resource::Nofile, low).unwrap();
    let mut crowd: Vec<Raw> = (0..30).map(|_| Raw::to(&daemon)).collect();
    eventually("it says so", || daemon.log().contains("could not be accepted").then_some(()));
    let before = processor_ticks(daemon.pid());
    std::thread::sleep(std::time::Duration::from_secs(1));
    let spent = processor_ticks(daemon.pid()) - before;
    assert!(spent < 50, "{spent} hundredths of a second of processor time in one second");
    let told = daemon.log().lines().filter(|line| line.contains("could not be accepted")).count();
    assert!(told <= 2, "{told} lines");
    // Those who wait are served once there are files again.
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: usual.maximum, maximum: usual.maximum }).unwrap();
    assert!(crowd.iter_mut().all(Raw::ask));
    daemon.client().event("a", "2");
    receiver.wait(2);
    assert_eq!(metric(&daemon, "webhookd_commits_failed_total"), 0);
}

#[test]
fn the_limit_of_open_files_is_raised_as_far_as_it_may_be() {
    let mut daemon = Setup::new().prepare();
    daemon.start_under(&["sh", "-c", "ulimit -S -n 256 && exec \"$@\"", "sh"]);
    daemon.run();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    assert_eq!(fields[3], fields[4], "{line}");
}

/// Processor time of a process in hundredths of a second.
fn processor_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_ascii_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}
