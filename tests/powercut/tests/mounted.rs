//! The file system as the kernel serves it. These tests mount it: they need `/dev/fuse`, and root or `fusermount3`.
#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{OFlags, statvfs};
use tempfile::TempDir;

const EIO: i32 = 5;

/// A mount; unmounted when dropped.
struct Mount {
    dir: TempDir,
    child: Child,
    control: BufReader<UnixStream>,
}

impl Mount {
    fn new(options: &[&str]) -> Self {
        Self::on(TempDir::with_prefix("powercut-").unwrap(), options)
    }

    fn on(dir: TempDir, options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_powercut"))
            .arg("mount")
            .arg("--backing")
            .arg(dir.path().join("backing"))
            .arg("--at")
            .arg(dir.path().join("at"))
            .arg("--control")
            .arg(dir.path().join("control"))
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let control = BufReader::new(UnixStream::connect(dir.path().join("control")).unwrap());
        Self { dir, child, control }
    }

    /// What came back for one command.
    fn say(&mut self, command: &str) -> String {
        writeln!(self.control.get_mut(), "{command}").unwrap();
        let mut line = String::new();
        self.control.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    #[track_caller]
    fn tell(&mut self, command: &str) {
        let answer = self.say(command);
        assert!(answer.starts_with("ok"), "{command}: {answer}");
    }

    #[track_caller]
    fn power_cycle(&mut self, mode: &str) {
        self.tell(&format!("cut {mode}"));
        self.tell("restore");
    }

    fn stat(&mut self, name: &str) -> u64 {
        let stats = self.say("stats");
        let stats: serde_json::Value = serde_json::from_str(stats.strip_prefix("ok ").unwrap()).unwrap();
        stats[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {stats}"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("at").join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> File {
        let file = File::create(self.path(name)).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file
    }

    fn put_synced(&self, name: &str, bytes: &[u8]) {
        self.put(name, bytes).sync_all().unwrap();
    }

    fn get(&self, name: &str) -> Option<Vec<u8>> {
        match fs::read(self.path(name)) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => panic!("{name}: {error}"),
        }
    }

    fn sync_dir(&self, name: &str) {
        File::open(self.path(name)).unwrap().sync_all().unwrap();
    }

    /// Ends it in good order and returns its folder.
    fn quit(mut self) -> TempDir {
        self.tell("quit");
        assert!(self.child.wait().unwrap().success());
        std::mem::replace(&mut self.dir, TempDir::new().unwrap())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = writeln!(self.control.get_mut(), "quit");
            let _ = self.child.wait();
        }
    }
}

#[track_caller]
fn fails_with<T>(code: i32, outcome: std::io::Result<T>) {
    let error = outcome.err().expect("it should have failed");
    assert_eq!(error.raw_os_error(), Some(code), "{error}");
}

#[track_caller]
fn fails_for_space<T>(outcome: std::io::Result<T>) {
    assert_eq!(outcome.err().expect("it should have failed").kind(), ErrorKind::StorageFull);
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n * 7 % 251 + 1) as u8).collect()
}

#[test]
fn without_fsync_data_is_lost_kept_or_torn() {
    let mut mount = Mount::new(&["--seed", "1"]);
    let new = pattern(30_000);
    let (mut lost, mut whole, mut part) = (0, 0, 0);
    for round in 0..20 {
        mount.put_synced("f", &[b'o'; 30_000]);
        // Not by truncation, which would be a change of its own.
        OpenOptions::new().write(true).open(mount.path("f")).unwrap().write_all_at(&new, 0).unwrap();
        assert_eq!(mount.get("f").unwrap(), new);
        mount.power_cycle(if round == 0 { "nothing" } else { "random" });
        let left = mount.get("f").unwrap();
        assert_eq!(left.len(), new.len());
        let sectors = left.chunks(512).zip(new.chunks(512)).filter(|(left, new)| left == new).count();
        assert!(round > 0 || sectors == 0);
        match sectors {
            0 => lost += 1,
            59 => whole += 1,
            _ => part += 1,
        }
    }
    assert!(part >= 5, "{lost} {whole} {part}");
}

