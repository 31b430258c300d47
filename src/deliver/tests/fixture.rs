//! Events, endpoints and receivers to try the courier on.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::clock::{SharedClock, SystemClock, UnixMs};
use crate::config::{Endpoint, Format, Order};
use crate::deliver::{Attempted, Courier, HttpCourier, Job, OwnListeners};
use crate::model::event::{Content, Event};
use crate::model::text::{EndpointName, EventId, EventType};
use crate::policy::retry::RetryPolicy;
use crate::policy::routing::TypeFilter;

/// Longer than anything here takes, shorter than a test may hang.
pub(crate) const TIMEOUT_MS: u64 = 10_000;
/// What is kept of an answer's body.
pub(crate) const RESPONSE_BYTES_MAX: usize = 1024;

pub(crate) fn event(body: &[u8]) -> Event {
    Event {
        id: EventId::parse("evt_1").unwrap(),
        event_type: EventType::parse("invoice.paid").unwrap(),
        key: None,
        at: UnixMs(1_614_265_330_000),
        timestamp: None,
        deliver_at: None,
        content: Content { content_type: "application/json".into(), json: true, body: Bytes::copy_from_slice(body) },
        traceparent: None,
        cloud_attributes: None,
        headers: Vec::new(),
    }
}

/// An unsigned endpoint that may dial the loopback.
pub(crate) fn endpoint(url: &str) -> Endpoint {
    Endpoint {
        name: EndpointName::parse("billing").unwrap(),
        url: url.parse().unwrap(),
        events: TypeFilter::parse(&["*"]).unwrap(),
        signing: Vec::new(),
        format: Format::Raw,
        headers: Vec::new(),
        permanent: Vec::new(),
        tls: None,
        timeout_ms: TIMEOUT_MS,
        in_flight_max: 32,
        retry: RetryPolicy { waits_ms: vec![5000], jitter: 0.0, retry_after_ms_max: 1000 },
        allow_networks: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        response_bytes_max: RESPONSE_BYTES_MAX,
        order: Order::None,
        on_dead: Default::default(),
        rate_limit: None,
        breaker: None,
        disable_after_ms: None,
    }
}

/// One endpoint with its courier.
pub(crate) struct Sender {
    pub(crate) courier: HttpCourier,
    pub(crate) endpoint: Arc<Endpoint>,
}

impl Sender {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self::with_clock(endpoint, SystemClock::shared())
    }

    pub(crate) fn with_clock(endpoint: Endpoint, clock: SharedClock) -> Self {
        let endpoint = Arc::new(endpoint);
        let courier = HttpCourier::new(std::iter::once(&endpoint), clock, OwnListeners::default()).unwrap();
        Self { courier, endpoint }
    }

    /// The courier goes on with these endpoints, and the sender with the first of them, if there is any.
    pub(crate) fn renew(&mut self, endpoints: Vec<Endpoint>) {
        let endpoints: Vec<_> = endpoints.into_iter().map(Arc::new).collect();
        self.courier.adopt(self.courier.prepare(endpoints.iter()).unwrap());
        self.endpoint = endpoints.first().map_or_else(|| Arc::clone(&self.endpoint), Arc::clone);
    }

    pub(crate) async fn send(&self, event: Event, n: u16) -> Attempted {
        let job = Job { event: Arc::new(event), endpoint: Arc::clone(&self.endpoint), n };
        self.courier.attempt(job).await
    }

    /// Sends a small event as the first attempt.
    pub(crate) async fn attempt(&self) -> Attempted {
        self.send(event(b"{}"), 1).await
    }
}

/// One attempt at `url` that may take so long.
pub(crate) async fn attempt_within(url: &str, timeout_ms: u64) -> Attempted {
    Sender::new(Endpoint { timeout_ms, ..endpoint(url) }).attempt().await
}

/// A request as a [`Receiver`] saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Which connection it came on, from 0.
    pub(crate) connection: usize,
    pub(crate) version: Version,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A well-behaved HTTP server that answers as it is told and remembers everything.
pub(crate) struct Receiver {
    pub(crate) at: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

type Answer = Response<Full<Bytes>>;

impl Receiver {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_with(None, answer).await
    }

    pub(crate) async fn start_tls(
        acceptor: TlsAcceptor,
        answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(Some(acceptor), answer).await
    }

    async fn start_with(
        acceptor: Option<TlsAcceptor>,
        answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let answer = Arc::new(answer);
        let (at, tasks) = raw(move |connection, tcp| {
            let (acceptor, log, answer) = (acceptor.clone(), Arc::clone(&log), Arc::clone(&answer));
            async move {
                match acceptor {
                    None => serve(connection, tcp, log, answer).await,
                    Some(acceptor) => {
                        if let Ok(tls) = acceptor.accept(tcp).await {
                            serve(connection, tls, log, answer).await;
                        }
                    }
                }
            }
        })
        .await;
        Self { at, seen, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?x=1", self.at)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve<S>(
    connection: usize,
    stream: S,
    log: Arc<Mutex<Vec<Seen>>>,
    answer: Arc<impl Fn(&Seen) -> Answer + Send + Sync + 'static>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let (method, uri, version, headers) = (head.method, head.uri, head.version, head.headers);
            let seen = Seen { connection, version, method, uri, headers, body };
            let answered = answer(&seen);
            log.lock().unwrap().push(seen);
            Ok::<_, hyper::Error>(answered)
        }
    });
    // A client that hangs up is no failure of the receiver.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// A TCP server that does with each connection what it is told; connections are numbered from 0.
pub(crate) async fn raw<F, Fut>(serve: F) -> (SocketAddr, JoinSet<()>)
where
    F: Fn(usize, TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        for connection in 0.. {
            let (tcp, _) = listener.accept().await.unwrap();
            connections.spawn(serve(connection, tcp));
        }
    });
    (at, tasks)
}

/// Reads a whole request, head and `content-length` bytes of body, off a raw connection.
pub(crate) async fn read_request(tcp: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    loop {
        let whole = request.windows(4).position(|window| window == b"\r\n\r\n").is_some_and(|end| {
            let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            request.len() >= end + 4 + length.trim().parse::<usize>().unwrap()
        });
        if whole || tcp.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return request;
        }
    }
}

/// Lets the runtime look at its sockets, where a test needs the other side's act to have arrived.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}
