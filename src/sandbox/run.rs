//! Runs a plan to its end.

use std::time::Duration;

use super::log::LogSink;
use super::plan::{Limits, SpawnPlan};
use crate::base::Cancel;

/// How the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal, which was not ours.
    Signalled(i32),
    /// By us: `Limits::timeout`.
    TimedOut,
    /// By us: `Limits::max_silent`.
    Silent,
    /// By us: `Limits::max_log_size`.
    LogLimit,
    /// By us: the token was triggered.
    Cancelled,
}

/// What is known of the processes the builder left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// None lives any more.
    Gone,
    /// Some could not be ended within a second, or nobody was left to look.
    MayLive,
}

/// What the process and all it waited for used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// Largest resident set of any one process, in bytes.
    pub max_rss: u64,
}

/// A process that ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// How it ended.
    pub ended: Ended,
    /// What it left behind.
    pub family: Family,
    /// What it used.
    pub usage: Usage,
    /// Wall clock from the request to the end.
    pub duration: Duration,
}

/// The process did not run, or we lost it.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A step between clone and exec failed.
    #[error("cannot set up the build environment: in step {step}: {cause}")]
    Setup {
        /// The step, e.g. "executing `/bin/sh`".
        step: String,
        /// The system's word for it.
        cause: std::io::Error,
    },
    /// The plan cannot be told to the system (a NUL byte in an argument, for instance).
    #[error("cannot run `{program}`: {why}")]
    BadPlan {
        /// The program.
        program: String,
        /// What is wrong.
        why: String,
    },
    /// The process that keeps the builder was killed.
    #[error("the keeper of the build process was killed; the build was ended")]
    KeeperLost,
    /// The system refused what we need for any process.
    #[error(transparent)]
    Base(#[from] crate::base::Error),
}

/// Runs `plan` until its process ends, handing its log to `sink`. Returns as soon as the process
/// has ended and what it left behind is killed, whether or not its log is still held open.
pub fn run(
    plan: &SpawnPlan,
    limits: &Limits,
    sink: &mut dyn LogSink,
    cancel: &Cancel,
) -> Result<Exit, SandboxError> {
    let _ = (plan, limits, sink, cancel);
    Err(SandboxError::KeeperLost)
}
