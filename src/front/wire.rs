//! The socket of a connection, closed gently, and never waited for without end.
//!
//! A server that answers before it has read everything, as for a body that is too large, must not close the socket at
//! once: the system would reset the connection, and the reset can overtake the answer (RFC 9112, section 9.6). So closing
//! means: end the sending side, then read and drop what still comes, for a little while.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::heads::Heads;
use super::pulse::Pulse;
use super::unread;
use crate::limits;

/// A socket with these habits.
#[derive(Debug)]
pub(super) struct Wire<S> {
    socket: S,
    /// Told what comes and goes.
    pulse: Arc<Pulse>,
    heads: Heads,
    /// The client has ended its side.
    ended: bool,
    /// Runs while the connection is being closed.
    lingering: Option<Pin<Box<Sleep>>>,
    /// Runs while the client does not take what is written.
    stalled: Option<Pin<Box<Sleep>>>,
    /// What goes out in the place of a write that is under way, and how much of it has.
    instead: Option<(Vec<u8>, usize)>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(socket: S, pulse: Arc<Pulse>) -> Self {
        Self { socket, pulse, heads: Heads::new(), ended: false, lingering: None, stalled: None, instead: None }
    }

    /// Writes what stands in for a write, to its end.
    fn write_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((bytes, done)) = &mut self.instead {
            let outcome = Pin::new(&mut self.socket).poll_write(cx, &bytes[*done..]);
            let written = match outcome {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            };
            *done += written;
            if *done == bytes.len() {
                self.instead = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Tells the pulse of bytes that went out. Those of HTTP/2 say nothing: it also writes what nobody asked for, such as answers
    /// to pings.
    fn left(&self, outcome: &Poll<io::Result<usize>>) {
        if matches!(outcome, Poll::Ready(Ok(written)) if *written > 0) && !self.heads.is_http2() {
            self.pulse.bytes_left();
        }
    }

    /// Passes on the outcome of a write, and gives up on a client that takes nothing for too long.
    fn wrote<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let limit = Duration::from_millis(limits::ANSWER_STALL_MS_MAX);
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
    }

    /// Reads and drops until the client ends its side; `Pending` until then.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 8 * limits::KIB];
        while !self.ended {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer)) {
                Ok(()) => self.ended = buffer.filled().is_empty(),
                Err(_) => self.ended = true,
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let room = buffer.remaining() > 0;
        let result = ready!(Pin::new(&mut self.socket).poll_read(cx, buffer));
        if result.is_err() || (room && buffer.filled().len() == before) {
            self.ended = true;
        }
        let Self { heads, pulse, .. } = &mut *self;
        heads.came(&buffer.filled()[before..], pulse);
        Poll::Ready(result)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // A write that is pending is asked for again with the same bytes, so the stand-in is made once.
        if self.instead.is_none() {
            self.instead = unread::explained(bytes).map(|instead| (instead, 0));
        }
        let outcome = match self.instead {
            Some(_) => self.write_instead(cx).map_ok(|()| bytes.len()),
            None => Pin::new(&mut self.socket).poll_write(cx, bytes),
        };
        self.left(&outcome);
        self.wrote(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // hyper's own answers are a head without a body, so one part.
        if let [only] = parts {
            return self.poll_write(cx, only);
        }
        let outcome = Pin::new(&mut self.socket).poll_write_vectored(cx, parts);
        self.left(&outcome);
        self.wrote(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.socket).poll_flush(cx);
        self.wrote(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
            self.lingering = Some(Box::pin(sleep(Duration::from_millis(limits::LINGER_MS_MAX))));
        }
        if self.drain(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        match &mut self.lingering {
            Some(over) => over.as_mut().poll(cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn closing_reads_on_until_the_client_has_ended() {
        let (ours, mut theirs) = duplex(16);
        let mut wire = Wire::new(ours, Arc::new(Pulse::new()));
        let client = async move {
            theirs.write_all(&[7; 1000]).await.unwrap();
            let mut rest = Vec::new();
            theirs.read_to_end(&mut rest).await.unwrap();
            rest
        };
        let server = async {
            wire.write_all(b"413").await.unwrap();
            wire.shutdown().await.unwrap();
        };
        let started = Instant::now();
        let (answer, ()) = tokio::join!(client, server);
        assert_eq!(answer, b"413");
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_neither_ends_nor_reads_is_left_after_a_while() {
        let (ours, _theirs) = duplex(16);
        let mut wire = Wire::new(ours, Arc::new(Pulse::new()));
        let started = Instant::now();
        wire.shutdown().await.unwrap();
        assert_eq!(started.elapsed(), Duration::from_millis(limits::LINGER_MS_MAX));

        let (ours, _theirs) = duplex(16);
        let mut wire = Wire::new(ours, Arc::new(Pulse::new()));
        let started = Instant::now();
        let error = wire.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), Duration::from_millis(limits::ANSWER_STALL_MS_MAX));
    }

    #[tokio::test]
    async fn a_refusal_of_hypers_own_goes_out_as_a_problem() {
        // Far smaller than the answer, so that it takes several writes.
        let (ours, mut theirs) = duplex(16);
        let mut wire = Wire::new(ours, Arc::new(Pulse::new()));
        let head = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let server = async {
            wire.write_all(head).await.unwrap();
            wire.shutdown().await.unwrap();
        };
        let client = async {
            let mut answer = Vec::new();
            theirs.read_to_end(&mut answer).await.unwrap();
            drop(theirs);
            answer
        };
        let ((), answer) = tokio::join!(server, client);
        assert_eq!(answer, unread::explained(head).unwrap());
    }
}
