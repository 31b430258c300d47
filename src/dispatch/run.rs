//! The task that owns the schedule.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attempt::{Ended, Workshop};
use super::control::{Ask, Control};
use super::health::{EndpointHealth, Recent};
use crate::clock::{MonoMs, SharedClock, UnixMs};
use crate::config::Endpoint;
use crate::deliver::Courier;
use crate::limits::IN_FLIGHT_TOTAL_MAX;
use crate::model::delivery::{DeliveryRef, Standing, Waiting};
use crate::model::endpoint::EndpointState;
use crate::model::roster::{EndpointNo, Roster};
use crate::model::text::OrderingKey;
use crate::observe::Metrics;
use crate::outbox::{FreshEvent, News, Outbox};
use crate::policy::breaker::Signal;
use crate::schedule::{Entry, Kept, LaneRules, Outcome, Schedule, Start};

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

/// The moment on the monotonic clock that stands for a wall-clock time.
fn due(at: UnixMs, wall: UnixMs, mono: MonoMs) -> MonoMs {
    mono.plus_ms(at.since(wall))
}

impl<C: Courier> Dispatcher<C> {
    /// Opens a lane for each endpoint and starts the task. It stops starting attempts when `stop` is cancelled, and ends when
    /// the outbox is closed.
    pub fn start<'a>(
        mut self,
        endpoints: impl Iterator<Item = &'a Arc<Endpoint>>,
        states: &[(crate::model::text::EndpointName, EndpointState)],
        stop: CancellationToken,
        tracker: &TaskTracker,
    ) -> Running {
        let mut lanes = HashMap::new();
        for endpoint in endpoints {
            let no = self.roster.number(&endpoint.name);
            let state = states.iter().find(|(name, _)| *name == endpoint.name).map_or_else(Default::default, |s| s.1);
            let kept = Kept { active: state == EndpointState::Active, ..Kept::default() };
            self.schedule.open_lane(no, &lane_rules(endpoint), kept, self.clock.mono());
            lanes.insert(no, Lane { endpoint: Arc::clone(endpoint), state, recent: Recent::default() });
        }
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
        };
        let task = Task {
            schedule: self.schedule,
            lanes,
            workshop: Arc::new(workshop),
            clock: self.clock,
            metrics: self.metrics,
            roster: self.roster,
            random: fastrand::Rng::with_seed(self.seed),
            ended,
            tracker: tracker.clone(),
            starts: Vec::new(),
        };
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

fn lane_rules(endpoint: &Endpoint) -> LaneRules {
    LaneRules {
        in_flight_max: endpoint.in_flight_max,
        order: endpoint.order,
        on_dead: endpoint.on_dead,
        rate: endpoint.rate_limit,
        breaker: None,
        waits_ms: endpoint.retry.waits_ms.as_slice().into(),
    }
}

/// Puts a recovered or revived delivery on the schedule.
///
/// A wall clock that lies before the event's acceptance is wrong: a machine without a clock of its own starts in the past.
/// Measured against it a retry would wait for years, so it is measured against the acceptance then.
pub fn admit(schedule: &mut Schedule, waiting: &Waiting, clock: &SharedClock) {
    let mono = clock.mono();
    let entry = Entry {
        delivery: waiting.delivery,
        accepted_at: waiting.accepted_at,
        due: due(waiting.next_at, clock.wall().max(waiting.accepted_at), mono),
        progress: waiting.progress,
        key: waiting.key,
    };
    schedule.admit(entry, None, mono);
}

#[derive(Debug)]
struct Inputs {
    news: mpsc::Receiver<News>,
    ends: mpsc::Receiver<Ended>,
    asked: mpsc::Receiver<Ask>,
    stop: CancellationToken,
    drained: CancellationToken,
}

#[derive(Debug)]
struct Lane {
    endpoint: Arc<Endpoint>,
    state: EndpointState,
    recent: Recent,
}

