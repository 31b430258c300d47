//! Whether the parts that everything depends on still get through their work: the outbox's writer and the dispatcher's task.
//!
//! Both are asked the same way that work is handed to them, so that an answer means that work is done and not only that a thread
//! exists. A disk that refuses is no reason not to answer; one that hangs is.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::control::Control;
use crate::clock::{MonoMs, SharedClock};
use crate::limits::{HEALTH_FRESH_MS, HEALTH_MS_MAX};

/// What the dispatcher tells of itself when it is asked whether it lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Endpoints in the config.
    pub endpoints: usize,
    /// Deliveries that are not finished.
    pub pending: u64,
    /// Attempts under way.
    pub in_flight: usize,
    /// Endpoints whose breaker is open.
    pub breakers_open: usize,
}

/// Who does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silent {
    /// The outbox's writer.
    Writer,
    /// The dispatcher.
    Dispatcher,
    /// Neither answers.
    Both,
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Writer => "the outbox's writer does not answer",
            Self::Dispatcher => "the dispatcher does not answer",
            Self::Both => "neither the outbox's writer nor the dispatcher answers",
        })
    }
}

/// The last answer, for those who may ask often.
#[derive(Debug)]
pub(super) struct LastHeard {
    clock: SharedClock,
    /// Whoever has it asks; the others wait for what comes of that.
    asking: Semaphore,
    heard: Mutex<Option<(MonoMs, Result<Pulse, Silent>)>>,
}

impl LastHeard {
    pub(super) fn new(clock: SharedClock) -> Arc<Self> {
        Arc::new(Self { clock, asking: Semaphore::new(1), heard: Mutex::new(None) })
    }

    fn fresh(&self) -> Option<Result<Pulse, Silent>> {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.filter(|(at, _)| self.clock.mono().since(*at) < HEALTH_FRESH_MS).map(|(_, outcome)| outcome)
    }
}

impl Control {
    /// Asks the outbox's writer and the dispatcher at once, and gives both `within_ms` milliseconds to answer. One that has
    /// ended does not answer.
    ///
    /// # Errors
    /// Who did not.
    pub async fn pulse(&self, within_ms: u64) -> Result<Pulse, Silent> {
        let clock = &self.last_heard.clock;
        let at = clock.mono().plus_ms(within_ms);
        let writer = async {
            tokio::select! {
                biased;
                beat = self.outbox.heartbeat() => beat.is_ok(),
                () = clock.sleep_until(at) => false,
            }
        };
        let dispatcher = async {
            tokio::select! {
                biased;
                pulse = self.ask_pulse() => pulse.ok(),
                () = clock.sleep_until(at) => None,
            }
        };
        match tokio::join!(writer, dispatcher) {
            (true, Some(pulse)) => Ok(pulse),
            (false, Some(_)) => Err(Silent::Writer),
            (true, None) => Err(Silent::Dispatcher),
            (false, None) => Err(Silent::Both),
        }
    }

