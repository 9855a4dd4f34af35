//! What a goal may ask of the machine.
//!
//! The inner half of the vocabulary: most orders are obeyed inside the machine (`machine::obey`);
//! asking, launching, killing and saying leave it as effects. An order that is answered says by
//! which input, so a wait that nothing ends can be found by reading.

use super::{Job, Notice, Outcome, Question, Request, SourceId};
use crate::format::StorePath;

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
    /// Ask the store: answered by `Loaded` or `Checked`.
    Ask(Question),
    /// Ask a source about its path: answered by `Answered`.
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
