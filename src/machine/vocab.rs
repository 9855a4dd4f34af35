//! The words between the dispatcher and the machine, and between the machine and its goals.
//!
//! Ids and plain values only: no pids, files, locks or threads. [`Event`]s (past tense) go in,
//! [`Effect`]s (imperative) come out; an [`Input`] is what can happen to one goal, an [`Order`]
//! is what a goal may ask for. Nothing here decides anything.
//!
//! Invariant: every `Probe`, `Query` entry and `Launch` is answered by the dispatcher exactly
//! once to its end (see each of them), whatever happens; the machine counts on it to know that
//! the run is over or stuck.

mod effect;
mod facts;
mod order;
mod outputs;
mod run;

pub use effect::{Effect, Job, LocalSlot, Notice, Outcome, Question};
pub use facts::{DrvFacts, Here, Loaded, Locality, OutputFacts, Substitutes, Validity};
pub use order::{Absence, Edge, OnBadNeed, Order, Place, SlotKind};
pub use outputs::{Growth, Names, Outputs};
pub use run::{
    End, FailedGoal, Fallback, Hook, OnFailure, Policy, Progress, Summary, Tally, TopResult,
};

use super::Failure;
use crate::format::StorePath;

/// Names one goal of a run. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoalId(pub u32);

/// One of the configured sources of paths, in order of trial: `0..Policy::sources`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u16);

/// What is to be done with a path that is perhaps valid already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Make it valid.
    Normal,
    /// Build it again and compare (`--check`).
    Check,
    /// Make it anew where its contents are damaged.
    Repair,
}

/// What a goal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Get one store path from a source.
    Path,
    /// Realise outputs of a derivation.
    Derivation,
}

/// What makes two goals the same goal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Path or derivation.
    pub kind: Kind,
    /// The store path, or the path of the `.drv`.
    pub path: StorePath,
    /// What is done about it.
    pub mode: Mode,
}

impl Key {
    /// The goal that realises outputs of `drv`.
    #[must_use]
    pub fn derivation(drv: StorePath, mode: Mode) -> Self {
        Self { kind: Kind::Derivation, path: drv, mode }
    }

    /// The goal that gets `path` from a source.
    #[must_use]
    pub fn path(path: StorePath, mode: Mode) -> Self {
        Self { kind: Kind::Path, path, mode }
    }
}

/// Whether the inputs of a derivation must be realised though its outputs are valid, down to the
/// leaves, as `exportBuildReferencesGraph` needs it. Only ever grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Forced {
    /// Valid outputs are enough.
    #[default]
    No,
    /// The inputs too.
    Yes,
}

/// One thing wanted of a run or of a goal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The goal.
    pub key: Key,
    /// Outputs of a derivation; `All` for a path.
    pub outputs: Outputs,
    /// Whether its inputs are needed too.
    pub forced: Forced,
}

/// What has happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The run is asked for these. May come more than once.
    Wanted(Vec<Request>),
    /// Something happened to a goal: an answer to a probe or a query, or a moment of its job.
    For(GoalId, Input),
    /// The user wants the run to end.
    Interrupted,
}

/// What can happen to one goal. Those marked *inner* are made by the machine alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Inner: it was made.
    Start,
    /// Inner: more is wanted of it.
    Widen {
        /// Outputs that are wanted too.
        outputs: Outputs,
        /// Whether its inputs are needed too.
        forced: Forced,
    },
    /// Inner: what it needed has ended.
    Needs {
        /// How many failed.
        failed: usize,
        /// How many no source had.
        absent: usize,
    },
    /// Inner: an input that had been released could not be registered after all.
    Spoiled,
    /// Inner: all the outputs it claimed are its own.
    Claimed(Waited),
    /// Answer to [`Question::Load`].
    Loaded(Loaded),
    /// Answer to [`Question::Check`]: those of the paths that are valid (committed, or ingested by
    /// this run and pending), in any order.
    Checked(Vec<StorePath>),
    /// Answer to an entry of [`Effect::Query`].
    Answered(Answer),
    /// Inner: it holds a slot.
    Slot,
    /// Last word of a job: another process holds the lock of this path. Nothing is held now.
    LockBusy(StorePath),
    /// Last word of [`Job::AwaitLock`].
    LockFree,
    /// Last word of a build: other processes hold all build users. Nothing is held now.
    UserBusy,
    /// Last word of [`Job::AwaitUser`].
    UserFree,
    /// What the hook answered. After `Accepted` the job goes on, the others are its last word.
    HookSaid(HookReply),
    /// Inner: it may ask the hook again.
    AskAgain,
    /// Last word of a job: under the lock, all that it was to make was valid.
    AlreadyValid,
    /// A moment of a build or fetch: its process ended well, or badly with `Failed` to follow.
    Exited,
    /// A moment: all outputs are in the store and pending; dependents may build on them.
    Ingested,
    /// Last word of a job: its outputs are committed.
    Registered,
    /// Last word of a job, at any moment: it did not succeed.
    Failed(Failure),
    /// Inner: nobody needs it any more, or the run ends.
    Stop,
}

/// Whether a claim was granted at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// At once.
    No,
    /// Another goal had it before, which may have made it valid.
    Yes,
}

/// What a source says of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It has it, with these references.
    Has {
        /// References, itself included where it names itself.
        references: Vec<StorePath>,
    },
    /// It has not.
    HasNot,
    /// It could not answer.
    Broken(Failure),
}

/// A hook's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookReply {
    /// It builds.
    Accepted,
    /// It will not.
    Declined,
    /// Not now.
    Postponed,
}

/// What answers an input, and whether more follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// Made by the machine itself.
    Inner,
    /// The answer to a probe.
    Probe,
    /// The answer to a query.
    Query,
    /// A moment of a job.
    Moment,
    /// The last word of a job.
    LastWord,
}

impl Input {
    /// Where it comes from.
    #[must_use]
    pub fn report(&self) -> Report {
        match self {
            Self::Start
            | Self::Widen { .. }
            | Self::Needs { .. }
            | Self::Spoiled
            | Self::Claimed(_)
            | Self::Slot
            | Self::AskAgain
            | Self::Stop => Report::Inner,
            Self::Loaded(_) | Self::Checked(_) => Report::Probe,
            Self::Answered(_) => Report::Query,
            Self::Exited | Self::Ingested | Self::HookSaid(HookReply::Accepted) => Report::Moment,
            Self::LockBusy(_)
            | Self::LockFree
            | Self::UserBusy
            | Self::UserFree
            | Self::HookSaid(HookReply::Declined | HookReply::Postponed)
            | Self::AlreadyValid
            | Self::Registered
            | Self::Failed(_) => Report::LastWord,
        }
    }
}
