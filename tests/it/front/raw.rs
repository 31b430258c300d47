//! A socket to the daemon, with time limits, and no HTTP of its own.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::kit::{Daemon, SOON, eventually};

/// See the module.
pub(super) struct Raw(pub(super) TcpStream);

impl Raw {
    #[track_caller]
    pub(super) fn to(daemon: &Daemon) -> Self {
        Self::at(daemon.listen())
    }

    /// To another listener.
    #[track_caller]
    pub(super) fn at(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Sends bytes; false where the daemon has hung up.
    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write_all(bytes.as_ref()).is_ok()
    }

    /// Everything that comes until the daemon hangs up.
    #[track_caller]
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return bytes,
                Ok(len) => bytes.extend_from_slice(&buffer[..len]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("the daemon neither answers nor hangs up; so far: {}", String::from_utf8_lossy(&bytes))
                }
                Err(_) => return bytes,
            }
        }
    }

    /// The same as text.
    #[track_caller]
    pub(super) fn rest_text(&mut self) -> String {
        String::from_utf8_lossy(&self.rest()).into_owned()
    }

    /// Posts `{}` to a path and reads the answer; the connection stays. The status; `None` where there was none.
    pub(super) fn post(&mut self, path: &str) -> Option<u16> {
        self.send(request(path)).then_some(())?;
        self.answer()
    }

    /// The status of the answer that comes next.
    pub(super) fn answer(&mut self) -> Option<u16> {
        let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            let text = String::from_utf8_lossy(&answer);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                if body.len() >= length.unwrap_or(0) {
                    return head.split(' ').nth(1)?.parse().ok();
                }
            }
            match self.0.read(&mut buffer) {
                Ok(len) if len > 0 => answer.extend_from_slice(&buffer[..len]),
                _ => return None,
            }
        }
    }

    /// Asks for `/healthz` and reads the answer; the connection stays. False where there was none.
    pub(super) fn ask(&mut self) -> bool {
        if !self.send("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n") {
            return false;
        }
        let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
        while !answer.windows(4).any(|window| window == b"\r\n\r\n") || !answer.ends_with(b"}") {
            match self.0.read(&mut buffer) {
                Ok(len) if len > 0 => answer.extend_from_slice(&buffer[..len]),
                _ => return false,
            }
        }
        answer.starts_with(b"HTTP/1.1 200 ")
    }

    /// Whether the daemon has hung up.
    pub(super) fn closed(&mut self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let closed = match self.0.read(&mut [0; 4096]) {
            Ok(len) => len == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        };
        self.0.set_nonblocking(false).unwrap();
        closed
    }
}

/// A request that posts `{}`.
pub(super) fn request(path: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
    )
}

/// The value of one line of `/metrics`.
#[track_caller]
pub(super) fn metric(daemon: &Daemon, line: &str) -> u64 {
    // There may be no place for the asking just now.
    let page = eventually("the metrics are told", || {
        let reply = daemon.client().try_send("GET", "/metrics", &[], "").ok();
        reply.filter(|reply| reply.status == 200).map(|reply| reply.text())
    });
    let value = page.lines().find_map(|found| found.strip_prefix(line));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {line} in:\n{page}"))
}
