//! The outbox as a whole, on a real folder.

mod configured;
mod damage;
mod dead;
mod endpoints;
mod faults;
mod low;
mod opening;
mod order;
mod removed;
mod room;
mod start;
mod twice;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;

use super::*;
use crate::clock::{ManualClock, ManualHandle, UnixMs};
use crate::model::attempt::{Attempt, AttemptError};
use crate::model::delivery::{DeadReason, DeliveryState, EventRef, Fallen, KeyHash, Progress, Standing, Waiting};
use crate::model::endpoint::EndpointState;
use crate::model::event::{Content, Fingerprint, KeptHeader};
use crate::model::text::{EventType, IdempotencyKey, OrderingKey};

const START: UnixMs = UnixMs(1_700_000_000_000);

struct Bench {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    generation_bytes: u64,
    retention_ms: u64,
    size_bytes_max: u64,
    free_bytes_min: Option<u64>,
    disk: Arc<MoodyDisk>,
}

/// A disk that refuses when it is told to.
#[derive(Debug, Default)]
struct MoodyDisk {
    fsync_fails: AtomicBool,
    /// That one fails, counted down; 0: none.
    fsync_to_fail: AtomicU64,
    writes_fail: AtomicBool,
    free_bytes: AtomicU64,
}

impl MoodyDisk {
    fn fail_fsync_number(&self, n: u64) {
        self.fsync_to_fail.store(n, Ordering::Relaxed);
    }
}

impl Disk for MoodyDisk {
    fn sync_data(&self, file: &File) -> io::Result<()> {
        let counted = self.fsync_to_fail.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        match counted == Ok(1) || self.fsync_fails.load(Ordering::Relaxed) {
            true => Err(io::Error::from_raw_os_error(5)),
            false => file.sync_data(),
        }
    }

    fn before_write(&self) -> io::Result<()> {
        match self.writes_fail.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        Ok(Space { free_bytes: self.free_bytes.load(Ordering::Relaxed), total_bytes: 1 << 40 })
    }
}

struct Open {
    opened: Opened,
    roster: Arc<Roster>,
    waiting: Vec<Waiting>,
    /// What was told at the start, in its order.
    told: Vec<Recovered>,
    metrics: Arc<Metrics>,
}

impl Bench {
    fn new() -> Self {
        let clock = ManualClock::at(START);
        Self {
            dir: tempfile::tempdir().unwrap(),
            clock,
            generation_bytes: u64::MAX,
            retention_ms: 1_000_000,
            size_bytes_max: u64::MAX,
            free_bytes_min: Some(0),
            disk: Arc::default(),
        }
    }

    fn try_open(&self) -> Result<Open, OpenError> {
        let options = OutboxOptions {
            dir: self.dir.path().join("data"),
            retention_ms: self.retention_ms,
            size_bytes_max: self.size_bytes_max,
            durability: Durability::Fsync,
            free_bytes_min: self.free_bytes_min,
            generation_bytes: self.generation_bytes,
            disk: Arc::clone(&self.disk) as SharedDisk,
        };
        let roster = Roster::shared();
        let clock = Arc::new(ManualHandle(Arc::clone(&self.clock)));
        let (mut told, metrics) = (Vec::new(), Metrics::shared());
        let each = |one| told.push(one);
        let opened = Outbox::open(options, clock, Arc::clone(&roster), Arc::clone(&metrics), each)?;
        let (mut waiting, _) = Recovered::sort_out(told.clone());
        waiting.sort_unstable_by_key(|one| one.delivery);
        Ok(Open { opened, roster, waiting, told, metrics })
    }

    fn open(&self) -> Open {
        self.try_open().unwrap()
    }
}

impl Open {
    fn endpoint(&self, name: &str) -> EndpointNo {
        self.roster.number(&EndpointName::parse(name).unwrap())
    }

    fn event(&self, id: &str, body: &[u8], endpoints: &[&str]) -> NewEvent {
        let event = Event {
            id: EventId::parse(id).unwrap(),
            event_type: EventType::parse("invoice.paid").unwrap(),
            key: Some(OrderingKey::parse("customer 7").unwrap()),
            at: START,
            timestamp: None,
            deliver_at: None,
            content: Content { content_type: "text/plain".into(), json: false, body: Bytes::copy_from_slice(body) },
            traceparent: None,
            cloud_attributes: None,
            headers: Vec::new(),
        };
        let mut fingerprint = [0; 16];
        for (at, byte) in body.iter().enumerate() {
            fingerprint[at % 16] ^= byte;
        }
        NewEvent {
            event: Arc::new(event),
            id_given: true,
            idempotency_key: None,
            fingerprint: Fingerprint(fingerprint),
            targets: endpoints.iter().map(|name| self.endpoint(name)).collect(),
        }
    }

