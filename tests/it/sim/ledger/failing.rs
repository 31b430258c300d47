//! For how long an endpoint has not succeeded once, and whether it is given up for it.

use webhookd::clock::MonoMs;
use webhookd::model::endpoint::Failing as Kept;

/// Two failures must lie so far apart before an endpoint is given up, in milliseconds.
const APART_MS: u64 = 12 * 3600 * 1000;
/// What is kept of it over a restart is kept to the minute.
const GRAIN_MS: u64 = 60_000;

/// A time without a success.
#[derive(Clone, Copy, Debug)]
struct Time {
    /// So much of it was seen before, in milliseconds.
    before_ms: u64,
    since: MonoMs,
}

impl Time {
    fn lasted_ms(self, now: MonoMs) -> u64 {
        self.before_ms + now.since(self.since)
    }
}

/// An endpoint's time without a success.
#[derive(Debug, Default)]
pub(super) struct Failing {
    /// At most.
    longest: Option<Time>,
    /// At least.
    shortest: Option<Time>,
    /// How long the shortest was when an attempt ended last: so much is kept after an ordinary end.
    noted_ms: u64,
    /// What came since the last rest: a success, a failure, a failure that may disable it.
    success: bool,
    failure: bool,
    blame: bool,
}

/// Whether an endpoint is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    No,
    Perhaps,
    Surely,
}

impl Failing {
    pub(super) fn succeeds(&mut self) {
        self.success = true;
    }

    /// `blame`: the attempt began after the last resume.
    pub(super) fn fails(&mut self, blame: bool) {
        self.failure = true;
        self.blame |= blame;
    }

    /// A rest: what came is known to the dispatcher.
    pub(super) fn rest(&mut self, disable_after_ms: Option<u64>, now: MonoMs) -> GivenUp {
        let long_enough = |time: Option<Time>| {
            let after_ms = disable_after_ms.map(|after_ms| after_ms.max(APART_MS));
            time.zip(after_ms).is_some_and(|(time, after_ms)| time.lasted_ms(now) >= after_ms)
        };
        let given_up = if !self.blame || !long_enough(self.longest) {
            GivenUp::No
        } else if self.success || !long_enough(self.shortest) {
            GivenUp::Perhaps
        } else {
            GivenUp::Surely
        };
        let begins = Time { before_ms: 0, since: now };
        if self.success {
            (self.longest, self.shortest) = (self.failure.then_some(begins), None);
        } else if self.failure {
            self.longest.get_or_insert(begins);
            self.shortest.get_or_insert(begins);
        }
        if self.success || self.failure {
            self.noted_ms = self.shortest.map_or(0, |time| time.lasted_ms(now));
        }
        (self.success, self.failure, self.blame) = (false, false, false);
        given_up
    }

    /// A life has ended, or the config names it no more: the time stands still. `noted`: what is kept was noted just now.
    pub(super) fn stops(&mut self, noted: bool, now: MonoMs) {
        let least_ms = if noted { self.shortest.map_or(0, |time| time.lasted_ms(now)) } else { self.noted_ms };
        let still = |ms| (ms > 0).then_some(Time { before_ms: ms, since: now });
        self.longest = self.longest.and_then(|time| still(time.lasted_ms(now)));
        self.shortest = still(least_ms / GRAIN_MS * GRAIN_MS);
        (self.success, self.failure, self.blame) = (false, false, false);
    }

    /// It goes on after it stood still.
    pub(super) fn goes_on(&mut self, now: MonoMs) {
        let times = [&mut self.longest, &mut self.shortest];
        times.into_iter().flatten().for_each(|time| time.since = now);
    }

    /// A life begins, with what was kept. `sure`: the last one ended in order.
    pub(super) fn begins(&mut self, kept: Option<Kept>, sure: bool, now: MonoMs) -> Option<String> {
        let kept_ms = kept.map_or(0, |kept| kept.for_ms);
        let most_ms = self.longest.map_or(0, |time| time.before_ms);
        let least_ms = self.shortest.map_or(0, |time| time.before_ms);
        let known = kept.map(|kept| Time { before_ms: kept.for_ms, since: now });
        *self = Self { longest: known, shortest: known, noted_ms: kept_ms, ..Self::default() };
        let wrong = kept_ms > most_ms || kept_ms < least_ms;
        (sure && wrong).then(|| format!("fails for {kept_ms} ms, and that was {least_ms} to {most_ms} ms"))
    }
}
