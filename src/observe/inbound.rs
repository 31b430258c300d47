//! What happens to the requests of third parties.
//!
//! A stranger can have as many requests refused as he likes, and a third party may send what the config says nothing of, so the
//! lines about both are bounded; the metrics count all. No line holds a value of a header, a secret or anything of a body.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Metrics;
use super::flood::{Flood, Turn};
use crate::clock::SharedClock;
use crate::limits;
use crate::model::text::{EventType, SourceName};

/// Where lines about inbound requests are written. One for each daemon.
#[derive(Debug)]
pub struct Lines {
    metrics: Arc<Metrics>,
    refusals: Flood,
    oddities: Flood,
}

impl Lines {
    /// A new one.
    #[must_use]
    pub fn shared(clock: SharedClock, metrics: Arc<Metrics>) -> Arc<Self> {
        let flood = || Flood::new(Arc::clone(&clock), limits::INBOUND_LINES_PER_SECOND_MAX);
        Arc::new(Self { metrics, refusals: flood(), oddities: flood() })
    }

    /// Tells in time what was not told one by one, until `stop` is cancelled.
    pub async fn sum_up(self: Arc<Self>, stop: CancellationToken) {
        tokio::join!(self.refusals.sum_up(&stop, more_refused), self.oddities.sum_up(&stop, more_odd));
    }

    /// Whether something odd is told by itself.
    fn tells_oddity(&self) -> bool {
        let Turn { tells, owed } = self.oddities.happened();
        more_odd(owed);
        tells
    }
}

fn more_refused(count: u64) {
    if count > 0 {
        tracing::warn!(count, "inbound requests were refused: more than are told one by one");
    }
}

fn more_odd(count: u64) {
    if count > 0 {
        tracing::warn!(
            count,
            "inbound events without a type, or under a key that is taken: more than are told one by one"
        );
    }
}

/// The reason of a request for which there is no source.
pub const NO_SOURCE: &str = "not-found";

/// A request was for no source.
pub struct SourceMissing<'a> {
    /// The name that it asks for, where a source could have it: a third party may have been given a wrong one. Anything else is what
    /// is asked of every machine on the internet, all day, and tells an operator nothing.
    pub name: Option<&'a SourceName>,
    /// Who is at the other end of the connection.
    pub peer: &'a dyn fmt::Display,
}

impl SourceMissing<'_> {
    /// Tells it.
    pub fn tell(&self, lines: &Lines) {
        let Self { name, peer } = self;
        lines.metrics.inbound_refused.with_label_values(&["", NO_SOURCE]).inc();
        let Some(name) = name else {
            tracing::debug!(%peer, "a request on [inbound] was for no path of a source");
            return;
        };
        let Turn { tells, owed } = lines.refusals.happened();
        more_refused(owed);
        if tells {
            tracing::warn!(%name, %peer, "an inbound request was for a source that the config does not have");
        }
    }
}

/// A request was refused.
pub struct RequestRefused<'a> {
    /// The source that its path names.
    pub source: &'a SourceName,
    /// Why, in a word of a closed set: the signature's refusal, or the problem that was answered.
    pub reason: &'static str,
    /// The status that was answered.
    pub status: u16,
    /// Where the client is, as far as that is known.
    pub client: Option<IpAddr>,
    /// Who is at the other end of the connection: the client itself, or a proxy.
    pub peer: &'a dyn fmt::Display,
}

impl RequestRefused<'_> {
    /// Tells it.
    pub fn tell(&self, lines: &Lines) {
        let Self { source, reason, status, client, peer } = self;
        let source = source.as_str();
        lines.metrics.inbound_refused.with_label_values(&[source, *reason]).inc();
        let Turn { tells, owed } = lines.refusals.happened();
        more_refused(owed);
        if tells {
            let client = client.map(tracing::field::display);
            tracing::warn!(source, reason, status, client, %peer, "an inbound request was refused");
        }
    }
}

/// An event of a third party is durable, or was known already.
#[derive(Debug)]
pub struct EventTaken<'a> {
    /// Its source.
    pub source: &'a SourceName,
    /// Whether it was known already.
    pub duplicate: bool,
    /// From the last byte of the body to the answer.
    pub took: Duration,
}

impl EventTaken<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        let Self { source, duplicate, took } = self;
        let source = &[source.as_str()];
        let counter = if *duplicate { &metrics.inbound_duplicates } else { &metrics.inbound_accepted };
        counter.with_label_values(source).inc();
        metrics.inbound_ack_seconds.with_label_values(source).observe(took.as_secs_f64());
    }
}

