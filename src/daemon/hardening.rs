//! What others on this machine may see of the process: its memory holds secrets and payloads.

use std::io;

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask};

/// Has the system write no core dump of this process, and no other process of the same user look into its memory or its
/// environment (prctl(2), `PR_SET_DUMPABLE`; core(5)). Only root still can.
///
/// The limit alone would not do: it is ignored where dumps are handed to a program, as to systemd-coredump.
///
/// # Errors
/// When the system refuses.
pub fn forbid_core_dumps() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}

/// Has every file and folder that this process makes from now on be its user's alone. The storage engine makes its files by
/// itself, so nothing but the process's mask reaches all of them.
pub fn make_files_private() {
    umask(Mode::RWXG | Mode::RWXO);
}
