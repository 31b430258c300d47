//! What all kinds of rounds have in common: a disk, a daemon on it, the load, and the reckoning in the end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::load::{Ledger, Load};
use super::mount::{Mount, Rules};
use super::report;
use crate::kit::{Daemon, Receiver, Setup, within};

/// The longest that a start may take, and a daemon to take events again once nothing hinders it.
const BACK: Duration = Duration::from_secs(30);
/// The longest that the deliveries which are left may take in the end.
const SETTLED: Duration = Duration::from_secs(90);
/// Acknowledged events that are asked for in the end.
const SAMPLE: usize = 40;

/// How long events are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keep {
    /// To the end of the test.
    All,
    /// For a few seconds: generations are sealed every second and removed soon after.
    Seconds,
}

/// One test's disk, daemon and ledger.
pub(super) struct Campaign {
    // In this order: the daemon goes before the disk that it is on.
    pub(super) daemon: Daemon,
    pub(super) disk: Mount,
    pub(super) ledger: Arc<Ledger>,
    pub(super) random: fastrand::Rng,
    _receiver: Receiver,
    name: &'static str,
    seed: u64,
    keep: Keep,
    load: Option<Load>,
    starts: Vec<Duration>,
}

impl Drop for Campaign {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("power-failed-{}.log", self.name));
            // What is left of a failure is an extra; the failure itself is told anyhow.
            if std::fs::write(&file, self.daemon.log()).is_ok() {
                eprintln!("all that the daemon said: {}", file.display());
            }
        }
    }
}

impl Campaign {
    pub(super) fn new(name: &'static str, keep: Keep, strict_dirs: bool, ordered: bool) -> Self {
        let seed = super::seed();
        println!("{name}: POWER_SEED={seed}");
        // The same seed makes other choices in another test.
        let salt = name.bytes().fold(seed, |salt, byte| salt.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let mut random = fastrand::Rng::with_seed(salt);
        let rules = Rules { strict_dirs, ordered, fsync_us: random.u64(..2_000) };
        let disk = Mount::new(name, random.u64(..), rules);
        let ledger = Ledger::new(seed);
        let receiver = ledger.receiver();
        let waits = vec!["\"100ms\""; 100].join(", ");
        let lines = "format = \"raw\"\nbreaker = \"off\"";
        let mut setup = Setup::new().data(disk.path("data")).delivery(&format!("retry = [{waits}]")).endpoint(
            "app",
            &receiver.url("/"),
            lines,
        );
        if keep == Keep::Seconds {
            setup = setup.storage("retention = \"4s\"");
        }
        let daemon = setup.prepare();
        // The folder is the operator's.
        disk.sync();
        Self { daemon, disk, ledger, random, _receiver: receiver, name, seed, keep, load: None, starts: Vec::new() }
    }

    /// Starts the daemon; it must get ready.
    #[track_caller]
    pub(super) fn start(&mut self) {
        let start = Instant::now();
        self.daemon.run();
        self.starts.push(start.elapsed());
    }

    /// Starts producers.
    pub(super) fn load(&mut self, round: u64) {
        self.load = Some(Load::start(&self.ledger, self.daemon.client(), &format!("r{round}")));
    }

    /// Lets the producers finish.
    pub(super) fn unload(&mut self) {
        if let Some(load) = self.load.take() {
            load.stop();
        }
    }

    /// Sleeps a random time within these bounds, in milliseconds.
    pub(super) fn linger(&mut self, ms: std::ops::Range<u64>) {
        std::thread::sleep(Duration::from_millis(self.random.u64(ms)));
    }

    /// A number up to this one, small ones being the many.
    pub(super) fn some(&mut self, max: u64) -> u64 {
        (max as f64).powf(self.random.f64()) as u64
    }

    /// Waits until some events are acknowledged.
    #[track_caller]
    pub(super) fn await_acknowledged(&mut self, count: u64) {
        let wanted = self.ledger.accepted() + count;
        let start = Instant::now();
        while self.ledger.accepted() < wanted {
            assert!(self.daemon.alive(), "the daemon ended:\n{}", self.last_words());
            assert!(start.elapsed() < BACK, "no event is acknowledged for {BACK:?}:\n{}", self.last_words());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The status of `/readyz`.
    pub(super) fn readiness(&self) -> Option<u16> {
        self.daemon.client().try_send("GET", "/readyz", &[], "").ok().map(|reply| reply.status)
    }

    /// Waits until `/readyz` answers so.
    #[track_caller]
    pub(super) fn await_readiness(&self, status: u16, when: &str) {
        within(BACK, &format!("/readyz answers {status} {when}"), || (self.readiness() == Some(status)).then_some(()));
    }

    fn last_words(&self) -> String {
        let log = self.daemon.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// With the disk in order and the daemon started once more: nothing is lost, nothing wrong, nothing pending. Tells the
    /// figures; `what` says what happened to the disk.
    #[track_caller]
    pub(super) fn reckon(mut self, what: &str) {
        self.unload();
        let deadline = Instant::now() + SETTLED;
        while !self.ledger.missing().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let lost = self.ledger.missing();
        let acknowledged = self.ledger.acknowledged();
        let (events, all) = self.ledger.received();
        let slowest = self.starts.iter().max().copied().unwrap_or_default();
        let line = format!(
            "{what}, seed {}: {} posted, {} answered 503, {} acknowledged, {} of these lost; {events} received ({} more than \
             once, {} attempts refused on purpose); slowest of {} starts {} ms",
            self.seed,
            self.ledger.posted(),
            self.ledger.shed(),
            acknowledged.len(),
            lost.len(),
            all.taken - events,
            all.refused,
            self.starts.len(),
            slowest.as_millis(),
        );
        report::tell(self.name, &line);
        let told: Vec<String> = lost.iter().take(20).map(|id| format!("{id}: {}", self.known(id))).collect();
        assert!(lost.is_empty(), "{line}\nlost:\n{}\n{}", told.join("\n"), self.last_words());
        let wrong = self.ledger.wrong();
        assert!(wrong.is_empty(), "{line}\n{}", wrong[..wrong.len().min(20)].join("\n"));
        self.ask_for_a_sample(acknowledged.iter().map(String::as_str));
        within(SETTLED, "nothing is pending any more", || {
            let page = self.daemon.client().get("/v1/events?state=pending&limit=1").expect(200).json();
            page["events"].as_array().unwrap().is_empty().then_some(())
        });
    }

    fn known(&self, id: &str) -> String {
        self.daemon.client().get(&format!("/v1/events/{id}")).text().chars().take(300).collect()
    }

    /// The daemon knows the events, unless their time was over.
    fn ask_for_a_sample<'a>(&self, ids: impl ExactSizeIterator<Item = &'a str>) {
        let step = ids.len() / SAMPLE + 1;
        for id in ids.step_by(step) {
            within(BACK, &format!("{id} is delivered"), || {
                let reply = self.daemon.client().get(&format!("/v1/events/{id}"));
                if reply.status == 404 && self.keep == Keep::Seconds {
                    return Some(());
                }
                let event = reply.expect(200).json();
                (event["deliveries"][0]["state"] == "delivered").then_some(())
            });
        }
    }
}
