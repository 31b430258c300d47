//! Reading request bodies: under a size limit, a time limit, and a bound on what all of them hold together.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use hyper::header::{CONTENT_ENCODING, HeaderMap};

use super::problem::{Problem, ProblemKind};
use crate::limits;

/// Bytes of request bodies held at once by whoever is served under one table of the config.
#[derive(Debug)]
pub struct Holdings {
    table: &'static str,
    held: AtomicUsize,
    max: usize,
}

impl Holdings {
    /// Nothing is held; at most `max` bytes may be. `table` has the `max_body` of these bodies.
    #[must_use]
    pub fn new(table: &'static str, max: usize) -> Arc<Self> {
        Arc::new(Self { table, held: AtomicUsize::new(0), max })
    }
}

/// A share of the [`Holdings`], given back when dropped.
#[derive(Debug)]
struct Held {
    of: Arc<Holdings>,
    bytes: usize,
}

impl Held {
    fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let before = self.of.held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before.saturating_add(bytes) > self.of.max {
            let detail = "too many request bodies are under way; nothing was stored, try again shortly";
            return Err(Problem::new(ProblemKind::Busy, detail));
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A whole request body.
#[derive(Debug)]
pub struct Body {
    bytes: Bytes,
    /// True where `bytes` is a buffer of its own, no larger than the body. Else it is a piece of the connection's read
    /// buffer, which would stay in memory as long as any piece of it.
    own: bool,
    _held: Held,
}

impl Body {
    /// A body that has come; for [`crate::fuzzing`].
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn of(bytes: Bytes) -> Self {
        Self { bytes, own: true, _held: Held { of: Holdings::new("api", usize::MAX), bytes: 0 } }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A part of it to keep. Shared where that keeps little else in memory, else copied.
    ///
    /// # Panics
    /// When `range` does not lie within the body.
    pub fn part(&self, range: Range<usize>) -> Bytes {
        if self.own && range.len() * 2 >= self.bytes.len() {
            self.bytes.slice(range)
        } else {
            Bytes::copy_from_slice(&self.bytes[range])
        }
    }

    /// All of it, to keep.
    pub fn whole(&self) -> Bytes {
        self.part(0..self.bytes.len())
    }
}

/// Reads a body.
///
/// A body announced as too large is refused before any of it is read, so a client that waits for `100 Continue` never
/// sends it.
///
/// # Errors
/// 413 past `bytes_max`, 415 for a compressed one, 408 where it takes too long, 503 where too much is held already, 400
/// where it breaks off.
pub async fn read<B>(headers: &HeaderMap, body: B, bytes_max: usize, holdings: &Arc<Holdings>) -> Result<Body, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    announced(headers, &body, bytes_max, holdings)?;
    let limit = Duration::from_millis(limits::REQUEST_BODY_MS_MAX);
    match tokio::time::timeout(limit, collect(body, bytes_max, holdings)).await {
        Ok(result) => result,
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", limit.as_secs());
            Err(Problem::new(ProblemKind::RequestTimeout, detail))
        }
    }
}

/// Refuses a body for what its head announces.
///
/// # Errors
/// 413 past `bytes_max`, 415 for a compressed one.
pub fn announced<B: HttpBody>(
    headers: &HeaderMap,
    body: &B,
    bytes_max: usize,
    holdings: &Holdings,
) -> Result<(), Problem> {
    refuse_encoded(headers)?;
    if body.size_hint().lower() > bytes_max as u64 { Err(too_large(bytes_max, holdings)) } else { Ok(()) }
}

async fn collect<B>(mut body: B, bytes_max: usize, holdings: &Arc<Holdings>) -> Result<Body, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let announced = body.size_hint().exact().and_then(|exact| usize::try_from(exact).ok());
    let mut held = Held { of: Arc::clone(holdings), bytes: 0 };
    let mut first = Bytes::new();
    let mut buffer = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(Problem::new(ProblemKind::BrokenBody, "the body broke off, or its framing is wrong"));
        };
        // Trailers say nothing here.
        let Ok(data) = frame.into_data() else { continue };
        if held.bytes + data.len() > bytes_max {
            return Err(too_large(bytes_max, holdings));
        }
        held.grow(data.len())?;
        if first.is_empty() && buffer.is_empty() {
            first = data;
            continue;
        }
        if buffer.is_empty() {
            buffer.reserve(announced.unwrap_or(first.len() + data.len()));
            buffer.extend_from_slice(&first);
        }
        buffer.extend_from_slice(&data);
    }
    let (bytes, own) = if buffer.is_empty() { (first, false) } else { (buffer.freeze(), announced.is_some()) };
    Ok(Body { bytes, own, _held: held })
}

fn refuse_encoded(headers: &HeaderMap) -> Result<(), Problem> {
    for value in headers.get_all(CONTENT_ENCODING) {
        let plain = value.as_bytes().trim_ascii();
        if !plain.is_empty() && !plain.eq_ignore_ascii_case(b"identity") {
            let detail = "the body has a Content-Encoding; send it uncompressed";
            return Err(Problem::new(ProblemKind::UnsupportedEncoding, detail));
        }
    }
    Ok(())
}

