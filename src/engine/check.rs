//! `--check`: compares what a second build made with what the store has.
//!
//! The hashes decide; the trees are compared only to name the first file that differs. The valid
//! outputs are never touched: the second result is removed, or with `-K` kept beside the first as
//! `<output>.check`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::build::Work;
use super::failures::failure;
use super::outputs::Taken;
use super::settings::KeepFailed;
use crate::machine::Failure;
use crate::store::ingest::{first_difference, move_into_place};

/// Compares each output; the first that differs fails the build. With `-K` the second result stays
/// as `<output>.check` and is taken off the list of what is removed.
pub(super) fn compare(
    work: &Work<'_>,
    taken: &BTreeMap<String, Taken>,
    to_remove: &mut Vec<PathBuf>,
) -> Result<(), Failure> {
    for output in &work.planned {
        let (Some(second), Some(first)) = (taken.get(&output.name), &output.registered) else {
            continue;
        };
        if first.nar_hash == second.info.nar_hash {
            continue;
        }
        let shared = work.task.shared;
        let first_place = shared.real(&output.path);
        let difference = first_difference(&first_place, &second.at)
            .map_err(|e| failure("comparing both results", &e))?;
        let kept = match shared.settings.keep_failed {
            KeepFailed::Remove => None,
            KeepFailed::Keep => Some(keep(work, &first_place, second, to_remove)?),
        };
        return Err(Failure::NotDeterministic {
            path: output.path.clone(),
            first_difference: difference.unwrap_or_default().display().to_string(),
            kept,
        });
    }
    Ok(())
}

fn keep(
    work: &Work<'_>,
    first: &std::path::Path,
    second: &Taken,
    to_remove: &mut Vec<PathBuf>,
) -> Result<String, Failure> {
    let mut place = first.as_os_str().to_owned();
    place.push(".check");
    let place = PathBuf::from(place);
    work.task.shared.remove(&place)?;
    move_into_place(&second.at, &place).map_err(|e| failure("keeping the second result", &e))?;
    to_remove.retain(|path| *path != second.at);
    Ok(place.display().to_string())
}
