//! Drives one connection from its place to its end: HTTP/1.1, or HTTP/2 where the client begins with it.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Peer;
use super::answer::Answer;
use super::connections::Seat;
use super::outgoing::{Outgoing, UnderWay};
use super::pulse::{Over, Pulse};
use super::wire::Wire;
use crate::limits;

/// Runs what hyper wants to run (the streams of HTTP/2) as tasks that a shutdown waits for.
#[derive(Clone, Debug)]
pub(super) struct OnTracker(TaskTracker);

impl<F> Executor<F> for OnTracker
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

pub(super) type Builder = auto::Builder<OnTracker>;

/// hyper with the limits of this front. Its own limits of time are off: [`super::pulse`] has them.
pub(super) fn builder(tracker: &TaskTracker) -> Builder {
    let mut builder = auto::Builder::new(OnTracker(tracker.clone()));
    builder
        .http1()
        .header_read_timeout(None)
        .max_headers(limits::REQUEST_HEADERS_MAX)
        .max_buf_size(limits::REQUEST_HEAD_BYTES_MAX);
    let ping = Duration::from_millis(limits::REQUEST_BODY_MS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::STREAMS_MAX)
        .max_header_list_size(u32::try_from(limits::REQUEST_HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .max_frame_size(limits::HTTP2_FRAME_BYTES_MAX)
        .initial_stream_window_size(limits::HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::HTTP2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(limits::HTTP2_PIECE_BYTES)
        .max_pending_accept_reset_streams(limits::HTTP2_PENDING_RESETS_MAX)
        .max_local_error_reset_streams(limits::HTTP2_ERROR_RESETS_MAX)
        .keep_alive_interval(ping)
        .keep_alive_timeout(ping);
    builder
}

/// A connection that has found a place.
pub(super) struct Connection {
    pub(super) builder: Arc<Builder>,
    pub(super) shutdown: CancellationToken,
    pub(super) seat: Seat,
}

impl Connection {
    /// Drives it to its end. `socket` carries HTTP, so it is what comes out of a TLS handshake where there is one ([`super::arrival`]).
    pub(super) async fn drive<S, A, F>(self, socket: S, peer: Peer, answer: A)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        A: Fn(Arc<Peer>, Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let Self { builder, shutdown, seat } = self;
        let (pulse, peer) = (seat.pulse(), Arc::new(peer));
        let of = Arc::clone(pulse);
        let service = service_fn(move |request: Request<Incoming>| {
            let under_way = UnderWay::begins(&of, request.version() == Version::HTTP_2);
            let answered = answer(Arc::clone(&peer), request);
            async move { Ok::<_, Infallible>(answered.await.map(|body| Outgoing::new(body, under_way))) }
        });
        let wire = Wire::new(socket, Arc::clone(pulse));
        let mut connection = pin!(builder.serve_connection(TokioIo::new(wire), service));
        let mut watch = Watch::new(pulse);
        let mut closes = false;
        loop {
            // The connection first: whatever it does may move what is due.
            let driven = poll_fn(|cx| match connection.as_mut().poll(cx) {
                // How a connection ended is the client's affair: it has had its answer, or has gone.
                Poll::Ready(_) => Poll::Ready(Step::Ended),
                Poll::Pending => watch.poll_over(pulse, cx).map(Step::Over),
            });
            let step = tokio::select! {
                step = driven => step,
                () = shutdown.cancelled(), if !closes => Step::Stop,
                () = pulse.place_wanted(), if !closes => Step::Over(Over::Shortage),
            };
            match step {
                Step::Ended => return,
                Step::Stop => {}
                Step::Over(over) => {
                    seat.tell_cut(over);
                    if !over.lets_finish() {
                        return;
                    }
                }
            }
            closes = true;
            pulse.closes();
            connection.as_mut().graceful_shutdown();
        }
    }
}

/// What comes next on a connection.
enum Step {
    /// It has ended.
    Ended,
    /// The listener closes.
    Stop,
    /// A limit is met.
    Over(Over),
}

/// Waits for what is due on a connection, though that is put off with every request: its timer is moved when it has run out,
/// and at once only where it would come too late.
struct Watch {
    timer: Pin<Box<Sleep>>,
    set_for: Instant,
}

impl Watch {
    fn new(pulse: &Pulse) -> Self {
        let at = pulse.due().map_or_else(Instant::now, |(at, _)| at);
        Self { timer: Box::pin(sleep_until(at)), set_for: at }
    }

    fn poll_over(&mut self, pulse: &Pulse, cx: &mut Context<'_>) -> Poll<Over> {
        loop {
            let due = pulse.due();
            if let Some((at, _)) = due
                && at < self.set_for
            {
                self.set(at);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // It has run out: for what is due, or for what was due once.
            match due {
                Some((at, over)) if at <= Instant::now() => return Poll::Ready(over),
                Some((at, _)) => self.set(at),
                // Something has to happen first, and this is polled when it does.
                None => return Poll::Pending,
            }
        }
    }

    fn set(&mut self, at: Instant) {
        self.timer.as_mut().reset(at);
        self.set_for = at;
    }
}

/// Drives a connection that came over no listener, for [`crate::fuzzing`].
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) async fn drive<S, A, F>(socket: S, peer: Peer, answer: A, serving: &super::Serving)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Arc<Peer>, Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let seat = serving.connections.take(peer.origin).expect("a place for one");
    let builder = Arc::new(builder(&serving.tracker));
    Connection { builder, shutdown: serving.shutdown.clone(), seat }.drive(socket, peer, answer).await;
}

#[cfg(test)]
mod tests;
