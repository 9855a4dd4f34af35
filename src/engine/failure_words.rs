//! What a [`Failure`] is called: words for people, a kind and fields for JSON, bits for the exit
//! code.
//!
//! The only place that turns failures into words. Sentences that users of Nix know are kept.

use nix::sys::signal::Signal;

use crate::format::{StoreDir, StorePath};
use crate::machine::Failure;
use crate::machine::failure::{ReferenceRule, SizeRule};

/// A derivation failed.
const FAILED: u8 = 4;
/// It was a time limit.
const TIMED_OUT: u8 = 1;
/// It was the hash of a fixed output.
const WRONG_HASH: u8 = 2;
/// A second build made something else. Alone it does not count as a failed build.
const NOT_SAME: u8 = 8;

/// Name of the reason in JSON.
#[must_use]
pub fn kind(failure: &Failure) -> &'static str {
    match failure {
        Failure::ExitCode(_) => "exit-code",
        Failure::Signal(_) => "signal",
        Failure::CannotStart { .. } => "cannot-start",
        Failure::Silence { .. } => "silence",
        Failure::Timeout { .. } => "timeout",
        Failure::LogLimit { .. } => "log-limit",
        Failure::MissingOutput { .. } => "missing-output",
        Failure::BadOutput { .. } => "bad-output",
        Failure::HashMismatch { .. } => "hash-mismatch",
        Failure::FixedOutputRefers { .. } => "fixed-output-refers",
        Failure::ForbiddenReferences { .. } => "forbidden-references",
        Failure::TooLarge { .. } => "too-large",
        Failure::OutputCycle { .. } => "output-cycle",
        Failure::NotDeterministic { .. } => "not-deterministic",
        Failure::CheckImpossible { .. } => "check-impossible",
        Failure::BadDerivation(_) => "bad-derivation",
        Failure::NotSupported(_) => "not-supported",
        Failure::MissingDerivation => "missing-derivation",
        Failure::NoSuchOutputs { .. } => "no-such-outputs",
        Failure::DependencyCycle { .. } => "dependency-cycle",
        Failure::NoSubstituter => "no-substituter",
        Failure::SubstitutesFailed => "substitutes-failed",
        Failure::InputsFailed { .. } => "inputs-failed",
        Failure::NobodyCanBuild { .. } => "nobody-can-build",
        Failure::InappropriatePostpone => "inappropriate-postpone",
        Failure::NoSpace { .. } => "no-space",
        Failure::Cancelled => "cancelled",
        Failure::Engine(_) => "engine",
    }
}

/// What the failure adds to the exit code; 0 for what is no fault of a derivation.
#[must_use]
pub fn bits(failure: &Failure) -> u8 {
    match failure {
        Failure::Silence { .. } | Failure::Timeout { .. } => FAILED | TIMED_OUT,
        Failure::HashMismatch { .. } => FAILED | WRONG_HASH,
        Failure::NotDeterministic { .. } => NOT_SAME,
        Failure::ExitCode(_)
        | Failure::Signal(_)
        | Failure::CannotStart { .. }
        | Failure::LogLimit { .. }
        | Failure::MissingOutput { .. }
        | Failure::BadOutput { .. }
        | Failure::FixedOutputRefers { .. }
        | Failure::ForbiddenReferences { .. }
        | Failure::TooLarge { .. }
        | Failure::OutputCycle { .. }
        | Failure::BadDerivation(_)
        | Failure::NotSupported(_)
        | Failure::NoSuchOutputs { .. }
        | Failure::DependencyCycle { .. }
        | Failure::NobodyCanBuild { .. } => FAILED,
        Failure::CheckImpossible { .. }
        | Failure::MissingDerivation
        | Failure::NoSubstituter
        | Failure::SubstitutesFailed
        | Failure::InputsFailed { .. }
        | Failure::InappropriatePostpone
        | Failure::NoSpace { .. }
        | Failure::Cancelled
        | Failure::Engine(_) => 0,
    }
}

/// Fields of JSON that only some failures have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    /// Exit code of the builder.
    pub exit_code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// The limit that was passed, in seconds or bytes.
    pub limit: Option<u64>,
    /// Store paths that it is about.
    pub paths: Vec<StorePath>,
}

