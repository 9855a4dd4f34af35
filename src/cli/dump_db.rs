//! `drover dump-db`: the registration text of paths, as `nix-store --dump-db` prints it.
//!
//! The counterpart of `drover register`, and of `nix-store --load-db`, which reads it as well. Only
//! valid paths are printed, and each record is complete: hash, size, deriver and references.

use crate::format::Registration;
use crate::format::validity::encode_registration;

use super::args::DumpDbArgs;
use super::config::Config;
use super::query::infos_of;
use super::store::{open_to_ask, resolve_all};
use super::{CliError, output};

/// Prints the records of these paths in their order, or of all valid paths.
///
/// # Errors
/// [`CliError`] with the path that is not valid or cannot be used.
pub fn run(config: &Config, args: &DumpDbArgs) -> Result<(), CliError> {
    let store = open_to_ask(config)?;
    let records: Vec<Registration> = if args.paths.is_empty() {
        let all = store.db().all_valid()?;
        store.db().infos(&all)?.values().map(Registration::full).collect()
    } else {
        let paths = resolve_all(store.layout(), &args.paths)?;
        let infos = infos_of(&store, &paths)?;
        paths.iter().filter_map(|path| infos.get(path)).map(Registration::full).collect()
    };
    let text = encode_registration(&records, &store.layout().store_dir);
    Ok(output::write(text.as_bytes())?)
}
