//! The phases of a connection, each to its limit, on a paused clock and a socket in memory.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::sleep;

use super::*;
use crate::front::{Connections, Origin, Places, answer};
use crate::observe::Metrics;

const SECOND: Duration = Duration::from_secs(1);
const HEAD: Duration = Duration::from_millis(limits::REQUEST_HEAD_MS_MAX);
const IDLE: Duration = Duration::from_millis(limits::IDLE_MS_MAX);
const STALL: Duration = Duration::from_millis(limits::ANSWER_STALL_MS_MAX);
const GET: &[u8] = b"GET /7 HTTP/1.1\r\nhost: a\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client, and what is seen of its connection from this side.
struct Client {
    socket: DuplexStream,
    begun: Instant,
    metrics: Arc<Metrics>,
    tracker: TaskTracker,
}

/// Answers with as many bytes as the path says.
async fn answer_bytes(request: Request<Incoming>) -> Answer {
    let len = request.uri().path().trim_start_matches('/').parse().unwrap_or(0);
    let _ = request.into_body().collect().await;
    answer::with_body(StatusCode::OK, "text/plain", Bytes::from(vec![b'x'; len]))
}

impl Client {
    fn connect() -> Self {
        let metrics = Metrics::shared();
        let connections = Connections::new("api", Places { all: 1, per_address: 1 }, Arc::clone(&metrics));
        let origin = Origin::Unix { uid: None };
        let tracker = TaskTracker::new();
        let connection = Connection {
            builder: Arc::new(builder(&tracker)),
            shutdown: CancellationToken::new(),
            seat: connections.take(origin).unwrap(),
        };
        let (socket, ours) = duplex(256 * limits::KIB);
        tracker.spawn(connection.drive(ours, Peer::new(origin), |_, request| answer_bytes(request)));
        Self { socket, begun: Instant::now(), metrics, tracker }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// Sends a request and reads its answer.
    async fn ask(&mut self) {
        self.send(GET).await;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nxxxxxxx") {
            assert_ne!(self.socket.read_buf(&mut answer).await.unwrap(), 0, "closed");
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
        self.begun = Instant::now();
    }

    /// Reads to the end; returns what came, and how long it took since the connection, or the last answer, began.
    async fn end(&mut self) -> (Vec<u8>, Duration) {
        let mut bytes = Vec::new();
        let _ = self.socket.read_to_end(&mut bytes).await;
        (bytes, self.begun.elapsed())
    }

    /// How often connections were closed for this reason.
    fn cut(&self, why: Over) -> u64 {
        self.metrics.connections_cut.with_label_values(&["api", why.word()]).get()
    }

    /// Everything of the connection has ended, and its place is free.
    async fn gone(&self) {
        self.tracker.close();
        self.tracker.wait().await;
        assert_eq!(self.metrics.connections.with_label_values(&["api"]).get(), 0);
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The head of `GET /<bytes>` in HPACK (RFC 7541) without tables of its own.
fn head(bytes: &str) -> Vec<u8> {
    let path = format!("/{bytes}");
    let mut head = vec![0x82, 0x86, 0x41, 1, b'a', 0x04, u8::try_from(path.len()).unwrap()];
    head.extend_from_slice(path.as_bytes());
    head
}

const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const HEADERS: u8 = 1;

/// The frames in what a server sent: kind, flags, payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while bytes.len() >= 9 {
        let len = usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]);
        let whole = &bytes[..(9 + len).min(bytes.len())];
        frames.push((whole[3], whole[4], whole[9..].to_vec()));
        bytes = &bytes[whole.len()..];
    }
    frames
}

fn has(bytes: &[u8], kind: u8) -> bool {
    frames(bytes).iter().any(|(found, _, _)| *found == kind)
}

