//! `http_front`: how the input is cut and ended, in its first byte, and then what a client sends.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::wellformed;
use crate::api::fuzzing::answer;
use crate::config::Proxies;
use crate::front::{Connections, Origin, Peer, Places, ProxyHeaders, Serving, drive};
use crate::limits;
use crate::observe::Metrics;

/// Longer than every time limit of the front in a row. The clock is a paused one, so none of it is waited for.
const ENDS_WITHIN: Duration = Duration::from_secs(600);

/// Made once: there are many of them, and nobody reads them here.
static METRICS: LazyLock<Arc<Metrics>> = LazyLock::new(Metrics::shared);

/// What comes in more pieces than this comes in larger ones.
const PIECES_MAX: usize = 200;

/// How a client sends: what comes at once, in bytes, and whether it ends its side after that.
struct Manner {
    piece_bytes: usize,
    ends: bool,
}

impl Manner {
    fn of(byte: u8) -> Self {
        let piece_bytes = match byte & 3 {
            0 => usize::MAX,
            1 => 1000,
            2 => 7,
            _ => 1,
        };
        Self { piece_bytes, ends: byte & 4 == 0 }
    }
}

/// Whatever a client sends, however it is cut, the connection ends by itself, and all that was written to it is whole answers.
pub fn http_front(data: &[u8]) {
    let Some((manner, sent)) = data.split_first() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without threads and sockets");
    let methods = Arc::new(Mutex::new(Vec::new()));
    let received = runtime.block_on(exchange(&Manner::of(*manner), sent, Arc::clone(&methods)));
    let methods = methods.lock().unwrap_or_else(PoisonError::into_inner);
    wellformed::check(&received, &methods);
}

async fn exchange(manner: &Manner, sent: &[u8], methods: Arc<Mutex<Vec<Method>>>) -> Vec<u8> {
    let (ours, theirs) = duplex(limits::REQUEST_HEAD_BYTES_MAX);
    let connections = Connections::new("api", Places { all: 1, per_address: 1 }, Arc::clone(&METRICS));
    let proxies = ProxyHeaders::new("api", Proxies::default(), Arc::clone(&METRICS));
    let (shutdown, tracker) = (CancellationToken::new(), TaskTracker::new());
    let serving = Serving { shutdown, tracker, connections, tls: None, proxies };
    let noted = move |peer, request: hyper::Request<_>| {
        methods.lock().unwrap_or_else(PoisonError::into_inner).push(request.method().clone());
        answer(peer, request)
    };
    let peer = Peer::new(Origin::Unix { uid: None });
    let driven = serving.clone();
    serving.tracker.spawn(async move { drive(ours, peer, noted, &driven).await });
    serving.tracker.close();

    let (mut from, mut to) = split(theirs);
    let mut received = Vec::new();
    let read = from.read_to_end(&mut received);
    let write = async {
        // A server may well close before it has read all.
        for piece in sent.chunks(manner.piece_bytes.max(sent.len() / PIECES_MAX)) {
            if to.write_all(piece).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
        if manner.ends {
            let _ = to.shutdown().await;
        }
    };
    let ended = timeout(ENDS_WITHIN, async { tokio::join!(read, write) }).await;
    let (read, ()) = ended.expect("the connection hangs");
    read.expect("memory does not fail");
    timeout(ENDS_WITHIN, serving.tracker.wait()).await.expect("a task outlives its connection");
    received
}
