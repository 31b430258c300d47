//! The file system of `tests/powercut/`, mounted for as long as the guard lives.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How the disk orders what it writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// A name is durable only after an fsync of its directory.
    pub(super) strict_dirs: bool,
    /// No size is durable before its data.
    pub(super) ordered: bool,
    /// How long an fsync takes, in microseconds.
    pub(super) fsync_us: u64,
}

/// A mounted disk.
pub(super) struct Mount {
    name: String,
    dir: TempDir,
    child: Child,
    control: RefCell<BufReader<UnixStream>>,
}

fn binary() -> PathBuf {
    let given = std::env::var_os("WEBHOOKD_POWERCUT").map(PathBuf::from);
    given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/powercut/debug/powercut"))
}

impl Mount {
    /// Mounts an empty disk. `name` tells it from others in what is left of a failure.
    pub(super) fn new(name: &str, seed: u64, rules: Rules) -> Self {
        let dir = TempDir::with_prefix("webhookd-power-").unwrap();
        let mut command = Command::new(binary());
        command.arg("mount").arg("--at").arg(dir.path().join("disk")).arg("--control").arg(dir.path().join("control"));
        command.args(["--seed", &seed.to_string(), "--fsync-us", &rules.fsync_us.to_string()]);
        command.args(rules.strict_dirs.then_some("--strict-dirs"));
        command.args(rules.ordered.then_some("--ordered"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap_or_else(|error| {
            panic!("{} does not start ({error}): run tests/run, which builds it", binary().display())
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the file system was not mounted");
        let control = UnixStream::connect(dir.path().join("control")).unwrap();
        Self { name: name.to_owned(), dir, child, control: RefCell::new(BufReader::new(control)) }
    }

    /// A path on the disk.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("disk").join(name)
    }

    /// What one command is answered.
    fn ask(&self, command: &str) -> Result<String, String> {
        let mut control = self.control.borrow_mut();
        let mut line = String::new();
        writeln!(control.get_mut(), "{command}")
            .and_then(|()| control.read_line(&mut line))
            .map_err(|e| e.to_string())?;
        match line.trim_end().split_once(' ') {
            Some(("err", error)) => Err(error.to_owned()),
            Some((_, answer)) => Ok(answer.to_owned()),
            None => Ok(String::new()),
        }
    }

    /// Says a command that cannot go wrong.
    #[track_caller]
    pub(super) fn tell(&self, command: &str) -> String {
        self.ask(command).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Waits for an armed cut; whether it came.
    pub(super) fn wait_for_cut(&self, limit: Duration) -> bool {
        self.ask(&format!("wait-cut {}", limit.as_secs())).is_ok()
    }

    pub(super) fn power_is_off(&self) -> bool {
        self.stats()["power"] == "off"
    }

    /// Everything becomes durable.
    pub(super) fn sync(&self) {
        self.tell("sync");
    }

    pub(super) fn stats(&self) -> Value {
        serde_json::from_str(&self.tell("stats")).unwrap()
    }

    /// Operations so far that change something: what `arm` counts.
    pub(super) fn operations(&self) -> u64 {
        let stats = self.stats();
        let count = |name: &str| stats[name].as_u64().unwrap();
        ["writes", "name_changes", "fsyncs", "fsyncs_of_directories"].into_iter().map(count).sum()
    }

    /// Lets nothing that is asked of the disk come back, until the guard is dropped.
    pub(super) fn hang(&self) -> Hung {
        let server = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(server, Signal::STOP).unwrap();
        Hung(server)
    }

    /// Keeps what is on the disk for a look at it.
    fn keep(&self) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("power-failed-{}", self.name));
        let _ = std::fs::remove_dir_all(&folder);
        let _ = self.ask("cut everything");
        match self.ask(&format!("dump {}", folder.display())) {
            Ok(_) => eprintln!("the disk as it was in the end: {}", folder.display()),
            Err(error) => eprintln!("the disk could not be kept: {error}"),
        }
    }
}

/// A disk that hangs. Whoever waits for it cannot even be killed before it goes on.
pub(super) struct Hung(Pid);

impl Drop for Hung {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
        if self.ask("quit").is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
