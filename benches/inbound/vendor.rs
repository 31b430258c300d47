//! A third party: signed requests on connections that are kept alive, as cheap for this machine as they can be.

use std::fmt::Write as _;
use std::io::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::Failure;
use crate::harness::fixed_rate::Poster;

const SECRET: &str = "a-secret-between-github-and-us";

/// The lines of the source that takes its requests.
pub(crate) const SOURCE: &str = "verify = { scheme = \"github\", secret = \"a-secret-between-github-and-us\" }";

/// One connection. Request `n` has the delivery id `b-<n>`.
pub(crate) struct Vendor {
    stream: TcpStream,
    address: String,
    filler: String,
    key: Hmac<Sha256>,
    body: String,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Vendor {
    /// Connects; its bodies have about `bytes` bytes.
    pub(crate) async fn to(address: &str, bytes: usize) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let key = Hmac::new_from_slice(SECRET.as_bytes()).map_err(|_| "no key")?;
        let filler = "x".repeat(bytes.saturating_sub(60));
        let address = address.to_owned();
        Ok(Self { stream, address, filler, key, body: String::new(), request: Vec::new(), answer: Vec::new() })
    }

    fn write_request(&mut self, n: usize) -> Result<(), Failure> {
        self.body.clear();
        write!(self.body, "{{\"action\":\"opened\",\"number\":{n:08},\"text\":\"{}\"}}", self.filler)?;
        let mut mac = self.key.clone();
        mac.update(self.body.as_bytes());
        let signature = hex::encode(mac.finalize().into_bytes());
        self.request.clear();
        write!(
            self.request,
            "POST /in/github HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nx-github-event: issues\r\n\
             x-github-delivery: b-{n:08}\r\nx-hub-signature-256: sha256={signature}\r\ncontent-length: {}\r\n\r\n{}",
            self.body.len(),
            self.body
        )?;
        Ok(())
    }

    async fn exchange(&mut self) -> Result<u16, Failure> {
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        loop {
            if let Some(end) = self.answer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = str::from_utf8(&self.answer[..end])?;
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
                if self.answer.len() >= end + 4 + length.parse::<usize>()? {
                    return Ok(head.split(' ').nth(1).ok_or("no status")?.parse()?);
                }
            }
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err(format!("{} has closed the connection", self.address).into());
            }
        }
    }
}

impl Poster for Vendor {
    async fn post(&mut self, n: usize) -> Result<u16, Failure> {
        self.write_request(n)?;
        self.exchange().await
    }
}
