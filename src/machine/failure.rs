//! Why a goal did not succeed: plain data, one variant a reason, turned into words only by
//! `engine::failure_words`.
//!
//! It has no text for people but what the system or a tool said. So a failure can be compared,
//! counted and classed for the exit code, and the wording can change without a rule changing.

use crate::format::{Hash, StorePath};

/// What a rule about references forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReferenceRule {
    /// `allowedReferences`.
    AllowedReferences,
    /// `disallowedReferences`.
    DisallowedReferences,
    /// `allowedRequisites`.
    AllowedRequisites,
    /// `disallowedRequisites`.
    DisallowedRequisites,
}

/// What a size limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SizeRule {
    /// `maxSize`: the NAR of one output.
    Output,
    /// `maxClosureSize`: all NARs of its closure.
    Closure,
}

/// Why a goal did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The builder exited with this code, which is not 0.
    ExitCode(i32),
    /// The builder was ended by this signal.
    Signal(i32),
    /// The builder could not be started: the step that failed and the system's word for it.
    CannotStart {
        /// What was being done, e.g. "executing `/bin/sh`".
        step: String,
        /// The system's error text.
        cause: String,
    },
    /// No output for this many seconds (`max-silent-time`).
    Silence {
        /// The limit in seconds.
        limit: u64,
    },
    /// Not done after this many seconds (`timeout`).
    Timeout {
        /// The limit in seconds.
        limit: u64,
    },
    /// More log than this many bytes (`max-build-log-size`).
    LogLimit {
        /// The limit in bytes.
        limit: u64,
    },
    /// The builder succeeded but did not make this output.
    MissingOutput {
        /// The output's name.
        output: String,
        /// Where it should be.
        path: StorePath,
    },
    /// An output, or a file in it, that cannot be taken over: owner, mode or type.
    BadOutput {
        /// The output's name.
        output: String,
        /// The file, as the builder sees it.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// A fixed output has another hash.
    HashMismatch {
        /// The output.
        path: StorePath,
        /// What the derivation says.
        specified: Box<Hash>,
        /// What was found.
        got: Box<Hash>,
    },
    /// A fixed output refers to store paths.
    FixedOutputRefers {
        /// The output.
        path: StorePath,
        /// What it refers to.
        references: Vec<StorePath>,
    },
    /// An output refers to what a rule forbids.
    ForbiddenReferences {
        /// The output.
        path: StorePath,
        /// The rule.
        rule: ReferenceRule,
        /// The paths it must not refer to.
        forbidden: Vec<StorePath>,
    },
    /// An output or its closure is too large.
    TooLarge {
        /// The output.
        path: StorePath,
        /// What is counted.
        rule: SizeRule,
        /// Bytes found.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// Outputs of one build refer to each other in a circle.
    OutputCycle {
        /// The outputs on the circle.
        paths: Vec<StorePath>,
    },
    /// A second build made something else (`--check`).
    NotDeterministic {
        /// The output.
        path: StorePath,
        /// First file that differs, relative to the output; empty for the output itself.
        first_difference: String,
        /// Where the second result was kept, if `-K` was given.
        kept: Option<String>,
    },
    /// `--check` of a derivation whose outputs are not all valid.
    CheckImpossible {
        /// The outputs that are not valid.
        missing: Vec<StorePath>,
    },
    /// The derivation cannot be read or breaks a rule.
    BadDerivation(String),
    /// The derivation is of a kind that is not supported yet.
    NotSupported(String),
    /// The `.drv` is not valid and no source has it.
    MissingDerivation,
    /// A path is not valid and no source has it.
    NoSubstituter,
    /// A source has the path but could not give it; `fallback` is off.
    SubstitutesFailed,
    /// Outputs are wanted that the derivation has not.
    NoSuchOutputs {
        /// The derivation.
        derivation: StorePath,
        /// Their names.
        outputs: Vec<String>,
    },
    /// Derivations that need each other in a circle.
    DependencyCycle {
        /// The goals' paths, each needs the next and the last the first.
        paths: Vec<StorePath>,
    },
    /// Inputs that failed.
    InputsFailed {
        /// How many.
        count: usize,
    },
    /// No machine may build this: what it needs and what is offered here.
    NobodyCanBuild {
        /// System and features the derivation needs.
        needs: String,
        /// Systems and features that are offered, or why none are (`max-jobs` is 0).
        offered: String,
    },
    /// A hook said `postpone` although nothing runs.
    InappropriatePostpone,
    /// No space is left where it was needed.
    NoSpace {
        /// What was being written.
        place: String,
    },
    /// Not started or ended because the run was stopped.
    Cancelled,
    /// We could not do our work: store, locks, threads. Not the derivation's fault.
    Engine(String),
}
