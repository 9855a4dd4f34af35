//! `drover query`: one question about store paths, answered as `nix-store --query` answers it.
//!
//! However many paths there are, a question costs a fixed number of statements: the order of
//! lines and the shapes of `--tree` and `--graph` are computed from what they returned.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::{Derivation, StorePath, ValidPathInfo};
use crate::store::{Direction, Store};

use super::args::{QueryArgs, Question};
use super::config::Config;
use super::store::{open_to_ask, resolve_all};
use super::{CliError, derivation_read, output, query_tree};

/// What is known of paths, by path.
pub(super) type Infos = BTreeMap<StorePath, ValidPathInfo>;

/// Asks and prints.
///
/// # Errors
/// [`CliError`] with the path that is not valid or cannot be used.
pub fn run(config: &Config, args: &QueryArgs) -> Result<(), CliError> {
    let store = open_to_ask(config)?;
    let paths = resolve_all(store.layout(), &args.paths)?;
    let asked = &args.question;
    if asked.tree || asked.graph {
        let infos = closure_infos(&store, &paths)?;
        let dir = &store.layout().store_dir;
        return Ok(output::stream(|out| match asked.tree {
            true => query_tree::tree(&paths, &infos, dir, out),
            false => query_tree::graph(&paths, &infos, out),
        })?);
    }
    let lines = answer(&store, asked, &paths)?;
    Ok(output::stream(|out| lines.iter().try_for_each(|line| writeln!(out, "{line}")))?)
}

fn answer(store: &Store, asked: &Question, paths: &[StorePath]) -> Result<Vec<String>, CliError> {
    let full = |path: &StorePath| store.layout().store_dir.print(path);
    let ordered = |found| Ok(sorted(store, &found)?.iter().map(full).collect());
    let db = store.db();
    if asked.references {
        ordered(infos_of(store, paths)?.into_values().flat_map(|info| info.references).collect())
    } else if asked.referrers {
        ordered(db.referrers(paths)?.into_values().flatten().collect())
    } else if asked.requisites {
        infos_of(store, paths)?;
        ordered(db.closure(paths, Direction::References)?)
    } else if asked.referrers_closure {
        let mut found = db.closure(paths, Direction::Referrers)?;
        // As Nix: a path is in its own closure, valid or not.
        found.extend(paths.iter().cloned());
        ordered(found)
    } else if asked.outputs {
        let found = outputs(store, paths)?;
        Ok(found.iter().flatten().map(full).collect())
    } else if asked.derivers || asked.valid_derivers {
        derivers(store, asked, paths)
    } else {
        let infos = infos_of(store, paths)?;
        let each = paths.iter().filter_map(|path| infos.get(path));
        Ok(each.map(|info| fact(store, asked, info)).collect())
    }
}

fn fact(store: &Store, asked: &Question, info: &ValidPathInfo) -> String {
    if asked.hash {
        return info.nar_hash.typed_base32();
    }
    if asked.size {
        return info.nar_size.to_string();
    }
    let full = |path: &StorePath| store.layout().store_dir.print(path);
    info.deriver.as_ref().map_or_else(|| "unknown-deriver".to_owned(), full)
}

fn derivers(store: &Store, asked: &Question, paths: &[StorePath]) -> Result<Vec<String>, CliError> {
    let valid = store.db().valid_derivers(paths)?;
    let infos = if asked.derivers { store.db().infos(paths)? } else { Infos::new() };
    let mut lines = Vec::new();
    for path in paths {
        let mut found: BTreeSet<&StorePath> = valid.get(path).into_iter().flatten().collect();
        found.extend(infos.get(path).and_then(|info| info.deriver.as_ref()));
        lines.extend(found.into_iter().map(|drv| store.layout().store_dir.print(drv)));
    }
    Ok(lines)
}

/// Of each path in turn: outputs of a derivation in the order of their paths; of anything else the
/// path itself.
fn outputs(store: &Store, paths: &[StorePath]) -> Result<Vec<BTreeSet<StorePath>>, CliError> {
    let mut drvs = BTreeMap::new();
    for path in paths.iter().filter(|path| path.is_derivation()) {
        drvs.insert(path, derivation_read::read(store, path)?);
    }
    let open = |drv: &Derivation| drv.outputs.values().any(|output| output.path().is_none());
    let asked: Vec<&StorePath> =
        drvs.iter().filter(|(_, drv)| open(drv)).map(|(path, _)| *path).collect();
    let known = match asked.is_empty() {
        true => BTreeMap::new(),
        false => store.db().derivation_outputs(asked)?,
    };
    let of = |path: &StorePath| match drvs.get(path) {
        None => Ok([path.clone()].into()),
        Some(drv) => outputs_of(store, path, drv, known.get(path)),
    };
    paths.iter().map(of).collect()
}

