//! From the machine's summary and the books of a run to what is reported.
//!
//! The machine knows how goals ended and who blocked whom, the books know times, logs and outputs;
//! here they are joined. Values only: words and exit codes are made from the report elsewhere. Each
//! root failure appears once, however many goals it blocked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::dispatcher::EndedBy;
use super::report::{
    self, BuiltReport, Counts, FailureReport, Notice, RunReport, Status, TargetReport,
};
use super::shared::{Record, Shared};
use crate::format::StorePath;
use crate::machine::Failure;
use crate::machine::vocab::{FailedGoal, Key, Kind, Outcome, Outputs, Summary, TopResult};

/// The notice for a goal that has ended, if a builder ran for it or it failed by itself.
pub(super) fn build_finished(shared: &Shared, key: &Key, outcome: Outcome) -> Option<Notice> {
    if key.kind != Kind::Derivation {
        return None;
    }
    let duration = shared.books.records.lock().get(&key.path).map(|r| r.times.duration);
    let outcome = match outcome {
        Outcome::Built => report::Outcome::Built,
        Outcome::Failed(Failure::Cancelled) | Outcome::Cancelled if duration.is_some() => {
            report::Outcome::Cancelled
        }
        Outcome::Failed(Failure::Cancelled) | Outcome::Cancelled => return None,
        Outcome::Failed(why) => report::Outcome::Failed(why),
        Outcome::Substituted | Outcome::AlreadyValid | Outcome::Absent => return None,
    };
    let duration = duration.unwrap_or_default();
    Some(Notice::BuildFinished { drv: key.path.clone(), outcome, duration })
}

/// The report of a run.
pub(super) fn run_report(
    shared: &Shared,
    summary: Summary,
    ended_by: EndedBy,
    duration: Duration,
) -> RunReport {
    let records = std::mem::take(&mut *shared.books.records.lock());
    let failed: BTreeMap<_, _> = summary.failures.iter().map(|f| (f.goal, f)).collect();
    let target = |top: &TopResult| {
        let blocked = failed.get(&top.goal).map_or(0, |f| f.blocked);
        target_report(shared, &records, top, blocked)
    };
    let roots = summary.failures.iter().filter(|f| f.root == f.goal && is_news(f));
    let mut built = built(shared, &records, &summary);
    built.sort_by_key(|b| (b.times.stop, b.drv.clone()));
    let tally = summary.tally;
    RunReport {
        targets: summary.tops.iter().map(target).collect(),
        failures: roots.map(|f| failure_report(shared, &records, f)).collect(),
        built,
        counts: Counts {
            built: tally.built,
            already_valid: tally.already_valid,
            substituted: tally.substituted,
            failed: tally.failed,
            dependency_failed: tally.blocked,
            cancelled: tally.cancelled,
        },
        interrupted: ended_by.signal,
        error: ended_by.broken,
        duration,
    }
}

/// A build that was ended since the run was over is no failure to tell of.
fn is_news(failed: &FailedGoal) -> bool {
    failed.failure != Failure::Cancelled
}

fn target_report(
    shared: &Shared,
    records: &BTreeMap<StorePath, Record>,
    top: &TopResult,
    blocked: usize,
) -> TargetReport {
    let path = top.request.key.path.clone();
    let (status, failure) = status(&top.outcome);
    let outputs = wanted_outputs(shared, &top.request.key, &top.request.outputs);
    let record = records.get(&path);
    TargetReport {
        real_paths: outputs.iter().map(|(n, p)| (n.clone(), shared.real(p))).collect(),
        outputs,
        status,
        failure,
        blocked,
        log: log_of(shared, record, &path),
        times: record.map(|r| r.times),
        path,
    }
}

fn log_of(shared: &Shared, record: Option<&Record>, path: &StorePath) -> Option<PathBuf> {
    match record {
        Some(record) => record.log.clone(),
        None => crate::store::logs::find_log(shared.store.layout(), path).map(|log| log.path),
    }
}

fn wanted_outputs(shared: &Shared, key: &Key, wanted: &Outputs) -> BTreeMap<String, StorePath> {
    if key.kind == Kind::Path {
        return BTreeMap::new();
    }
    let known = shared.books.outputs.lock().get(&key.path).map(Arc::clone);
    let known = known.iter().flat_map(|outputs| outputs.iter());
    let ours = known.filter(|(name, _)| wanted.contains(name));
    ours.map(|(name, path)| (name.to_string(), path.clone())).collect()
}

fn status(outcome: &Outcome) -> (Status, Option<Failure>) {
    match outcome {
        Outcome::Built => (Status::Built, None),
        Outcome::Substituted => (Status::Substituted, None),
        Outcome::AlreadyValid => (Status::AlreadyValid, None),
        Outcome::Absent => (Status::Failed, Some(Failure::NoSubstituter)),
        Outcome::Cancelled => (Status::Cancelled, Some(Failure::Cancelled)),
        Outcome::Failed(Failure::Cancelled) => (Status::Cancelled, Some(Failure::Cancelled)),
        Outcome::Failed(why @ Failure::InputsFailed { .. }) => {
            (Status::DependencyFailed, Some(why.clone()))
        }
        Outcome::Failed(why) => (Status::Failed, Some(why.clone())),
    }
}

fn failure_report(
    shared: &Shared,
    records: &BTreeMap<StorePath, Record>,
    failed: &FailedGoal,
) -> FailureReport {
    let record = records.get(&failed.key.path);
    FailureReport {
        path: failed.key.path.clone(),
        failure: failed.failure.clone(),
        blocked: failed.blocked,
        outputs: wanted_outputs(shared, &failed.key, &Outputs::All),
        log: record.and_then(|r| r.log.clone()),
        times: record.map(|r| r.times),
        last_lines: record.map(|r| r.last_lines.clone()).unwrap_or_default(),
    }
}

/// Derivations whose builder ran and that did not fail.
fn built(
    shared: &Shared,
    records: &BTreeMap<StorePath, Record>,
    summary: &Summary,
) -> Vec<BuiltReport> {
    let failed: std::collections::BTreeSet<&StorePath> =
        summary.failures.iter().map(|f| &f.key.path).collect();
    let known = shared.books.outputs.lock();
    let one = |(drv, record): (&StorePath, &Record)| {
        let outputs = known.get(drv)?.iter().map(|(n, p)| (n.to_string(), p.clone())).collect();
        Some(BuiltReport { drv: drv.clone(), outputs, times: record.times })
    };
    records
        .iter()
        .filter(|(drv, record)| record.registered && !failed.contains(drv))
        .filter_map(one)
        .collect()
}
