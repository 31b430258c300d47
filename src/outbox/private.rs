//! The events of the data folder are this user's alone.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const OF_OTHERS: u32 = 0o077;

/// Lets nobody else into the folder of the events, also where an earlier start or another tool has let them. What stands
/// around it may be shared, as with those who make backups.
pub(super) fn keep(outbox: &Path) {
    // One that is gone is told where it is missed.
    let Ok(found) = fs::metadata(outbox) else { return };
    if found.permissions().mode() & OF_OTHERS != 0
        && let Err(error) = fs::set_permissions(outbox, Permissions::from_mode(0o700))
    {
        NotPrivate { folder: outbox, error: &error }.tell();
    }
}

/// Others on this machine can look into the folder, and that could not be changed.
#[derive(Debug)]
struct NotPrivate<'a> {
    folder: &'a Path,
    error: &'a io::Error,
}

impl NotPrivate<'_> {
    fn tell(&self) {
        tracing::warn!(
            folder = %self.folder.display(), error = %self.error,
            "others on this machine can look into this folder, which holds events, and it could not be made private; \
             `chmod 700` it"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_is_let_in() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = dir.path().join("outbox");
        keep(&outbox);
        assert!(!outbox.exists(), "one that is missed is not made");
        fs::create_dir(&outbox).unwrap();
        for mode in [0o755, 0o770, 0o700] {
            fs::set_permissions(&outbox, Permissions::from_mode(mode)).unwrap();
            keep(&outbox);
            assert_eq!(fs::metadata(&outbox).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }
}
