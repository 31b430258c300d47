//! The body of an answer on its way out: while it is, its request is under way.
//!
//! Over HTTP/2 a client takes answers piece by piece, as it opens its window, and need not ever do so: the socket is not
//! stalled by it, so [`super::wire`] does not see it. So there each piece is handed over by itself, and the connection's pulse
//! knows since when the last one waits.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::pulse::Pulse;
use crate::limits;

/// A request under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    pulse: Arc<Pulse>,
    /// The number of its answer, over HTTP/2.
    number: Option<u64>,
}

impl UnderWay {
    /// A request has come.
    pub(super) fn begins(pulse: &Arc<Pulse>, http2: bool) -> Self {
        pulse.request_begins();
        Self { pulse: Arc::clone(pulse), number: http2.then(|| pulse.number()) }
    }

    fn piece_waits(&self, waits: bool) {
        if let Some(number) = self.number {
            self.pulse.piece_waits(number, waits);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.piece_waits(false);
        self.pulse.request_ends();
    }
}

/// The body of the answer to a request.
#[derive(Debug)]
pub(super) struct Outgoing<B> {
    body: B,
    /// What is left of the piece that `body` gave last.
    left: Bytes,
    of: UnderWay,
}

impl<B> Outgoing<B> {
    /// The body of the answer to `of`.
    pub(super) fn new(body: B, of: UnderWay) -> Self {
        Self { body, left: Bytes::new(), of }
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Outgoing<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        // Who asks for a piece has taken the one before.
        self.of.piece_waits(false);
        if self.left.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.left = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return Poll::Ready(other),
            }
        }
        let piece = if self.of.number.is_some() && self.left.len() > limits::HTTP2_PIECE_BYTES {
            self.left.split_to(limits::HTTP2_PIECE_BYTES)
        } else {
            std::mem::take(&mut self.left)
        };
        self.of.piece_waits(true);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, left) = (self.body.size_hint(), self.left.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(left));
        if let Some(upper) = body.upper().and_then(|upper| upper.checked_add(left)) {
            hint.set_upper(upper);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;
    use crate::front::pulse::Over;

    const LEN: usize = 3 * limits::HTTP2_PIECE_BYTES + 1;

    async fn sizes(http2: bool) -> Vec<usize> {
        let pulse = Arc::new(Pulse::new());
        let of = UnderWay::begins(&pulse, http2);
        let mut body = Outgoing::new(Full::new(Bytes::from(vec![b'x'; LEN])), of);
        let mut sizes = Vec::new();
        loop {
            let left = (LEN - sizes.iter().sum::<usize>()) as u64;
            assert_eq!(body.size_hint().exact(), Some(left), "{sizes:?}");
            assert_eq!(body.is_end_stream(), left == 0);
            let Some(frame) = body.frame().await else { break };
            sizes.push(frame.unwrap().into_data().unwrap().len());
            let waits = pulse.due().is_some_and(|(_, over)| over == Over::Unread);
            assert_eq!(waits, http2, "a piece waits until the next is asked for");
        }
        drop(body);
        assert_eq!(pulse.due().map(|(_, over)| over), Some(Over::Idle), "nothing is under way any more");
        sizes
    }

    #[tokio::test]
    async fn an_answer_goes_whole_over_http_1_and_in_pieces_over_http_2() {
        assert_eq!(sizes(false).await, [LEN]);
        let piece = limits::HTTP2_PIECE_BYTES;
        assert_eq!(sizes(true).await, [piece, piece, piece, 1]);
    }

    #[tokio::test]
    async fn an_answer_that_nobody_waits_for_any_more_ends_its_request() {
        let pulse = Arc::new(Pulse::new());
        let of = UnderWay::begins(&pulse, true);
        assert_eq!(pulse.due(), None);
        drop(of);
        assert_eq!(pulse.due().map(|(_, over)| over), Some(Over::Idle));
    }
}
