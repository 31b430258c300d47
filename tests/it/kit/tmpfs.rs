//! A small file system of its own, to be filled up or made read-only. It takes root, or sudo without a password.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const MIB: usize = 1 << 20;

/// A mounted one; gone when dropped.
#[derive(Debug)]
pub(crate) struct Tmpfs {
    dir: TempDir,
}

/// Runs a command that only root may run; what it said where it failed.
fn as_root(arguments: &[&str]) -> Result<(), String> {
    let mut last = String::new();
    for before in [&[][..], &["sudo", "-n"]] {
        let all: Vec<&str> = before.iter().chain(arguments).copied().collect();
        match Command::new(all[0]).args(&all[1..]).output() {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => last = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => last = format!("{}: {error}", all[0]),
        }
    }
    Err(last)
}

impl Tmpfs {
    /// Mounts one of so many MiB. Where that is not allowed it says so, and the test that needs it is left out.
    pub(crate) fn mount(mib: usize) -> Option<Self> {
        let dir = TempDir::with_prefix("webhookd-tmpfs-").expect("a temporary folder");
        let options = format!("size={mib}m,mode=1777");
        let path = dir.path().to_str().expect("a path in UTF-8");
        match as_root(&["mount", "-t", "tmpfs", "-o", &options, "webhookd-test", path]) {
            Ok(()) => Some(Self { dir }),
            Err(why) => {
                println!("LEFT OUT: a small tmpfs cannot be mounted here ({why}); run the tests as root");
                None
            }
        }
    }

    /// A path on it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes it read-only, or writable again.
    pub(crate) fn read_only(&self, read_only: bool) {
        let how = if read_only { "remount,ro" } else { "remount,rw" };
        as_root(&["mount", "-o", how, self.dir.path().to_str().expect("a path in UTF-8")]).expect("it is remounted");
    }

    /// Bytes that are free.
    pub(crate) fn free_bytes(&self) -> u64 {
        let told = rustix::fs::statvfs(self.dir.path()).expect("it is mounted");
        told.f_bavail * told.f_frsize
    }

    /// Puts a file there that takes so many MiB.
    pub(crate) fn fill_mib(&self, name: &str, mib: usize) {
        fs::write(self.path(name), vec![1; mib * MIB]).expect("there is room");
    }

    /// Puts a file there that takes all that is left.
    pub(crate) fn fill_up(&self, name: &str) {
        let mut file = File::create(self.path(name)).expect("an empty file needs no room");
        for bytes in [MIB, 4096] {
            while file.write_all(&vec![1; bytes]).is_ok() {}
        }
    }

    /// Removes a file, and so makes room.
    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("it is there");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let path: &Path = self.dir.path();
        // Whoever has a file open there still, after a failure say, keeps it until then.
        if let Err(why) = as_root(&["umount", "-l", path.to_str().expect("a path in UTF-8")]) {
            eprintln!("{} is mounted still: {why}", path.display());
        }
    }
}
