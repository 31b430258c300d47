//! Endpoints that misbehave, each in its own way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::harness::Failure;

/// What the 429 asks for, in seconds.
const RETRY_AFTER_SECS: u32 = 2;
/// Time between two bytes of a drip.
const DRIP: Duration = Duration::from_secs(1);

/// A way to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misdeed {
    /// Takes the request and never answers.
    Hang,
    /// Nobody listens.
    Refuse,
    /// Takes the request and resets the connection.
    Reset,
    /// Answers 500.
    Error,
    /// Answers 429 and `Retry-After`.
    Limit,
    /// Answers 200, a byte of the head a second.
    DripHead,
    /// Answers 200 with a long body, a byte of it a second.
    DripBody,
}

impl Misdeed {
    /// All of them.
    pub(crate) const ALL: [Self; 7] =
        [Self::Hang, Self::Refuse, Self::Reset, Self::Error, Self::Limit, Self::DripHead, Self::DripBody];

    /// How it is called, also in the names of endpoints.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Hang => "hang",
            Self::Refuse => "refuse",
            Self::Reset => "reset",
            Self::Error => "answer-500",
            Self::Limit => "answer-429",
            Self::DripHead => "drip-head",
            Self::DripBody => "drip-body",
        }
    }
}

/// Neighbours, each of the misdeeds in turn. They misbehave until this is dropped.
pub(crate) struct Neighbours {
    /// The name and address of each.
    pub(crate) endpoints: Vec<(String, String)>,
    requests: Arc<[AtomicUsize; Misdeed::ALL.len()]>,
    /// Bound and not listening: so nobody else gets these ports, and who connects is refused.
    _refusing: Vec<TcpSocket>,
    _serving: JoinSet<()>,
}

impl Neighbours {
    /// So many of them.
    pub(crate) async fn start(count: usize) -> Result<Self, Failure> {
        let requests = Arc::new(std::array::from_fn(|_| AtomicUsize::new(0)));
        let (mut endpoints, mut refusing, mut serving) = (Vec::new(), Vec::new(), JoinSet::new());
        for (number, misdeed) in Misdeed::ALL.into_iter().cycle().take(count).enumerate() {
            let address = if misdeed == Misdeed::Refuse {
                let socket = TcpSocket::new_v4()?;
                socket.bind(([127, 0, 0, 1], 0).into())?;
                let address = socket.local_addr()?;
                refusing.push(socket);
                address
            } else {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                let address = listener.local_addr()?;
                serving.spawn(serve(listener, misdeed, Arc::clone(&requests)));
                address
            };
            endpoints.push((format!("{}-{number}", misdeed.word()), address.to_string()));
        }
        Ok(Self { endpoints, requests, _refusing: refusing, _serving: serving })
    }

    /// How many do this.
    pub(crate) fn count(&self, misdeed: Misdeed) -> usize {
        let place = Misdeed::ALL.iter().position(|one| *one == misdeed).unwrap_or(0);
        (self.endpoints.len() + Misdeed::ALL.len() - 1 - place) / Misdeed::ALL.len()
    }

    /// Requests that those got who do this. Nobody sees those that are refused.
    pub(crate) fn requests(&self, misdeed: Misdeed) -> usize {
        self.requests[misdeed as usize].load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, misdeed: Misdeed, requests: Arc<[AtomicUsize; Misdeed::ALL.len()]>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let requests = Arc::clone(&requests);
        connections.spawn(async move {
            // How it ends is the daemon's matter.
            let _ = misbehave(stream, misdeed, &requests[misdeed as usize]).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn misbehave(mut stream: TcpStream, misdeed: Misdeed, requests: &AtomicUsize) -> std::io::Result<()> {
    let mut read = Vec::new();
    while request(&mut stream, &mut read).await? {
        requests.fetch_add(1, Ordering::Relaxed);
        match misdeed {
            Misdeed::Hang | Misdeed::Refuse => return gone(&mut stream).await,
            Misdeed::Reset => return stream.set_zero_linger(),
            Misdeed::Error => {
                stream.write_all(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n").await?;
            }
            Misdeed::Limit => {
                let answer = format!(
                    "HTTP/1.1 429 Too Many Requests\r\nretry-after: {RETRY_AFTER_SECS}\r\ncontent-length: 0\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).await?;
            }
            Misdeed::DripHead => return drip(&mut stream, b"HTTP/1.1 200 OK\r\nx-slow: ").await,
            Misdeed::DripBody => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await?;
                return drip(&mut stream, b"").await;
            }
        }
    }
    Ok(())
}

/// Reads one request; false where the daemon hung up instead.
async fn request(stream: &mut TcpStream, read: &mut Vec<u8>) -> std::io::Result<bool> {
    read.clear();
    let mut length = None;
    loop {
        if length.is_some_and(|length| read.len() >= length) {
            return Ok(true);
        }
        if stream.read_buf(read).await? == 0 {
            return Ok(false);
        }
        if length.is_none()
            && let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n")
        {
            length = Some(end + 4 + content_length(&read[..end]));
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head);
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let field = fields.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    field.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}

/// Waits until the daemon hangs up.
async fn gone(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut nothing = [0; 64];
    while stream.read(&mut nothing).await? > 0 {}
    Ok(())
}

/// Sends one byte after another until the daemon hangs up: first these, then more of no meaning.
async fn drip(stream: &mut TcpStream, first: &[u8]) -> std::io::Result<()> {
    for byte in first.iter().copied().chain(std::iter::repeat(b'x')) {
        stream.write_all(&[byte]).await?;
        if tokio::time::timeout(DRIP, gone(stream)).await.is_ok() {
            break;
        }
    }
    Ok(())
}
