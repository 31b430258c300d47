//! Clients that waste time: idle ones, and slow ones of three kinds.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How many of them dial at once.
const DIALS: usize = 64;

/// What one of them does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Connects, and says nothing more.
    Silent,
    /// Asks once, and then nothing more.
    Idle,
    /// Sends a head a byte a second.
    SlowHead,
    /// Sends a body a byte a second.
    SlowBody,
    /// Asks for large answers and reads none.
    NeverReads,
}

impl Manner {
    const ALL: [Self; 5] = [Self::Silent, Self::Idle, Self::SlowHead, Self::SlowBody, Self::NeverReads];

    fn words(self) -> &'static str {
        match self {
            Self::Silent => "say nothing at all",
            Self::Idle => "asked once, then idle",
            Self::SlowHead => "a head a byte a second",
            Self::SlowBody => "a body a byte a second",
            Self::NeverReads => "read no answer",
        }
    }
}

/// What became of those of one manner.
#[derive(Debug, Default)]
struct Count {
    open: AtomicUsize,
    dialled: AtomicUsize,
    answered_408: AtomicUsize,
    answered_503: AtomicUsize,
    closed: AtomicUsize,
}

type Counts = [Count; Manner::ALL.len()];

/// All of them.
pub(crate) struct Wasters {
    counts: Arc<Counts>,
    tasks: JoinSet<()>,
    /// `None` once it is shut down, which may not wait in here.
    runtime: Option<Runtime>,
}

impl Wasters {
    /// Starts so many, and waits until all of them have been connected once.
    ///
    /// They have a thread of their own: the honest ones shall wait for the daemon, and not behind thousands of tasks in here.
    pub(crate) async fn start(address: SocketAddr, idle: usize, slow: usize) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let counts = Arc::new(Counts::default());
        let mut tasks = JoinSet::new();
        let dials = Arc::new(tokio::sync::Semaphore::new(DIALS));
        let idle = (0..idle).map(|n| Manner::ALL[n % 2]);
        let slow = (0..slow).map(|n| Manner::ALL[2 + n % 3]);
        for manner in idle.chain(slow) {
            let (counts, dials) = (Arc::clone(&counts), Arc::clone(&dials));
            let wasting = async move {
                let count = &counts[manner as usize];
                loop {
                    let dialled = {
                        let _turn = dials.acquire().await;
                        dial(address, manner).await
                    };
                    if let Ok(stream) = dialled {
                        count.dialled.fetch_add(1, Ordering::Relaxed);
                        count.open.fetch_add(1, Ordering::Relaxed);
                        let answer = waste(stream, manner).await;
                        count.open.fetch_sub(1, Ordering::Relaxed);
                        let of = match answer {
                            Some(408) => &count.answered_408,
                            Some(503) => &count.answered_503,
                            _ => &count.closed,
                        };
                        of.fetch_add(1, Ordering::Relaxed);
                    }
                    // At once, but not so fast that this process has no time for the honest ones.
                    sleep(Duration::from_millis(100)).await;
                }
            };
            tasks.spawn_on(wasting, runtime.handle());
        }
        let wanted = tasks.len();
        let wasters = Self { counts, tasks, runtime: Some(runtime) };
        let all_dialled = async {
            while wasters.counts.iter().map(|count| count.dialled.load(Ordering::Relaxed)).sum::<usize>() < wanted {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = timeout(Duration::from_secs(60), all_dialled).await;
        Ok(wasters)
    }

    /// How many are connected now.
    pub(crate) fn open(&self) -> usize {
        self.counts.iter().map(|count| count.open.load(Ordering::Relaxed)).sum()
    }

    /// Ends all of them.
    pub(crate) async fn stop(mut self) -> Became {
        let open = std::array::from_fn(|n| self.counts[n].open.load(Ordering::Relaxed));
        self.tasks.shutdown().await;
        Became { counts: Arc::clone(&self.counts), open }
    }
}

impl Drop for Wasters {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn dial(address: SocketAddr, manner: Manner) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if manner == Manner::NeverReads {
        // So that answers that are not read soon fill it: this is about waiting for them, not about making them.
        socket.set_recv_buffer_size(4096)?;
    }
    socket.connect(address).await
}

/// Wastes the time of a connection until the daemon closes it; returns the status that it was answered last before that.
async fn waste(mut stream: TcpStream, manner: Manner) -> Option<u16> {
    let begin: &[u8] = match manner {
        Manner::Silent => b"",
        Manner::Idle => b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
        Manner::SlowHead => b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\nx: ",
        Manner::SlowBody => {
            b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n{"
        }
        Manner::NeverReads => b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n",
    };
    stream.write_all(begin).await.ok()?;
    match manner {
        Manner::Silent | Manner::Idle => read_to_end(&mut stream).await,
        Manner::SlowHead | Manner::SlowBody => {
            let (mut reading, mut writing) = stream.split();
            let dripping = async {
                while writing.write_all(b"x").await.is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
                std::future::pending().await
            };
            tokio::select! {
                status = read_to_end(&mut reading) => status,
                () = dripping => None,
            }
        }
        Manner::NeverReads => {
            // Its answers fill the sockets; what it writes then is not read, and this waits until it is closed.
            while stream.write_all(begin).await.is_ok() {
                sleep(Duration::from_millis(100)).await;
            }
            None
        }
    }
}

async fn read_to_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<u16> {
    let (mut buffer, mut status) = ([0; 2048], None);
    while let Ok(len) = stream.read(&mut buffer).await {
        if len == 0 {
            break;
        }
        let told = buffer[..len].strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
        status = told.and_then(|told| std::str::from_utf8(told).ok()?.parse().ok()).or(status);
    }
    status
}

/// What became of all of them.
pub(crate) struct Became {
    counts: Arc<Counts>,
    open: [usize; Manner::ALL.len()],
}

impl fmt::Display for Became {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| others | connected | open at the end | closed | closed after 408 | turned away with 503 |")?;
        write!(f, "|---|---|---|---|---|---|")?;
        for manner in Manner::ALL {
            let (count, open) = (&self.counts[manner as usize], self.open[manner as usize]);
            let [dialled, closed, late, away] =
                [&count.dialled, &count.closed, &count.answered_408, &count.answered_503]
                    .map(|count| count.load(Ordering::Relaxed));
            write!(f, "\n| {} | {dialled} | {open} | {closed} | {late} | {away} |", manner.words())?;
        }
        Ok(())
    }
}
