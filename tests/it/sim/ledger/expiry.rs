//! What may be given up: a delivery that was due for the whole rest of its schedule, and for the longest cooldown at least,
//! while the breaker was open. Whether it was is not seen on the network; it is asked for.

use webhookd::clock::MonoMs;
use webhookd::model::delivery::{DeadReason, Progress, Standing};

use super::{LaneState, Ledger, Now, Point, Stand};

impl Ledger {
    /// Marks what may be given up now, as breakers stood at the last rest.
    pub(super) fn mark_overdue(&mut self, now: Now) {
        if self.marked_at.replace(now.mono) == Some(now.mono) {
            return;
        }
        let open: Vec<Option<MonoMs>> = (self.lanes.iter())
            .map(|lane| {
                let gate =
                    lane.gate.as_ref().filter(|gate| gate.is_open() && lane.state == LaneState::Active && !lane.gone);
                gate.and_then(|gate| gate.open_since)
            })
            .collect();
        for (way, delivery) in &mut self.deliveries {
            let (Some(since), Some((due, _))) = (open[way.1], delivery.due) else { continue };
            if !delivery.last().is_pending() || delivery.in_flight {
                continue;
            }
            let config = &self.endpoints[way.1];
            let tries = usize::from(delivery.last().progress.tries);
            let rest_ms: u64 = config.retry.waits_ms.iter().skip(tries).sum();
            let cooldown_ms = config.breaker.map_or(0, |rules| rules.cooldown_ms_max.max(rules.cooldown_ms));
            let given_up_at = due.max(since).plus_ms(rest_ms.max(cooldown_ms));
            if given_up_at <= now.mono && !delivery.overdue {
                (delivery.overdue, delivery.was_overdue, delivery.overdue_since) = (true, true, now.mono);
            }
        }
    }

    /// Events with deliveries that may have been given up: somebody has to look.
    pub(crate) fn overdue(&self) -> Vec<usize> {
        let mut posts: Vec<usize> =
            self.deliveries.iter().filter(|(_, delivery)| delivery.overdue).map(|(way, _)| way.0).collect();
        posts.dedup();
        posts
    }

    /// A delivery is told to stand so. If it may have been given up, that settles it.
    pub(super) fn settle_overdue(&mut self, way: (usize, usize), standing: Standing, progress: Progress, now: Now) {
        let Some(delivery) = self.deliveries.get_mut(&way).filter(|delivery| delivery.overdue) else { return };
        delivery.overdue = false;
        let dead = Standing::Dead(DeadReason::BreakerOpen);
        if standing != dead || !delivery.last().is_pending() || delivery.last().progress != progress {
            return;
        }
        delivery.history.push(Point { at: Stand::Dead(DeadReason::BreakerOpen), progress });
        delivery.due = None;
        // When it was given up nobody saw, so retention may count from before.
        self.counts.given_up += 1;
        let in_this_moment = delivery.overdue_since == now.mono;
        self.falls(way, now.wall);
        if !in_this_moment {
            // Perhaps it was given up long ago, when the disk took nothing.
            self.forgive_report(way);
        }
    }
}
