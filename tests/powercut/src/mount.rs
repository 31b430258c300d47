//! From the mount to the clean end of it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use fuser::{Config, INodeNo, MountOption, Notifier, SessionACL};
use rustix::mount::UnmountFlags;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use thiserror::Error;

use crate::backing;
use crate::control;
use crate::disk::{Disk, Forget};
use crate::faults::Faults;
use crate::filesystem::PowercutFilesystem;
use crate::image::{Rules, Tree};

/// Requests that are served at once.
const THREADS: usize = 4;

/// What to mount, where and how.
#[derive(Debug, Default)]
pub(crate) struct MountOptions {
    /// Without it the disk is empty at the start, and nothing of it is kept.
    pub(crate) backing: Option<PathBuf>,
    pub(crate) at: PathBuf,
    pub(crate) control: PathBuf,
    pub(crate) seed: u64,
    pub(crate) capacity_bytes: u64,
    pub(crate) fsync_delay: Duration,
    pub(crate) rules: Rules,
}

/// What went wrong, and where.
#[derive(Debug, Error)]
#[error("cannot {what} {}: {source}", path.display())]
pub(crate) struct MountError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MountError {
    let path = path.to_path_buf();
    move |source| MountError { what, path, source }
}

/// Mounts, says `ready` on the standard output, and serves until `quit`, SIGTERM, SIGINT, or until somebody unmounts it.
pub(crate) fn run(options: &MountOptions) -> Result<(), MountError> {
    let MountOptions { backing, at, control, .. } = options;
    for folder in backing.iter().chain([at]) {
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
    }
    let at = &at.canonicalize().map_err(failed("find", at))?;
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(failed("wait for signals to unmount", at))?;

    let mut tree = Tree::new(options.rules);
    let known = match backing {
        Some(folder) => backing::read(&mut tree, folder).map_err(failed("read", folder))?,
        None => BTreeSet::new(),
    };
    let faults = Faults { capacity_bytes: options.capacity_bytes, ..Faults::default() };
    let (disk, forget) = Disk::new(tree, options.seed, faults, options.fsync_delay);

    let session =
        fuser::spawn_mount(PowercutFilesystem(disk.clone()), at, &config()).map_err(failed("mount at", at))?;
    drop_caches(session.notifier(), forget);
    let (quit, ends) = channel::<Option<UnixStream>>();
    let on_signal = quit.clone();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            let _ = on_signal.send(None);
        }
    });
    on_unmount(session.guard, quit.clone());
    // What an earlier mount may have left.
    let _ = fs::remove_file(control);
    let listener = UnixListener::bind(control).map_err(failed("listen at", control));
    let asked = listener.map(|listener| {
        control::serve(listener, disk.clone(), quit);
        println!("ready");
        // Whoever started this and went away will unmount it some other way.
        let _ = io::stdout().flush();
        ends.recv().ok().flatten()
    });

    unmount(at);
    let asked = asked?;
    let mut state = disk.lock();
    if !state.power_off {
        // As a clean unmount does.
        state.tree.sync_all();
    }
    let written = match backing {
        Some(folder) => backing::write(&state.tree, folder, &known).map_err(failed("write", folder)),
        None => Ok(()),
    };
    let _ = fs::remove_file(control);
    if let Some(mut stream) = asked {
        let _ = match &written {
            Ok(()) => writeln!(stream, "ok"),
            Err(error) => writeln!(stream, "err {error}"),
        };
    }
    written
}

fn config() -> Config {
    let mut config = Config::default();
    config.mount_options =
        vec![MountOption::FSName("powercut".to_owned()), MountOption::DefaultPermissions, MountOption::NoAtime];
    // Others than the owner can only be let in where /etc/fuse.conf allows it.
    config.acl = if rustix::process::geteuid().is_root() { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(THREADS);
    config
}

/// Has the kernel drop its pages of lost inodes.
fn drop_caches(notifier: Notifier, forget: Receiver<Forget>) {
    std::thread::spawn(move || {
        for Forget { inodes, done } in forget {
            for ino in inodes {
                // One that it does not know is as good as dropped.
                let _ = notifier.inval_inode(INodeNo(ino), 0, 0);
            }
            if let Some(done) = done {
                let _ = done.send(());
            }
        }
    });
}

/// Ends too when somebody else unmounts it.
fn on_unmount(session: std::thread::JoinHandle<io::Result<()>>, quit: Sender<Option<UnixStream>>) {
    std::thread::spawn(move || {
        let _ = session.join();
        let _ = quit.send(None);
    });
}

/// Unmounts; where a process still has something open, lazily.
fn unmount(at: &Path) {
    for flags in [UnmountFlags::empty(), UnmountFlags::DETACH] {
        if rustix::mount::unmount(at, flags).is_ok() {
            return;
        }
    }
    // Who is not root may do it only by way of the setuid helper, which also mounted it.
    let _ = std::process::Command::new("fusermount3").args(["-u", "-q", "-z", "--"]).arg(at).status();
}
