//! Time and rest: what happens, and when it has.

use super::*;

impl World {
    /// Lets everything happen that can happen before the clock moves on, and looks whether it did.
    pub(crate) fn rest(&mut self) {
        let heard = self.life().held_back == 0;
        self.rest_in(Rest::Running);
        let now = self.now();
        if self.calm() && !self.cut() && heard {
            self.ledger().at_rest(now);
            self.look_after_overdue();
        }
    }

    /// Asks what became of deliveries that may have been given up.
    fn look_after_overdue(&mut self) {
        let overdue = self.ledger().overdue();
        self.audit(|post| overdue.contains(&post));
    }

    pub(super) fn rest_in(&mut self, rest: Rest) {
        let begun = Instant::now();
        // Whoever tells of endpoints waits for the writer, and has more to tell only once that has answered.
        let mut rounds = 1 + u32::from(self.setup.is_told());
        loop {
            self.let_write();
            self.pass_news();
            let told = self.let_dispatch(rest);
            self.let_write();
            let life = self.life.as_mut().expect("the daemon is alive");
            if life.held_back > 0 || life.news.is_empty() {
                rounds -= 1;
                if rounds > 0 {
                    continue;
                }
                let (calm, now) = (self.calmness(), self.now());
                self.ledger().lanes_are_told(&told, calm, now);
                let life = self.life.as_mut().expect("the daemon is alive");
                life.held_back = life.held_back.saturating_sub(1);
                return;
            }
            assert!(begun.elapsed() < STUCK, "the world never rests");
        }
    }

    /// Lets the writer do all it has to do in this moment: what was asked before these questions, and after the first of
    /// them whatever is due.
    fn let_write(&self) {
        for _ in 0..2 {
            let _ = wait(self.life().outbox.replay(Vec::new()));
        }
    }

    /// Passes on to the dispatcher what the outbox tells it.
    fn pass_news(&mut self) {
        if self.life().held_back > 0 {
            return;
        }
        let (cut, now) = (self.cut(), self.now());
        while let Ok(news) = self.life.as_mut().expect("the daemon is alive").news.try_recv() {
            match &news {
                News::Accepted(events) => events.iter().for_each(|fresh| self.ledger().announced(fresh, cut, now)),
                News::Revived(waiting) => {
                    for one in waiting {
                        self.know(one.delivery.event);
                        self.ledger().counts.revived += 1;
                        self.ledger().revived(one, now);
                    }
                }
                News::Removed { generation } => self.ledger().removed(*generation, now.wall),
                // What died in a generation that could not be opened at first is held against nobody here.
                News::Fallen(_) | News::StorageLow(_) => {}
            }
            self.life().forward.try_send(news).expect("the dispatcher takes its news");
        }
    }

    /// Turns the runtime until nothing is under way but what waits for the clock.
    fn let_dispatch(&self, rest: Rest) -> Vec<EndpointHealth> {
        let life = self.life();
        let begun = Instant::now();
        life.runtime.block_on(async {
            let mut quiet = 0;
            loop {
                let health = life.control.endpoints().await.expect("the dispatcher answers");
                let under_way: usize = health.iter().map(|one| one.in_flight as usize).sum();
                let read = life.forward.capacity() == life.forward.max_capacity();
                quiet = if under_way <= life.network.held() && read { quiet + 1 } else { 0 };
                if quiet == 2 {
                    return health;
                }
                if quiet == 0 && begun.elapsed() > PATIENCE {
                    // A generation that failed under a reader stays shut until the writer looks up; the clock would wake it.
                    let _ = life.outbox.replay(Vec::new()).await;
                }
                if begun.elapsed() > STUCK {
                    panic!("the dispatcher never rests ({rest:?}): {health:?}, {} held", life.network.held());
                }
                tokio::task::yield_now().await;
                if quiet == 0 {
                    std::thread::yield_now();
                }
            }
        })
    }

    /// Moves both clocks on.
    pub(crate) fn advance(&mut self, ms: u64) {
        // What was owed to a disk that refused is written in the first moment that it does not, and synced in a later one.
        let (calm, troubled) = (self.calm(), self.trouble().any());
        self.life().clock.advance_ms(ms);
        // A disk that refuses once may have done so by now.
        if troubled {
            self.trouble_is_felt();
        }
        self.let_write();
        if ms >= SYNCED_MS && calm && self.calm() && !self.cut() {
            self.ledger().make_sure();
        }
        self.rest();
    }

    /// Sets the wall clock alone.
    pub(crate) fn set_wall(&mut self, wall: UnixMs) {
        let before = self.wall();
        self.latest_wall = self.latest_wall();
        self.wall = wall;
        if let Some(life) = &self.life {
            life.clock.set_wall(wall);
        }
        self.ledger().clock_was_set(before, wall);
    }

    /// Changes what is wrong with the disk.
    pub(crate) fn set_trouble(&mut self, trouble: Trouble) {
        self.life().disk.set_trouble(trouble);
        self.trouble_is_felt();
    }

    pub(crate) fn trouble(&self) -> Trouble {
        self.life().disk.trouble()
    }

    fn trouble_is_felt(&mut self) {
        let until = self.life().time.mono().plus_ms(RECOVERY_MS);
        self.life.as_mut().expect("the daemon is alive").troubled_until = until;
    }

    /// Keeps what the outbox tells from the dispatcher for so many rests.
    pub(crate) fn hold_news_back(&mut self, rests: u32) {
        self.life.as_mut().expect("the daemon is alive").held_back = rests;
    }
}
