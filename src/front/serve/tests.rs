//! Connections, byte by byte.

use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::*;
use crate::config::{Listen, Proxies};
use crate::front::body::{self, Holdings};
use crate::front::problem::Problem;
use crate::front::{Listener, Places, ProxyHeaders, answer};
use crate::limits;
use crate::observe::Metrics;

const BODY_BYTES_MAX: usize = 1000;

/// Reads the body and says how long it is, as a resource would.
async fn measure(request: Request<Incoming>, holdings: Arc<Holdings>) -> Answer {
    let (head, body) = request.into_parts();
    let read = body::read(&head.headers, body, BODY_BYTES_MAX, &holdings).await;
    match read {
        Ok(body) => answer::json(hyper::StatusCode::OK, &body.bytes().len()),
        Err(problem) => Problem::into_response(problem),
    }
}

struct Served {
    address: String,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Served {
    async fn on(listen: Listen) -> Self {
        let listener = Listener::bind("api", &listen).await.unwrap();
        let address = listener.address();
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let holdings = Holdings::new("api", limits::BODIES_BYTES_MAX);
        let answer = move |_, request| measure(request, Arc::clone(&holdings));
        let places = Places { all: 1000, per_address: 1000 };
        let connections = Connections::new("api", places, Metrics::shared());
        let proxies = ProxyHeaders::new("api", Proxies::default(), Metrics::shared());
        let (shutdown, tracker_of) = (stop.clone(), tracker.clone());
        let serving = Serving { shutdown, tracker: tracker_of, connections, tls: None, proxies };
        tracker.spawn(serve(listener, answer, serving));
        Self { address, stop, tracker }
    }

    async fn tcp() -> Self {
        Self::on(Listen::Tcp("127.0.0.1:0".parse().unwrap())).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address.strip_prefix("http://").unwrap()).await.unwrap()
    }

    /// Sends bytes and reads until the server closes.
    async fn exchange(&self, bytes: &[u8]) -> String {
        exchange(self.connect().await, bytes).await
    }

    async fn still_serves(&self) {
        let answer =
            self.exchange(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n3"), "{answer}");
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, bytes: &[u8]) -> String {
    // A server that has heard enough still takes the rest, so that clients which write first get to read its answer.
    stream.write_all(bytes).await.expect("the server takes what is sent");
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no status: {answer:?}"))
}

#[tokio::test]
async fn broken_http_gets_a_4xx_and_the_server_goes_on() {
    let served = Served::tcp().await;
    let long_line = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(200_000));
    let long_header = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(200_000));
    let many_headers = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(1000));
    let table: [(&[u8], &[u16]); 9] = [
        (b"nonsense\r\n\r\n", &[400]),
        (b"\x16\x03\x01\x02\x00\x01\x00", &[400]),
        (b"GET / HTTP/9.9\r\n\r\n", &[400]),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", &[400]),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n", &[400]),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", &[400]),
        (long_line.as_bytes(), &[414, 431]),
        (long_header.as_bytes(), &[431]),
        (many_headers.as_bytes(), &[431]),
    ];
    for (bytes, expected) in table {
        let answer = served.exchange(bytes).await;
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
        assert!(expected.contains(&status(&answer)), "{shown}: {answer}");
        served.still_serves().await;
    }
}

#[tokio::test]
async fn a_body_announced_as_too_large_is_refused_before_it_is_sent() {
    let served = Served::tcp().await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1001\r\n\r\n";
    let mut stream = served.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let len = stream.read(&mut answer).await.unwrap();
    assert_eq!(status(&String::from_utf8_lossy(&answer[..len])), 413, "and no 100 before it");

    let mut stream = served.connect().await;
    stream.write_all(head.replace("1001", "3").as_bytes()).await.unwrap();
    let len = stream.read(&mut answer).await.unwrap();
    assert_eq!(status(&String::from_utf8_lossy(&answer[..len])), 100);
    stream.write_all(b"abc").await.unwrap();
    let len = stream.read(&mut answer).await.unwrap();
    assert_eq!(status(&String::from_utf8_lossy(&answer[..len])), 200);
}