    /// As [`Control::pulse`] within [`HEALTH_MS_MAX`], for anybody: however many ask, the parts are asked one time after the
    /// other, and not again for as long as the answer is fresh.
    ///
    /// # Errors
    /// Who did not answer.
    pub async fn recent_pulse(&self) -> Result<Pulse, Silent> {
        let last = &self.last_heard;
        if let Some(outcome) = last.fresh() {
            return outcome;
        }
        // It is never closed; and whoever waited finds what the one before has heard.
        let _turn = last.asking.acquire().await;
        if let Some(outcome) = last.fresh() {
            return outcome;
        }
        let outcome = self.pulse(HEALTH_MS_MAX).await;
        *last.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some((last.clock.mono(), outcome));
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io;
    use std::path::Path;
    use std::sync::Condvar;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use bytes::Bytes;
    use tokio::sync::mpsc;

    use super::super::control::Ask;
    use super::*;
    use crate::clock::{ManualClock, ManualHandle, SystemClock, UnixMs};
    use crate::config::Durability;
    use crate::model::event::{Content, Event, Fingerprint, NewEvent};
    use crate::model::roster::Roster;
    use crate::model::text::{EventId, EventType};
    use crate::observe::Metrics;
    use crate::outbox::{AcceptError, Disk, News, Opened, Outbox, OutboxOptions, RealDisk, Space};

    /// A disk that refuses, or hangs in an fsync, when it is told to.
    #[derive(Debug, Default)]
    struct BadDisk {
        refuses: AtomicBool,
        full: AtomicBool,
        hangs: Mutex<bool>,
        hung: AtomicBool,
        moved: Condvar,
    }

    impl BadDisk {
        fn hang(&self, hangs: bool) {
            *self.hangs.lock().unwrap() = hangs;
            self.moved.notify_all();
        }
    }

    impl Disk for BadDisk {
        fn sync_data(&self, file: &File) -> io::Result<()> {
            let mut hangs = self.hangs.lock().unwrap();
            while *hangs {
                self.hung.store(true, Ordering::Relaxed);
                hangs = self.moved.wait(hangs).unwrap();
            }
            RealDisk.sync_data(file)
        }

        fn before_write(&self) -> io::Result<()> {
            if self.refuses.load(Ordering::Relaxed) { Err(io::Error::other("refused")) } else { Ok(()) }
        }

        fn space(&self, dir: &Path) -> io::Result<Space> {
            let space = RealDisk.space(dir)?;
            Ok(if self.full.load(Ordering::Relaxed) { Space { free_bytes: 0, ..space } } else { space })
        }
    }

    /// A real outbox, and a dispatcher's ear.
    struct Bench {
        control: Control,
        asked: mpsc::Receiver<Ask>,
        disk: Arc<BadDisk>,
        clock: Arc<ManualClock>,
        _news: mpsc::Receiver<News>,
        _folder: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let disk = Arc::new(BadDisk::default());
            let options = OutboxOptions {
                dir: folder.path().join("data"),
                retention_ms: 3_600_000,
                size_bytes_max: 1 << 30,
                free_bytes_min: None,
                durability: Durability::Fsync,
                generation_bytes: 1 << 20,
                disk: Arc::clone(&disk) as Arc<dyn Disk>,
            };
            let roster = Roster::shared();
            let opened =
                Outbox::open(options, SystemClock::shared(), Arc::clone(&roster), Metrics::shared(), |_| {}).unwrap();
            let Opened { outbox, news, .. } = opened;
            let (asks, asked) = mpsc::channel(4);
            // The parts run on the machine's clock; how long they may take is up to the test.
            let clock = ManualClock::at(UnixMs(1_700_000_000_000));
            let last_heard = LastHeard::new(Arc::new(ManualHandle(Arc::clone(&clock))));
            let control = Control { asks, outbox, roster, unstored: Arc::new(AtomicUsize::new(0)), last_heard };
            Self { control, asked, disk, clock, _news: news, _folder: folder }
        }

        /// Asks for a pulse, which the dispatcher answers.
        async fn pulse(&mut self) -> Result<Pulse, Silent> {
            tokio::join!(self.control.pulse(1_000), answer(&mut self.asked)).0
        }

        async fn post(outbox: Outbox, id: &'static str) -> Result<(), AcceptError> {
            let event = Event {
                id: EventId::parse(id).unwrap(),
                event_type: EventType::parse("a").unwrap(),
                key: None,
                at: UnixMs(1_700_000_000_000),
                timestamp: None,
                deliver_at: None,
                content: Content { content_type: "text/plain".into(), json: false, body: Bytes::from_static(b"body") },
                traceparent: None,
                cloud_attributes: None,
                headers: Vec::new(),
            };
            let new = NewEvent {
                event: Arc::new(event),
                id_given: true,
                idempotency_key: None,
                fingerprint: Fingerprint([0; 16]),
                targets: Vec::new(),
            };
            outbox.accept(vec![new]).await.map(drop)
        }
    }

