//! The audit log: who did what, and who was turned away. One structured line for each, whatever the log's level is.
//!
//! | field | is |
//! |---|---|
//! | `audit` | `true`: what tells these lines from all others |
//! | `action` | a word of [`Action`] |
//! | `actor` | `token:NAME`, `anonymous` (no token was sent), `unknown` (one that nobody knows), `signal` |
//! | `peer` | where the request came from; left out for a signal |
//! | `object` | the endpoint or the event; of a request that was refused for its host or origin, that |
//! | `filter` | what of the object, for a replay |
//! | `outcome`, `status` | `ok`, or the word of the problem; the status that was answered |
//! | `count` | how many deliveries were put back, or refusals were not told one by one |
//!
//! Acts are always told, each once, also where nobody waits for the answer any more (`abandoned`: it may have been done or
//! not). Refusals cost a stranger nothing, so only so many are told each second; the rest is counted, and told in one line.
//!
//! No line holds a token's value, a query or a body. What a client typed is cut and escaped, so that it forges no line.

use std::fmt;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Metrics;
use super::flood::{Flood, Turn};
use crate::clock::SharedClock;
use crate::limits;

/// The target of every line; the log's filter lets it pass.
pub const TARGET: &str = "webhookd::audit";

/// What somebody did, or wanted to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Post events. Told only where it was refused.
    Send,
    /// Read something. Told only where it was refused.
    Read,
    /// Pause an endpoint.
    Pause,
    /// Resume one.
    Resume,
    /// Send a test event to one.
    Ping,
    /// Put deliveries back in the queue.
    Replay,
    /// Read the config anew.
    Reload,
    /// Something that there is not.
    Unknown,
}

impl Action {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Read => "read",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Ping => "ping",
            Self::Replay => "replay",
            Self::Reload => "reload",
            Self::Unknown => "unknown",
        }
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Somebody without a token.
    Anonymous,
    /// Somebody with a token that is none, or with several.
    Unknown,
    /// The one who has the token of this name.
    Token(Arc<str>),
    /// The one who has sent the process a signal.
    Signal,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::Unknown => f.write_str("unknown"),
            Self::Token(name) => write!(f, "token:{name}"),
            Self::Signal => f.write_str("signal"),
        }
    }
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `ok`, or the word of a problem.
    pub word: &'static str,
    /// The status that was answered, where somebody was answered.
    pub status: Option<u16>,
}

impl Outcome {
    /// Nobody waits for the answer any more.
    const ABANDONED: Self = Self { word: "abandoned", status: None };
}

/// A request that was turned away.
pub struct Refusal<'a> {
    /// What it was to do.
    pub action: Action,
    /// Who sent it.
    pub actor: &'a Actor,
    /// From where.
    pub peer: &'a dyn fmt::Display,
    /// What it was about, as the client wrote it.
    pub object: Option<&'a str>,
    /// The problem that was answered.
    pub outcome: Outcome,
}

/// Where audit lines are written. One for each daemon.
#[derive(Debug)]
pub struct Trail {
    metrics: Arc<Metrics>,
    refusals: Flood,
}

impl Trail {
    /// A new one.
    #[must_use]
    pub fn shared(clock: SharedClock, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { metrics, refusals: Flood::new(clock, limits::AUDIT_REFUSALS_PER_SECOND_MAX) })
    }

    /// Somebody who may do it begins to. `object` is as the client wrote it.
    #[must_use]
    pub fn begin(self: &Arc<Self>, action: Action, actor: &Actor, peer: Option<String>, object: Option<&str>) -> Entry {
        let (actor, object) = (actor.to_string(), object.map(shown));
        let line = Line { action, actor, peer, object, filter: None, count: None };
        Entry { trail: Arc::clone(self), line, ended: false }
    }

    /// Somebody was turned away.
    pub fn refuse(&self, refusal: &Refusal<'_>) {
        let Turn { tells, owed } = self.refusals.happened();
        tell_rest(owed);
        if !tells {
            self.metrics.audit_held_back.inc();
            return;
        }
        let Refusal { action, actor, peer, object, outcome } = refusal;
        let (actor, peer, object) = (actor.to_string(), peer.to_string(), object.map(shown));
        tracing::warn!(
            target: TARGET,
            audit = true,
            action = action.word(),
            actor,
            peer,
            object,
            outcome = outcome.word,
            status = outcome.status,
            "refused"
        );
    }

    /// Tells in time what was not told one by one, until `stop` is cancelled.
    pub async fn sum_up(self: Arc<Self>, stop: CancellationToken) {
        self.refusals.sum_up(&stop, tell_rest).await;
    }
}