/// A request has a type at none of the places that the config names for it. Its event is stored all the same.
#[derive(Debug)]
pub struct TypeMissing<'a> {
    /// Its source.
    pub source: &'a SourceName,
    /// The type that the event has instead.
    pub event_type: &'a EventType,
}

impl TypeMissing<'_> {
    /// Tells it.
    pub fn tell(&self, lines: &Lines) {
        let Self { source, event_type } = self;
        lines.metrics.inbound_untyped.with_label_values(&[source.as_str()]).inc();
        if lines.tells_oddity() {
            tracing::warn!(
                %source,
                %event_type,
                "a request has no type where event_type of its source looks for one; its event is stored under this type"
            );
        }
    }
}

/// The key under which a repeat of a request would be known belongs to another event, which a producer has posted.
#[derive(Debug)]
pub struct KeyTaken<'a> {
    /// Its source.
    pub source: &'a SourceName,
}

impl KeyTaken<'_> {
    /// Tells it.
    pub fn tell(&self, lines: &Lines) {
        if lines.tells_oddity() {
            tracing::warn!(
                source = %self.source,
                "a producer has used an Idempotency-Key of this source for another event; the request's event is stored, but its \
                 repeats will not be known"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, ManualHandle, UnixMs};
    use crate::observe::testing::logging;

    fn lines() -> (Arc<Lines>, Arc<ManualClock>) {
        let clock = ManualClock::at(UnixMs(1_700_000_000_000));
        (Lines::shared(Arc::new(ManualHandle(Arc::clone(&clock))), Metrics::shared()), clock)
    }

    fn source() -> SourceName {
        SourceName::parse("github").unwrap()
    }

    #[test]
    fn a_refusal_names_source_reason_client_and_proxy() {
        let refused = |client: Option<&str>| {
            let client = client.map(|client| client.parse().unwrap());
            let peer = &"10.0.0.1:5000";
            RequestRefused { source: &source(), reason: "mismatch", status: 401, client, peer }.tell(&lines().0);
        };
        logging(false, |log| {
            refused(Some("192.0.2.7"));
            refused(None);
            let known = " WARN an inbound request was refused source=\"github\" reason=\"mismatch\" status=401 \
                         client=192.0.2.7 peer=10.0.0.1:5000";
            assert_eq!(log.lines(), [known, &known.replace("client=192.0.2.7 ", "")]);
        });
    }

    #[test]
    fn a_flood_is_a_few_lines_and_a_number_and_the_metric_counts_all() {
        const MAX: u32 = limits::INBOUND_LINES_PER_SECOND_MAX;
        let (lines, clock) = lines();
        let name = source();
        let refuse = || SourceMissing { name: Some(&name), peer: &"unix" }.tell(&lines);
        logging(false, |log| {
            for _ in 0..MAX + 7 {
                refuse();
            }
            assert_eq!(log.lines().len(), MAX as usize);
            clock.advance_ms(1000);
            refuse();
            let told = log.lines();
            assert!(told.len() == 2 && told[0].ends_with(" count=7"), "{told:?}");
        });
        assert_eq!(lines.metrics.inbound_refused.with_label_values(&["", "not-found"]).get(), u64::from(MAX) + 8);
    }

    #[test]
    fn what_is_asked_of_every_machine_is_counted_and_not_told() {
        let (lines, _) = lines();
        logging(false, |log| {
            SourceMissing { name: None, peer: &"192.0.2.7:5000" }.tell(&lines);
            assert!(log.lines().is_empty());
            SourceMissing { name: Some(&source()), peer: &"192.0.2.7:5000" }.tell(&lines);
            let told = log.lines();
            assert!(told.len() == 1 && told[0].contains("name=github") && told[0].contains("192.0.2.7"), "{told:?}");
        });
        assert_eq!(lines.metrics.inbound_refused.with_label_values(&["", NO_SOURCE]).get(), 2);
    }

    #[test]
    fn oddities_have_lines_of_their_own() {
        const MAX: u32 = limits::INBOUND_LINES_PER_SECOND_MAX;
        let (lines, _) = lines();
        logging(false, |log| {
            for _ in 0..MAX {
                SourceMissing { name: Some(&source()), peer: &"unix" }.tell(&lines);
            }
            let event_type = EventType::parse("github.unknown").unwrap();
            TypeMissing { source: &source(), event_type: &event_type }.tell(&lines);
            KeyTaken { source: &source() }.tell(&lines);
            let told = log.lines().split_off(MAX as usize);
            assert!(told.len() == 2 && told[0].contains("event_type=github.unknown"), "{told:?}");
            assert!(told[1].contains("Idempotency-Key"), "{told:?}");
        });
        assert_eq!(lines.metrics.inbound_untyped.with_label_values(&["github"]).get(), 1);
    }
}