#[test]
fn what_was_synced_survives_and_old_handles_are_dead() {
    let mut mount = Mount::new(&["--seed", "2"]);
    let bytes = pattern(50_000);
    for round in 0..10 {
        mount.put_synced(&format!("synced{round}"), &bytes);
        mount.put(&format!("not{round}"), &bytes);
        mount.power_cycle("random");
        for earlier in 0..=round {
            assert_eq!(mount.get(&format!("synced{earlier}")).unwrap(), bytes);
        }
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(mount.path("h")).unwrap();
    file.write_all_at(&bytes, 12_345).unwrap();
    file.sync_data().unwrap();
    mount.tell("cut");
    fails_with(EIO, file.write_at(b"x", 0));
    fails_with(EIO, file.read_at(&mut [0; 10], 0));
    fails_with(EIO, file.sync_all());
    fails_with(EIO, fs::metadata(mount.path("h")));
    mount.tell("restore");
    fails_with(EIO, file.write_at(b"x", 0));
    assert_eq!(mount.get("h").unwrap(), [vec![0; 12_345], bytes].concat());
}

#[test]
fn with_strict_directories_a_name_needs_an_fsync_of_its_directory() {
    let mut mount = Mount::new(&["--strict-dirs"]);
    mount.put_synced("final", b"old");
    mount.sync_dir("");
    mount.put_synced("draft", b"new");
    fs::rename(mount.path("draft"), mount.path("final")).unwrap();
    assert_eq!(mount.get("final").unwrap(), b"new");
    mount.power_cycle("random");
    assert_eq!((mount.get("final"), mount.get("draft")), (Some(b"old".to_vec()), None));
    mount.put_synced("draft", b"new");
    fs::rename(mount.path("draft"), mount.path("final")).unwrap();
    mount.sync_dir("");
    mount.power_cycle("random");
    assert_eq!(mount.get("final").unwrap(), b"new");
    fs::remove_file(mount.path("final")).unwrap();
    mount.power_cycle("random");
    assert_eq!(mount.get("final").unwrap(), b"new");
}

#[test]
fn without_strict_directories_names_behave_as_in_a_journal() {
    let mut mount = Mount::new(&["--seed", "5"]);
    fs::create_dir_all(mount.path("a/b/c")).unwrap();
    mount.put_synced("a/b/c/f", b"x");
    mount.power_cycle("nothing");
    assert_eq!(mount.get("a/b/c/f").unwrap(), b"x");
    let mut moved = 0;
    for round in 0..20_u8 {
        mount.put_synced("draft", &[round]);
        fs::rename(mount.path("draft"), mount.path("final")).unwrap();
        mount.power_cycle("random");
        moved += u32::from(mount.get("draft").is_none());
        assert!([mount.get("draft"), mount.get("final")].contains(&Some(vec![round])));
    }
    assert!((2..=18).contains(&moved), "{moved}");
}

#[test]
fn with_ordered_data_an_append_shows_no_zeros() {
    let mut mount = Mount::new(&["--ordered", "--seed", "3"]);
    for round in 0..20 {
        let name = format!("f{round}");
        let file = mount.put(&name, &[1; 1000]);
        file.sync_all().unwrap();
        for n in 0..20 {
            file.write_all_at(&[1; 1000], 1000 + n * 1000).unwrap();
        }
        mount.power_cycle("random");
        let left = mount.get(&name).unwrap();
        assert!(left.len() >= 1000 && left.iter().all(|byte| *byte == 1));
    }
}

#[test]
fn a_write_with_o_sync_is_durable_at_once() {
    let mut mount = Mount::new(&[]);
    for (name, flag) in [("sync", OFlags::SYNC), ("dsync", OFlags::DSYNC)] {
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).custom_flags(flag.bits() as i32);
        options.open(mount.path(name)).unwrap().write_all(b"synced").unwrap();
        mount.power_cycle("nothing");
        assert_eq!(mount.get(name).unwrap(), b"synced");
    }
    assert_eq!(mount.stat("writes_synced"), 2);
}

