//! From the targets of a build, as they were given, to requests to the engine.
//!
//! All are looked at before any is built, so that every bad one is told at once. What a recipe or
//! a store path is others know.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use super::CliError;
use super::config::Config;
use super::instantiate::{instantiate_recipe, split_argument};
use super::store::resolve;
use crate::engine::{Forced, Key, Mode, Outputs, Request};
use crate::format::derived_path::{DerivedPath, OutputsSpec};
use crate::store::Store;

/// Why nothing is built: the whole command cannot go on, or some targets are not to be used.
#[derive(Debug)]
pub struct Refused {
    /// What ends the command: the last of the errors.
    pub error: Box<CliError>,
    /// Targets that cannot be used by their place, and why; empty if it is not about targets.
    pub bad: BTreeMap<usize, String>,
}

impl<E: Into<CliError>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self { error: Box::new(error.into()), bad: BTreeMap::new() }
    }
}

/// Requests for all of `targets`, in their order. Recipes are instantiated.
///
/// # Errors
/// [`Refused`] with every target that cannot be used; all errors but the last are said.
pub fn requests(
    store: &Arc<Store>,
    config: &Config,
    targets: &[OsString],
    mode: Mode,
) -> Result<Vec<Request>, Refused> {
    let (mut requests, mut bad, mut last) = (Vec::new(), BTreeMap::new(), None);
    for (place, target) in targets.iter().enumerate() {
        match requests_of(store, config, target, mode) {
            Ok(more) => requests.extend(more),
            Err(error) => {
                bad.insert(place, error.to_string());
                if let Some(before) = last.replace(error) {
                    super::complain(&format!("error: {before}"));
                }
            }
        }
    }
    match last {
        Some(error) => Err(Refused { error: Box::new(error), bad }),
        None => Ok(requests),
    }
}

fn requests_of(
    store: &Arc<Store>,
    config: &Config,
    target: &OsStr,
    mode: Mode,
) -> Result<Vec<Request>, CliError> {
    if let Some((file, table)) = split_argument(target)? {
        let tables: Vec<&str> = table.into_iter().collect();
        let made = instantiate_recipe(store, &file, &tables, &config.platform.system)?;
        let request = |drv| request(Key::derivation(drv, mode), Outputs::All);
        return Ok(made.into_iter().map(|one| request(one.drv)).collect());
    }
    Ok(vec![match derived_path(store, target)? {
        DerivedPath::Opaque(path) => request(Key::path(path, Mode::Normal), Outputs::All),
        DerivedPath::Built { drv, outputs } => {
            let outputs = match outputs {
                OutputsSpec::All => Outputs::All,
                OutputsSpec::Names(names) => Outputs::named(names.iter().map(String::as_str)),
            };
            request(Key::derivation(drv, mode), outputs)
        }
    }])
}

/// A path of the store, or something that leads there, with outputs behind `^` or `!`.
fn derived_path(store: &Store, target: &OsStr) -> Result<DerivedPath, CliError> {
    let dir = &store.layout().store_dir;
    let text = target.to_string_lossy();
    if let Ok(parsed) = DerivedPath::parse(&text, dir) {
        return Ok(parsed);
    }
    let split = text.find(['^', '!']).unwrap_or(text.len());
    let path = resolve(store.layout(), OsStr::new(&text[..split]))?;
    let whole = format!("{}{}", dir.print(&path), &text[split..]);
    DerivedPath::parse(&whole, dir)
        .map_err(|error| CliError::Input(format!("cannot build `{text}`: {error}")))
}

fn request(key: Key, outputs: Outputs) -> Request {
    Request { key, outputs, forced: Forced::No }
}
