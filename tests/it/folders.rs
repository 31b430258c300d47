//! Data folders that are no good: the daemon does not start, says in one line what is wrong, where, and what to do, and leaves
//! the folder as it is. Once it is put right, everything is there.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::kit::{Daemon, Setup, Tmpfs, binary, eventually};

/// A config that there is nothing to be said about. Nobody answers at the endpoint.
fn setup() -> Setup {
    Setup::new().endpoint("app", "http://127.0.0.1:9/", "")
}

/// Everything below a path, each file with a hash of what it holds.
fn listing(path: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![path.to_path_buf()];
    while let Some(path) = left.pop() {
        let what = match fs::symlink_metadata(&path) {
            Err(error) => error.to_string(),
            Ok(data) if data.is_dir() => {
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                "a folder".to_owned()
            }
            Ok(_) => {
                let mut hasher = DefaultHasher::new();
                fs::read(&path).unwrap().hash(&mut hasher);
                format!("{:016x}", hasher.finish())
            }
        };
        found.insert(path, what);
    }
    found
}

/// Starts the daemon and waits for its end.
#[track_caller]
fn try_start(daemon: &Daemon) -> Output {
    let mut command = Command::new(binary());
    command.args(["run", "--config"]).arg(daemon.config()).current_dir(daemon.dir());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = eventually("it ends or is ready", || {
        let ready = daemon.client().try_send("GET", "/readyz", &[], "").is_ok_and(|reply| reply.status == 200);
        if ready { Some(false) } else { child.try_wait().unwrap().map(|_| true) }
    });
    if !ended {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(ended, "it started: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The daemon does not start, for a reason that has all these words in it; and changes nothing.
#[track_caller]
fn refused(what: &str, daemon: &Daemon, words: &[&str]) {
    let before = listing(&daemon.data());
    refused_somehow(what, daemon, words);
    assert_eq!(listing(&daemon.data()), before, "{what}: something in the folder has changed");
}

#[track_caller]
fn refused_somehow(what: &str, daemon: &Daemon, words: &[&str]) {
    let output = try_start(daemon);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{what}: {said}");
    assert!(output.stdout.is_empty(), "{what}: {}", String::from_utf8_lossy(&output.stdout));
    let mut lines = said.lines();
    let (line, more) = (lines.next().unwrap_or_default(), lines.next());
    assert!(line.starts_with("error: ") && more.is_none() && !said.contains("panicked"), "{what}: no one line: {said}");
    assert!(line.contains(daemon.data().to_str().unwrap()), "{what}: it does not say where: {line}");
    for word in words {
        assert!(line.contains(word), "{what}: it does not say {word:?}: {line}");
    }
}

const EVENTS: usize = 5;

/// A folder with some events in it, and a daemon that does not run.
fn furnished(setup: Setup) -> Daemon {
    let mut daemon = setup.start();
    for n in 0..EVENTS {
        daemon.client().post("/v1/events", format!(r#"{{"id":"e{n}","type":"a","data":{n}}}"#)).expect(202);
    }
    daemon.client().post("/v1/events", r#"{"id":"last","type":"a","data":"x"}"#).expect(202);
    assert!(daemon.stop().success());
    daemon
}

/// With the folder in order again, everything is there.
#[track_caller]
fn all_there(what: &str, daemon: &mut Daemon) {
    daemon.run();
    let page = daemon.client().get("/v1/events").expect(200).json();
    assert_eq!(page["events"].as_array().unwrap().len(), EVENTS + 1, "{what}");
    assert!(daemon.client().get("/readyz").expect(200).json()["damaged"].is_null(), "{what}");
    assert!(daemon.stop().success());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() { copy(&entry.path(), &to) } else { assert!(fs::copy(entry.path(), to).is_ok()) }
    }
}

fn empty(dir: &Path) {
    fs::remove_dir_all(dir).unwrap();
    fs::create_dir(dir).unwrap();
}

#[test]
fn a_folder_of_another_version_is_left_alone() {
    let mut daemon = furnished(setup());
    let format = daemon.data().join("FORMAT");
    let ours = fs::read_to_string(&format).unwrap();
    // Nor does it get a lock file, which that version may name in another way.
    fs::remove_file(daemon.data().join("LOCK")).unwrap();
    for version in ["2", "10", "0"] {
        fs::write(&format, ours.replace("data 1", &format!("data {version}"))).unwrap();
        let found = format!("webhookd data {version}");
        refused(version, &daemon, &["another version", &found, "run that version, or set another [storage] dir"]);
    }
    fs::write(&format, ours).unwrap();
    all_there("the version is ours again", &mut daemon);
}

#[test]
fn a_folder_of_another_program_is_left_alone() {
    let daemon = setup().prepare();
    let data = daemon.data();
    fs::create_dir(data.join("base")).unwrap();
    fs::write(data.join("base/1"), "rows").unwrap();
    refused("no FORMAT", &daemon, &["is no data folder", "there is base in it", "set another [storage] dir"]);
    for format in [&b""[..], b"their format\n", b"webhookd data\n", b"webhookd data 1 \nmark 00", &[0xFE; 200_000]] {
        fs::write(data.join("FORMAT"), format).unwrap();
        refused("a FORMAT of theirs", &daemon, &["is no data folder", "FORMAT", "set another [storage] dir"]);
    }
}

#[test]
fn a_half_deleted_folder_is_no_reason_to_begin_with_an_empty_one() {
    let mut daemon = furnished(setup());
    let data = daemon.data();
    let whole = daemon.dir().join("whole");
    copy(&data, &whole);
    type Strike = fn(&Path);
    let strikes: [(&str, Strike, &[&str]); 9] = [
        ("FORMAT is gone", |data| fs::remove_file(data.join("FORMAT")).unwrap(), &["FORMAT is gone", "store export"]),
        (
            "FORMAT and the list are gone",
            |data| {
                fs::remove_file(data.join("FORMAT")).unwrap();
                fs::remove_file(data.join("generations")).unwrap();
            },
            &["FORMAT is gone", "store export"],
        ),
        (
            "FORMAT and the generations are gone",
            |data| {
                fs::remove_file(data.join("FORMAT")).unwrap();
                fs::remove_dir_all(data.join("outbox")).unwrap();
            },
            &["FORMAT is gone"],
        ),
        ("outbox is gone", |data| fs::remove_dir_all(data.join("outbox")).unwrap(), &["outbox is gone"]),
        (
            "outbox is a file",
            |data| {
                fs::remove_dir_all(data.join("outbox")).unwrap();
                fs::write(data.join("outbox"), "").unwrap();
            },
            &["outbox is gone"],
        ),
        ("the generations are gone", |data| empty(&data.join("outbox")), &["all its generations are gone"]),
        (
            "the generations and their list are gone",
            |data| {
                empty(&data.join("outbox"));
                fs::remove_file(data.join("generations")).unwrap();
            },
            &["outbox has no generation", "missing or damaged"],
        ),
        (
            "the generations are gone and their list is damaged",
            |data| {
                empty(&data.join("outbox"));
                fs::write(data.join("generations"), "damage").unwrap();
            },
            &["outbox has no generation", "missing or damaged"],
        ),
        (
            "only FORMAT is left",
            |data| {
                let format = fs::read(data.join("FORMAT")).unwrap();
                empty(data);
                fs::write(data.join("FORMAT"), format).unwrap();
            },
            &["outbox is gone"],
        ),
    ];
    for (what, strike, words) in strikes {
        strike(&data);
        refused(what, &daemon, words);
        refused(what, &daemon, &["half deleted", "restore it from a backup, or remove the whole folder"]);
        fs::remove_dir_all(&data).unwrap();
        copy(&whole, &data);
        all_there(what, &mut daemon);
    }
    fs::write(data.join("FORMAT"), "webhookd data 1\nmark 0123\n").unwrap();
    refused("a damaged FORMAT", &daemon, &["FORMAT", "is damaged", "restore it from a backup", "store export"]);
}

#[test]
fn a_folder_that_cannot_be_written_to_is_told_as_such() {
    let Some(disk) = Tmpfs::mount(32) else { return };
    let mut daemon = furnished(setup().data(disk.path("data")).storage("min_free = \"0B\""));
    let new = setup().data(disk.path("new")).prepare();
    let unmade = setup().data(disk.path("unmade")).prepare();
    fs::remove_dir(unmade.data()).unwrap();
    disk.read_only(true);
    let words =
        ["cannot write", "Read-only file system", "make that file system writable, or set another [storage] dir"];
    refused("a full store", &daemon, &words);
    refused("an empty folder", &new, &words);
    refused("no folder", &unmade, &[&["cannot create"], &words[1..]].concat());
    disk.read_only(false);
    all_there("it is writable again", &mut daemon);
}

#[test]
fn a_new_folder_on_a_full_disk_is_made_once_there_is_room() {
    let Some(disk) = Tmpfs::mount(32) else { return };
    let mut daemon = setup().data(disk.path("data")).storage("min_free = \"0B\"").prepare();
    disk.fill_up("filler");
    // The lock is an empty file, for which there is room still; all the rest takes some.
    refused_somehow("a full disk", &daemon, &["cannot write", "No space left", "make room there"]);
    let left: Vec<_> = listing(&daemon.data()).into_keys().skip(1).collect();
    assert_eq!(left, [daemon.data().join("LOCK")]);
    refused("and again", &daemon, &["cannot write", "No space left", "make room there"]);
    disk.remove("filler");
    daemon.run();
    daemon.client().event("a", "1");
    assert!(daemon.stop().success());
}

#[test]
fn a_folder_in_use_is_left_to_its_user() {
    let mut first = setup().start();
    let mut second = setup().prepare();
    fs::remove_dir(second.data()).unwrap();
    std::os::unix::fs::symlink(first.data(), second.data()).unwrap();
    refused_somehow(
        "in use",
        &second,
        &["is in use by another webhookd", "stop that one, or set another [storage] dir"],
    );
    // The first one goes on, and however it ends, the folder is free then.
    let id = first.client().event("a", "1");
    first.client().look(&id);
    first.kill();
    second.run();
    second.client().look(&id);
}

#[test]
fn what_is_no_folder_is_no_data_folder() {
    let daemon = setup().prepare();
    fs::remove_dir(daemon.data()).unwrap();
    fs::write(daemon.data(), "somebody's notes").unwrap();
    refused("a file", &daemon, &["must be a folder", "set another [storage] dir"]);
    for (folder, words) in [
        // A file where a folder is needed, and a file system that takes no folders: obstacles for the superuser, too.
        ("webhookd.toml/data", ["Not a directory", "must be a folder"]),
        ("/proc/webhookd-test", ["cannot create the data folder", "set another [storage] dir"]),
    ] {
        let data = setup().prepare();
        let config = fs::read_to_string(data.config()).unwrap();
        let folder = data.dir().join(folder);
        let folder = folder.to_str().unwrap();
        fs::write(data.config(), config.replace(data.data().to_str().unwrap(), folder)).unwrap();
        let output = try_start(&data);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.contains(folder) && words.iter().all(|word| said.contains(word)), "{said}");
    }
}