#[test]
fn an_fsync_that_failed_stays_failed() {
    let mut mount = Mount::new(&[]);
    mount.put_synced("f", b"old");
    let file = OpenOptions::new().write(true).open(mount.path("f")).unwrap();
    file.write_all_at(b"new", 0).unwrap();
    mount.tell("eio once");
    fails_with(EIO, file.sync_all());
    // The second one succeeds and means nothing.
    file.sync_all().unwrap();
    assert_eq!(mount.get("f").unwrap(), b"new");
    mount.power_cycle("nothing");
    assert_eq!(mount.get("f").unwrap(), b"old");
    mount.tell("eio on");
    let file = OpenOptions::new().write(true).open(mount.path("f")).unwrap();
    for _ in 0..3 {
        file.write_all_at(b"x", 0).unwrap();
        fails_with(EIO, file.sync_data());
    }
    fails_with(EIO, File::open(mount.path("")).unwrap().sync_all());
    mount.tell("eio off");
    file.sync_data().unwrap();
    assert_eq!(mount.stat("fsyncs_failed"), 5);
}

#[test]
fn a_full_disk_refuses_and_says_so_and_has_room_again() {
    let mut mount = Mount::new(&["--capacity", "1048576"]);
    let free = |mount: &Mount| {
        let space = statvfs(mount.path("")).unwrap();
        (space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize)
    };
    assert_eq!(free(&mount), (1 << 20, 1 << 20));
    mount.put_synced("f", &pattern(50_000));
    assert_eq!(free(&mount).0, (1 << 20) - 13 * 4096);
    fails_for_space(fs::write(mount.path("big"), vec![1; 1 << 20]));
    assert_eq!(free(&mount).0, 0);
    fails_for_space(File::create(mount.path("another")));
    // Overwriting needs no room.
    OpenOptions::new().write(true).open(mount.path("f")).unwrap().write_all_at(b"over", 0).unwrap();
    fs::remove_file(mount.path("big")).unwrap();
    // The kernel lets go of a closed file in its own time.
    let begun = std::time::Instant::now();
    while free(&mount).0 != (1 << 20) - 13 * 4096 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "what was removed is free again");
        std::thread::yield_now();
    }

    mount.tell("enospc on");
    assert_eq!(free(&mount).0, 0);
    fails_for_space(fs::write(mount.path("f"), b"x"));
    fails_for_space(File::create(mount.path("g")));
    mount.tell("enospc 1000");
    assert_eq!(free(&mount).0, 0);
    mount.put("g", &[1; 1000]);
    fails_for_space(OpenOptions::new().append(true).open(mount.path("g")).unwrap().write_all(b"x"));
    mount.tell("enospc 10000");
    assert_eq!(free(&mount).0, 8192);
    mount.tell("enospc on hidden");
    assert!(free(&mount).0 > 8192);
    fails_for_space(File::create(mount.path("h")));
    mount.tell("enospc off");
    mount.put_synced("g", b"x");
}

#[test]
fn truncating_allocating_and_appending_go_through() {
    let mut mount = Mount::new(&[]);
    let bytes = pattern(50_000);
    mount.put_synced("f", &bytes);
    let file = OpenOptions::new().write(true).open(mount.path("f")).unwrap();
    file.set_len(10).unwrap();
    assert_eq!(mount.get("f").unwrap(), bytes[..10]);
    mount.power_cycle("nothing");
    assert_eq!(mount.get("f").unwrap(), bytes);
    let mut file = OpenOptions::new().append(true).open(mount.path("f")).unwrap();
    file.set_len(5000).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 9000).unwrap();
    file.write_all(b"end").unwrap();
    file.sync_all().unwrap();
    mount.power_cycle("nothing");
    assert_eq!(mount.get("f").unwrap(), [&bytes[..5000], &[0; 4000], b"end"].concat());
}

#[test]
fn locks_hold_between_handles() {
    let mount = Mount::new(&[]);
    let (first, second) = (mount.put("f", b""), File::open(mount.path("f")).unwrap());
    first.try_lock().unwrap();
    assert!(second.try_lock().is_err());
    drop(first);
    second.try_lock().unwrap();
}

