//! A real receiver: an HTTP server that keeps every request and answers as it is told.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{SOON, block_on, runtime};

/// A request that came in whole.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Its number over all requests of the receiver, from 1, in the order of arrival.
    pub(crate) n: usize,
    pub(crate) method: String,
    pub(crate) path: String,
    /// The path with the query, if there is one.
    pub(crate) path_and_query: String,
    pub(crate) at: Instant,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    /// A header that must be there.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let Some(value) = self.headers.get(name) else {
            panic!("no {name} among {:?}", self.headers.keys().collect::<Vec<_>>())
        };
        value.to_str().expect("a header in ASCII")
    }

    pub(crate) fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// The value of `webhook-attempt`.
    pub(crate) fn attempt(&self) -> u32 {
        self.header("webhook-attempt").parse().expect("a number")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }
}

/// What a request gets.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    delay: Duration,
    act: Act,
}

/// How it gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// As HTTP has it.
    Well,
    /// Never, until the receiver goes away.
    Hang,
    /// The head, and then a body that does not end.
    Endless,
    /// The connection ends without an answer.
    Drop,
}

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), delay: Duration::ZERO, act: Act::Well }
    }

    pub(crate) fn act(act: Act) -> Self {
        Self { act, ..Self::status(200) }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

type Rule = Box<dyn FnMut(&Received) -> Answer + Send>;

struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
}

struct State {
    requests: Vec<Received>,
    keep: bool,
    rule: Rule,
    in_flight: HashMap<String, usize>,
    peaks: HashMap<String, usize>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running receiver; it stops when dropped.
pub(crate) struct Receiver {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Receiver {
    /// A receiver that takes everything with 200.
    pub(crate) fn start() -> Self {
        Self::answering(|_| Answer::status(200))
    }

    /// A receiver that answers by a rule.
    pub(crate) fn answering(rule: impl FnMut(&Received) -> Answer + Send + 'static) -> Self {
        Self::with_rule(Box::new(rule), true)
    }

    /// The same, but no request is kept: for more of them than fit in memory.
    pub(crate) fn forgetful(rule: impl FnMut(&Received) -> Answer + Send + 'static) -> Self {
        Self::with_rule(Box::new(rule), false)
    }

    fn with_rule(rule: Rule, keep: bool) -> Self {
        let state = State { requests: Vec::new(), keep, rule, in_flight: HashMap::new(), peaks: HashMap::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), arrived: Condvar::new() });
        let listener = block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let task = runtime().spawn(serve(listener, Arc::clone(&shared)));
        Self { shared, address, task }
    }

    /// Answers by another rule from now on.
    pub(crate) fn answer(&self, rule: impl FnMut(&Received) -> Answer + Send + 'static) {
        self.shared.lock().rule = Box::new(rule);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Everything that came so far.
    pub(crate) fn requests(&self) -> Vec<Received> {
        self.shared.lock().requests.clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.lock().requests.len()
    }

    /// The most requests that were under way at once on a path.
    pub(crate) fn peak(&self, path: &str) -> usize {
        self.shared.lock().peaks.get(path).copied().unwrap_or(0)
    }

    /// Waits until `n` requests came, and returns all.
    #[track_caller]
    pub(crate) fn wait(&self, n: usize) -> Vec<Received> {
        self.wait_for(&format!("{n} requests"), |requests| requests.len() >= n)
    }

    /// Waits until the requests are as wanted, and returns all.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, enough: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let deadline = Instant::now() + SOON;
        let mut state = self.shared.lock();
        while !enough(&state.requests) {
            let left = deadline.saturating_duration_since(Instant::now());
            let seen: Vec<_> = state.requests.iter().map(|request| request.path.clone()).take(20).collect();
            assert!(!left.is_zero(), "waited in vain for {what}; {} came: {seen:?}", state.requests.len());
            state = self.shared.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.requests.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropping the set with this task ends every connection, the hanging ones too.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| handle(Arc::clone(&shared), request));
        connections.spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        while connections.try_join_next().is_some() {}
    }
}

/// Counts a request as under way for as long as it lives.
struct InFlight {
    shared: Arc<Shared>,
    path: String,
}

impl InFlight {
    fn enter(shared: &Arc<Shared>, path: &str) -> Self {
        let mut state = shared.lock();
        let now = state.in_flight.entry(path.to_owned()).or_default();
        *now += 1;
        let now = *now;
        let peak = state.peaks.entry(path.to_owned()).or_default();
        *peak = now.max(*peak);
        Self { shared: Arc::clone(shared), path: path.to_owned() }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(now) = self.shared.lock().in_flight.get_mut(&self.path) {
            *now -= 1;
        }
    }
}

/// The connection is to end without an answer.
#[derive(Debug)]
struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the receiver drops this request")
    }
}

impl std::error::Error for Dropped {}

async fn handle(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Dropped> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let in_flight = InFlight::enter(&shared, &path);
    let body = body.collect().await.map_err(|_| Dropped)?.to_bytes();
    let answer = {
        let mut state = shared.lock();
        let received = Received {
            n: state.requests.len() + 1,
            method: parts.method.to_string(),
            path,
            path_and_query: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
            at: Instant::now(),
            headers: parts.headers,
            body,
        };
        let answer = (state.rule)(&received);
        if state.keep {
            state.requests.push(received);
        }
        answer
    };
    shared.arrived.notify_all();
    tokio::time::sleep(answer.delay).await;
    match answer.act {
        Act::Drop => return Err(Dropped),
        Act::Hang => std::future::pending::<()>().await,
        Act::Well | Act::Endless => {}
    }
    drop(in_flight);
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    let body = if answer.act == Act::Endless { endless() } else { Full::new(answer.body).boxed() };
    Ok(response.body(body).expect("a well-formed answer"))
}

/// A body of 1 KiB every few milliseconds, for ever.
fn endless() -> BoxBody<Bytes, Infallible> {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let task = runtime().spawn(async move {
        while sender.send(Bytes::from_static(&[b'x'; 1024])).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    drop(task);
    Chunks(receiver).boxed()
}

/// The chunks of an endless body.
struct Chunks(tokio::sync::mpsc::Receiver<Bytes>);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}
