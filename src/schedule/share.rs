//! The permits that all lanes share.
//!
//! A lane with nothing under way may start while there is any permit; every further one must leave more shared permits
//! free than the lane has taken (dynamic thresholds, as in `fresh`). A part is shared by nobody: it is kept for first
//! attempts. So one lane alone takes as much as its own limit allows, many that hang settle at equal parts, and one that
//! comes later finds a permit at once.
//!
//! A lane that is refused stands in the crowd, sorted by what it has under way. If the first of it is refused, all are:
//! no scan is needed to know that nobody can go.

use std::collections::BTreeSet;

use crate::limits;
use crate::model::roster::EndpointNo;

/// A lane's place in the crowd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat {
    in_flight: u32,
    /// Who came first goes first.
    ticket: u64,
    endpoint: EndpointNo,
}

#[derive(Debug)]
pub(super) struct Share {
    permits: usize,
    /// Those of `permits` that are kept for first attempts.
    reserve: usize,
    crowd: BTreeSet<Seat>,
    last_ticket: u64,
}

impl Share {
    pub(super) fn new(permits: usize) -> Self {
        let reserve = limits::ENDPOINTS_MAX.min(permits / 2);
        Self { permits, reserve, crowd: BTreeSet::new(), last_ticket: 0 }
    }

    /// Whether a lane that has `in_flight` under way may start one more, while there are `in_flight_total` in all.
    pub(super) fn admits(&self, in_flight: u32, in_flight_total: usize) -> bool {
        if in_flight == 0 {
            return in_flight_total < self.permits;
        }
        let shared_free = (self.permits - self.reserve).saturating_sub(in_flight_total);
        (in_flight as usize) < shared_free
    }

    /// Puts a lane into the crowd. While it stands there it must not start anything; once one of its attempts ends, it
    /// must be taken out.
    pub(super) fn refuse(&mut self, endpoint: EndpointNo, in_flight: u32) -> Seat {
        self.last_ticket += 1;
        let seat = Seat { in_flight, ticket: self.last_ticket, endpoint };
        self.crowd.insert(seat);
        seat
    }

    /// Takes a lane out of the crowd.
    pub(super) fn recall(&mut self, seat: Seat) {
        self.crowd.remove(&seat);
    }

    /// Whether a lane of the crowd would be admitted now.
    pub(super) fn has_next(&self, in_flight_total: usize) -> bool {
        self.crowd.first().is_some_and(|seat| self.admits(seat.in_flight, in_flight_total))
    }

    /// Takes the first lane out of the crowd, if it is admitted now.
    pub(super) fn next(&mut self, in_flight_total: usize) -> Option<EndpointNo> {
        if !self.has_next(in_flight_total) {
            return None;
        }
        self.crowd.pop_first().map(|seat| seat.endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lane_alone_takes_half_of_what_is_shared_and_a_newcomer_finds_a_permit() {
        let share = Share::new(limits::IN_FLIGHT_TOTAL_MAX);
        let taken = (0..).find(|taken| !share.admits(*taken, *taken as usize)).unwrap();
        assert_eq!(taken, 2048);
        assert!(taken >= limits::IN_FLIGHT_MAX, "its own limit is met before that");
        for in_flight_total in 0..limits::IN_FLIGHT_TOTAL_MAX {
            assert!(share.admits(0, in_flight_total));
        }
        assert!(!share.admits(0, limits::IN_FLIGHT_TOTAL_MAX));
    }

    #[test]
    fn every_endpoint_has_a_permit_of_its_own_whatever_the_others_take() {
        let share = Share::new(limits::IN_FLIGHT_TOTAL_MAX);
        let mut taken = vec![0_u32; limits::ENDPOINTS_MAX - 1];
        let mut total = 0;
        while let Some(greedy) = taken.iter().position(|taken| share.admits(*taken, total)) {
            taken[greedy] += 1;
            total += 1;
            if total > limits::IN_FLIGHT_TOTAL_MAX {
                break;
            }
        }
        assert!(taken.iter().all(|taken| *taken > 0));
        assert!(share.admits(0, total), "one is left for the last endpoint");
    }

    #[test]
    fn the_crowd_goes_by_what_each_has_and_then_by_who_came_first() {
        let mut share = Share::new(20);
        share.refuse(EndpointNo(1), 3);
        share.refuse(EndpointNo(2), 2);
        let gone = share.refuse(EndpointNo(3), 2);
        share.refuse(EndpointNo(4), 2);
        share.recall(gone);
        assert_eq!(share.next(8), None, "2 are free to share");
        assert_eq!([share.next(7), share.next(7), share.next(7)], [Some(EndpointNo(2)), Some(EndpointNo(4)), None]);
        assert!(share.has_next(6));
    }
}
