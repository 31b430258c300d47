//! Damage to the data folder of a real daemon, while it is stopped and while it runs: it starts, serves and delivers all that
//! was not hit, and whatever is lost is named in `/readyz`, in the log and in the metrics, until somebody has cleared it away.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::kit::{Answer, Client, Daemon, Receiver, Setup, within};

/// Generations of the folder that is damaged; the last one is current.
const GENERATIONS: u32 = 3;
/// Events of each of them.
const EVENTS: u32 = 14;

/// An event of the folder.
#[derive(Clone, Debug)]
struct Sample {
    id: String,
    generation: u32,
    data: String,
}

/// A data folder with several generations: half of the deliveries are done, the others failed once and wait for an endpoint
/// that is paused.
struct Template {
    _dir: TempDir,
    /// As a daemon leaves it that was stopped.
    stopped: PathBuf,
    /// As SIGKILL leaves it.
    killed: PathBuf,
    events: Vec<Sample>,
}

fn data(generation: u32, n: u32) -> String {
    let len = [40, 400, 3_000, 20_000, 120_000][n as usize % 5];
    let mut random = fastrand::Rng::with_seed(u64::from(generation * 1_000 + n));
    let mut text = String::with_capacity(len + 16);
    while text.len() < len {
        write!(text, "{:016x}", random.u64(..)).unwrap();
    }
    format!("\"{text}\"")
}

/// Both endpoints; attempts at what is down are repeated soon.
fn setup(up: &Receiver, down: &Receiver) -> Setup {
    let waits = vec!["\"2s\""; 90].join(", ");
    let setup = Setup::new().delivery(&format!("retry = [{waits}]"));
    let setup = setup.endpoint("up", &up.url("/"), "format = \"raw\"");
    setup.endpoint("down", &down.url("/"), "format = \"raw\"")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn folder(data: &Path, generation: u32) -> PathBuf {
    data.join(format!("outbox/{generation:08}"))
}

/// Where deliveries to it are taken, or not.
fn receiver(status: u16) -> Receiver {
    Receiver::answering(move |_| Answer::status(status))
}

fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let (up, down) = (receiver(200), receiver(503));
        // A generation is sealed after a quarter of the retention.
        let mut daemon = setup(&up, &down).storage("retention = \"16s\"").prepare();
        daemon.run_with(&[("WEBHOOKD_LOG", "debug")]);
        let mut events = Vec::new();
        for generation in 1..=GENERATIONS {
            for n in 0..EVENTS {
                let (id, data) = (format!("g{generation}-{n}"), data(generation, n));
                let event = format!(r#"{{"id":"{id}","type":"damage.test","data":{data}}}"#);
                daemon.client().post("/v1/events", event).expect(202);
                daemon.client().await_state(&id, "up", "delivered");
                events.push(Sample { id, generation, data });
            }
            down.wait_for("an attempt at each", |requests| {
                requests.iter().map(|request| request.id()).collect::<BTreeSet<_>>().len() == events.len()
            });
            if generation < GENERATIONS {
                within(Duration::from_secs(30), "the generation is sealed", || {
                    (daemon.log().matches("generation sealed").count() == generation as usize).then_some(())
                });
            }
        }
        daemon.client().post("/v1/endpoints/down/pause", "").expect(200);
        assert!(folder(&daemon.data(), GENERATIONS).exists() && !folder(&daemon.data(), GENERATIONS + 1).exists());
        daemon.kill();
        let dir = TempDir::with_prefix("webhookd-damage-").unwrap();
        let (killed, stopped) = (dir.path().join("killed"), dir.path().join("stopped"));
        copy(&daemon.data(), &killed);
        let mut daemon = setup(&up, &down).prepare();
        copy(&killed, &daemon.data());
        daemon.run();
        within(Duration::from_secs(60), "the summary is written", || {
            folder(&daemon.data(), 1).join("summary").exists().then_some(())
        });
        assert!(daemon.stop().success());
        copy(&daemon.data(), &stopped);
        Template { _dir: dir, stopped, killed, events }
    })
}

