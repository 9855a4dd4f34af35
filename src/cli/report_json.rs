//! `drover build --json`: one object for each target, for failures too.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::engine::report::{RunReport, TargetReport};
use crate::format::{StoreDir, StorePath};
use crate::machine::Failure;

use crate::engine::failure_words;

/// The report as JSON: a list in the order of the targets. Times are seconds since 1970;
/// `realPath` has the same keys as `outputs`.
#[must_use]
pub fn report(report: &RunReport, dir: &StoreDir) -> Value {
    report.targets.iter().map(|t| target(t, dir)).collect()
}

fn target(target: &TargetReport, dir: &StoreDir) -> Value {
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
    use crate::engine::report::{Status, Times};

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
}