/// What of a failure is a number or a path.
#[must_use]
pub fn details(failure: &Failure) -> Details {
    let mut all = Details::default();
    match failure {
        Failure::ExitCode(code) => all.exit_code = Some(*code),
        Failure::Signal(signal) => all.signal = Some(*signal),
        Failure::Silence { limit } | Failure::Timeout { limit } | Failure::LogLimit { limit } => {
            all.limit = Some(*limit);
        }
        Failure::TooLarge { path, limit, .. } => {
            all.limit = Some(*limit);
            all.paths = vec![path.clone()];
        }
        Failure::MissingOutput { path, .. }
        | Failure::HashMismatch { path, .. }
        | Failure::NotDeterministic { path, .. } => all.paths = vec![path.clone()],
        Failure::FixedOutputRefers { references: paths, .. }
        | Failure::ForbiddenReferences { forbidden: paths, .. }
        | Failure::OutputCycle { paths }
        | Failure::DependencyCycle { paths }
        | Failure::CheckImpossible { missing: paths } => all.paths.clone_from(paths),
        Failure::CannotStart { .. }
        | Failure::BadOutput { .. }
        | Failure::BadDerivation(_)
        | Failure::NotSupported(_)
        | Failure::MissingDerivation
        | Failure::NoSuchOutputs { .. }
        | Failure::NoSubstituter
        | Failure::SubstitutesFailed
        | Failure::InputsFailed { .. }
        | Failure::NobodyCanBuild { .. }
        | Failure::InappropriatePostpone
        | Failure::NoSpace { .. }
        | Failure::Cancelled
        | Failure::Engine(_) => {}
    }
    all
}

/// The reason in one line that many failures can share: no paths.
#[must_use]
pub fn short(failure: &Failure) -> String {
    match failure {
        Failure::ExitCode(code) => format!("builder failed with exit code {code}"),
        Failure::Signal(signal) => format!("builder failed due to {}", signal_name(*signal)),
        Failure::CannotStart { cause, .. } => format!("builder could not be started: {cause}"),
        Failure::Silence { limit } => format!("timed out after {limit} seconds of silence"),
        Failure::Timeout { limit } => format!("timed out after {limit} seconds"),
        Failure::LogLimit { limit } => {
            format!("killed after writing more than {limit} bytes of log output")
        }
        Failure::MissingOutput { .. } => "builder failed to produce an output".into(),
        Failure::BadOutput { .. } => "an output was rejected".into(),
        Failure::HashMismatch { .. } => "hash mismatch in fixed-output derivation".into(),
        Failure::FixedOutputRefers { .. } => "fixed output references store paths".into(),
        Failure::ForbiddenReferences { .. } => "output has forbidden references".into(),
        Failure::TooLarge { .. } => "output is too large".into(),
        Failure::OutputCycle { .. } => "outputs refer to each other in a cycle".into(),
        Failure::NotDeterministic { .. } => "may not be deterministic".into(),
        Failure::CheckImpossible { .. } => "some outputs are not valid, checking impossible".into(),
        Failure::BadDerivation(_) => "bad derivation".into(),
        Failure::NotSupported(what) => format!("not supported yet: {what}"),
        Failure::MissingDerivation => "derivation is missing".into(),
        Failure::NoSuchOutputs { .. } => "outputs are wanted that do not exist".into(),
        Failure::DependencyCycle { .. } => "derivations need each other in a cycle".into(),
        Failure::NoSubstituter => "path is missing and no substituter has it".into(),
        Failure::SubstitutesFailed => "some substitutes failed".into(),
        Failure::InputsFailed { count: 1 } => "1 dependency failed".into(),
        Failure::InputsFailed { count } => format!("{count} dependencies failed"),
        Failure::NobodyCanBuild { needs, .. } => format!("no machine here can build {needs}"),
        Failure::InappropriatePostpone => "inappropriate `postpone` of the build hook".into(),
        Failure::NoSpace { place } => format!("no space left on device ({place})"),
        Failure::Cancelled => "cancelled".into(),
        Failure::Engine(_) => "error of drover's own".into(),
    }
}

/// What to do where a builder is not there: its own name may be right, and an interpreter missing.
fn no_such_builder(step: &str, cause: &str) -> &'static str {
    if step.starts_with("executing ") && cause.starts_with("No such file") {
        "; a builder is the full path of a program that is here, with the interpreter it names"
    } else {
        ""
    }
}