#[derive(Debug)]
struct Task<C> {
    schedule: Schedule,
    lanes: HashMap<EndpointNo, Lane>,
    workshop: Arc<Workshop<C>>,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    roster: Arc<Roster>,
    random: fastrand::Rng,
    ended: mpsc::Sender<Ended>,
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
                Some(ended) = from.ends.recv() => {
                    self.take_end(&ended);
                    for _ in 0..TAKEN_MAX {
                        let Ok(ended) = from.ends.try_recv() else { break };
                        self.take_end(&ended);
                    }
                }
                Some(ask) = from.asked.recv() => self.answer(ask),
                () = self.clock.sleep_until(wake) => {}
                () = from.stop.cancelled(), if !stopping => stopping = true,
            }
        }
        from.drained.cancel();
    }

    fn start_due(&mut self, now: MonoMs) {
        let mut starts = std::mem::take(&mut self.starts);
        self.schedule.start_due(now, &mut starts);
        for start in starts.drain(..) {
            let Some(lane) = self.lanes.get(&start.delivery.endpoint) else { continue };
            let (workshop, endpoint) = (Arc::clone(&self.workshop), Arc::clone(&lane.endpoint));
            let (ended, random) = (self.ended.clone(), self.random.f64());
            self.tracker.spawn(async move {
                let end = workshop.attempt(start, endpoint, random).await;
                // Nobody listens any more only where the daemon has given up waiting for this attempt.
                let _ = ended.send(end).await;
            });
        }
        self.starts = starts;
    }

    fn take_news(&mut self, news: News) {
        match news {
            News::Accepted(events) => {
                let (wall, mono) = (self.clock.wall(), self.clock.mono());
                for FreshEvent { place, event, targets } in events {
                    let next_at = event.first_due();
                    for endpoint in targets {
                        let entry = Entry {
                            delivery: DeliveryRef { event: place, endpoint },
                            accepted_at: event.at,
                            due: due(next_at, wall, mono),
                            progress: Default::default(),
                            key: event.key.as_ref().map(OrderingKey::hash),
                        };
                        self.schedule.admit(entry, Some(Arc::clone(&event)), mono);
                    }
                }
            }
            News::Revived(waiting) => {
                for waiting in &waiting {
                    admit(&mut self.schedule, waiting, &self.clock);
                }
            }
        }
    }

    fn take_end(&mut self, ended: &Ended) {
        let (wall, mono) = (self.clock.wall(), self.clock.mono());
        let endpoint = ended.delivery.endpoint;
        if let Some(lane) = self.lanes.get_mut(&endpoint) {
            match ended.error {
                None => lane.recent.succeeded(ended.at, ended.duration_ms),
                Some(error) => lane.recent.failed(error),
            }
        }
        if let Some(state) = ended.decision.endpoint {
            self.set_state(endpoint, state);
        }
        if let Some(hold_ms) = ended.decision.hold_ms {
            self.schedule.hold(endpoint, mono.plus_ms(hold_ms));
        }
        let outcome = match ended.decision.standing {
            Standing::Pending { next_at } => {
                Outcome::Retry { due: due(next_at, wall, mono), progress: ended.decision.progress }
            }
            Standing::Delivered => Outcome::Delivered,
            Standing::Dead(_) => Outcome::Dead,
        };
        self.schedule.finish(ended.delivery, outcome, Signal::Nothing, mono);
    }

    fn set_state(&mut self, endpoint: EndpointNo, state: EndpointState) {
        if let Some(lane) = self.lanes.get_mut(&endpoint) {
            let was = std::mem::replace(&mut lane.state, state);
            match (was == EndpointState::Active, state == EndpointState::Active) {
                (false, true) => self.schedule.resume(endpoint, self.clock.mono()),
                (_, active) => self.schedule.set_active(endpoint, active),
            }
        }
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Health { reply } => {
                let mut all: Vec<_> = self.lanes.keys().filter_map(|no| self.health(*no)).collect();
                all.sort_by(|a, b| a.name.cmp(&b.name));
                self.set_gauges(&all);
                let _ = reply.send(all);
            }
            Ask::Reload { endpoints, reply } => {
                self.reload(endpoints);
                let _ = reply.send(());
            }
            Ask::State { endpoint, state, reply } => {
                self.set_state(endpoint, state);
                let _ = reply.send(self.health(endpoint));
            }
        }
    }

    fn reload(&mut self, endpoints: Vec<Arc<Endpoint>>) {
        let mut gone = std::mem::take(&mut self.lanes);
        for endpoint in endpoints {
            let no = self.roster.number(&endpoint.name);
            let known = gone.remove(&no).map(|lane| (lane.state, lane.recent));
            let (rules, now) = (lane_rules(&endpoint), self.clock.mono());
            match known {
                Some(_) => self.schedule.change_lane(no, &rules, now),
                None => self.schedule.open_lane(no, &rules, Kept::default(), now),
            }
            let (state, recent) = known.unwrap_or_default();
            self.lanes.insert(no, Lane { endpoint, state, recent });
        }
        for no in gone.keys() {
            self.schedule.close_lane(*no);
        }
    }

    fn health(&self, no: EndpointNo) -> Option<EndpointHealth> {
        let lane = self.lanes.get(&no)?;
        let figures = lane.recent.figures();
        let (wall, mono) = (self.clock.wall(), self.clock.mono());
        Some(EndpointHealth {
            name: lane.endpoint.name.clone(),
            state: lane.state,
            pending: self.schedule.pending(no),
            in_flight: self.schedule.in_flight(no),
            recent_attempts: figures.attempts,
            recent_successes: figures.successes,
            latency_ms_p50: figures.ms_p50,
            latency_ms_p99: figures.ms_p99,
            last_error: lane.recent.last_error,
            last_success_at: lane.recent.last_success_at,
            next_attempt_at: self.schedule.next_due(no, mono).map(|at| wall.plus_ms(at.since(mono))),
            oldest_pending_at: self.schedule.oldest_accepted(no),
        })
    }

    fn set_gauges(&self, all: &[EndpointHealth]) {
        for health in all {
            let name = &[health.name.as_str()];
            let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            self.metrics.deliveries_pending.with_label_values(name).set(number(health.pending));
            self.metrics.deliveries_in_flight.with_label_values(name).set(i64::from(health.in_flight));
            let active = health.state == EndpointState::Active;
            self.metrics.endpoint_active.with_label_values(name).set(i64::from(active));
        }
        let oldest = self.schedule.oldest_accepted_of_all().map_or(0, |at| self.clock.wall().since(at) / 1000);
        self.metrics.oldest_pending_seconds.set(i64::try_from(oldest).unwrap_or(i64::MAX));
    }
}
