//! Lives: how the daemon starts, stops, is killed, and what happens to its folder between two of them.

use super::*;

impl World {
    /// Starts the daemon on the folder as it is.
    pub(crate) fn start(&mut self) {
        let clock = ManualClock::at(self.wall);
        let time: SharedClock = Arc::new(ManualHandle(Arc::clone(&clock)));
        let disk = SimDisk::of(&self.data);
        let options = OutboxOptions {
            dir: self.data.clone(),
            retention_ms: self.setup.retention_ms,
            size_bytes_max: self.setup.size_bytes_max,
            durability: self.setup.durability,
            free_bytes_min: Some(FREE_BYTES_MIN),
            generation_bytes: self.setup.generation_bytes,
            disk: Arc::clone(&disk) as _,
        };
        let (roster, metrics) = (Roster::shared(), Metrics::shared());
        for (at, endpoint) in self.setup.endpoints.iter().enumerate() {
            assert_eq!(usize::from(roster.number(&endpoint.name).0), at);
        }
        let runtime = Builder::new_current_thread().build().unwrap();
        let mut schedule = Schedule::new(self.setup.in_flight_total_max);
        let (mut waiting, mut dead) = (Vec::new(), Vec::new());
        let present = self.present();
        let blocking = blocking(present.iter(), &roster);
        let opened = {
            let _entered = runtime.enter();
            let each = |one: Recovered| {
                recover(&mut schedule, &one, &time, &blocking);
                match one {
                    Recovered::Waiting(one) => waiting.push(one),
                    Recovered::Dead(one) => dead.push(one),
                }
            };
            Outbox::open(options, Arc::clone(&time), Arc::clone(&roster), Arc::clone(&metrics), each)
        };
        let Opened { outbox, news, endpoints } = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.ledger().breach(format!("the outbox does not open: {error}"));
                return;
            }
        };
        let network =
            Network::new(Arc::clone(&time), Arc::clone(&self.ledger), self.behaviours.clone(), self.setup.seed);
        let (forward, forwarded) = mpsc::channel(SCHEDULE_QUEUE_MAX);
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let dispatcher = Dispatcher {
            outbox: outbox.clone(),
            courier: Wire(Arc::clone(&network)),
            clock: Arc::clone(&time),
            metrics,
            roster,
            schedule,
            news: forwarded,
            seed: self.setup.seed,
        };
        let running = {
            let _entered = runtime.enter();
            dispatcher.start(present.iter(), &endpoints, stop.clone(), &tracker)
        };
        let Running { control, drained, .. } = running;
        let damaged = self.ledger().is_harmed();
        let complete = outbox.condition().reason() != Some("failing");
        self.life = Some(Life {
            runtime,
            clock,
            time,
            disk,
            network,
            outbox,
            control,
            news,
            forward,
            stop,
            drained,
            tracker,
            troubled_until: MonoMs(if damaged { RECOVERY_MS } else { 0 }),
            damaged,
            held_back: 0,
        });
        let record = |endpoint: &Arc<Endpoint>| {
            endpoints.iter().find(|(name, _)| *name == endpoint.name).map(|(_, record)| *record)
        };
        let told: Vec<EndpointRecord> =
            self.setup.endpoints.iter().map(|endpoint| record(endpoint).unwrap_or_default()).collect();
        let waiting: Vec<_> =
            waiting.into_iter().filter_map(|one| Some((self.know(one.delivery.event)?, one))).collect();
        let dead: Vec<_> = dead.into_iter().filter_map(|one| Some((self.know(one.delivery.event)?, one))).collect();
        let (now, in_order) = (self.now(), self.ended_in_order);
        let line = format!("started, {} wait, {} are dead, endpoints {told:?}", waiting.len(), dead.len());
        let mut ledger = self.ledger();
        ledger.lanes_begin(&told, in_order, now);
        ledger.begins(&waiting, &dead, complete, now);
        drop(ledger);
        self.tell(line);
    }

    /// Which event lies in a place; it is asked for where that is not known yet, or may have changed with a crash.
    pub(super) fn know(&mut self, place: EventRef) -> Option<usize> {
        let known = self.ledger().post_at(place);
        let sure = known.filter(|post| self.ledger().posts()[*post].fate == Fate::Stored);
        if sure.is_some() {
            return sure;
        }
        match wait(self.life().outbox.load(place)) {
            Ok(Some(event)) => {
                let now = self.now();
                let report = self.ledger().report_lies_at(&event, place, now);
                let post = event.traceparent.as_deref().and_then(|mark| mark.parse().ok());
                if let Some(post) = post {
                    self.ledger().lies_at(post, place);
                }
                report.or(post)
            }
            other => {
                let calm = self.life().troubled_until == MonoMs(0) && !self.life().damaged;
                if calm {
                    self.ledger().breach(format!("what waits at {place:?} cannot be read: {other:?}"));
                }
                None
            }
        }
    }

    /// Has an image taken in the middle of what comes, after so many writes and syncs.
    pub(crate) fn crash_after(&mut self, passes: u32) {
        self.folders += 1;
        let to = self.home.path().join(self.folders.to_string());
        self.life().disk.take_image_after(passes, to);
    }

    /// Ends this life as SIGKILL would, at the image that was taken, or now.
    pub(crate) fn crash(&mut self) {
        let in_the_middle = self.cut();
        if !in_the_middle {
            self.crash_after(0);
            self.life().disk.take_image_now();
        }
        self.ledger().counts.crashes += 1;
        self.ledger().counts.cut += u64::from(in_the_middle);
        self.tell(format!("killed{}", if in_the_middle { " in the middle of something" } else { "" }));
        let Some(life) = self.life.take() else { return };
        let now = Now::of(&life.time);
        let image = life.disk.taken().expect("an image was just taken");
        self.wall = life.time.wall();
        life.disk.set_trouble(Trouble::default());
        life.end();
        let _ = std::fs::remove_dir_all(&self.data);
        self.data = image;
        self.ended_in_order = false;
        self.ledger().life_ends(true, now);
    }

    /// Stops in order. `patient`: requests under way may end first.
    pub(crate) fn stop(&mut self, patient: bool) {
        self.tell(format!("stopped{}", if patient { "" } else { " with requests under way" }));
        self.ledger().counts.stops += 1;
        self.life().stop.cancel();
        if patient {
            while let Some(end) = self.life().network.next_end() {
                let ms = end.since(self.life().time.mono());
                self.life().clock.advance_ms(ms);
                self.rest_in(Rest::Stopping);
            }
            let life = self.life();
            life.runtime.block_on(async {
                let begun = Instant::now();
                while !life.drained.is_cancelled() {
                    assert!(begun.elapsed() < STUCK, "the dispatcher does not drain");
                    tokio::task::yield_now().await;
                }
            });
        }
        let calm = self.calm() && !self.cut();
        if self.cut() {
            // The stop came too late for the image: it is a crash.
            self.crash();
            return;
        }
        let life = self.life.take().expect("the daemon is alive");
        let now = Now::of(&life.time);
        self.wall = life.time.wall();
        life.end();
        self.ended_in_order = calm;
        let mut ledger = self.ledger();
        if calm {
            ledger.make_sure();
        }
        ledger.life_ends(!calm, now);
    }

    /// Damages a generation of the folder, between two lives.
    pub(crate) fn damage(&mut self, random: &mut fastrand::Rng) {
        if let Some((no, how)) = disk::damage(&self.data, random) {
            self.tell(format!("generation {no} damaged: {how}"));
            self.ledger().counts.damages += 1;
            self.ledger().harm(no);
        }
    }

    /// Leaves what a kill between two steps leaves in the folder, between two lives.
    pub(crate) fn leave_residue(&mut self, random: &mut fastrand::Rng) {
        if let Some(what) = disk::leave_residue(&self.data, random) {
            self.tell(format!("found beside the generations: {what}"));
        }
    }
}
