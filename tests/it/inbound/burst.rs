//! Many requests of a third party at once, over connections that are kept alive. The requests are made beforehand and answers
//! are read no further than they must be, so that the daemon has the processors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::kit::{Received, block_on, runtime};

pub(super) const SECRET: &str = "It's a Secret to Everybody";

/// A source of GitHub's, and further lines for it.
pub(super) fn source(lines: &str) -> String {
    format!(
        "verify = {{ scheme = \"github\", secret = \"{SECRET}\" }}\nevent_type = {{ header = \"x-github-event\" }}\n\
         dedup = {{ header = \"x-github-delivery\" }}\n{lines}"
    )
}

/// A signed request.
#[derive(Clone, Debug)]
pub(super) struct Shot {
    /// What stands in `x-github-delivery`.
    pub(super) id: String,
    signature: String,
    body: String,
    bytes: Vec<u8>,
}

/// A source that verifies nothing: an unoptimised daemon takes its time for the signature of a large body.
pub(super) const UNVERIFIED: &str = "\
verify = { scheme = \"none\" }
event_type = { header = \"x-github-event\" }
dedup = { header = \"x-github-delivery\" }";

impl Shot {
    /// The request with this id: all of it is made of the id.
    pub(super) fn new(id: String) -> Self {
        let filler = ".".repeat(id.bytes().map(usize::from).sum::<usize>() % 200);
        let body = format!("{{\"delivery\": \"{id}\", \"n\": 1.10, \"filler\":\"{filler}\"}}");
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        Self::with(id, body, signature)
    }

    /// A large one for [`UNVERIFIED`], not signed.
    pub(super) fn large(id: String, bytes: usize) -> Self {
        let body = format!("{{\"delivery\": \"{id}\", \"filler\":\"{}\"}}", ".".repeat(bytes));
        Self::with(id, body, "none".to_owned())
    }

    fn with(id: String, body: String, signature: String) -> Self {
        let bytes = format!(
            "POST /in/github HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nx-github-event: push\r\n\
             x-github-delivery: {id}\r\nx-hub-signature-256: {signature}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        Self { id, signature, body, bytes: bytes.into_bytes() }
    }

    /// What is wrong with this request as it came to the app.
    pub(super) fn differs(&self, request: &Received) -> Option<String> {
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let same = request.body == self.body
            && header("x-hub-signature-256") == self.signature
            && header("x-github-event") == "push"
            && header("content-type") == "application/json";
        (!same).then(|| format!("{}: {:?} {:?}", self.id, request.headers, request.text()))
    }
}

/// What became of requests, by their place in the burst: the status, or nothing where the connection broke.
pub(super) type Fates = BTreeMap<usize, Option<u16>>;

/// Sends these requests over so many connections, each its next one once the last one is answered, until `stop`. A connection
/// that breaks is not made again.
pub(super) fn send(address: &str, shots: &Arc<[Shot]>, connections: usize, stop: &Arc<AtomicBool>) -> Fates {
    let _runtime = runtime().enter();
    let mut clients = JoinSet::new();
    let next = Arc::new(AtomicUsize::new(0));
    for _ in 0..connections {
        let (address, shots, stop, next) = (address.to_owned(), Arc::clone(shots), Arc::clone(stop), Arc::clone(&next));
        clients.spawn(async move {
            let mut fates = Fates::new();
            let Ok(mut stream) = TcpStream::connect(&address).await else { return fates };
            stream.set_nodelay(true).unwrap();
            let mut answer = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let Some(shot) = shots.get(n) else { break };
                let status = exchange(&mut stream, &shot.bytes, &mut answer).await;
                fates.insert(n, status);
                if status.is_none() {
                    break;
                }
            }
            fates
        });
    }
    block_on(clients.join_all()).into_iter().flatten().collect()
}

/// Sends a request and reads its answer to the end; the status.
async fn exchange(stream: &mut TcpStream, request: &[u8], answer: &mut Vec<u8>) -> Option<u16> {
    stream.write_all(request).await.ok()?;
    answer.clear();
    loop {
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = str::from_utf8(&answer[..end]).ok()?;
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
            if answer.len() >= end + 4 + length.parse::<usize>().ok()? {
                return head.split(' ').nth(1)?.parse().ok();
            }
        }
        if stream.read_buf(answer).await.ok()? == 0 {
            return None;
        }
    }
}
