//! What goes on on a connection, and how long it may go on so.
//!
//! A connection is always in one of these phases, each with its limit:
//!
//! | phase | limit | when it is over |
//! |---|---|---|
//! | no request yet (PROXY header and TLS handshake included) | [`limits::REQUEST_HEAD_MS_MAX`] | closed |
//! | a request head is arriving | [`limits::REQUEST_HEAD_MS_MAX`] from its first byte | closed |
//! | a request is under way | the limits of its body ([`super::body`]) and of whoever answers | as they say |
//! | an answer waits for the client | [`limits::ANSWER_STALL_MS_MAX`] | closed |
//! | idle | [`limits::IDLE_MS_MAX`], or less where places run short | closed after what is still being written; GOAWAY |
//! | closing | [`limits::CLOSING_MS_MAX`] | closed |
//!
//! The socket ([`super::wire`]) tells what arrives and leaves, the service tells requests and answers, and the task that drives
//! the connection asks what is due. All of that is bookkeeping without waiting, so one lock that is never held for long.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits;

/// Why a connection is closed before its client closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// A request head took too long, or none came.
    Head,
    /// Nothing was asked for too long.
    Idle,
    /// Places ran short, and it was not being used.
    Shortage,
    /// The client does not take its answer.
    Unread,
    /// It was to be closed, and did not end.
    Closing,
}

impl Over {
    /// Every reason there is.
    pub(super) const ALL: [Self; 5] = [Self::Head, Self::Idle, Self::Shortage, Self::Unread, Self::Closing];

    /// Its word: the label of the metric.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Head => "head_too_slow",
            Self::Idle => "idle",
            Self::Shortage => "places_short",
            Self::Unread => "answer_unread",
            Self::Closing => "closing_too_slow",
        }
    }

    /// Whether what is being written may still go out before the connection is closed.
    pub(super) fn lets_finish(self) -> bool {
        matches!(self, Self::Idle | Self::Shortage)
    }
}

/// The pulse of one connection.
#[derive(Debug)]
pub(super) struct Pulse {
    state: Mutex<State>,
    /// Told when the place is wanted for others.
    wanted: Notify,
}

#[derive(Debug)]
struct State {
    /// When it was accepted.
    begun: Instant,
    /// A request has come.
    asked: bool,
    /// Requests whose answers have not been handed over to the last byte.
    under_way: usize,
    /// When the last of them was, or the last byte went out; when it was accepted, before that.
    last_used: Instant,
    /// When the head that is arriving began.
    head_begun: Option<Instant>,
    /// HTTP/2 answers of which a piece waits for the client, and since when.
    untaken: BTreeMap<u64, Instant>,
    /// The next answer's number.
    next: u64,
    /// When it was told to close.
    closing: Option<Instant>,
    /// Its place was asked for.
    wanted: bool,
}