#[tokio::test(start_paused = true)]
async fn a_head_a_byte_a_second_is_closed_after_its_time() {
    for served_before in [false, true] {
        let mut client = Client::connect();
        if served_before {
            client.ask().await;
            sleep(20 * SECOND).await;
            client.begun = Instant::now();
        }
        let bytes = b"GET / HTTP/1.1\r\nhost: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        let (mut reading, mut writing) = tokio::io::split(client.socket);
        let dripping = async {
            for byte in bytes {
                if writing.write_all(&[*byte]).await.is_err() {
                    return;
                }
                sleep(SECOND).await;
            }
        };
        let mut answer = Vec::new();
        let begun = client.begun;
        let closed = async {
            let _ = reading.read_to_end(&mut answer).await;
            begun.elapsed()
        };
        let ((), took) = tokio::join!(dripping, closed);
        assert_eq!(took, HEAD, "served before: {served_before}");
        assert!(answer.is_empty());
        assert_eq!(client.metrics.connections_cut.with_label_values(&["api", "head_too_slow"]).get(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_head_after_a_request_in_one_piece_with_it_is_closed_too() {
    let mut client = Client::connect();
    client.send(&[GET, b"GET / HTTP/1.1\r\nho"].concat()).await;
    let (answer, took) = client.end().await;
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
    assert!(took <= IDLE, "{took:?}");
    client.gone().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_lives_for_its_time_and_each_request_begins_it_anew() {
    let mut client = Client::connect();
    for _ in 0..3 {
        client.ask().await;
        sleep(IDLE - SECOND).await;
    }
    client.ask().await;
    let (rest, took) = client.end().await;
    assert_eq!((rest.len(), took), (0, IDLE));
    assert_eq!((client.cut(Over::Idle), client.cut(Over::Head)), (1, 0));
    drop(client.socket);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_answer_is_left_over_either_http() {
    // Over HTTP/1.1 the socket is full.
    let mut client = Client::connect();
    client.send(b"GET /9000000 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    sleep(STALL + SECOND).await;
    client.gone().await;
    // Over HTTP/2 the window is shut: 0 bytes of initial window (SETTINGS 4), though pings are answered.
    let mut client = Client::connect();
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    client.send(&[PREFACE, &settings, &frame(HEADERS, 5, 1, &head("100"))].concat()).await;
    let (reading, mut writing) = tokio::io::split(client.socket);
    let tracker = client.tracker;
    let pinging = async {
        loop {
            sleep(SECOND).await;
            if writing.write_all(&frame(PING, 0, 0, &[1; 8])).await.is_err() {
                return client.begun.elapsed();
            }
        }
    };
    let draining = async {
        let (mut reading, mut bytes) = (reading, Vec::new());
        let _ = reading.read_to_end(&mut bytes).await;
        bytes
    };
    let (took, bytes) = tokio::join!(pinging, draining);
    assert!(took >= STALL && took <= STALL + 2 * SECOND, "{took:?}");
    assert!(has(&bytes, PING) && has(&bytes, HEADERS));
    assert_eq!(client.metrics.connections_cut.with_label_values(&["api", "answer_unread"]).get(), 1);
    tracker.close();
    tracker.wait().await;
}

#[tokio::test(start_paused = true)]
async fn pings_do_not_keep_an_http_2_connection_that_asks_nothing() {
    for asks_first in [false, true] {
        let mut client = Client::connect();
        client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
        if asks_first {
            client.send(&frame(HEADERS, 5, 1, &head("7"))).await;
        }
        let (mut bytes, mut answered, mut goaway) = (Vec::new(), 0, None);
        loop {
            let ping = tokio::select! {
                read = client.socket.read_buf(&mut bytes) => match read {
                    Ok(len) if len > 0 => None,
                    _ => break,
                },
                () = sleep(SECOND) => Some(frame(PING, 0, 0, &[1; 8])),
            };
            let mut out = ping.unwrap_or_default();
            // It answers pings as well, else it would be taken for dead.
            let asked: Vec<_> =
                frames(&bytes).into_iter().filter(|(kind, flags, _)| (*kind, *flags) == (PING, 0)).collect();
            for (_, _, payload) in &asked[answered..] {
                out.extend(frame(PING, 1, 0, payload));
            }
            answered = asked.len();
            if goaway.is_none() && has(&bytes, GOAWAY) {
                goaway = Some(client.begun.elapsed());
            }
            if client.socket.write_all(&out).await.is_err() {
                break;
            }
        }
        let end = client.begun.elapsed();
        if asks_first {
            let goaway = goaway.expect("GOAWAY before the end");
            assert!(goaway >= IDLE && goaway < IDLE + SECOND, "{goaway:?}");
            assert!(end <= IDLE + Duration::from_millis(limits::CLOSING_MS_MAX) + SECOND, "{end:?}");
        } else {
            assert!(end >= HEAD && end < HEAD + SECOND, "{end:?}");
        }
        let Client { socket, metrics, tracker, .. } = client;
        drop(socket);
        tracker.close();
        tracker.wait().await;
        assert_eq!(metrics.connections.with_label_values(&["api"]).get(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_http_2_head_that_never_ends_is_closed_while_other_requests_are_under_way() {
    let mut client = Client::connect();
    // A body that does not come, then half a head, then pieces of it.
    let body_awaited = frame(HEADERS, 4, 1, &head("7"));
    client
        .send(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &body_awaited, &frame(HEADERS, 1, 3, &head("7"))].concat())
        .await;
    let (mut reading, mut writing) = tokio::io::split(client.socket);
    let dripping = async {
        // CONTINUATION with one indexed header each.
        while writing.write_all(&frame(9, 0, 3, &[0x82])).await.is_ok() {
            sleep(3 * SECOND).await;
        }
    };
    let begun = client.begun;
    let closed = async {
        let mut bytes = Vec::new();
        let _ = reading.read_to_end(&mut bytes).await;
        begun.elapsed()
    };
    let ((), took) = tokio::join!(dripping, closed);
    assert!(took <= HEAD, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_large_answer_over_http_2_comes_whole() {
    let client = Client::connect();
    let io = TokioIo::new(client.socket);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(OnTracker(client.tracker.clone()), io).await.unwrap();
    client.tracker.spawn(connection);
    let request = Request::get("http://a/5000000").body(Full::<Bytes>::default()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), 5_000_000);
}
