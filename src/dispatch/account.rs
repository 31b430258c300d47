//! What is known of one endpoint beyond its config: its state, how it has done lately, and what of it outlives a restart.

use std::sync::Arc;

use super::health::{LastError, Recent};
use crate::clock::{MonoMs, UnixMs};
use crate::config::{Endpoint, OnDead};
use crate::model::endpoint::{DisabledReason, EndpointRecord, EndpointState, Failing, OpenBreaker};
use crate::policy::failing::is_given_up;
use crate::schedule::{Kept, LaneRules};

/// Shorter holds and times of failure are not kept: a restart takes as long, and a record costs a write and an fsync.
const KEPT_MS_MIN: u64 = 60_000;

/// See [`Account::epoch`]. No two of a dispatcher's life are the same.
pub(super) type Epoch = u32;

/// Both clocks in one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) wall: UnixMs,
    pub(super) mono: MonoMs,
}

impl Now {
    /// The moment on the monotonic clock that stands for a wall-clock time.
    pub(super) fn mono_of(self, at: UnixMs) -> MonoMs {
        self.mono.plus_ms(at.since(self.wall))
    }

    /// The wall-clock time that stands for a moment on the monotonic clock.
    pub(super) fn wall_of(self, at: MonoMs) -> UnixMs {
        self.wall.plus_ms(at.since(self.mono))
    }
}

/// One endpoint's account.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) state: EndpointState,
    pub(super) recent: Recent,
    /// Another one with each resume, and each return to the config: an attempt that began before cannot disable the endpoint
    /// again.
    pub(super) epoch: Epoch,
    resumed_at: UnixMs,
    held_until: UnixMs,
    failing: Option<FailingNow>,
    open: Option<OpenBreaker>,
    /// What the outbox was told last.
    noted: EndpointRecord,
}

/// A time without a success, measured on the monotonic clock: a wall clock that is set must not disable anybody.
#[derive(Clone, Copy, Debug)]
struct FailingNow {
    since: UnixMs,
    /// What earlier lives of the daemon have seen of it, in milliseconds.
    before_ms: u64,
    /// When this life began to see it.
    begun: MonoMs,
}

impl FailingNow {
    fn lasted_ms(self, now: MonoMs) -> u64 {
        self.before_ms.saturating_add(now.since(self.begun))
    }
}

/// The rules of an endpoint's lane.
pub(super) fn rules(endpoint: &Endpoint) -> LaneRules {
    LaneRules {
        in_flight_max: endpoint.in_flight_max,
        order: endpoint.order,
        on_dead: endpoint.on_dead,
        rate: endpoint.rate_limit,
        breaker: endpoint.breaker,
        waits_ms: endpoint.retry.waits_ms.as_slice().into(),
    }
}

impl Account {
    /// An account that goes on from what was kept.
    pub(super) fn new(endpoint: Arc<Endpoint>, record: EndpointRecord, now: Now) -> Self {
        let failing = |Failing { since, for_ms }| FailingNow { since, before_ms: for_ms, begun: now.mono };
        Self {
            state: record.state,
            recent: Recent::default(),
            epoch: 0,
            resumed_at: record.resumed_at,
            held_until: record.held_until,
            failing: record.failing.map(failing),
            // Without a breaker nothing is open.
            open: record.breaker.filter(|_| endpoint.breaker.is_some()),
            noted: record,
            endpoint,
        }
    }

    /// The account under another config. Where dead deliveries block from now on, those that died before do not: nobody has
    /// kept account of them.
    pub(super) fn with_config(self, endpoint: Arc<Endpoint>, now: Now) -> Self {
        let open = self.open.filter(|_| endpoint.breaker.is_some());
        let blocks_now = endpoint.on_dead == OnDead::Block && self.endpoint.on_dead == OnDead::Skip;
        let resumed_at = if blocks_now { now.wall } else { self.resumed_at };
        Self { endpoint, open, resumed_at, ..self }
    }

    /// What the lane begins with. A wall clock that was set back does not make it wait longer than it ever had to.
    pub(super) fn kept(&self, now: Now) -> Kept {
        let held_ms = self.held_until.since(now.wall).min(self.endpoint.retry.retry_after_ms_max);
        let probe_at = |open: OpenBreaker| now.mono.plus_ms(open.probe_at.since(now.wall).min(open.cooldown_ms));
        Kept {
            active: self.state == EndpointState::Active,
            held_until: (held_ms > 0).then(|| now.mono.plus_ms(held_ms)),
            open_breaker: self.open.map(|open| (probe_at(open), open.cooldown_ms)),
            resumed_at: self.resumed_at,
        }
    }

