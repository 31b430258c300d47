//! What is told at the start: keys, and what is dead; from heads and states, from summaries, from those of earlier versions.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::super::frame::Mark;
use super::super::rows::{self, Packer};
use super::super::settling::Outcome;
use super::super::{filter, offline, summary};
use super::*;

impl Bench {
    /// The folder of a generation.
    pub(super) fn generation(&self, no: u32) -> PathBuf {
        self.dir.path().join(format!("data/outbox/{no:08}"))
    }
}

impl Open {
    fn keyed(&self, id: &str, key: Option<&str>, endpoints: &[&str]) -> NewEvent {
        let mut new = self.event(id, &body(1, 600), endpoints);
        Arc::make_mut(&mut new.event).key = key.map(|key| OrderingKey::parse(key).unwrap());
        new
    }

    pub(super) async fn settle(&self, place: EventRef, endpoint: &str, standing: Standing) {
        self.opened.outbox.settle(self.settlement(place, endpoint, 1, standing)).await;
    }

    /// Everything told at the start, with the names of the endpoints.
    fn shown(&self) -> Vec<String> {
        let shown = |one: &Recovered| {
            let DeliveryRef { event: EventRef { generation, seq }, endpoint } = one.delivery();
            let name = self.roster.name(endpoint);
            match one {
                Recovered::Waiting(Waiting { next_at, progress, key, .. }) => {
                    format!("{generation}/{seq} {name} waits +{} {} {key:?}", next_at.since(START), progress.made)
                }
                Recovered::Dead(Fallen { died_at, key, .. }) => {
                    format!("{generation}/{seq} {name} died +{} {key:?}", died_at.since(START))
                }
            }
        };
        self.told.iter().map(shown).collect()
    }
}

fn hash(key: &str) -> Option<KeyHash> {
    Some(OrderingKey::parse(key).unwrap().hash())
}

const DEAD: Standing = Standing::Dead(DeadReason::Exhausted);

/// An outbox of three sealed generations and a current one: e0 to e7, two in each, keyed by turns. Of the deliveries some wait,
/// some are dead; in generation 2 nothing is pending.
async fn furnished(bench: &mut Bench) -> Vec<String> {
    bench.generation_bytes = 1_500;
    let open = bench.open();
    for n in 0..8 {
        let key = ["one", "two"].get(n % 3).copied();
        open.accept(vec![open.keyed(&format!("e{n}"), key, &["a", "b"])]).await.unwrap();
    }
    let mut places = Vec::new();
    for n in 0..8 {
        places.push(open.find(&format!("e{n}")).await.unwrap().place);
    }
    assert_eq!(places.iter().map(|place| place.generation).collect::<Vec<_>>(), [1, 1, 2, 2, 3, 3, 4, 4]);
    bench.clock.advance_ms(50);
    let later = Standing::Pending { next_at: START.plus_ms(9_000) };
    for (n, endpoint, standing) in [
        (0, "a", later),
        (0, "b", DEAD),
        (1, "a", Standing::Delivered),
        (2, "a", DEAD),
        (2, "b", Standing::Delivered),
        (3, "a", Standing::Dead(DeadReason::BreakerOpen)),
        (3, "b", Standing::Delivered),
        (4, "b", DEAD),
        (5, "a", DEAD),
    ] {
        open.settle(places[n], endpoint, standing).await;
    }
    // It was dead, and is put back; another endpoint gets one that it never had, and gives up.
    let put_back = ["a", "late"].map(|name| DeliveryRef { event: places[5], endpoint: open.endpoint(name) });
    assert_eq!(open.opened.outbox.replay(put_back.to_vec()).await, Ok(2));
    open.settle(places[5], "late", DEAD).await;
    let late = DeliveryRef { event: places[4], endpoint: open.endpoint("late") };
    assert_eq!(open.opened.outbox.replay(vec![late]).await, Ok(1));
    open.opened.outbox.close().await;
    let (one, two, none) = (hash("one"), hash("two"), None::<KeyHash>);
    vec![
        format!("1/0 a waits +9000 1 {one:?}"),
        format!("1/0 b died +50 {one:?}"),
        format!("1/1 b waits +0 0 {two:?}"),
        format!("2/0 a died +50 {none:?}"),
        format!("2/1 a died +50 {one:?}"),
        format!("3/0 a waits +0 0 {two:?}"),
        format!("3/0 b died +50 {two:?}"),
        format!("3/0 late waits +50 0 {two:?}"),
        format!("3/1 a waits +50 1 {none:?}"),
        format!("3/1 b waits +0 0 {none:?}"),
        format!("3/1 late died +50 {none:?}"),
        format!("4/0 a waits +0 0 {one:?}"),
        format!("4/0 b waits +0 0 {one:?}"),
        format!("4/1 a waits +0 0 {two:?}"),
        format!("4/1 b waits +0 0 {two:?}"),
    ]
}

