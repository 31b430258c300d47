//! SIGKILL under load: what was acknowledged is delivered, whatever the moment of the kill.
//!
//! Ten rounds: several producers post events of very different sizes, the daemon is killed at a random moment and started
//! again on the same folder, the receiver answers some attempts with 500. In the end every event that got its 202 must
//! have come in, with the right body. `CRASH_SEED` repeats a run's choices, `CRASH_ROUNDS` changes their number.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::kit::{Answer, Receiver, SECRET, Setup, hmac_fits, within};

const PRODUCERS: u64 = 4;

fn seed() -> u64 {
    let given = std::env::var("CRASH_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| fastrand::u64(..))
}

/// The data of an event, made from its id alone: JSON text of 200 bytes to 300 kB, small ones being the many.
fn data(seed: u64, id: &str) -> String {
    let mut hash = seed;
    for byte in id.bytes() {
        hash = hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte);
    }
    let mut random = fastrand::Rng::with_seed(hash);
    let size = (200.0 * 1500_f64.powf(random.f64())) as usize;
    let mut text = String::with_capacity(size);
    while text.len() < size - 20 {
        write!(text, "{:016x}", random.u64(..)).unwrap();
    }
    format!("{{\"n\": 1.10, \"t\":\"{text}\"}}")
}

/// What the receiver has seen of one event.
#[derive(Clone, Copy, Default)]
struct Seen {
    taken: usize,
    refused: usize,
}

#[test]
fn nothing_acknowledged_is_lost_by_sigkill_under_load() {
    let rounds: usize = std::env::var("CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let seed = seed();
    println!("CRASH_SEED={seed} CRASH_ROUNDS={rounds}");
    let mut random = fastrand::Rng::with_seed(seed);

    let seen: Arc<Mutex<BTreeMap<String, Seen>>> = Arc::default();
    let wrong: Arc<Mutex<Vec<String>>> = Arc::default();
    let receiver = {
        let (seen, wrong) = (Arc::clone(&seen), Arc::clone(&wrong));
        let mut random = fastrand::Rng::with_seed(seed ^ 1);
        Receiver::forgetful(move |request| {
            let id = request.id().to_owned();
            if request.text() != data(seed, &id) {
                wrong.lock().unwrap().push(format!("{id}: another body than was posted"));
            }
            if !hmac_fits(request, SECRET) {
                wrong.lock().unwrap().push(format!("{id}: the signature does not fit"));
            }
            let mut seen = seen.lock().unwrap();
            let entry = seen.entry(id).or_default();
            if random.u8(..10) == 0 {
                entry.refused += 1;
                return Answer::status(500);
            }
            entry.taken += 1;
            Answer::status(200)
        })
    };
    let waits = vec!["\"100ms\""; 60].join(", ");
    let mut daemon = Setup::new()
        .delivery(&format!("retry = [{waits}]"))
        .endpoint("app", &receiver.url("/"), "format = \"raw\"")
        .prepare();

    let acknowledged: Mutex<BTreeSet<String>> = Mutex::default();
    let posted = AtomicUsize::new(0);
    let mut restarts = Vec::new();
    for round in 0..rounds {
        let start = Instant::now();
        daemon.run();
        restarts.push(start.elapsed());
        let stop = AtomicBool::new(false);
        let life = Duration::from_millis(random.u64(150..1500));
        std::thread::scope(|scope| {
            for producer in 0..PRODUCERS {
                let (client, stop, acknowledged, posted) = (daemon.client().clone(), &stop, &acknowledged, &posted);
                scope.spawn(move || {
                    for n in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let id = format!("r{round}-p{producer}-{n}");
                        let event = format!(r#"{{"id":"{id}","type":"crash.test","data":{}}}"#, data(seed, &id));
                        let headers = [("content-type", "application/json")];
                        posted.fetch_add(1, Ordering::Relaxed);
                        match client.try_send("POST", "/v1/events", &headers, event) {
                            Ok(reply) if reply.status == 202 => {
                                acknowledged.lock().unwrap().insert(id);
                            }
                            Ok(reply) if reply.status == 503 => {}
                            Ok(reply) => panic!("{id} was answered {} {}", reply.status, reply.text()),
                            // The daemon was killed; whether the event was stored is unknown.
                            Err(_) => return,
                        }
                    }
                });
            }
            let before = acknowledged.lock().unwrap().len();
            std::thread::sleep(life);
            // On a machine that is very busy a kill at the appointed moment would meet no load at all.
            within(Duration::from_secs(30), "some events are acknowledged", || {
                (acknowledged.lock().unwrap().len() >= before + 10).then_some(())
            });
            daemon.kill();
            stop.store(true, Ordering::Relaxed);
        });
    }

    let start = Instant::now();
    daemon.run();
    restarts.push(start.elapsed());
    let acknowledged = acknowledged.into_inner().unwrap();
    let missing = || -> Vec<String> {
        let seen = seen.lock().unwrap();
        acknowledged.iter().filter(|id| seen.get(*id).is_none_or(|seen| seen.taken == 0)).cloned().collect()
    };
    let deadline = Instant::now() + Duration::from_secs(90);
    while !missing().is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    let missing = missing();
    let lost: Vec<String> = missing
        .iter()
        .map(|id| {
            format!(
                "{id}: {}",
                daemon.client().get(&format!("/v1/events/{id}")).text().chars().take(300).collect::<String>()
            )
        })
        .collect();

    // The daemon knows each of them, and in the end none is left.
    for id in acknowledged.iter().step_by(acknowledged.len() / 50 + 1) {
        daemon.client().await_state(id, "app", "delivered");
    }
    within(Duration::from_secs(60), "nothing is pending any more", || {
        let page = daemon.client().get("/v1/events?state=pending&limit=1").expect(200).json();
        page["events"].as_array().unwrap().is_empty().then_some(())
    });

    let seen = seen.lock().unwrap();
    let (taken, refused) = seen.values().fold((0, 0), |(t, r), seen| (t + seen.taken, r + seen.refused));
    let slowest = restarts.iter().max().unwrap();
    let report = format!(
        "SIGKILL under load, seed {seed}: {rounds} rounds, {} events posted, {} acknowledged, {} of these lost; \
         {} events received ({} taken more than once, {refused} attempts refused on purpose); slowest start {} ms\n",
        posted.load(Ordering::Relaxed),
        acknowledged.len(),
        missing.len(),
        seen.len(),
        taken - seen.values().filter(|seen| seen.taken > 0).count(),
        slowest.as_millis(),
    );
    print!("{report}");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crash-report.txt");
    std::fs::write(file, &report).unwrap();
    assert!(lost.is_empty(), "{report}{}", lost.join("\n"));
    let wrong = wrong.lock().unwrap();
    assert!(wrong.is_empty(), "{report}{}", wrong.join("\n"));
    assert!(acknowledged.len() >= rounds * 10, "too few events to say anything: {report}");
}
