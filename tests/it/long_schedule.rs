//! The whole default retry schedule, 75 hours and more, on an injected clock: in milliseconds.
//!
//! The daemon runs within the test here, since nobody can hand a clock to another process; all else is real: the config
//! file, the data folder, the API and the receiver.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use webhookd::clock::{ManualClock, ManualHandle, UnixMs};
use webhookd::config::{Config, process_env};
use webhookd::daemon::{Daemon, DaemonOptions};

use crate::kit::{Answer, Client, Receiver, SECRET, block_on, eventually, hmac_fits};

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// The contract's default for `retry`.
const WAITS_MS: [u64; 9] =
    [5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];

/// When the clock starts: 2026-01-01T00:00:00Z.
const START: UnixMs = UnixMs(1_767_225_600_000);

/// A daemon within this process, on a clock that stands still until it is told to move.
struct Inside {
    clock: Arc<ManualClock>,
    client: Client,
    daemon: Option<Daemon>,
    _dir: TempDir,
}

impl Inside {
    fn start(receiver: &Receiver, delivery: &str) -> Self {
        let dir = TempDir::with_prefix("webhookd-test-").unwrap();
        let config = format!(
            "[api]\nlisten = \"127.0.0.1:0\"\n[storage]\ndir = \"{}\"\n[delivery]\nallow_networks = [\"127.0.0.0/8\"]\n\
             {delivery}\n[endpoint.app]\nurl = \"{}\"\nsecret = \"{SECRET}\"\n",
            dir.path().join("data").display(),
            receiver.url("/")
        );
        let file = dir.path().join("webhookd.toml");
        std::fs::create_dir(dir.path().join("data")).unwrap();
        std::fs::write(&file, config).unwrap();
        let config = Arc::new(Config::load(&file, &process_env).unwrap());
        let clock = ManualClock::at(START);
        let handle = Arc::new(ManualHandle(Arc::clone(&clock)));
        let daemon =
            block_on(Daemon::start(config, DaemonOptions { clock: handle, seed: 7, ..DaemonOptions::default() }))
                .unwrap();
        let address = daemon.api_address().strip_prefix("http://").unwrap().to_owned();
        Self { clock, client: Client::tcp(address), daemon: Some(daemon), _dir: dir }
    }

    /// The delivery of an event once its `n`-th attempt has been recorded.
    fn after_attempt(&self, id: &str, n: usize) -> serde_json::Value {
        eventually(&format!("attempt {n} is recorded"), || {
            let delivery = self.client.look(id)["deliveries"][0].clone();
            (delivery["attempts"].as_array().unwrap().len() == n).then_some(delivery)
        })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            block_on(daemon.stop(0));
        }
    }
}

fn ms(time: &serde_json::Value) -> u64 {
    let time: jiff::Timestamp = time.as_str().expect("a time").parse().expect("RFC 3339");
    u64::try_from(time.as_millisecond()).unwrap()
}

#[test]
fn the_default_schedule_is_kept_to_the_millisecond() {
    let receiver = Receiver::answering(|request| Answer::status(if request.attempt() < 10 { 503 } else { 200 }));
    let inside = Inside::start(&receiver, "jitter = 0");
    let real = Instant::now();
    let id = inside.client.event("a", "{\"n\":1}");
    let mut now = START.0;
    for (n, wait) in WAITS_MS.iter().enumerate() {
        receiver.wait(n + 1);
        let delivery = inside.after_attempt(&id, n + 1);
        assert_eq!(delivery["state"], "pending");
        assert_eq!(ms(&delivery["next_attempt_at"]), now + wait, "after attempt {}", n + 1);
        // One millisecond early nothing happens.
        inside.clock.advance_ms(wait - 1);
        std::thread::sleep(Duration::from_millis(15));
        assert_eq!(receiver.count(), n + 1, "attempt {} came early", n + 2);
        inside.clock.advance_ms(1);
        now += wait;
    }
    let requests = receiver.wait(10);
    let delivery = inside.client.await_state(&id, "app", "delivered");
    let took = real.elapsed();
    assert_eq!(now - START.0, 75 * HOUR + 35 * MINUTE + 5 * SECOND);
    assert_eq!(ms(&delivery["attempts"][9]["at"]), now);
    let mut at = START.0;
    for (n, request) in requests.iter().enumerate() {
        assert_eq!(request.id(), id);
        assert_eq!(request.attempt() as usize, n + 1);
        assert_eq!(request.header("webhook-timestamp"), (at / 1000).to_string(), "attempt {}", n + 1);
        assert!(hmac_fits(request, SECRET));
        at += WAITS_MS.get(n).unwrap_or(&0);
    }
    println!("75 h 35 min 5 s of retries in {} ms", took.as_millis());
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn after_the_last_attempt_the_delivery_is_dead() {
    let receiver = Receiver::answering(|_| Answer::status(500));
    let inside = Inside::start(&receiver, "jitter = 0");
    let id = inside.client.event("a", "1");
    for (n, wait) in WAITS_MS.iter().enumerate() {
        inside.after_attempt(&id, n + 1);
        inside.clock.advance_ms(*wait);
    }
    let delivery = inside.client.await_state(&id, "app", "dead");
    assert_eq!(delivery["attempts"].as_array().unwrap().len(), 10);
    inside.clock.advance_ms(1000 * HOUR);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(receiver.count(), 10);
}

#[test]
fn jitter_spreads_each_wait_within_its_bounds() {
    let receiver = Receiver::answering(|_| Answer::status(500));
    let inside = Inside::start(&receiver, "");
    let ids: Vec<String> = (0..20).map(|n| inside.client.event("a", &n.to_string())).collect();
    let mut factors = Vec::new();
    for id in &ids {
        let delivery = inside.after_attempt(id, 1);
        let wait = ms(&delivery["next_attempt_at"]) - START.0;
        factors.push(wait as f64 / (5.0 * SECOND as f64));
    }
    assert!(factors.iter().all(|factor| (0.799..=1.201).contains(factor)), "{factors:?}");
    let (least, most) = factors.iter().fold((2.0_f64, 0.0_f64), |(least, most), f| (least.min(*f), most.max(*f)));
    assert!(most - least > 0.1, "hardly spread: {factors:?}");
}

#[test]
fn a_jump_of_the_wall_clock_moves_no_retry() {
    let receiver = Receiver::answering(|request| Answer::status(if request.attempt() == 1 { 500 } else { 200 }));
    let inside = Inside::start(&receiver, "jitter = 0\nretry = [\"1h\"]");
    let id = inside.client.event("a", "1");
    inside.after_attempt(&id, 1);
    // Recorded is not yet scheduled: the lane lets go of an attempt once its retry is on the wheel.
    eventually("the retry is scheduled", || {
        (inside.client.get("/v1/endpoints/app").expect(200).json()["in_flight"] == 0).then_some(())
    });
    // An administrator sets the clock a year ahead: the retry is due an hour later all the same.
    inside.clock.set_wall(START.plus_ms(366 * 24 * HOUR));
    inside.clock.advance_ms(HOUR - 1);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(receiver.count(), 1, "the retry came with the wall clock's jump");
    inside.clock.advance_ms(1);
    receiver.wait(2);
    inside.client.await_state(&id, "app", "delivered");
}
