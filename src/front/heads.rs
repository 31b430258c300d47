//! Watches what a client sends for one thing: when a request head begins to arrive, and when it is whole.
//!
//! hyper does not tell that before the request is there, and a head that never ends must not keep a connection. HTTP/1.1 needs
//! no parsing for it: outside a request under way, whatever comes is a head. Of HTTP/2 the frames' own heads are read (RFC 9113,
//! section 4.1), which is nine bytes of each: a head is a HEADERS frame and the CONTINUATION frames after it, up to the one with
//! END_HEADERS. What the frames hold is hyper's to judge.

use super::pulse::Pulse;

/// What an HTTP/2 client begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's own head.
const FRAME_HEAD_BYTES: usize = 9;
/// The frame type HEADERS.
const HEADERS: u8 = 1;
/// The frame type CONTINUATION.
const CONTINUATION: u8 = 9;
/// The flag END_HEADERS of both.
const END_HEADERS: u8 = 4;

/// How far a client's bytes have been looked at.
#[derive(Debug)]
pub(super) enum Heads {
    /// So many bytes of the preface have come, and nothing else.
    Beginning(usize),
    /// It speaks HTTP/1.1, or nothing that is HTTP.
    Http1,
    /// It speaks HTTP/2.
    Http2(Frames),
}

/// A place in a stream of frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; FRAME_HEAD_BYTES],
    /// Bytes of `head` that have come.
    filled: usize,
    /// Bytes that are still to come of the frame that `head` belongs to.
    left: usize,
}

impl Heads {
    /// Nothing has come.
    pub(super) fn new() -> Self {
        Self::Beginning(0)
    }

    /// Whether HTTP/2 is spoken, as far as is known.
    pub(super) fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Looks at bytes that have just come.
    pub(super) fn came(&mut self, bytes: &[u8], pulse: &Pulse) {
        if bytes.is_empty() {
            return;
        }
        match self {
            Self::Http1 => pulse.bytes_came(),
            Self::Http2(frames) => frames.came(bytes, pulse),
            Self::Beginning(seen) => {
                let awaited = &PREFACE[*seen..];
                let len = bytes.len().min(awaited.len());
                if bytes[..len] != awaited[..len] {
                    *self = Self::Http1;
                    return pulse.bytes_came();
                }
                *seen += len;
                if *seen == PREFACE.len() {
                    let mut frames = Frames::default();
                    frames.came(&bytes[len..], pulse);
                    *self = Self::Http2(frames);
                }
            }
        }
    }
}

impl Frames {
    fn came(&mut self, mut bytes: &[u8], pulse: &Pulse) {
        while !bytes.is_empty() {
            if self.filled < FRAME_HEAD_BYTES {
                let len = bytes.len().min(FRAME_HEAD_BYTES - self.filled);
                self.head[self.filled..self.filled + len].copy_from_slice(&bytes[..len]);
                self.filled += len;
                bytes = &bytes[len..];
                if self.filled < FRAME_HEAD_BYTES {
                    return;
                }
                let [a, b, c, ..] = self.head;
                self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                if self.is_of_a_head() {
                    pulse.head_is_open(true);
                }
            }
            let len = bytes.len().min(self.left);
            self.left -= len;
            bytes = &bytes[len..];
            if self.left > 0 {
                return;
            }
            self.filled = 0;
            if self.is_of_a_head() && self.head[4] & END_HEADERS != 0 {
                pulse.head_is_open(false);
            }
        }
    }

    fn is_of_a_head(&self) -> bool {
        matches!(self.head[3], HEADERS | CONTINUATION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::pulse::Over;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![len[1], len[2], len[3], kind, flags, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        frame
    }

    /// Whether a head is open on a connection that has had a request, which is under way.
    fn open(pulse: &Pulse) -> bool {
        pulse.due().is_some_and(|(_, over)| over == Over::Head)
    }

    #[tokio::test]
    async fn an_http_2_head_is_open_until_its_last_frame_is_whole_however_it_is_cut() {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(PING, 0, &[0; 8]));
        let begins = bytes.len() + FRAME_HEAD_BYTES;
        bytes.extend(frame(HEADERS, 0, &[7; 300]));
        bytes.extend(frame(CONTINUATION, 0, &[]));
        bytes.extend(frame(CONTINUATION, END_HEADERS, &[7; 20]));
        let ends = bytes.len();
        bytes.extend(frame(0, 1, &[END_HEADERS; 20]));
        for cut in [1, 2, 7, 9, 10, 4096] {
            let (pulse, mut heads) = (Pulse::new(), Heads::new());
            pulse.request_begins();
            let mut done = 0;
            for piece in bytes.chunks(cut) {
                heads.came(piece, &pulse);
                done += piece.len();
                assert_eq!(open(&pulse), (begins..ends).contains(&done), "in pieces of {cut}, after {done}");
            }
            assert!(heads.is_http2());
        }
    }

    #[tokio::test]
    async fn what_is_not_http_2_is_a_head_while_nothing_is_under_way() {
        for bytes in [&b"POST / HTTP/1.1\r\n"[..], b"GET", b"PRI * HTTP/1.1\r\n", b"\x16\x03\x01"] {
            let (pulse, mut heads) = (Pulse::new(), Heads::new());
            pulse.request_begins();
            pulse.request_ends();
            for byte in bytes {
                heads.came(&[*byte], &pulse);
            }
            assert!(!heads.is_http2());
            assert!(open(&pulse), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_head_without_bytes_in_it_opens_and_closes() {
        let (pulse, mut heads) = (Pulse::new(), Heads::new());
        pulse.request_begins();
        heads.came(PREFACE, &pulse);
        heads.came(&frame(HEADERS, END_HEADERS, &[]), &pulse);
        assert!(!open(&pulse));
    }
}