fn tell_rest(owed: u64) {
    if owed > 0 {
        tracing::warn!(
            target: TARGET,
            audit = true,
            action = "several",
            outcome = "refused",
            count = owed,
            "refused: more than are told one by one"
        );
    }
}

#[derive(Debug)]
struct Line {
    action: Action,
    actor: String,
    peer: Option<String>,
    object: Option<String>,
    filter: Option<String>,
    count: Option<usize>,
}

/// The line of an act that is under way. It is written when the act ends, or when nobody waits for it any more.
#[derive(Debug)]
pub struct Entry {
    trail: Arc<Trail>,
    line: Line,
    ended: bool,
}

impl Entry {
    /// What of the object is meant: built from words and times that were understood.
    pub fn set_filter(&mut self, filter: String) {
        self.line.filter = Some(filter);
    }

    /// How many deliveries were put back so far.
    pub fn set_count(&mut self, count: usize) {
        self.line.count = Some(count);
    }

    /// The act has ended so.
    pub fn end(mut self, outcome: Outcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Outcome) {
        self.ended = true;
        tell_rest(self.trail.refusals.owed());
        let Line { action, actor, peer, object, filter, count } = &self.line;
        tracing::info!(
            target: TARGET,
            audit = true,
            action = action.word(),
            actor,
            peer,
            object,
            filter,
            count,
            outcome = outcome.word,
            status = outcome.status,
            "done"
        );
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(Outcome::ABANDONED);
        }
    }
}

