//! Order under SIGKILL and a flaky receiver: a thousand keys, none out of order.
//!
//! Producers post numbered events for their keys, the receiver refuses every tenth request, the daemon is killed at random
//! moments. What was delivered before a kill may come once more after it; but seen by its receiver each key counts up: no
//! number comes before the one below it was taken, in this life or an earlier one. `CRASH_SEED` repeats a run's choices.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::waits;
use crate::kit::{Answer, Receiver, Setup, within};

const KEYS: usize = 1_000;
const PRODUCERS: usize = 4;
const ROUNDS: usize = 5;

/// What the receiver has seen of a key.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    /// All below were taken.
    taken: usize,
    /// The number of the last request in this life of the daemon; a repeat may step back once, at its start.
    last: Option<usize>,
}

#[test]
fn no_key_is_out_of_order_under_sigkill_and_a_flaky_receiver() {
    let seed = std::env::var("CRASH_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("CRASH_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let lines: Arc<Mutex<HashMap<usize, Line>>> = Arc::default();
    let wrong: Arc<Mutex<Vec<String>>> = Arc::default();
    let receiver = {
        let (lines, wrong, mut random) = (Arc::clone(&lines), Arc::clone(&wrong), fastrand::Rng::with_seed(seed ^ 1));
        Receiver::forgetful(move |request| {
            let (key, n) = request.id().split_once('-').expect("key-number");
            let (key, n): (usize, usize) = (key.parse().unwrap(), n.parse().unwrap());
            let mut lines = lines.lock().unwrap();
            let line = lines.entry(key).or_default();
            if n > line.taken {
                wrong.lock().unwrap().push(format!("{key}-{n} came before {key}-{} was taken", line.taken));
            }
            if line.last.is_some_and(|last| n < last) {
                wrong.lock().unwrap().push(format!("{key}-{n} came after {:?} without a kill in between", line.last));
            }
            line.last = Some(n);
            if random.u8(..10) == 0 {
                return Answer::status(500);
            }
            line.taken = line.taken.max(n + 1);
            Answer::status(200)
        })
    };
    let config = format!("order = \"key\"\nbreaker = \"off\"\n{}", waits("100ms", 60));
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), &config).prepare();

    // How many events of each key are acknowledged; those of a key are posted by one producer, one after another.
    let acknowledged: Vec<Mutex<usize>> = (0..KEYS).map(|_| Mutex::new(0)).collect();
    for _ in 0..ROUNDS {
        daemon.run();
        lines.lock().unwrap().values_mut().for_each(|line| line.last = None);
        let stop = AtomicBool::new(false);
        let life = Duration::from_millis(random.u64(500..2000));
        std::thread::scope(|scope| {
            for producer in 0..PRODUCERS {
                let (client, stop, acknowledged) = (daemon.client().clone(), &stop, &acknowledged);
                scope.spawn(move || {
                    let mine: Vec<usize> = (producer..KEYS).step_by(PRODUCERS).collect();
                    for keys in mine.chunks(50).cycle() {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let event = |key: &usize| {
                            let n = *acknowledged[*key].lock().unwrap();
                            format!(r#"{{"id":"{key}-{n}","type":"a","key":"key {key}","data":{n}}}"#)
                        };
                        let body = format!("[{}]", keys.iter().map(event).collect::<Vec<_>>().join(","));
                        let headers = [("content-type", "application/json")];
                        match client.try_send("POST", "/v1/events/batch", &headers, body) {
                            // 200: it was stored just before a kill, and known when it was posted again.
                            Ok(reply) if reply.status == 202 || reply.status == 200 => {
                                keys.iter().for_each(|key| *acknowledged[*key].lock().unwrap() += 1);
                            }
                            Ok(reply) if reply.status == 503 => {}
                            Ok(reply) => panic!("answered {} {}", reply.status, reply.text()),
                            Err(_) => return,
                        }
                    }
                });
            }
            std::thread::sleep(life);
            daemon.kill();
            stop.store(true, Ordering::Relaxed);
        });
    }
    daemon.run();
    lines.lock().unwrap().values_mut().for_each(|line| line.last = None);
    let begun = Instant::now();
    let goal: Vec<usize> = acknowledged.iter().map(|count| *count.lock().unwrap()).collect();
    let total: usize = goal.iter().sum();
    within(Duration::from_secs(90), "every acknowledged event is taken", || {
        let lines = lines.lock().unwrap();
        let done = |(key, count): (usize, &usize)| lines.get(&key).map_or(0, |line| line.taken) >= *count;
        goal.iter().enumerate().all(done).then_some(())
    });
    let wrong = wrong.lock().unwrap();
    println!(
        "order under SIGKILL, seed {seed}: {KEYS} keys, {ROUNDS} kills, {total} events acknowledged, {} out of order; the \
         rest taken {} ms after the last start",
        wrong.len(),
        begun.elapsed().as_millis()
    );
    assert!(wrong.is_empty(), "{} of {total}: {:?}", wrong.len(), &wrong[..wrong.len().min(10)]);
    assert!(total > KEYS, "too few events to say anything: {total}");
}
