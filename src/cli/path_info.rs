//! `drover path-info`: what the store knows of paths, as `nix path-info` prints it.
//!
//! JSON is that of its format 1: an object by full path, `null` for a path that is not valid. It
//! knows the database alone and looks at no contents: sizes and hashes are those of registration.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::format::closure_size::closure_sizes;
use crate::format::{Origin, StoreDir, StorePath, ValidPathInfo, derivation_json};
use crate::store::Direction;

use super::args::PathInfoArgs;
use super::config::Config;
use super::query::{infos_of, references_first};
use super::store::{open_to_ask, resolve_all};
use super::{CliError, output};

/// Prints.
///
/// # Errors
/// [`CliError`] with the path that is not valid or cannot be used.
pub fn run(config: &Config, args: &PathInfoArgs) -> Result<(), CliError> {
    let store = open_to_ask(config)?;
    let roots = resolve_all(store.layout(), &args.paths)?;
    if !args.json || args.recursive {
        infos_of(&store, &roots)?;
    }
    let mut shown: BTreeSet<StorePath> = roots.iter().cloned().collect();
    let mut infos = if args.recursive || args.closure_size {
        let closure = store.db().closure(&roots, Direction::References)?;
        let infos = store.db().infos(&closure)?;
        if args.recursive {
            shown = closure;
        }
        infos
    } else {
        store.db().infos(&roots)?
    };
    let sizes = if args.closure_size { closure_sizes(&infos) } else { BTreeMap::new() };
    let dir = &store.layout().store_dir;
    if args.json {
        infos.retain(|path, _| shown.contains(path));
        let entry = |path: &StorePath| {
            let value = infos.get(path).map(|info| object(info, sizes.get(path).copied(), dir));
            (dir.print(path), value.unwrap_or(Value::Null))
        };
        let all: Map<String, Value> = shown.iter().map(entry).collect();
        return Ok(output::line(&derivation_json::text(&Value::Object(all)))?);
    }
    let sorted = references_first(&shown, |path| infos.get(path).map(|info| &info.references));
    let lines: Vec<(String, Option<u64>)> =
        sorted.iter().map(|path| (dir.print(path), sizes.get(path).copied())).collect();
    let width = lines.iter().map(|(path, _)| path.len()).max().unwrap_or(0);
    Ok(output::stream(|out| {
        lines.iter().try_for_each(|(path, size)| match size {
            Some(size) => writeln!(out, "{path:width$}\t{size:>11}"),
            None => writeln!(out, "{path}"),
        })
    })?)
}

fn object(info: &ValidPathInfo, closure_size: Option<u64>, dir: &StoreDir) -> Value {
    let mut value = json!({
        "ca": info.ca,
        "deriver": info.deriver.as_ref().map(|path| dir.print(path)),
        "narHash": info.nar_hash.sri(),
        "narSize": info.nar_size,
        "references": info.references.iter().map(|path| dir.print(path)).collect::<Vec<_>>(),
        "registrationTime": info.registration_time,
        "signatures": info.signatures,
        "storeDir": dir.as_str(),
        "ultimate": info.origin == Origin::BuiltHere,
        "version": 1,
    });
    if let Some(size) = closure_size {
        value["closureSize"] = size.into();
    }
    value
}
