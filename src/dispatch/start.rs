//! What a dispatcher is made of, and what the outbox found at its start.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::account::{Account, Now, rules};
use super::attempt::Workshop;
use super::control::Control;
use super::liveness::LastHeard;
use super::report::Reporter;
use super::run::{Inputs, Task};
use crate::clock::SharedClock;
use crate::config::{Endpoint, OnDead};
use crate::deliver::Courier;
use crate::limits::IN_FLIGHT_TOTAL_MAX;
use crate::model::delivery::Waiting;
use crate::model::endpoint::EndpointRecord;
use crate::model::roster::{EndpointNo, Roster};
use crate::model::text::EndpointName;
use crate::observe::Metrics;
use crate::outbox::{News, Outbox, Recovered};
use crate::schedule::{Entry, Schedule};

/// Questions of operators that wait for the task.
const ASKS_MAX: usize = 64;

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
            self.schedule.open_lane(no, &rules(endpoint), account.kept(now), now.mono);
            accounts.insert(no, account);
        }
        let reporter =
            Reporter::start(self.outbox.clone(), Arc::clone(&self.clock), Arc::clone(&self.metrics), tracker);
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        // As many places as attempts can be under way: an attempt never waits to report.
        let (ended, ends) = mpsc::channel(IN_FLIGHT_TOTAL_MAX);
        let unstored = Arc::new(AtomicUsize::new(0));
        let control = Control {
            asks,
            outbox: self.outbox.clone(),
            roster: Arc::clone(&self.roster),
            unstored: Arc::clone(&unstored),
            last_heard: LastHeard::new(Arc::clone(&self.clock)),
        };
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
            epoch: 0,
            unstored,
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