#[test]
fn an_armed_cut_comes_at_its_operation_and_repeats_with_its_seed() {
    let mut mount = Mount::new(&[]);
    let mut left = Vec::new();
    for _ in 0..2 {
        mount.tell("seed 77");
        for _ in 0..3 {
            mount.put_synced("f", &[0; 40_000]);
            mount.tell("arm 4");
            let file = OpenOptions::new().write(true).open(mount.path("f")).unwrap();
            let written = (0..100).take_while(|n| file.write_all_at(&pattern(4096), n * 4096).is_ok()).count();
            assert_eq!(written, 3);
            mount.tell("wait-cut 5");
            mount.tell("restore");
            left.push(mount.get("f").unwrap());
        }
    }
    assert_eq!(left[..3], left[3..]);
    assert!(left[0] != left[1] || left[1] != left[2]);

    mount.tell("arm 2 nothing mkdir");
    mount.put_synced("g", b"counts only from the mkdir on");
    fs::create_dir(mount.path("d")).unwrap();
    fails_with(EIO, fs::create_dir(mount.path("d/e")));
    mount.tell("restore");
    mount.tell("arm 3");
    mount.tell("arm 0");
    for _ in 0..5 {
        mount.put_synced("g", b"disarmed");
    }
    assert_eq!(mount.say("wait-cut 0"), "err no cut within 0ns");
}

#[test]
fn a_flipped_byte_and_a_failing_read_are_seen_by_readers() {
    let mut mount = Mount::new(&[]);
    fs::create_dir(mount.path("d")).unwrap();
    mount.put_synced("d/f", b"abc");
    assert_eq!(mount.get("d/f").unwrap(), b"abc");
    mount.tell("flip d/f 1");
    assert_eq!(mount.get("d/f").unwrap(), [b'a', !b'b', b'c']);
    assert_eq!(mount.say("flip d/f 3"), "err d/f: the disk holds no byte 3 of it");
    // Once would not do: where a readahead fails, the kernel reads again.
    mount.tell("eio-read on");
    fails_with(EIO, fs::read(mount.path("d/f")));
    mount.tell("eio-read off");
    assert!(mount.get("d/f").is_some());
}

#[test]
fn many_names_come_and_go() {
    let mut mount = Mount::new(&[]);
    fs::create_dir(mount.path("d")).unwrap();
    for n in 0..2000 {
        mount.put(&format!("d/name{n}"), b"x");
    }
    mount.sync_dir("d");
    mount.power_cycle("nothing");
    assert_eq!(fs::read_dir(mount.path("d")).unwrap().count(), 2000);
    fs::remove_dir_all(mount.path("d")).unwrap();
    assert_eq!(fs::read_dir(mount.path("")).unwrap().count(), 0);
    mount.sync_dir("");
    assert_eq!(mount.stat("unsynced_names"), 0);
}

#[test]
fn what_was_unmounted_in_good_order_is_there_the_next_time() {
    let mount = Mount::new(&[]);
    fs::create_dir(mount.path("d")).unwrap();
    mount.put("d/f", b"not even synced");
    mount.put("gone", b"x");
    let mut mount = Mount::on(mount.quit(), &[]);
    assert_eq!(mount.get("d/f").unwrap(), b"not even synced");
    fs::remove_file(mount.path("gone")).unwrap();
    mount.tell("cut everything");
    let dump = mount.dir.path().join("dump");
    mount.tell(&format!("dump {}", dump.display()));
    let dir = mount.quit();
    let names = |folder: &Path| fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names(&dir.path().join("backing")), ["d"]);
    assert_eq!(names(&dump), ["d"]);
}

#[test]
fn sigterm_is_a_clean_unmount() {
    let mut mount = Mount::new(&[]);
    mount.put("f", b"x");
    let pid = rustix::process::Pid::from_child(&mount.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(mount.child.wait().unwrap().success());
    assert_eq!(fs::read(mount.dir.path().join("backing/f")).unwrap(), b"x");
}