fn outputs_of(
    store: &Store,
    path: &StorePath,
    drv: &Derivation,
    known: Option<&BTreeMap<String, StorePath>>,
) -> Result<BTreeSet<StorePath>, CliError> {
    let paths = drv.outputs.iter().map(|(name, output)| {
        let found = output.path().or_else(|| known.and_then(|known| known.get(name)));
        found.cloned().ok_or_else(|| {
            let full = store.layout().store_dir.print(path);
            CliError::Input(format!(
                "the path of output `{name}` of `{full}` is not known before it is built"
            ))
        })
    });
    paths.collect()
}

/// What is known of `paths`, all of which must be valid.
///
/// # Errors
/// [`CliError::Input`] with the first path that is not.
pub(super) fn infos_of(store: &Store, paths: &[StorePath]) -> Result<Infos, CliError> {
    let infos = store.db().infos(paths)?;
    match paths.iter().find(|&path| !infos.contains_key(path)) {
        None => Ok(infos),
        Some(path) => Err(not_valid(store, path)),
    }
}

/// As [`infos_of`], for all that the paths need.
///
/// # Errors
/// As [`infos_of`].
pub(super) fn closure_infos(store: &Store, paths: &[StorePath]) -> Result<Infos, CliError> {
    let closure = store.db().closure(paths, Direction::References)?;
    match paths.iter().find(|&path| !closure.contains(path)) {
        None => Ok(store.db().infos(&closure)?),
        Some(path) => Err(not_valid(store, path)),
    }
}

fn not_valid(store: &Store, path: &StorePath) -> CliError {
    let full = store.layout().store_dir.print(path);
    let store = store.layout().real_store_dir.display();
    CliError::Input(format!("path `{full}` is not valid in the store at `{store}`"))
}

fn sorted(store: &Store, paths: &BTreeSet<StorePath>) -> Result<Vec<StorePath>, CliError> {
    let references = store.db().references(paths)?;
    Ok(references_first(paths, |path| references.get(path)))
}

/// `paths` in the order in which Nix lists them: each after those of `paths` that it refers to
/// directly, else by name.
pub(super) fn references_first<'r>(
    paths: &'r BTreeSet<StorePath>,
    references: impl Fn(&StorePath) -> Option<&'r BTreeSet<StorePath>>,
) -> Vec<StorePath> {
    let none = BTreeSet::new();
    // A stack of our own: chains of references may be longer than a thread's stack is deep.
    let children = |path: &StorePath| references(path).map(BTreeSet::iter);
    let mut seen = BTreeSet::new();
    let mut done = Vec::with_capacity(paths.len());
    for root in paths {
        if !seen.insert(root) {
            continue;
        }
        let mut open = vec![(root, children(root).unwrap_or_else(|| none.iter()))];
        while let Some((path, left)) = open.last_mut() {
            let path: &StorePath = path;
            match left.next() {
                Some(next) if paths.contains(next) => {
                    if seen.insert(next) {
                        open.push((next, children(next).unwrap_or_else(|| none.iter())));
                    }
                }
                Some(_) => {}
                None => {
                    done.push(path.clone());
                    open.pop();
                }
            }
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(n: u8) -> StorePath {
        StorePath::from_parts(&[n; 20], "x").unwrap()
    }

    #[test]
    fn references_come_first_even_in_long_chains_and_circles() {
        let all: Vec<StorePath> = (0..=255).map(path).collect();
        let chain: BTreeMap<_, BTreeSet<_>> =
            all.windows(2).map(|w| (w[0].clone(), [w[1].clone(), w[0].clone()].into())).collect();
        let set: BTreeSet<_> = all.iter().cloned().collect();
        let place = |order: &[StorePath], p: &StorePath| order.iter().position(|q| q == p);
        let order = references_first(&set, |p| chain.get(p));
        assert_eq!(order.len(), 256);
        for (from, to) in &chain {
            let to = to.iter().find(|p| *p != from).unwrap();
            assert!(place(&order, to) < place(&order, from));
        }
        let circle: BTreeMap<_, BTreeSet<_>> =
            [(path(1), [path(2)].into()), (path(2), [path(1)].into())].into();
        let set: BTreeSet<_> = circle.keys().cloned().collect();
        assert_eq!(references_first(&set, |p| circle.get(p)).len(), 2);
    }
}
