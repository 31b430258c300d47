//! What check, export and the next start find in folders that somebody spoilt.

use std::fs;

use super::*;
use crate::clock::UnixMs;
use crate::model::roster::Roster;
use crate::outbox::disk::RealDisk;
use crate::outbox::engine::Engine as Database;
use crate::outbox::frame::Mark;
use crate::outbox::generation::{Generation, Identity};
use crate::outbox::keys;
use crate::outbox::settling::Outcome;
use crate::outbox::{ids, index};

/// Opens the database of a generation, to spoil it.
fn database(dir: &Path, no: u32) -> Database {
    let path = dir.join(format!("outbox/{no:08}"));
    loop {
        match Database::open(&path, RealDisk::shared()) {
            Err(crate::outbox::engine::EngineError::InUse { .. }) => std::thread::yield_now(),
            other => return other.unwrap(),
        }
    }
}

fn generation(dir: &Path, no: u32) -> Generation {
    drop(database(dir, no));
    let mark = Folder::open_to_read(dir).unwrap().0.mark();
    loop {
        let identity = Identity { no, mark, roster: Roster::shared() };
        match Generation::open(&dir.join(format!("outbox/{no:08}")), identity, RealDisk::shared()) {
            Err(StoreError::Engine(crate::outbox::engine::EngineError::InUse { .. })) => std::thread::yield_now(),
            other => return other.unwrap(),
        }
    }
}

#[track_caller]
fn finds(dir: &Path, expected: &str) {
    let report = look(dir);
    assert!(!report.is_sound());
    let generations = report.generations.iter().flat_map(|one| &one.faults);
    let faults: Vec<_> = report.faults.iter().chain(generations).map(|fault| fault.what.clone()).collect();
    assert!(faults.iter().any(|what| what.contains(expected)), "{faults:#?}");
}

#[test]
fn what_does_not_fit_together_is_found_though_every_record_is_intact() {
    let first = fold_number_with(|report| report.pending > 0);
    // A mark that would keep its deliveries from ever being made.
    let (_temp, dir) = folder(40);
    {
        let generation = generation(&dir, first);
        generation.set_done(NOW).unwrap();
        generation.sync().unwrap();
    }
    finds(&dir, "marked as finished");
    // Ids that are not found.
    let (_temp, dir) = folder(40);
    let few = [(ids::id_hash("e1"), 1)].into_iter().collect();
    index::write(&dir.join("outbox/00000001"), Mark::new([1; 8]), &few).unwrap();
    finds(&dir, "ids are missing in its file");
    // A summary of another time.
    let (_temp, dir) = folder(40);
    let summary = dir.join(format!("outbox/{first:08}/summary"));
    let before = fs::read(&summary).unwrap();
    {
        let generation = generation(&dir, first);
        let mut delivery = None;
        generation
            .scan_heads(|seq, row| delivery = row.targets.first().map(|local| (seq, *local)).or(delivery))
            .unwrap();
        let (seq, local) = delivery.unwrap();
        let endpoint = generation.global(local).unwrap();
        let settlement = crate::model::delivery::Settlement {
            delivery: crate::model::delivery::DeliveryRef { event: generation.place(seq), endpoint },
            attempt: None,
            standing: crate::model::delivery::Standing::Pending { next_at: UnixMs(5) },
            progress: crate::model::delivery::Progress { tries: 9, made: 9 },
        };
        generation.append_settlements(&[Outcome { settlement, at: NOW }]).unwrap();
        generation.sync().unwrap();
    }
    assert!(look(&dir).is_sound());
    fs::write(&summary, &before).unwrap();
    finds(&dir, "contradicts its records");
    fs::write(&summary, &before[..before.len() - 1]).unwrap();
    finds(&dir, "its summary is damaged");
    // A blob file.
    let (_temp, dir) = folder(1);
    fs::write(dir.join("outbox/00000001/blobs/0"), b"x").unwrap();
    finds(&dir, "1 blob files");
}

/// The number of a generation of [`folder`] that is like this.
fn fold_number_with(like: impl Fn(&GenerationReport) -> bool) -> u32 {
    let (_temp, dir) = folder(40);
    look(&dir).generations.iter().find(|report| like(report)).unwrap().generation
}

