//! Folders that are checked, exported and imported.

mod spoilt;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::clock::UnixMs;

const NOW: UnixMs = UnixMs(1_700_000_000_000);

fn moment(random: &mut fastrand::Rng) -> String {
    UnixMs(NOW.0 - random.u64(0..1_000_000_000)).to_string()
}

fn maybe<T>(random: &mut fastrand::Rng, some: impl FnOnce(&mut fastrand::Rng) -> T) -> Option<T> {
    random.bool().then(|| some(random))
}

/// Bytes under `name`, as text or in Base64.
fn put_bytes(object: &mut Value, name: &str, bytes: &[u8]) {
    use base64::Engine;
    match str::from_utf8(bytes) {
        Ok(text) => object[name] = text.into(),
        Err(_) => object[format!("{name}_base64")] = base64::engine::general_purpose::STANDARD.encode(bytes).into(),
    }
}

fn attempt(random: &mut fastrand::Rng, n: usize) -> Value {
    let error = *random.choice(&[None, Some("timeout"), Some("status"), Some("storage")]).unwrap();
    let status = maybe(random, |random| random.u16(100..600));
    let mut attempt =
        json!({"n": n, "at": moment(random), "status": status, "error": error, "duration_ms": random.u32(..)});
    let response = match random.u8(..3) {
        0 => Vec::new(),
        1 => "grüße \u{1}\n".repeat(random.usize(..9)).into_bytes(),
        _ => (0..random.usize(1..8_192)).map(|_| random.u8(128..)).collect(),
    };
    put_bytes(&mut attempt, "response", &response);
    attempt
}

fn delivery(random: &mut fastrand::Rng, endpoint: usize, event_at: &str) -> Value {
    let attempts: Vec<Value> = (1..=random.usize(..5)).map(|n| attempt(random, n)).collect();
    let made = attempts.len();
    let mut delivery = json!({
        "endpoint": format!("endpoint-{endpoint}"), "next_attempt_at": null, "tries": random.usize(..=made),
        "made": made, "attempts": attempts,
    });
    match random.u8(..4) {
        0 => delivery["state"] = "delivered".into(),
        1 => {
            delivery["state"] = "dead".into();
            let reasons = ["exhausted", "permanent", "aborted", "lost", "breaker_open"];
            delivery["reason"] = (*random.choice(&reasons).unwrap()).into();
            // An export of the first versions does not tell when.
            if random.bool() {
                delivery["died_at"] = moment(random).into();
            }
        }
        // As fresh as can be, where no attempt was made.
        2 => {
            delivery["state"] = "pending".into();
            delivery["next_attempt_at"] = event_at.into();
        }
        _ => {
            delivery["state"] = "pending".into();
            delivery["next_attempt_at"] = moment(random).into();
        }
    }
    delivery
}

fn event(random: &mut fastrand::Rng, n: usize) -> Value {
    let at = moment(random);
    let targets = random.usize(..4);
    let deliveries = (0..targets + random.usize(..2)).map(|index| {
        let mut delivery = delivery(random, (n + index) % 9, &at);
        if index >= targets {
            delivery["by_replay"] = true.into();
        }
        delivery
    });
    let mut event = json!({
        "deliveries": deliveries.collect::<Vec<_>>(),
        "id": format!("evt_{n}"), "type": "invoice.paid", "at": at, "content_type": "text/plain", "json": false,
        "key": maybe(random, |_| "Kunde 7 ü"), "timestamp": maybe(random, |_| "2026-11-20T10:00:00.25+02:00"),
        "deliver_at": null, "fingerprint": hex::encode(random.u128(..).to_be_bytes()),
    });
    let body = match random.u8(..6) {
        0 => Vec::new(),
        1 => (0..random.usize(1..40_000)).map(|_| random.u8(..)).collect(),
        2 => vec![b'x'; 300_000],
        3 => "line\nbreak \"quoted\" \u{0} 🎉".into(),
        _ => {
            (event["json"], event["content_type"]) = (true.into(), "application/json".into());
            br#"{"amount": 1.10,  "deep":[[]], "long":12345678901234567890123}"#.to_vec()
        }
    };
    put_bytes(&mut event, "body", &body);
    if random.bool() {
        event["traceparent"] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into();
        event["idempotency_key"] = format!("key {n}").into();
    }
    if random.bool() {
        event["cloud_attributes"] = json!({"specversion": "1.0", "source": "/x", "subject": "ü"});
    }
    if random.bool() {
        let mut odd = json!({"name": "x-odd"});
        put_bytes(&mut odd, "value", b"\xfe\xff");
        event["headers"] = json!([{"name": "x-a", "value": "1"}, odd, {"name": "x-a", "value": ""}]);
    }
    event
}

