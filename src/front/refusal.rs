//! What a connection gets that finds no place, and how it is told.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use super::problem::{Problem, ProblemKind};
use crate::limits;

/// Why a connection finds no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// All places are taken.
    Full,
    /// Its address has as many as one may have.
    Address(IpAddr),
}

impl Refused {
    /// Every reason's word.
    pub(super) const WORDS: [&'static str; 2] = ["max_connections", "max_connections_per_address"];

    /// Its word: the key of the config that is met, and the label of the metric.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Full => Self::WORDS[0],
            Self::Address(_) => Self::WORDS[1],
        }
    }

    /// The whole answer, as bytes of HTTP/1.1: no request was read, so which HTTP the client would speak is not known.
    fn answer(self) -> Vec<u8> {
        let detail = match self {
            Self::Full => "all connections that this listener may have are taken; nothing was read, try again shortly",
            Self::Address(_) => {
                "there are too many connections from this address; nothing was read, use fewer at once, or try again later"
            }
        };
        let problem = Problem::new(ProblemKind::TooManyConnections, detail);
        problem.retry_after_s(limits::CONNECTION_RETRY_AFTER_S).by_hand()
    }
}

/// A socket that can be written to without waiting.
pub(super) trait TryWrite {
    /// Writes what fits, or nothing.
    fn try_write(&self, bytes: &[u8]);
    /// Reads and drops what has come.
    fn try_drop(&self);
}

macro_rules! try_write {
    ($socket:ty) => {
        impl TryWrite for $socket {
            fn try_write(&self, bytes: &[u8]) {
                // A new socket has room for a short answer; where it has not, the client is none that waits for one.
                let _ = <$socket>::try_write(self, bytes);
            }

            fn try_drop(&self) {
                let _ = <$socket>::try_read(self, &mut [0; 4 * limits::KIB]);
            }
        }
    };
}

try_write!(TcpStream);
try_write!(UnixStream);

/// Says so to the client, and closes. It never waits: whoever is turned away must cost next to nothing.
pub(super) fn turn_away(socket: &impl TryWrite, why: Refused) {
    socket.try_write(&why.answer());
    // Closing a socket with unread bytes resets the connection, and the reset could overtake the answer.
    socket.try_drop();
}

/// Keeps one line of many alike from filling the log: the first is told at once, further ones as a number, now and then.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    state: Mutex<(Option<Instant>, u64)>,
}

impl Seldom {
    /// How many have happened since the last that was told, this one included; `None`: not yet.
    pub(super) fn happened(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, count) = &mut *state;
        *count += 1;
        let between = Duration::from_millis(limits::TOLD_AGAIN_MS);
        if told.is_some_and(|at| at.elapsed() < between) {
            return None;
        }
        *told = Some(Instant::now());
        Some(std::mem::take(count))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_one_line_and_then_a_number() {
        let seldom = Seldom::default();
        assert_eq!(seldom.happened(), Some(1));
        for _ in 0..1000 {
            assert_eq!(seldom.happened(), None);
        }
        advance(Duration::from_millis(limits::TOLD_AGAIN_MS)).await;
        assert_eq!(seldom.happened(), Some(1001));
        assert_eq!(seldom.happened(), None);
    }

    #[test]
    fn the_answer_is_a_whole_one_of_http_1_1_and_says_when_to_come_again() {
        for why in [Refused::Full, Refused::Address("192.0.2.1".parse().unwrap())] {
            let answer = String::from_utf8(why.answer()).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nretry-after: "), "{head}");
            assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
            assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
            let problem: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(problem["type"], "urn:webhookd:problem:too-many-connections");
            assert!(!body.contains("192.0.2.1"));
        }
    }
}