/// What became of the events, as a start shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fate {
    /// Unknown to the daemon.
    missing: BTreeSet<String>,
    /// Known, without body.
    bodiless: BTreeSet<String>,
    /// What `/readyz` names, without what it says of it.
    damaged: BTreeSet<(u64, String)>,
}

/// A daemon on a copy of the folder, damaged by `strike`, and the receivers.
struct Scene {
    what: String,
    up: Receiver,
    down: Receiver,
    daemon: Daemon,
    events: &'static [Sample],
}

impl Scene {
    fn new(what: &str, from: &Path) -> Self {
        let (up, down) = (receiver(200), receiver(200));
        let daemon = setup(&up, &down).prepare();
        copy(from, &daemon.data());
        Self { what: what.to_owned(), up, down, daemon, events: &template().events }
    }

    fn client(&self) -> &Client {
        self.daemon.client()
    }

    /// Reads every event, as often as it takes until the storage has an answer for each.
    fn look(&self) -> Fate {
        let mut fate = Fate::default();
        for event in self.events {
            let path = format!("/v1/events/{}", event.id);
            let reply = within(Duration::from_secs(30), &format!("{}: an answer for {}", self.what, event.id), || {
                let reply = self.client().get(&path);
                (reply.status != 503).then_some(reply)
            });
            if reply.status == 404 {
                fate.missing.insert(event.id.clone());
                continue;
            }
            let found = reply.expect(200).json();
            if found["body_lost"] == true {
                fate.bodiless.insert(event.id.clone());
            } else {
                assert_eq!(found["data"].to_string(), event.data, "{}: {} has another body", self.what, event.id);
            }
        }
        fate.damaged = self.ready()["damaged"].as_array().into_iter().flatten().map(one_damage).collect();
        fate
    }

    fn ready(&self) -> Value {
        self.client().get("/readyz").expect(200).json()
    }

    fn metric(&self, name: &str) -> f64 {
        metric(&self.client().get("/metrics").expect(200).text(), name)
    }

    /// Everything that must hold, over three starts; returns what was lost.
    fn play(mut self, lines: &mut String) -> Fate {
        let started = Instant::now();
        self.daemon.run();
        let took = started.elapsed();
        let fate = self.look();
        self.named(&fate);
        // New events are taken, and all that waited and is left is delivered.
        self.client().post("/v1/endpoints/down/resume", "").expect(200);
        let fresh = self.client().event("damage.fresh", "1");
        let wanted: Vec<&Sample> = self
            .events
            .iter()
            .filter(|event| !fate.missing.contains(&event.id) && !fate.bodiless.contains(&event.id))
            .collect();
        let came = self.down.wait_for(&format!("{}: what waited", self.what), |requests| {
            let ids: BTreeSet<&str> = requests.iter().map(|request| request.id()).collect();
            ids.contains(fresh.as_str()) && wanted.iter().all(|event| ids.contains(event.id.as_str()))
        });
        let bodies: BTreeMap<&str, &str> = came.iter().map(|request| (request.id(), request.text())).collect();
        for event in wanted {
            assert_eq!(bodies[event.id.as_str()], event.data, "{}: {} came with another body", self.what, event.id);
        }
        self.up.wait_for("the fresh event", |requests| requests.iter().any(|request| request.id() == fresh));
        // The next start tells it again, and loses no more.
        self.daemon.restart();
        assert_eq!(self.look(), fate, "{}: after another restart", self.what);
        assert_eq!(self.client().get(&format!("/v1/events/{fresh}")).status, 200, "{}", self.what);
        self.daemon.kill();
        self.daemon.run();
        assert_eq!(self.look(), fate, "{}: after a kill", self.what);
        // It is told until somebody has looked.
        for (_, aside) in &fate.damaged {
            fs::remove_dir_all(aside).unwrap();
        }
        within(Duration::from_secs(10), "what was cleared away is not told any more", || {
            let told = self.ready()["damaged"].as_array().map_or(0, Vec::len);
            (told == 0 && self.metric("webhookd_outbox_damaged_generations") == 0.0).then_some(())
        });
        self.daemon.restart();
        assert!(self.ready()["damaged"].is_null(), "{}", self.what);
        assert!(!self.daemon.log().contains("panicked at 'src"), "{}: {}", self.what, self.daemon.log());
        let (missing, bodiless, damaged) = (fate.missing.len(), fate.bodiless.len(), fate.damaged.len());
        let line = format!("{}: {missing} lost, {bodiless} without body, {damaged} set aside, {took:?}", self.what);
        writeln!(lines, "{line}").unwrap();
        fate
    }