#[test]
fn what_is_missing_is_found() {
    // A record that is damaged wherever it stands.
    let (_temp, dir) = folder(40);
    let mut record = Folder::open_to_read(&dir).unwrap().0.mark().bytes.to_vec();
    record.extend([1, keys::HEADS, 0, 0, 0, 0, 0, 0, 0, 0]);
    let db = dir.join("outbox/00000001/db");
    let mut bytes = fs::read(&db).unwrap();
    let places: Vec<_> = memchr::memmem::find_iter(&bytes, &record).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|at| bytes[at + record.len()] ^= 1);
    fs::write(&db, bytes).unwrap();
    finds(&dir, "are missing");
    // Most of a database.
    let (_temp, dir) = folder(40);
    let db = dir.join("outbox/00000001/db");
    fs::File::options().write(true).open(&db).unwrap().set_len(2 << 20).unwrap();
    finds(&dir, "");
    // All of it, with a folder around it or without one.
    let (_temp, dir) = folder(40);
    fs::remove_file(dir.join("outbox/00000001/db")).unwrap();
    finds(&dir, "its file db is gone; 0 events could be saved");
    fs::remove_dir_all(dir.join("outbox/00000001")).unwrap();
    finds(&dir, "generation 1 is missing");
    fs::write(dir.join("generations"), b"").unwrap();
    finds(&dir, "the file generations");
    fs::write(dir.join("endpoints"), b"x").unwrap();
    finds(&dir, "the file endpoints is damaged");
    // The mark is in other files too.
    fs::remove_file(dir.join("FORMAT")).unwrap();
    finds(&dir, "the file FORMAT: it is gone");
    let (lines, exported) = fetch(&dir);
    assert!(exported.events > 0 && !lines.is_empty());
}

#[test]
fn a_body_that_is_damaged_costs_its_events_alone_and_they_are_told() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    let body = |n: usize| format!("body {n} ").repeat(2_500);
    let line = |n: usize| {
        json!({"id": format!("evt_{n}"), "type": "a", "at": NOW.to_string(), "content_type": "text/plain", "json": false,
            "body": body(n), "fingerprint": "00000000000000000000000000000000", "deliveries": []})
    };
    bring(&dir, &text(&(0..50).map(line).collect::<Vec<_>>()), 1 << 30).unwrap();
    let db = dir.join("outbox/00000001/db");
    let mut bytes = fs::read(&db).unwrap();
    let needle = b"body 20 body 20 body 20";
    let places: Vec<_> = memchr::memmem::find_iter(&bytes, needle).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at + 3] ^= 0x20;
    }
    fs::write(&db, bytes).unwrap();
    finds(&dir, "");
    let (lines, exported) = fetch(&dir);
    assert_eq!(exported.events, 50);
    assert!((1..=3).contains(&exported.without_body), "{}", exported.without_body);
    assert_eq!(exported.faults.len(), 1, "{:?}", exported.faults);
    assert!(exported.faults[0].what.contains("lost their body"), "{:?}", exported.faults);
    let lost = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lost = lost.map(|line| serde_json::from_slice::<Value>(line).unwrap());
    for (n, line) in lost.enumerate() {
        match line["body_lost"] == true {
            true => assert!((19..=21).contains(&n) && line["body"].is_null(), "{line}"),
            false => assert_eq!(line["body"], body(n)),
        }
    }
    let new = temp.path().join("new");
    let imported = bring(&new, &lines, 1 << 30).unwrap();
    assert_eq!((imported.events, imported.without_body), (50 - exported.without_body, exported.without_body));
}

#[test]
fn what_a_crash_left_of_a_rescue_is_read_as_the_next_start_would() {
    let (_temp, dir) = folder(40);
    let (before, _) = fetch(&dir);
    let (first, rescued) = (dir.join("outbox/00000001"), dir.join("outbox/00000001.rescued"));
    fs::rename(&first, &rescued).unwrap();
    assert!(fetch(&dir).0 == before);
    assert!(look(&dir).is_sound());
    fs::rename(&rescued, &first).unwrap();
    fs::create_dir(&rescued).unwrap();
    fs::create_dir(dir.join("outbox/00000009.removed")).unwrap();
    assert!(fetch(&dir).0 == before);
    let report = look(&dir);
    assert!(report.is_sound());
    assert_eq!(report.notes.len(), 2);
    // One that was being removed is on the list still.
    let removed = dir.join("outbox/00000002.removed");
    fs::rename(dir.join("outbox/00000002"), &removed).unwrap();
    assert!(look(&dir).is_sound());
    fs::remove_dir_all(&removed).unwrap();
    finds(&dir, "generation 2 is missing");
    // What lies set aside is told until somebody has looked.
    fs::create_dir(dir.join("outbox/00000001.damaged")).unwrap();
    let report = look(&dir);
    assert!(!report.is_sound());
    assert_eq!(report.set_aside[0].generation, 1);
    // Without any generation, and without the list of them, the daemon does not start.
    fs::remove_dir_all(dir.join("outbox")).unwrap();
    fs::create_dir(dir.join("outbox")).unwrap();
    fs::remove_file(dir.join("generations")).unwrap();
    finds(&dir, "there is no generation");
}
