//! The daemon as users run it: its own process, a config file, a data folder. Killed when dropped.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Client, SECRET, SOON, within};

/// The binary under test.
pub(crate) fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_webhookd")
}

/// A port that nobody listens on. Taken from below the range that the kernel hands out to outgoing connections, so that
/// none of those can take it before the daemon does, nor between two starts on the same port.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 15_000;
    const COUNT: u16 = 16_000;
    let start = u16::try_from(std::process::id() % u32::from(COUNT / 8)).expect("it fits") * 8;
    for _ in 0..COUNT {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = FIRST + offset;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT)
}

/// What a daemon is to be started with.
#[derive(Debug)]
pub(crate) struct Setup {
    listen: Option<String>,
    api: String,
    storage: String,
    delivery: String,
    endpoints: String,
    inbound: String,
    inbound_unix: Option<String>,
    sources: String,
    token: Option<String>,
    data: Option<PathBuf>,
}

impl Setup {
    /// A config that may dial loopback addresses and waits without jitter.
    pub(crate) fn new() -> Self {
        Self {
            listen: None,
            api: String::new(),
            storage: String::new(),
            delivery: "allow_networks = [\"127.0.0.0/8\", \"::1/128\"]\njitter = 0\n".to_owned(),
            endpoints: String::new(),
            inbound: String::new(),
            inbound_unix: None,
            sources: String::new(),
            token: None,
            data: None,
        }
    }

    /// Where the data folder is to be, instead of beside the config file.
    pub(crate) fn data(mut self, path: PathBuf) -> Self {
        self.data = Some(path);
        self
    }

    /// Lines for `[api]`.
    pub(crate) fn api(mut self, lines: &str) -> Self {
        self.api.push_str(lines);
        self.api.push('\n');
        self
    }

    /// `[api] listen`, as it stands in the file.
    pub(crate) fn listen(mut self, listen: &str) -> Self {
        self.listen = Some(listen.to_owned());
        self
    }

    /// The token that [`Daemon::client`] sends.
    pub(crate) fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Lines for `[storage]`.
    pub(crate) fn storage(mut self, lines: &str) -> Self {
        self.storage.push_str(lines);
        self.storage.push('\n');
        self
    }

    /// Lines for `[delivery]`, after `allow_networks` and `jitter`.
    pub(crate) fn delivery(mut self, lines: &str) -> Self {
        self.delivery.push_str(lines);
        self.delivery.push('\n');
        self
    }

    /// Lines for `[delivery]`, and no others.
    pub(crate) fn delivery_alone(mut self, lines: &str) -> Self {
        self.delivery = format!("{lines}\n");
        self
    }

    /// An endpoint that signs with [`SECRET`], and further lines for it.
    pub(crate) fn endpoint(self, name: &str, url: &str, lines: &str) -> Self {
        self.endpoint_alone(name, &format!("url = \"{url}\"\nsecret = \"{SECRET}\"\n{lines}"))
    }

    /// An endpoint of these lines alone.
    pub(crate) fn endpoint_alone(mut self, name: &str, lines: &str) -> Self {
        writeln!(self.endpoints, "\n[endpoint.{name}]\n{lines}").expect("a string takes everything");
        self
    }

    /// Lines for `[inbound]`, which listens on a loopback port of its own.
    pub(crate) fn inbound(mut self, lines: &str) -> Self {
        self.inbound.push_str(lines);
        self.inbound.push('\n');
        self
    }

    /// `[inbound]` listens on a unix socket of this name in the daemon's folder.
    pub(crate) fn inbound_unix(mut self, name: &str) -> Self {
        self.inbound_unix = Some(name.to_owned());
        self
    }

    /// A source of these lines.
    pub(crate) fn source(mut self, name: &str, lines: &str) -> Self {
        writeln!(self.sources, "\n[source.{name}]\n{lines}").expect("a string takes everything");
        self
    }

    /// Starts the daemon and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(self) -> Daemon {
        let mut daemon = self.prepare();
        daemon.run();
        daemon
    }

    /// Lays out the folder without starting anything.
    pub(crate) fn prepare(self) -> Daemon {
        let dir = TempDir::with_prefix("webhookd-test-").expect("a temporary folder");
        let (listen, client) = match self.listen {
            None => {
                let address = format!("127.0.0.1:{}", free_port());
                (address.clone(), Client::tcp(address))
            }
            Some(listen) => match listen.strip_prefix("unix:") {
                Some(path) => {
                    let path = dir.path().join(path);
                    (format!("unix:{}", path.display()), Client::unix(path))
                }
                None => (listen.clone(), Client::tcp(listen)),
            },
        };
        let client = match &self.token {
            Some(token) => client.with_token(token),
            None => client,
        };
        let data = self.data.unwrap_or_else(|| dir.path().join("data"));
        let has_inbound = !self.sources.is_empty() || !self.inbound.is_empty();
        let (inbound, listens) = match self.inbound_unix.map(|name| dir.path().join(name)) {
            _ if !has_inbound => (None, String::new()),
            Some(path) => (Some(Client::unix(path.clone())), format!("unix:{}", path.display())),
            None => {
                let address = format!("127.0.0.1:{}", free_port());
                (Some(Client::tcp(address.clone())), address)
            }
        };
        let sources =
            inbound.as_ref().map(|_| format!("\n[inbound]\nlisten = \"{listens}\"\n{}{}", self.inbound, self.sources));
        let config = format!(
            "[api]\nlisten = \"{listen}\"\n{}\n[storage]\ndir = \"{}\"\n{}\n[delivery]\n{}{}{}",
            self.api,
            data.display(),
            self.storage,
            self.delivery,
            self.endpoints,
            sources.unwrap_or_default(),
        );
        std::fs::create_dir(&data).expect("a data folder");
        std::fs::write(dir.path().join("webhookd.toml"), config).expect("a config file");
        Daemon { dir, data, listen, client, inbound, under: Vec::new(), program: binary().into(), child: None }
    }
}

