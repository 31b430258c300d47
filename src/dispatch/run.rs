//! The task that owns the schedule.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::account::{Account, Now, rules};
use super::attempt::{Ended, Tells, Workshop};
use super::control::{Ask, Control, Switch};
use super::health::{BreakerHealth, EndpointHealth};
use super::report::{Report, Reporter};
use crate::clock::{MonoMs, SharedClock, UnixMs};
use crate::config::{Endpoint, OnDead};
use crate::deliver::Courier;
use crate::limits::IN_FLIGHT_TOTAL_MAX;
use crate::model::delivery::{DeliveryRef, Standing, Waiting};
use crate::model::endpoint::{DisabledReason, EndpointRecord, EndpointState};
use crate::model::roster::{EndpointNo, Roster};
use crate::model::text::{EndpointName, OrderingKey};
use crate::observe::Metrics;
use crate::observe::happening::{
    BreakerOpened, EndpointDisabled, EndpointRecovered, EndpointSwitched, ProbeFailed,
};
use crate::outbox::{FreshEvent, News, Outbox, Recovered};
use crate::policy::breaker::{BreakerPhase, Signal, Turn};
use crate::schedule::{Entry, Outcome, Schedule, Start};

/// Questions of operators that wait for the task.
const ASKS_MAX: usize = 64;
/// Messages taken in one go before the schedule is asked what is due.
const TAKEN_MAX: usize = 1024;
/// Longest sleep of an idle dispatcher, in milliseconds: a bound on what a clock that jumps can do.
const SLEEP_MS_MAX: u64 = 60_000;

/// What a dispatcher is made of.
#[derive(Debug)]
pub struct Dispatcher<C> {
    /// Where outcomes go and events are read.
    pub outbox: Outbox,
    /// Who makes the attempts.
    pub courier: C,
    /// Time.
    pub clock: SharedClock,
    /// Where it is told.
    pub metrics: Arc<Metrics>,
    /// The endpoints' numbers.
    pub roster: Arc<Roster>,
    /// The schedule, with what was recovered in it.
    pub schedule: Schedule,
    /// Deliveries to schedule.
    pub news: mpsc::Receiver<News>,
    /// Seed of the jitter.
    pub seed: u64,
}

/// A dispatcher at work.
#[derive(Debug)]
pub struct Running {
    /// Where operators ask.
    pub control: Control,
    /// Cancelled once it has stopped starting attempts and the last one under way is settled.
    pub drained: CancellationToken,
    /// Cancelled once its task has ended, in order or not. While the daemon is not stopping that is a fault: nothing would
    /// be delivered any more.
    pub ended: CancellationToken,
}

/// See [`Account::epoch`].
type Epoch = u32;

impl<C: Courier> Dispatcher<C> {
    /// Opens a lane for each endpoint and starts the task. It stops starting attempts when `stop` is cancelled, and ends when
    /// the outbox is closed.
    pub fn start<'a>(
        mut self,
        endpoints: impl Iterator<Item = &'a Arc<Endpoint>>,
        records: &[(EndpointName, EndpointRecord)],
        stop: CancellationToken,
        tracker: &TaskTracker,
    ) -> Running {
        let now = Now { wall: self.clock.wall(), mono: self.clock.mono() };
        let mut retired: HashMap<_, _> =
            records.iter().map(|(name, record)| (self.roster.number(name), *record)).collect();
        let mut accounts = HashMap::new();
        for endpoint in endpoints {
            let no = self.roster.number(&endpoint.name);
            let account = Account::new(Arc::clone(endpoint), retired.remove(&no).unwrap_or_default(), now);
            self.schedule.open_lane(no, rules(endpoint), account.kept(now), now.mono);
            accounts.insert(no, account);
        }
        let reporter =
            Reporter::start(self.outbox.clone(), Arc::clone(&self.clock), Arc::clone(&self.metrics), tracker);
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        // As many places as attempts can be under way: an attempt never waits to report.
        let (ended, ends) = mpsc::channel(IN_FLIGHT_TOTAL_MAX);
        let control = Control { asks, outbox: self.outbox.clone(), roster: Arc::clone(&self.roster) };
        let drained = CancellationToken::new();
        let workshop = Workshop {
            outbox: self.outbox,
            courier: self.courier,
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            reporter,
        };
        let task = Task {
            schedule: self.schedule,
            accounts,
            retired,
            workshop: Arc::new(workshop),
            clock: self.clock,
            metrics: self.metrics,
            roster: self.roster,
            random: fastrand::Rng::with_seed(self.seed),
            ended,
            tracker: tracker.clone(),
            starts: Vec::new(),
        };
        task.workshop.reporter.set_endpoints(task.endpoints());
        let task = task.run(Inputs { news: self.news, ends, asked, stop, drained: drained.clone() });
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        tracker.spawn(async move {
            let _guard = guard;
            task.await;
        });
        Running { control, drained, ended }
    }
}

