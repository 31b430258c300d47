//! `webhookd store`: the data folder of a daemon that does not run, checked, exported and imported.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use webhookd::clock::UnixMs;

use crate::kit::{Answer, Daemon, Receiver, SECRET, Setup, binary, eventually, free_port, never};

/// Runs `webhookd store …` on the folder of a daemon that does not run.
fn store(daemon: &Daemon, arguments: &[&str]) -> Output {
    store_at(&daemon.config(), arguments)
}

fn store_at(config: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(binary())
        .arg("store")
        .args(arguments)
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(!complaint.contains("panicked"), "{arguments:?}: {complaint}");
    output
}

/// What a command said on both outputs; of a long export its beginning.
fn said(output: &Output) -> String {
    let shown = &output.stdout[..output.stdout.len().min(10_000)];
    String::from_utf8_lossy(shown).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A check with this exit code; what it found, as JSON.
#[track_caller]
fn check(daemon: &Daemon, code: i32) -> Value {
    let output = store(daemon, &["check", "--json"]);
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)))
}

/// Every fault of a check, in words.
fn faults(report: &Value) -> Vec<String> {
    let of = |value: &Value| value["faults"].as_array().unwrap().clone();
    let all = report["generations"].as_array().unwrap().iter().flat_map(of).chain(of(report));
    all.map(|fault| {
        assert!(!fault["remedy"].as_str().unwrap().is_empty(), "{fault}");
        fault["what"].as_str().unwrap().to_owned()
    })
    .collect()
}

#[track_caller]
fn finds(daemon: &Daemon, expected: &str) {
    let found = faults(&check(daemon, 1));
    assert!(found.iter().any(|what| what.contains(expected)), "{expected}: {found:#?}");
    // The same for people: each fault, and what to do.
    let shown = said(&store(daemon, &["check"]));
    for what in found {
        assert!(shown.contains(&what), "{what}: {shown}");
    }
}

