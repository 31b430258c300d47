//! No room: the folder's own limit, the floor of the file system, a disk that is full to the last byte. New events are refused,
//! everything else goes on, nothing acknowledged is lost, and with room again events are taken again without a restart.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::kit::{Answer, Client, Daemon, Receiver, Reply, Setup, Tmpfs, never, within};

/// The longest until something comes that ought to come soon, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(90);
/// The endpoint takes one event of so many at once, and the others only later.
const PART: usize = 4;

/// A daemon under test, the endpoint that it delivers to, and what it has acknowledged.
struct Scene {
    daemon: Daemon,
    receiver: Receiver,
    /// Whether the endpoint takes every event.
    takes_all: Arc<AtomicBool>,
    acknowledged: Vec<String>,
    posted: usize,
    bytes: usize,
}

/// The data of an event, made from its id.
fn data(id: &str, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 1000);
    while text.len() < bytes {
        write!(text, "{id} at {:.<900}", text.len()).unwrap();
    }
    format!("\"{text}\"")
}

fn number(id: &str) -> usize {
    id[1..].parse().unwrap()
}

impl Scene {
    /// A daemon with these lines in its `[storage]`, to which events of this size are posted. Refused attempts are repeated after
    /// `wait`.
    fn new(setup: Setup, storage: &str, bytes: usize, wait: &str) -> Self {
        let takes_all = Arc::new(AtomicBool::new(false));
        let open = Arc::clone(&takes_all);
        let receiver = Receiver::answering(move |request| {
            let taken = open.load(Ordering::Relaxed) || number(request.id()).is_multiple_of(PART);
            Answer::status(if taken { 200 } else { 503 })
        });
        let waits = vec![format!("\"{wait}\""); 90].join(", ");
        let daemon = setup
            .storage(storage)
            .delivery(&format!("retry = [{waits}]"))
            .endpoint("app", &receiver.url("/"), "format = \"raw\"\nbreaker = \"off\"")
            .start();
        Self { daemon, receiver, takes_all, acknowledged: Vec::new(), posted: 0, bytes }
    }

    fn client(&self) -> &Client {
        self.daemon.client()
    }

