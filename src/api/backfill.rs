//! `POST /v1/endpoints/{name}/replay` `{"state"?,"since"?,"until"?}`: deliveries of a whole endpoint put back in the
//! queue.
//!
//! It covers every stored event whose type matches the endpoint's `events`, also those accepted before the endpoint
//! existed:
//!
//! | `state` | is put back |
//! |---|---|
//! | none | what the endpoint has missed: dead deliveries, and events it was never given |
//! | `"dead"`, `"delivered"` | its deliveries in this state |
//! | `"any"` | all of these |
//!
//! What is pending stays as it is. The work goes on when the client goes away.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Body as HttpBody;
use hyper::{Request, StatusCode};
use serde::Serialize;
use tokio_util::task::TaskTracker;

use super::Api;
use super::endpoints::target;
use super::events::unreadable;
use super::ingest::json::read_options;
use super::query::moment;
use super::routes::outcome;
use crate::clock::UnixMs;
use crate::front::answer::{Answer, json};
use crate::front::body;
use crate::front::problem::{Faults, Problem, ProblemKind, pointer};
use crate::intake::readiness::Phase;
use crate::limits;
use crate::model::delivery::{DeliveryRef, DeliveryState};
use crate::model::roster::EndpointNo;
use crate::model::text::EndpointName;
use crate::observe::audit::Entry;
use crate::outbox::{EventSummary, ListQuery};

/// Which deliveries are put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Missed,
    Dead,
    Delivered,
    Any,
}

impl Which {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "dead" => Ok(Self::Dead),
            "delivered" => Ok(Self::Delivered),
            "any" => Ok(Self::Any),
            _ => Err("must be \"dead\", \"delivered\" or \"any\""),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Dead => "dead",
            Self::Delivered => "delivered",
            Self::Any => "any",
        }
    }

    /// Whether an event is put back whose delivery stands so; `None`: the endpoint never had it.
    fn takes(self, state: Option<DeliveryState>) -> bool {
        match state {
            None => matches!(self, Self::Missed | Self::Any),
            Some(DeliveryState::Dead) => self != Self::Delivered,
            Some(DeliveryState::Delivered) => matches!(self, Self::Delivered | Self::Any),
            Some(DeliveryState::Pending) => false,
        }
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    which: Which,
    since: Option<UnixMs>,
    until: UnixMs,
}

/// In words, for the audit log.
impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state={}", self.which.word())?;
        if let Some(since) = self.since {
            write!(f, " since={since}")?;
        }
        write!(f, " until={}", self.until)
    }
}

impl Wish {
    fn read(body: &[u8], now: UnixMs) -> Result<Self, Problem> {
        let mut faults = Faults::default();
        // Events that come while it runs are none of its business.
        let mut wish = Self { which: Which::Missed, since: None, until: now.plus_ms(1) };
        for (name, value) in read_options(body, &["state", "since", "until"])? {
            let fault = match (&*name, value.string()) {
                (_, None) => Err("must be a string"),
                ("state", Some(text)) => Which::parse(&text).map(|which| wish.which = which),
                ("since", Some(text)) => moment(&text, now).map(|since| wish.since = Some(since)),
                (_, Some(text)) => moment(&text, now).map(|until| wish.until = until),
            };
            if let Err(detail) = fault {
                faults.add(ProblemKind::InvalidField, pointer("", &name), format!("{name} {detail}"));
            }
        }
        faults.or(Some(wish))
    }
}

#[derive(Serialize)]
struct Shown {
    endpoint: EndpointName,
    /// Deliveries that are pending now and were not.
    replayed: usize,
}

/// `POST /v1/endpoints/{name}/replay`
pub(super) async fn replay<B>(
    api: &Arc<Api>,
    tracker: &TaskTracker,
    name: &str,
    act: &mut Option<Entry>,
    request: Request<B>,
) -> Result<Answer, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let target = target(api, name)?;
    let (endpoint, endpoint_no) = (target.name().clone(), target.no);
    let types = target.endpoint.events.clone();
    let (head, body) = request.into_parts();
    let body = body::read(&head.headers, body, api.config.api.body_bytes_max, &api.holdings).await?;
    let wish = Wish::read(body.bytes(), api.clock.wall())?;
    if let Some(act) = act.as_mut() {
        act.set_filter(wish.to_string());
    }
    let Ok(permit) = Arc::clone(&api.replays).try_acquire_owned() else {
        let detail = "several endpoints are being replayed already; wait for one of these replays to end";
        return Err(Problem::new(ProblemKind::Busy, detail).retry_after_s(5));
    };
    let query = ListQuery {
        types: Some(types),
        endpoint: None,
        state: None,
        since: wish.since,
        until: Some(wish.until),
        limit: limits::LIST_LIMIT_MAX,
        cursor: None,
    };
    let (running, mut act) = (Arc::clone(api), act.take());
    let work = tracker.spawn(async move {
        let _permit = permit;
        let replayed = put_back(&running, endpoint_no, wish.which, query, act.as_mut()).await;
        let result = replayed.map(|replayed| json(StatusCode::ACCEPTED, &Shown { endpoint, replayed }));
        if let Some(act) = act {
            act.end(outcome(&result));
        }
        result
    });
    work.await.unwrap_or_else(|_| Err(Problem::new(ProblemKind::NotReady, "webhookd is stopping")))
}

