//! The daemon as a process of its own, and its data folder.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Failure;
use super::connection::Connection;
use super::machine::{self, Memory};

/// How long a start may take: ten million pending on a cold disk.
const START_MAX: Duration = Duration::from_secs(300);
/// How long a stop may take.
const STOP_MAX: Duration = Duration::from_secs(60);

/// What a scene asks of its daemon, in lines of its config, beside what all have: an address of its own, `durability = "fsync"`,
/// and leave to dial loopback.
#[derive(Default)]
pub(crate) struct Settings {
    storage: String,
    delivery: String,
    endpoints: String,
    sources: String,
}

impl Settings {
    /// One endpoint, with all else as by default.
    pub(crate) fn sink(address: &str) -> Self {
        Self::default().endpoint("sink", address, "")
    }

    /// Lines of `[storage]`.
    pub(crate) fn storage(self, lines: &str) -> Self {
        Self { storage: self.storage + lines + "\n", ..self }
    }

    /// Lines of `[delivery]`.
    pub(crate) fn delivery(self, lines: &str) -> Self {
        Self { delivery: self.delivery + lines + "\n", ..self }
    }

    /// An endpoint, and lines of its own.
    pub(crate) fn endpoint(mut self, name: &str, address: &str, lines: &str) -> Self {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        writeln!(self.endpoints, "[endpoint.{name}]\nurl = \"http://{address}/\"\nsecret = \"{secret}\"\n{lines}")
            .expect("text can be written to a string");
        self
    }

    /// A source, by lines of its own.
    pub(crate) fn source(mut self, name: &str, lines: &str) -> Self {
        writeln!(self.sources, "[source.{name}]\n{lines}").expect("text can be written to a string");
        self
    }

    fn config(&self, listen: &str, inbound: &str, data: &Path) -> String {
        let Self { storage, delivery, endpoints, sources } = self;
        let inbound = if sources.is_empty() { String::new() } else { format!("[inbound]\nlisten = \"{inbound}\"\n") };
        format!(
            "[api]\nlisten = \"{listen}\"\n\
             [storage]\ndir = \"{}\"\ndurability = \"fsync\"\n{storage}\
             [delivery]\nallow_networks = [\"127.0.0.0/8\"]\n{delivery}\
             {endpoints}{inbound}{sources}",
            data.display()
        )
    }
}

/// A data folder with its config, and the daemon while one runs on it.
pub(crate) struct Daemon {
    child: Option<Child>,
    pub(crate) address: String,
    /// Where its sources are posted to, if it has any.
    pub(crate) inbound: String,
    folder: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Daemon {
    /// An empty data folder below `dir`, and a daemon that is ready on it.
    pub(crate) async fn on_empty_folder(dir: &Path, settings: &Settings) -> Result<Self, Failure> {
        let folder = dir.join(format!("bench-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("data"))?;
        // Both are held until both are known, so that they differ.
        let places = [std::net::TcpListener::bind("127.0.0.1:0")?, std::net::TcpListener::bind("127.0.0.1:0")?];
        let [address, inbound] = [places[0].local_addr()?.to_string(), places[1].local_addr()?.to_string()];
        drop(places);
        std::fs::write(folder.join("webhookd.toml"), settings.config(&address, &inbound, &folder.join("data")))?;
        let mut daemon = Self { child: None, address, inbound, folder };
        daemon.start().await?;
        Ok(daemon)
    }

    /// Starts the daemon; returns how long it took until `/readyz` said so.
    pub(crate) async fn start(&mut self) -> Result<Duration, Failure> {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log"))?;
        let begin = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_webhookd"))
            .args(["run", "--config"])
            .arg(self.folder.join("webhookd.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        while !self.ready().await {
            let ended = self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
            if ended || begin.elapsed() > START_MAX {
                let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                return Err(format!("the daemon did not become ready:\n{log}").into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(begin.elapsed())
    }

    async fn ready(&self) -> bool {
        let Ok(mut connection) = Connection::to(&self.address).await else { return false };
        connection.get("/readyz").await.is_ok_and(|(status, _)| status == 200)
    }

    /// The text of `/metrics`.
    pub(crate) async fn metrics(&self) -> Result<String, Failure> {
        match Connection::to(&self.address).await?.get("/metrics").await? {
            (200, page) => Ok(String::from_utf8_lossy(&page).into_owned()),
            (status, _) => Err(format!("/metrics was answered {status}").into()),
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and waits until it has gone.
    pub(crate) async fn stop(&mut self) -> Result<(), Failure> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let begin = Instant::now();
        while child.try_wait()?.is_none() {
            if begin.elapsed() > STOP_MAX {
                let _ = child.kill();
                let _ = child.wait();
                return Err("the daemon did not stop".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    pub(crate) fn memory(&self) -> Memory {
        Memory::of(self.pid())
    }

    /// Processor time that it has taken, in seconds.
    pub(crate) fn processor_secs(&self) -> f64 {
        machine::processor_secs(self.pid())
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Drops the data folder from the page cache, as far as the kernel does it for the asking.
    pub(crate) fn chill(&self) {
        rustix::fs::sync();
        for_each_file(&self.data(), &mut |path, _| {
            if let Ok(file) = std::fs::File::open(path) {
                let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
            }
        });
    }
}

/// What a data folder takes of the file system.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) bytes: u64,
    pub(crate) generations: usize,
}

impl Usage {
    pub(crate) fn of(data: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        let mut usage = Self::default();
        for_each_file(data, &mut |path, meta| {
            usage.bytes += meta.blocks() * 512;
            usage.generations += usize::from(path.file_name().is_some_and(|name| name == "db"));
        });
        usage
    }
}

fn for_each_file(dir: &Path, each: &mut impl FnMut(&Path, &std::fs::Metadata)) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        // What is gone by now was just removed by the daemon.
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() {
            for_each_file(&entry.path(), each);
        } else {
            each(&entry.path(), &meta);
        }
    }
}
