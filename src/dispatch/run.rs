//! The task that owns the schedule.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::account::{Account, Epoch, Now};
use super::attempt::{Ended, Tells, Workshop};
use super::control::Ask;
use super::report::Report;
use super::start::admit;
use crate::clock::{MonoMs, SharedClock};
use crate::config::OnDead;
use crate::deliver::Courier;
use crate::model::delivery::{DeliveryRef, Fallen, Standing};
use crate::model::endpoint::{DisabledReason, EndpointRecord, EndpointState};
use crate::model::roster::{EndpointNo, Roster};
use crate::model::text::OrderingKey;
use crate::observe::Metrics;
use crate::observe::deliveries::{BreakerOpened, EndpointDisabled, EndpointRecovered, ProbeFailed};
use crate::outbox::{FreshEvent, News};
use crate::policy::breaker::{BreakerPhase, Signal, Turn};
use crate::schedule::{Entry, Outcome, Schedule, Start};

/// Messages taken in one go before the schedule is asked what is due.
const TAKEN_MAX: usize = 1024;
/// Longest sleep of an idle dispatcher, in milliseconds: a bound on what a clock that jumps can do.
const SLEEP_MS_MAX: u64 = 60_000;

/// What the task is sent.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) news: mpsc::Receiver<News>,
    pub(super) ends: mpsc::Receiver<(Ended, Epoch)>,
    pub(super) asked: mpsc::Receiver<Ask>,
    pub(super) stop: CancellationToken,
    pub(super) drained: CancellationToken,
}

/// The task itself.
#[derive(Debug)]
pub(super) struct Task<C> {
    pub(super) schedule: Schedule,
    pub(super) accounts: HashMap<EndpointNo, Account>,
    /// What is kept of endpoints that the config does not name; they may come back.
    pub(super) retired: HashMap<EndpointNo, EndpointRecord>,
    pub(super) workshop: Arc<Workshop<C>>,
    pub(super) clock: SharedClock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) roster: Arc<Roster>,
    pub(super) random: fastrand::Rng,
    pub(super) ended: mpsc::Sender<(Ended, Epoch)>,
    pub(super) tracker: TaskTracker,
    /// The last epoch given.
    pub(super) epoch: Epoch,
    /// See [`Control`](super::control::Control).
    pub(super) unstored: Arc<AtomicUsize>,
    pub(super) starts: Vec<Start>,
}

impl<C: Courier> Task<C> {
    /// Works until the outbox is closed.
    pub(super) async fn run(mut self, mut from: Inputs) {
        let mut stopping = false;
        loop {
            let now = self.clock.mono();
            if stopping {
                if self.schedule.total_in_flight() == 0 {
                    from.drained.cancel();
                }
            } else {
                self.start_due(now);
            }
            let asleep_until = now.plus_ms(SLEEP_MS_MAX);
            let wake = self.schedule.next_wake().filter(|_| !stopping).map_or(asleep_until, |at| at.min(asleep_until));
            tokio::select! {
                news = from.news.recv() => {
                    let Some(news) = news else { break };
                    self.take_news(news);
                    for _ in 0..TAKEN_MAX {
                        let Ok(news) = from.news.try_recv() else { break };
                        self.take_news(news);
                    }
                }
                Some((ended, epoch)) = from.ends.recv() => {
                    self.take_end(ended, epoch);
                    for _ in 0..TAKEN_MAX {
                        let Ok((ended, epoch)) = from.ends.try_recv() else { break };
                        self.take_end(ended, epoch);
                    }
                }
                Some(ask) = from.asked.recv() => self.answer(ask),
                () = self.clock.sleep_until(wake) => {}
                () = from.stop.cancelled(), if !stopping => stopping = true,
            }
        }
        from.drained.cancel();
    }

    pub(super) fn now(&self) -> Now {
        Now { wall: self.clock.wall(), mono: self.clock.mono() }
    }

    fn start_due(&mut self, now: MonoMs) {
        let mut starts = std::mem::take(&mut self.starts);
        self.schedule.start_due(now, &mut starts);
        for start in starts.drain(..) {
            let Some(account) = self.accounts.get(&start.delivery.endpoint) else { continue };
            let (workshop, endpoint) = (Arc::clone(&self.workshop), Arc::clone(&account.endpoint));
            let (ended, random, epoch) = (self.ended.clone(), self.random.f64(), account.epoch);
            self.tracker.spawn(async move {
                let end = workshop.attempt(start, endpoint, random).await;
                // Nobody listens any more only where the daemon has given up waiting for this attempt.
                let _ = ended.send((end, epoch)).await;
            });
        }
        self.starts = starts;
    }

    fn take_news(&mut self, news: News) {
        match news {
            News::Accepted(events) => {
                let now = self.now();
                for FreshEvent { place, event, targets } in events {
                    let (due, key) = (now.mono_of(event.first_due()), event.key.as_ref().map(OrderingKey::hash));
                    for endpoint in targets {
                        let entry = Entry {
                            delivery: DeliveryRef { event: place, endpoint },
                            accepted_at: event.at,
                            due,
                            progress: Default::default(),
                            key,
                        };
                        self.schedule.admit(entry, Some(Arc::clone(&event)), now.mono);
                    }
                }
            }
            News::Revived(waiting) => {
                for waiting in &waiting {
                    admit(&mut self.schedule, waiting, &self.clock);
                }
            }
            News::Fallen(fallen) => fallen.iter().for_each(|one| self.take_fallen(one)),
            News::Removed { generation } => self.schedule.forget_generation(generation),
            News::StorageLow(low) => self.workshop.reporter.tell_soon(Report::storage_low(&low)),
        }
    }

