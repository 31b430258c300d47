//! The start: from summaries, without opening what they stand for.

use std::path::PathBuf;
use std::time::Duration;

use super::super::roll::Roll;
use super::*;

fn summary_of(bench: &Bench, no: u32) -> PathBuf {
    bench.dir.path().join(format!("data/outbox/{no:08}/summary"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_opens_no_sealed_generation_with_a_summary_or_without() {
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
    assert!(!store.is_open(first.generation), "what it needs of it stands in the summary");
    let second_open = store.slot(second.generation).unwrap().handle().generation.upgrade().unwrap();
    assert!(second_open.records_in_memory().is_some(), "it is read off its file");
    let waiting: Vec<_> = open.waiting.iter().map(|one| (one.delivery.event, one.delivery.endpoint)).collect();
    assert_eq!(waiting.len(), 6);
    assert!(!waiting.contains(&(first, open.endpoint("a"))));
    assert!(waiting.contains(&(first, open.endpoint("b"))));
    assert!(!waiting.contains(&(second, open.endpoint("b"))));
    // Its ids are known, and its events can be read.
    assert!(open.accept(vec![open.event("e0", &body(0, 900), &["a", "b"])]).await.unwrap()[0].duplicate);
    assert_eq!(open.find("e1").await.unwrap().event.content.body, body(1, 900));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_was_put_back_after_all_were_done_waits_after_the_start() {
    let mut bench = Bench::new();
    bench.generation_bytes = 500;
    let delivery;
    {
        let open = bench.open();
        open.accept(vec![open.event("e0", &body(0, 900), &["a"])]).await.unwrap();
        let place = open.find("e0").await.unwrap().place;
        let settlement = open.settlement(place, "a", 1, Standing::Delivered);
        delivery = settlement.delivery;
        open.opened.outbox.settle(settlement).await;
        let store = &open.opened.outbox.inner.store;
        let slot = store.slot(place.generation).unwrap();
        for _ in 0..400 {
            if slot.life(|life| life.marked_done) {
                break;
            }
            bench.clock.advance_ms(1_000);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(slot.life(|life| life.marked_done));
        assert_eq!(open.opened.outbox.replay(vec![delivery]).await, Ok(1));
        open.opened.outbox.close().await;
    }
    // The mark that all is done lies in the file still.
    let open = bench.open();
    assert_eq!(open.waiting.iter().map(|one| one.delivery).collect::<Vec<_>>(), [delivery]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_sealed_generations_are_known_with_their_file_without_it_and_with_half_of_it() {
    let mut bench = Bench::new();
    bench.generation_bytes = 500;
    let open = bench.open();
    let event = |n: usize| open.event(&format!("e{n}"), &body(n, 900), &["a"]);
    for n in 0..6 {
        open.accept(vec![event(n)]).await.unwrap();
    }
    let store = &open.opened.outbox.inner.store;
    let file = |n: u32| store.folder().generation(n).join("ids");
    // The last one is sealed after its event was acknowledged.
    while std::fs::metadata(file(6)).map_or(0, |file| file.len()) == 0 {
        tokio::task::yield_now().await;
    }
    for n in 0..6 {
        match n % 3 {
            0 => assert!(file(n + 1).exists()),
            1 => std::fs::remove_file(file(n + 1)).unwrap(),
            _ => std::fs::write(file(n + 1), &std::fs::read(file(n + 1)).unwrap()[..40]).unwrap(),
        }
    }
    for n in 0..6 {
        assert!(open.accept(vec![event(n)]).await.unwrap()[0].duplicate, "e{n}");
        assert!(file(n as u32 + 1).exists(), "e{n}: it is written anew where it was missing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_requests_with_one_id_at_once_one_is_stored_also_where_numbers_of_generations_were_given_in_vain() {
    for _ in 0..20 {
        let mut bench = Bench::new();
        bench.generation_bytes = 1_500;
        {
            let open = bench.open();
            open.accept(vec![open.event("first", b"1", &["a"])]).await.unwrap();
            let mut roll = Roll::open(open.opened.outbox.inner.store.folder(), &[1]).0;
            roll.add(7).unwrap();
            roll.remove(7).unwrap();
            open.opened.outbox.close().await;
        }
        let open = bench.open();
        let outbox = &open.opened.outbox;
        // It fills the generation that is gone on with.
        let event = || outbox.accept(vec![open.event("twin", &body(0, 2_000), &["a"])]);
        let (one, two, three) = tokio::join!(event(), event(), event());
        let fresh = [one, two, three].into_iter().filter(|one| !one.as_ref().unwrap()[0].duplicate).count();
        assert_eq!(fresh, 1);
    }
}