/// A text of a client's as a line may hold it: visible ASCII, not too long. Everything else in it is written as an escape, so
/// that it neither ends the line, nor moves a terminal's cursor, nor looks like other letters.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == limits::AUDIT_TEXT_CHARS_MAX {
            shown.push_str("...");
            break;
        }
        match c {
            ' '..='~' => shown.push(c),
            other => shown.extend(other.escape_default()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, ManualHandle, UnixMs};
    use crate::observe::testing::logging;

    fn trail() -> (Arc<Trail>, Arc<ManualClock>, Arc<Metrics>) {
        let (clock, metrics) = (ManualClock::at(UnixMs(1_700_000_000_000)), Metrics::shared());
        (Trail::shared(Arc::new(ManualHandle(Arc::clone(&clock))), Arc::clone(&metrics)), clock, metrics)
    }

    fn refuse(trail: &Trail) {
        let outcome = Outcome { word: "unauthorized", status: Some(401) };
        let refusal =
            Refusal { action: Action::Read, actor: &Actor::Unknown, peer: &"192.0.2.7:1", object: None, outcome };
        trail.refuse(&refusal);
    }

    #[test]
    fn an_act_is_one_line_in_either_format() {
        let act = |trail: &Arc<Trail>| {
            let actor = Actor::Token("ops".into());
            let mut entry = trail.begin(Action::Replay, &actor, Some("127.0.0.1:5".to_owned()), Some("billing"));
            entry.set_filter("state=dead".to_owned());
            entry.set_count(3);
            entry.end(Outcome { word: "ok", status: Some(202) });
        };
        logging(false, |log| {
            act(&trail().0);
            let expected = " INFO done audit=true action=\"replay\" actor=\"token:ops\" peer=\"127.0.0.1:5\" object=\"billing\" \
                            filter=\"state=dead\" count=3 outcome=\"ok\" status=202";
            assert_eq!(log.lines(), [expected]);
        });
        logging(true, |log| {
            act(&trail().0);
            let line: serde_json::Value = serde_json::from_str(&log.lines()[0]).unwrap();
            let expected = serde_json::json!({
                "level": "INFO", "message": "done", "target": "webhookd::audit", "audit": true, "action": "replay",
                "actor": "token:ops", "peer": "127.0.0.1:5", "object": "billing", "filter": "state=dead", "count": 3,
                "outcome": "ok", "status": 202,
            });
            assert_eq!(line, expected);
        });
    }

    #[test]
    fn an_act_that_nobody_waits_for_is_told_too() {
        logging(false, |log| {
            drop(trail().0.begin(Action::Reload, &Actor::Signal, None, None));
            assert_eq!(log.lines(), [" INFO done audit=true action=\"reload\" actor=\"signal\" outcome=\"abandoned\""]);
        });
    }

    #[test]
    fn what_a_client_typed_forges_no_line() {
        let forged = "x\"\n INFO done audit=true actor=\"token:ops\" \u{1b}[2K\r\u{202e}\u{0430}";
        for json in [false, true] {
            logging(json, |log| {
                drop(trail().0.begin(Action::Pause, &Actor::Anonymous, None, Some(forged)));
                let lines = log.lines();
                assert_eq!(lines.len(), 1, "{lines:?}");
                assert!(lines[0].bytes().all(|byte| matches!(byte, b' '..=b'~')), "{lines:?}");
                assert!(lines[0].contains("anonymous") && !lines[0].contains(" actor=\"token:ops\""), "{lines:?}");
            });
        }
        let long = shown(&"x".repeat(10_000));
        assert_eq!(long.len(), limits::AUDIT_TEXT_CHARS_MAX + 3);
    }

    #[test]
    fn a_flood_of_refusals_is_counted_and_acts_are_told_all_the_same() {
        const MAX: u32 = limits::AUDIT_REFUSALS_PER_SECOND_MAX;
        logging(false, |log| {
            let (trail, clock, metrics) = trail();
            for _ in 0..MAX + 5 {
                refuse(&trail);
            }
            assert_eq!(log.lines().len(), MAX as usize);
            trail.begin(Action::Pause, &Actor::Anonymous, None, None).end(Outcome { word: "ok", status: Some(200) });
            let lines = log.lines();
            assert!(lines[0].contains("action=\"several\"") && lines[0].ends_with("count=5"), "{lines:?}");
            assert!(lines.len() == 2 && lines[1].contains("pause"), "{lines:?}");
            for _ in 0..7 {
                refuse(&trail);
            }
            clock.advance_ms(1000);
            refuse(&trail);
            let lines = log.lines();
            assert!(lines.len() == 2 && lines[0].ends_with("count=7"), "{lines:?}");
            assert_eq!(metrics.audit_held_back.get(), 12);
        });
    }

    #[test]
    fn what_was_not_told_is_told_when_the_second_is_over_and_at_the_end() {
        logging(false, |log| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            runtime.unwrap().block_on(async {
                let (trail, _, _) = trail();
                let stop = CancellationToken::new();
                let flood = || (0..=limits::AUDIT_REFUSALS_PER_SECOND_MAX).for_each(|_| refuse(&trail));
                let client = async {
                    flood();
                    log.lines();
                    tokio::time::sleep(std::time::Duration::from_millis(2000)).await;
                    assert!(log.lines()[0].ends_with("count=1"));
                    refuse(&trail);
                    stop.cancel();
                };
                tokio::join!(client, Arc::clone(&trail).sum_up(stop.clone()));
                assert!(log.lines()[0].ends_with("count=1"));
            });
        });
    }
}