fn lines(output: &Output) -> Vec<Value> {
    output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// A stopped daemon with some events: delivered, dead and pending ones.
fn furnished() -> (Receiver, Daemon) {
    let receiver = Receiver::answering(|request| match request.path.as_str() {
        "/well" => Answer::status(200),
        _ => Answer::status(500),
    });
    let mut daemon = Setup::new()
        .endpoint("well", &receiver.url("/well"), "format = \"raw\"")
        .endpoint("ill", &receiver.url("/ill"), "breaker = \"off\"\nretry = [\"1ms\"]\nevents = [\"*\", \"!later.*\"]")
        .endpoint("slow", &receiver.url("/slow"), "breaker = \"off\"\nretry = [\"1h\"]\nevents = [\"*\", \"!later.*\"]")
        .start();
    let client = daemon.client();
    for n in 0..40 {
        let body = format!(r#"{{"id":"e{n}","type":"a","data":{{"n":{n},"fill":"{}"}}}}"#, "x".repeat(n * 50));
        client.post("/v1/events", body).expect(202);
    }
    client.send("POST", "/v1/raw/b?id=raw&key=k", &[("content-type", "image/png")], vec![0xFF; 100_000]).expect(202);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let in_a_month = UnixMs(now + 30 * 24 * 3_600_000);
    client
        .post("/v1/events", format!(r#"{{"id":"late","type":"later.on","data":1,"deliver_at":"{in_a_month}"}}"#))
        .expect(202);
    for n in (0..40).map(|n| format!("e{n}")).chain(["raw".to_owned()]) {
        client.await_state(&n, "well", "delivered");
        client.await_state(&n, "ill", "dead");
    }
    eventually("slow was tried", || {
        let tried =
            |n: usize| client.look(&format!("e{n}"))["deliveries"][1]["attempts"].as_array().unwrap().len() == 1;
        (0..40).all(tried).then_some(())
    });
    client.post("/v1/endpoints/slow/pause", "").expect(200);
    assert!(daemon.stop().success());
    (receiver, daemon)
}

fn generations(daemon: &Daemon) -> Vec<PathBuf> {
    let mut found: Vec<_> =
        fs::read_dir(daemon.data().join("outbox")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn a_folder_is_sound_after_sigkill_under_load() {
    let receiver = Receiver::start();
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), "").start();
    for round in 0..5 {
        let stop = AtomicBool::new(false);
        let acknowledged = Mutex::new(0);
        std::thread::scope(|scope| {
            for producer in 0..3 {
                let (stop, acknowledged, client) = (&stop, &acknowledged, daemon.client().clone());
                scope.spawn(move || {
                    for n in 0.. {
                        let fill = "x".repeat([200, 5_000, 300_000][n % 3]);
                        let event = format!(r#"{{"id":"{round}-{producer}-{n}","type":"a","data":"{fill}"}}"#);
                        match client.try_send("POST", "/v1/events", &[("content-type", "application/json")], event) {
                            Ok(reply) if reply.status == 202 => *acknowledged.lock().unwrap() += 1,
                            _ => return,
                        }
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                });
            }
            eventually("some are acknowledged", || (*acknowledged.lock().unwrap() >= 30).then_some(()));
            daemon.kill();
            stop.store(true, Ordering::Relaxed);
        });
        let report = check(&daemon, 0);
        let events: u64 =
            report["generations"].as_array().unwrap().iter().map(|one| one["events"].as_u64().unwrap()).sum();
        assert!(events >= *acknowledged.lock().unwrap(), "{report}");
        let quick = store(&daemon, &["check", "--quick"]);
        assert_eq!(quick.status.code(), Some(0), "{}", said(&quick));
        assert!(said(&quick).contains("is sound"), "{}", said(&quick));
        daemon.run();
    }
}

#[test]
fn a_check_tells_what_is_there() {
    let (_receiver, daemon) = furnished();
    let report = check(&daemon, 0);
    assert_eq!(report["sound"], true);
    let sum = |pick: &dyn Fn(&Value) -> &Value| -> u64 {
        report["generations"].as_array().unwrap().iter().map(|one| pick(one).as_u64().unwrap()).sum()
    };
    assert_eq!(sum(&|one| &one["events"]), 42);
    assert_eq!(sum(&|one| &one["deliveries"]["delivered"]), 41);
    assert_eq!(sum(&|one| &one["deliveries"]["dead"]), 41);
    assert_eq!(sum(&|one| &one["deliveries"]["pending"]), 42, "slow, and the late one");
    assert_eq!(sum(&|one| &one["attempts"]), 41 + 2 * 41 + 41);
    let shown = said(&store(&daemon, &["check"]));
    assert!(shown.starts_with("GENERATION  EVENTS"), "{shown}");
}

/// Flips one byte within the text, wherever it stands in the file.
fn flip(db: &Path, text: &[u8]) {
    let mut bytes = fs::read(db).unwrap();
    let places: Vec<usize> = (0..bytes.len() - text.len()).filter(|at| bytes[*at..].starts_with(text)).collect();
    assert!(!places.is_empty(), "{} is not in {}", String::from_utf8_lossy(text), db.display());
    for at in places {
        bytes[at] ^= 0x01;
    }
    fs::write(db, bytes).unwrap();
}

#[test]
fn a_flipped_byte_is_found_the_rest_is_exported_and_the_daemon_goes_on() {
    let (_receiver, mut daemon) = furnished();
    flip(&generations(&daemon)[0].join("db"), b"\"n\":20,\"fill\"");
    finds(&daemon, "");
    let output = store(&daemon, &["export"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("generation 1"), "{}", said(&output));
    let events = lines(&output);
    let whole: BTreeSet<_> =
        events.iter().filter(|line| line["body_lost"] != true).filter_map(|line| line["id"].as_str()).collect();
    assert!(whole.len() >= 20 && whole.contains("raw") && whole.contains("e39"), "{whole:?}");
    assert!(!whole.contains("e20"));
    // The daemon saves the same, and sets the damaged one aside; that is told until it is cleared away.
    daemon.run();
    for id in ["raw", "e39"] {
        assert_eq!(daemon.client().look(id)["id"], id);
    }
    daemon.stop();
    let report = check(&daemon, 1);
    let aside = &report["set_aside"][0];
    assert_eq!(aside["generation"], 1, "{report}");
    assert_eq!(faults(&report), [""; 0], "{report}");
    fs::remove_dir_all(aside["folder"].as_str().unwrap()).unwrap();
    check(&daemon, 0);
}

#[test]
fn what_is_gone_from_a_folder_is_told() {
    let (_receiver, daemon) = furnished();
    let db = generations(&daemon)[0].join("db");
    let bytes = fs::read(&db).unwrap();
    fs::write(&db, &bytes[..100_000]).unwrap();
    finds(&daemon, "");
    fs::remove_file(&db).unwrap();
    finds(&daemon, "its file db is gone");
    fs::write(&db, &bytes).unwrap();
    check(&daemon, 0);
    // FORMAT can be done without, for reading.
    let format = fs::read(daemon.data().join("FORMAT")).unwrap();
    fs::remove_file(daemon.data().join("FORMAT")).unwrap();
    finds(&daemon, "the file FORMAT: it is gone");
    let output = store(&daemon, &["export"]);
    assert_eq!((output.status.code(), lines(&output).len()), (Some(1), 43), "{}", complaint(&output));
    fs::write(daemon.data().join("FORMAT"), "webhookd data 9\n").unwrap();
    let output = store(&daemon, &["check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("webhookd data 9"), "{}", said(&output));
    fs::write(daemon.data().join("FORMAT"), format).unwrap();
    fs::remove_dir_all(&generations(&daemon)[0]).unwrap();
    finds(&daemon, "generation 1 is missing");
    fs::remove_dir_all(daemon.data()).unwrap();
    for command in ["check", "export"] {
        let output = store(&daemon, &[command]);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("there is no data folder"), "{}", said(&output));
    }
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let daemon = Setup::new().start();
    for command in [&["check"][..], &["export"], &["import"]] {
        let output = store(&daemon, command);
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        let expected = if command == ["import"] { "is not empty" } else { "stop that first" };
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
    daemon.client().event("a", "1");
}

/// Takes the right to write from everything below `dir`.
fn make_read_only(dir: &Path, read_only: bool) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let mode = match (path.is_dir(), read_only) {
            (true, true) => 0o555,
            (true, false) => 0o755,
            (false, true) => 0o444,
            (false, false) => 0o644,
        };
        if path.is_dir() {
            make_read_only(&path, read_only);
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[test]
fn a_folder_that_can_only_be_read_is_checked_and_exported() {
    let (_receiver, daemon) = furnished();
    make_read_only(&daemon.data(), true);
    check(&daemon, 0);
    let output = store(&daemon, &["export"]);
    assert_eq!((output.status.code(), lines(&output).len()), (Some(0), 43), "{}", complaint(&output));
    make_read_only(&daemon.data(), false);
}

#[test]
fn an_export_into_a_file_never_overwrites_one() {
    let (_receiver, daemon) = furnished();
    let out = daemon.dir().join("events.ndjson");
    let arguments = ["export", "--out", out.to_str().unwrap()];
    let output = store(&daemon, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(output.stdout.is_empty());
    let exported = fs::read(&out).unwrap();
    assert!(exported == store(&daemon, &["export"]).stdout);
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&out, "mine").unwrap();
    let output = store(&daemon, &arguments);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("is there already"), "{}", said(&output));
    assert_eq!(fs::read(&out).unwrap(), b"mine");
}

#[test]
fn a_generation_that_the_engine_cannot_open_is_exported_and_imported_and_what_was_pending_is_delivered() {
    let (old_receiver, daemon) = furnished();
    let before = store(&daemon, &["export"]);
    assert_eq!(before.status.code(), Some(0));
    // Nothing of ours is hit, but the heads of the engine's segments and what it wrote up of them.
    let generation = &generations(&daemon)[0];
    let mut bytes = fs::read(generation.join("db")).unwrap();
    bytes.chunks_mut(2 << 20).for_each(|segment| segment[..16].fill(0xFF));
    fs::write(generation.join("db"), bytes).unwrap();
    for entry in fs::read_dir(generation).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let report = check(&daemon, 1);
    assert_eq!(report["generations"][0]["engine"], "failed", "{report}");
    assert!(faults(&report)[0].contains("all 42 events in it could be saved"), "{report}");
    let export = store(&daemon, &["export"]);
    assert_eq!(export.status.code(), Some(0), "nothing is lost: {}", complaint(&export));
    assert!(export.stdout == before.stdout);
    let file = daemon.dir().join("events.ndjson");
    fs::write(&file, &export.stdout).unwrap();

    // The endpoint that is pending has moved; the others are not in the new config at all.
    let receiver = Receiver::start();
    let mut new = Setup::new().endpoint("slow", &receiver.url("/moved"), "").prepare();
    let output = store(&new, &["import", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("42 events imported"), "{}", said(&output));
    assert!(said(&output).contains("42 deliveries pending, and the state of 1 endpoint"), "{}", said(&output));
    check(&new, 0);
    assert!(store(&new, &["export"]).stdout == export.stdout);
    let old_requests = old_receiver.count();
    new.run();
    assert_eq!(new.client().look("e7")["deliveries"].as_array().unwrap().len(), 3);
    assert_eq!(new.client().get("/v1/endpoints/slow").expect(200).json()["state"], "paused");
    never(Duration::from_millis(300), "a paused endpoint gets something", || receiver.count() > 0);
    // What was known is known: by its id.
    let again = new.client().post("/v1/events", r#"{"id":"e0","type":"a","data":{"n":0,"fill":""}}"#).expect(200);
    assert_eq!(again.json()["duplicate"], true);
    assert!(new.stop().success());
    check(&new, 0);

    // What is due is made as it comes due: told by a folder whose waits are over.
    let due: String = lines(&export)
        .into_iter()
        .map(|mut line| {
            if let Some(deliveries) = line["deliveries"].as_array_mut() {
                for delivery in
                    deliveries.iter_mut().filter(|one| one["state"] == "pending" && one["endpoint"] == "slow")
                {
                    delivery["next_attempt_at"] = "2026-01-01T00:00:00.000Z".into();
                }
            }
            line
        })
        .filter(|line| line["state"] != "paused")
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&file, due).unwrap();
    let mut new = Setup::new().endpoint("slow", &receiver.url("/moved"), "").prepare();
    assert_eq!(store(&new, &["import", file.to_str().unwrap()]).status.code(), Some(0));
    new.run();
    receiver.wait_for("all that was pending", |requests| {
        requests.iter().map(crate::kit::Received::id).collect::<BTreeSet<_>>().len() == 41
    });
    assert_eq!(receiver.requests()[0].header("webhook-attempt"), "2", "the first was made before");
    assert_eq!(old_receiver.count(), old_requests);
}

#[test]
fn an_import_that_broke_off_is_refused_by_the_daemon_and_says_so() {
    let daemon = Setup::new().prepare();
    let file = daemon.dir().join("broken.ndjson");
    fs::write(&file, "{\"endpoint\":\"a\",\"state\":\"paused\"}\n{\"id\":\"x\"\n").unwrap();
    let output = store(&daemon, &["import", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("line 2: ") && said(&output).contains("half made"), "{}", said(&output));
    for command in [&["import", file.to_str().unwrap()][..], &["check"]] {
        let output = store(&daemon, command);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("was not finished"), "{}", said(&output));
    }
    let run = Command::new(binary()).args(["run", "--config"]).arg(daemon.config()).output().unwrap();
    assert_eq!(run.status.code(), Some(1));
    assert!(said(&run).contains("was not finished"), "{}", said(&run));
}

#[test]
fn the_config_counts_as_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("webhookd.toml");
    fs::write(&config, "bogus = 1\n").unwrap();
    for command in ["check", "export", "import"] {
        assert_eq!(store_at(&config, &[command]).status.code(), Some(2));
    }
    assert_eq!(Command::new(binary()).args(["store", "melt"]).output().unwrap().status.code(), Some(2));
    let text = format!(
        "[api]\nlisten = \"127.0.0.1:{}\"\n[endpoint.a]\nurl = \"https://example.com/\"\nsecret = \"{SECRET}\"\n[storage]\ndir = \"data\"\n",
        free_port()
    );
    fs::write(&config, text).unwrap();
    let output = store_at(&config, &["import", "/dev/null"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let output = store_at(&config, &["export"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0), "{}", said(&output));
}
