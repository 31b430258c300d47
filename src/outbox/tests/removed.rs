//! A generation that goes is told, however it goes.

use super::*;

impl Open {
    /// The next thing told that is no event; nothing where there is none yet.
    pub(super) fn news(&mut self) -> Option<News> {
        loop {
            match self.opened.news.try_recv().ok()? {
                News::Accepted(_) => {}
                other => return Some(other),
            }
        }
    }

    /// Which generation is told to be removed next.
    async fn removed(&mut self, bench: &Bench) -> u32 {
        let mut told = None;
        bench
            .until("a generation is told to be removed", || {
                told = told.take().or_else(|| self.news());
                told.is_some()
            })
            .await;
        match told {
            Some(News::Removed { generation }) => generation,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn past_retention_it_is_told_once_also_where_it_was_rescued_before() {
    let mut bench = Bench::new();
    (bench.generation_bytes, bench.retention_ms) = (1_000, 20_000);
    let mut open = bench.open();
    for n in 0..2 {
        open.accept(vec![open.event(&format!("e{n}"), &body(n, 900), &["a"])]).await.unwrap();
    }
    let place = open.find("e0").await.unwrap().place;
    let slot = open.store().slot(1).unwrap();
    bench.disk.fsync_fails.store(true, Ordering::Relaxed);
    {
        let generation = open.store().open(&slot).unwrap();
        assert!(generation.sync().is_err());
        open.store().forget(1, None);
    }
    bench.disk.fsync_fails.store(false, Ordering::Relaxed);
    open.settle(place, "a", Standing::Dead(DeadReason::Exhausted)).await;
    bench.until("it is rescued", || slot.handle().rescues == 1).await;
    assert_eq!(open.removed(&bench).await, 1);
    for _ in 0..40 {
        bench.clock.advance_ms(1_000);
        open.find("e1").await.unwrap();
    }
    assert!(open.news().is_none(), "the other one is pending");
    assert!(open.store().slot(1).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_goes_missing_while_the_daemon_runs_is_told() {
    let mut bench = Bench::new();
    bench.generation_bytes = 1_000;
    let mut open = bench.open();
    for n in 0..2 {
        open.accept(vec![open.event(&format!("e{n}"), &body(n, 900), &["a"])]).await.unwrap();
    }
    std::fs::remove_dir_all(bench.generation(1)).unwrap();
    assert_eq!(open.removed(&bench).await, 1);
    assert_eq!(open.opened.outbox.damages().len(), 1);
    assert!(open.find("e0").await.is_none());
    assert!(open.find("e1").await.is_some());
}