    /// What is lost is named everywhere.
    fn named(&self, fate: &Fate) {
        let what = &self.what;
        let ready = self.ready();
        let damaged = ready["damaged"].as_array().cloned().unwrap_or_default();
        assert_eq!(self.metric("webhookd_outbox_damaged_generations") as usize, damaged.len(), "{what}");
        assert_eq!(self.metric("webhookd_outbox_blob_files"), 0.0, "{what}");
        if fate.missing.is_empty() && fate.bodiless.is_empty() {
            return;
        }
        let unknown = damaged.iter().any(|one| one["loss"].as_str().unwrap().contains("nobody can tell"));
        let told: u64 = damaged.iter().map(|one| one["events_lost"].as_u64().unwrap()).sum();
        assert!(
            unknown || told >= fate.missing.len() as u64,
            "{what}: {:?} lost without a word: {ready}",
            fate.missing
        );
        let mut reports = String::new();
        for one in &damaged {
            let folder = Path::new(one["folder"].as_str().unwrap());
            reports.push_str(&fs::read_to_string(folder.join("REPORT.json")).unwrap());
        }
        for id in &fate.bodiless {
            assert!(reports.contains(&format!("{id:?}")), "{what}: the body of {id} is lost without a word: {reports}");
        }
        let log = self.daemon.log();
        let line = log.lines().find(|line| line.contains("ERROR") && line.contains("a generation is damaged"));
        assert!(line.is_some(), "{what}: the log has no word of it: {log}");
        assert!(self.metric("webhookd_generations_damaged_total") >= 1.0, "{what}");
    }
}

fn one_damage(one: &Value) -> (u64, String) {
    (one["generation"].as_u64().unwrap(), one["folder"].as_str().unwrap().to_owned())
}

/// The value of a metric without labels, or with these.
fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// Every event of these generations.
fn events_of(generations: &[u32]) -> BTreeSet<String> {
    let hit = template().events.iter().filter(|event| generations.contains(&event.generation));
    hit.map(|event| event.id.clone()).collect()
}

/// Plays scenes and prints what came of each.
fn play(scenes: impl IntoIterator<Item = (String, PathBuf, Box<dyn FnOnce(&Path)>, Bound)>) {
    let mut lines = String::new();
    for (what, from, strike, bound) in scenes {
        let scene = Scene::new(&what, &from);
        strike(&scene.daemon.data());
        let fate = scene.play(&mut lines);
        let lost: BTreeSet<String> = fate.missing.union(&fate.bodiless).cloned().collect();
        match bound {
            Bound::Nothing => assert!(lost.is_empty(), "{what}: {lost:?} lost"),
            Bound::Of(generations) => {
                assert!(lost.is_subset(&events_of(&generations)), "{what}: {lost:?} lost");
            }
            Bound::All(generations) => {
                assert_eq!(lost, events_of(&generations), "{what}");
            }
        }
    }
    print!("{lines}");
}

/// What a blow may cost.
enum Bound {
    Nothing,
    /// At most the events of these generations.
    Of(Vec<u32>),
    /// Just these.
    All(Vec<u32>),
}

type Strike = Box<dyn FnOnce(&Path)>;

fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    let at = at as usize % bytes.len();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Bytes of the engine's file that hold something.
fn used(db: &Path) -> usize {
    fs::read(db).unwrap().iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1
}

