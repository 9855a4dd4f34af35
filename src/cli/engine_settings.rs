//! The engine's settings from the configuration: the one place where both vocabularies meet.
//!
//! Configuration speaks in Nix's keys and switches, the engine in durations and two-variant enums.
//! A translation alone: defaults, aliases and checks were dealt with before, so nothing fails here.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use bstr::BString;

use super::config::{Config, SandboxMode};
use crate::engine::settings::{
    BuildLimits, Fallback, KeepFailed, KeepGoing, KeepLog, LiveLog, LogSettings, Places, Platforms,
    Sandbox, Schedule, Settings,
};

/// Translates `config`; `live` says whether log lines are told.
#[must_use]
pub fn settings(config: &Config, live: LiveLog) -> Settings {
    let building = &config.building;
    let seconds = |limit: Option<NonZeroU64>| limit.map(|n| Duration::from_secs(n.get()));
    Settings {
        schedule: Schedule {
            max_jobs: building.max_jobs,
            cores: building.cores,
            keep_going: if building.keep_going { KeepGoing::Yes } else { KeepGoing::No },
            fallback: match config.substituting.fallback {
                true => Fallback::Build,
                false => Fallback::Fail,
            },
        },
        platforms: Platforms {
            system: config.platform.system.clone(),
            extra: config.platform.extra.iter().cloned().collect(),
            features: config.platform.features.iter().cloned().collect(),
        },
        limits: BuildLimits {
            timeout: seconds(building.timeout),
            max_silent: seconds(building.max_silent_time),
            max_log_size: building.max_log_size.map(NonZeroU64::get),
        },
        logs: LogSettings {
            keep: match (config.logging.keep, config.logging.compress) {
                (false, _) => KeepLog::No,
                (true, true) => KeepLog::Compressed,
                (true, false) => KeepLog::Plain,
            },
            lines: config.logging.lines,
            live,
        },
        places: places(config),
        keep_failed: if building.keep_failed { KeepFailed::Keep } else { KeepFailed::Remove },
        impure_env: impure_env(config),
        ignored_acls: config.isolating.ignored_acls.iter().cloned().collect(),
        sandbox: match config.isolating.sandbox {
            SandboxMode::Always | SandboxMode::Relaxed => Sandbox::Wanted,
            SandboxMode::Never => Sandbox::Off,
        },
    }
}

fn places(config: &Config) -> Places {
    let build_dir = config.building.build_dir.clone();
    Places {
        build_dir: build_dir.unwrap_or_else(|| config.store.state_dir.join("builds")),
        // Always there on Linux, and right even after the file was replaced by a new version.
        own_program: PathBuf::from("/proc/self/exe"),
    }
}

/// The caller's environment, then setting `impure-env`.
fn impure_env(config: &Config) -> BTreeMap<BString, BString> {
    let bytes = |text: &std::ffi::OsStr| BString::from(text.as_encoded_bytes());
    let mut all: BTreeMap<BString, BString> =
        config.environment.all().map(|(name, value)| (bytes(name), bytes(value))).collect();
    let own = config.building.impure_env.iter();
    all.extend(own.map(|(name, value)| (name.as_str().into(), value.as_str().into())));
    all
}
