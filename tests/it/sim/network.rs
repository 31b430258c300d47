//! The network: what each endpoint answers, at which moment, and who was asked what.

use std::sync::{Arc, Mutex, PoisonError};

use webhookd::clock::{MonoMs, SharedClock, UnixMs};
use webhookd::deliver::{Attempted, Courier, Job};
use webhookd::model::attempt::AttemptError;
use webhookd::model::delivery::DeadReason;
use webhookd::policy::answer::{Verdict, judge};
use webhookd::policy::breaker::Signal;

use super::content::spread;
use super::ledger::{Ledger, Now};

/// How an endpoint behaves for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Always the same answer, after so many milliseconds.
    Steady(Answer, u64),
    /// One attempt in so many is taken, the others meet the answer.
    Flapping(Answer, u64),
}

/// What comes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 200.
    Taken,
    /// 200, and no more after this one.
    TakenAsLast,
    /// A status that is tried again.
    Status(u16),
    /// 429 or 503 with `Retry-After` in seconds.
    Later(u16, u32),
    /// 429 with `Retry-After` as a date, so many seconds ahead.
    LaterAt(u32),
    /// 410.
    Gone,
    /// A failure that asks for no more attempts of this delivery.
    Abort,
    /// No answer within the attempt's time.
    Timeout,
    /// No connection.
    NoConnection,
}

/// What an answer means, as the contract has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The event was taken; `true`: and the endpoint is disabled.
    Delivered(bool),
    /// It is tried again; after so many milliseconds at least, where the answer named a time; `true`: the whole endpoint waits.
    Again(Option<u64>, bool),
    /// Nobody tries any more.
    Dead(DeadReason),
    /// The endpoint is disabled and the delivery waits.
    Disabled,
}

impl Behaviour {
    fn answer(self, chance: u64) -> (Answer, u64) {
        match self {
            Self::Steady(answer, after_ms) => (answer, after_ms),
            Self::Flapping(_, one_in) if chance.is_multiple_of(one_in) => (Answer::Taken, 0),
            Self::Flapping(answer, _) => (answer, 0),
        }
    }
}

impl Answer {
    /// Its status, where an answer came.
    pub(crate) fn status(self) -> Option<u16> {
        match self {
            Self::Taken | Self::TakenAsLast => Some(200),
            Self::Status(status) | Self::Later(status, _) => Some(status),
            Self::LaterAt(_) => Some(429),
            Self::Gone => Some(410),
            Self::Abort => Some(500),
            Self::Timeout | Self::NoConnection => None,
        }
    }

    /// What the contract says it means, to an endpoint with these permanent statuses.
    pub(crate) fn meaning(self, permanent: &[u16], now: UnixMs) -> Meaning {
        match self {
            Self::Taken => Meaning::Delivered(false),
            Self::TakenAsLast => Meaning::Delivered(true),
            Self::Gone => Meaning::Disabled,
            Self::Abort => Meaning::Dead(DeadReason::Aborted),
            Self::Status(status) | Self::Later(status, _) if permanent.contains(&status) => {
                Meaning::Dead(DeadReason::Permanent)
            }
            Self::Later(_, secs) => Meaning::Again(Some(u64::from(secs) * 1000), true),
            // A date has no milliseconds.
            Self::LaterAt(secs) => Meaning::Again(Some((now.secs() + u64::from(secs)) * 1000 - now.0), true),
            Self::Status(status) => Meaning::Again(None, status == 429),
            Self::Timeout | Self::NoConnection => Meaning::Again(None, false),
        }
    }

    /// What the contract says it tells of the endpoint, to one with these permanent statuses.
    pub(crate) fn signal(self, permanent: &[u16], now: UnixMs) -> Signal {
        match self.meaning(permanent, now) {
            Meaning::Delivered(_) => Signal::Success,
            Meaning::Again(..) if self.status() == Some(429) => Signal::Limited,
            Meaning::Again(..) => Signal::Failure,
            Meaning::Dead(_) | Meaning::Disabled => Signal::Nothing,
        }
    }

