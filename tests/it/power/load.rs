//! Producers that post without a pause, the receiver that takes what comes of it, and the ledger of both.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::kit::{Answer, Client, Received, Receiver, SECRET, hmac_fits};

const PRODUCERS: u64 = 4;
/// How long a producer waits that was refused or met nobody.
const PAUSE: Duration = Duration::from_millis(10);

/// The data of an event, made from its id alone: JSON text of 200 bytes to 300 kB, small ones being the many. No two runs of
/// 8 bytes in it are the same, so a torn body shows.
pub(super) fn data(seed: u64, id: &str) -> String {
    let mut hash = seed;
    for byte in id.bytes() {
        hash = hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte);
    }
    let mut random = fastrand::Rng::with_seed(hash);
    let size = (200.0 * 1500_f64.powf(random.f64())) as usize;
    let mut text = Vec::with_capacity(size);
    text.extend_from_slice(b"{\"n\": 1.10, \"t\":\"");
    while text.len() < size - 2 {
        let word = (random.u64(..) & 0x0F0F_0F0F_0F0F_0F0F) + 0x6161_6161_6161_6161;
        text.extend_from_slice(&word.to_le_bytes());
    }
    text.extend_from_slice(b"\"}");
    String::from_utf8(text).unwrap()
}

/// What the receiver has seen of one event.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) taken: u64,
    pub(super) refused: u64,
}

/// What was posted, what of it was acknowledged, what came in.
pub(super) struct Ledger {
    seed: u64,
    acknowledged: Mutex<BTreeSet<String>>,
    /// Events whose post was answered 503 or not at all: a producer posts them again under the same id.
    again: Mutex<VecDeque<String>>,
    seen: Mutex<BTreeMap<String, Seen>>,
    wrong: Mutex<Vec<String>>,
    posted: AtomicU64,
    accepted: AtomicU64,
    shed: AtomicU64,
    /// Of a hundred attempts, how many the receiver refuses.
    refuses: AtomicU8,
}

impl Ledger {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            seed,
            acknowledged: Mutex::default(),
            again: Mutex::default(),
            seen: Mutex::default(),
            wrong: Mutex::default(),
            posted: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            refuses: AtomicU8::new(10),
        })
    }

    /// Posts so far.
    pub(super) fn posted(&self) -> u64 {
        self.posted.load(Ordering::Relaxed)
    }

    /// Posts answered 202 or, where they were posted before, 200.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Posts answered 503.
    pub(super) fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    /// Ids of acknowledged events.
    pub(super) fn acknowledged(&self) -> BTreeSet<String> {
        self.acknowledged.lock().unwrap().clone()
    }

    /// Acknowledged and not yet received.
    pub(super) fn missing(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let acknowledged = self.acknowledged.lock().unwrap();
        acknowledged.iter().filter(|id| seen.get(*id).is_none_or(|seen| seen.taken == 0)).cloned().collect()
    }

    /// Events that came in, and how often in all, and attempts refused on purpose.
    pub(super) fn received(&self) -> (u64, Seen) {
        let seen = self.seen.lock().unwrap();
        let add = |all: Seen, one: &Seen| Seen { taken: all.taken + one.taken, refused: all.refused + one.refused };
        (seen.values().filter(|seen| seen.taken > 0).count() as u64, seen.values().fold(Seen::default(), add))
    }

    /// Sets how many of a hundred attempts the receiver refuses.
    pub(super) fn refuse(&self, of_hundred: u8) {
        self.refuses.store(of_hundred, Ordering::Relaxed);
    }

    /// Notes what should not have happened.
    pub(super) fn blame(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    /// What should not have happened.
    pub(super) fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }

    /// A receiver that notes what comes here.
    pub(super) fn receiver(self: &Arc<Self>) -> Receiver {
        let ledger = Arc::clone(self);
        let mut random = fastrand::Rng::with_seed(ledger.seed ^ 1);
        Receiver::forgetful(move |request| ledger.take(request, random.u8(..100)))
    }

    fn take(&self, request: &Received, chance: u8) -> Answer {
        let id = request.id();
        if request.text() != data(self.seed, id) {
            self.blame(format!("{id}: another body than was posted"));
        }
        if !hmac_fits(request, SECRET) {
            self.blame(format!("{id}: the signature does not fit"));
        }
        let mut seen = self.seen.lock().unwrap();
        let entry = seen.entry(id.to_owned()).or_default();
        if chance < self.refuses.load(Ordering::Relaxed) {
            entry.refused += 1;
            return Answer::status(500);
        }
        entry.taken += 1;
        Answer::status(200)
    }

    /// Posts one event and notes the answer. Whether it was acknowledged.
    fn post(&self, client: &Client, id: &str, again: bool) -> bool {
        let event = format!(r#"{{"id":"{id}","type":"power.test","data":{}}}"#, data(self.seed, id));
        self.posted.fetch_add(1, Ordering::Relaxed);
        match client.try_send("POST", "/v1/events", &[("content-type", "application/json")], event) {
            // 200 tells that it was stored before: only one that was posted before can be.
            Ok(reply) if reply.status == 202 || (reply.status == 200 && again) => {
                self.acknowledged.lock().unwrap().insert(id.to_owned());
                self.accepted.fetch_add(1, Ordering::Relaxed);
                return true;
            }
            Ok(reply) if reply.status == 503 => {
                self.shed.fetch_add(1, Ordering::Relaxed);
                if reply.header("retry-after").is_none_or(|value| value.parse::<u32>().is_err()) {
                    self.blame(format!("{id}: 503 without Retry-After: {}", reply.text()));
                }
            }
            Ok(reply) => self.blame(format!("{id} was answered {} {}", reply.status, reply.text())),
            // Whether it was stored is unknown.
            Err(_) => {}
        }
        self.again.lock().unwrap().push_back(id.to_owned());
        false
    }
}

/// Producers at work; they stop when dropped.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    producers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts producers whose event ids begin with `round`.
    pub(super) fn start(ledger: &Arc<Ledger>, client: &Client, round: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let producers = (0..PRODUCERS).map(|producer| {
            let (ledger, client, stop) = (Arc::clone(ledger), client.clone(), Arc::clone(&stop));
            let prefix = format!("{round}-p{producer}");
            std::thread::spawn(move || produce(&ledger, &client, &prefix, &stop))
        });
        Self { producers: producers.collect(), stop }
    }

    /// Lets them finish the posts under way.
    pub(super) fn stop(self) {
        drop(self);
    }
}

fn produce(ledger: &Ledger, client: &Client, prefix: &str, stop: &AtomicBool) {
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        // New ones in between: a queue of old ones must not hide what becomes of new ones.
        let again = if n % 2 == 0 { ledger.again.lock().unwrap().pop_front() } else { None };
        n += 1;
        let known = again.is_some();
        let id = again.unwrap_or_else(|| format!("{prefix}-{n}"));
        if !ledger.post(client, &id, known) {
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for producer in self.producers.drain(..) {
            if producer.join().is_err() && !std::thread::panicking() {
                panic!("a producer failed");
            }
        }
    }
}