/// Puts a recovered or revived delivery on the schedule.
///
/// A wall clock that lies before the event's acceptance is wrong: a machine without a clock of its own starts in the past.
/// Measured against it a retry would wait for years, so it is measured against the acceptance then.
pub fn admit(schedule: &mut Schedule, waiting: &Waiting, clock: &SharedClock) {
    let now = Now { wall: clock.wall().max(waiting.accepted_at), mono: clock.mono() };
    let Waiting { delivery, accepted_at, next_at, progress, key } = *waiting;
    schedule.admit(Entry { delivery, accepted_at, due: now.mono_of(next_at), progress, key }, None, now.mono);
}

/// Puts on the schedule what the outbox tells of a delivery at its start. `blocking`: the endpoints where a dead delivery holds
/// up those behind it; dead ones of others are of no interest.
pub fn recover(schedule: &mut Schedule, told: &Recovered, clock: &SharedClock, blocking: &HashSet<EndpointNo>) {
    match told {
        Recovered::Waiting(waiting) => admit(schedule, waiting, clock),
        Recovered::Dead(fallen) if blocking.contains(&fallen.delivery.endpoint) => schedule.admit_dead(fallen),
        Recovered::Dead(_) => {}
    }
}

/// The endpoints where a dead delivery holds up those behind it.
pub fn blocking<'a>(endpoints: impl Iterator<Item = &'a Arc<Endpoint>>, roster: &Roster) -> HashSet<EndpointNo> {
    let blocks = |endpoint: &&Arc<Endpoint>| endpoint.on_dead == OnDead::Block;
    endpoints.filter(blocks).map(|endpoint| roster.number(&endpoint.name)).collect()
}

#[derive(Debug)]
struct Inputs {
    news: mpsc::Receiver<News>,
    ends: mpsc::Receiver<(Ended, Epoch)>,
    asked: mpsc::Receiver<Ask>,
    stop: CancellationToken,
    drained: CancellationToken,
}

#[derive(Debug)]
struct Task<C> {
    schedule: Schedule,
    accounts: HashMap<EndpointNo, Account>,
    /// What is kept of endpoints that the config does not name; they may come back.
    retired: HashMap<EndpointNo, EndpointRecord>,
    workshop: Arc<Workshop<C>>,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    roster: Arc<Roster>,
    random: fastrand::Rng,
    ended: mpsc::Sender<(Ended, Epoch)>,
    tracker: TaskTracker,
    starts: Vec<Start>,
}

