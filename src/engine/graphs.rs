//! Graphs of the store for builders: the input closure, `exportReferencesGraph`,
//! `exportBuildReferencesGraph`.
//!
//! The three differ in what they follow: input closure, only references; `exportReferencesGraph`,
//! the outputs of every derivation in it and their closures as well; `exportBuildReferencesGraph`,
//! the closure of a `.drv` and the outputs of all derivations in that. Everything is read through
//! [`Shared::view`], which also knows what is ingested and not yet committed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::failures::failure;
use super::probe::read_derivation;
use super::shared::Shared;
use crate::format::closure_size;
use crate::format::content_address::ContentAddress;
use crate::format::options::Exports;
use crate::format::structured_attrs::{GraphEntry, graph_json};
use crate::format::{Derivation, Registration, StorePath, ValidPathInfo, validity};
use crate::machine::Failure;
use crate::store::Direction;

/// Everything a builder may use: input sources, and of each input derivation the full closure of
/// the outputs that are asked for.
pub(super) fn input_closure(
    shared: &Shared,
    drv: &Derivation,
) -> Result<BTreeSet<StorePath>, Failure> {
    let mut roots = drv.input_srcs.clone();
    for (path, node) in &drv.input_drvs {
        let outputs = shared.outputs_of(path)?;
        for name in &node.outputs {
            let Some(output) = outputs.get(name.as_str()) else {
                return Err(Failure::BadDerivation(format!(
                    "requires non-existent output '{name}' from input derivation '{}'",
                    shared.store_dir().print(path)
                )));
            };
            roots.insert(output.clone());
        }
    }
    closure(shared, &roots)
}

/// Files for the builder's folder: name and text.
pub(super) fn exported_files(
    shared: &Shared,
    exports: &Exports,
    inputs: &BTreeSet<StorePath>,
) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut files = Vec::new();
    for (file, roots) in &exports.references_graph {
        let paths = references_graph(shared, roots, inputs)?;
        files.push((file.clone(), registration(shared, &paths)?));
    }
    files.extend(build_graph_files(shared, exports)?);
    Ok(files)
}

/// The files of `exportBuildReferencesGraph`, which structured attributes have as well.
pub(super) fn build_graph_files(
    shared: &Shared,
    exports: &Exports,
) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut files = Vec::new();
    for (file, drv) in &exports.build_references_graph {
        let mut paths = closure(shared, &[drv.clone()].into())?;
        let outputs = outputs_of_derivations(shared, &paths)?;
        paths.extend(outputs);
        files.push((file.clone(), registration(shared, &paths)?));
    }
    Ok(files)
}

/// `exportReferencesGraph` as structured attributes have it: JSON by key.
pub(super) fn exported_json(
    shared: &Shared,
    exports: &Exports,
    inputs: &BTreeSet<StorePath>,
) -> Result<BTreeMap<String, Value>, Failure> {
    let mut graphs = BTreeMap::new();
    for (key, roots) in &exports.references_graph {
        // Whole: a closure with the closures of what it adds.
        let infos = infos(shared, &references_graph(shared, roots, inputs)?)?;
        let sizes = closure_size::closure_sizes(&infos);
        let mut entries = Vec::with_capacity(infos.len());
        for (path, info) in &infos {
            entries.push(entry(info, sizes.get(path).copied().unwrap_or_default())?);
        }
        graphs.insert(key.clone(), graph_json(&entries, shared.store_dir()));
    }
    Ok(graphs)
}

/// NAR sizes of the closure of `roots`.
pub(super) fn closure_sizes(
    shared: &Shared,
    roots: &BTreeSet<StorePath>,
) -> Result<BTreeMap<StorePath, u64>, Failure> {
    let infos = infos(shared, &closure(shared, roots)?)?;
    Ok(infos.into_iter().map(|(path, info)| (path, info.nar_size)).collect())
}

fn entry(info: &ValidPathInfo, closure_size: u64) -> Result<GraphEntry, Failure> {
    let ca = info.ca.as_deref().map(ContentAddress::parse).transpose();
    Ok(GraphEntry {
        path: info.path.clone(),
        nar_hash: info.nar_hash,
        nar_size: info.nar_size,
        references: info.references.clone(),
        ca: ca.map_err(|error| {
            Failure::Engine(format!("reading the content address of `{}`: {error}", info.path))
        })?,
        closure_size,
    })
}

fn references_graph(
    shared: &Shared,
    roots: &BTreeSet<StorePath>,
    inputs: &BTreeSet<StorePath>,
) -> Result<BTreeSet<StorePath>, Failure> {
    if let Some(outside) = roots.iter().find(|root| !inputs.contains(*root)) {
        return Err(Failure::BadDerivation(format!(
            "cannot export references of path '{}' because it is not in the input closure of the \
             derivation",
            shared.store_dir().print(outside)
        )));
    }
    let mut paths = closure(shared, roots)?;
    let outputs = outputs_of_derivations(shared, &paths)?;
    if !outputs.is_empty() {
        paths.extend(closure(shared, &outputs)?);
    }
    Ok(paths)
}

fn outputs_of_derivations(
    shared: &Shared,
    paths: &BTreeSet<StorePath>,
) -> Result<BTreeSet<StorePath>, Failure> {
    let mut outputs = BTreeSet::new();
    for path in paths.iter().filter(|path| path.is_derivation()) {
        let drv = read_derivation(shared, path)?;
        outputs.extend(drv.outputs.keys().filter_map(|name| drv.output_path(name)).cloned());
    }
    Ok(outputs)
}

fn registration(shared: &Shared, paths: &BTreeSet<StorePath>) -> Result<Vec<u8>, Failure> {
    let infos = infos(shared, paths)?;
    let records: Vec<Registration> = infos.values().map(Registration::bare).collect();
    Ok(validity::encode_registration(&records, shared.store_dir()).into_bytes())
}

fn infos(
    shared: &Shared,
    paths: &BTreeSet<StorePath>,
) -> Result<BTreeMap<StorePath, ValidPathInfo>, Failure> {
    let infos = shared.view().infos(paths).map_err(|e| failure("reading references", &e))?;
    match paths.iter().find(|path| !infos.contains_key(*path)) {
        None => Ok(infos),
        Some(path) => Err(Failure::Engine(format!(
            "`{}` is not valid, but its references are wanted",
            shared.store_dir().print(path)
        ))),
    }
}

fn closure(shared: &Shared, roots: &BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, Failure> {
    shared
        .view()
        .closure(roots, Direction::References)
        .map_err(|error| failure("computing a closure", &error))
}
