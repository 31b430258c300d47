//! Settings that change while the outbox is open count at once.

use super::*;

fn settings(bench: &Bench) -> StorageSettings {
    StorageSettings {
        retention_ms: bench.retention_ms,
        size_bytes_max: bench.size_bytes_max,
        free_bytes_min: bench.free_bytes_min,
        durability: Durability::Fsync,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_limit_is_judged_by_at_once() {
    let bench = Bench::new();
    bench.disk.free_bytes.store(5_000, Ordering::Relaxed);
    let mut open = bench.open();
    let event = |open: &Open, n: usize| vec![open.event(&format!("e{n}"), &body(n, 900), &["a"])];
    open.accept(event(&open, 0)).await.unwrap();
    let outbox = open.opened.outbox.clone();
    let usual = settings(&bench);
    outbox.configure(StorageSettings { size_bytes_max: 1_000, ..usual }).await;
    assert_eq!(outbox.condition().reason(), Some("max_size"));
    assert!(matches!(open.news(), Some(News::StorageLow(StorageLow { reason: "max_size", bytes_limit: 1_000, .. }))));
    assert_eq!(open.accept(event(&open, 1)).await, Err(AcceptError::Full));
    outbox.configure(usual).await;
    assert_eq!((outbox.condition(), open.metrics.storage_low.get()), (Condition::Open, 0));
    outbox.configure(StorageSettings { free_bytes_min: Some(5_001), ..usual }).await;
    assert_eq!(outbox.condition().reason(), Some("min_free"));
    outbox.configure(usual).await;
    open.accept(event(&open, 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_retention_lets_generations_go_at_once() {
    let mut bench = Bench::new();
    bench.generation_bytes = 1_000;
    let open = bench.open();
    open.accept(vec![open.event("e0", &body(0, 900), &[])]).await.unwrap();
    bench.clock.advance_ms(10_000);
    open.opened.outbox.configure(StorageSettings { retention_ms: 10_001, ..settings(&bench) }).await;
    assert!(open.store().slot(1).is_some());
    open.opened.outbox.configure(StorageSettings { retention_ms: 10_000, ..settings(&bench) }).await;
    assert!(open.store().slot(1).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_durability_counts_from_the_next_commit_on() {
    let bench = Bench::new();
    let open = bench.open();
    let event = |n: usize| vec![open.event(&format!("e{n}"), b"x", &["a"])];
    open.accept(event(0)).await.unwrap();
    open.opened.outbox.configure(StorageSettings { durability: Durability::Interval, ..settings(&bench) }).await;
    bench.disk.fsync_fails.store(true, Ordering::Relaxed);
    open.accept(event(1)).await.unwrap();
    bench.disk.fsync_fails.store(false, Ordering::Relaxed);
    open.opened.outbox.configure(settings(&bench)).await;
    bench.disk.fsync_fails.store(true, Ordering::Relaxed);
    assert_eq!(open.accept(event(2)).await, Err(AcceptError::Failed));
}

#[test]
fn settings_are_those_of_the_config() {
    let storage = config::Storage { retention_ms: 1, size_bytes_max: 2, free_bytes_min: Some(3), ..Default::default() };
    let durability = Durability::Fsync;
    let expected = StorageSettings { retention_ms: 1, size_bytes_max: 2, free_bytes_min: Some(3), durability };
    assert_eq!(StorageSettings::from(&storage), expected);
}
