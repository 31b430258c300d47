//! Rates: how many attempts there may be in any stretch of time.

use webhookd::clock::MonoMs;
use webhookd::policy::rate::RateLimit;

const NS_OF_MS: u64 = 1_000_000;

/// When attempts began at an endpoint, as far as its rate counts them.
#[derive(Debug, Default)]
pub(super) struct Starts {
    at: Vec<MonoMs>,
    /// The rate may have been used up by what was not seen: an attempt whose event could not be read, or another rate.
    pub(super) unsure: bool,
}

impl Starts {
    /// Why none may begin now.
    pub(super) fn refuse(&self, limit: RateLimit, now: MonoMs) -> Option<String> {
        let ready = self.ready_at(limit);
        (ready > now).then(|| format!("{} ms before its endpoint's rate allows it", ready.since(now)))
    }

    pub(super) fn begins(&mut self, now: MonoMs) {
        self.at.push(now);
    }

    /// The first moment at which each stretch of time that ends with it has room for one more.
    pub(super) fn ready_at(&self, limit: RateLimit) -> MonoMs {
        let interval_ns = limit.per_ms * NS_OF_MS / u64::from(limit.count);
        let allowed = self.at.iter().rev().zip(2_u64..).map(|(from, count)| {
            let beyond = count.saturating_sub(u64::from(limit.burst));
            MonoMs((from.0 * NS_OF_MS + beyond * interval_ns).div_ceil(NS_OF_MS))
        });
        allowed.max().unwrap_or_default()
    }
}