    const PULSE: Pulse = Pulse { endpoints: 1, pending: 2, in_flight: 3, breakers_open: 0 };

    async fn answer(asked: &mut mpsc::Receiver<Ask>) {
        let Some(Ask::Pulse { reply }) = asked.recv().await else { panic!("something else was asked") };
        // Whoever asked may have waited long enough.
        let _ = reply.send(PULSE);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn both_parts_are_heard_and_an_end_is_silence() {
        let mut bench = Bench::new();
        assert_eq!(bench.pulse().await, Ok(PULSE));
        bench.control.outbox.close().await;
        assert_eq!(bench.pulse().await, Err(Silent::Writer));
        bench.asked.close();
        assert_eq!(bench.control.pulse(1_000).await, Err(Silent::Both));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_dispatcher_that_does_not_answer_in_time_is_named() {
        let Bench { control, mut asked, clock, disk: _, _news, _folder } = Bench::new();
        let time = async {
            // It is asked, and keeps the question.
            let kept = asked.recv().await;
            control.outbox.heartbeat().await.unwrap();
            clock.advance_ms(999);
            tokio::task::yield_now().await;
            clock.advance_ms(1);
            kept
        };
        let (pulse, kept) = tokio::join!(control.pulse(1_000), time);
        assert_eq!(pulse, Err(Silent::Dispatcher));
        drop(kept);
        control.outbox.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_writer_that_hangs_in_an_fsync_is_named_and_heard_again_once_the_disk_goes_on() {
        let mut bench = Bench::new();
        bench.disk.hang(true);
        let posting = Bench::post(bench.control.outbox.clone(), "e-1");
        let (disk, clock) = (Arc::clone(&bench.disk), Arc::clone(&bench.clock));
        let watching = async {
            while !disk.hung.load(Ordering::Relaxed) {
                tokio::task::yield_now().await;
            }
            let time = async {
                answer(&mut bench.asked).await;
                clock.advance_ms(1_000);
            };
            let (pulse, ()) = tokio::join!(bench.control.pulse(1_000), time);
            disk.hang(false);
            pulse
        };
        let (posted, pulse) = tokio::join!(posting, watching);
        assert_eq!(pulse, Err(Silent::Writer));
        posted.unwrap();
        assert_eq!(bench.pulse().await, Ok(PULSE));
        bench.control.outbox.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_disk_that_is_full_or_refuses_is_no_reason_for_an_alarm() {
        let mut bench = Bench::new();
        bench.disk.full.store(true, Ordering::Relaxed);
        assert_eq!(Bench::post(bench.control.outbox.clone(), "e-1").await, Err(AcceptError::Full));
        assert_eq!(bench.pulse().await, Ok(PULSE));
        bench.disk.full.store(false, Ordering::Relaxed);
        bench.disk.refuses.store(true, Ordering::Relaxed);
        assert_eq!(Bench::post(bench.control.outbox.clone(), "e-2").await, Err(AcceptError::Failed));
        assert_eq!(bench.pulse().await, Ok(PULSE));
        bench.control.outbox.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn however_many_ask_the_parts_are_asked_once_while_the_answer_is_fresh() {
        let Bench { control, mut asked, clock, disk: _, _news, _folder } = Bench::new();
        let many: Vec<_> = (0..100)
            .map(|_| {
                let control = control.clone();
                async move { control.recent_pulse().await }
            })
            .collect();
        let tracker = tokio_util::task::TaskTracker::new();
        let many: Vec<_> = many.into_iter().map(|one| tracker.spawn(one)).collect();
        answer(&mut asked).await;
        for one in many {
            assert_eq!(one.await.unwrap(), Ok(PULSE));
        }
        assert!(asked.try_recv().is_err(), "one question for a hundred");
        clock.advance_ms(HEALTH_FRESH_MS);
        let (again, ()) = tokio::join!(control.recent_pulse(), answer(&mut asked));
        assert_eq!(again, Ok(PULSE));
        control.outbox.close().await;
    }
}