    async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Accepted>, AcceptError> {
        self.opened.outbox.accept(events).await
    }

    async fn find(&self, id: &str) -> Option<StoredEvent> {
        self.opened.outbox.find(&EventId::parse(id).unwrap()).await.unwrap()
    }

    fn settlement(&self, place: EventRef, endpoint: &str, n: u16, standing: Standing) -> Settlement {
        let error = (standing != Standing::Delivered).then_some(AttemptError::Status);
        Settlement {
            delivery: DeliveryRef { event: place, endpoint: self.endpoint(endpoint) },
            attempt: Some(Attempt {
                n,
                at: START,
                status: Some(if error.is_some() { 500 } else { 200 }),
                error,
                duration_ms: 3,
                response: format!("answer {n}").into_bytes(),
            }),
            standing,
            progress: Progress { tries: n, made: n },
        }
    }
}

fn body(n: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(31).wrapping_add(n) % 251) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_every_size_come_back_byte_for_byte_also_after_a_restart() {
    let bench = Bench::new();
    let sizes = [0, 1, 200, 16_378, 16_379, 16_380, 40_000, 300_000, 5_000_000];
    {
        let open = bench.open();
        let events = sizes.iter().enumerate().map(|(n, len)| open.event(&format!("e{n}"), &body(n, *len), &["a"]));
        open.accept(events.collect()).await.unwrap();
        for (n, len) in sizes.iter().enumerate() {
            let mut one = open.event(&format!("single{n}"), &body(n, *len), &[]);
            let event = Arc::make_mut(&mut one.event);
            event.cloud_attributes = Some(r#"{"source":"/x"}"#.into());
            event.headers = vec![KeptHeader { name: "x-a".into(), value: b"\xff\x01".to_vec().into() }];
            open.accept(vec![one]).await.unwrap();
        }
        open.opened.outbox.close().await;
    }
    let open = bench.open();
    assert_eq!(open.waiting.len(), sizes.len());
    for (n, len) in sizes.iter().enumerate() {
        let stored = open.find(&format!("e{n}")).await.unwrap();
        assert!(stored.event.content.body == body(n, *len), "{len} bytes");
        let loaded = open.opened.outbox.load(stored.place).await.unwrap().unwrap();
        assert_eq!(loaded, stored.event);
        let single = open.find(&format!("single{n}")).await.unwrap().event;
        assert!(single.content.body == body(n, *len), "{len} bytes with extras");
        assert_eq!(single.cloud_attributes.as_deref(), Some(r#"{"source":"/x"}"#));
        assert_eq!(&*single.headers[0].value, b"\xff\x01");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_told_from_another_event_within_a_batch_across_restarts_and_generations() {
    let mut bench = Bench::new();
    bench.generation_bytes = 2_000;
    {
        let open = bench.open();
        let twice = vec![open.event("x", b"same", &["a"]), open.event("x", b"same", &["a"])];
        let accepted = open.accept(twice).await.unwrap();
        assert_eq!(accepted.iter().map(|one| one.duplicate).collect::<Vec<_>>(), [false, true]);
        let clash = vec![open.event("fresh", b"1", &["a"]), open.event("x", b"other", &["a"])];
        let id = EventId::parse("x").unwrap();
        assert_eq!(open.accept(clash).await, Err(AcceptError::Conflict { index: 1, id }));
        assert!(open.find("fresh").await.is_none(), "all or none");
        let mut keyed = open.event("generated", b"k", &[]);
        keyed.id_given = false;
        keyed.idempotency_key = Some(IdempotencyKey::parse("key 1").unwrap());
        open.accept(vec![keyed]).await.unwrap();
        for n in 0..30 {
            open.accept(vec![open.event(&format!("fill{n}"), &body(n, 500), &["a"])]).await.unwrap();
        }
        assert!(open.opened.outbox.inner.store.len() > 5, "several generations");
        open.opened.outbox.close().await;
    }
    let open = bench.open();
    let again = open.accept(vec![open.event("x", b"same", &["a"])]).await.unwrap();
    assert!(again[0].duplicate);
    assert_eq!(again[0].endpoints[0].as_str(), "a");
    assert!(matches!(open.accept(vec![open.event("x", b"no", &[])]).await, Err(AcceptError::Conflict { .. })));
    let mut keyed = open.event("another", b"k", &[]);
    keyed.id_given = false;
    keyed.idempotency_key = Some(IdempotencyKey::parse("key 1").unwrap());
    let again = open.accept(vec![keyed]).await.unwrap();
    assert_eq!((again[0].id.as_str(), again[0].duplicate), ("generated", true));
    assert_eq!(open.waiting.len(), 31);
}

#[tokio::test(flavor = "multi_thread")]
async fn settlements_are_folded_and_only_unfinished_deliveries_wait_after_a_restart() {
    let bench = Bench::new();
    let later = Standing::Pending { next_at: START.plus_ms(60_000) };
    {
        let open = bench.open();
        open.accept(vec![open.event("e", b"x", &["a", "b", "c"])]).await.unwrap();
        let place = open.find("e").await.unwrap().place;
        let outbox = &open.opened.outbox;
        outbox.settle(open.settlement(place, "a", 1, Standing::Delivered)).await;
        outbox.settle(open.settlement(place, "b", 1, later)).await;
        outbox.settle(open.settlement(place, "c", 1, later)).await;
        outbox.settle(open.settlement(place, "c", 2, Standing::Dead(DeadReason::Exhausted))).await;
        outbox.close().await;
    }
    let open = bench.open();
    let told: Vec<_> = open.waiting.iter().map(|w| (w.delivery.endpoint, w.next_at, w.progress.made)).collect();
    assert_eq!(told, [(open.endpoint("b"), START.plus_ms(60_000), 1)]);
    let stored = open.find("e").await.unwrap();
    let states: Vec<_> =
        stored.deliveries.iter().map(|d| (d.endpoint.as_str(), d.standing, d.attempts.len())).collect();
    assert_eq!(
        states,
        [("a", Standing::Delivered, 1), ("b", later, 1), ("c", Standing::Dead(DeadReason::Exhausted), 2)]
    );
    assert_eq!(stored.deliveries[2].attempts[1].response, b"answer 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_revives_what_is_not_pending_and_adds_endpoints() {
    let bench = Bench::new();
    let mut open = bench.open();
    open.accept(vec![open.event("e", b"x", &["a", "b"])]).await.unwrap();
    let place = open.find("e").await.unwrap().place;
    assert!(matches!(open.opened.news.recv().await, Some(News::Accepted(fresh)) if fresh[0].place == place));
    let outbox = open.opened.outbox.clone();
    outbox.settle(open.settlement(place, "a", 1, Standing::Dead(DeadReason::Permanent))).await;
    let all = ["a", "b", "late"].map(|name| DeliveryRef { event: place, endpoint: open.endpoint(name) });
    assert_eq!(outbox.replay(all.to_vec()).await, Ok(2), "b is pending already");
    let Some(News::Revived(revived)) = open.opened.news.recv().await else { panic!("nothing was revived") };
    let mut revived: Vec<_> = revived.iter().map(|w| (w.delivery.endpoint, w.progress)).collect();
    revived.sort_unstable_by_key(|(endpoint, _)| *endpoint);
    let expected = [("a", 0, 1), ("late", 0, 0)].map(|(n, tries, made)| (open.endpoint(n), Progress { tries, made }));
    assert_eq!(revived, expected);
    outbox.close().await;
    drop(outbox);
    drop(open);
    let open = bench.open();
    assert_eq!(open.waiting.len(), 3);
    assert_eq!(open.find("e").await.unwrap().deliveries.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_newest_first_filtered_and_paged_over_generations() {
    let mut bench = Bench::new();
    bench.generation_bytes = 3_000;
    let open = bench.open();
    for n in 0..40 {
        let targets: &[&str] = if n % 2 == 0 { &["a"] } else { &["b"] };
        open.accept(vec![open.event(&format!("e{n}"), &body(n, 300), targets)]).await.unwrap();
        if n % 4 == 0 {
            let place = open.find(&format!("e{n}")).await.unwrap().place;
            let dead = Standing::Dead(DeadReason::Exhausted);
            open.opened.outbox.settle(open.settlement(place, "a", 1, dead)).await;
        }
    }
    let pages = |query: ListQuery| {
        let outbox = open.opened.outbox.clone();
        async move {
            let (mut query, mut ids) = (query, Vec::new());
            loop {
                let page = outbox.list(query.clone()).await.unwrap();
                assert!(page.events.len() <= query.limit);
                ids.extend(page.events.iter().map(|event| event.id.as_str()[1..].parse::<usize>().unwrap()));
                match page.next {
                    Some(next) => query.cursor = Some(next.to_string().parse().unwrap()),
                    None => return ids,
                }
            }
        }
    };
    let all: Vec<usize> = (0..40).rev().collect();
    assert_eq!(pages(ListQuery { limit: 7, ..ListQuery::default() }).await, all);
    assert_eq!(pages(ListQuery { limit: 40, ..ListQuery::default() }).await, all);
    let dead = ListQuery { limit: 3, state: Some(DeliveryState::Dead), ..ListQuery::default() };
    assert_eq!(pages(dead).await, all.iter().copied().filter(|n| n % 4 == 0).collect::<Vec<_>>());
    let of_b = ListQuery { limit: 3, endpoint: Some(open.endpoint("b")), ..ListQuery::default() };
    assert_eq!(pages(of_b).await, all.iter().copied().filter(|n| n % 2 == 1).collect::<Vec<_>>());
    let later = ListQuery { limit: 3, since: Some(START.plus_ms(1)), ..ListQuery::default() };
    assert_eq!(pages(later).await, Vec::<usize>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_generations_go_after_retention_and_unfinished_ones_stay() {
    let mut bench = Bench::new();
    bench.generation_bytes = 1_000;
    let mut open = bench.open();
    for n in 0..4 {
        open.accept(vec![open.event(&format!("e{n}"), &body(n, 900), &["a"])]).await.unwrap();
        open.opened.news.recv().await.unwrap();
        if n != 2 {
            let place = open.find(&format!("e{n}")).await.unwrap().place;
            open.opened.outbox.settle(open.settlement(place, "a", 1, Standing::Delivered)).await;
        }
    }
    let store = Arc::clone(&open.opened.outbox.inner.store);
    let mut rounds = 0;
    while store.len() > 2 {
        bench.clock.advance_ms(bench.retention_ms / 4);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        rounds += 1;
        assert!(rounds < 200, "{} generations are left", store.len());
    }
    assert!(rounds >= 4, "removed before the retention was over");
    assert!(open.find("e0").await.is_none());
    assert!(open.find("e2").await.is_some(), "a pending delivery keeps its generation");
    open.opened.outbox.close().await;
    drop((open, store));
    let open = bench.open();
    assert_eq!(open.waiting.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_use_or_of_another_program_is_refused() {
    let bench = Bench::new();
    let open = bench.open();
    assert!(matches!(bench.try_open(), Err(OpenError::Locked { .. })));
    open.opened.outbox.close().await;
    drop(open);
    let format = bench.dir.path().join("data/FORMAT");
    std::fs::write(&format, "webhookd data 2\n").unwrap();
    assert!(matches!(bench.try_open(), Err(OpenError::Version { .. })));
    std::fs::write(&format, "webhookd data 1\nmark 00\n").unwrap();
    assert!(matches!(bench.try_open(), Err(OpenError::NoMark { .. })));
    std::fs::write(&format, [0xFF; 10_000]).unwrap();
    assert!(matches!(bench.try_open(), Err(OpenError::Format { .. })));
    std::fs::remove_file(&format).unwrap();
    assert!(matches!(bench.try_open(), Err(OpenError::HalfDeleted { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_the_folder_is_made_leaves_one_that_is_made_after_all() {
    for step in 0..4 {
        let bench = Bench::new();
        let open = bench.open();
        open.opened.outbox.close().await;
        drop(open);
        let data = bench.dir.path().join("data");
        std::fs::rename(data.join("FORMAT"), data.join("FORMAT.begun")).unwrap();
        std::fs::remove_dir_all(data.join("outbox")).unwrap();
        if step < 3 {
            std::fs::remove_file(data.join("generations")).unwrap();
        }
        match step {
            0 => std::fs::rename(data.join("FORMAT.begun"), data.join("FORMAT.draft")).unwrap(),
            1 => {}
            2 => std::fs::create_dir(data.join("outbox")).unwrap(),
            _ => {
                std::fs::create_dir(data.join("outbox")).unwrap();
                // The roll that is written first lists nothing.
                std::fs::remove_file(data.join("generations")).unwrap();
                let (mut roll, _) = roll::Roll::open(&folder::Folder::open(&data).unwrap(), &[]);
                roll.save().unwrap();
            }
        }
        let open = bench.open();
        open.accept(vec![open.event("e", b"x", &["a"])]).await.unwrap();
        assert!(data.join("FORMAT").exists() && !data.join("FORMAT.begun").exists(), "step {step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_of_a_commit_that_never_finished_are_dropped() {
    let bench = Bench::new();
    let dir = {
        let open = bench.open();
        open.accept(vec![open.event("kept", b"x", &["a"])]).await.unwrap();
        open.opened.outbox.close().await;
        bench.dir.path().join("data/outbox/00000001")
    };
    {
        // The first of several packs of heads, as a crash in the middle of a commit leaves it.
        let engine = engine::reopen(&dir);
        let stored = engine.last(keys::HEADS).unwrap().unwrap().1;
        let mut payload = frame::open(&keys::key(keys::HEADS, 0), &stored).unwrap().to_vec();
        payload[0] = 0;
        let key = keys::key(keys::HEADS, 1);
        let mut value = frame::begin(payload.len());
        value.extend_from_slice(&payload);
        engine.put(&key, frame::close(frame::Mark::new([1; 8]), &key, value)).unwrap();
        engine.sync().unwrap();
    }
    let open = bench.open();
    assert_eq!(open.waiting.len(), 1);
    open.accept(vec![open.event("next", b"y", &["a"])]).await.unwrap();
    assert_eq!(open.find("next").await.unwrap().place.seq, 1);
}