    /// When the breaker opened, where it is open.
    pub(super) fn open_since(&self) -> Option<UnixMs> {
        self.open.map(|open| open.since)
    }

    /// Since when it has failed without a success.
    pub(super) fn failing_since(&self) -> Option<UnixMs> {
        self.failing.map(|failing| failing.since)
    }

    /// An attempt was a success.
    pub(super) fn succeeded(&mut self, at: UnixMs, duration_ms: u32) {
        self.recent.succeeded(at, duration_ms);
        self.failing = None;
    }

    /// An attempt failed. Tells whether the endpoint is given up for it; `counts`: the failure is the endpoint's.
    pub(super) fn failed(&mut self, error: LastError, counts: bool, now: Now) -> bool {
        self.recent.failed(error);
        if !counts {
            return false;
        }
        let begins = FailingNow { since: now.wall, before_ms: 0, begun: now.mono };
        let failing = *self.failing.get_or_insert(begins);
        is_given_up(failing.lasted_ms(now.mono), self.endpoint.disable_after_ms)
    }

    /// It asked that nothing be sent for a while.
    pub(super) fn held(&mut self, until: UnixMs, now: Now) {
        if until.since(now.wall) >= KEPT_MS_MIN {
            self.held_until = self.held_until.max(until);
        }
    }

    /// Its breaker opened, or stays open after a probe.
    pub(super) fn opened(&mut self, probe_at: MonoMs, cooldown_ms: u64, now: Now) {
        let since = self.open_since().unwrap_or(now.wall);
        self.open = Some(OpenBreaker { since, probe_at: now.wall_of(probe_at), cooldown_ms });
    }

    /// Its breaker closed. Tells since when it was open.
    pub(super) fn recovered(&mut self) -> Option<UnixMs> {
        self.open.take().map(|open| open.since)
    }

    /// It is switched off.
    pub(super) fn disabled(&mut self, reason: DisabledReason, now: Now) {
        self.state = EndpointState::Disabled { reason, at: now.wall };
    }

    /// An operator lets it go again: its history begins anew.
    pub(super) fn resumed(&mut self, epoch: Epoch, now: Now) {
        self.state = EndpointState::Active;
        self.epoch = epoch;
        self.resumed_at = now.wall;
        (self.held_until, self.failing, self.open) = (UnixMs(0), None, None);
        self.recent.forget();
    }

    /// What is to be kept of it, where that is not what the outbox was told last.
    pub(super) fn news_of_record(&mut self, now: Now) -> Option<EndpointRecord> {
        let failing = self.failing.and_then(|failing| {
            let for_ms = failing.lasted_ms(now.mono) / KEPT_MS_MIN * KEPT_MS_MIN;
            (for_ms > 0).then_some(Failing { since: failing.since, for_ms })
        });
        let held_until = if self.held_until > now.wall { self.held_until } else { UnixMs(0) };
        let Self { state, resumed_at, open: breaker, .. } = *self;
        // When it was resumed matters only where a dead delivery may block.
        let resumed_at = match self.endpoint.on_dead {
            OnDead::Block => resumed_at,
            OnDead::Skip => UnixMs(0),
        };
        let record = EndpointRecord { state, resumed_at, held_until, failing, breaker };
        (record != self.noted).then(|| {
            self.noted = record;
            record
        })
    }

