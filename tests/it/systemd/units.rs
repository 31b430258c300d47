//! The units as they are shipped: systemd understands them, they are as tight as promised, and they fit the program.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use webhookd::limits;

use super::{have, units};
use crate::kit::{Setup, binary};

/// The most that `systemd-analyze security` may find exposed.
const EXPOSURE_MAX: f64 = 1.5;

fn unit(name: &str) -> String {
    fs::read_to_string(units().join(name)).unwrap()
}

/// The values of a key, in order.
fn values(unit: &str, key: &str) -> Vec<String> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned).collect()
}

#[test]
fn systemd_understands_the_units() {
    if !have("systemd-analyze", "systemd") {
        return;
    }
    // A root of its own, with systemd's units, ours, and programs where they say.
    let root = TempDir::with_prefix("webhookd-units-").unwrap();
    let within = |path: &str| root.path().join(path);
    for dir in ["usr/bin", "bin", "usr/lib/systemd", "etc/systemd/system"] {
        fs::create_dir_all(within(dir)).unwrap();
    }
    fs::copy(binary(), within("usr/bin/webhookd")).unwrap();
    fs::copy("/bin/kill", within("bin/kill")).expect("kill (Debian: apt-get install procps)");
    let theirs = ["/usr/lib/systemd/system", "/lib/systemd/system"].into_iter().find(|dir| Path::new(dir).is_dir());
    let copied = Command::new("cp").args(["-r", theirs.unwrap()]).arg(within("usr/lib/systemd/")).status().unwrap();
    assert!(copied.success());
    let names = ["webhookd.service", "webhookd.socket", "webhookd-inbound.socket"];
    let verify = |edit: &dyn Fn(String) -> String| {
        for name in names {
            fs::write(within("etc/systemd/system").join(name), edit(unit(name))).unwrap();
        }
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no"]).arg(format!("--root={}", root.path().display())).args(names);
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(verify(&|unit| unit), (true, String::new()));
    let (_, complaint) = verify(&|unit| unit.replace("WatchdogSec=", "WatchdogSecs="));
    assert!(complaint.contains("WatchdogSecs"), "it finds what is wrong: {complaint:?}");
}

#[test]
fn the_service_is_as_tight_as_promised() {
    if !have("systemd-analyze", "systemd") {
        return;
    }
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(units().join("webhookd.service"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{text}"));
    let figure = line.split(": ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let exposure: f64 = figure.parse().unwrap();
    println!("exposure {exposure}");
    assert!(exposure <= EXPOSURE_MAX, "{text}");
}

#[test]
fn the_service_fits_the_program() {
    let service = unit("webhookd.service");
    let one = |key: &str| {
        let all = values(&service, key);
        assert_eq!(all.len(), 1, "{key}: {all:?}");
        all[0].clone()
    };
    let seconds = |key: &str| one(key).strip_suffix('s').unwrap().parse::<u64>().unwrap();
    assert!(seconds("TimeoutStopSec") * 1000 > limits::DRAIN_MS_MAX + 10_000, "what is stored is closed after that");
    assert!(
        seconds("TimeoutStartSec") * 1000 > 2 * limits::OPENING_EXTENSION_MS,
        "each word comes before the last one expires"
    );
    assert!(seconds("TimeoutStartSec") * 1000 > limits::RELOAD_READ_MS_MAX, "it bounds a reload as well");
    assert!(seconds("WatchdogSec") / 3 > 10, "a disk that is slow for some seconds is no reason to kill it");
    assert_eq!(one("StateDirectory"), "webhookd");
    // The commands are those of the program, but for where it and its config lie.
    let daemon = Setup::new().prepare();
    let config = daemon.config();
    let here = |line: &str| {
        let line = line.trim_start_matches('-').replace("/usr/bin/webhookd", binary());
        line.replace("/etc/webhookd/webhookd.toml", config.to_str().unwrap())
    };
    let check = here(&one("ExecStartPre"));
    let words: Vec<&str> = check.split(' ').collect();
    let checked = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    assert_eq!(here(&one("ExecStart")), format!("{} run --config {}", binary(), config.display()));
    fs::write(&config, "[api]\ncolour = 1\n").unwrap();
    let wrong = Command::new(binary()).args(["run", "--config"]).arg(&config).output().unwrap();
    assert_eq!(wrong.status.code().map(|code| code.to_string()), Some(one("RestartPreventExitStatus")));
}

#[test]
fn the_sockets_have_the_names_that_the_daemon_knows_and_the_first_is_for_the_group() {
    let (api, inbound) = (unit("webhookd.socket"), unit("webhookd-inbound.socket"));
    assert_eq!(values(&api, "FileDescriptorName"), ["api"]);
    assert_eq!(values(&inbound, "FileDescriptorName"), ["inbound"]);
    assert_eq!(values(&inbound, "Service"), ["webhookd.service"]);
    assert_eq!(
        (values(&api, "SocketGroup"), values(&api, "SocketMode")),
        (vec!["webhookd".into()], vec!["0660".into()])
    );
    // A stop must not take the folder away from under the socket.
    let service = unit("webhookd.service");
    assert_eq!(values(&api, "ListenStream"), ["/run/webhookd/api.sock"]);
    assert_eq!(values(&service, "RuntimeDirectory"), ["webhookd"]);
    assert_eq!(values(&service, "RuntimeDirectoryPreserve"), ["yes"]);
}

#[test]
fn the_user_and_the_folders_are_made_as_the_service_wants_them() {
    if !have("systemd-sysusers", "systemd") || !have("systemd-tmpfiles", "systemd") {
        return;
    }
    let root = TempDir::with_prefix("webhookd-root-").unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let users = Command::new("systemd-sysusers")
        .arg(format!("--root={}", root.path().display()))
        .arg(units().join("webhookd.sysusers.conf"))
        .output()
        .unwrap();
    assert!(users.status.success(), "{users:?}");
    let passwd = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    assert!(passwd.lines().any(|line| line.starts_with("webhookd:") && line.ends_with("/nologin")), "{passwd}");
    let group = fs::read_to_string(root.path().join("etc/group")).unwrap();
    let gid = group.lines().find_map(|line| line.strip_prefix("webhookd:x:")).unwrap().trim_end_matches(':').to_owned();
    if !rustix::process::geteuid().is_root() {
        println!("LEFT OUT: folders of other owners can be made by root alone");
        return;
    }
    let folders = Command::new("systemd-tmpfiles")
        .arg("--create")
        .arg(format!("--root={}", root.path().display()))
        .arg(units().join("webhookd.tmpfiles.conf"))
        .output()
        .unwrap();
    assert!(folders.status.success(), "{folders:?}");
    for (path, gid, mode) in [("etc/webhookd", gid.as_str(), 0o750), ("etc/webhookd/credentials", "0", 0o700)] {
        let made = fs::metadata(root.path().join(path)).unwrap();
        assert_eq!((made.uid(), made.gid().to_string().as_str(), made.mode() & 0o777), (0, gid, mode), "{path}");
    }
}
