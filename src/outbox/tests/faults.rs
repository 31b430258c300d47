//! What happens when the disk refuses, a crash cuts something short, or two things happen at once.

use std::time::Duration;

use super::super::frame::Mark;
use super::super::generation::{Generation, Identity};
use super::super::index;
use super::*;

impl Open {
    pub(super) fn store(&self) -> &Arc<Store> {
        &self.opened.outbox.inner.store
    }

    /// Lets the clock run until every generation that is in doubt is mended.
    pub(super) async fn mended(&self, clock: &ManualClock) {
        for _ in 0..400 {
            if !self.store().slots().iter().any(|slot| slot.handle().doubt.is_some()) {
                return;
            }
            clock.advance_ms(1_000);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("a generation is in doubt still");
    }

    async fn ids(&self, query: ListQuery) -> Vec<String> {
        let page = self.opened.outbox.list(query).await.unwrap();
        page.events.iter().map(|event| event.id.to_string()).collect()
    }
}

fn all() -> ListQuery {
    ListQuery { limit: 100, ..ListQuery::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_fsync_failed_leaves_nothing_behind_and_what_was_before_it_is_still_known() {
    let bench = Bench::new();
    {
        let open = bench.open();
        open.accept(vec![open.event("before", b"1", &["a"])]).await.unwrap();
        bench.disk.fsync_fails.store(true, Ordering::Relaxed);
        let refused = open.accept(vec![open.event("refused", b"2", &["a"])]).await;
        assert_eq!(refused, Err(AcceptError::Failed));
        assert_eq!(open.opened.outbox.condition().reason(), Some("failing"));
        bench.disk.fsync_fails.store(false, Ordering::Relaxed);
        // The producer tries again: a new event, stored once, in a new generation.
        let again = open.accept(vec![open.event("refused", b"2", &["a"])]).await.unwrap();
        assert!(!again[0].duplicate);
        open.mended(&bench.clock).await;
        assert_eq!(open.ids(all()).await, ["refused", "before"]);
        // An id in the generation that was let go of is still an id that is known.
        assert!(open.accept(vec![open.event("before", b"1", &["a"])]).await.unwrap()[0].duplicate);
        // And that generation is sealed, without a restart, so that retention can remove it.
        let slot = open.store().slot(1).unwrap();
        for _ in 0..200 {
            bench.clock.advance_ms(1_000);
            tokio::time::sleep(Duration::from_millis(5)).await;
            if slot.is_sealed() {
                break;
            }
        }
        assert!(slot.is_sealed());
        assert!(open.accept(vec![open.event("before", b"1", &["a"])]).await.unwrap()[0].duplicate);
        open.opened.outbox.close().await;
    }
    let open = bench.open();
    assert_eq!(open.waiting.len(), 2, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_survive_a_generation_that_fails_under_them() {
    let bench = Bench::new();
    {
        let open = bench.open();
        open.accept(vec![open.event("e", b"x", &["a", "b"])]).await.unwrap();
        let place = open.find("e").await.unwrap().place;
        let slot = open.store().slot(1).unwrap();
        bench.disk.fsync_fails.store(true, Ordering::Relaxed);
        assert!(open.store().open(&slot).unwrap().sync().is_err(), "a reader meets the failure first");
        bench.disk.fsync_fails.store(false, Ordering::Relaxed);
        open.opened.outbox.settle(open.settlement(place, "a", 1, Standing::Delivered)).await;
        open.opened.outbox.close().await;
    }
    let open = bench.open();
    assert_eq!(open.waiting.len(), 1);
    assert_eq!(open.waiting[0].delivery.endpoint, open.endpoint("b"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_fails_in_one_generation_still_goes_out_from_the_others() {
    let mut bench = Bench::new();
    bench.generation_bytes = 1_000;
    let mut open = bench.open();
    let mut deliveries = Vec::new();
    for n in 0..3 {
        open.accept(vec![open.event(&format!("e{n}"), &body(n, 900), &["a"])]).await.unwrap();
        open.opened.news.recv().await.unwrap();
        let place = open.find(&format!("e{n}")).await.unwrap().place;
        open.opened.outbox.settle(open.settlement(place, "a", 1, Standing::Dead(DeadReason::Exhausted))).await;
        deliveries.push(DeliveryRef { event: place, endpoint: open.endpoint("a") });
    }
    bench.disk.fail_fsync_number(2);
    assert_eq!(open.opened.outbox.replay(deliveries.clone()).await, Err(AcceptError::Failed));
    // Whatever counts as pending is on the schedule: nobody could ever put it there later.
    let news = tokio::time::timeout(Duration::from_secs(5), open.opened.news.recv()).await;
    let Ok(Some(News::Revived(mut revived))) = news else { panic!("nothing was revived") };
    revived.sort_unstable_by_key(|one| one.delivery);
    assert_eq!(revived.iter().map(|one| one.delivery).collect::<Vec<_>>(), deliveries);
    open.mended(&bench.clock).await;
    for (n, delivery) in deliveries.iter().enumerate() {
        let standing = open.find(&format!("e{n}")).await.unwrap().deliveries[0].standing;
        assert!(matches!(standing, Standing::Pending { .. }), "{n}: {standing:?}");
        let slot = open.store().slot(delivery.event.generation).unwrap();
        assert_eq!(slot.life(|life| life.pending), 1, "a generation with something pending is never removed");
    }
}

#[test]
fn a_seal_that_was_cut_short_does_not_hide_ids_from_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let roster = Roster::shared();
    // Hashes that come later lie between those of the first index, so that both indexes have packs in the same places.
    let hash = |seq: u32| u64::from(seq).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let ids = |count: u32| (0..count).map(|seq| (hash(seq), seq)).collect();
    let identity = Identity { no: 1, mark: Mark::new([1; 8]), roster };
    let generation = Generation::open(dir.path(), identity, RealDisk::shared()).unwrap();
    generation.seal(&ids(3_000), START, false).unwrap();
    // Killed just before the seal itself, the generation would have taken more events after the restart.
    generation.seal(&ids(9_000), START, false).unwrap();
    for seq in 0..9_000 {
        assert_eq!(index::find(dir.path(), hash(seq)).unwrap(), Some(seq));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_since_a_moment_misses_no_event_that_overtook_another_or_came_before_the_clock_was_set_back() {
    let mut bench = Bench::new();
    bench.generation_bytes = 2_500;
    let times = [5_000, 5_100, 5_050, 9_000, 100, 200, 5_060, 300, 5_200];
    let expected = ["e8", "e6", "e3", "e2", "e1"];
    let since = |ms| ListQuery { since: Some(START.plus_ms(ms)), ..all() };
    {
        let open = bench.open();
        for (n, at) in times.iter().enumerate() {
            let mut new = open.event(&format!("e{n}"), &body(n, 700), &["a"]);
            Arc::make_mut(&mut new.event).at = START.plus_ms(*at);
            open.accept(vec![new]).await.unwrap();
        }
        assert!(open.store().len() > 2, "several generations");
        assert_eq!(open.ids(since(5_050)).await, expected);
        assert_eq!(open.ids(since(9_001)).await, [""; 0]);
        open.opened.outbox.close().await;
    }
    assert_eq!(bench.open().ids(since(5_050)).await, expected, "after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_generation_is_not_made_anew_by_a_late_reader_and_its_number_is_not_given_again() {
    let mut bench = Bench::new();
    bench.generation_bytes = 1_000;
    let open = bench.open();
    open.accept(vec![open.event("e", &body(1, 900), &[])]).await.unwrap();
    let store = open.store();
    while !store.slot(1).unwrap().is_sealed() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let slot = store.slot(1).unwrap();
    let held = store.open(&slot).unwrap();
    store.remove(1).unwrap();
    assert!(held.head(0).unwrap().is_some(), "who reads it already may go on");
    drop(held);
    assert!(matches!(store.open(&slot), Err(StoreError::Gone)));
    assert!(!store.folder().generation(1).exists());
    assert_eq!(open.ids(all()).await, [""; 0]);
    open.accept(vec![open.event("f", b"x", &[])]).await.unwrap();
    assert_eq!(open.find("f").await.unwrap().place.generation, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_panic_fail_alone() {
    let bench = Bench::new();
    let open = bench.open();
    for _ in 0..5 {
        let read: Result<(), ReadError> = open.opened.outbox.inner.readers.read(|_| panic!("on purpose")).await;
        assert!(matches!(read, Err(ReadError::Panicked)));
    }
    assert!(open.find("e").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_has_lost_is_taken_from_its_file() {
    let bench = Bench::new();
    {
        let open = bench.open();
        for n in 0..2 {
            open.accept(vec![open.event(&format!("e{n}"), &body(n, 900), &["a"])]).await.unwrap();
        }
        open.opened.outbox.close().await;
    }
    let dir = bench.dir.path().join("data");
    {
        let engine = engine::reopen(&dir.join("outbox/00000001"));
        engine.remove(&keys::key(keys::HEADS, 1)).unwrap();
        engine.sync().unwrap();
    }
    let open = bench.open();
    assert_eq!(open.waiting.len(), 2);
    assert_eq!(open.ids(all()).await, ["e1", "e0"]);
    let damages = open.opened.outbox.damages();
    assert_eq!(damages.len(), 1);
    assert!(damages[0].what.contains("events 1 to 1 are missing"), "{}", damages[0].what);
    assert!(damages[0].loss.is_none(), "{:?}", damages[0].loss);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_refused_by_a_failing_disk_leave_no_generations_behind() {
    let bench = Bench::new();
    let open = bench.open();
    open.accept(vec![open.event("before", b"1", &["a"])]).await.unwrap();
    bench.disk.fsync_fails.store(true, Ordering::Relaxed);
    for n in 0..20 {
        let refused = open.accept(vec![open.event(&format!("refused{n}"), b"2", &["a"])]).await;
        assert_eq!(refused, Err(AcceptError::Failed));
    }
    bench.disk.fsync_fails.store(false, Ordering::Relaxed);
    open.accept(vec![open.event("after", b"3", &["a"])]).await.unwrap();
    assert_eq!(open.store().len(), 2, "the one with the first event and the one with the last");
    open.mended(&bench.clock).await;
    assert_eq!(open.ids(all()).await, ["after", "before"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_was_never_finished_is_no_damage() {
    let bench = Bench::new();
    {
        let open = bench.open();
        open.accept(vec![open.event("e", b"1", &["a"])]).await.unwrap();
        open.opened.outbox.close().await;
    }
    // Killed after the engine had made the first of its files.
    let unborn = bench.dir.path().join("data/outbox/00000002");
    std::fs::create_dir(&unborn).unwrap();
    std::fs::write(unborn.join("conf"), b"half").unwrap();
    let open = bench.open();
    assert_eq!(open.opened.outbox.damages().len(), 0);
    assert_eq!(open.store().len(), 1);
    open.accept(vec![open.event("next", b"2", &["a"])]).await.unwrap();
    assert_eq!(open.ids(all()).await, ["next", "e"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_gone_is_noticed() {
    let bench = Bench::new();
    let open = bench.open();
    let outbox = open.opened.outbox.clone();
    let early = tokio::time::timeout(Duration::from_millis(50), outbox.ended()).await;
    assert!(early.is_err(), "it runs");
    outbox.close().await;
    tokio::time::timeout(Duration::from_secs(5), outbox.ended()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_a_full_disk_refused_waits_on_the_disk_too_once_it_is_written() {
    let bench = Bench { generation_bytes: 1, ..Bench::new() };
    {
        let open = bench.open();
        open.accept(vec![open.event("e", b"x", &["a"])]).await.unwrap();
        let place = open.find("e").await.unwrap().place;
        let slot = open.store().slot(place.generation).unwrap();
        open.opened.outbox.settle(open.settlement(place, "a", 1, Standing::Delivered)).await;
        let pass = async |until: &dyn Fn(&StoredEvent) -> bool| {
            for _ in 0..400 {
                if until(&open.find("e").await.unwrap()) {
                    return;
                }
                bench.clock.advance_ms(1_000);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            panic!("it never comes");
        };
        // The generation bears the mark that nothing in it is pending.
        pass(&|_| slot.life(|life| life.marked_done)).await;
        bench.disk.writes_fail.store(true, Ordering::Relaxed);
        let refused = open.opened.outbox.replay(vec![DeliveryRef { event: place, endpoint: open.endpoint("a") }]).await;
        assert_eq!(refused, Err(AcceptError::Failed));
        // Refused or not, it is on the schedule, and not twice when somebody asks again.
        let again = open.opened.outbox.replay(vec![DeliveryRef { event: place, endpoint: open.endpoint("a") }]).await;
        assert_eq!(again, Ok(0));
        bench.disk.writes_fail.store(false, Ordering::Relaxed);
        pass(&|event| matches!(event.deliveries[0].standing, Standing::Pending { .. })).await;
        open.opened.outbox.close().await;
    }
    assert_eq!(bench.open().waiting.len(), 1, "the start believes no mark that is not true any more");
}
