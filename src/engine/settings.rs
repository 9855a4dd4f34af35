//! What a run is to do and may use: plain values that `cli::config` resolves once.
//!
//! The engine reads no file, no variable and no flag: what is not here it does not know. Nobody
//! changes a value during a run, so all threads share one copy without a lock.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bstr::BString;

/// Settings of a run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How work is scheduled.
    pub schedule: Schedule,
    /// What this machine can build.
    pub platforms: Platforms,
    /// Limits of each builder.
    pub limits: BuildLimits,
    /// What becomes of logs.
    pub logs: LogSettings,
    /// Folders and programs.
    pub places: Places,
    /// What is kept after a failed build.
    pub keep_failed: KeepFailed,
    /// Environment of the caller, and of setting `impure-env`, which comes first: for
    /// `impureEnvVars`.
    pub impure_env: BTreeMap<BString, BString>,
    /// Extended attributes that canonicalising leaves alone (`ignored-acls`).
    pub ignored_acls: Vec<String>,
    /// What the user asked for in the way of isolation.
    pub sandbox: Sandbox,
}

/// How work is scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Builders at a time (`max-jobs`).
    pub max_jobs: usize,
    /// Cores that each builder is told to use; never 0.
    pub cores: usize,
    /// Whether to go on after a failure.
    pub keep_going: KeepGoing,
    /// Whether to build what a source offered but could not give.
    pub fallback: Fallback,
}

/// What becomes of the rest of a run after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepGoing {
    /// All that does not depend on the failure is still built.
    Yes,
    /// Running builds are ended.
    No,
}

/// What is done when a source has a path but cannot give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// It is built.
    Build,
    /// It fails.
    Fail,
}

/// What becomes of the folder of a failed build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepFailed {
    /// It is kept and named in the summary.
    Keep,
    /// It is removed.
    Remove,
}

/// The wish for isolation, setting `sandbox`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// `true` or `relaxed`, or not set at all.
    Wanted,
    /// `false`.
    Off,
}

/// What this machine can build.
#[derive(Debug, Clone, Default)]
pub struct Platforms {
    /// Its own system, e.g. `x86_64-linux`.
    pub system: String,
    /// Others that it can run (`extra-platforms`).
    pub extra: Vec<String>,
    /// What `requiredSystemFeatures` may name (`system-features`).
    pub features: Vec<String>,
}

/// Limits of each builder; `None` is no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct BuildLimits {
    /// Whole time (`timeout`).
    pub timeout: Option<Duration>,
    /// Time without output (`max-silent-time`).
    pub max_silent: Option<Duration>,
    /// Bytes of log (`max-build-log-size`).
    pub max_log_size: Option<u64>,
}

/// What becomes of logs.
#[derive(Debug, Clone, Copy)]
pub struct LogSettings {
    /// Whether logs are stored (`keep-build-log`).
    pub keep: KeepLog,
    /// Lines that a failure shows (`log-lines`).
    pub lines: usize,
    /// Whether each line is told while the builder runs (`-L`).
    pub live: LiveLog,
}

/// How logs are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepLog {
    /// As `.bz2` (`compress-build-log`).
    Compressed,
    /// As they are.
    Plain,
    /// Not at all.
    No,
}

/// Whether log lines are told while the builder runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveLog {
    /// Each line is a notice.
    Shown,
    /// Only the file has them.
    Hidden,
}

/// Folders and programs that a run uses.
#[derive(Debug, Clone)]
pub struct Places {
    /// Where build folders are made (`build-dir`).
    pub build_dir: PathBuf,
    /// This program, for builtins.
    pub own_program: PathBuf,
}