/// Lets the clock run until the first three generations have their summaries.
async fn summarised(bench: &Bench, open: &Open) {
    let slots: Vec<_> = (1..=3).map(|no| open.store().slot(no).unwrap()).collect();
    bench.until("they are summarised", || slots.iter().all(|slot| slot.life(|life| life.summarised))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_what_is_dead_are_told_in_order_by_every_start_with_summaries_and_without() {
    let mut bench = Bench::new();
    let expected = furnished(&mut bench).await;
    let open = bench.open();
    assert_eq!(open.shown(), expected, "read from heads and states");
    summarised(&bench, &open).await;
    open.opened.outbox.close().await;
    drop(open);
    let open = bench.open();
    assert!(!open.store().is_open(2), "what it needs of it stands in the summary");
    assert_eq!(open.shown(), expected, "told by summaries");
    assert_eq!(open.store().slot(2).unwrap().life(|life| (life.pending, life.marked_done)), (0, true));
    open.opened.outbox.close().await;
    drop(open);
    let report = offline::check(&bench.dir.path().join("data"), true, &mut |_| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

/// As the first versions wrote it.
fn write_first_form(dir: &Path, mark: Mark) {
    #[derive(Serialize)]
    struct Head {
        db_bytes: u64,
        pending: u64,
        last_at: UnixMs,
        disorder_ms: u64,
        changed_at: UnixMs,
        marked_done: bool,
        names: u32,
        filters: u32,
        packs: u32,
    }
    #[derive(Serialize)]
    struct Row {
        seq: u32,
        endpoint: u16,
        accepted_at: UnixMs,
        after_ms: i64,
        tries: u16,
        made: u16,
    }
    let db_bytes = std::fs::metadata(dir.join("db")).unwrap().len();
    let (last_at, changed_at, marked_done) = (START, START, false);
    let (pending, disorder_ms, names, filters, packs) = (1, 0, 1, 1, 1);
    let head = Head { db_bytes, pending, last_at, disorder_ms, changed_at, marked_done, names, filters, packs };
    let key = |number| keys::key(keys::SUMMARY, number);
    let mut bytes = rows::single(mark, &key(0), &head).unwrap();
    let pack = |row: &dyn Fn(&mut Packer), number: u64| {
        let mut packer = Packer::default();
        row(&mut packer);
        packer.finish().remove(0).close(mark, &key(number), 0)
    };
    bytes.extend(pack(&|packer| packer.push(&"a").unwrap(), 1));
    let mut value = frame::begin(64);
    value.extend_from_slice(filter::Filter::over([super::super::ids::id_hash("e0")].into_iter()).as_bytes());
    bytes.extend(frame::close(mark, &key(2), value));
    let row = Row { seq: 0, endpoint: 0, accepted_at: START, after_ms: 5, tries: 0, made: 0 };
    bytes.extend(pack(&|packer| packer.push(&row).unwrap(), 3));
    std::fs::write(dir.join("summary"), bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_of_an_earlier_version_is_not_believed_and_takes_a_new_one_in_its_place() {
    let mut bench = Bench::new();
    let expected = furnished(&mut bench).await;
    let mark = {
        let open = bench.open();
        summarised(&bench, &open).await;
        let mark = open.store().folder().mark();
        open.opened.outbox.close().await;
        mark
    };
    for no in 1..=3 {
        assert!(!summary::is_of_earlier_version(&bench.generation(no)));
        write_first_form(&bench.generation(no), mark);
        assert!(summary::is_of_earlier_version(&bench.generation(no)));
    }
    let report = offline::check(&bench.dir.path().join("data"), true, &mut |_| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert!(report.generations[0].notes.iter().any(|note| note.contains("earlier version")), "{report:?}");
    let open = bench.open();
    assert_eq!(open.shown(), expected);
    summarised(&bench, &open).await;
    for no in 1..=3 {
        assert!(!summary::is_of_earlier_version(&bench.generation(no)));
    }
    open.opened.outbox.close().await;
    drop(open);
    assert_eq!(bench.open().shown(), expected);
}

/// The bytes that a release before this one left on a disk.
#[test]
fn golden_bytes_of_a_summary_of_the_first_form_are_known_as_that() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("db"), [0; 4_096]).unwrap();
    write_first_form(dir.path(), Mark::new([7; 8]));
    let written = std::fs::read(dir.path().join("summary")).unwrap();
    assert_eq!(hex::encode(written), FIRST_FORM);
    assert!(summary::is_of_earlier_version(dir.path()));
    assert!(summary::read(dir.path(), 1, &Roster::shared()).is_none());
}

const FIRST_FORM: &str = "070707070707070701730000000000000000000000001b00000024ff44defb001001fd0068e5cf8b01000000fd0068e5cf8\
     b010000000101010707070707070707017301000000000000000000000007000000260081e9000100000001610707070707070707017302000000000\
     000000000000008000000b3130dc203000000000000f0070707070707070701730300000000000000000000001300000061d36d9f00010000000000fd\
     0068e5cf8b0100000a0000";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_back_is_told_with_its_key_and_so_is_what_was_mended() {
    let bench = Bench::new();
    {
        let mut open = bench.open();
        open.accept(vec![open.keyed("e", Some("k"), &["a", "b"])]).await.unwrap();
        open.opened.news.recv().await.unwrap();
        let place = open.find("e").await.unwrap().place;
        open.settle(place, "a", DEAD).await;
        let delivery = DeliveryRef { event: place, endpoint: open.endpoint("a") };
        assert_eq!(open.opened.outbox.replay(vec![delivery]).await, Ok(1));
        let Some(News::Revived(revived)) = open.opened.news.recv().await else { panic!("nothing was revived") };
        assert_eq!(revived[0].key, hash("k"));
        open.settle(place, "b", DEAD).await;
        let slot = open.store().slot(1).unwrap();
        bench.disk.fsync_fails.store(true, Ordering::Relaxed);
        assert!(open.store().open(&slot).unwrap().sync().is_err());
        bench.disk.fsync_fails.store(false, Ordering::Relaxed);
        open.settle(place, "a", Standing::Pending { next_at: START.plus_ms(7) }).await;
        bench.until("it is written anew", || slot.handle().rescues == 1).await;
        open.opened.outbox.close().await;
    }
    let open = bench.open();
    assert_eq!(open.shown(), [format!("1/0 a waits +7 1 {:?}", hash("k")), format!("1/0 b died +0 {:?}", hash("k"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_died_when_that_was_told_however_long_the_disk_refused() {
    let bench = Bench::new();
    {
        let open = bench.open();
        open.accept(vec![open.keyed("e", None, &["a", "b"])]).await.unwrap();
        let place = open.find("e").await.unwrap().place;
        bench.clock.advance_ms(70);
        bench.disk.writes_fail.store(true, Ordering::Relaxed);
        open.settle(place, "a", DEAD).await;
        bench.until("the disk is known to refuse", || open.opened.outbox.condition().reason().is_some()).await;
        bench.clock.advance_ms(60_000);
        bench.disk.writes_fail.store(false, Ordering::Relaxed);
        bench.until("the disk is known to work", || open.opened.outbox.condition().reason().is_none()).await;
        open.opened.outbox.close().await;
    }
    {
        let open = bench.open();
        assert_eq!(open.shown(), ["1/0 a died +70 None", "1/0 b waits +0 0 None"]);
        // A row of the first versions did not keep the time.
        let settlement = open.settlement(open.waiting[0].delivery.event, "b", 1, DEAD);
        let generation = open.store().open(&open.store().slot(1).unwrap()).unwrap();
        generation.append_settlements(&[Outcome { settlement, at: UnixMs(0) }]).unwrap();
        generation.sync().unwrap();
        drop(generation);
        open.opened.outbox.close().await;
    }
    assert!(bench.open().told.iter().any(|one| matches!(one, Recovered::Dead(Fallen { died_at: UnixMs(0), .. }))));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_generation_that_could_not_be_opened_at_the_start_the_dead_are_told_before_those_that_wait() {
    let mut bench = Bench::new();
    furnished(&mut bench).await;
    let db = bench.generation(1).join("db");
    let kept = bench.dir.path().join("kept");
    std::fs::rename(&db, &kept).unwrap();
    // Asking for it is an error (ELOOP), as for any file on a disk that does not answer.
    std::os::unix::fs::symlink(&db, &db).unwrap();
    let mut open = bench.open();
    assert!(open.told.iter().all(|one| one.delivery().event.generation > 1));
    std::fs::remove_file(&db).unwrap();
    std::fs::rename(&kept, &db).unwrap();
    bench.until("it is opened", || open.store().slot(1).is_some()).await;
    let news = &mut open.opened.news;
    let mut next = async || tokio::time::timeout(Duration::from_secs(10), news.recv()).await.unwrap();
    let Some(News::Fallen(dead)) = next().await else { panic!("nothing is dead") };
    let Some(News::Revived(waiting)) = next().await else { panic!("nothing waits") };
    assert_eq!((dead.len(), dead[0].key), (1, hash("one")));
    assert_eq!(waiting.iter().map(|one| one.key).collect::<Vec<_>>(), [hash("one"), hash("two")]);
}
