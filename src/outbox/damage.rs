//! What was found damaged, and what it cost. Kept beside what was set aside, so that it is told until somebody has looked.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;

/// The file with the report, within the folder that was set aside.
pub(super) const REPORT: &str = "REPORT.json";
/// Most ids that one report names.
pub(super) const IDS_MAX: usize = 1000;

/// Damage to one generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The generation.
    pub generation: u32,
    /// When it was found.
    pub at: UnixMs,
    /// What was wrong with it.
    pub what: String,
    /// The loss.
    pub loss: Loss,
    /// The folder that was set aside, untouched.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// What could not be read any more of a generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Events that it still has.
    pub events_kept: u64,
    /// Events that are gone, id and all.
    pub events_lost: u64,
    /// Events whose body is gone: they are kept without it, and their deliveries end dead.
    pub bodies_lost: u64,
    /// The ids of those, at most a thousand.
    pub without_body: Vec<String>,
    /// Endpoints whose name is gone: their deliveries stand under another, and wait to be replayed to the right one.
    pub names_lost: u64,
    /// Packs of delivery states or attempts that are gone: what they told may happen once more.
    pub packs_lost: u64,
    /// Whether it cannot be told how much is gone.
    pub unknown: bool,
}

impl Loss {
    /// Whether nothing is gone at all.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.events_lost + self.bodies_lost + self.names_lost + self.packs_lost == 0 && !self.unknown
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { events_kept, events_lost, bodies_lost, without_body: _, names_lost, packs_lost, unknown } = self;
        if *unknown {
            return f.write_str("nobody can tell what was in it");
        }
        if self.is_none() {
            return write!(f, "all {events_kept} events in it could be saved");
        }
        write!(
            f,
            "{events_kept} events could be saved; {events_lost} are lost, {bodies_lost} more lost their body, and so are \
             {packs_lost} packs of delivery states"
        )?;
        if *names_lost > 0 {
            write!(f, "; {names_lost} endpoint(s) lost their name, and what waits for them is under `lost-name-…`")?;
        }
        Ok(())
    }
}

/// Writes the report into the folder that was set aside.
pub(super) fn write(folder: &Path, damage: &Damage) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(damage).map_err(io::Error::other)?;
    super::folder::write_durably(&folder.join(REPORT), &text)
}

/// The report of a folder that was set aside; `None` where there is none that can be read.
pub(super) fn read(folder: &Path) -> Option<Damage> {
    let mut damage: Damage = serde_json::from_slice(&fs::read(folder.join(REPORT)).ok()?).ok()?;
    damage.folder = folder.to_path_buf();
    Some(damage)
}
