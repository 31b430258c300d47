//! What a schedule tells of itself.

use super::Schedule;
use super::lane::Lane;
use crate::clock::{MonoMs, UnixMs};
use crate::model::roster::EndpointNo;
use crate::policy::breaker::BreakerPhase;

impl Schedule {
    /// An endpoint's deliveries that are not finished, those under way included.
    #[must_use]
    pub fn pending(&self, endpoint: EndpointNo) -> u64 {
        self.lane(endpoint).map_or(0, |lane| lane.pending)
    }

    /// All deliveries that are not finished.
    #[must_use]
    pub fn total_pending(&self) -> u64 {
        self.pending
    }

    /// An endpoint's attempts under way, and deliveries that are being given up.
    #[must_use]
    pub fn in_flight(&self, endpoint: EndpointNo) -> u32 {
        self.lane(endpoint).map_or(0, |lane| lane.gates.in_flight())
    }

    /// As [`Schedule::in_flight`], of all endpoints.
    #[must_use]
    pub fn total_in_flight(&self) -> usize {
        self.flights.len()
    }

    /// When an endpoint's oldest unfinished delivery was accepted, to the second: the last millisecond of that second,
    /// so that an age taken from it is never too high.
    #[must_use]
    pub fn oldest_accepted(&self, endpoint: EndpointNo) -> Option<UnixMs> {
        self.lane(endpoint)?.accepted.earliest().map(|(_, last)| UnixMs(last))
    }

    /// As [`Schedule::oldest_accepted`], over all endpoints, with or without a lane. Takes time in their number.
    #[must_use]
    pub fn oldest_accepted_of_all(&self) -> Option<UnixMs> {
        self.lanes.iter().filter_map(|lane| lane.accepted.earliest()).map(|(_, last)| UnixMs(last)).min()
    }

    /// When an endpoint's next attempt may start, up to a second too early; `now` where one is due already and only
    /// lacks its permit; `None` where nothing waits but what has to wait for others, or the lane is closed.
    #[must_use]
    pub fn next_due(&self, endpoint: EndpointNo, now: MonoMs) -> Option<MonoMs> {
        let lane = self.lane(endpoint).filter(|lane| lane.gates.is_open())?;
        let due = if lane.queue.has_ready() || lane.queue.has_expired() {
            Some(now)
        } else {
            let earliest = [lane.due.earliest(), lane.queue.earliest()];
            earliest.into_iter().flatten().map(|(first, _)| MonoMs(first)).min()
        };
        due.map(|due| due.max(lane.gates.not_before()).max(now))
    }

    /// Until when an endpoint has asked to be left alone.
    #[must_use]
    pub fn held_until(&self, endpoint: EndpointNo) -> Option<MonoMs> {
        self.lane(endpoint).map(|lane| lane.gates.held_until()).filter(|until| *until > self.now())
    }

    /// Where an endpoint's breaker stands, and the time between its last probe and the next, in milliseconds; `None` where it
    /// has none.
    #[must_use]
    pub fn breaker(&self, endpoint: EndpointNo) -> Option<(BreakerPhase, u64)> {
        let breaker = self.lane(endpoint)?.gates.breaker()?;
        Some((breaker.phase(), breaker.cooldown_ms()))
    }

    /// How many keys of an endpoint are held up by a dead delivery: the next delivery of each waits until that one is replayed,
    /// the endpoint is resumed, or its generation is gone.
    #[must_use]
    pub fn blocked(&self, endpoint: EndpointNo) -> usize {
        self.lane(endpoint).filter(|lane| lane.gates.has_rules()).map_or(0, |lane| lane.queue.blocked())
    }

    /// Bytes of fresh events that are kept in memory for their first attempt.
    #[must_use]
    pub fn fresh_bytes(&self) -> usize {
        self.fresh.bytes()
    }

    /// The endpoints that the config does not name and that have something pending. Takes time in the number of lanes.
    #[must_use]
    pub fn orphans(&self) -> Vec<EndpointNo> {
        let lanes = (0..=u16::MAX).map(EndpointNo).zip(&self.lanes);
        lanes.filter(|(_, lane)| !lane.gates.has_rules() && lane.pending > 0).map(|(endpoint, _)| endpoint).collect()
    }

    fn lane(&self, endpoint: EndpointNo) -> Option<&Lane> {
        self.lanes.get(usize::from(endpoint.0))
    }
}