#[tokio::test]
async fn the_answer_to_a_body_too_large_arrives_though_the_client_goes_on_sending() {
    let served = Served::tcp().await;
    let announced = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8000000\r\n\r\n{}", "x".repeat(8_000_000));
    let chunk = format!("{:x}\r\n{}\r\n", 4000, "x".repeat(4000));
    let chunked =
        format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(2000));
    for request in [announced, chunked] {
        let stream = served.connect().await;
        let (mut reading, mut writing) = stream.into_split();
        let sender = async { writing.write_all(request.as_bytes()).await };
        let mut answer = Vec::new();
        let (sent, read) = tokio::join!(sender, reading.read_to_end(&mut answer));
        drop(writing);
        assert_eq!(status(&String::from_utf8_lossy(&answer)), 413, "{sent:?} {read:?}");
        assert!(sent.is_ok() && read.is_ok(), "no reset: {sent:?} {read:?}");
    }
    served.still_serves().await;
}

#[tokio::test]
async fn broken_chunks_are_400() {
    let served = Served::tcp().await;
    let answer = served.exchange(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n").await;
    assert_eq!(status(&answer), 400, "{answer}");
    served.still_serves().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_is_not_waited_for_without_end() {
    let served = Served::tcp().await;
    // Nothing at all, the first letters of either HTTP, half a head.
    for bytes in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nS", b"GET / HTTP/1.1\r\nhost:"] {
        assert_eq!(served.exchange(bytes).await, "", "{}", String::from_utf8_lossy(bytes));
    }
    let mut stream = served.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(status(&answer), 408, "{answer}");
}

#[tokio::test]
async fn keep_alive_and_pipelining_work() {
    let served = Served::tcp().await;
    let post = |body: &str| format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let last = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = served.exchange(format!("{}{}{last}", post("a"), post("bcd")).as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    assert_eq!(
        answer.split("\r\n\r\n").map(|part| part.chars().next()).collect::<Vec<_>>(),
        [Some('H'), Some('1'), Some('3'), Some('0')]
    );
}

#[tokio::test]
async fn http_2_is_spoken_to_those_who_begin_with_it() {
    let served = Served::tcp().await;
    let io = TokioIo::new(served.connect().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    served.tracker.spawn(connection);
    for len in [3, BODY_BYTES_MAX + 1] {
        let body = Full::new(Bytes::from(vec![b'x'; len]));
        let request = Request::post("http://a/").body(body).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let expected = if len > BODY_BYTES_MAX { 413 } else { 200 };
        assert_eq!(response.status(), expected);
        response.into_body().collect().await.unwrap();
    }
    drop(sender);
    served.stop.cancel();
    served.tracker.close();
    timeout(Duration::from_secs(10), served.tracker.wait()).await.expect("streams are tasks of the tracker too");
}

#[tokio::test]
async fn a_unix_socket_serves_and_is_gone_after_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let served = Served::on(Listen::Unix(path.clone())).await;
    let stream = UnixStream::connect(&path).await.unwrap();
    let answer = exchange(stream, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert_eq!(status(&answer), 200);
    served.stop.cancel();
    served.tracker.close();
    timeout(Duration::from_secs(10), served.tracker.wait()).await.unwrap();
    assert!(!Path::exists(&path));
}

#[tokio::test]
async fn a_stop_closes_who_waits_and_lets_finish_who_is_under_way() {
    let served = Served::tcp().await;
    let mut idle = served.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut buffer = vec![0; 4096];
    let len = idle.read(&mut buffer).await.unwrap();
    assert_eq!(status(&String::from_utf8_lossy(&buffer[..len])), 200);
    let silent = served.connect().await;
    let mut busy = served.connect().await;
    busy.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na").await.unwrap();
    // The server has the head once another request was answered: it reads its sockets in turn.
    served.still_serves().await;

    served.stop.cancel();
    served.tracker.close();
    // Long before any time limit would close it.
    let read = timeout(Duration::from_millis(limits::REQUEST_HEAD_MS_MAX / 2), idle.read(&mut buffer)).await;
    assert_eq!(read.expect("closed at once").unwrap(), 0);
    assert_eq!(exchange(silent, b"").await, "");
    busy.write_all(b"bc").await.unwrap();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert_eq!(status(&answer), 200, "{answer}");
    drop((idle, busy));
    timeout(Duration::from_secs(10), served.tracker.wait()).await.expect("everything has ended");
}
