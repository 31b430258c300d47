//! A data folder with several generations, a daemon on a damaged copy of it, and what must hold whatever was damaged.

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
pub(super) const GENERATIONS: u32 = 3;
/// Events of each of them.
const EVENTS: u32 = 14;

/// An event of the folder.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) id: String,
    pub(super) generation: u32,
    data: String,
}

/// A data folder with several generations: half of the deliveries are done, the others failed once and wait for an endpoint
/// that is paused.
pub(super) struct Template {
    _dir: TempDir,
    /// As a daemon leaves it that was stopped.
    pub(super) stopped: PathBuf,
    /// As SIGKILL leaves it.
    pub(super) killed: PathBuf,
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
    setup.endpoint("down", &down.url("/"), "format = \"raw\"\nbreaker = \"off\"")
}

pub(super) fn copy(from: &Path, to: &Path) {
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

pub(super) fn folder(data: &Path, generation: u32) -> PathBuf {
    data.join(format!("outbox/{generation:08}"))
}

/// Where deliveries to it are taken, or not.
fn receiver(status: u16) -> Receiver {
    Receiver::answering(move |_| Answer::status(status))
}

pub(super) fn template() -> &'static Template {
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
pub(super) struct Fate {
    /// Unknown to the daemon.
    pub(super) missing: BTreeSet<String>,
    /// Known, without body.
    pub(super) bodiless: BTreeSet<String>,
    /// What `/readyz` names, without what it says of it.
    pub(super) damaged: BTreeSet<(u64, String)>,
}

/// A daemon on a copy of the folder, damaged by `strike`, and the receivers.
pub(super) struct Scene {
    what: String,
    pub(super) up: Receiver,
    pub(super) down: Receiver,
    pub(super) daemon: Daemon,
    pub(super) events: &'static [Sample],
}

impl Scene {
    pub(super) fn new(what: &str, from: &Path) -> Self {
        let (up, down) = (receiver(200), receiver(200));
        let daemon = setup(&up, &down).prepare();
        copy(from, &daemon.data());
        Self { what: what.to_owned(), up, down, daemon, events: &template().events }
    }

    pub(super) fn client(&self) -> &Client {
        self.daemon.client()
    }

    /// Reads every event, as often as it takes until the storage has an answer for each.
    pub(super) fn look(&self) -> Fate {
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

    pub(super) fn ready(&self) -> Value {
        self.client().get("/readyz").expect(200).json()
    }

    fn metric(&self, name: &str) -> f64 {
        metric(&self.client().get("/metrics").expect(200).text(), name)
    }

    /// Everything that must hold, over three starts; returns what was lost.
    pub(super) fn play(mut self, lines: &mut String) -> Fate {
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
    pub(super) fn named(&self, fate: &Fate) {
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
pub(super) fn events_of(generations: &[u32]) -> BTreeSet<String> {
    let hit = template().events.iter().filter(|event| generations.contains(&event.generation));
    hit.map(|event| event.id.clone()).collect()
}

/// Bytes of the engine's file that hold something.
pub(super) fn used(db: &Path) -> usize {
    fs::read(db).unwrap().iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1
}