    /// What the daemon's own reading of such an answer is.
    fn verdict(self, permanent: &[u16], now: UnixMs) -> Verdict {
        let retry_after = match self {
            Self::Later(_, secs) => Some(secs.to_string()),
            Self::LaterAt(secs) => Some(http_date(now.secs() + u64::from(secs))),
            _ => None,
        };
        let says: Option<&[u8]> = match self {
            Self::Abort => Some(b"abort-message"),
            Self::TakenAsLast => Some(b"disable"),
            _ => None,
        };
        match self.status() {
            Some(status) => judge(status, retry_after.as_deref().map(str::as_bytes), says, permanent, now),
            None => Verdict::Retry { hint_ms: None, hold_endpoint: false },
        }
    }
}

fn http_date(secs: u64) -> String {
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs))
}

/// The lines to all endpoints, in one life of the daemon.
#[derive(Debug)]
pub(crate) struct Network {
    clock: SharedClock,
    ledger: Arc<Mutex<Ledger>>,
    behaviours: Mutex<Vec<Behaviour>>,
    /// When the requests under way end.
    ends: Mutex<Vec<MonoMs>>,
    seed: u64,
}

impl Network {
    /// Lines to endpoints that behave so.
    pub(crate) fn new(
        clock: SharedClock,
        ledger: Arc<Mutex<Ledger>>,
        behaviours: Vec<Behaviour>,
        seed: u64,
    ) -> Arc<Self> {
        Arc::new(Self { clock, ledger, behaviours: Mutex::new(behaviours), ends: Mutex::default(), seed })
    }

    /// Changes how one endpoint behaves.
    pub(crate) fn behave(&self, endpoint: usize, behaviour: Behaviour) {
        self.behaviours.lock().unwrap_or_else(PoisonError::into_inner)[endpoint] = behaviour;
    }

    /// Requests that will not end before the clock moves on.
    pub(crate) fn held(&self) -> usize {
        let now = self.clock.mono();
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|end| **end > now).count()
    }

    /// When the first of the requests under way ends.
    pub(crate) fn next_end(&self) -> Option<MonoMs> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).iter().min().copied()
    }

    fn now(&self) -> Now {
        Now::of(&self.clock)
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The courier that the dispatcher is given.
#[derive(Clone, Debug)]
pub(crate) struct Wire(pub Arc<Network>);

impl Courier for Wire {
    async fn attempt(&self, job: Job) -> Attempted {
        let network = &*self.0;
        let begun = network.now();
        let seen = network.ledger().attempt_begins(&job, begun);
        let endpoint = seen.endpoint;
        let chance = spread(network.seed ^ spread(seen.post as u64) ^ (endpoint as u64) << 32 ^ u64::from(job.n) << 48);
        let (answer, after_ms) = {
            let behaviour = network.behaviours.lock().unwrap_or_else(PoisonError::into_inner)[endpoint];
            behaviour.answer(chance)
        };
        let after_ms = if answer == Answer::Timeout { job.endpoint.timeout_ms } else { after_ms };
        if after_ms > 0 {
            let end = network.clock.mono().plus_ms(after_ms);
            network.ends.lock().unwrap_or_else(PoisonError::into_inner).push(end);
            network.clock.sleep_until(end).await;
            let mut ends = network.ends.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = ends.iter().position(|other| *other == end) {
                ends.swap_remove(at);
            }
        }
        let ended = network.now();
        network.ledger().attempt_ends(&seen, answer, begun, ended);
        let error = match answer {
            Answer::Timeout => Some(AttemptError::Timeout),
            Answer::NoConnection => Some(AttemptError::Connect),
            Answer::Taken | Answer::TakenAsLast => None,
            _ => Some(AttemptError::Status),
        };
        Attempted {
            at: begun.wall,
            status: answer.status(),
            error,
            detail: None,
            duration_ms: u32::try_from(ended.mono.since(begun.mono)).unwrap_or(u32::MAX),
            response: Vec::new(),
            verdict: answer.verdict(&job.endpoint.permanent, ended.wall),
        }
    }
}
