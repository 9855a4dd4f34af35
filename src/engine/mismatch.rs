//! A fixed output with another hash than was asked for: kept under the path that belongs to the
//! hash it has, so that whoever corrects the derivation need not fetch again.
//!
//! The build fails all the same. The lock of that path is tried, never waited for: this build holds
//! locks of its own, and two that wait for each other would hang.

use std::collections::BTreeSet;

use super::build::{Task, submit, understood};
use super::failures::failure;
use super::outputs::Misnamed;
use crate::base::lock::{Deletion, PathLocks};
use crate::machine::Failure;
use crate::machine::vocab::Mode;
use crate::store::ingest::move_into_place;
use crate::store::registrar::Build;
use crate::store::{Registration, Tree};

/// Registers `misnamed` if it can be; returns why the build fails.
pub(super) fn keep(task: &Task<'_>, misnamed: Misnamed) -> Failure {
    let Misnamed { info, tree, failure } = misnamed;
    let here = tree.path.clone();
    let kept = match task.mode {
        Mode::Check => Ok(()),
        _ => register(task, Registration::from(info), tree),
    };
    let removed = task.shared.remove(&here);
    match kept.and(removed) {
        Err(why @ Failure::NoSpace { .. }) => why,
        // That it could not be kept is not why the build fails.
        Ok(()) | Err(_) => failure,
    }
}

fn register(task: &Task<'_>, registration: Registration, tree: Tree) -> Result<(), Failure> {
    let shared = task.shared;
    let path = registration.info.path.clone();
    shared.protect([&path]).map_err(|e| failure("protecting an output", &e))?;
    let lock = PathLocks::try_acquire([shared.store.layout().lock_file(&path)])
        .map_err(|e| failure("locking an output", &e))?;
    let Ok(lock) = lock else { return Ok(()) };
    let valid = shared.view().valid([&path]).map_err(|e| failure("asking what is valid", &e))?;
    if valid.is_empty() {
        let place = shared.real(&path);
        shared.remove(&place)?;
        move_into_place(&tree.path, &place)
            .map_err(|e| failure("moving an output into place", &e))?;
        let build = Build {
            id: u64::from(task.goal.0),
            registrations: vec![registration],
            trees: vec![Tree { path: place, entries: tree.entries }],
            built_on: BTreeSet::new(),
        };
        understood(submit(shared, build)?.recv())?;
    }
    // Deleting is safe at any moment, and a lock file that stays is taken over by the next.
    let _ = lock.release(Deletion::Delete);
    Ok(())
}