/// Walks the events page by page, so that memory stays bounded however many there are.
async fn put_back(
    api: &Api,
    endpoint: EndpointNo,
    which: Which,
    mut query: ListQuery,
    mut act: Option<&mut Entry>,
) -> Result<usize, Problem> {
    let name = api.roster.name(endpoint);
    let mut replayed = 0;
    loop {
        let page = api.core()?.outbox.list(query.clone()).await.map_err(|error| unreadable(&error))?;
        let wanted = page.events.iter().filter(|event| is_wanted(event, &name, which));
        let deliveries: Vec<_> = wanted.map(|event| DeliveryRef { event: event.place, endpoint }).collect();
        if !deliveries.is_empty() {
            replayed += api.core()?.outbox.replay(deliveries).await?;
        }
        if let Some(act) = act.as_mut() {
            act.set_count(replayed);
        }
        match page.next {
            Some(cursor) if api.readiness.phase() != Phase::Draining => query.cursor = Some(cursor),
            Some(_) => {
                let detail =
                    format!("webhookd is stopping; {replayed} deliveries were put back, ask again for the rest");
                return Err(Problem::new(ProblemKind::NotReady, detail).retry_after_s(5));
            }
            None => return Ok(replayed),
        }
    }
}

fn is_wanted(event: &EventSummary, endpoint: &EndpointName, which: Which) -> bool {
    let delivery = event.deliveries.iter().find(|(name, _, _)| name == endpoint);
    let worn_out = delivery.is_some_and(|(_, _, progress)| progress.made >= limits::ATTEMPTS_MAX);
    !worn_out && which.takes(delivery.map(|(_, standing, _)| standing.state()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_700_000_000_000);

    #[test]
    fn a_wish_says_what_when_and_nothing_else() {
        let default = Wish { which: Which::Missed, since: None, until: NOW.plus_ms(1) };
        for empty in ["", " ", "{}", r#"{"state":null}"#] {
            assert_eq!(Wish::read(empty.as_bytes(), NOW), Ok(default), "{empty}");
        }
        let full = br#"{"state":"dead","since":"1h","until":"2023-11-14T22:13:20Z"}"#;
        let expected = Wish { which: Which::Dead, since: Some(UnixMs(NOW.0 - 3_600_000)), until: NOW };
        assert_eq!(Wish::read(full, NOW), Ok(expected));
        let words = "state=dead since=2023-11-14T21:13:20.000Z until=2023-11-14T22:13:20.000Z";
        assert_eq!(expected.to_string(), words);
        let table = [
            (r#"{"state":"pending"}"#, "/state"),
            (r#"{"since":5}"#, "/since"),
            (r#"{"until":"noon"}"#, "/until"),
            (r#"{"sinze":"1h"}"#, "/sinze"),
            (r#"{"since":"1h","since":"2h"}"#, "/since"),
            ("[]", ""),
        ];
        for (body, at) in table {
            let problem = Wish::read(body.as_bytes(), NOW).unwrap_err();
            assert_eq!((problem.kind.status().as_u16(), problem.pointer.as_deref()), (422, Some(at)), "{body}");
        }
        assert_eq!(Wish::read(b"{", NOW).unwrap_err().kind, ProblemKind::InvalidJson);
    }

    #[test]
    fn what_is_pending_is_never_put_back() {
        use DeliveryState::{Dead, Delivered, Pending};
        let states = [None, Some(Dead), Some(Delivered), Some(Pending)];
        let table = [
            (Which::Missed, [true, true, false, false]),
            (Which::Dead, [false, true, false, false]),
            (Which::Delivered, [false, false, true, false]),
            (Which::Any, [true, true, true, false]),
        ];
        for (which, expected) in table {
            assert_eq!(states.map(|state| which.takes(state)), expected, "{which:?}");
        }
    }
}
