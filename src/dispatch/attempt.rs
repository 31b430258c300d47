//! One attempt from start to settlement. Runs as a task of its own, its permit taken before it was spawned.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use super::decide::{Decision, decide};
use super::health::LastError;
use crate::clock::{SharedClock, UnixMs};
use crate::config::Endpoint;
use crate::deliver::{Attempted, Courier, Job};
use crate::model::attempt::{Attempt, AttemptError};
use crate::model::delivery::{DeadReason, DeliveryRef, Progress, Settlement, Standing};
use crate::model::endpoint::{EndpointRecord, EndpointState};
use crate::model::event::Event;
use crate::observe::Metrics;
use crate::observe::happening::{AttemptEnded, Delivered, Died, EndpointDisabled};
use crate::outbox::{Outbox, ReadError};
use crate::policy::answer::Verdict;
use crate::schedule::Start;

/// When an event is tried again that the storage did not give out, in milliseconds.
const STORAGE_AGAIN_MS: u64 = 10_000;

/// What an attempt works with; shared by all.
#[derive(Debug)]
pub(super) struct Workshop<C> {
    pub(super) outbox: Outbox,
    pub(super) courier: C,
    pub(super) clock: SharedClock,
    pub(super) metrics: Arc<Metrics>,
}

/// What the dispatcher's task is told when an attempt has ended and is settled.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) delivery: DeliveryRef,
    pub(super) decision: Decision,
    pub(super) duration_ms: u32,
    /// When it ended.
    pub(super) at: UnixMs,
    /// `None` for a success.
    pub(super) error: Option<LastError>,
}

impl<C: Courier> Workshop<C> {
    /// Makes the attempt and settles it, whatever comes: a delivery whose end is never told would keep its permit and
    /// wait for the next start.
    pub(super) async fn attempt(&self, start: Start, endpoint: Arc<Endpoint>, random: f64) -> Ended {
        let (delivery, before) = (start.delivery, start.progress);
        match caught(self.try_attempt(start, Arc::clone(&endpoint), random)).await {
            Some(ended) => ended,
            None => self.panicked(delivery, before, &endpoint, random).await,
        }
    }

    async fn try_attempt(&self, start: Start, endpoint: Arc<Endpoint>, random: f64) -> Ended {
        let n = start.progress.made.saturating_add(1);
        let event = match start.fresh {
            Some(event) => event,
            None => match self.outbox.load(start.delivery.event).await {
                Ok(Some(event)) => event,
                Ok(None) | Err(ReadError::Lost(_)) => return self.lost(start, &endpoint).await,
                Err(error) => return self.unread(start.delivery, start.progress, &endpoint, &error),
            },
        };
        let job = Job { event: Arc::clone(&event), endpoint: Arc::clone(&endpoint), n };
        let attempted = self.courier.attempt(job).await;
        let now = self.clock.wall();
        let decision = decide(attempted.verdict, &endpoint.retry, start.progress, random, now);
        self.tell(&attempted, &decision, &event, &endpoint, start.accepted_at, now);
        if let Some(state) = decision.endpoint {
            self.disable(&endpoint, start.delivery, state).await;
        }
        let error = attempted.error.map(|error| LastError { at: now, status: attempted.status, error });
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
        Ended { delivery: start.delivery, decision, duration_ms, at: now, error }
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
        let at = self.clock.wall();
        let standing = Standing::Pending { next_at: at.plus_ms(STORAGE_AGAIN_MS) };
        let decision = Decision { standing, progress, endpoint: None, hold_ms: None };
        // Nothing is stored: the delivery stands where it stood.
        let error = Some(LastError { at, status: None, error: AttemptError::Storage });
        Ended { delivery, decision, duration_ms: 0, at, error }
    }

    /// The event, or its body, was lost with a damaged generation: there is nothing to send, now or later.
    async fn lost(&self, start: Start, endpoint: &Endpoint) -> Ended {
        let Start { delivery, progress, .. } = start;
        tracing::error!(
            generation = delivery.event.generation,
            seq = delivery.event.seq,
            endpoint = %endpoint.name,
            "an event was lost with a damaged generation, and its delivery is dead"
        );
        let at = self.clock.wall();
        let standing = Standing::Dead(DeadReason::Lost);
        self.metrics.deliveries_finished.with_label_values(&[endpoint.name.as_str(), "dead"]).inc();
        self.outbox.settle(Settlement { delivery, attempt: None, standing, progress }).await;
        let decision = Decision { standing, progress, endpoint: None, hold_ms: None };
        let error = Some(LastError { at, status: None, error: AttemptError::Storage });
        Ended { delivery, decision, duration_ms: 0, at, error }
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
        let decision = decide(verdict, &endpoint.retry, before, random, at);
        let Decision { standing, progress, .. } = decision;
        self.outbox.settle(Settlement { delivery, attempt: None, standing, progress }).await;
        let error = Some(LastError { at, status: None, error: AttemptError::Protocol });
        Ended { delivery, decision, duration_ms: 0, at, error }
    }

    async fn disable(&self, endpoint: &Endpoint, delivery: DeliveryRef, state: EndpointState) {
        if let EndpointState::Disabled { reason, .. } = state {
            EndpointDisabled { endpoint: &endpoint.name, reason: reason.word() }.tell(&self.metrics);
        }
        self.outbox.note_endpoint(delivery.endpoint, EndpointRecord { state, ..EndpointRecord::default() });
        if self.outbox.store_endpoints().await.is_err() {
            tracing::warn!(
                endpoint = %endpoint.name,
                "that the endpoint is disabled could not be stored: after a restart it is tried once more"
            );
        }
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
