//! What the machine asks of the dispatcher: questions to the store and to sources, jobs, notices.
//!
//! Plain values, no handles. The comment of each job lists the words it may send back, which are
//! [`Input`]s; the dispatcher owes the last of them, whatever happens.

#[cfg(doc)]
use super::Input;
use super::{Failure, GoalId, Key, Mode, Outputs, SourceId, StorePath};

/// What the dispatcher is to do. Effects of one turn come together: probes and queries of a turn
/// are answered in one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Answer this from the store, with one input.
    Probe {
        /// Who asks.
        goal: GoalId,
        /// What.
        question: Question,
    },
    /// Ask a source about paths; each entry gets one [`Input::Answered`], also if killed.
    Query {
        /// Whom.
        source: SourceId,
        /// Who asks about what.
        paths: Vec<(GoalId, StorePath)>,
    },
    /// Start this on a thread of its own. Its last word always comes.
    Launch {
        /// For whom; a goal has at most one job at a time.
        goal: GoalId,
        /// What.
        job: Job,
    },
    /// End the job or query of this goal soon; its last word still comes. May cross with it: for
    /// a goal without a job it means nothing.
    Kill {
        /// Whose.
        goal: GoalId,
    },
    /// Say this to whoever watches.
    Tell(Notice),
}

/// What a goal wants to know of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Protect, read and judge this `.drv`: answered by [`Input::Loaded`].
    Load {
        /// The derivation.
        drv: StorePath,
        /// For what.
        mode: Mode,
    },
    /// Which of these are valid: answered by [`Input::Checked`].
    Check {
        /// Store paths.
        paths: Vec<StorePath>,
    },
}

/// What runs on a thread of its own. Each comment lists its words; `Failed` may come at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Build all outputs: `LockBusy | UserBusy | AlreadyValid | Exited, Ingested, Registered`.
    Build {
        /// The derivation.
        drv: StorePath,
        /// Normal, check or repair.
        mode: Mode,
        /// If these are valid under the lock it is `AlreadyValid` (not with `Mode::Check`).
        outputs: Outputs,
    },
    /// Ask the hook: `LockBusy | AlreadyValid | HookSaid(Declined | Postponed) |
    /// HookSaid(Accepted), Ingested, Registered`.
    Hook {
        /// The derivation.
        drv: StorePath,
        /// As for a build.
        outputs: Outputs,
        /// Whether this host has a free slot (the protocol's `amWilling`).
        local_slot: LocalSlot,
    },
    /// Get a path from a source: `LockBusy | AlreadyValid | Exited, Ingested, Registered`.
    Substitute {
        /// The path.
        path: StorePath,
        /// The source.
        source: SourceId,
        /// Normal or repair.
        mode: Mode,
    },
    /// Wait until no other process holds the lock of this path: `LockFree`.
    AwaitLock {
        /// The path.
        path: StorePath,
    },
    /// Wait until some build user is free: `UserFree`. At most one runs.
    AwaitUser,
}

/// Whether this host could build as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalSlot {
    /// A slot is free.
    Free,
    /// None is, or this host cannot build it.
    Taken,
}

/// What watchers are told: changes of state only. A job tells its own start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A goal has ended.
    Finished {
        /// Which.
        goal: GoalId,
        /// What it was about.
        key: Key,
        /// How.
        outcome: Outcome,
    },
    /// A goal waits for a lock that another process holds.
    WaitsForLock {
        /// Which.
        goal: GoalId,
        /// The locked path.
        path: StorePath,
    },
    /// A goal waits for a build user.
    WaitsForUser {
        /// Which.
        goal: GoalId,
    },
    /// The machine was told what cannot have happened: a fault in the engine, for the log. If the
    /// goal lives it fails.
    Unexpected {
        /// About which goal.
        goal: GoalId,
        /// Names the state and the input.
        what: String,
    },
}

/// How a goal ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Built here or by a hook, and registered; for `Mode::Check`: built again and equal.
    Built,
    /// Got from a source.
    Substituted,
    /// Nothing had to be done.
    AlreadyValid,
    /// No source has it: no failure by itself.
    Absent,
    /// It did not succeed.
    Failed(Failure),
    /// It was ended because nobody needed it any more, or the run ended.
    Cancelled,
}

impl Outcome {
    /// Whether what was wanted is valid now.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Built | Self::Substituted | Self::AlreadyValid)
    }
}
