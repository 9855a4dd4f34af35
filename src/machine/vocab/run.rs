//! A run as a whole: what the machine needs of the settings, and what it tells of the result.
//!
//! It does not know where settings come from, nor words for results. What is counted here are
//! goals; the engine adds what only it knows, such as times and logs.

use super::super::Failure;
use super::{GoalId, Key, Outcome, Request};

/// What to do after the first failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// End the run and its running builds.
    #[default]
    Stop,
    /// Build all that does not depend on it.
    KeepGoing,
}

/// What to do when a source has an output but fails to give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fallback {
    /// The derivation fails.
    #[default]
    Fail,
    /// Build it.
    Build,
}

/// Whether builds are offered to a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hook {
    /// There is none.
    #[default]
    None,
    /// There is one.
    Asked,
}

/// What the machine needs of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Builders that may run at a time; 0: none may.
    pub max_jobs: u32,
    /// Fetches that may run at a time; at least 1 counts.
    pub max_substitutions: u32,
    /// Build users; `None`: builds run as the caller.
    pub users: Option<u32>,
    /// After a failure.
    pub on_failure: OnFailure,
    /// After a failed fetch.
    pub fallback: Fallback,
    /// The hook.
    pub hook: Hook,
    /// Number of sources.
    pub sources: u16,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_jobs: 1,
            max_substitutions: 16,
            users: None,
            on_failure: OnFailure::Stop,
            fallback: Fallback::Fail,
            hook: Hook::None,
            sources: 0,
        }
    }
}

/// Counts of goals for a status line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Builds and fetches under way.
    pub running: usize,
    /// Ended well.
    pub done: usize,
    /// Failed of themselves.
    pub failed: usize,
    /// Not built since an input failed.
    pub blocked: usize,
    /// All others.
    pub waiting: usize,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every goal had its chance.
    Completed,
    /// A failure ended it early.
    FailedEarly,
    /// The user ended it.
    Interrupted,
}

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopResult {
    /// As asked.
    pub request: Request,
    /// Its goal.
    pub goal: GoalId,
    /// What became of it.
    pub outcome: Outcome,
}

/// One failed goal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedGoal {
    /// Which.
    pub goal: GoalId,
    /// What it was about.
    pub key: Key,
    /// Why.
    pub failure: Failure,
    /// The failure that it comes from, itself for a root cause.
    pub root: GoalId,
    /// Derivations that were not built because of it, direct or not. A derivation with several
    /// failed inputs counts once, for that which ended first. 0 unless a root cause.
    pub blocked: usize,
}

/// Counts of ended goals by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Derivations built.
    pub built: usize,
    /// Paths got from sources.
    pub substituted: usize,
    /// Goals for which nothing had to be done.
    pub already_valid: usize,
    /// Goals that failed by themselves.
    pub failed: usize,
    /// Goals that failed because of another.
    pub blocked: usize,
    /// Goals that were ended.
    pub cancelled: usize,
    /// Paths that no source had.
    pub absent: usize,
}

/// The whole run, looked back at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// How it ended.
    pub end: End,
    /// Each request in the order asked.
    pub tops: Vec<TopResult>,
    /// All failures: root causes first, each group in the order of its ends.
    pub failures: Vec<FailedGoal>,
    /// Counts.
    pub tally: Tally,
}
