//! `drover derivation show | add | instantiate`.
//!
//! JSON is that of `nix derivation` 2.34: base names of paths, format version 4. What is added is
//! checked as if it came from an enemy: its output paths must follow from it. Nothing is built.

use std::collections::BTreeSet;

use crate::format::output_path::{Modulo, check_invariants, fill_output_paths};
use crate::format::{StorePath, derivation_json};
use crate::store::{Access, Direction, Store};

use super::args::DerivationCommand;
use super::config::Config;
use super::instantiate::{drv_text, instantiate_recipe, split_argument};
use super::query::infos_of;
use super::store::{open_store, open_to_ask, resolve_all};
use super::{CliError, derivation_read, output};
use crate::base::error::with_causes;

/// Runs the subcommand.
///
/// # Errors
/// [`CliError`] with the derivation or recipe that is wrong, where and why.
pub fn run(config: &Config, command: &DerivationCommand) -> Result<(), CliError> {
    match command {
        DerivationCommand::Show { recursive, paths } => {
            let store = open_to_ask(config)?;
            let paths = resolve_all(store.layout(), paths)?;
            let mut drvs = derivations_of(&store, paths)?;
            if *recursive {
                drvs = store.db().closure(&drvs, Direction::References)?;
                drvs.retain(StorePath::is_derivation);
            }
            show(&store, &drvs)
        }
        DerivationCommand::Add => add(&*open_store(config, Access::Create)?),
        DerivationCommand::Instantiate { recipe } => {
            let store = open_store(config, Access::Create)?;
            for argument in recipe {
                let named = split_argument(argument)?;
                let (file, table) = named.unwrap_or_else(|| (argument.into(), None));
                let tables: Vec<&str> = table.into_iter().collect();
                let system = &config.platform.system;
                for made in instantiate_recipe(&store, &file, &tables, system)? {
                    output::line(&store.layout().store_dir.print(&made.drv))?;
                }
            }
            Ok(())
        }
    }
}

/// The derivations themselves, and of other paths those that made them; all valid.
fn derivations_of(store: &Store, paths: Vec<StorePath>) -> Result<BTreeSet<StorePath>, CliError> {
    let infos = infos_of(store, &paths)?;
    let mut drvs = Vec::new();
    for path in paths {
        if path.is_derivation() {
            drvs.push(path);
            continue;
        }
        let deriver = infos.get(&path).and_then(|info| info.deriver.clone());
        drvs.push(deriver.ok_or_else(|| {
            let full = store.layout().store_dir.print(&path);
            CliError::Input(format!("`{full}` does not have a known deriver: name its `.drv`"))
        })?);
    }
    infos_of(store, &drvs)?;
    Ok(drvs.into_iter().collect())
}

fn show(store: &Store, paths: &BTreeSet<StorePath>) -> Result<(), CliError> {
    let mut drvs = Vec::with_capacity(paths.len());
    for path in paths {
        drvs.push((path, derivation_read::read(store, path)?));
    }
    let json = derivation_json::show(drvs.iter().map(|(path, drv)| (*path, drv)))
        .map_err(|e| CliError::Input(format!("cannot show as JSON: {e}")))?;
    Ok(output::line(&derivation_json::text(&json))?)
}

fn add(store: &Store) -> Result<(), CliError> {
    let text = super::input::read(crate::format::aterm::MOST_BYTES)?;
    let dir = &store.layout().store_dir;
    let wrong = |why: String| CliError::Input(format!("derivation JSON on standard input: {why}"));
    let mut drv = derivation_json::parse(&text, dir).map_err(|e| wrong(e.to_string()))?;
    let mut memo = Modulo::new(dir.clone());
    let mut load = |path: &StorePath| derivation_read::load(store, path);
    fill_output_paths(&mut drv, &mut memo, &mut load).map_err(|e| wrong(with_causes(&e)))?;
    let text = drv_text(&drv, dir);
    let path = text.path(dir).map_err(|e| wrong(e.to_string()))?;
    check_invariants(&path, &drv, &mut memo, &mut load).map_err(|e| wrong(with_causes(&e)))?;
    let path = store.add_text(text)?;
    Ok(output::line(&dir.print(&path))?)
}
