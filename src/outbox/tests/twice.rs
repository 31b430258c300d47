//! Damage to what a rescue left behind, and to the last pack of a large commit.

use super::*;

/// Flips a byte of every record that holds the text.
fn spoil(dir: &Path, text: &[u8]) {
    let db = dir.join("db");
    let mut bytes = std::fs::read(&db).unwrap();
    let places: Vec<usize> = memchr::memmem::find_iter(&bytes, text).collect();
    assert!(!places.is_empty(), "{}", String::from_utf8_lossy(text));
    for at in places {
        bytes[at] ^= 1;
    }
    std::fs::write(db, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_is_damaged_again_after_its_rescue_is_told_again() {
    let bench = Bench::new();
    let dir = bench.dir.path().join("data/outbox/00000001");
    let text = |n: usize| format!("body number {n:05} ").repeat(1_500);
    {
        let open = bench.open();
        for n in 0..10 {
            open.accept(vec![open.event(&format!("e{n}"), text(n).as_bytes(), &["a"])]).await.unwrap();
        }
        open.opened.outbox.close().await;
    }
    for (round, n) in [(1, 3), (2, 7)] {
        spoil(&dir, format!("body number {n:05}").as_bytes());
        let open = bench.open();
        let damages = open.opened.outbox.damages();
        assert_eq!(damages.len(), round, "{damages:?}");
        assert!(damages[round - 1].loss.without_body.contains(&format!("e{n}")), "{damages:?}");
        for other in (0..10).filter(|other| ![3, 7].contains(other)) {
            assert!(open.find(&format!("e{other}")).await.unwrap().event.content.body == text(other), "{other}");
        }
        open.opened.outbox.close().await;
        // What was told is not told as new by the next start.
        let open = bench.open();
        assert_eq!(open.opened.outbox.damages(), damages);
        open.opened.outbox.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_commit_that_lost_its_last_pack_of_heads_the_others_are_kept() {
    let bench = Bench::new();
    {
        let open = bench.open();
        let events = (0..600).map(|n| open.event(&format!("{n:0>100}"), b"x", &["a"])).collect();
        open.accept(events).await.unwrap();
        open.opened.outbox.close().await;
    }
    spoil(&bench.dir.path().join("data/outbox/00000001"), format!("{:0>100}", 599).as_bytes());
    let open = bench.open();
    let damages = open.opened.outbox.damages();
    let loss = &damages[0].loss;
    assert!(loss.events_lost > 0 && loss.events_lost < 200 && loss.events_kept + loss.events_lost == 600, "{loss:?}");
    let mut kept = 0;
    for n in 0..600 {
        kept += u64::from(open.find(&format!("{n:0>100}")).await.is_some());
    }
    assert_eq!(kept, loss.events_kept);
    assert_eq!(open.waiting.len() as u64, kept);
}