fn endpoints() -> Vec<Value> {
    vec![
        json!({"endpoint": "endpoint-1", "state": "paused"}),
        json!({"endpoint": "endpoint-2", "state": "disabled", "reason": "gone", "at": "2026-11-20T10:00:00.000Z"}),
        json!({"endpoint": "endpoint-3", "state": "active", "resumed_at": "2026-11-20T10:00:00.001Z"}),
        json!({
            "endpoint": "endpoint-4", "state": "disabled", "reason": "failing", "at": "2026-11-20T10:00:00.000Z",
            "resumed_at": "2026-11-20T10:00:00.001Z", "held_until": "2026-11-20T10:00:00.002Z",
            "failing": {"since": "2026-11-20T10:00:00.003Z", "for_ms": 432_000_000},
            "breaker": {
                "since": "2026-11-20T10:00:00.004Z", "probe_at": "2026-11-20T10:00:00.005Z", "cooldown_ms": 30_000
            },
        }),
    ]
}

fn text(lines: &[Value]) -> Vec<u8> {
    lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect()
}

fn bring(dir: &Path, lines: &[u8], generation_bytes: u64) -> Result<Imported, OfflineError> {
    let options = ImportOptions { dir: dir.to_path_buf(), generation_bytes, now: NOW };
    import(&options, &mut &*lines)
}

fn fetch(dir: &Path) -> (Vec<u8>, Exported) {
    let mut bytes = Vec::new();
    let exported = export(
        dir,
        &mut |line| {
            assert!(!line.contains(&b'\n'));
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
            Ok(())
        },
        &mut |_| {},
    );
    (bytes, exported.unwrap())
}

fn look(dir: &Path) -> CheckReport {
    check(dir, false, &mut |_| {}).unwrap()
}

/// Every file below `dir`, with its bytes and the time of its last change.
fn everything(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let changed = fs::metadata(&path).unwrap().modified().unwrap();
        if path.is_dir() {
            found.extend(everything(&path));
            found.insert(path, (Vec::new(), changed));
        } else {
            found.insert(path.clone(), (fs::read(&path).unwrap(), changed));
        }
    }
    found
}

/// A sound folder of several generations.
fn folder(events: usize) -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    let mut random = fastrand::Rng::with_seed(7);
    let lines: Vec<_> = (0..events).map(|n| event(&mut random, n)).collect();
    bring(&dir, &text(&lines), 1 << 20).unwrap();
    (temp, dir)
}

#[test]
fn what_is_imported_is_exported_line_for_line_whatever_it_is() {
    for seed in 0..3 {
        let mut random = fastrand::Rng::with_seed(seed);
        let temp = tempfile::tempdir().unwrap();
        let mut lines = endpoints();
        lines.extend((0..150).map(|n| event(&mut random, n)));
        let first = temp.path().join("first");
        let imported = bring(&first, &text(&lines), 1 << 20).unwrap();
        assert_eq!((imported.events, imported.endpoints, imported.duplicates), (150, 4, 0));
        let (exported, account) = fetch(&first);
        assert_eq!((account.events, account.endpoints), (150, 4));
        assert!(account.faults.is_empty(), "{:?}", account.faults);
        let told = exported.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        for (told, given) in told.zip(&lines) {
            let told: Value = serde_json::from_slice(told).unwrap();
            assert!(told == *given, "seed {seed}:\n{told}\n{given}");
        }
        let second = temp.path().join("second");
        bring(&second, &exported, 700_000).unwrap();
        assert!(fetch(&second).0 == exported, "seed {seed}");
        for dir in [first, second] {
            let report = look(&dir);
            assert!(report.is_sound(), "seed {seed}: {report:?}");
            assert!(report.generations.len() > 2, "several generations");
            let pending: u64 = report.generations.iter().map(|one| one.pending).sum();
            assert_eq!(pending, imported.pending);
        }
    }
}

