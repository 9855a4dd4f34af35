//! `drover register`: calls paths valid that lie in the store, as `nix-store --register-validity`
//! and `--load-db` do.
//!
//! Text with hashes (`dump-db`) is believed and replaces what was known. Text without is for trees
//! that somebody put there: they are made canonical, hashed, and registered if they are not valid
//! yet. Which of the two it is shows in the first record. All records count or none.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::format::output_path::Modulo;
use crate::format::validity::decode_registration;
use crate::format::{HashMode, Registration};
use crate::store::canonicalise::{InodesSeen, Rules};
use crate::store::durable::MOST_FSYNCS;
use crate::store::ingest::{IngestRequest, ingest};
use crate::store::source::flush;
use crate::store::{self, Access, Store, Tree};

use super::CliError;
use super::args::RegisterArgs;
use super::config::Config;
use super::store::open_store;
use crate::base::error::with_causes;

/// Registration text that is read: some millions of paths.
const MOST_BYTES: u64 = 2 << 30;

/// Reads standard input and registers.
///
/// # Errors
/// [`CliError`] with the line or the path that is wrong; nothing is registered then.
pub fn run(config: &Config, args: &RegisterArgs) -> Result<(), CliError> {
    let store = open_store(config, Access::Create)?;
    let text = super::input::read(MOST_BYTES)?;
    let mode = if args.hash_given { HashMode::Given } else { mode_of(&text) };
    let records = decode_registration(&text, &store.layout().store_dir, mode)
        .map_err(|e| CliError::Input(format!("standard input: {e}")))?;
    let ignored: Vec<String> = config.isolating.ignored_acls.iter().cloned().collect();
    register(&store, records, mode, &ignored)
}

/// After the path comes a hash, or a line that is empty or a path.
fn mode_of(text: &[u8]) -> HashMode {
    let second = text.split(|&b| b == b'\n').nth(1).unwrap_or_default();
    if second.is_empty() || second.starts_with(b"/") { HashMode::Absent } else { HashMode::Given }
}

fn register(
    store: &Store,
    mut records: Vec<Registration>,
    mode: HashMode,
    ignored_acls: &[String],
) -> Result<(), CliError> {
    store.add_temp_roots(records.iter().map(|record| &record.path))?;
    if mode == HashMode::Absent {
        let mut seen = store.view().valid(records.iter().map(|record| &record.path))?;
        records.retain(|record| seen.insert(record.path.clone()));
    }
    let syncer = store.syncer(flush)?;
    let (mut registrations, mut trees) = (Vec::new(), Vec::new());
    let mut memo = Modulo::new(store.layout().store_dir.clone());
    for record in records {
        let place = store.layout().real(&record.path);
        place
            .symlink_metadata()
            .map_err(|e| CliError::Input(format!("cannot register `{}`: {e}", place.display())))?;
        let (nar, entries) = match record.nar {
            // How large they are is not known: one flush of the whole disk is the safe choice.
            Some(nar) => (nar, MOST_FSYNCS + 1),
            None => measure(&place, ignored_acls)?,
        };
        let outputs = match record.path.is_derivation() {
            true => store.stated_outputs(&record.path, &place, &mut memo)?,
            false => BTreeMap::new(),
        };
        let info = record.into_info(nar.0, nar.1);
        registrations.push(store::Registration { info, outputs });
        trees.push(Tree { path: place, entries });
    }
    syncer.sync(&trees)?;
    Ok(store.db().register(&registrations)?)
}

type Measured = ((crate::format::Hash, u64), u64);

fn measure(place: &Path, ignored_acls: &[String]) -> Result<Measured, CliError> {
    let wrong =
        |why: String| CliError::Input(format!("cannot register `{}`: {why}", place.display()));
    let meta = place.symlink_metadata().map_err(|e| wrong(e.to_string()))?;
    let mode = meta.permissions().mode();
    if !meta.is_symlink() && mode & 0o022 != 0 {
        // A build's output would be refused for this; here the caller answers for the tree.
        let closed = std::fs::Permissions::from_mode(mode & 0o7755);
        std::fs::set_permissions(place, closed).map_err(|e| wrong(e.to_string()))?;
    }
    let candidates = BTreeSet::new();
    let rules = Rules { owner: None, ignored_acls };
    let request = IngestRequest { path: place, candidates: &candidates, fixed: None, rules };
    let found = ingest(&request, &mut InodesSeen::default()).map_err(|e| wrong(with_causes(&e)))?;
    Ok(((found.nar_hash, found.nar_size), found.entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_tells_the_form() {
        let hash = "0".repeat(64);
        assert_eq!(mode_of(format!("/nix/store/x\n{hash}\n5\n\n0\n").as_bytes()), HashMode::Given);
        for absent in ["/nix/store/x\n\n0\n", "/nix/store/x\n/nix/store/d\n0\n", "", "/x"] {
            assert_eq!(mode_of(absent.as_bytes()), HashMode::Absent, "{absent:?}");
        }
    }
}
