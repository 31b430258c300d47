//! Room that runs out is told before events are refused.

use super::*;

impl Open {
    fn low(&mut self) -> Option<StorageLow> {
        match self.news()? {
            News::StorageLow(low) => Some(low),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_near_its_limit_is_told_once_and_before_an_event_is_refused() {
    let mut bench = Bench::new();
    (bench.generation_bytes, bench.retention_ms, bench.size_bytes_max) = (500_000, 60_000, 20_000_000);
    let mut open = bench.open();
    let mut count = 0;
    loop {
        let accepted = open.accept(vec![open.event(&format!("e{count}"), &body(count, 100_000), &[])]).await;
        if accepted == Err(AcceptError::Full) {
            break;
        }
        count += 1;
        assert!(accepted.is_ok() && count < 1_000, "{accepted:?}");
    }
    let low = open.low().expect("it was told before");
    assert_eq!((low.reason, low.bytes_limit), ("max_size", 20_000_000));
    assert!((18_000_000..20_000_000).contains(&low.bytes), "{low:?}");
    assert_eq!(open.low(), None);
    bench.until("events are taken again", || open.opened.outbox.condition().reason().is_none()).await;
    bench.until("there is room again", || open.metrics.storage_low.get() == 0).await;
    while !matches!(open.news(), None | Some(News::StorageLow(_))) {}
    let metrics = Arc::clone(&open.metrics);
    while metrics.storage_low.get() == 0 {
        count += 1;
        open.accept(vec![open.event(&format!("e{count}"), &body(count, 100_000), &[])]).await.unwrap();
    }
    let told = std::iter::from_fn(|| open.news()).filter(|news| matches!(news, News::StorageLow(_))).count();
    assert_eq!(told, 1, "there was room meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_near_its_floor_is_told_once_until_there_is_more_also_at_the_start() {
    let mut bench = Bench::new();
    bench.free_bytes_min = Some(1_000);
    let free = |bytes: u64| bench.disk.free_bytes.store(bytes, Ordering::Relaxed);
    free(1_999);
    let mut open = bench.open();
    let low = StorageLow { reason: "min_free", bytes: 1_999, bytes_limit: 1_000 };
    assert_eq!((open.low(), open.metrics.storage_low.get()), (Some(low), 1));
    let event = |open: &Open, n: usize| vec![open.event(&format!("e{n}"), b"x", &["a"])];
    for (n, bytes, told, gauge) in [
        (0, 1_500, None, 1),
        (1, 2_500, None, 1),
        (2, 1_999, None, 1),
        (3, 2_501, None, 0),
        (4, 1_998, Some(StorageLow { bytes: 1_998, ..low }), 1),
        (5, 1_000, None, 1),
    ] {
        free(bytes);
        open.accept(event(&open, n)).await.unwrap();
        assert_eq!((open.low(), open.metrics.storage_low.get()), (told, gauge), "step {n}");
    }
    free(999);
    assert_eq!(open.accept(event(&open, 6)).await, Err(AcceptError::Full));
    free(1 << 40);
    // Nobody posts anything meanwhile.
    bench.until("there is room", || open.metrics.storage_low.get() == 0).await;
    assert!(open.metrics.text().contains("webhookd_storage_low 0"));
    free(0);
    bench.until("it is told again", || open.metrics.storage_low.get() == 1).await;
    assert_eq!(open.low().map(|low| low.bytes), Some(0));
}