#[test]
fn neither_check_nor_export_changes_anything() {
    let (_temp, dir) = folder(60);
    let before = everything(&dir);
    assert!(look(&dir).is_sound());
    fetch(&dir);
    assert!(everything(&dir) == before);
    // Without the file LOCK none is made.
    fs::remove_file(dir.join("LOCK")).unwrap();
    let before = everything(&dir);
    assert!(look(&dir).is_sound());
    assert!(everything(&dir) == before);
}

#[test]
fn a_faulty_line_is_told_with_its_number_and_what_is_left_is_no_data_folder() {
    let mut random = fastrand::Rng::with_seed(3);
    let good = event(&mut random, 1);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut line = event(&mut fastrand::Rng::with_seed(3), 2);
        line["deliveries"] = json!([{"endpoint": "a", "state": "pending", "next_attempt_at": "2026-11-20T10:00:00Z",
            "tries": 0, "made": 0, "attempts": [{"n": 1, "at": "2026-11-20T10:00:00Z", "status": 500, "error": "status",
            "duration_ms": 1, "response": ""}]}]);
        change(&mut line);
        line.to_string()
    };
    let table: Vec<(String, &str)> = vec![
        ("{".into(), "EOF"),
        ("[]".into(), "invalid"),
        (with(&|line| line["bogus"] = 1.into()), "unknown field `bogus`"),
        (with(&|line| line["id"] = "a.b".into()), "id has the character '.'"),
        (with(&|line| drop(line.as_object_mut().unwrap().remove("fingerprint"))), "missing field `fingerprint`"),
        (with(&|line| line["fingerprint"] = "abc".into()), "32 hexadecimal digits"),
        (with(&|line| line["at"] = "noon".into()), "a time such as"),
        (with(&|line| line["type"] = "a b".into()), "type has the character ' '"),
        (with(&|line| line["key"] = "\u{1}".into()), "key has the character"),
        (with(&|line| (line["body"], line["body_base64"]) = ("x".into(), "eA==".into())), "not both"),
        (with(&|line| (line["body"], line["body_base64"]) = (Value::Null, Value::Null)), "neither body nor"),
        (with(&|line| (line["body"], line["body_base64"]) = (Value::Null, "*".into())), "no Base64"),
        (
            with(&|line| {
                (line["json"], line["body"], line["body_base64"]) = (true.into(), "{".into(), Value::Null);
            }),
            "body is no JSON",
        ),
        (with(&|line| line["body_lost"] = true.into()), "body_lost"),
        (with(&|line| line["cloud_attributes"] = json!([])), "must be an object"),
        (with(&|line| line["headers"] = json!([{"name": "a b", "value": ""}])), "is no header"),
        (with(&|line| line["content_type"] = "a\nb".into()), "content_type"),
        (with(&|line| line["content_type"] = "x".repeat(257).into()), "at most 256"),
        (with(&|line| line["deliveries"][0]["state"] = "lost".into()), "pending, delivered or dead"),
        (with(&|line| line["deliveries"][0]["state"] = "dead".into()), "needs a reason"),
        (with(&|line| line["deliveries"][0]["reason"] = "aborted".into()), "no reason"),
        (with(&|line| line["deliveries"][0]["endpoint"] = "a b".into()), "endpoint has the character"),
        (with(&|line| line["deliveries"][0]["attempts"][0]["error"] = "bad luck".into()), "unknown error"),
        (with(&|line| line["deliveries"][0]["attempts"][0]["status"] = 70_000.into()), "u16"),
        (
            with(&|line| line["deliveries"][0]["attempts"][0]["response"] = "x".repeat(8193).into()),
            "response: 8193 are too many",
        ),
        (
            with(&|line| {
                let twice = line["deliveries"][0].clone();
                line["deliveries"].as_array_mut().unwrap().push(twice);
            }),
            "it is there twice",
        ),
        (with(&|line| line["deliveries"][0]["died_at"] = "2026-11-20T10:00:00Z".into()), "only what is dead"),
        (r#"{"endpoint":"a","state":"asleep"}"#.into(), "expected active, paused or disabled"),
        (r#"{"endpoint":"a","state":"active","reason":"gone"}"#.into(), "only a disabled endpoint"),
        (r#"{"endpoint":"a","state":"active","breaker":{"since":"2026-11-20T10:00:00Z"}}"#.into(), "missing field"),
        (r#"{"endpoint":"a","state":"disabled"}"#.into(), "needs reason and at"),
        (r#"{"endpoint":"a","state":"paused","why":1}"#.into(), "unknown field `why`"),
        (r#"{"endpoint":"a b","state":"paused"}"#.into(), "endpoint has the character"),
    ];
    for (line, expected) in table {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("data");
        let error = bring(&dir, format!("{good}\n\n{line}\n").as_bytes(), 1 << 20).unwrap_err();
        let OfflineError::Line { line: 3, what } = &error else { panic!("{line}: {error}") };
        assert!(what.contains(expected), "{line}: {what}");
        assert!(!what.contains(" at line "), "{what}");
        assert!(matches!(Folder::open(&dir), Err(OpenError::HalfMade { .. })));
        for again in [bring(&dir, b"", 1 << 20).map(drop), check(&dir, true, &mut |_| {}).map(drop)] {
            assert!(again.unwrap_err().to_string().contains("remove the folder and import again"));
        }
    }
    let temp = tempfile::tempdir().unwrap();
    let error = bring(&temp.path().join("data"), b"\xff\n", 1 << 20).unwrap_err();
    assert_eq!(error.to_string(), "line 1: it is no UTF-8 text");
}

#[test]
fn the_first_of_several_events_under_an_id_counts() {
    let mut random = fastrand::Rng::with_seed(5);
    let mut lines: Vec<Value> = (0..40).map(|n| event(&mut random, n)).collect();
    // One twice in the same group of events, one long after its generation was closed.
    lines.insert(
        3,
        json!({"id": "evt_1", "type": "other", "at": NOW.to_string(), "content_type": "a/b", "json": false,
        "body": "", "fingerprint": "00000000000000000000000000000000", "deliveries": []}),
    );
    lines.push(lines[0].clone());
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    let imported = bring(&dir, &text(&lines), 100_000).unwrap();
    assert_eq!((imported.events, imported.duplicates), (40, 2));
    let named: Vec<_> = imported.duplicates_named.iter().map(|(line, id)| (*line, id.as_str())).collect();
    assert_eq!(named, [(4, "evt_1"), (42, "evt_0")]);
    let (exported, _) = fetch(&dir);
    assert!(!String::from_utf8(exported).unwrap().contains(r#""type":"other""#));
}

#[test]
fn only_a_new_folder_is_imported_into() {
    let (_temp, dir) = folder(1);
    let error = bring(&dir, b"", 1 << 20).unwrap_err();
    assert!(error.to_string().contains("is not empty"), "{error}");
    assert!(look(&dir).is_sound(), "it is left alone");
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("lost+found")).unwrap();
    fs::write(temp.path().join("webhookd.toml"), "").unwrap();
    assert_eq!(bring(temp.path(), b"", 1 << 20).unwrap(), Imported::default());
    assert!(look(temp.path()).is_sound(), "an empty one is a folder too");
    Folder::open(temp.path()).unwrap();
}

#[test]
fn a_folder_that_is_none_or_of_another_version_or_in_use_is_told_as_such() {
    let temp = tempfile::tempdir().unwrap();
    let said = |dir: &Path| check(dir, true, &mut |_| {}).unwrap_err().to_string();
    assert!(said(&temp.path().join("nowhere")).starts_with("there is no data folder"));
    assert!(said(temp.path()).contains("is no data folder of this version"));
    fs::write(temp.path().join("FORMAT"), "webhookd data 2\nmore\n").unwrap();
    assert!(said(temp.path()).contains("webhookd data 2"));
    let (_temp, dir) = folder(1);
    let reading = Folder::open_to_read(&dir).unwrap();
    assert!(look(&dir).is_sound(), "several may read");
    assert!(matches!(Folder::open(&dir), Err(OpenError::Locked { .. })), "and nobody may write");
    drop(reading);
    let _writing = Folder::open(&dir).unwrap();
    assert!(said(&dir).contains("in use by a running webhookd"));
}
