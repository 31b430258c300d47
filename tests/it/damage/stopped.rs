//! Damage done while the daemon is stopped, and what a crash may leave half done.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::scene::{GENERATIONS, Scene, copy, events_of, folder, template, used};

/// Plays scenes and prints what came of each.
fn play(scenes: impl IntoIterator<Item = (String, PathBuf, Box<dyn FnOnce(&Path)>, Bound)>) {
    let mut lines = String::new();
    for (what, from, strike, bound) in scenes {
        let scene = Scene::new(&what, &from);
        strike(&scene.daemon.data());
        let fate = scene.play(&mut lines);
        let lost: BTreeSet<String> = fate.missing.union(&fate.bodiless).cloned().collect();
        match bound {
            Bound::Nothing => assert!(lost.is_empty(), "{what}: {lost:?} lost"),
            Bound::Of(generations) => {
                assert!(lost.is_subset(&events_of(&generations)), "{what}: {lost:?} lost");
            }
            Bound::All(generations) => {
                assert_eq!(lost, events_of(&generations), "{what}");
            }
        }
    }
    print!("{lines}");
}

/// What a blow may cost.
enum Bound {
    Nothing,
    /// At most the events of these generations.
    Of(Vec<u32>),
    /// Just these.
    All(Vec<u32>),
}

type Strike = Box<dyn FnOnce(&Path)>;

fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    let at = at as usize % bytes.len();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn random() -> fastrand::Rng {
    let given = std::env::var("DAMAGE_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("DAMAGE_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

#[test]
fn a_flipped_byte_a_torn_tail_or_a_zeroed_page_costs_at_most_what_it_hits_and_that_is_named() {
    let template = template();
    let mut random = random();
    let rounds: usize = std::env::var("DAMAGE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let mut scenes: Vec<(String, PathBuf, Strike, Bound)> = Vec::new();
    for round in 0..rounds {
        let generation = random.u32(1..=GENERATIONS);
        let (word, from) = if random.bool() { ("killed", &template.killed) } else { ("stopped", &template.stopped) };
        let db = format!("outbox/{generation:08}/db");
        let at = random.usize(..used(&from.join(&db)));
        let (kind, strike): (&str, Strike) = match round % 4 {
            0 | 1 => ("a byte flipped", Box::new(move |data| flip(&data.join(db), at as u64))),
            2 => (
                "torn",
                Box::new(move |data| {
                    let file = fs::File::options().write(true).open(data.join(db)).unwrap();
                    file.set_len(at as u64).unwrap();
                }),
            ),
            _ => (
                "a page zeroed",
                Box::new(move |data| {
                    let mut bytes = fs::read(data.join(&db)).unwrap();
                    bytes[at / 4096 * 4096..].iter_mut().take(4096).for_each(|byte| *byte = 0);
                    fs::write(data.join(&db), bytes).unwrap();
                }),
            ),
        };
        let what = format!("round {round}: {word}, generation {generation}, {kind} at {at}");
        scenes.push((what, from.clone(), strike, Bound::Of(vec![generation])));
    }
    play(scenes);
}

#[test]
fn files_that_are_gone_or_damaged_cost_nothing_that_is_told_elsewhere() {
    let template = template();
    let mut scenes: Vec<(String, PathBuf, Strike, Bound)> = Vec::new();
    let mut add = |what: &str, from: &Path, bound: Bound, strike: Strike| {
        scenes.push((what.to_owned(), from.to_path_buf(), strike, bound));
    };
    let remove = |name: &'static str| -> Strike { Box::new(move |data| fs::remove_file(data.join(name)).unwrap()) };
    let spoil = |name: &'static str| -> Strike { Box::new(move |data| flip(&data.join(name), 40)) };
    let (stopped, killed) = (&template.stopped, &template.killed);
    add("the database of a sealed generation deleted", stopped, Bound::All(vec![2]), remove("outbox/00000002/db"));
    add("the database of one with a summary deleted", stopped, Bound::All(vec![1]), remove("outbox/00000001/db"));
    add("the current database deleted", killed, Bound::All(vec![3]), remove("outbox/00000003/db"));
    add("conf deleted", stopped, Bound::Nothing, remove("outbox/00000002/conf"));
    add("conf damaged", killed, Bound::Nothing, spoil("outbox/00000003/conf"));
    add("the watermark deleted", killed, Bound::Nothing, remove("outbox/00000003/durable"));
    add("the watermark damaged", killed, Bound::Nothing, spoil("outbox/00000003/durable"));
    add("the summary deleted", stopped, Bound::Nothing, remove("outbox/00000001/summary"));
    add("the summary damaged", stopped, Bound::Nothing, spoil("outbox/00000001/summary"));
    add("the roll deleted", stopped, Bound::Nothing, remove("generations"));
    add("the roll damaged", killed, Bound::Nothing, spoil("generations"));
    let of_snapshots = |data: &Path, act: &dyn Fn(&Path)| {
        for generation in 1..=GENERATIONS {
            for entry in fs::read_dir(folder(data, generation)).unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().unwrap().to_str().unwrap().starts_with("snap.") {
                    act(&path);
                }
            }
        }
    };
    add(
        "all snapshots deleted",
        stopped,
        Bound::Nothing,
        Box::new(move |data| of_snapshots(data, &|path| fs::remove_file(path).unwrap())),
    );
    add(
        "all snapshots damaged",
        stopped,
        Bound::Nothing,
        Box::new(move |data| of_snapshots(data, &|path| flip(path, 9))),
    );
    add(
        "all snapshots left unfinished",
        killed,
        Bound::Nothing,
        Box::new(move |data| {
            of_snapshots(data, &|path| {
                let bytes = fs::read(path).unwrap();
                fs::write(path.with_extension("FFFF.generating"), &bytes[..bytes.len() / 2]).unwrap();
                fs::remove_file(path).unwrap();
            });
        }),
    );
    play(scenes);
}

#[test]
fn generations_that_are_gone_or_emptied_are_missed() {
    let template = template();
    let (stopped, killed) = (&template.stopped, &template.killed);
    let mut scenes: Vec<(String, PathBuf, Strike, Bound)> = Vec::new();
    for (generation, from) in [(1, stopped), (2, killed), (3, stopped)] {
        let gone = move |data: &Path| fs::remove_dir_all(folder(data, generation)).unwrap();
        let what = format!("generation {generation} deleted");
        scenes.push((what, from.clone(), Box::new(gone), Bound::All(vec![generation])));
        let emptied = move |data: &Path| {
            fs::remove_dir_all(folder(data, generation)).unwrap();
            fs::create_dir(folder(data, generation)).unwrap();
        };
        let what = format!("generation {generation} emptied");
        scenes.push((what, from.clone(), Box::new(emptied), Bound::All(vec![generation])));
    }
    play(scenes);
}

#[test]
fn what_a_crash_leaves_of_a_rescue_is_tidied_up_or_gone_on_with() {
    let template = template();
    let (stopped, killed) = (&template.stopped, &template.killed);
    let mut scenes: Vec<(String, PathBuf, Strike, Bound)> = Vec::new();
    let mut add = |what: &str, from: &Path, bound: Bound, strike: Strike| {
        scenes.push((what.to_owned(), from.to_path_buf(), strike, bound));
    };
    let beside = |data: &Path, generation: u32, extension: &str| folder(data, generation).with_extension(extension);
    add(
        "half a rescue beside the generation",
        killed,
        Bound::Nothing,
        Box::new(move |data| {
            let half = beside(data, 2, "rescued");
            fs::create_dir(&half).unwrap();
            fs::write(half.join("conf"), "half").unwrap();
            fs::write(half.join("db"), [7; 5000]).unwrap();
        }),
    );
    add(
        "a whole rescue, and the generation set aside already",
        stopped,
        Bound::Nothing,
        Box::new(move |data| {
            copy(&folder(data, 2), &beside(data, 2, "rescued"));
            fs::rename(folder(data, 2), beside(data, 2, "damaged")).unwrap();
        }),
    );
    add(
        "a whole rescue, and the generation on its way out",
        killed,
        Bound::Nothing,
        Box::new(move |data| {
            copy(&folder(data, 2), &beside(data, 2, "rescued"));
            fs::rename(folder(data, 2), beside(data, 2, "removed")).unwrap();
        }),
    );
    add(
        "what was rescued is in its place, and the old one still on its way out",
        killed,
        Bound::Nothing,
        Box::new(move |data| copy(&folder(data, 1), &beside(data, 1, "removed"))),
    );
    for generation in [1, 3] {
        add(
            &format!("a copy of generation {generation} from before the engine opened it"),
            killed,
            Bound::Nothing,
            Box::new(move |data| {
                let dir = folder(data, generation);
                fs::copy(dir.join("db"), dir.join("db.before")).unwrap();
                // The engine was about to overwrite what it could not read.
                let bytes = fs::read(dir.join("db")).unwrap();
                let keep = used(&dir.join("db")) / 2;
                fs::write(dir.join("db"), [&bytes[..keep], &vec![0; bytes.len() - keep][..]].concat()).unwrap();
            }),
        );
    }
    add(
        "drafts of everything",
        stopped,
        Bound::Nothing,
        Box::new(move |data| {
            for draft in ["FORMAT.draft", "generations.draft", "endpoints.draft", "outbox/00000002/summary.draft"] {
                fs::write(data.join(draft), "half a").unwrap();
            }
            fs::write(data.join("outbox/probe"), [0; 4096]).unwrap();
        }),
    );
    add(
        "a generation that was just being made",
        killed,
        Bound::Nothing,
        Box::new(move |data| {
            fs::create_dir(folder(data, 4)).unwrap();
            fs::write(folder(data, 4).join("conf"), "").unwrap();
        }),
    );
    play(scenes);
}
