//! SIGKILL in the middle of a surge: what was acknowledged is delivered, a repeat is known, and a request without an answer is
//! there whole or not at all.
//!
//! Several rounds on one folder: a burst, SIGKILL at a random moment of it, a new start. Then what was acknowledged is posted once
//! more, and so is all that got no answer. In the end the app must have had every one of them, as it was sent, under one event
//! each. `CRASH_SEED` repeats a run's choices, `CRASH_ROUNDS` changes their number.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::burst::{self, Shot};
use crate::kit::{Act, Answer, Daemon, Receiver, Setup, within};

const CONNECTIONS: usize = 48;
/// Requests of one burst, more than are answered in the time that it has.
const SHOTS: usize = 4_000;
/// Acknowledged ones that are posted again after each start.
const REPEATS: usize = 100;
const DELIVERED_WITHIN: Duration = Duration::from_secs(120);

/// What the app got: by id, the events that came with it.
#[derive(Default)]
struct Got {
    events: BTreeMap<String, BTreeSet<String>>,
    wrong: Vec<String>,
}

#[derive(Default)]
struct Tally {
    acknowledged: BTreeSet<String>,
    /// Posted, and not answered.
    unknown: BTreeSet<String>,
    refused: usize,
    repeats: usize,
    starts: Vec<Duration>,
}

impl Tally {
    /// Acknowledged ones that the app does not have.
    fn lost(&self, got: &Got) -> usize {
        self.acknowledged.iter().filter(|id| !got.events.contains_key(*id)).count()
    }
}

struct Scene {
    daemon: Daemon,
    _app: Receiver,
    up: Arc<AtomicBool>,
    got: Arc<Mutex<Got>>,
    tally: Tally,
}

impl Scene {
    fn new(seed: u64, up: bool) -> Self {
        let (up, got) = (Arc::new(AtomicBool::new(up)), Arc::<Mutex<Got>>::default());
        let app = {
            let (up, got) = (Arc::clone(&up), Arc::clone(&got));
            let mut random = fastrand::Rng::with_seed(seed ^ 1);
            Receiver::forgetful(move |request| {
                if !up.load(Ordering::Relaxed) {
                    return Answer::act(Act::Drop);
                }
                if random.u8(..10) == 0 {
                    return Answer::status(500);
                }
                let mut got = got.lock().unwrap();
                let id = request.header("x-github-delivery").to_owned();
                got.wrong.extend(Shot::new(id.clone()).differs(request));
                got.events.entry(id).or_default().insert(request.id().to_owned());
                Answer::status(200)
            })
        };
        let waits = vec!["\"250ms\""; 90].join(", ");
        let endpoint = format!("url = \"{}\"\nsign = \"none\"\nformat = \"raw\"\nbreaker = \"off\"", app.url("/app"));
        let daemon = Setup::new()
            .delivery(&format!("retry = [{waits}]"))
            .endpoint_alone("app", &endpoint)
            .source("github", &burst::source(""))
            .prepare();
        Self { daemon, _app: app, up, got, tally: Tally::default() }
    }

    fn start(&mut self) {
        let start = Instant::now();
        self.daemon.run();
        self.tally.starts.push(start.elapsed());
    }

    /// A burst, and SIGKILL after `life`.
    fn killed_in_a_surge(&mut self, round: usize, life: Duration) {
        let shots: Arc<[Shot]> = (0..SHOTS).map(|n| Shot::new(format!("r{round}-{n}"))).collect();
        let (address, stop) = (self.daemon.inbound().address().to_owned(), Arc::<AtomicBool>::default());
        let fates = std::thread::scope(|scope| {
            let sending = scope.spawn(|| burst::send(&address, &shots, CONNECTIONS, &stop));
            std::thread::sleep(life);
            self.daemon.kill();
            stop.store(true, Ordering::Relaxed);
            sending.join().unwrap()
        });
        for (n, fate) in fates {
            let id = shots[n].id.clone();
            match fate {
                Some(200) => drop(self.tally.acknowledged.insert(id)),
                Some(429 | 503) => self.tally.refused += 1,
                None => drop(self.tally.unknown.insert(id)),
                Some(other) => panic!("{id} was answered {other}"),
            }
        }
    }