/// A daemon with its folder. The folder outlives the process, so the daemon can be started again on it.
#[derive(Debug)]
pub(crate) struct Daemon {
    dir: TempDir,
    data: PathBuf,
    listen: String,
    client: Client,
    inbound: Option<Client>,
    under: Vec<String>,
    program: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// A client of `[inbound]`.
    #[track_caller]
    pub(crate) fn inbound(&self) -> &Client {
        self.inbound.as_ref().expect("the setup has a source, or lines for [inbound]")
    }

    /// `host:port` or `unix:/path`.
    pub(crate) fn listen(&self) -> &str {
        &self.listen
    }

    /// The value for `--api`.
    pub(crate) fn api(&self) -> String {
        if self.listen.starts_with("unix:") { self.listen.clone() } else { format!("http://{}", self.listen) }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("webhookd.toml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// Everything that the daemon wrote to its standard output and error so far, over all its starts.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(self.dir.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Starts the process and waits until it is ready.
    #[track_caller]
    pub(crate) fn run(&mut self) {
        self.run_with(&[]);
    }

    /// The same with these variables in its environment.
    #[track_caller]
    pub(crate) fn run_with(&mut self, environment: &[(&str, &str)]) {
        self.spawn(environment);
        let ready = within(SOON, "the daemon is ready or has given up", || self.ready_or_ended());
        if let Err(status) = ready {
            panic!("the daemon ended with {status} before it was ready:\n{}", self.log());
        }
    }

    /// Whether the process is ready, or how it ended; `None` while neither is so.
    pub(crate) fn ready_or_ended(&mut self) -> Option<Result<(), ExitStatus>> {
        if let Some(child) = self.child.as_mut()
            && let Some(status) = child.try_wait().expect("a child of ours")
        {
            return Some(Err(status));
        }
        self.client.try_send("GET", "/readyz", &[], "").is_ok_and(|reply| reply.status == 200).then_some(Ok(()))
    }

    /// Starts the process, with these variables in its environment, and does not wait.
    pub(crate) fn spawn(&mut self, environment: &[(&str, &str)]) {
        self.launch(environment, &[]);
    }

    /// The program, with its arguments, that becomes the daemon: it is given the daemon's command line as its last arguments,
    /// and executes it.
    pub(crate) fn start_under(&mut self, program: &[impl AsRef<str>]) {
        self.under = program.iter().map(|word| word.as_ref().to_owned()).collect();
    }

    /// A copy of the binary that is started in its place.
    pub(crate) fn start_copy(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// Starts the process with further arguments, and does not wait.
    pub(crate) fn spawn_with_arguments(&mut self, arguments: &[&str]) {
        self.launch(&[], arguments);
    }

    /// Starts the process as systemd does where it listens for it: with these sockets, at most two, as its descriptors from 3
    /// on. `names` are theirs, with colons between. Does not wait.
    pub(crate) fn spawn_with_sockets(&mut self, names: &str, sockets: Vec<OwnedFd>, environment: &[(&str, &str)]) {
        assert!(self.child.is_none(), "one process at a time");
        // Without `unsafe` a child gets descriptors as its standard ones alone; a shell moves them and becomes the daemon.
        const MOVE: [&str; 2] = ["exec 3<&0 0</dev/null 1>&2", "exec 3<&0 4<&1 0</dev/null 1>&2"];
        let count = sockets.len();
        let script = format!("{}; LISTEN_PID=$$ exec \"$@\"", MOVE[count - 1]);
        let mut sockets = sockets.into_iter();
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", binary(), "run", "--config"]).arg(self.config());
        command.current_dir(self.dir.path()).envs(environment.iter().copied());
        command.env("LISTEN_FDS", count.to_string()).env("LISTEN_FDNAMES", names);
        command.stdin(Stdio::from(sockets.next().expect("one socket at least")));
        command.stdout(sockets.next().map_or(Stdio::null(), Stdio::from));
        self.child = Some(command.stderr(self.open_log()).spawn().expect("sh starts"));
    }

    /// Starts the process with these variables in its environment and further arguments, and does not wait.
    pub(crate) fn launch(&mut self, environment: &[(&str, &str)], arguments: &[&str]) {
        assert!(self.child.is_none(), "one process at a time");
        let log = self.open_log();
        let under = self.under.iter().map(OsStr::new);
        let mut words = under.chain([self.program.as_os_str()]);
        let child = Command::new(words.next().expect("the binary is one"))
            .args(words)
            .args(["run", "--config"])
            .arg(self.config())
            .args(arguments)
            .current_dir(self.dir.path())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        self.child = Some(child);
    }

    fn open_log(&self) -> File {
        let path = self.dir.path().join("log");
        OpenOptions::new().create(true).append(true).open(path).expect("a log file")
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the process can be signalled");
    }

    /// Whether the process is still there.
    pub(crate) fn alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().expect("a child of ours").is_none())
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let child = self.child.as_mut().expect("it runs");
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child of ours") {
                break status;
            }
            assert!(start.elapsed() < limit, "the daemon did not end within {limit:?}");
            std::thread::sleep(Duration::from_millis(5));
        };
        self.child = None;
        status
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(Duration::from_secs(40))
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops the daemon and starts it again on the same folder and port.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        let status = self.stop();
        assert!(status.success(), "the daemon ended with {status}:\n{}", self.log());
        self.run();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(60)..];
            eprintln!("--- the daemon's last words ---\n{}\n---", tail.join("\n"));
        }
    }
}