fn random() -> fastrand::Rng {
    let given = std::env::var("DAMAGE_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("DAMAGE_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

#[test]
fn a_flipped_byte_a_torn_tail_or_a_zeroed_page_costs_at_most_what_it_hits_and_that_is_named() {
    let template = template();
    let mut random = random();
    let rounds: usize = std::env::var("DAMAGE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let mut scenes: Vec<(String, PathBuf, Strike, Bound)> = Vec::new();
    for round in 0..rounds {
        let generation = random.u32(1..=GENERATIONS);
        let (word, from) = if random.bool() { ("killed", &template.killed) } else { ("stopped", &template.stopped) };
        let db = format!("outbox/{generation:08}/db");
        let at = random.usize(..used(&from.join(&db)));
        let (kind, strike): (&str, Strike) = match round % 4 {
            0 | 1 => ("a byte flipped", Box::new(move |data| flip(&data.join(db), at as u64))),
            2 => (
                "torn",
                Box::new(move |data| {
                    let file = fs::File::options().write(true).open(data.join(db)).unwrap();
                    file.set_len(at as u64).unwrap();
                }),
            ),
            _ => (
                "a page zeroed",
                Box::new(move |data| {
                    let mut bytes = fs::read(data.join(&db)).unwrap();
                    bytes[at / 4096 * 4096..].iter_mut().take(4096).for_each(|byte| *byte = 0);
                    fs::write(data.join(&db), bytes).unwrap();
                }),
            ),
        };
        let what = format!("round {round}: {word}, generation {generation}, {kind} at {at}");
        scenes.push((what, from.clone(), strike, Bound::Of(vec![generation])));
    }
    play(scenes);
}

#[test]
fn files_that_are_gone_or_damaged_cost_nothing_that_is_told_elsewhere() {
    let template = template();
    let mut scenes: Vec<(String, PathBuf, Strike, Bound)> = Vec::new();
    let mut add = |what: &str, from: &Path, bound: Bound, strike: Strike| {
        scenes.push((what.to_owned(), from.to_path_buf(), strike, bound));
    };
    let remove = |name: &'static str| -> Strike { Box::new(move |data| fs::remove_file(data.join(name)).unwrap()) };
    let spoil = |name: &'static str| -> Strike { Box::new(move |data| flip(&data.join(name), 40)) };
    let (stopped, killed) = (&template.stopped, &template.killed);
    add("the database of a sealed generation deleted", stopped, Bound::All(vec![2]), remove("outbox/00000002/db"));
    add("the database of one with a summary deleted", stopped, Bound::All(vec![1]), remove("outbox/00000001/db"));
    add("the current database deleted", killed, Bound::All(vec![3]), remove("outbox/00000003/db"));
    add("conf deleted", stopped, Bound::Nothing, remove("outbox/00000002/conf"));
    add("conf damaged", killed, Bound::Nothing, spoil("outbox/00000003/conf"));
    add("the watermark deleted", killed, Bound::Nothing, remove("outbox/00000003/durable"));
    add("the watermark damaged", killed, Bound::Nothing, spoil("outbox/00000003/durable"));
    add("the summary deleted", stopped, Bound::Nothing, remove("outbox/00000001/summary"));
    add("the summary damaged", stopped, Bound::Nothing, spoil("outbox/00000001/summary"));
    add("the roll deleted", stopped, Bound::Nothing, remove("generations"));
    add("the roll damaged", killed, Bound::Nothing, spoil("generations"));
    let of_snapshots = |data: &Path, act: &dyn Fn(&Path)| {
        for generation in 1..=GENERATIONS {
            for entry in fs::read_dir(folder(data, generation)).unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().unwrap().to_str().unwrap().starts_with("snap.") {
                    act(&path);
                }
            }
        }
    };
    add(
        "all snapshots deleted",
        stopped,
        Bound::Nothing,
        Box::new(move |data| of_snapshots(data, &|path| fs::remove_file(path).unwrap())),
    );
    add(
        "all snapshots damaged",
        stopped,
        Bound::Nothing,
        Box::new(move |data| of_snapshots(data, &|path| flip(path, 9))),
    );
    add(
        "all snapshots left unfinished",
        killed,
        Bound::Nothing,
        Box::new(move |data| {
            of_snapshots(data, &|path| {
                let bytes = fs::read(path).unwrap();
                fs::write(path.with_extension("FFFF.generating"), &bytes[..bytes.len() / 2]).unwrap();
                fs::remove_file(path).unwrap();
            });
        }),
    );
    play(scenes);
}

#[test]
fn generations_that_are_gone_or_emptied_are_missed() {
    let template = template();
    let (stopped, killed) = (&template.stopped, &template.killed);
    let mut scenes: Vec<(String, PathBuf, Strike, Bound)> = Vec::new();
    for (generation, from) in [(1, stopped), (2, killed), (3, stopped)] {
        let gone = move |data: &Path| fs::remove_dir_all(folder(data, generation)).unwrap();
        let what = format!("generation {generation} deleted");
        scenes.push((what, from.clone(), Box::new(gone), Bound::All(vec![generation])));
        let emptied = move |data: &Path| {
            fs::remove_dir_all(folder(data, generation)).unwrap();
            fs::create_dir(folder(data, generation)).unwrap();
        };
        let what = format!("generation {generation} emptied");
        scenes.push((what, from.clone(), Box::new(emptied), Bound::All(vec![generation])));
    }
    play(scenes);
}

#[test]
fn what_a_crash_leaves_of_a_rescue_is_tidied_up_or_gone_on_with() {
    let template = template();
    let (stopped, killed) = (&template.stopped, &template.killed);
    let mut scenes: Vec<(String, PathBuf, Strike, Bound)> = Vec::new();
    let mut add = |what: &str, from: &Path, bound: Bound, strike: Strike| {
        scenes.push((what.to_owned(), from.to_path_buf(), strike, bound));
    };
    let beside = |data: &Path, generation: u32, extension: &str| folder(data, generation).with_extension(extension);
    add(
        "half a rescue beside the generation",
        killed,
        Bound::Nothing,
        Box::new(move |data| {
            let half = beside(data, 2, "rescued");
            fs::create_dir(&half).unwrap();
            fs::write(half.join("conf"), "half").unwrap();
            fs::write(half.join("db"), [7; 5000]).unwrap();
        }),
    );
    add(
        "a whole rescue, and the generation set aside already",
        stopped,
        Bound::Nothing,
        Box::new(move |data| {
            copy(&folder(data, 2), &beside(data, 2, "rescued"));
            fs::rename(folder(data, 2), beside(data, 2, "damaged")).unwrap();
        }),
    );
    add(
        "a whole rescue, and the generation on its way out",
        killed,
        Bound::Nothing,
        Box::new(move |data| {
            copy(&folder(data, 2), &beside(data, 2, "rescued"));
            fs::rename(folder(data, 2), beside(data, 2, "removed")).unwrap();
        }),
    );
    add(
        "what was rescued is in its place, and the old one still on its way out",
        killed,
        Bound::Nothing,
        Box::new(move |data| copy(&folder(data, 1), &beside(data, 1, "removed"))),
    );
    for generation in [1, 3] {
        add(
            &format!("a copy of generation {generation} from before the engine opened it"),
            killed,
            Bound::Nothing,
            Box::new(move |data| {
                let dir = folder(data, generation);
                fs::copy(dir.join("db"), dir.join("db.before")).unwrap();
                // The engine was about to overwrite what it could not read.
                let bytes = fs::read(dir.join("db")).unwrap();
                let keep = used(&dir.join("db")) / 2;
                fs::write(dir.join("db"), [&bytes[..keep], &vec![0; bytes.len() - keep][..]].concat()).unwrap();
            }),
        );
    }
    add(
        "drafts of everything",
        stopped,
        Bound::Nothing,
        Box::new(move |data| {
            for draft in ["FORMAT.draft", "generations.draft", "endpoints.draft", "outbox/00000002/summary.draft"] {
                fs::write(data.join(draft), "half a").unwrap();
            }
            fs::write(data.join("outbox/probe"), [0; 4096]).unwrap();
        }),
    );
    add(
        "a generation that was just being made",
        killed,
        Bound::Nothing,
        Box::new(move |data| {
            fs::create_dir(folder(data, 4)).unwrap();
            fs::write(folder(data, 4).join("conf"), "").unwrap();
        }),
    );
    play(scenes);
}

/// A daemon on a copy of the folder, running: what is damaged under it, or deleted, is met by a read or a delivery, and the
/// others go on.
fn running(what: &str, generation: u32, strike: impl FnOnce(&Path)) {
    let mut scene = Scene::new(what, &template().stopped);
    scene.daemon.run();
    let hit = format!("g{generation}-0");
    assert_eq!(scene.client().get(&format!("/v1/events/{hit}")).status, 200, "the generation is open");
    strike(&scene.daemon.data());
    // Others are taken and delivered meanwhile.
    scene.client().post("/v1/endpoints/down/resume", "").expect(200);
    let meanwhile = scene.client().event("damage.fresh", "1");
    scene.up.wait_for("the fresh event", |requests| requests.iter().any(|request| request.id() == meanwhile));
    let told = within(Duration::from_secs(30), &format!("{what}: it is found"), || {
        for event in scene.events.iter().filter(|event| event.generation == generation) {
            scene.client().get(&format!("/v1/events/{}", event.id));
        }
        let ready = scene.ready();
        ready["damaged"].is_array().then_some(ready)
    });
    let fresh = scene.client().event("damage.fresh", "2");
    scene.client().await_state(&fresh, "up", "delivered");
    let fate = scene.look();
    assert_eq!(fate.damaged.len(), 1, "{what}: {told}");
    scene.named(&fate);
    let lost: BTreeSet<String> = fate.missing.union(&fate.bodiless).cloned().collect();
    assert!(lost.is_subset(&events_of(&[generation])), "{what}: {lost:?}");
    let page = scene.client().get("/v1/events?limit=1000").expect(200).json();
    // What came while nobody knew yet went with the current generation.
    let fresh_ones = if generation == GENERATIONS { 1 } else { 2 };
    let left = scene.events.len() + fresh_ones - fate.missing.len();
    assert_eq!(page["events"].as_array().unwrap().len(), left, "{what}");
    let whole = scene.events.iter().filter(|event| !lost.contains(&event.id));
    let whole: BTreeSet<&str> = whole.map(|event| event.id.as_str()).chain([fresh.as_str()]).collect();
    scene.down.wait_for(&format!("{what}: what waited"), |requests| {
        let ids: BTreeSet<&str> = requests.iter().map(|request| request.id()).collect();
        whole.is_subset(&ids)
    });
    // What was lost and waited is dead and not pending for ever.
    for id in &fate.bodiless {
        scene.client().await_state(id, "down", "dead");
    }
    scene.daemon.restart();
    let again = scene.look();
    assert_eq!(again, fate, "{what}: after a restart");
    scene.client().get(&format!("/v1/events/{fresh}")).expect(200);
    assert!(!scene.daemon.log().contains("panicked at 'src"), "{}", scene.daemon.log());
    println!("{what}: {} lost, {} without body", fate.missing.len(), fate.bodiless.len());
}

#[test]
fn damage_under_a_running_daemon_is_found_by_a_read_or_a_delivery_and_the_others_go_on() {
    for generation in [1, 2] {
        running("a sealed database overwritten", generation, |data| {
            use std::os::unix::fs::FileExt;
            let db = folder(data, generation).join("db");
            let file = fs::File::options().write(true).open(&db).unwrap();
            let used = used(&db);
            for at in (0..used).step_by(20_000) {
                file.write_all_at(&[0xA5; 700], at as u64).unwrap();
            }
        });
    }
    running("a sealed generation deleted", 2, |data| fs::remove_dir_all(folder(data, 2)).unwrap());
    running("the database of a sealed generation deleted", 1, |data| {
        fs::remove_file(folder(data, 1).join("db")).unwrap();
    });
    running("a sealed database cut to nothing", 2, |data| {
        fs::File::options().write(true).open(folder(data, 2).join("db")).unwrap().set_len(0).unwrap();
    });
    running("the current generation deleted", 3, |data| fs::remove_dir_all(folder(data, 3)).unwrap());
}
