//! Damage of every kind to a closed folder: the outbox opens all the same, nothing that is left on the disk is lost, and
//! what is lost is named.

use std::fs;
use std::path::PathBuf;

use super::*;

/// Events of the folder that is damaged, and how large their bodies are.
const EVENTS: usize = 60;

/// How a round damages a folder.
#[derive(Clone, Copy, Debug)]
enum Blow {
    FlipByte,
    ZeroPage,
    ZeroTail,
    Truncate,
    DeleteFile(&'static str),
    DeleteGeneration,
    LeaveSnapshot,
}

fn len_of(n: usize) -> usize {
    [0, 5, 700, 3_000, 20_000, 90_000][n % 6]
}

/// A folder with several generations, some deliveries finished, some not; closed in order.
async fn furnished(bench: &Bench) -> PathBuf {
    let open = bench.open();
    for n in 0..EVENTS {
        let new = open.event(&format!("e{n}"), &body(n, len_of(n)), &["a", "b"]);
        open.accept(vec![new]).await.unwrap();
        if n % 3 == 0 {
            let place = open.find(&format!("e{n}")).await.unwrap().place;
            open.opened.outbox.settle(open.settlement(place, "a", 1, Standing::Delivered)).await;
        }
    }
    open.opened.outbox.close().await;
    bench.dir.path().join("data")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn strike(blow: Blow, data: &Path, random: &mut fastrand::Rng) {
    let mut generations: Vec<PathBuf> =
        fs::read_dir(data.join("outbox")).unwrap().map(|entry| entry.unwrap().path()).collect();
    generations.sort();
    let dir = &generations[random.usize(..generations.len())];
    let db = dir.join("db");
    let mut bytes = fs::read(&db).unwrap();
    // sled makes its file larger than what it holds.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    let at = random.usize(..used);
    match blow {
        Blow::FlipByte => bytes[at] ^= 1 << random.u8(..8),
        Blow::ZeroPage => bytes[at / 4096 * 4096..].iter_mut().take(4096).for_each(|byte| *byte = 0),
        Blow::ZeroTail => bytes[at..].fill(0),
        Blow::Truncate => bytes.truncate(at),
        Blow::DeleteFile(name) => return fs::remove_file(dir.join(name)).unwrap_or(()),
        Blow::DeleteGeneration => return fs::remove_dir_all(dir).unwrap(),
        Blow::LeaveSnapshot => return fs::write(dir.join("snap.00000000000000FF.generating"), &bytes[..at]).unwrap(),
    }
    fs::write(&db, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_damaged_the_outbox_opens_and_names_what_is_lost() {
    let mut whole = Bench::new();
    whole.generation_bytes = 300_000;
    let data = furnished(&whole).await;
    let seed =
        std::env::var("DAMAGE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    let rounds = std::env::var("DAMAGE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(80);
    println!("DAMAGE_SEED={seed} DAMAGE_ROUNDS={rounds}");
    let mut random = fastrand::Rng::with_seed(seed);
    let blows = [
        Blow::FlipByte,
        Blow::ZeroPage,
        Blow::ZeroTail,
        Blow::Truncate,
        Blow::DeleteFile("db"),
        Blow::DeleteFile("conf"),
        Blow::DeleteFile("durable"),
        Blow::DeleteGeneration,
        Blow::LeaveSnapshot,
    ];
    let mut told: std::collections::BTreeMap<String, [usize; 4]> = std::collections::BTreeMap::new();
    for round in 0..rounds {
        let mut bench = Bench::new();
        bench.generation_bytes = whole.generation_bytes;
        copy(&data, &bench.dir.path().join("data"));
        let blow = if round % 2 == 0 { Blow::FlipByte } else { blows[random.usize(..blows.len())] };
        strike(blow, &bench.dir.path().join("data"), &mut random);
        let what = format!("DAMAGE_SEED={seed}, round {round}, {blow:?}");
        let lost = check(&bench, &what).await;
        // What was found is told again at the next start, and no more is lost then.
        let again = check(&bench, &format!("{what}, opened again")).await;
        assert_eq!(lost, again, "{what}");
        let line = told.entry(format!("{blow:?}")).or_default();
        let aside = usize::from(!bench.open().opened.outbox.damages().is_empty());
        for (sum, one) in line.iter_mut().zip([1, aside, lost.0, lost.1]) {
            *sum += one;
        }
    }
    println!("blow: rounds, with a generation set aside, events lost, events without body (of {EVENTS} each)");
    for (blow, [rounds, aside, lost, bodiless]) in &told {
        println!("{blow}: {rounds}, {aside}, {lost}, {bodiless}");
    }
    assert!(told.values().map(|line| line[1]).sum::<usize>() > 0, "no blow did any damage");
}

/// Opens the outbox, reads everything, and returns how many events are lost and how many have no body any more.
async fn check(bench: &Bench, what: &str) -> (usize, usize) {
    let open = bench.try_open().unwrap_or_else(|error| panic!("{what}: {error}"));
    let (mut missing, mut bodiless) = (Vec::new(), Vec::new());
    // A reader may meet the damage first; the writer mends it within a second of its clock.
    for n in 0..EVENTS {
        let id = EventId::parse(&format!("e{n}")).unwrap();
        let found = loop {
            match open.opened.outbox.find(&id).await {
                Ok(found) => break found,
                Err(error) => {
                    assert!(
                        matches!(error, ReadError::Unavailable(_) | ReadError::Damaged(_) | ReadError::Engine(_)),
                        "{what}: {error}"
                    );
                    bench.clock.advance_ms(1_000);
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
            }
        };
        match found {
            None => missing.push(n),
            Some(found) if found.body_lost => bodiless.push(n),
            Some(found) => {
                assert!(found.event.content.body == body(n, len_of(n)), "{what}: another body of e{n}");
                assert_eq!(found.deliveries.len(), 2, "{what}: e{n}");
                let state = found.deliveries[1].standing.state();
                assert_eq!(state, DeliveryState::Pending, "{what}: e{n} was delivered to nobody");
            }
        }
    }
    let damages = open.opened.outbox.damages();
    let told: u64 = damages.iter().map(|damage| damage.loss.events_lost).sum();
    let unknown = damages.iter().any(|damage| damage.loss.unknown);
    assert!(unknown || told as usize >= missing.len(), "{what}: {missing:?} are lost without a word: {damages:?}");
    for n in &bodiless {
        let named = damages.iter().any(|damage| damage.loss.without_body.contains(&format!("e{n}")));
        assert!(named, "{what}: the body of e{n} is lost without a word: {damages:?}");
    }
    // It goes on: what is new is stored, and what waits and can be sent is on the schedule.
    let fresh = open.accept(vec![open.event("fresh", b"x", &["a"])]).await;
    assert!(fresh.is_ok(), "{what}: {fresh:?}");
    let waiting: std::collections::BTreeSet<_> = open.waiting.iter().map(|one| one.delivery).collect();
    assert_eq!(waiting.len(), open.waiting.len(), "{what}: each once");
    open.opened.outbox.close().await;
    (missing.len(), bodiless.len())
}

/// Spoils every place in the database of generation 1 where `text` stands.
fn spoil(bench: &Bench, text: &str) {
    let path = bench.dir.path().join("data/outbox/00000001/db");
    let mut bytes = fs::read(&path).unwrap();
    let found: Vec<usize> = memchr::memmem::find_iter(&bytes, text.as_bytes()).collect();
    assert!(!found.is_empty(), "{text} is not there");
    for at in found {
        bytes[at] ^= 0x20;
    }
    fs::write(path, bytes).unwrap();
}

/// The same event each time, so that its place in the file is known by what stands there.
async fn with_events(bench: &Bench, count: usize) {
    let open = bench.open();
    for n in 0..count {
        let body = format!("the body of number {n}, and nobody else's");
        open.accept(vec![open.event(&format!("event-number-{n}"), body.as_bytes(), &["a"])]).await.unwrap();
    }
    open.opened.outbox.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_was_rescued_before_names_what_it_loses_the_next_time() {
    let bench = Bench::new();
    with_events(&bench, 6).await;
    let mut told = 0;
    for (n, spoilt) in ["event-number-1", "the body of number 3", "event-number-4"].iter().enumerate() {
        spoil(&bench, spoilt);
        for again in ["found", "opened again"] {
            let open = bench.open();
            let damages = open.opened.outbox.damages();
            assert_eq!(damages.len(), n + 1, "{spoilt}, {again}: {damages:?}");
            let last = &damages[n].loss;
            let lost = (last.events_lost, last.without_body.len());
            assert_eq!(lost, if n == 1 { (0, 1) } else { (1, 0) }, "{spoilt}, {again}: each is told once: {last:?}");
            open.opened.outbox.close().await;
            told = damages.len();
        }
    }
    assert_eq!(told, 3);
    let open = bench.open();
    assert!(open.find("event-number-1").await.is_none());
    assert!(open.find("event-number-3").await.unwrap().body_lost);
    assert!(!open.find("event-number-2").await.unwrap().body_lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_an_endpoint_that_is_lost_is_a_loss() {
    let bench = Bench::new();
    {
        let open = bench.open();
        open.accept(vec![open.event("e", b"x", &["the-only-endpoint"])]).await.unwrap();
        open.opened.outbox.close().await;
    }
    spoil(&bench, "the-only-endpoint");
    let open = bench.open();
    let damages = open.opened.outbox.damages();
    assert_eq!(damages.len(), 1);
    assert!(!damages[0].loss.is_none(), "its delivery goes to nobody any more");
    assert!(damages[0].loss.to_string().contains("1 endpoint"), "{}", damages[0].loss);
    let stored = open.find("e").await.unwrap();
    assert_eq!(stored.deliveries[0].endpoint.as_str(), "lost-name-0");
    open.opened.outbox.close().await;
    drop(open);
    assert_eq!(bench.open().opened.outbox.damages(), damages, "told again, and no more");
}