    /// Posts these once more; each is acknowledged.
    fn again(&self, ids: impl IntoIterator<Item = String>) -> usize {
        let shots: Arc<[Shot]> = ids.into_iter().map(Shot::new).collect();
        let fates = burst::send(self.daemon.inbound().address(), &shots, 8, &Arc::default());
        assert_eq!(fates.len(), shots.len());
        for (n, fate) in fates {
            assert_eq!(fate, Some(200), "{} again", shots[n].id);
        }
        shots.len()
    }

    /// Acknowledged ones, chosen at random.
    fn some_acknowledged(&self, random: &mut fastrand::Rng) -> Vec<String> {
        random.choose_multiple(self.tally.acknowledged.iter().cloned(), REPEATS)
    }

    fn missing(&self) -> usize {
        self.tally.lost(&self.got.lock().unwrap())
    }
}

fn killed_in_surges(name: &str, app_is_up: bool) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    let rounds = number("CRASH_ROUNDS").unwrap_or(5) as usize;
    println!("CRASH_SEED={seed} CRASH_ROUNDS={rounds}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut scene = Scene::new(seed, app_is_up);
    for round in 0..rounds {
        scene.start();
        let repeats = scene.some_acknowledged(&mut random);
        scene.tally.repeats += scene.again(repeats);
        scene.killed_in_a_surge(round, Duration::from_millis(random.u64(150..900)));
    }
    scene.start();
    let unknown = scene.tally.unknown.clone();
    let repeats = scene.some_acknowledged(&mut random);
    scene.tally.repeats += scene.again(repeats) + scene.again(unknown.iter().cloned());
    // They have been acknowledged now.
    scene.tally.acknowledged.extend(unknown.iter().cloned());
    scene.up.store(true, Ordering::Relaxed);
    within(DELIVERED_WITHIN, "the app has all that was acknowledged", || (scene.missing() == 0).then_some(()));
    within(DELIVERED_WITHIN, "nothing is pending any more", || {
        let page = scene.daemon.client().get("/v1/events?state=pending&limit=1").expect(200).json();
        page["events"].as_array().unwrap().is_empty().then_some(())
    });
    let (got, tally) = (scene.got.lock().unwrap(), &scene.tally);
    let several: Vec<_> = got.events.iter().filter(|(_, events)| events.len() > 1).collect();
    let report = format!(
        "SIGKILL in a surge, {name}, seed {seed}: {rounds} rounds, {} requests acknowledged, {} without an answer, {} refused; \
         {} posted again; {} lost, {} stored twice; slowest start {} ms\n",
        tally.acknowledged.len() - unknown.len(),
        unknown.len(),
        tally.refused,
        tally.repeats,
        tally.lost(&got),
        several.len(),
        tally.starts.iter().max().unwrap().as_millis(),
    );
    print!("{report}");
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("inbound-crash-{name}.txt")), &report).unwrap();
    assert!(several.is_empty(), "{report}{:?}", &several[..several.len().min(5)]);
    assert!(got.wrong.is_empty(), "{report}{:#?}", &got.wrong[..got.wrong.len().min(3)]);
    assert_eq!(got.events.len(), tally.acknowledged.len(), "{report}the app got what nobody acknowledged");
    assert!(tally.acknowledged.len() >= rounds * 20 && !unknown.is_empty(), "too few to say anything: {report}");
}

#[test]
fn nothing_acknowledged_is_lost_by_sigkill_in_a_surge_and_repeats_are_known() {
    killed_in_surges("the app up", true);
}

#[test]
fn nothing_acknowledged_is_lost_by_sigkill_in_a_surge_while_the_app_is_down() {
    killed_in_surges("the app down", false);
}
