//! Derivations from the files of a store, for commands.
//!
//! A file that is there counts, valid or not: commands only show it or compute with it. What a run
//! builds is read by the engine, which asks for valid ones.

use std::sync::Arc;

use crate::format::output_path::BoxError;
use crate::format::{Derivation, StorePath, aterm};
use crate::store::Store;

use super::CliError;

/// Reads the derivation at `path`.
///
/// # Errors
/// [`CliError::Input`] with the path if there is no such file or it is no derivation.
pub fn read(store: &Store, path: &StorePath) -> Result<Derivation, CliError> {
    let shown = store.layout().store_dir.print(path);
    let wrong = |why: String| CliError::Input(format!("cannot read derivation `{shown}`: {why}"));
    let Some(name) = path.name().strip_suffix(".drv") else {
        return Err(wrong("its name does not end in `.drv`".to_owned()));
    };
    let file = store.layout().real(path);
    let bytes = crate::base::fs::read_regular(&file, aterm::MOST_BYTES)
        .map_err(|error| wrong(error.io().to_string()))?;
    aterm::parse(name, &bytes, &store.layout().store_dir).map_err(|e| wrong(e.to_string()))
}

/// Reads for a computation of output paths.
///
/// # Errors
/// As [`read`].
pub fn load(store: &Store, path: &StorePath) -> Result<Arc<Derivation>, BoxError> {
    read(store, path).map(Arc::new).map_err(|e| e.to_string().into())
}
