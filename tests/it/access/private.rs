//! What others on this machine may see: files, sockets, the memory of the process.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::kit::{Daemon, Receiver, Setup, binary, eventually};

/// Everything below a folder, itself included.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_owned()];
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            all.push(path.clone());
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    all
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_the_daemon_stores_is_its_users_alone() {
    let receiver = Receiver::start();
    let mut daemon = Setup::new().listen("unix:api.sock").endpoint("app", &receiver.url("/"), "").prepare();
    std::fs::remove_dir(daemon.data()).unwrap();
    daemon.run();
    let id = daemon.client().event("a", "1");
    daemon.client().await_state(&id, "app", "delivered");
    daemon.client().post("/v1/endpoints/app/pause", "").expect(200);
    assert_eq!(mode(&daemon.dir().join("api.sock")), 0o660, "owner and group");
    assert!(daemon.stop().success());
    let all = below(&daemon.data());
    assert!(all.len() > 8, "{all:?}");
    for path in &all {
        let allowed = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(path), allowed, "{}", path.display());
    }
    // A folder that was there, and is open to all, stays so; the events in it do not.
    for path in all.iter().filter(|path| path.is_dir()) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    daemon.run();
    assert_eq!((mode(&daemon.data()), mode(&daemon.data().join("outbox"))), (0o755, 0o700));
}

/// A user other than root, whom the tests may be run by: what belongs to root tells nothing then.
const NOBODY: u32 = 65_534;

/// A daemon that is run by somebody who is not root.
struct Guarded {
    child: Child,
    _dir: Daemon,
}

impl Guarded {
    fn start(arguments: &[&str]) -> Self {
        let dir = Setup::new().prepare();
        let mut command = Command::new(binary());
        command.args(["run", "--config"]).arg(dir.config()).args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
        if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
            for path in below(dir.dir()) {
                chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            command.uid(NOBODY).gid(NOBODY);
        }
        let child = command.spawn().unwrap();
        eventually("it is ready", || {
            dir.client().try_send("GET", "/readyz", &[], "").is_ok_and(|reply| reply.status == 200).then_some(())
        });
        Self { child, _dir: dir }
    }

    fn of_proc(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(name)
    }

    /// Whether the system guards the process's memory: then its files below /proc are root's (proc(5)).
    fn memory_is_roots(&self) -> bool {
        std::fs::metadata(self.of_proc("environ")).unwrap().uid() == 0
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The soft and the hard limit of core dumps.
fn core_limits(limits: &Path) -> Vec<String> {
    let limits = std::fs::read_to_string(limits).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    line.split_whitespace().skip(4).take(2).map(str::to_owned).collect()
}

#[test]
fn no_core_dump_shows_its_memory_unless_somebody_wants_one() {
    let guarded = Guarded::start(&[]);
    assert_eq!(core_limits(&guarded.of_proc("limits")), ["0", "0"]);
    assert!(guarded.memory_is_roots());
    let open = Guarded::start(&["--core-dumps"]);
    assert_eq!(core_limits(&open.of_proc("limits")), core_limits(Path::new("/proc/self/limits")), "as they were");
    assert!(!open.memory_is_roots());
}