impl Pulse {
    /// A connection accepted now.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let state = State {
            begun: now,
            asked: false,
            under_way: 0,
            last_used: now,
            head_begun: None,
            untaken: BTreeMap::new(),
            next: 0,
            closing: None,
            wanted: false,
        };
        Self { state: Mutex::new(state), wanted: Notify::new() }
    }

    /// When it was accepted.
    pub(super) fn begun(&self) -> Instant {
        self.state().begun
    }

    /// Nothing in here can be left half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes came in over HTTP/1.1, or before it is known which HTTP is spoken: of a head, unless a request is under way.
    pub(super) fn bytes_came(&self) {
        let mut state = self.state();
        if state.under_way == 0 && state.head_begun.is_none() {
            state.head_begun = Some(Instant::now());
        }
    }

    /// An HTTP/2 head began, or came to its end.
    pub(super) fn head_is_open(&self, open: bool) {
        let mut state = self.state();
        match (open, state.head_begun) {
            (true, None) => state.head_begun = Some(Instant::now()),
            (false, Some(_)) => state.head_begun = None,
            _ => {}
        }
    }

    /// Bytes of HTTP/1.1 went out.
    pub(super) fn bytes_left(&self) {
        self.state().last_used = Instant::now();
    }

    /// A request has come.
    pub(super) fn request_begins(&self) {
        let mut state = self.state();
        state.asked = true;
        state.under_way += 1;
        state.head_begun = None;
    }

    /// The answer of a request has been handed over, or nobody waits for it any more.
    pub(super) fn request_ends(&self) {
        let mut state = self.state();
        debug_assert!(state.under_way > 0, "each request ends once");
        state.under_way = state.under_way.saturating_sub(1);
        state.last_used = Instant::now();
    }

    /// A number for an HTTP/2 answer.
    pub(super) fn number(&self) -> u64 {
        let mut state = self.state();
        state.next += 1;
        state.next
    }

    /// A piece of an HTTP/2 answer waits for the client from now on, or was taken.
    pub(super) fn piece_waits(&self, number: u64, waits: bool) {
        let mut state = self.state();
        if waits {
            state.untaken.insert(number, Instant::now());
        } else {
            state.untaken.remove(&number);
        }
    }

    /// It closes from now on; what is under way may finish.
    pub(super) fn closes(&self) {
        let mut state = self.state();
        state.closing.get_or_insert_with(Instant::now);
    }

    /// What is over next, and when; `None` as long as something else has to happen first.
    pub(super) fn due(&self) -> Option<(Instant, Over)> {
        let state = self.state();
        let after = |since: Instant, ms| since + Duration::from_millis(ms);
        let head = state.head_begun.map(|since| (after(since, limits::REQUEST_HEAD_MS_MAX), Over::Head));
        let first = (!state.asked).then(|| (after(state.begun, limits::REQUEST_HEAD_MS_MAX), Over::Head));
        let oldest = state.untaken.values().min();
        let unread = oldest.map(|since| (after(*since, limits::ANSWER_STALL_MS_MAX), Over::Unread));
        let unused = (state.under_way == 0).then(|| match state.closing {
            Some(since) => (after(since.max(state.last_used), limits::CLOSING_MS_MAX), Over::Closing),
            None => (after(state.last_used, limits::IDLE_MS_MAX), Over::Idle),
        });
        [head, first, unread, unused].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Whether its place was ever used, and since when it is not; `None` where a request is under way, or where it was told to close
    /// already.
    pub(super) fn unused(&self) -> Option<(bool, Instant)> {
        let state = self.state();
        let free = state.under_way == 0 && state.closing.is_none() && !state.wanted;
        free.then_some((state.asked, state.last_used))
    }

    /// Asks for its place.
    pub(super) fn want_place(&self) {
        self.state().wanted = true;
        self.wanted.notify_one();
    }

    /// Completes when its place is asked for.
    pub(super) async fn place_wanted(&self) {
        self.wanted.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const HEAD: Duration = Duration::from_millis(limits::REQUEST_HEAD_MS_MAX);
    const IDLE: Duration = Duration::from_millis(limits::IDLE_MS_MAX);
    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_first_request_has_the_time_of_a_head_from_the_start_however_its_bytes_come() {
        let (pulse, begun) = (Pulse::new(), Instant::now());
        assert_eq!(pulse.due(), Some((begun + HEAD, Over::Head)));
        for _ in 0..5 {
            advance(SECOND).await;
            pulse.bytes_came();
            assert_eq!(pulse.due(), Some((begun + HEAD, Over::Head)), "a byte a second buys no time");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_head_has_its_time_from_its_first_byte_and_idling_a_longer_one() {
        let pulse = Pulse::new();
        pulse.bytes_came();
        pulse.request_begins();
        assert_eq!(pulse.due(), None, "whoever answers has its own limits");
        pulse.bytes_came();
        assert_eq!(pulse.due(), None, "these bytes are a body's");
        pulse.request_ends();
        assert_eq!(pulse.due(), Some((Instant::now() + IDLE, Over::Idle)));
        advance(30 * SECOND).await;
        let first_byte = Instant::now();
        pulse.bytes_came();
        advance(5 * SECOND).await;
        pulse.bytes_came();
        assert_eq!(pulse.due(), Some((first_byte + HEAD, Over::Head)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_still_being_written_is_not_idle() {
        let pulse = Pulse::new();
        pulse.request_begins();
        pulse.request_ends();
        advance(IDLE - SECOND).await;
        pulse.bytes_left();
        assert_eq!(pulse.due(), Some((Instant::now() + IDLE, Over::Idle)));
        pulse.closes();
        let closing = Duration::from_millis(limits::CLOSING_MS_MAX);
        assert_eq!(pulse.due(), Some((Instant::now() + closing, Over::Closing)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_answer_that_waits_longest_for_its_client_counts() {
        let (pulse, stall) = (Pulse::new(), Duration::from_millis(limits::ANSWER_STALL_MS_MAX));
        pulse.request_begins();
        pulse.request_begins();
        let (one, other, begun) = (pulse.number(), pulse.number(), Instant::now());
        pulse.piece_waits(one, true);
        advance(SECOND).await;
        pulse.piece_waits(other, true);
        assert_eq!(pulse.due(), Some((begun + stall, Over::Unread)));
        pulse.piece_waits(one, false);
        assert_eq!(pulse.due(), Some((begun + SECOND + stall, Over::Unread)));
        pulse.piece_waits(other, false);
        assert_eq!(pulse.due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_http_2_head_counts_while_other_requests_are_under_way() {
        let pulse = Pulse::new();
        pulse.request_begins();
        advance(SECOND).await;
        let begun = Instant::now();
        pulse.head_is_open(true);
        advance(SECOND).await;
        pulse.head_is_open(true);
        assert_eq!(pulse.due(), Some((begun + HEAD, Over::Head)));
        pulse.head_is_open(false);
        assert_eq!(pulse.due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_asked_for_once_and_only_where_nobody_uses_it() {
        let pulse = Pulse::new();
        let begun = Instant::now();
        assert_eq!(pulse.unused(), Some((false, begun)));
        pulse.request_begins();
        assert_eq!(pulse.unused(), None);
        pulse.request_ends();
        pulse.want_place();
        assert_eq!(pulse.unused(), None);
        pulse.place_wanted().await;
    }
}