    fn take_fallen(&mut self, fallen: &Fallen) {
        let account = self.accounts.get(&fallen.delivery.endpoint);
        if account.is_some_and(|account| account.endpoint.on_dead == OnDead::Block) {
            self.schedule.admit_dead(fallen);
        }
    }

    fn take_end(&mut self, ended: Ended, epoch: Epoch) {
        let now = self.now();
        let Ended { delivery, decision, .. } = ended;
        let endpoint = delivery.endpoint;
        self.judge_endpoint(endpoint, &ended, epoch, now);
        if let Some(hold_ms) = decision.hold_ms {
            let until = now.mono.plus_ms(hold_ms);
            self.schedule.hold(endpoint, until);
            if let Some(account) = self.accounts.get_mut(&endpoint) {
                account.held(now.wall_of(until), now);
            }
        }
        let outcome = match decision.standing {
            Standing::Pending { next_at } => Outcome::Retry { due: now.mono_of(next_at), progress: decision.progress },
            Standing::Delivered => Outcome::Delivered,
            Standing::Dead(_) => Outcome::Dead,
        };
        if let Some(turn) = self.schedule.finish(delivery, outcome, decision.signal, now.mono) {
            self.turn(endpoint, turn, now);
        }
        self.note(endpoint, now);
    }

    /// What an attempt says of its endpoint's health, and whether it is switched off for it.
    fn judge_endpoint(&mut self, endpoint: EndpointNo, ended: &Ended, epoch: Epoch, now: Now) {
        let Some(account) = self.accounts.get_mut(&endpoint) else { return };
        let mut disable = ended.decision.disable;
        match ended.tells {
            Tells::Nothing => {}
            Tells::Success => account.succeeded(ended.at, ended.duration_ms),
            Tells::Failure(error) => {
                let counts = matches!(ended.decision.signal, Signal::Failure | Signal::Limited);
                if account.failed(error, counts, now) {
                    disable = disable.or(Some(DisabledReason::Failing));
                }
            }
        }
        // What was asked before an operator resumed it is answered by that; and it is switched off once, whatever others that
        // were under way say.
        let is_off = matches!(account.state, EndpointState::Disabled { .. });
        if let Some(reason) = disable.filter(|_| account.epoch == epoch && !is_off) {
            account.disabled(reason, now);
            self.schedule.set_active(endpoint, false);
            EndpointDisabled { endpoint: &account.endpoint.name, reason: reason.word() }.tell(&self.metrics);
            let pending = self.schedule.pending(endpoint);
            self.workshop.reporter.tell_soon(Report::disabled(&account.endpoint.name, reason, pending));
            self.note(endpoint, now);
            self.store_soon();
        }
    }

    /// An endpoint's breaker has opened, stays open or has closed.
    fn turn(&mut self, endpoint: EndpointNo, turn: Turn, now: Now) {
        let (breaker, pending) = (self.schedule.breaker(endpoint), self.schedule.pending(endpoint));
        let Some(account) = self.accounts.get_mut(&endpoint) else { return };
        let name = &account.endpoint.name.clone();
        let cooldown_ms = breaker.map_or(0, |(_, cooldown_ms)| cooldown_ms);
        if let Some((BreakerPhase::Open { probe_at }, cooldown_ms)) = breaker {
            account.opened(probe_at, cooldown_ms, now);
        }
        match turn {
            Turn::Opened => {
                let failures = account.endpoint.breaker.map_or(0, |rules| rules.failures);
                BreakerOpened { endpoint: name, failures, cooldown_ms, pending }.tell(&self.metrics);
                let report = Report::BreakerOpened { endpoint: name.clone(), failures, pending };
                self.workshop.reporter.tell_soon(report);
            }
            Turn::StaysOpen => ProbeFailed { endpoint: name, cooldown_ms }.tell(),
            Turn::Recovered => {
                let open_ms = account.recovered().map_or(0, |since| now.wall.since(since));
                EndpointRecovered { endpoint: name, open_ms, pending }.tell();
                let report = Report::Recovered { endpoint: name.clone(), open_ms, pending };
                self.workshop.reporter.tell_soon(report);
            }
        }
    }

    /// Tells the outbox what is to be kept of an endpoint, if that has changed.
    pub(super) fn note(&mut self, endpoint: EndpointNo, now: Now) {
        if let Some(record) = self.accounts.get_mut(&endpoint).and_then(|account| account.news_of_record(now)) {
            self.workshop.outbox.note_endpoint(endpoint, record);
        }
    }

    /// Has what was noted stored now, and not within the second.
    fn store_soon(&self) {
        let (outbox, unstored) = (self.workshop.outbox.clone(), Arc::clone(&self.unstored));
        unstored.fetch_add(1, Ordering::Relaxed);
        self.tracker.spawn(async move {
            let stored = outbox.store_endpoints().await;
            unstored.fetch_sub(1, Ordering::Relaxed);
            if stored.is_err() {
                tracing::warn!(
                    "that an endpoint is disabled could not be stored yet: a restart before it is would try it again"
                );
            }
        });
    }
}
