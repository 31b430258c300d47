//! An outcome of an older generation is never missing while a younger one's is there, which `order = "key"` relies on.

use super::*;
use crate::limits::OWED_SETTLEMENTS_MAX;

/// Two events: `old` in generation 1, which is sealed, `young` in generation 2, which takes events.
async fn two_generations(bench: &mut Bench) -> (Open, EventRef, EventRef) {
    bench.generation_bytes = 20_000;
    let open = bench.open();
    open.accept(vec![open.event("old", &body(1, 25_000), &["a"])]).await.unwrap();
    bench.until("it is sealed", || open.store().slot(1).is_some_and(|slot| slot.is_sealed())).await;
    open.accept(vec![open.event("young", b"x", &["a"])]).await.unwrap();
    let (old, young) = (open.find("old").await.unwrap().place, open.find("young").await.unwrap().place);
    assert_eq!((old.generation, young.generation), (1, 2));
    (open, old, young)
}

impl Open {
    async fn is_delivered(&self, id: &str) -> bool {
        self.find(id).await.unwrap().deliveries[0].standing == Standing::Delivered
    }

    async fn delivered(&self, id: &str) {
        while !self.is_delivered(id).await {
            tokio::task::yield_now().await;
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_keeps_of_an_older_generation_is_handed_over_before_a_younger_one_is_written_to() {
    let mut bench = Bench::new();
    let (open, old, young) = two_generations(&mut bench).await;
    let older = open.store().open(&open.store().slot(1).unwrap()).unwrap();
    assert!(older.records_in_memory().is_none(), "it is open in the engine still");
    // The clock stands still: nothing is synced meanwhile.
    open.settle(old, "a", Standing::Delivered).await;
    open.delivered("old").await;
    assert!(older.buffers(), "the engine keeps it to itself");
    open.settle(young, "a", Standing::Delivered).await;
    open.delivered("young").await;
    assert!(!older.buffers());
    // A commit hands over what the younger one has.
    open.accept(vec![open.event("next", b"x", &[])]).await.unwrap();
    let killed = Bench { generation_bytes: bench.generation_bytes, ..Bench::new() };
    copy(&bench.dir.path().join("data"), &killed.dir.path().join("data"));
    let after = killed.open();
    assert!(after.is_delivered("young").await);
    assert!(after.is_delivered("old").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_an_older_generation_refuses_the_outcomes_of_younger_ones_wait_but_not_for_ever() {
    let mut bench = Bench::new();
    {
        let (open, ..) = two_generations(&mut bench).await;
        open.opened.outbox.close().await;
    }
    let open = bench.open();
    let (old, young) = (open.find("old").await.unwrap().place, open.find("young").await.unwrap().place);
    // Asking for the file that is appended to is an error now (ELOOP).
    let later = bench.generation(1).join("later");
    std::os::unix::fs::symlink(&later, &later).unwrap();
    open.store().forget(1, None);
    open.settle(old, "a", Standing::Delivered).await;
    open.settle(young, "a", Standing::Delivered).await;
    bench.until("both are owed", || open.metrics.settlements_owed.get() == 2).await;
    for _ in 0..5 {
        bench.clock.advance_ms(1_000);
        assert!(!open.is_delivered("young").await, "it would be there without the older one's");
    }
    std::fs::remove_file(&later).unwrap();
    bench.until("they are written", || open.metrics.settlements_owed.get() == 0).await;
    assert!(open.is_delivered("old").await && open.is_delivered("young").await);
    // One damaged generation must not stop the rest.
    open.accept(vec![open.event("next", b"x", &["a"])]).await.unwrap();
    let next = open.find("next").await.unwrap().place;
    let kept = bench.dir.path().join("kept");
    std::fs::rename(&later, &kept).unwrap();
    std::os::unix::fs::symlink(&later, &later).unwrap();
    open.store().forget(1, None);
    let again = Standing::Pending { next_at: START };
    for _ in 0..=OWED_SETTLEMENTS_MAX / 2 {
        open.opened.outbox.settle(Settlement { attempt: None, ..open.settlement(old, "a", 1, again) }).await;
    }
    open.settle(next, "a", Standing::Delivered).await;
    let owed = i64::try_from(OWED_SETTLEMENTS_MAX / 2 + 1).unwrap();
    bench.until("only the older one's are owed", || open.metrics.settlements_owed.get() == owed).await;
    for _ in 0..400 {
        if open.is_delivered("next").await {
            return;
        }
        bench.clock.advance_ms(500);
    }
    panic!("the younger one waits for ever");
}
