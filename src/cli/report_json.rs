//! `drover build --json`: one object for each target, then one for each root failure that is not
//! among the targets, so that whoever reads only this knows why.
//!
//! The field names are a promise to scripts: fields may be added, none renamed. Written for failed
//! and interrupted runs as well; every object has all the fields.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde_json::{Map, Value, json};

use crate::engine::report::{FailureReport, RunReport, Status, TargetReport};
use crate::format::{StoreDir, StorePath};
use crate::machine::Failure;

use super::targets::Refused;
use crate::engine::failure_words;

/// The report as JSON: a list, targets first and in their order. Times are seconds since 1970;
/// `realPath` has the same keys as `outputs`.
#[must_use]
pub fn report(report: &RunReport, dir: &StoreDir) -> Value {
    let targets = report.targets.iter().map(|t| target(t, dir));
    let told = |failed: &&FailureReport| report.targets.iter().any(|t| t.path == failed.path);
    let others = report.failures.iter().filter(|failed| !told(failed));
    targets.chain(others.map(|failed| root_failure(failed, dir))).collect()
}

/// What is told where nothing was built at all: an object for each target as it was given. Those
/// that cannot be used have failed, and the others were not begun; where it is not about targets,
/// all have failed.
#[must_use]
pub fn refused(targets: &[OsString], refused: &Refused) -> Value {
    let record = |(place, target): (usize, &OsString)| {
        let why = refused.bad.get(&place).cloned();
        let (status, kind, message) = match why {
            Some(why) => (Status::Failed, "bad-target", why),
            None if refused.bad.is_empty() => (Status::Failed, "engine", refused.error.to_string()),
            None => (Status::Cancelled, "cancelled", "another target cannot be used".to_owned()),
        };
        json!({
            "drvPath": null,
            "target": target.to_string_lossy(),
            "outputs": {},
            "status": status.word(),
            "failure": {
                "kind": kind,
                "message": message,
                "exitCode": null,
                "signal": null,
                "limit": null,
                "paths": [],
                "blocked": 0,
            },
            "realPath": {},
            "log": null,
            "startTime": null,
            "stopTime": null,
        })
    };
    targets.iter().enumerate().map(record).collect()
}

fn root_failure(failed: &FailureReport, dir: &StoreDir) -> Value {
    target(
        &TargetReport {
            path: failed.path.clone(),
            outputs: failed.outputs.clone(),
            // Nothing was made, so nothing lies anywhere.
            real_paths: BTreeMap::new(),
            status: Status::Failed,
            failure: Some(failed.failure.clone()),
            blocked: failed.blocked,
            log: failed.log.clone(),
            times: failed.times,
        },
        dir,
    )
}

/// One object.
pub(super) fn target(target: &TargetReport, dir: &StoreDir) -> Value {
    let outputs = paths(&target.outputs, |path| dir.print(path));
    let real = paths(&target.real_paths, |path| path.display().to_string());
    let why = target.failure.as_ref();
    json!({
        "drvPath": dir.print(&target.path),
        "outputs": outputs,
        "status": target.status.word(),
        "failure": why.map(|f| failure(f, &target.path, target.blocked, dir)),
        "realPath": real,
        "log": target.log.as_ref().map(|log| log.display().to_string()),
        "startTime": target.times.map(|t| t.start),
        "stopTime": target.times.map(|t| t.stop),
    })
}

fn failure(failure: &Failure, goal: &StorePath, blocked: usize, dir: &StoreDir) -> Value {
    let details = failure_words::details(failure);
    json!({
        "kind": failure_words::kind(failure),
        "message": failure_words::long(failure, goal, dir),
        "exitCode": details.exit_code,
        "signal": details.signal,
        "limit": details.limit,
        "paths": details.paths.iter().map(|p| dir.print(p)).collect::<Vec<_>>(),
        "blocked": blocked,
    })
}

fn paths<P>(paths: &BTreeMap<String, P>, show: impl Fn(&P) -> String) -> Value {
    let pairs = paths.iter().map(|(name, path)| (name.clone(), Value::from(show(path))));
    Value::Object(pairs.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::report::Times;

    #[test]
    fn has_every_field() {
        let path = |name| StorePath::from_parts(&[1; 20], name).unwrap();
        let built = TargetReport {
            path: path("a.drv"),
            outputs: BTreeMap::from([("out".into(), path("a"))]),
            real_paths: BTreeMap::from([("out".into(), "/r/nix/store/a".into())]),
            status: Status::Built,
            failure: None,
            blocked: 0,
            log: Some("/log".into()),
            times: Some(Times { start: 5, stop: 7, ..Times::default() }),
        };
        let failed = TargetReport {
            path: path("b.drv"),
            status: Status::Failed,
            failure: Some(Failure::Timeout { limit: 9 }),
            blocked: 3,
            times: None,
            ..built.clone()
        };
        let all = RunReport { targets: vec![built, failed], ..RunReport::default() };
        let dir = StoreDir::default();
        let json = report(&all, &dir);
        assert_eq!(json[0]["drvPath"], dir.print(&path("a.drv")));
        assert_eq!(json[0]["outputs"]["out"], dir.print(&path("a")));
        assert_eq!(json[0]["realPath"]["out"], "/r/nix/store/a");
        assert_eq!((&json[0]["status"], &json[0]["failure"]), (&"built".into(), &Value::Null));
        assert_eq!((&json[0]["startTime"], &json[0]["stopTime"]), (&5.into(), &7.into()));
        let want = json!({
            "kind": "timeout", "message": "timed out after 9 seconds", "exitCode": null,
            "signal": null, "limit": 9, "paths": [], "blocked": 3,
        });
        assert_eq!(json[1]["failure"], want);
        assert_eq!((&json[1]["startTime"], &json[1]["log"]), (&Value::Null, &"/log".into()));
    }

    #[test]
    fn root_failures_that_are_no_targets_follow() {
        let path = |name| StorePath::from_parts(&[1; 20], name).unwrap();
        let top = TargetReport {
            path: path("top.drv"),
            outputs: BTreeMap::new(),
            real_paths: BTreeMap::new(),
            status: Status::DependencyFailed,
            failure: Some(Failure::InputsFailed { count: 1 }),
            blocked: 0,
            log: None,
            times: None,
        };
        let root = FailureReport {
            path: path("root.drv"),
            failure: Failure::ExitCode(3),
            blocked: 1,
            outputs: BTreeMap::from([("out".into(), path("root"))]),
            log: None,
            times: None,
            last_lines: Vec::new(),
        };
        let same = FailureReport { path: path("top.drv"), ..root.clone() };
        let all =
            RunReport { targets: vec![top], failures: vec![root, same], ..RunReport::default() };
        let json = report(&all, &StoreDir::default());
        assert_eq!(json.as_array().map(Vec::len), Some(2), "{json}");
        assert_eq!(json[1]["drvPath"], StoreDir::default().print(&path("root.drv")));
        assert_eq!(json[1]["failure"]["exitCode"], 3);
        assert_eq!(json[1]["status"], "failed");
    }
}
