//! One endpoint's client: sends a request and takes the answer in, within the attempt's time.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::uri::InvalidUri;
use hyper::{Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioTimer;
use tokio_util::task::TaskTracker;

use super::connect::{ConnectError, Connector};
use super::request::Template;
use super::stream::TlsFault;
use crate::clock::{MonoMs, SharedClock, Sleep, UnixMs};
use crate::config::Endpoint;
use crate::limits;
use crate::model::attempt::AttemptError;
use crate::model::event::Event;

const WEBHOOK_DELIVERY: &str = "webhook-delivery";

/// Everything that attempts at one endpoint share.
#[derive(Debug)]
pub(super) struct Lane {
    template: Template,
    client: Client<Connector, Full<Bytes>>,
}

/// What came of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The head of an answer came in time.
    Answered(Answer),
    /// None did.
    Failed { error: AttemptError, detail: String },
}

/// An answer, its body bounded.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<HeaderValue>,
    pub(super) webhook_delivery: Option<HeaderValue>,
    pub(super) body: Vec<u8>,
    /// Why the body was not read to its end.
    pub(super) body_note: Option<String>,
}

impl Outcome {
    pub(super) fn failed(error: AttemptError, detail: String) -> Self {
        Self::Failed { error, detail }
    }
}

impl Lane {
    /// Nothing is connected yet. `tasks` runs the connections.
    pub(super) fn new(endpoint: Arc<Endpoint>, connector: Connector, tasks: TaskTracker) -> Result<Self, InvalidUri> {
        let client = client(&endpoint, connector, tasks);
        Ok(Self { template: Template::new(endpoint)?, client })
    }

    /// A lane for another config of the endpoint, on the same connections.
    pub(super) fn renewed(&self, endpoint: Arc<Endpoint>) -> Result<Self, InvalidUri> {
        Ok(Self { template: Template::new(endpoint)?, client: self.client.clone() })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        self.template.endpoint()
    }

    /// Sends the event, and comes back when the endpoint's time, counted from `begun`, is over at the latest.
    pub(super) async fn send(&self, event: &Event, n: u16, at: UnixMs, begun: MonoMs, clock: &SharedClock) -> Outcome {
        let endpoint = self.template.endpoint();
        let mut out_of_time = clock.sleep_until(begun.plus_ms(endpoint.timeout_ms));
        let request = self.template.request(event, n, at);
        // Dropping the request's future gives the connection up (HTTP/1.1) or resets the stream (HTTP/2).
        let answer = tokio::select! {
            biased;
            answer = self.client.request(request) => answer,
            () = &mut out_of_time => {
                let detail = format!("no answer within {} ms", endpoint.timeout_ms);
                return Outcome::failed(AttemptError::Timeout, detail);
            }
        };
        match answer {
            Ok(answer) => Outcome::Answered(take_in(answer, endpoint.response_bytes_max, &mut out_of_time).await),
            Err(error) => Outcome::failed(word(&error), told(&error)),
        }
    }
}

/// A client whose every buffer and wait has a bound.
fn client(endpoint: &Endpoint, connector: Connector, tasks: TaskTracker) -> Client<Connector, Full<Bytes>> {
    let head_bytes_max = u32::try_from(limits::RESPONSE_HEAD_BYTES_MAX).unwrap_or(u32::MAX);
    let mut builder = Client::builder(Connections(tasks));
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_millis(limits::POOL_IDLE_MS_MAX))
        .pool_max_idle_per_host(usize::try_from(endpoint.in_flight_max).unwrap_or(usize::MAX))
        // Only what was never written is sent again: hyper hands such a request back whole.
        .retry_canceled_requests(true)
        .http1_max_buf_size(limits::RESPONSE_HEAD_BYTES_MAX)
        .http1_max_headers(limits::RESPONSE_HEADERS_MAX)
        .http2_max_header_list_size(head_bytes_max)
        // Answers are short, and what is not read is not buffered either.
        .http2_initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        // All requests share one connection: if it dies without a word, a ping finds out before the next ones do.
        .http2_keep_alive_interval(Duration::from_millis(HTTP2_PING_MS))
        .http2_keep_alive_timeout(Duration::from_millis(HTTP2_PING_MS));
    builder.build(connector)
}

/// Bytes of one answer that may be on their way unread.
const HTTP2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// The same for all answers on one connection.
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// While requests are under way: so often an HTTP/2 connection is pinged, and so long the reply may take.
const HTTP2_PING_MS: u64 = 5_000;

/// Runs hyper's connections as tasks that are counted.
#[derive(Clone, Debug)]
struct Connections(TaskTracker);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Connections {
    fn execute(&self, connection: F) {
        self.0.spawn(connection);
    }
}

/// Reads an answer's body to `bytes_max` and not past the attempt's time. Whatever becomes of the body, the answer
/// counts by its status; a body that is not read to its end takes its connection or stream with it when it is dropped.
async fn take_in(answer: Response<Incoming>, bytes_max: usize, out_of_time: &mut Sleep) -> Answer {
    let (mut head, mut incoming) = answer.into_parts();
    let mut body = Vec::new();
    let body_note = loop {
        let frame = tokio::select! {
            biased;
            frame = incoming.frame() => frame,
            () = &mut *out_of_time => break Some("the body did not end in time".to_owned()),
        };
        match frame {
            None => break None,
            Some(Err(error)) => break Some(told(&error)),
            Some(Ok(frame)) => {
                // Trailers are of no use here.
                let Ok(data) = frame.into_data() else { continue };
                let room = bytes_max - body.len();
                body.extend_from_slice(&data[..data.len().min(room)]);
                if data.len() > room {
                    break Some(format!("the body has more than {bytes_max} bytes"));
                }
            }
        }
    };
    Answer {
        status: head.status,
        retry_after: head.headers.remove(header::RETRY_AFTER),
        webhook_delivery: head.headers.remove(WEBHOOK_DELIVERY),
        body,
        body_note,
    }
}

/// The word for a request that got no answer, from the types in the chain of causes.
fn word(error: &hyper_util::client::legacy::Error) -> AttemptError {
    for cause in causes(error) {
        if let Some(connecting) = cause.downcast_ref::<ConnectError>() {
            return connecting.word();
        }
        if is_tls(cause) {
            return AttemptError::Tls;
        }
    }
    if error.connect_info().is_some_and(TlsFault::of) {
        return AttemptError::Tls;
    }
    if error.is_connect() { AttemptError::Connect } else { AttemptError::Protocol }
}

/// Whether this is TLS that failed after its handshake, as it does with TLS 1.3 where the server refuses the client's
/// certificate. The connection may have ended before the request was on it, and is not known to the error then.
fn is_tls(cause: &(dyn Error + 'static)) -> bool {
    let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    inner.is_some_and(|inner| inner.is::<rustls::Error>())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// An error with its causes as one line.
fn told(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    for cause in causes(error) {
        let text = cause.to_string();
        // Some errors repeat their cause.
        if !line.ends_with(&text) {
            line.push_str(if line.is_empty() { "" } else { ": " });
            line.push_str(&text);
        }
    }
    let end = line.floor_char_boundary(limits::ATTEMPT_DETAIL_BYTES_MAX);
    line.truncate(end);
    line
}
