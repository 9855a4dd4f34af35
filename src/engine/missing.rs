//! What a run would do (`--dry-run`): which derivations would be built, which
//! paths nobody can make.
//!
//! Reads the graph level by level, each with one look at the store. Only what was asked for is
//! looked up as a derivation: what a valid one refers to is valid.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::thread;

use super::probe::read_plain;
use crate::format::{Derivation, StorePath};
use crate::machine::Failure;
use crate::machine::vocab::{Kind, Outputs, Request};
use crate::store::{Store, StoreError};

/// Derivations that are worth a thread.
const SHARE: usize = 64;
/// Threads that read at most.
const MOST_READERS: usize = 4;

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
    let mut seen: BTreeMap<StorePath, Outputs> = BTreeMap::new();
    let mut level: BTreeMap<StorePath, Outputs> = BTreeMap::new();
    let mut opaque: BTreeSet<StorePath> = BTreeSet::new();
    let mut plan = Missing::default();
    for request in requests {
        let path = request.key.path.clone();
        match request.key.kind {
            Kind::Path => drop(opaque.insert(path)),
            Kind::Derivation => want(&mut level, path, &request.outputs),
        }
    }
    let valid = store.view().valid(level.keys())?;
    plan.unknown.extend(level.keys().filter(|path| !valid.contains(*path)).cloned());
    level.retain(|path, _| valid.contains(path));
    while !level.is_empty() {
        let wanted = std::mem::take(&mut level);
        let drvs = read_level(store, &wanted, &mut plan)?;
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

fn read_level(
    store: &Store,
    level: &BTreeMap<StorePath, Outputs>,
    plan: &mut Missing,
) -> Result<Vec<(StorePath, Derivation)>, StoreError> {
    let (mut drvs, mut unread) = (Vec::new(), Vec::new());
    for (path, read) in read_all(store, &level.keys().collect::<Vec<_>>()) {
        match read {
            Ok(drv) => drvs.push((path.clone(), drv)),
            Err(why) => unread.push((path, why)),
        }
    }
    let valid = store.view().valid(unread.iter().map(|(path, _)| *path))?;
    for (path, why) in unread {
        match valid.contains(path) {
            true => plan.bad.push((path.clone(), why)),
            false => drop(plan.unknown.insert(path.clone())),
        }
    }
    Ok(drvs)
}

type Reads<'p> = Vec<(&'p StorePath, Result<Derivation, Failure>)>;

/// Reads derivations in their order, many of them on several threads.
fn read_all<'p>(store: &Store, paths: &[&'p StorePath]) -> Reads<'p> {
    let one = |path: &&'p StorePath| (*path, read_plain(store, path));
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let readers = cores.min(MOST_READERS).min(paths.len() / SHARE);
    if readers < 2 {
        return paths.iter().map(one).collect();
    }
    let mut shares = paths.chunks(paths.len().div_ceil(readers));
    let first = shares.next().unwrap_or_default();
    thread::scope(|scope| {
        let others: Vec<_> = shares
            .map(|share| (share, scope.spawn(move || share.iter().map(one).collect::<Reads<'p>>())))
            .collect();
        let mut reads: Reads<'p> = first.iter().map(one).collect();
        for (share, other) in others {
            match other.join() {
                Ok(more) => reads.extend(more),
                Err(_) => reads.extend(share.iter().map(|path| {
                    let why = format!("reading `{path}` ended in a panic");
                    (*path, Err(Failure::Engine(why)))
                })),
            }
        }
        reads
    })
}

fn wanted_paths(drv: &Derivation, wanted: &Outputs) -> Vec<StorePath> {
    let ours = drv.outputs.iter().filter(|(name, _)| wanted.contains(name));
    ours.filter_map(|(_, output)| output.path().cloned()).collect()
}
