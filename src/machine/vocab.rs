//! The words between the dispatcher and the machine, and between the machine and its goals.
//!
//! Ids and plain values only: no pids, files, locks or threads. [`Event`]s (past tense) go in,
//! [`Effect`]s (imperative) come out; an [`Input`] is what can happen to one goal, an [`Order`]
//! is what a goal may ask for. Nothing here decides anything.
//!
//! Invariant: every `Probe`, `Query` entry and `Launch` is answered by the dispatcher exactly
//! once to its end (see each of them), whatever happens; the machine counts on it to know that
//! the run is over or stuck.

use std::sync::Arc;

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

/// Names of outputs: sorted, each once. A vector, since there are mostly one or two and there may
/// be millions of edges.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Names(Vec<Arc<str>>);

impl<S: Into<Arc<str>>> FromIterator<S> for Names {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut list: Vec<Arc<str>> = names.into_iter().map(Into::into).collect();
        list.sort_unstable();
        list.dedup();
        list.shrink_to_fit();
        Self(list)
    }
}

impl Names {
    /// Whether `name` is among them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.binary_search_by(|own| (**own).cmp(name)).is_ok()
    }

    /// The names in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a joined request asked for something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// Nothing new.
    Same,
    /// More than before.
    Grew,
}

/// Which outputs of a derivation are wanted. Only ever grows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outputs {
    /// These.
    Named(Names),
    /// Each that the derivation has.
    All,
}

impl Outputs {
    /// These outputs.
    pub fn named<S: Into<Arc<str>>>(names: impl IntoIterator<Item = S>) -> Self {
        Self::Named(names.into_iter().collect())
    }

    /// Whether the output `name` is wanted.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(name),
        }
    }

    /// Whether all of `other` is wanted by `self`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Named(_), Self::All) => false,
            (Self::Named(own), Self::Named(more)) => more.iter().all(|name| own.contains(name)),
        }
    }

    /// Adds what `other` wants.
    pub fn widen(&mut self, other: &Self) -> Growth {
        if self.covers(other) {
            return Growth::Same;
        }
        *self = match (&*self, other) {
            (Self::Named(own), Self::Named(more)) => {
                Self::Named(own.iter().chain(more.iter()).cloned().collect())
            }
            (Self::All, _) | (Self::Named(_), Self::All) => Self::All,
        };
        Growth::Grew
    }
}

/// Whether the inputs of a derivation must be realised though its outputs are valid, down to the
/// leaves (seed: `forceInputs`, for `exportBuildReferencesGraph`). Only ever grows.
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

// ---- dispatcher -> machine -------------------------------------------------------------------

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

/// Answer to [`Question::Load`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// The `.drv` is not valid.
    Missing,
    /// It cannot be realised whatever is valid: unreadable, or of a kind that has no fixed paths.
    Bad(Failure),
    /// What it says and what of it is valid.
    Facts(Box<DrvFacts>),
}

/// What the machine must know of a derivation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrvFacts {
    /// All its outputs, sorted by name.
    pub outputs: Vec<OutputFacts>,
    /// Its input derivations and what it wants of each.
    pub input_drvs: Vec<(StorePath, Outputs)>,
    /// Those input sources that are *not* valid: each must come from a source.
    pub invalid_srcs: Vec<StorePath>,
    /// Derivations whose whole build-time graph it wants (`exportBuildReferencesGraph`).
    pub forced_drvs: Vec<StorePath>,
    /// System and features it needs, as a text; equal texts are one class of work for a hook.
    pub needs: Arc<str>,
    /// Whether this host can build it, by system and features. Slots are the machine's matter.
    pub here: Here,
    /// Whether a local build is tried before the hook.
    pub locality: Locality,
    /// Whether its outputs may come from sources.
    pub substitutes: Substitutes,
    /// Why it cannot be built, told only if it has to be.
    pub obstacle: Option<Failure>,
}

/// One output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFacts {
    /// Its name.
    pub name: Arc<str>,
    /// Its path.
    pub path: StorePath,
    /// Whether it is there.
    pub validity: Validity,
}

/// Whether a path is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It is (committed, or ingested by this run and pending).
    Valid,
    /// It is not.
    Invalid,
}

/// The engine's verdict on system and features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Here {
    /// This host can.
    Can,
    /// This host cannot: what it offers, as a text.
    Cannot {
        /// Systems and features offered.
        offered: Arc<str>,
    },
}

/// Where a build is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locality {
    /// At the hook.
    HookFirst,
    /// On this host (`preferLocalBuild`).
    LocalFirst,
}

/// Whether outputs may come from sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Substitutes {
    /// Yes.
    Allowed,
    /// No (`allowSubstitutes` unset in the derivation).
    Never,
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

// ---- machine -> dispatcher -------------------------------------------------------------------

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

// ---- settings and results --------------------------------------------------------------------

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
    /// Ended badly.
    pub failed: usize,
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

// ---- machine <-> goal ------------------------------------------------------------------------

/// How far a needed goal must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edge {
    /// Its outputs are in the store, perhaps uncommitted: enough for a local build.
    Ingested,
    /// Its outputs are committed: for all that leaves this process.
    Registered,
}

/// What a bad need means to the others of the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnBadNeed {
    /// All are awaited.
    AwaitAll,
    /// The rest is forgotten.
    ForgetRest,
}

/// What it means that no source has a needed path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Absence {
    /// There are other ways.
    Harmless,
    /// It is as bad as a failure.
    Failure,
}

/// Which counter a slot comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SlotKind {
    /// `max_jobs`, and a build user where there are any.
    Build,
    /// `max_substitutions`.
    Fetch,
}

/// Where in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Before all that came to the tail.
    Head,
    /// First come, first served.
    Tail,
}

/// What a goal may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Wait for these: answered by `Needs`, at once if there are none.
    Need {
        /// What.
        requests: Vec<Request>,
        /// How far.
        edge: Edge,
        /// After a failure.
        on_bad: OnBadNeed,
        /// Whether absence counts as one.
        absence: Absence,
    },
    /// Ask the store.
    Ask(Question),
    /// Ask a source about its path.
    AskSource(SourceId),
    /// Be the only goal that makes these paths: answered by `Claimed`.
    Claim(Vec<StorePath>),
    /// Give up all claims.
    Unclaim,
    /// Wait for a slot: answered by `Slot`.
    WantSlot(SlotKind, Place),
    /// Give the slot back. Its build user stays until `FreeUser`.
    FreeSlot(SlotKind),
    /// Give the build user back.
    FreeUser,
    /// Wait for a user that another process holds: answered by `UserFree`.
    WantUser,
    /// Wait until the hook is worth another try: answered by `AskAgain`.
    Postpone,
    /// The hook has answered otherwise than `Postponed`: others of its class may ask.
    HookSettled,
    /// Start a job.
    Launch(Job),
    /// End the job or query.
    Kill,
    /// What it makes may be built upon.
    Release,
    /// Tell the watchers.
    Say(Notice),
    /// The end.
    Finish(Outcome),
}
