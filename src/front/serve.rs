//! Accepts connections and drives each in a task of its own: HTTP/1.1, or HTTP/2 where the client begins with it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::Answer;
use super::tally::AcceptFailed;
use super::wire::Wire;
use super::{Listener, Origin, Peer};
use crate::limits;

/// How long to wait after the system had no descriptor or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a listener is served with.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Cancelled when the listener shall close.
    pub shutdown: CancellationToken,
    /// Connections are tasks of it.
    pub tracker: TaskTracker,
}

/// Serves a listener until it is told to stop, then stops accepting and returns. `answer` makes an answer of each request; the
/// peer is the one of its connection.
///
/// After `shutdown`, connections that wait for a request are closed, the others once their requests under way are answered.
/// Whoever waits for the tracker decides for how long.
pub async fn serve<A, F>(listener: Listener, answer: A, serving: Serving)
where
    A: Fn(Arc<Peer>, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let Serving { shutdown, tracker } = serving;
    let builder = Arc::new(builder(&tracker));
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    loop {
        // Who finds no place waits in the listen queue.
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = shutdown.cancelled() => return,
            next = next => next,
        };
        let Ok(place) = place else { return };
        let connection = Connection { builder: Arc::clone(&builder), shutdown: shutdown.clone(), _place: place };
        match accepted {
            Ok(Accepted::Tcp(stream, from)) => {
                let peer = Peer { origin: Origin::Tcp(from) };
                tracker.spawn(connection.drive(stream, peer, answer.clone()));
            }
            Ok(Accepted::Unix(stream)) => {
                let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
                let peer = Peer { origin: Origin::Unix { uid } };
                tracker.spawn(connection.drive(stream, peer, answer.clone()));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                AcceptFailed { error: &error }.tell();
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
}

/// Runs what hyper wants to run (the streams of HTTP/2) as tasks that a shutdown waits for.
#[derive(Clone, Debug)]
struct OnTracker(TaskTracker);

impl<F> Executor<F> for OnTracker
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

type Builder = auto::Builder<OnTracker>;

fn builder(tracker: &TaskTracker) -> Builder {
    let mut builder = auto::Builder::new(OnTracker(tracker.clone()));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits::REQUEST_HEAD_MS_MAX))
        .max_headers(limits::REQUEST_HEADERS_MAX)
        .max_buf_size(limits::REQUEST_HEAD_BYTES_MAX);
    let ping = Duration::from_millis(limits::REQUEST_BODY_MS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::STREAMS_MAX)
        .max_header_list_size(u32::try_from(limits::REQUEST_HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(ping)
        .keep_alive_timeout(ping);
    builder
}

/// A connection just accepted.
enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                // Answers are small and wait for nothing. It fails only where the client has gone, which shows soon.
                let _ = stream.set_nodelay(true);
                Ok(Accepted::Tcp(stream, from))
            }
            Self::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

/// Whether the next connection may do better at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

struct Connection {
    builder: Arc<Builder>,
    shutdown: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    async fn drive<S, A, F>(self, socket: S, peer: Peer, answer: A)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        A: Fn(Arc<Peer>, Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let asked = Arc::new(AtomicBool::new(false));
        let (seen, peer) = (Arc::clone(&asked), Arc::new(peer));
        let service = service_fn(move |request| {
            seen.store(true, Ordering::Relaxed);
            let answered = answer(Arc::clone(&peer), request);
            async move { Ok::<_, Infallible>(answered.await) }
        });
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(Wire::new(socket)), service));
        // hyper's own time limit begins once it knows which HTTP it speaks; this one begins now.
        let mut first_head = pin!(sleep(Duration::from_millis(limits::REQUEST_HEAD_MS_MAX)));
        let (mut waits, mut closes) = (true, false);
        loop {
            tokio::select! {
                // How a connection ended is the client's affair: it has had its answer, or has gone.
                _ = connection.as_mut() => return,
                () = first_head.as_mut(), if waits => {
                    waits = false;
                    if !asked.load(Ordering::Relaxed) {
                        return;
                    }
                }
                () = self.shutdown.cancelled(), if !closes => {
                    closes = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Drives a connection that came over no listener; for [`crate::fuzzing`].
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) async fn drive<S, A, F>(socket: S, peer: Peer, answer: A, serving: &Serving)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Arc<Peer>, Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(1));
    let place = places.acquire_owned().await.expect("a semaphore that nobody closes");
    let builder = Arc::new(builder(&serving.tracker));
    Connection { builder, shutdown: serving.shutdown.clone(), _place: place }.drive(socket, peer, answer).await;
}

#[cfg(test)]
mod tests;