    /// Posts one event.
    fn post(&mut self) -> Reply {
        let id = format!("e{}", self.posted);
        self.posted += 1;
        let reply =
            self.client().post("/v1/events", format!(r#"{{"id":"{id}","type":"a","data":{}}}"#, data(&id, self.bytes)));
        if reply.status == 202 {
            self.acknowledged.push(id);
        }
        reply
    }

    /// Posts until one is refused.
    fn fill(&mut self) {
        let refusal = loop {
            let reply = self.post();
            if reply.status != 202 {
                break reply;
            }
            assert!(self.acknowledged.len() * self.bytes < 400 << 20, "it takes events without end");
        };
        refusal.problem(503);
        let wait: u32 = refusal.header("retry-after").expect("it says when to come back").parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        assert!(self.acknowledged.len() > PART, "{} events fitted", self.acknowledged.len());
    }

    fn errors(&self) -> usize {
        self.daemon.log().lines().filter(|line| line.contains(" ERROR ") || line.contains(" WARN ")).count()
    }

    fn refusing(&self, reason: &str) -> bool {
        let line = format!("webhookd_outbox_refusing{{reason=\"{reason}\"}} 1");
        self.client().get("/metrics").expect(200).text().lines().any(|found| found == line)
    }

    /// It refuses for this reason, says so everywhere, and once.
    fn refuses(&mut self, reason: &str, word: &str, why: &str) {
        let ready = within(LIMIT, "it is not ready", || {
            let ready = self.client().get("/readyz");
            (ready.status == 503).then(|| ready.json())
        });
        assert_eq!(ready["status"], word, "{ready}");
        assert!(ready["reason"].as_str().unwrap().contains(why), "{ready}");
        assert!(self.refusing(reason), "no metric tells it");
        let lines = |log: &str| log.lines().filter(|line| line.contains("new events are refused with 503")).count();
        assert_eq!(lines(&self.daemon.log()), 1, "{}", self.daemon.log());
        let errors = self.errors();
        for _ in 0..50 {
            let reply = self.client().post("/v1/events", r#"{"type":"a","data":1}"#);
            reply.problem(503);
            assert!(reply.header("retry-after").is_some());
        }
        assert_eq!(self.errors(), errors, "a line for each request: {}", self.daemon.log());
        let line = self.daemon.log().lines().find(|line| line.contains("new events are refused")).map(str::to_owned);
        assert!(line.is_some_and(|line| line.contains(" ERROR ") && line.contains(reason)), "{}", self.daemon.log());
    }

    /// Everything acknowledged can be read, body and all.
    fn all_readable(&self) {
        for id in &self.acknowledged {
            let event = within(LIMIT, &format!("{id} can be read"), || {
                let reply = self.client().get(&format!("/v1/events/{id}"));
                (reply.status != 503).then_some(reply)
            });
            let event = event.expect(200).json();
            assert_eq!(event["data"].to_string(), data(id, self.bytes), "{id}");
        }
    }

    /// Those of the acknowledged events that the endpoint takes from the first are delivered, and known to be.
    fn part_is_delivered(&self) {
        for id in self.acknowledged.iter().filter(|id| number(id).is_multiple_of(PART)) {
            self.client().await_state(id, "app", "delivered");
        }
    }

    /// Everything acknowledged is delivered in the end.
    fn all_delivered(&self) {
        self.takes_all.store(true, Ordering::Relaxed);
        let wanted: BTreeSet<&str> = self.acknowledged.iter().map(String::as_str).collect();
        within(LIMIT, "all that was acknowledged is delivered", || {
            let requests = self.receiver.requests();
            let came: BTreeSet<&str> = requests.iter().map(|request| request.id()).collect();
            let pending = self.client().get("/v1/events?state=pending&limit=1");
            // Reading may be refused for a moment while a generation is opened anew.
            let settled = pending.status == 200 && pending.json()["events"].as_array().unwrap().is_empty();
            (settled && wanted.is_subset(&came)).then_some(())
        });
        for request in self.receiver.requests() {
            assert_eq!(request.text(), data(request.id(), self.bytes), "{}", request.id());
        }
    }

    /// SIGKILL, and a start that is not to get ready.
    fn restart_in_need(&mut self, word: &str) {
        self.daemon.kill();
        self.daemon.spawn(&[]);
        within(LIMIT, "it is up again", || {
            assert!(self.daemon.alive(), "it did not start: {}", self.daemon.log());
            let ready = self.daemon.client().try_send("GET", "/readyz", &[], "").ok()?;
            (ready.status == 503 && ready.json()["status"] == word).then_some(())
        });
    }

    /// Events are taken again by themselves, and everybody is told.
    fn takes_again(&mut self, reason: &str) {
        within(LIMIT, "it is ready again", || (self.client().get("/readyz").status == 200).then_some(()));
        assert!(!self.refusing(reason));
        assert!(self.daemon.log().contains("new events are taken again"));
        within(LIMIT, "an event is taken", || (self.post().status == 202).then_some(()));
    }
}

/// A file system that fills up, and that somebody makes room on.
fn small_disk(mib: usize, storage: &str, reason: &str, word: &str, why: &str) {
    let Some(disk) = Tmpfs::mount(mib) else { return };
    // Large enough that, once it is gone, there is room for a copy of a generation while the engine opens it.
    disk.fill_mib("filler", 24);
    let mut scene = Scene::new(Setup::new().data(disk.path("data")), storage, 900_000, "4s");
    scene.fill();
    scene.refuses(reason, word, why);
    scene.all_readable();
    scene.part_is_delivered();
    // Nothing of it depends on the bytes that are left: another program may take them all.
    disk.fill_up("more");
    assert_eq!(disk.free_bytes(), 0);
    scene.all_readable();
    scene.part_is_delivered();
    let tried = scene.receiver.count();
    within(LIMIT, "attempts go on", || (scene.receiver.count() > tried).then_some(()));
    for _ in 0..2 {
        scene.restart_in_need(word);
        scene.all_readable();
    }
    let pid = scene.daemon.pid();
    never(Duration::from_millis(1500), "an event is taken on a full disk", || scene.post().status == 202);
    disk.remove("more");
    disk.remove("filler");
    scene.takes_again(reason);
    scene.all_readable();
    scene.all_delivered();
    assert_eq!(scene.daemon.pid(), pid, "it is the same process");
    let damaged = &scene.client().get("/readyz").expect(200).json()["damaged"];
    assert!(damaged.is_null(), "a full disk is no damage: {damaged}");
    scene.daemon.restart();
    scene.all_readable();
}

#[test]
fn below_the_floor_of_the_file_system_events_are_refused_until_there_is_room() {
    small_disk(56, "", "min_free", "full", "min_free of [storage]");
}

#[test]
fn on_a_disk_that_is_full_to_the_last_byte_events_are_refused_until_there_is_room() {
    small_disk(40, "min_free = \"0B\"", "failing", "failing", "the disk of the data folder refuses");
}

#[test]
fn at_max_size_events_are_refused_until_retention_makes_room() {
    let mut scene =
        Scene::new(Setup::new(), "max_size = \"128MiB\"\nretention = \"20s\"\nmin_free = \"0B\"", 1_000_000, "20s");
    scene.fill();
    scene.refuses("max_size", "full", "max_size of [storage]");
    scene.part_is_delivered();
    scene.all_readable();
    scene.restart_in_need("full");
    scene.all_readable();
    let pid = scene.daemon.pid();
    scene.all_delivered();
    scene.takes_again("max_size");
    scene.all_delivered();
    assert_eq!(scene.daemon.pid(), pid, "it is the same process");
}
