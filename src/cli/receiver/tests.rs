use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::judge::{Judge, Told};
use super::super::listen::verify_with;
use super::*;
use crate::clock::SystemClock;
use crate::model::text::EventId;
use crate::signature::secret::Secret;
use crate::signature::{Options, Scheme, SchemeKind, Signed, sign};

/// A receiver that answers, and what it saw.
struct Bench {
    address: SocketAddr,
    hits: mpsc::Receiver<Hit>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

async fn bench(manner: Manner, verify: Option<Verify>) -> Bench {
    let receiver = Receiver::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = receiver.address();
    let (sender, hits) = mpsc::channel(64);
    let service = Service {
        manners: Arc::new(move |_| manner),
        verify,
        forward: None,
        clock: SystemClock::shared(),
        hits: sender,
    };
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(receiver.serve(service, stop.clone()));
    Bench { address, hits, stop, tasks }
}

impl Bench {
    /// Sends raw bytes and returns the status of the answer.
    async fn send(&self, request: &[u8]) -> u16 {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A receiver that has seen enough may close while we still write.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer);
        text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no answer: {text:?}"))
    }

    async fn post(&self, path: &str, headers: &str, body: &str) -> u16 {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        self.send((head + body).as_bytes()).await
    }
}

#[tokio::test]
async fn the_first_attempts_of_each_id_fail() {
    let mut bench = bench(Manner { fail_first: 2, ..Manner::default() }, None).await;
    let mut statuses = Vec::new();
    for id in ["a", "b", "a", "a", "b", "b", "a"] {
        statuses.push(bench.post("/hooks?x=1", &format!("webhook-id: {id}\r\n"), "{}").await);
    }
    assert_eq!(statuses, [500, 500, 500, 200, 500, 200, 200]);
    let mut attempts = Vec::new();
    for _ in 0..7 {
        attempts.push(bench.hits.recv().await.unwrap().attempt);
    }
    assert_eq!(attempts, [1, 1, 2, 3, 2, 3, 4]);
}

#[tokio::test]
async fn a_status_is_always_answered_or_only_to_the_failures() {
    let always = bench(Manner { status: Some(503), ..Manner::default() }, None).await;
    assert_eq!([always.post("/", "", "").await, always.post("/", "", "").await], [503, 503]);
    let once = bench(Manner { status: Some(410), fail_first: 1, ..Manner::default() }, None).await;
    assert_eq!([once.post("/", "", "").await, once.post("/", "", "").await], [410, 200]);
}

#[tokio::test]
async fn a_request_is_reported_as_it_came() {
    let mut bench = bench(Manner::default(), None).await;
    assert_eq!(bench.post("/a?b=c", "webhook-id: evt_1\r\nx-tenant: acme\r\n", "{\"p\":1.10}").await, 200);
    let hit = bench.hits.recv().await.unwrap();
    assert_eq!((hit.method.as_str(), hit.target.as_str()), ("POST", "/a?b=c"));
    assert_eq!((hit.header("webhook-id"), hit.header("x-tenant")), (Some("evt_1"), Some("acme")));
    assert_eq!(&hit.body[..], b"{\"p\":1.10}");
    assert_eq!((hit.signature, hit.answered), (None, StatusCode::OK));
}

#[tokio::test]
async fn signatures_are_verified_and_a_wrong_one_is_refused() {
    let secret = Secret::generate().unwrap();
    let scheme = Scheme::new(SchemeKind::Standard, &secret, &Options::default()).unwrap();
    let mut bench = bench(
        Manner::default(),
        Some(verify_with(Judge::new(SchemeKind::Standard, vec![scheme.clone()], Told::default()), None)),
    )
    .await;
    let now = SystemClock::shared().wall().secs();
    let signed = |body: &str, timestamp_secs: u64| {
        let id = EventId::parse("evt_1").unwrap();
        let signed = Signed { id: &id, timestamp_secs, body: body.as_bytes(), url: "" };
        let (name, value) = sign(std::slice::from_ref(&scheme), &signed).remove(0);
        format!("webhook-id: evt_1\r\nwebhook-timestamp: {timestamp_secs}\r\n{name}: {}\r\n", value.to_str().unwrap())
    };
    assert_eq!(bench.post("/", &signed("{}", now), "{}").await, 200);
    assert_eq!(bench.hits.recv().await.unwrap().signature, Some(Ok(())));
    for (headers, body, why) in [
        (signed("{}", now), "{ }", "another secret signed it, or the body was changed"),
        (signed("{}", now - 1000), "{}", "16 min back"),
        ("webhook-id: evt_1\r\n".to_owned(), "{}", "webhook-timestamp, webhook-signature"),
    ] {
        assert_eq!(bench.post("/", &headers, body).await, 401);
        let Some(Err(reason)) = bench.hits.recv().await.unwrap().signature else { panic!("{why}: accepted") };
        assert!(reason.contains(why), "{reason}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_not_read() {
    let mut bench = bench(Manner::default(), None).await;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        limits::LISTEN_BODY_BYTES_MAX + 1
    );
    let status = bench.send(&[head.as_bytes(), &vec![b'x'; limits::LISTEN_BODY_BYTES_MAX + 1]].concat()).await;
    assert_eq!(status, 413);
    let hit = bench.hits.recv().await.unwrap();
    assert!(hit.body.is_empty());
    assert_eq!(hit.answered, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn broken_http_does_not_end_it() {
    let bench = bench(Manner::default(), None).await;
    assert_eq!(bench.send(b"\x16\x03\x01 not http\r\n\r\n").await, 400);
    assert_eq!(bench.post("/", "", "{}").await, 200);
}

#[tokio::test]
async fn stopping_ends_connections_under_way() {
    let mut bench = bench(Manner { delay_ms: 600_000, ..Manner::default() }, None).await;
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    bench.hits.recv().await.unwrap();
    bench.stop.cancel();
    bench.tasks.join_all().await;
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0, "closed without an answer");
}

#[test]
fn a_tally_forgets_the_oldest_ids() {
    let mut tally = Tally::default();
    assert_eq!(tally.count("/", b"first"), 1);
    assert_eq!(tally.count("/", b"first"), 2);
    assert_eq!(tally.count("/other", b"first"), 1, "each path for itself");
    for n in 0..limits::LISTEN_IDS_MAX {
        tally.count("/", n.to_string().as_bytes());
    }
    assert_eq!(tally.count("/", b"first"), 1, "forgotten");
    assert!(tally.seen.len() <= limits::LISTEN_IDS_MAX);
    assert_eq!(tally.seen.len(), tally.order.len());
}