/// All that is to say about the failure of `goal`; may have several lines.
#[must_use]
pub fn long(failure: &Failure, goal: &StorePath, dir: &StoreDir) -> String {
    let drv = dir.print(goal);
    match failure {
        Failure::CannotStart { step, cause } => {
            let remedy = no_such_builder(step, cause);
            format!("cannot set up the build environment: in step {step}: {cause}{remedy}")
        }
        Failure::LogLimit { .. } => format!("{drv} {}", short(failure)),
        Failure::HashMismatch { specified, got, .. } => format!(
            "hash mismatch in fixed-output derivation '{drv}':\n  specified: {}\n     got:    {}",
            specified.sri(),
            got.sri()
        ),
        Failure::BadDerivation(why) => format!("derivation '{drv}' cannot be used: {why}"),
        Failure::MissingDerivation => format!(
            "cannot build missing derivation '{drv}': it is not valid in this store, and no \
             substituter has it"
        ),
        Failure::NoSubstituter => format!(
            "path '{drv}' does not exist and cannot be created: it is not valid, and no \
             substituter has it"
        ),
        Failure::SubstitutesFailed => format!(
            "some substitutes for the outputs of derivation '{drv}' failed (usually happens due \
             to networking issues); try '--fallback' to build derivation from source"
        ),
        Failure::InputsFailed { .. } => {
            format!("Cannot build '{drv}'. Reason: {}.", short(failure))
        }
        Failure::NobodyCanBuild { needs, offered } => format!(
            "Cannot build '{drv}'.\n  Required system: {needs}\n  Current system: {offered}"
        ),
        Failure::InappropriatePostpone => "waiting for a build slot, yet there are no running \
                                           children - maybe the build hook gave an \
                                           inappropriate `postpone' reply?"
            .into(),
        Failure::Engine(why) => why.clone(),
        Failure::ExitCode(_)
        | Failure::Signal(_)
        | Failure::Silence { .. }
        | Failure::Timeout { .. }
        | Failure::NotSupported(_)
        | Failure::NoSpace { .. }
        | Failure::Cancelled => short(failure),
        Failure::MissingOutput { .. }
        | Failure::BadOutput { .. }
        | Failure::FixedOutputRefers { .. }
        | Failure::ForbiddenReferences { .. }
        | Failure::TooLarge { .. }
        | Failure::OutputCycle { .. }
        | Failure::DependencyCycle { .. }
        | Failure::NoSuchOutputs { .. }
        | Failure::NotDeterministic { .. }
        | Failure::CheckImpossible { .. } => about_outputs(failure, &drv, dir),
    }
}

fn about_outputs(failure: &Failure, drv: &str, dir: &StoreDir) -> String {
    let list = |paths: &[StorePath]| {
        paths.iter().map(|p| format!("\n  {}", dir.print(p))).collect::<String>()
    };
    match failure {
        Failure::MissingOutput { output, path } => format!(
            "builder for '{drv}' failed to produce output path for output '{output}' at '{}'",
            dir.print(path)
        ),
        Failure::BadOutput { output, file, why } => {
            // Most reasons name the file.
            let place = if why.contains(file) { String::new() } else { format!("'{file}': ") };
            format!("{place}{why}; rejecting output '{output}'")
        }
        Failure::FixedOutputRefers { references, .. } => format!(
            "fixed-output derivations must not reference store paths: '{drv}' references {} \
             distinct paths, e.g. '{}'",
            references.len(),
            references.first().map(|p| dir.print(p)).unwrap_or_default()
        ),
        Failure::ForbiddenReferences { path, rule, forbidden } => format!(
            "output '{}' is not allowed to refer to the following paths ({}):{}",
            dir.print(path),
            rule_name(*rule),
            list(forbidden)
        ),
        Failure::TooLarge { path, rule, size, limit } => {
            let what = match rule {
                SizeRule::Output => "path",
                SizeRule::Closure => "closure of path",
            };
            let path = dir.print(path);
            format!("{what} '{path}' is too large at {size} bytes; limit is {limit} bytes")
        }
        Failure::NoSuchOutputs { outputs, .. } => {
            let names: Vec<String> = outputs.iter().map(|name| format!("'{name}'")).collect();
            format!("derivation '{drv}' does not have wanted outputs {}", names.join(", "))
        }
        Failure::DependencyCycle { paths } => {
            format!("derivations need each other in a cycle:{}", list(paths))
        }
        Failure::OutputCycle { paths } => {
            format!("cycle detected in build of '{drv}' in the references of:{}", list(paths))
        }
        Failure::NotDeterministic { path, first_difference, kept } => {
            let path = dir.print(path);
            let from = kept.as_ref().map(|kept| format!(" from '{kept}'")).unwrap_or_default();
            let first = if first_difference.is_empty() {
                String::new()
            } else {
                format!("\n  first difference: {first_difference}")
            };
            let what = format!("derivation '{drv}' may not be deterministic");
            format!("{what}: output '{path}' differs{from}{first}")
        }
        Failure::CheckImpossible { missing } => format!(
            "some outputs of '{drv}' are not valid, so checking is not possible:{}",
            list(missing)
        ),
        other => short(other),
    }
}

fn rule_name(rule: ReferenceRule) -> &'static str {
    match rule {
        ReferenceRule::AllowedReferences => "allowedReferences",
        ReferenceRule::DisallowedReferences => "disallowedReferences",
        ReferenceRule::AllowedRequisites => "allowedRequisites",
        ReferenceRule::DisallowedRequisites => "disallowedRequisites",
    }
}

fn signal_name(signal: i32) -> String {
    match Signal::try_from(signal) {
        Ok(known) => format!("signal {signal} ({})", known.as_str()),
        Err(_) => format!("signal {signal}"),
    }
}

#[cfg(test)]
#[path = "failure_words_tests.rs"]
mod tests;