impl<C: Courier> Task<C> {
    async fn run(mut self, mut from: Inputs) {
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

    fn now(&self) -> Now {
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
            News::Removed { generation } => self.schedule.forget_generation(generation),
            News::StorageLow(low) => self.workshop.reporter.tell_soon(Report::storage_low(&low)),
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
            Standing::Pending { next_at } => {
                Outcome::Retry { due: now.mono_of(next_at), progress: decision.progress }
            }
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
        // What was asked before an operator resumed it is answered by that.
        if let Some(reason) = disable.filter(|_| account.epoch == epoch) {
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
    fn note(&mut self, endpoint: EndpointNo, now: Now) {
        if let Some(record) = self.accounts.get_mut(&endpoint).and_then(|account| account.news_of_record(now)) {
            self.workshop.outbox.note_endpoint(endpoint, record);
        }
    }

    /// Has what was noted stored now, and not within the second.
    fn store_soon(&self) {
        let outbox = self.workshop.outbox.clone();
        self.tracker.spawn(async move {
            if outbox.store_endpoints().await.is_err() {
                tracing::warn!("that an endpoint is disabled could not be stored yet: a restart before it is would try it again");
            }
        });
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Health { reply } => {
                let mut all: Vec<_> = self.accounts.keys().filter_map(|no| self.health(*no)).collect();
                all.extend(self.schedule.orphans().into_iter().map(|no| self.health_of_orphan(no)));
                all.sort_by(|a, b| a.name.cmp(&b.name));
                self.set_gauges(&all);
                let _ = reply.send(all);
            }
            Ask::Reload { endpoints, reply } => {
                self.reload(endpoints);
                let _ = reply.send(());
            }
            Ask::Switch { endpoint, to, reply } => {
                self.switch(endpoint, to);
                let _ = reply.send(self.health(endpoint));
            }
        }
    }

    fn switch(&mut self, endpoint: EndpointNo, to: Switch) {
        let now = self.now();
        let Some(account) = self.accounts.get_mut(&endpoint) else { return };
        match to {
            Switch::Pause => {
                account.state = EndpointState::Paused;
                self.schedule.set_active(endpoint, false);
            }
            Switch::Resume => {
                account.resumed(now);
                self.schedule.resume(endpoint, now.mono);
            }
        }
        EndpointSwitched { endpoint: &account.endpoint.name, state: account.state.word() }.tell(&self.metrics);
        self.note(endpoint, now);
    }

    fn reload(&mut self, endpoints: Vec<Arc<Endpoint>>) {
        let now = self.now();
        let mut gone = std::mem::take(&mut self.accounts);
        for endpoint in endpoints {
            let no = self.roster.number(&endpoint.name);
            let rules = rules(&endpoint);
            let account = match gone.remove(&no) {
                Some(known) => {
                    self.schedule.change_lane(no, rules, now.mono);
                    known.with_config(endpoint)
                }
                None => {
                    let account = Account::new(endpoint, self.retired.remove(&no).unwrap_or_default(), now);
                    self.schedule.open_lane(no, rules, account.kept(now), now.mono);
                    account
                }
            };
            self.accounts.insert(no, account);
        }
        for (no, mut account) in gone {
            if let Some(record) = account.news_of_record(now) {
                self.workshop.outbox.note_endpoint(no, record);
            }
            self.schedule.close_lane(no);
            self.metrics.forget_endpoint(&account.endpoint.name);
            self.retired.insert(no, account.noted());
        }
        self.workshop.reporter.set_endpoints(self.endpoints());
    }

    fn endpoints(&self) -> Vec<(EndpointNo, Arc<Endpoint>)> {
        self.accounts.iter().map(|(no, account)| (*no, Arc::clone(&account.endpoint))).collect()
    }

    fn health(&self, no: EndpointNo) -> Option<EndpointHealth> {
        let account = self.accounts.get(&no)?;
        let figures = account.recent.figures();
        let now = self.now();
        let breaker = self.schedule.breaker(no);
        Some(EndpointHealth {
            name: account.endpoint.name.clone(),
            orphaned: false,
            state: account.state,
            breaker: breaker.map(|(phase, _)| BreakerHealth { phase, open_since: account.open_since() }),
            failing_since: account.failing_since(),
            held_until: self.schedule.held_until(no).map(|until| now.wall_of(until)),
            blocked_keys: self.schedule.blocked(no),
            pending: self.schedule.pending(no),
            in_flight: self.schedule.in_flight(no),
            recent_attempts: figures.attempts,
            recent_successes: figures.successes,
            latency_ms_p50: figures.ms_p50,
            latency_ms_p99: figures.ms_p99,
            last_error: account.recent.last_error,
            last_success_at: account.recent.last_success_at,
            next_attempt_at: self.schedule.next_due(no, now.mono).map(|at| now.wall_of(at)),
            oldest_pending_at: self.schedule.oldest_accepted(no),
        })
    }

    /// An endpoint that the config does not name, and for which something waits.
    fn health_of_orphan(&self, no: EndpointNo) -> EndpointHealth {
        EndpointHealth {
            name: self.roster.name(no),
            orphaned: true,
            state: self.retired.get(&no).map_or_else(Default::default, |record| record.state),
            breaker: None,
            failing_since: None,
            held_until: None,
            blocked_keys: 0,
            pending: self.schedule.pending(no),
            in_flight: self.schedule.in_flight(no),
            recent_attempts: 0,
            recent_successes: 0,
            latency_ms_p50: None,
            latency_ms_p99: None,
            last_error: None,
            last_success_at: None,
            next_attempt_at: None,
            oldest_pending_at: self.schedule.oldest_accepted(no),
        }
    }

    fn set_gauges(&self, all: &[EndpointHealth]) {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        for health in all.iter().filter(|health| !health.orphaned) {
            let name = &[health.name.as_str()];
            self.metrics.deliveries_pending.with_label_values(name).set(number(health.pending));
            self.metrics.deliveries_in_flight.with_label_values(name).set(i64::from(health.in_flight));
            let active = health.state == EndpointState::Active;
            self.metrics.endpoint_active.with_label_values(name).set(i64::from(active));
            let open = health.breaker.is_some_and(|breaker| breaker.phase.word() == "open");
            self.metrics.breaker_open.with_label_values(name).set(i64::from(open));
        }
        let orphaned = all.iter().filter(|health| health.orphaned).map(|health| health.pending).sum();
        self.metrics.deliveries_orphaned.set(number(orphaned));
        let oldest = self.schedule.oldest_accepted_of_all().map_or(0, |at| self.clock.wall().since(at) / 1000);
        self.metrics.oldest_pending_seconds.set(number(oldest));
    }
}
