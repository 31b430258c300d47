//! Audits: what the outbox tells against what the ledger knows.

use super::*;

impl World {
    /// Compares some events, chosen by `pick`, with what the outbox tells of them. Only at a rest, and while
    /// nothing is cut or wrong: what the disk refused is not there to be read.
    pub(crate) fn audit(&mut self, pick: impl Fn(usize) -> bool) {
        if self.cut() || !self.calm() || !self.has_heard_all() {
            return;
        }
        let posts: Vec<usize> = self.ledger().to_audit().into_iter().filter(|post| pick(*post)).collect();
        for post in posts {
            let (id, shaken) = (self.ledger().posts()[post].id.clone(), self.life().damaged);
            let breaches = self.ledger().breaches().len();
            let found = self.find(&id);
            if (found.is_none() && (shaken || !self.calm())) || self.ledger().breaches().len() > breaches {
                continue;
            }
            let (calm, now) = (self.calm(), self.now());
            self.ledger().audit(post, found.as_ref(), calm, now);
        }
    }

    /// Compares everything.
    pub(crate) fn audit_all(&mut self, page: usize) {
        self.audit(|_| true);
        if self.cut() || !self.calm() || !self.has_heard_all() {
            return;
        }
        if !self.ledger().is_harmed() {
            self.audit_told_damages();
        }
        if let Some(listed) = self.list(page) {
            let now = self.now();
            self.ledger().audit_list(&listed, now);
        }
    }

    /// Reads everything, more than once, so that whatever is damaged is met and mended.
    pub(crate) fn read_all(&mut self) {
        for _ in 0..4 {
            let ids: Vec<String> = {
                let ledger = self.ledger();
                ledger.to_audit().into_iter().map(|post| ledger.posts()[post].id.clone()).collect()
            };
            for id in ids {
                self.find(&id);
            }
            self.advance(2_000);
        }
    }

    /// Compares what was damaged with what is said of it, once everything was read and mended, and nothing waits any more.
    pub(crate) fn audit_damages(&mut self) {
        let posts = self.ledger().to_audit();
        for post in posts {
            let id = self.ledger().posts()[post].id.clone();
            let (found, now) = (self.find(&id), self.now());
            self.ledger().audit(post, found.as_ref(), false, now);
            self.ledger().audit_harmed_end(post, found.as_ref());
        }
        self.audit_told_damages();
    }

    /// Compares the damage that is told with what is missing.
    pub(crate) fn audit_told_damages(&mut self) {
        let damages = self.life().outbox.damages();
        if !damages.is_empty() {
            self.tell(format!("damage told: {damages:?}"));
        }
        self.ledger().audit_damages(&damages);
    }

    /// The latest that the wall clock ever showed.
    pub(crate) fn latest_wall(&self) -> UnixMs {
        self.wall().max(self.latest_wall)
    }

    /// What lies in the data folder.
    pub(crate) fn files(&self) -> Vec<String> {
        disk::listing(&self.data).into_iter().map(|(path, len, _)| format!("{} {len}", path.display())).collect()
    }

    /// The wall clock between two lives.
    pub(crate) fn wall(&self) -> UnixMs {
        self.life.as_ref().map_or(self.wall, |life| life.time.wall())
    }

    /// Generations on the disk.
    pub(crate) fn generations(&self) -> usize {
        disk::generations(&self.data).len()
    }
}
