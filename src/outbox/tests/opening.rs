//! What opening, reading and removing a generation may meet: a disk that refuses, one that does not answer, a crash, damage.

use std::time::Duration;

use super::*;

/// An outbox with a sealed generation, 1, that holds `old`, and a current one.
async fn with_a_sealed_one(bench: &mut Bench) -> Open {
    bench.generation_bytes = 1_000;
    let open = bench.open();
    open.accept(vec![open.event("old", &body(1, 2_000), &["a"])]).await.unwrap();
    bench.until("it is sealed", || open.store().slot(1).is_some_and(|slot| slot.is_sealed())).await;
    open
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opens_an_old_generation_for_long_holds_no_event_up() {
    let mut bench = Bench::new();
    let open = with_a_sealed_one(&mut bench).await;
    let slot = open.store().slot(1).unwrap();
    let (opened, until) = std::sync::mpsc::channel::<()>();
    let (opens, begun) = tokio::sync::oneshot::channel();
    let opening = std::thread::spawn(move || {
        let _handle = slot.handle();
        opens.send(()).unwrap();
        // As long as it takes.
        let _ = until.recv();
    });
    begun.await.unwrap();
    for n in 0..5 {
        // Housekeeping comes in between.
        bench.clock.advance_ms(1_000);
        let accepted = open.accept(vec![open.event(&format!("new-{n}"), b"x", &["a"])]);
        tokio::time::timeout(Duration::from_secs(20), accepted).await.expect("the writer waits").unwrap();
    }
    drop(opened);
    opening.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_disk_does_not_tell_of_just_now_is_not_taken_for_one_that_is_gone() {
    let mut bench = Bench::new();
    let open = with_a_sealed_one(&mut bench).await;
    open.store().forget(1, None);
    let db = bench.dir.path().join("data/outbox/00000001/db");
    let kept = bench.dir.path().join("kept");
    std::fs::rename(&db, &kept).unwrap();
    // Asking for it is an error now (ELOOP), as for any file on a disk that does not answer.
    std::os::unix::fs::symlink(&db, &db).unwrap();
    let id = EventId::parse("old").unwrap();
    for _ in 0..5 {
        bench.clock.advance_ms(1_000);
        let found = open.opened.outbox.find(&id).await;
        assert!(matches!(found, Err(ReadError::Unavailable(_))), "{found:?}");
    }
    std::fs::remove_file(&db).unwrap();
    std::fs::rename(&kept, &db).unwrap();
    assert!(open.find("old").await.is_some());
    assert!(open.opened.outbox.damages().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_past_the_last_one_is_damage_and_no_panic() {
    for kind in [keys::STATES, keys::ATTEMPTS, keys::HEADS] {
        let bench = Bench::new();
        let open = bench.open();
        open.accept(vec![open.event("kept", b"x", &["a"])]).await.unwrap();
        let stored = open.store().open(&open.store().slot(1).unwrap()).unwrap();
        let mut heads = Vec::new();
        stored.scan_records(keys::HEADS, |_, value| heads.push(value)).unwrap();
        drop(stored);
        let mark = open.store().folder().mark();
        open.opened.outbox.close().await;
        drop(open);
        {
            let engine = engine::reopen(&bench.dir.path().join("data/outbox/00000001"));
            for number in [u64::from(u32::MAX), u64::MAX] {
                let key = keys::key(kind, number);
                let payload = frame::open(&keys::key(keys::HEADS, 0), &heads[0]).unwrap();
                let mut value = frame::begin(payload.len());
                value.extend_from_slice(payload);
                engine.put(&key, frame::close(mark, &key, value)).unwrap();
            }
            engine.sync().unwrap();
        }
        let open = bench.open();
        open.mended(&bench.clock).await;
        assert!(open.find("kept").await.is_some(), "{}", char::from(kind));
        open.accept(vec![open.event("next", b"y", &["a"])]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_a_crash_cut_short_is_finished_and_nothing_is_missed() {
    let mut bench = Bench::new();
    let outbox = bench.dir.path().join("data/outbox");
    {
        let open = with_a_sealed_one(&mut bench).await;
        open.accept(vec![open.event("new", b"x", &["a"])]).await.unwrap();
        open.opened.outbox.close().await;
    }
    // As it is before the roll is written: the folder that was emptied tells that the generation is not missed.
    std::fs::remove_dir_all(outbox.join("00000001")).unwrap();
    std::fs::create_dir(outbox.join("00000001.removed")).unwrap();
    for _ in 0..2 {
        let open = bench.open();
        assert!(open.opened.outbox.damages().is_empty());
        assert!(open.find("new").await.is_some());
        assert!(!outbox.join("00000001.removed").exists());
        open.opened.outbox.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_disk_that_refuses_an_old_generation_is_read_without_the_engine_and_later_with_it() {
    let mut bench = Bench::new();
    {
        let open = with_a_sealed_one(&mut bench).await;
        let place = open.find("old").await.unwrap().place;
        let again = Standing::Pending { next_at: START.plus_ms(9_000) };
        open.opened.outbox.settle(open.settlement(place, "a", 1, again)).await;
        open.opened.outbox.close().await;
    }
    let open = bench.open();
    let slot = open.store().slot(1).unwrap();
    bench.disk.writes_fail.store(true, Ordering::Relaxed);
    open.store().forget(1, None);
    // The engine is let at no file that it cannot lock: here somebody else has it.
    let engine = engine::reopen(&bench.dir.path().join("data/outbox/00000001"));
    let read = {
        let store = Arc::clone(open.store());
        tokio::task::spawn_blocking(move || store.open(&store.slot(1).unwrap())).await.unwrap().unwrap()
    };
    assert!(read.is_read_only());
    let stored = open.find("old").await.unwrap();
    assert_eq!(stored.event.content.body, body(1, 2_000));
    assert_eq!(stored.deliveries[0].attempts.len(), 1);
    // Its id is known still.
    let twice = open.accept(vec![open.event("old", &body(1, 2_000), &["a"])]).await;
    assert!(matches!(twice.as_deref(), Ok([Accepted { duplicate: true, .. }])), "{twice:?}");
    drop((engine, read));
    bench.disk.writes_fail.store(false, Ordering::Relaxed);
    open.opened.outbox.settle(open.settlement(stored.place, "a", 2, Standing::Delivered)).await;
    bench.until("the outcome is written", || slot.life(|life| life.pending) == 0).await;
    assert_eq!(open.find("old").await.unwrap().deliveries[0].standing, Standing::Delivered);
    assert!(open.opened.outbox.damages().is_empty());
}
