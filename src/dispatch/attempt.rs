//! One attempt from start to settlement. Runs as a task of its own, its permit taken before it was spawned.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use super::decide::{Decision, Judged, decide};
use super::health::LastError;
use super::report::{Report, Reporter, is_told};
use crate::clock::{SharedClock, UnixMs};
use crate::config::Endpoint;
use crate::deliver::{Attempted, Courier, Job};
use crate::model::attempt::{Attempt, AttemptError};
use crate::model::delivery::{DeadReason, DeliveryRef, Progress, Settlement, Standing};
use crate::model::event::Event;
use crate::observe::Metrics;
use crate::observe::deliveries::{AttemptEnded, Delivered, Died};
use crate::outbox::{Outbox, ReadError};
use crate::policy::answer::Verdict;
use crate::policy::breaker::Signal;
use crate::schedule::{Act, Start};

/// When an event is tried again that the storage did not give out, in milliseconds.
const STORAGE_AGAIN_MS: u64 = 10_000;

/// What an attempt works with; shared by all.
#[derive(Debug)]
pub(super) struct Workshop<C> {
    pub(super) outbox: Outbox,
    pub(super) courier: C,
    pub(super) clock: SharedClock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) reporter: Reporter,
}

/// What the dispatcher's task is told when an attempt has ended and is settled.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) delivery: DeliveryRef,
    pub(super) decision: Decision,
    pub(super) duration_ms: u32,
    /// When it ended.
    pub(super) at: UnixMs,
    pub(super) tells: Tells,
}

/// What it tells of how the endpoint is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tells {
    /// No request was made.
    Nothing,
    /// It took the event.
    Success,
    /// It did not.
    Failure(LastError),
}

impl<C: Courier> Workshop<C> {
    /// Makes the attempt and settles it, whatever comes: a delivery whose end is never told would keep its permit and
    /// wait for the next start.
    pub(super) async fn attempt(&self, start: Start, endpoint: Arc<Endpoint>, random: f64) -> Ended {
        let (delivery, before) = (start.delivery, start.progress);
        let work = async {
            match start.act {
                Act::Attempt { .. } => self.try_attempt(start, Arc::clone(&endpoint), random).await,
                Act::Expire => self.expire(start, &endpoint).await,
            }
        };
        match caught(work).await {
            Some(ended) => ended,
            None => self.panicked(delivery, before, &endpoint, random).await,
        }
    }

    async fn try_attempt(&self, start: Start, endpoint: Arc<Endpoint>, random: f64) -> Ended {
        let n = start.progress.made.saturating_add(1);
        let event = match self.event(&start, &endpoint).await {
            Ok(event) => event,
            Err(ended) => return *ended,
        };
        let job = Job { event: Arc::clone(&event), endpoint: Arc::clone(&endpoint), n };
        let attempted = self.courier.attempt(job).await;
        let now = self.clock.wall();
        let judged = Judged { verdict: attempted.verdict, status: attempted.status };
        let decision = decide(judged, &endpoint.retry, start.progress, random, now);
        self.tell(&attempted, &decision, &event, &endpoint, start.accepted_at, now);
        let failure = |error| Tells::Failure(LastError { at: now, status: attempted.status, error });
        let tells = attempted.error.map_or(Tells::Success, failure);
        let duration_ms = attempted.duration_ms;
        self.outbox
            .settle(Settlement {
                delivery: start.delivery,
                attempt: Some(Attempt {
                    n,
                    at: attempted.at,
                    status: attempted.status,
                    error: attempted.error,
                    duration_ms,
                    response: attempted.response,
                }),
                standing: decision.standing,
                progress: decision.progress,
            })
            .await;
        if let Standing::Dead(reason) = decision.standing {
            self.report_death(&event, &endpoint, reason, decision.progress).await;
        }
        Ended { delivery: start.delivery, decision, duration_ms, at: now, tells }
    }

    /// Its whole schedule has passed while nothing was sent to the endpoint: it is dead, and no request is made.
    async fn expire(&self, start: Start, endpoint: &Endpoint) -> Ended {
        let event = match self.event(&start, endpoint).await {
            Ok(event) => event,
            Err(ended) => return *ended,
        };
        let Start { delivery, progress, .. } = start;
        let reason = DeadReason::BreakerOpen;
        Died { event: &event.id, endpoint: &endpoint.name, reason, progress }.tell(&self.metrics);
        let standing = Standing::Dead(reason);
        self.outbox.settle(Settlement { delivery, attempt: None, standing, progress }).await;
        self.report_death(&event, endpoint, reason, progress).await;
        self.without_request(delivery, standing, progress, None)
    }

    /// The event of a start, from memory or from the outbox; else the end of the attempt that cannot be made.
    async fn event(&self, start: &Start, endpoint: &Endpoint) -> Result<Arc<Event>, Box<Ended>> {
        if let Some(event) = &start.fresh {
            return Ok(Arc::clone(event));
        }
        match self.outbox.load(start.delivery.event).await {
            Ok(Some(event)) => Ok(event),
            Ok(None) | Err(ReadError::Lost(_)) => Err(Box::new(self.lost(start, endpoint).await)),
            Err(error) => Err(Box::new(self.unread(start.delivery, start.progress, endpoint, &error))),
        }
    }

