//! A disk without room, or one that refuses: what is refused, what waits, and that all goes on by itself.

use std::time::Duration;

use super::*;

impl Bench {
    /// Lets the clock run until `holds`.
    pub(super) async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..400 {
            if holds() {
                return;
            }
            self.clock.advance_ms(500);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it never came that {what}");
    }
}

fn reason(open: &Open) -> Option<&'static str> {
    open.opened.outbox.condition().reason()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_with_too_little_left_takes_no_events_until_there_is_room() {
    let mut bench = Bench::new();
    bench.free_bytes_min = Some(1_000);
    bench.disk.free_bytes.store(1_000, Ordering::Relaxed);
    let open = bench.open();
    open.accept(vec![open.event("first", b"1", &["a"])]).await.unwrap();
    let place = open.find("first").await.unwrap().place;
    bench.disk.free_bytes.store(999, Ordering::Relaxed);
    assert_eq!(open.accept(vec![open.event("second", b"2", &["a"])]).await, Err(AcceptError::Full));
    assert_eq!(reason(&open), Some("min_free"));
    // What was accepted goes on.
    open.opened.outbox.settle(open.settlement(place, "a", 1, Standing::Delivered)).await;
    loop {
        if open.find("first").await.unwrap().deliveries[0].standing == Standing::Delivered {
            break;
        }
        tokio::task::yield_now().await;
    }
    bench.disk.free_bytes.store(5_000, Ordering::Relaxed);
    // Nobody posts anything meanwhile.
    bench.until("events are taken again", || reason(&open).is_none()).await;
    open.accept(vec![open.event("second", b"2", &["a"])]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_that_the_disk_refuses_are_owed_in_order_and_written_when_it_works_again() {
    let bench = Bench::new();
    {
        let open = bench.open();
        for id in ["e", "f"] {
            open.accept(vec![open.event(id, b"x", &["a"])]).await.unwrap();
        }
        let (e, f) = (open.find("e").await.unwrap().place, open.find("f").await.unwrap().place);
        bench.disk.writes_fail.store(true, Ordering::Relaxed);
        let again = Standing::Pending { next_at: START.plus_ms(9_000) };
        open.opened.outbox.settle(open.settlement(e, "a", 1, again)).await;
        bench.until("the disk is known to refuse", || reason(&open) == Some("failing")).await;
        open.opened.outbox.settle(open.settlement(e, "a", 2, Standing::Delivered)).await;
        open.opened.outbox.settle(open.settlement(f, "a", 1, Standing::Dead(DeadReason::Exhausted))).await;
        assert_eq!(open.accept(vec![open.event("g", b"x", &["a"])]).await, Err(AcceptError::Failed));
        bench.disk.writes_fail.store(false, Ordering::Relaxed);
        bench.until("the disk is known to work", || reason(&open).is_none()).await;
        let stored = open.find("e").await.unwrap();
        assert_eq!(stored.deliveries[0].standing, Standing::Delivered, "the last outcome counts");
        assert_eq!(stored.deliveries[0].attempts.len(), 2);
        open.accept(vec![open.event("g", b"x", &["a"])]).await.unwrap();
        open.opened.outbox.close().await;
    }
    let open = bench.open();
    assert_eq!(open.waiting.len(), 1, "only the last event waits still");
    assert!(open.opened.outbox.damages().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_too_many_outcomes_owed_attempts_wait() {
    let bench = Bench::new();
    let open = bench.open();
    open.accept(vec![open.event("e", b"x", &["a"])]).await.unwrap();
    let place = open.find("e").await.unwrap().place;
    bench.disk.writes_fail.store(true, Ordering::Relaxed);
    let outbox = open.opened.outbox.clone();
    let again = Standing::Pending { next_at: START };
    let settlement = || Settlement { attempt: None, ..open.settlement(place, "a", 1, again) };
    let mut settled = 0;
    // What is owed, and what waits in the queue behind it; then nothing is taken any more.
    let most = crate::limits::OWED_SETTLEMENTS_MAX + 2 * WRITER_QUEUE_MAX;
    while tokio::time::timeout(Duration::from_millis(500), outbox.settle(settlement())).await.is_ok() {
        settled += 1;
        assert!(settled < most, "the outbox takes outcomes without end");
    }
    assert!(settled >= crate::limits::OWED_SETTLEMENTS_MAX, "{settled}");
    bench.until("the disk is known to refuse", || reason(&open) == Some("failing")).await;
    bench.disk.writes_fail.store(false, Ordering::Relaxed);
    bench.until("the disk is known to work", || reason(&open).is_none()).await;
    tokio::time::timeout(Duration::from_secs(10), outbox.settle(settlement())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_does_not_come_back_when_its_generation_is_written_anew() {
    let bench = Bench::new();
    {
        let open = bench.open();
        open.accept(vec![open.event("kept", b"1", &["a"])]).await.unwrap();
        bench.disk.fsync_fails.store(true, Ordering::Relaxed);
        assert_eq!(open.accept(vec![open.event("refused", b"2", &["a"])]).await, Err(AcceptError::Failed));
        bench.disk.fsync_fails.store(false, Ordering::Relaxed);
        bench.until("the disk is known to work", || reason(&open).is_none()).await;
        let slot = open.opened.outbox.inner.store.slot(1).unwrap();
        bench.until("the generation is written anew", || slot.is_sealed()).await;
        assert!(open.find("refused").await.is_none());
        assert!(open.find("kept").await.is_some());
        assert!(open.opened.outbox.damages().is_empty(), "nothing is missing, so nothing is set aside");
        open.opened.outbox.close().await;
    }
    let open = bench.open();
    assert_eq!(open.waiting.len(), 1);
    assert!(open.find("refused").await.is_none());
}
