//! What the dispatcher's task answers operators: how endpoints do, and what changes at their wish.

use std::sync::Arc;

use super::account::{Account, rules};
use super::control::{Ask, Switch};
use super::health::{BreakerHealth, EndpointHealth};
use super::liveness::Pulse;
use super::run::Task;
use crate::config::Endpoint;
use crate::deliver::Courier;
use crate::model::endpoint::EndpointState;
use crate::model::roster::EndpointNo;
use crate::observe::deliveries::EndpointSwitched;

impl<C: Courier> Task<C> {
    pub(super) fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Health { reply } => {
                let mut all: Vec<_> = self.accounts.keys().filter_map(|no| self.health(*no)).collect();
                all.extend(self.schedule.orphans().into_iter().map(|no| self.health_of_orphan(no)));
                all.sort_by(|a, b| a.name.cmp(&b.name));
                self.set_gauges(&all);
                let _ = reply.send(all);
            }
            Ask::Pulse { reply } => {
                let _ = reply.send(self.pulse());
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

    fn pulse(&self) -> Pulse {
        let open = |no: &&EndpointNo| self.schedule.breaker(**no).is_some_and(|(phase, _)| phase.word() == "open");
        Pulse {
            endpoints: self.accounts.len(),
            pending: self.schedule.total_pending(),
            in_flight: self.schedule.total_in_flight(),
            breakers_open: self.accounts.keys().filter(open).count(),
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
                self.epoch = self.epoch.wrapping_add(1);
                account.resumed(self.epoch, now);
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
                    self.schedule.change_lane(no, &rules, now.mono);
                    known.with_config(endpoint, now)
                }
                None => {
                    // An answer from before it went says nothing of it now.
                    self.epoch = self.epoch.wrapping_add(1);
                    let record = self.retired.remove(&no).unwrap_or_default();
                    let mut account = Account::new(endpoint, record, now);
                    account.epoch = self.epoch;
                    self.schedule.open_lane(no, &rules, account.kept(now), now.mono);
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

    pub(super) fn endpoints(&self) -> Vec<(EndpointNo, Arc<Endpoint>)> {
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
