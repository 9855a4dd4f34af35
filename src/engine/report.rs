//! What a run tells: [`Notice`]s while it goes on and one [`RunReport`] at its end.
//!
//! Plain data without words: `cli::console` turns it into lines, `cli::report_json` into JSON.
//! Times are taken by job threads; nothing here reads a clock. Invariant: each root failure is in
//! [`RunReport::failures`] exactly once, however many targets it kept from being built.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::format::StorePath;
use crate::machine::Failure;
pub use crate::machine::vocab::Progress;

/// Something that happened, for whoever watches the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A builder was started.
    BuildStarted {
        /// The derivation.
        drv: StorePath,
        /// The derivation's name without `.drv`.
        name: String,
        /// The outputs it is to make.
        outputs: Vec<StorePath>,
    },
    /// A build is over, outputs registered or not.
    BuildFinished {
        /// The derivation.
        drv: StorePath,
        /// How it ended.
        outcome: Outcome,
        /// From start to registration.
        duration: Duration,
    },
    /// A line of a builder's log without its line end. May be lost when the console is behind.
    LogLine {
        /// The derivation.
        drv: StorePath,
        /// Raw bytes as the builder wrote them.
        line: Vec<u8>,
    },
    /// Lines that were not shown (they are in the log file).
    LogLinesDropped {
        /// The derivation.
        drv: StorePath,
        /// How many.
        count: u64,
    },
    /// Another process holds a lock for longer than a moment.
    WaitingForLock {
        /// What is locked.
        path: PathBuf,
        /// Who holds it, if that could be found out.
        holder: Option<LockHolder>,
    },
    /// The isolation that builds of this run get: `none` or the name of a level, and why.
    Isolation {
        /// Name of the level.
        level: String,
        /// Why it is not what was asked for; empty if it is.
        why: String,
    },
    /// What killed processes had left behind was taken back.
    Reclaimed(Reclaimed),
    /// Counts changed.
    Progress(Progress),
    /// Something the user should know that is no failure.
    Warning(String),
}

/// What killed processes had left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reclaimed {
    /// Folders that builds ran in.
    pub build_folders: usize,
    /// Lock files of store paths.
    pub locks: usize,
    /// Unfinished outputs.
    pub outputs: usize,
    /// Temporary folders in the store.
    pub temp_folders: usize,
    /// Bytes on disk of the build folders.
    pub bytes: u64,
}

/// A process that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHolder {
    /// Its process id.
    pub pid: u32,
    /// Its command line, words joined by spaces.
    pub command: String,
}

/// How one build ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its outputs are valid now.
    Built,
    /// It failed.
    Failed(Failure),
    /// It was ended because the run was stopped.
    Cancelled,
}

/// When a build ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// Seconds since 1970 when the builder started.
    pub start: u64,
    /// Seconds since 1970 when it was over.
    pub stop: u64,
    /// How long it took by the steady clock.
    pub duration: Duration,
}

/// What became of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Built in this run.
    Built,
    /// Nothing was to be done.
    AlreadyValid,
    /// Fetched in this run.
    Substituted,
    /// Failed by itself.
    Failed,
    /// Not built since an input failed.
    DependencyFailed,
    /// Not built since the run was stopped.
    Cancelled,
}

impl Status {
    /// The word for it in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::AlreadyValid => "already-valid",
            Self::Substituted => "substituted",
            Self::Failed => "failed",
            Self::DependencyFailed => "dependency-failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What was asked for, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetReport {
    /// The derivation, or the plain store path that was asked for.
    pub path: StorePath,
    /// Its wanted outputs; empty for a plain path or an unreadable derivation.
    pub outputs: BTreeMap<String, StorePath>,
    /// Where the outputs lie on this machine, by name.
    pub real_paths: BTreeMap<String, PathBuf>,
    /// What became of it.
    pub status: Status,
    /// Why it is not there; `None` where it is.
    pub failure: Option<Failure>,
    /// How many derivations this target's own failure kept from being built.
    pub blocked: usize,
    /// The file with the builder's log, if there is one.
    pub log: Option<PathBuf>,
    /// When it was built, if it was.
    pub times: Option<Times>,
}

/// One root failure: not the derivations that failed because of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureReport {
    /// The derivation, or the plain path that could not be had.
    pub path: StorePath,
    /// Why.
    pub failure: Failure,
    /// How many derivations were not built because of it.
    pub blocked: usize,
    /// What it would have made, as far as that is known.
    pub outputs: BTreeMap<String, StorePath>,
    /// The file with the builder's log, if there is one.
    pub log: Option<PathBuf>,
    /// When it ran, if it did.
    pub times: Option<Times>,
    /// Last lines of the log, raw and without line ends, oldest first: as many as `log-lines`.
    pub last_lines: Vec<Vec<u8>>,
}

/// One derivation that was built in this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltReport {
    /// The derivation.
    pub drv: StorePath,
    /// Its outputs.
    pub outputs: BTreeMap<String, StorePath>,
    /// When.
    pub times: Times,
}

/// Counts of derivations at the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Built in this run.
    pub built: usize,
    /// Valid before.
    pub already_valid: usize,
    /// Paths fetched in this run.
    pub substituted: usize,
    /// Failed by themselves.
    pub failed: usize,
    /// Not built since an input failed.
    pub dependency_failed: usize,
    /// Not started or ended because the run was stopped.
    pub cancelled: usize,
}

/// All that the end of a run tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunReport {
    /// The targets in the order in which they were given.
    pub targets: Vec<TargetReport>,
    /// Root failures in the order in which they happened.
    pub failures: Vec<FailureReport>,
    /// What was built, in the order of registration.
    pub built: Vec<BuiltReport>,
    /// Counts over all derivations of the run.
    pub counts: Counts,
    /// The signal that stopped the run: 1, 2 or 15.
    pub interrupted: Option<i32>,
    /// Why the run itself could not go on, if it could not: our error, not a derivation's.
    pub error: Option<String>,
    /// How long the run took.
    pub duration: Duration,
}