fn too_large(bytes_max: usize, holdings: &Holdings) -> Problem {
    let detail = format!("the body has more than the {bytes_max} bytes that [{}] max_body allows", holdings.table);
    Problem::new(ProblemKind::BodyTooLarge, detail)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body_util::Full;
    use hyper::body::{Frame, SizeHint};
    use hyper::header::HeaderValue;

    use super::*;

    /// A body in pieces, whose length may be announced, and which may end in an error or never.
    struct Pieces {
        left: Vec<Bytes>,
        announced: Option<u64>,
        end: End,
    }

    #[derive(PartialEq)]
    enum End {
        Whole,
        Broken,
        Never,
    }

    impl Pieces {
        fn new(pieces: &[&'static str], announced: Option<u64>, end: End) -> Self {
            let left = pieces.iter().rev().map(|piece| Bytes::from_static(piece.as_bytes())).collect();
            Self { left, announced, end }
        }
    }

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            match (self.left.pop(), &self.end) {
                (Some(piece), _) => Poll::Ready(Some(Ok(Frame::data(piece)))),
                (None, End::Whole) => Poll::Ready(None),
                (None, End::Broken) => Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                (None, End::Never) => Poll::Pending,
            }
        }

        fn size_hint(&self) -> SizeHint {
            self.announced.map_or_else(SizeHint::default, SizeHint::with_exact)
        }
    }

    async fn kind<B>(body: B, max: usize, holdings: &Arc<Holdings>) -> Result<Bytes, ProblemKind>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let result = read(&HeaderMap::new(), body, max, holdings).await;
        result.map(|body| body.whole()).map_err(|problem| problem.kind)
    }

    #[tokio::test]
    async fn bodies_in_one_piece_or_many_come_whole() {
        let holdings = Holdings::new("api", 100);
        for pieces in [&["abcdef"][..], &["abc", "def"], &["", "a", "", "bcde", "f"]] {
            for announced in [Some(6), None] {
                let body = Pieces::new(pieces, announced, End::Whole);
                assert_eq!(kind(body, 6, &holdings).await, Ok(Bytes::from_static(b"abcdef")));
            }
        }
        assert_eq!(kind(Full::<Bytes>::default(), 6, &holdings).await, Ok(Bytes::new()));
        assert_eq!(holdings.held.load(Ordering::Relaxed), 0, "all given back");
    }

    #[tokio::test]
    async fn too_large_is_refused_by_its_announcement_or_by_count() {
        let holdings = Holdings::new("api", 100);
        let announced = Pieces::new(&[], Some(7), End::Never);
        assert_eq!(kind(announced, 6, &holdings).await, Err(ProblemKind::BodyTooLarge), "nothing is read");
        let counted = Pieces::new(&["abc", "def", "g"], None, End::Never);
        assert_eq!(kind(counted, 6, &holdings).await, Err(ProblemKind::BodyTooLarge), "the rest is not read");
    }

    #[tokio::test(start_paused = true)]
    async fn slow_and_broken_bodies_are_told_apart() {
        let holdings = Holdings::new("api", 100);
        let slow = Pieces::new(&["abc"], Some(6), End::Never);
        assert_eq!(kind(slow, 6, &holdings).await, Err(ProblemKind::RequestTimeout));
        let broken = Pieces::new(&["abc"], Some(6), End::Broken);
        assert_eq!(kind(broken, 6, &holdings).await, Err(ProblemKind::BrokenBody));
        assert_eq!(holdings.held.load(Ordering::Relaxed), 0, "all given back");
    }

    #[tokio::test]
    async fn what_all_bodies_hold_is_bounded() {
        let holdings = Holdings::new("api", 8);
        let first = read(&HeaderMap::new(), Full::new(Bytes::from_static(b"abcde")), 6, &holdings).await.unwrap();
        let full = Full::<Bytes>::new(Bytes::from_static(b"fghi"));
        assert_eq!(kind(full.clone(), 6, &holdings).await, Err(ProblemKind::Busy));
        drop(first);
        assert_eq!(kind(full, 6, &holdings).await, Ok(Bytes::from_static(b"fghi")));
    }

    #[tokio::test]
    async fn compressed_bodies_are_refused() -> Result<(), Infallible> {
        let mut headers = HeaderMap::new();
        for (encoding, fits) in [("identity", true), ("", true), ("gzip", false), ("identity, br", false)] {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
            let result = read(&headers, Full::<Bytes>::default(), 6, &Holdings::new("api", 8)).await;
            let expected = (!fits).then_some(ProblemKind::UnsupportedEncoding);
            assert_eq!(result.err().map(|problem| problem.kind), expected, "{encoding}");
        }
        Ok(())
    }
}
