//! The end of a seed: all is well, and whatever was accepted ends.

use super::*;

/// Time passes so often at most until all has ended.
const STEPS_MAX: u32 = 3_000;

impl Plan {
    /// All endpoints are well, all are resumed, and time runs: whatever was accepted must end.
    pub(super) fn finish(&mut self) {
        self.world.tell("from here on all is well".to_owned());
        let endpoints = self.world.setup.endpoints.len();
        for endpoint in 0..endpoints {
            self.world.behave(endpoint, Behaviour::Steady(Answer::Taken, 0));
        }
        // Requests under way still get the old answers.
        self.world.advance(15 * SECOND_MS);
        for endpoint in 0..endpoints {
            if !self.world.is_present(endpoint) {
                let config = Arc::clone(&self.world.setup.endpoints[endpoint]);
                self.world.reconfigure(endpoint, Some(config));
            }
        }
        self.resume_all();
        self.run_out();
        let harmed = self.world.ledger().is_harmed();
        if harmed && !self.is_over() {
            // Whatever is damaged is met by reading it; what was lost of it is told, and the rest goes on at the next start.
            self.world.read_all();
            self.world.stop(true);
            self.world.start();
            if !self.is_over() {
                self.resume_all();
                self.run_out();
            }
            if !self.is_over() {
                self.world.audit_damages();
            }
        }
        if self.is_over() {
            return;
        }
        let page = self.random.usize(1..30);
        self.world.audit_all(page);
        self.world.ledger().audit_end();
        if self.is_over() || harmed {
            return;
        }
        // A clock that was set back puts retention off by as much.
        self.world.set_wall(self.world.latest_wall());
        // Retention leaves nothing but the generation that takes events, and perhaps the one that was sealed last.
        let retention_ms = self.world.setup.retention_ms;
        for ms in [retention_ms, 11 * SECOND_MS, retention_ms, 11 * SECOND_MS, 2 * DAY_MS, retention_ms, SECOND_MS] {
            self.world.advance(ms);
        }
        let left = self.world.generations();
        if left > 2 {
            let listed = self.world.list(100);
            let files = self.world.files();
            self.world
                .ledger()
                .breach(format!("{left} generations are left long after retention, with {listed:?}: {:?}", files));
        }
        self.world.stop(true);
    }

    fn resume_all(&mut self) {
        for endpoint in 0..self.world.setup.endpoints.len() {
            self.world.rest();
            self.world.operate(endpoint, LaneState::Active);
        }
        self.world.rest();
    }

    /// Time runs until nothing is left to do.
    fn run_out(&mut self) {
        if self.is_over() {
            return;
        }
        self.world.rest();
        let (mut step, mut left) = (SECOND_MS, STEPS_MAX);
        let harmed = self.world.ledger().is_harmed();
        let waits = |world: &World| !world.ledger().unfinished().is_empty() || (harmed && world.pending() > 0);
        while !self.is_over() && left > 0 && waits(&self.world) {
            if harmed && left % 16 == 0 {
                // What is found to be lost is dead, and may hold up others.
                self.resume_all();
            }
            let now = self.world.now();
            // A rate lets so many go at a time.
            let paced = self.world.ledger().next_pace_ms(now);
            self.world.advance(paced.map_or(step, |ms| ms.clamp(1, step)));
            // A wall clock that was set back may put a retry off by as much as it was set back.
            step = (step * 2).min(2 * DAY_MS);
            left -= 1;
        }
        let unfinished = self.world.ledger().unfinished();
        if !unfinished.is_empty() {
            self.world.ledger().breach(format!("these never end: {unfinished:?}"));
        }
        // Faults are felt for a while.
        self.world.advance(20 * SECOND_MS);
        self.world.advance(SECOND_MS);
    }
}