    /// What the outbox was told last.
    pub(super) fn noted(&self) -> EndpointRecord {
        self.noted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Delivery;
    use crate::model::attempt::AttemptError;
    use crate::model::text::EndpointName;

    const DAY_MS: u64 = 24 * 3600 * 1000;

    fn now(mono: u64) -> Now {
        Now { wall: UnixMs(1_700_000_000_000 + mono), mono: MonoMs(mono) }
    }

    fn fresh() -> Endpoint {
        let url = url::Url::parse("http://billing.example/").unwrap();
        Endpoint::new(EndpointName::parse("billing").unwrap(), url, &Delivery::default())
    }

    fn endpoint() -> Arc<Endpoint> {
        Arc::new(fresh())
    }

    fn account(record: EndpointRecord) -> Account {
        Account::new(endpoint(), record, now(0))
    }

    fn fail(account: &mut Account, at: u64) -> bool {
        account.failed(LastError { at: now(at).wall, status: None, error: AttemptError::Timeout }, true, now(at))
    }

    #[test]
    fn five_days_without_a_success_give_an_endpoint_up_and_a_success_begins_anew() {
        let mut one = account(EndpointRecord::default());
        assert!(!fail(&mut one, 0));
        assert!(!fail(&mut one, 5 * DAY_MS - 1));
        one.succeeded(now(5 * DAY_MS).wall, 1);
        assert!(!fail(&mut one, 5 * DAY_MS));
        assert!(!fail(&mut one, 10 * DAY_MS - 1));
        assert!(fail(&mut one, 10 * DAY_MS));
    }

    #[test]
    fn a_wall_clock_that_jumps_gives_nobody_up() {
        let mut one = account(EndpointRecord::default());
        fail(&mut one, 0);
        let later = Now { wall: UnixMs(u64::MAX / 2), mono: MonoMs(1_000) };
        assert!(!one.failed(LastError { at: later.wall, status: None, error: AttemptError::Timeout }, true, later));
    }

    #[test]
    fn the_time_of_failure_outlives_a_restart_to_the_minute() {
        let mut one = account(EndpointRecord::default());
        fail(&mut one, 0);
        assert_eq!(one.news_of_record(now(59_999)), None, "what is over in a minute is not kept");
        let record = one.news_of_record(now(4 * DAY_MS + 1)).unwrap();
        assert_eq!(record.failing, Some(Failing { since: now(0).wall, for_ms: 4 * DAY_MS }));
        assert_eq!(one.news_of_record(now(4 * DAY_MS + 2)), None, "it is told once");
        let mut next = account(record);
        assert!(!fail(&mut next, DAY_MS - 1));
        assert!(fail(&mut next, DAY_MS));
    }

    #[test]
    fn an_open_breaker_goes_on_where_it_stood() {
        let mut one = account(EndpointRecord::default());
        one.opened(MonoMs(30_000), 30_000, now(0));
        one.opened(MonoMs(100_000), 60_000, now(40_000));
        let record = one.news_of_record(now(40_000)).unwrap();
        let breaker = OpenBreaker { since: now(0).wall, probe_at: now(100_000).wall, cooldown_ms: 60_000 };
        assert_eq!(record.breaker, Some(breaker));
        let kept = |wall| account(record).kept(Now { wall, mono: MonoMs(7) }).open_breaker;
        assert_eq!(kept(now(90_000).wall), Some((MonoMs(10_007), 60_000)));
        assert_eq!(kept(now(200_000).wall), Some((MonoMs(7), 60_000)));
        assert_eq!(kept(UnixMs(0)), Some((MonoMs(60_007), 60_000)), "a clock that was set back costs one cooldown");
    }

    #[test]
    fn without_a_breaker_in_the_config_none_is_open() {
        let breaker = Some(OpenBreaker { since: UnixMs(1), probe_at: UnixMs(2), cooldown_ms: 3 });
        let endpoint = Arc::new(Endpoint { breaker: None, ..fresh() });
        let one = Account::new(endpoint, EndpointRecord { breaker, ..Default::default() }, now(0));
        assert_eq!(one.kept(now(0)).open_breaker, None);
    }

    #[test]
    fn a_long_hold_is_kept_and_never_longer_than_the_config_allows() {
        let mut one = account(EndpointRecord::default());
        one.held(now(59_000).wall, now(0));
        assert_eq!(one.news_of_record(now(0)), None);
        one.held(now(3_600_000).wall, now(0));
        let record = one.news_of_record(now(0)).unwrap();
        assert_eq!(record.held_until, now(3_600_000).wall);
        assert_eq!(account(record).kept(now(600_000)).held_until, Some(MonoMs(3_600_000)));
        let far = EndpointRecord { held_until: UnixMs(u64::MAX), ..record };
        assert_eq!(account(far).kept(now(0)).held_until, Some(MonoMs(DAY_MS)));
    }

    #[test]
    fn what_died_before_dead_deliveries_block_blocks_nobody_over_a_restart_either() {
        let block = Arc::new(Endpoint { on_dead: OnDead::Block, ..fresh() });
        let mut one = account(EndpointRecord::default()).with_config(Arc::clone(&block), now(7));
        assert_eq!(one.news_of_record(now(7)).map(|record| record.resumed_at), Some(now(7).wall));
        assert_eq!(one.with_config(block, now(9)).resumed_at, now(7).wall);
    }

    #[test]
    fn a_resume_forgets_what_was_held_against_it() {
        let mut one = account(EndpointRecord::default());
        fail(&mut one, 0);
        one.opened(MonoMs(30_000), 30_000, now(0));
        one.held(now(3_600_000).wall, now(0));
        one.disabled(DisabledReason::Failing, now(0));
        assert!(one.news_of_record(now(0)).is_some());
        one.resumed(1, now(1));
        assert_eq!(one.news_of_record(now(1)), Some(EndpointRecord::default()));
        assert_eq!((one.epoch, one.failing_since(), one.open_since()), (1, None, None));
    }
}
