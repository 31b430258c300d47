//! What stands before the generations are opened: what is kept of endpoints, and the roll.

use std::sync::Arc;

use super::endpoints::EndpointRecords;
use super::folder::Folder;
use super::recovery::Inventory;
use super::roll::Roll;
use super::store::Store;
use super::{OpenError, OutboxOptions};
use crate::model::roster::Roster;
use crate::observe::Metrics;

/// What is kept of endpoints. A file that is damaged is set aside, and all endpoints count as active: a daemon
/// that does not start would lose more.
pub(super) fn open_endpoints(folder: &Folder) -> Result<EndpointRecords, OpenError> {
    let path = folder.endpoints();
    match EndpointRecords::open(path.clone(), folder.mark()) {
        Err(OpenError::Damaged { what, .. }) => {
            let aside = path.with_extension("damaged");
            tracing::error!(
                %what,
                aside = %aside.display(),
                "the file with what is kept of the endpoints is damaged and was set aside: all endpoints are active now, \
                 also those that were paused or disabled"
            );
            std::fs::rename(&path, &aside).map_err(|source| OpenError::Io {
                what: "cannot set aside",
                path: path.clone(),
                source,
            })?;
            EndpointRecords::open(path, folder.mark())
        }
        other => other,
    }
}

/// The store without its generations, and which there are.
pub(super) fn open_store(
    folder: Folder,
    options: &OutboxOptions,
    roster: Arc<Roster>,
    metrics: &Arc<Metrics>,
) -> Result<(Arc<Store>, Inventory), OpenError> {
    let io = |what| {
        let path = folder.dir().to_path_buf();
        move |source| OpenError::Io { what, path, source }
    };
    folder.tidy().map_err(io("cannot tidy up the outbox in"))?;
    let mut numbers = folder.generations().map_err(io("cannot read the generations of"))?;
    // A crash may leave the newest half made. It is on no roll then, and never held anything.
    if let Some(newest) = numbers.last().copied()
        && folder.is_half_made(newest)
        && !Roll::names(&folder, newest)
    {
        folder.remove_generation(newest).map_err(io("cannot tidy up the outbox in"))?;
        numbers.pop();
    }
    let half_deleted = |what: String| OpenError::HalfDeleted { dir: folder.dir().to_path_buf(), what };
    if numbers.is_empty() && !folder.is_new() && !Roll::is_there(&folder) {
        let what = "outbox has no generation, and the file generations, which lists them, is missing or damaged";
        return Err(half_deleted(what.to_owned()));
    }
    let half_removed = folder.half_removed().map_err(io("cannot read the generations of"))?;
    let (mut roll, mut missing) = Roll::open(&folder, &numbers);
    missing.retain(|no| !half_removed.contains(no));
    if numbers.is_empty() && !missing.is_empty() {
        return Err(half_deleted(format!("all its generations are gone ({} of them)", missing.len())));
    }
    if folder.is_new() {
        roll.save().and_then(|_| folder.establish()).map_err(io("cannot write to the data folder"))?;
    }
    // From now on each of them is missed once it is gone. What is gone already is told first.
    if missing.is_empty() {
        let saved = roll.save().and_then(|_| half_removed.iter().try_for_each(|no| folder.remove_emptied(*no)));
        if let Err(error) = saved {
            tracing::warn!(%error, "the roll of generations could not be written; it is tried again");
        }
    }
    let disk = Arc::clone(&options.disk);
    let store = Store::new(folder, roll, roster, disk, Arc::clone(metrics));
    Ok((Arc::new(store), Inventory { numbers, missing }))
}
