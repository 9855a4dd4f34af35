//! `drover build --dry-run --json`: what a run would do, as a list.
//!
//! The objects are those of [`super::report_json`], with the status `would-build` for what is not
//! built yet: targets first and in their order, then what else would be built, dependencies before
//! dependents. Nothing has run, so there are neither logs nor times. It asks the store nothing: the
//! plan has been made.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{derivation_read, report_json};
use crate::engine::Request;
use crate::engine::missing::Missing;
use crate::engine::report::{Status, TargetReport};
use crate::format::StorePath;
use crate::machine::Failure;
use crate::machine::vocab::{Kind, Outputs};
use crate::store::Store;

/// The plan as JSON.
#[must_use]
pub fn plan(store: &Store, requests: &[Request], plan: &Missing) -> Value {
    let dir = &store.layout().store_dir;
    let would: BTreeSet<&StorePath> = plan.will_build.iter().collect();
    let unusable = unusable(plan);
    let mut told = BTreeSet::new();
    let mut list = Vec::new();
    for request in requests {
        let path = &request.key.path;
        told.insert(path);
        let outputs = match request.key.kind {
            Kind::Derivation => outputs(store, path, &request.outputs),
            Kind::Path => BTreeMap::new(),
        };
        let failure = unusable.get(path).cloned();
        let status = if failure.is_some() { Status::Failed } else { Status::AlreadyValid };
        let record = report_json::target(&record(path, status, failure, outputs), dir);
        list.push(if would.contains(path) { would_build(record) } else { record });
    }
    for path in plan.will_build.iter().filter(|path| !told.contains(path)) {
        let valid = record(path, Status::AlreadyValid, None, outputs(store, path, &Outputs::All));
        list.push(would_build(report_json::target(&valid, dir)));
    }
    for (path, why) in unusable.into_iter().filter(|(path, _)| !told.contains(path)) {
        let failed = record(path, Status::Failed, Some(why), BTreeMap::new());
        list.push(report_json::target(&failed, dir));
    }
    Value::Array(list)
}

/// No run ends with this status, so it has no other name.
fn would_build(mut record: Value) -> Value {
    record["status"] = Value::from("would-build");
    record
}

fn record(
    path: &StorePath,
    status: Status,
    failure: Option<Failure>,
    outputs: BTreeMap<String, StorePath>,
) -> TargetReport {
    TargetReport {
        path: path.clone(),
        outputs,
        real_paths: BTreeMap::new(),
        status,
        failure,
        blocked: 0,
        log: None,
        times: None,
    }
}

/// What can neither be built nor used, and why.
fn unusable(plan: &Missing) -> BTreeMap<&StorePath, Failure> {
    let missing = |path: &StorePath| match path.is_derivation() {
        true => Failure::MissingDerivation,
        false => Failure::NoSubstituter,
    };
    let unknown = plan.unknown.iter().map(|path| (path, missing(path)));
    unknown.chain(plan.bad.iter().map(|(path, why)| (path, why.clone()))).collect()
}

/// A derivation that cannot be read any more has been told as bad.
fn outputs(store: &Store, path: &StorePath, wanted: &Outputs) -> BTreeMap<String, StorePath> {
    let Ok(drv) = derivation_read::read(store, path) else { return BTreeMap::new() };
    let named = drv.outputs.iter().filter(|(name, _)| wanted.contains(name));
    named.filter_map(|(name, output)| Some((name.clone(), output.path()?.clone()))).collect()
}
