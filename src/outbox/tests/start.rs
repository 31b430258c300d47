//! The start: from summaries, without opening what they stand for.

use std::path::PathBuf;
use std::time::Duration;

use super::*;

fn summary_of(bench: &Bench, no: u32) -> PathBuf {
    bench.dir.path().join(format!("data/outbox/{no:08}/summary"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_generation_is_summarised_and_the_start_does_not_open_it() {
    let mut bench = Bench::new();
    bench.generation_bytes = 2_000;
    let (first, second);
    {
        let open = bench.open();
        for n in 0..4 {
            open.accept(vec![open.event(&format!("e{n}"), &body(n, 900), &["a", "b"])]).await.unwrap();
        }
        first = open.find("e0").await.unwrap().place;
        open.opened.outbox.settle(open.settlement(first, "a", 1, Standing::Delivered)).await;
        for _ in 0..400 {
            if summary_of(&bench, 1).exists() && summary_of(&bench, 2).exists() {
                break;
            }
            bench.clock.advance_ms(1_000);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(summary_of(&bench, 1).exists() && summary_of(&bench, 2).exists());
        // The next thing that happens to it makes it untrue.
        second = open.find("e2").await.unwrap().place;
        open.opened.outbox.settle(open.settlement(second, "b", 1, Standing::Delivered)).await;
        open.opened.outbox.close().await;
        assert!(summary_of(&bench, first.generation).exists());
        assert!(!summary_of(&bench, second.generation).exists());
    }
    let open = bench.open();
    let store = &open.opened.outbox.inner.store;
    assert!(!store.is_open(first.generation), "a generation with a summary is not opened");
    assert!(store.is_open(second.generation));
    let waiting: Vec<_> = open.waiting.iter().map(|one| (one.delivery.event, one.delivery.endpoint)).collect();
    assert_eq!(waiting.len(), 6);
    assert!(!waiting.contains(&(first, open.endpoint("a"))));
    assert!(waiting.contains(&(first, open.endpoint("b"))));
    assert!(!waiting.contains(&(second, open.endpoint("b"))));
    // Its ids are known, and its events can be read.
    assert!(open.accept(vec![open.event("e0", &body(0, 900), &["a", "b"])]).await.unwrap()[0].duplicate);
    assert_eq!(open.find("e1").await.unwrap().event.content.body, body(1, 900));
}