    async fn report_death(&self, event: &Event, endpoint: &Endpoint, reason: DeadReason, progress: Progress) {
        if !is_told(event.event_type.as_str()) {
            return;
        }
        let report = Report::Dead {
            event: event.id.to_string(),
            event_type: event.event_type.to_string(),
            endpoint: endpoint.name.clone(),
            reason: reason.word(),
            attempts: progress.made,
        };
        self.reporter.tell(report).await;
    }

    /// The end of an attempt at which no request was made: it says nothing of the endpoint. `error`: why, where that is worth
    /// showing.
    fn without_request(
        &self,
        delivery: DeliveryRef,
        standing: Standing,
        progress: Progress,
        error: Option<AttemptError>,
    ) -> Ended {
        let at = self.clock.wall();
        let decision = Decision { standing, progress, signal: Signal::Nothing, disable: None, hold_ms: None };
        let failure = |error| Tells::Failure(LastError { at, status: None, error });
        Ended { delivery, decision, duration_ms: 0, at, tells: error.map_or(Tells::Nothing, failure) }
    }

    /// The storage could not be read this time: no attempt was made, and the endpoint's schedule is not used up by it.
    fn unread(&self, delivery: DeliveryRef, progress: Progress, endpoint: &Endpoint, error: &ReadError) -> Ended {
        // The outbox tells what is wrong with it; a line for each delivery would bury that.
        tracing::debug!(
            generation = delivery.event.generation,
            seq = delivery.event.seq,
            endpoint = %endpoint.name,
            %error,
            "an event could not be read for its delivery; it is tried again shortly"
        );
        let next_at = self.clock.wall().plus_ms(STORAGE_AGAIN_MS);
        // Nothing is stored: the delivery stands where it stood.
        self.without_request(delivery, Standing::Pending { next_at }, progress, Some(AttemptError::Storage))
    }

    /// The event, or its body, was lost with a damaged generation: there is nothing to send, now or later.
    async fn lost(&self, start: &Start, endpoint: &Endpoint) -> Ended {
        let Start { delivery, progress, .. } = *start;
        tracing::error!(
            generation = delivery.event.generation,
            seq = delivery.event.seq,
            endpoint = %endpoint.name,
            "an event was lost with a damaged generation, and its delivery is dead"
        );
        let standing = Standing::Dead(DeadReason::Lost);
        self.metrics.deliveries_finished.with_label_values(&[endpoint.name.as_str(), "dead"]).inc();
        self.outbox.settle(Settlement { delivery, attempt: None, standing, progress }).await;
        self.without_request(delivery, standing, progress, Some(AttemptError::Storage))
    }

    /// The attempt ended in a panic, a fault of this program. It counts as one, so that it is not repeated for ever.
    async fn panicked(&self, delivery: DeliveryRef, before: Progress, endpoint: &Endpoint, random: f64) -> Ended {
        tracing::error!(
            generation = delivery.event.generation,
            seq = delivery.event.seq,
            endpoint = %endpoint.name,
            "an attempt panicked, which is a fault in webhookd; it is tried again on the schedule"
        );
        let at = self.clock.wall();
        let verdict = Verdict::Retry { hint_ms: None, hold_endpoint: false };
        // It counts for the delivery, and is not the endpoint's fault.
        let decision = decide(Judged { verdict, status: None }, &endpoint.retry, before, random, at);
        let decision = Decision { signal: Signal::Nothing, ..decision };
        let Decision { standing, progress, .. } = decision;
        self.outbox.settle(Settlement { delivery, attempt: None, standing, progress }).await;
        let error = LastError { at, status: None, error: AttemptError::Protocol };
        Ended { delivery, decision, duration_ms: 0, at, tells: Tells::Failure(error) }
    }

    fn tell(
        &self,
        attempted: &Attempted,
        decision: &Decision,
        event: &Event,
        endpoint: &Endpoint,
        accepted_at: UnixMs,
        now: UnixMs,
    ) {
        AttemptEnded {
            event: &event.id,
            endpoint: &endpoint.name,
            n: decision.progress.made,
            status: attempted.status,
            error: attempted.error,
            detail: attempted.detail.as_deref(),
            duration_ms: attempted.duration_ms,
        }
        .tell(&self.metrics);
        match decision.standing {
            Standing::Pending { .. } => {}
            Standing::Delivered => {
                let since_accepted_ms = now.since(accepted_at.max(event.deliver_at.unwrap_or_default()));
                Delivered { endpoint: &endpoint.name, since_accepted_ms }.tell(&self.metrics);
            }
            Standing::Dead(reason) => {
                Died { event: &event.id, endpoint: &endpoint.name, reason, progress: decision.progress }
                    .tell(&self.metrics);
            }
        }
    }
}

/// What `future` comes to; `None` where it panics.
async fn caught<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    poll_fn(move |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(polled) => polled.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}
