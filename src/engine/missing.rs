//! What a run would do (`--dry-run`, semantics A47): which derivations would be built, which
//! paths nobody can make. Reads the graph level by level, each level with one look at the store.

use std::collections::{BTreeMap, BTreeSet};

use super::probe::read_plain;
use crate::format::{Derivation, StorePath};
use crate::machine::Failure;
use crate::machine::vocab::{Kind, Outputs, Request};
use crate::store::{Store, StoreError};

/// What would be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Derivations that would be built, dependencies before dependents where they were met so.
    pub will_build: Vec<StorePath>,
    /// Paths that are not valid and that no source has.
    pub unknown: BTreeSet<StorePath>,
    /// Derivations that cannot be read, and why.
    pub bad: Vec<(StorePath, Failure)>,
}

/// Looks at everything that `requests` need.
///
/// # Errors
/// [`StoreError`] if the database cannot be read.
pub fn missing(store: &Store, requests: &[Request]) -> Result<Missing, StoreError> {
    let mut plan = Missing::default();
    let mut seen: BTreeMap<StorePath, Outputs> = BTreeMap::new();
    let mut level: BTreeMap<StorePath, Outputs> = BTreeMap::new();
    let mut opaque: BTreeSet<StorePath> = BTreeSet::new();
    for request in requests {
        let path = request.key.path.clone();
        match request.key.kind {
            Kind::Path => drop(opaque.insert(path)),
            Kind::Derivation => want(&mut level, path, &request.outputs),
        }
    }
    while !level.is_empty() {
        let (wanted, drvs) = read_level(store, level, &mut plan)?;
        level = BTreeMap::new();
        let outputs = drvs.iter().flat_map(|(path, drv)| wanted_paths(drv, &wanted[path]));
        let valid = store.view().valid(&outputs.collect::<BTreeSet<_>>())?;
        for (path, drv) in &drvs {
            if wanted_paths(drv, &wanted[path]).iter().all(|output| valid.contains(output)) {
                continue;
            }
            plan.will_build.push(path.clone());
            opaque.extend(drv.input_srcs.iter().cloned());
            for (input, node) in &drv.input_drvs {
                let outputs = Outputs::named(node.outputs.iter().map(String::as_str));
                let known = seen.get(input).is_some_and(|known| known.covers(&outputs));
                if !known {
                    want(&mut seen, input.clone(), &outputs);
                    want(&mut level, input.clone(), &outputs);
                }
            }
        }
    }
    plan.will_build.reverse();
    let mut once = BTreeSet::new();
    plan.will_build.retain(|path| once.insert(path.clone()));
    let valid = store.view().valid(&opaque)?;
    plan.unknown.extend(opaque.into_iter().filter(|path| !valid.contains(path)));
    Ok(plan)
}

fn want(level: &mut BTreeMap<StorePath, Outputs>, path: StorePath, outputs: &Outputs) {
    match level.get_mut(&path) {
        Some(known) => drop(known.widen(outputs)),
        None => drop(level.insert(path, outputs.clone())),
    }
}

type Level = (BTreeMap<StorePath, Outputs>, Vec<(StorePath, Derivation)>);

fn read_level(
    store: &Store,
    level: BTreeMap<StorePath, Outputs>,
    plan: &mut Missing,
) -> Result<Level, StoreError> {
    let valid = store.view().valid(level.keys())?;
    let mut drvs = Vec::new();
    for path in level.keys() {
        if !valid.contains(path) {
            plan.unknown.insert(path.clone());
            continue;
        }
        match read_plain(store, path) {
            Ok(drv) => drvs.push((path.clone(), drv)),
            Err(why) => plan.bad.push((path.clone(), why)),
        }
    }
    Ok((level, drvs))
}

fn wanted_paths(drv: &Derivation, wanted: &Outputs) -> Vec<StorePath> {
    let ours = drv.outputs.iter().filter(|(name, _)| wanted.contains(name));
    ours.filter_map(|(_, output)| output.path().cloned()).collect()
}
