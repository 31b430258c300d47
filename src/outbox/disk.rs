//! What the outbox asks of the disk beside the engine's own reads and writes: fsync and room.
//!
//! It stands behind a trait so that a simulation can refuse what a real disk refuses only once in years.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this process may still write.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// A disk.
pub trait Disk: Debug + Send + Sync {
    /// Makes a file's data durable.
    ///
    /// # Errors
    /// As `fdatasync(2)`. After an error the pages that were not written may be lost, and no later call brings them back.
    fn sync_data(&self, file: &File) -> io::Result<()>;

    /// Asked before each write to the engine.
    ///
    /// # Errors
    /// What the write would meet.
    fn before_write(&self) -> io::Result<()>;

    /// The room on the file system that holds `dir`.
    ///
    /// # Errors
    /// As `statvfs(3)`.
    fn space(&self, dir: &Path) -> io::Result<Space>;
}

/// A disk, shared by the parts of an outbox.
pub type SharedDisk = Arc<dyn Disk>;

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    /// The real disk, for [`OutboxOptions`](super::OutboxOptions).
    #[must_use]
    pub fn shared() -> SharedDisk {
        Arc::new(Self)
    }
}

impl Disk for RealDisk {
    fn sync_data(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn before_write(&self) -> io::Result<()> {
        Ok(())
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let told = rustix::fs::statvfs(dir)?;
        Ok(Space {
            free_bytes: told.f_bavail.saturating_mul(told.f_frsize),
            total_bytes: told.f_blocks.saturating_mul(told.f_frsize),
        })
    }
}
