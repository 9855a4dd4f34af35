//! The derivation goal: what becomes of one derivation, one transition a line.
//!
//! It does not know other goals, counters, threads or the store: it gets an [`Input`] and answers
//! with its next state and [`Order`]s. `decide` is the heart: all that follows a look at the store
//! (Loading, Checking). Every state also takes `Widen`, `Spoiled` and `Stop` (the last rows).
//!
//! | state \[in Nix\] | on | next | orders |
//! |---|---|---|---|
//! | New | Start | Loading | Ask(Load) |
//! | Loading \[init, haveDerivation\] | Missing, first / second time | `DrvWanted` / - | Need(the .drv) / Finish(`MissingDerivation`) |
//! | | Bad / facts | - / *decide* | Finish / |
//! | `DrvWanted` | Needs: failed or absent / ok | - / Loading | Finish(`MissingDerivation`) / Ask(Load) |
//! | *decide* | named outputs that it has not | - | Finish(`NoSuchOutputs`) |
//! | | check mode, not all wanted valid | - | Finish(`CheckImpossible`) |
//! | | all wanted valid, and inputs too if forced | Claiming | Claim(outputs) |
//! | | wanted outputs that sources were not asked for | `OutputsWanted` | Unclaim, Need(paths) |
//! | | it must be built and cannot | - | Finish(obstacle) |
//! | | inputs not realised / forced since | `InputsWanted` / Loading | Unclaim, Need(inputs) / Ask(Load) |
//! | | otherwise | Claiming | Claim(outputs) |
//! | `OutputsWanted` \[outputsSubstituted\] | failed, no fallback / otherwise | - / Checking | Finish(`SubstitutesFailed`) / Ask(Check) |
//! | Checking | Checked | *decide* | |
//! | `InputsWanted` \[inputsRealised\] | failed n / ok, wants grew / not | - / Checking / Claiming | Finish(`InputsFailed` n) / Ask(Check) / Claim(outputs) |
//! | Claiming \[tryToBuild\] | Claimed after a wait, or wants grew | Checking | Ask(Check) |
//! | | Claimed, all wanted valid | - | Finish(`AlreadyValid`) |
//! | | Claimed, a hook goes first | Asking | Launch(Hook) |
//! | | Claimed, this host can / nobody | `SlotWanted` / - | `WantSlot` / Finish(`NobodyCanBuild`) |
//! | Asking | Accepted | Offloaded | `HookSettled` |
//! | | Declined | `SlotWanted` or - | `HookSettled`, as Claimed without hook |
//! | | Postponed / `LockBusy` | Postponed / `LockWanted` | Postpone / `HookSettled`, Launch(AwaitLock) |
//! | | `AlreadyValid` / Failed | as Building | `HookSettled` |
//! | Postponed | `AskAgain` / Failed | Asking / - | Launch(Hook) / Finish(`InappropriatePostpone`) |
//! | `SlotWanted` | Slot, wants grew / not | Checking / Building | `FreeSlot`, `FreeUser`, Ask(Check) / Launch(Build) |
//! | Building \[buildDone\] | Exited | Ingesting | `FreeSlot` |
//! | | `LockBusy` / `UserBusy` | `LockWanted` / `UserWanted` | free both, Launch(AwaitLock) / `WantUser` |
//! | | `AlreadyValid`, wants grew / not / Failed | Checking / - / - | free both, Ask(Check) / Finish / Finish |
//! | Ingesting, Offloaded | Ingested / Failed | Registering / - | `FreeUser`, Release / Finish |
//! | Registering | Registered / Failed | - | Finish |
//! | `LockWanted` | `LockFree` / Failed | Checking / - | Ask(Check) / Finish |
//! | `UserWanted` | `UserFree` / Failed | `SlotWanted` / - | `WantSlot`(head) / Finish |
//! | Stopping | the last word of what is under way | - | Finish(why it stops) |
//! | any | Stop, without / with something under way | - / Stopping | Finish(Cancelled) / Kill |
//! | any before Registering | Spoiled | as Stop | Finish(`InputsFailed`) once all is quiet |

mod decide;
mod job;

use super::Failure;
use super::vocab::{
    DrvFacts, Fallback, Forced, Growth, Input, Key, Mode, Names, OnBadNeed, OnFailure, Order,
    Outcome, Outputs, Place, Policy, Request, SlotKind,
};
use crate::format::StorePath;

/// Where a derivation goal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Made, not started.
    New,
    /// The store is asked for the `.drv`.
    Loading,
    /// The `.drv` is sought at the sources.
    DrvWanted,
    /// Outputs are sought at the sources.
    OutputsWanted,
    /// The store is asked which outputs are valid.
    Checking,
    /// Inputs are being realised.
    InputsWanted,
    /// It waits to be the only goal that makes its outputs.
    Claiming,
    /// The hook is asked.
    Asking,
    /// The hook builds.
    Offloaded,
    /// The hook said "not now".
    Postponed,
    /// It waits for a slot.
    SlotWanted,
    /// The builder runs.
    Building,
    /// The builder is done, outputs are taken over.
    Ingesting,
    /// Outputs are in the store, not yet committed.
    Registering,
    /// Another process holds a lock.
    LockWanted,
    /// Other processes hold all users.
    UserWanted,
    /// It has to end once what is under way has.
    Stopping,
    /// It has ended.
    Done,
}

/// Which look for the `.drv` is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Tries {
    #[default]
    First,
    Second,
}

/// What it has looked for.
#[derive(Debug, Default)]
struct Search {
    /// Looks for the `.drv` so far.
    tries: Tries,
    /// Outputs that sources were asked for.
    sought: Option<Outputs>,
    /// Names that were wanted beside all, before it was known which there are.
    named: Names,
}

/// How far the inputs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Inputs {
    Open,
    Realised(Forced),
}

/// What a derivation goal remembers.
#[derive(Debug)]
pub struct Derivation {
    /// Its `.drv`.
    pub drv: StorePath,
    /// What is done.
    pub mode: Mode,
    /// What is wanted of it.
    pub wanted: Outputs,
    /// Whether its inputs are wanted too.
    pub forced: Forced,
    /// What the `.drv` says, while it is of use; its inputs only until they are asked for.
    pub facts: Option<Box<DrvFacts>>,
    /// Wants that came since the store was last looked at.
    grown: Growth,
    search: Search,
    inputs: Inputs,
    /// Why it stops, while it stops; inputs spoiled, while it waits.
    ending: Ending,
}

#[derive(Debug, Default)]
struct Ending {
    /// Boxed: most goals never have one.
    verdict: Option<Box<Outcome>>,
    spoiled: usize,
}

/// The next state and what is asked for.
pub type Next = (State, Vec<Order>);

/// An input that a state does not know.
pub type Stray = Box<Input>;

impl Derivation {
    /// A goal in [`State::New`].
    #[must_use]
    pub fn new(drv: StorePath, mode: Mode, wanted: Outputs, forced: Forced) -> Self {
        Self {
            drv,
            mode,
            wanted,
            forced,
            facts: None,
            grown: Growth::Same,
            search: Search::default(),
            inputs: Inputs::Open,
            ending: Ending::default(),
        }
    }

    /// Paths of its outputs, once they are known.
    #[must_use]
    pub fn paths(&self) -> Vec<StorePath> {
        self.facts.iter().flat_map(|f| &f.outputs).map(|o| o.path.clone()).collect()
    }

    /// Whether a request can still join this goal in `state`; otherwise it needs one of its own.
    #[must_use]
    pub fn can_join(&self, state: State, outputs: &Outputs, forced: Forced) -> bool {
        match state {
            State::New
            | State::Loading
            | State::DrvWanted
            | State::OutputsWanted
            | State::Checking
            | State::InputsWanted
            | State::Claiming
            | State::SlotWanted
            | State::LockWanted
            | State::UserWanted
            | State::Postponed => self.strangers(outputs).is_empty(),
            State::Asking
            | State::Offloaded
            | State::Building
            | State::Ingesting
            | State::Registering => forced <= self.forced && self.strangers(outputs).is_empty(),
            // What it failed of will not change.
            State::Stopping => matches!(self.ending.verdict.as_deref(), Some(Outcome::Failed(_))),
            State::Done => false,
        }
    }

    /// Names in `outputs` that the derivation has not.
    fn strangers(&self, outputs: &Outputs) -> Vec<String> {
        match (outputs, &self.facts) {
            (Outputs::All, _) | (Outputs::Named(_), None) => Vec::new(),
            (Outputs::Named(names), Some(facts)) => names
                .iter()
                .filter(|name| facts.outputs.iter().all(|o| o.name != **name))
                .map(ToString::to_string)
                .collect(),
        }
    }

    /// Keeps names that "all" is about to hide: a name that no output has is an error all the same.
    fn remember_names(&mut self, more: &Outputs) {
        let ((Outputs::Named(names), Outputs::All) | (Outputs::All, Outputs::Named(names))) =
            (&self.wanted, more)
        else {
            return;
        };
        if self.facts.is_none() {
            self.search.named = self.search.named.iter().chain(names.iter()).cloned().collect();
        }
    }

    /// One thing happened: what now.
    ///
    /// # Errors
    /// The input, if nothing is known to do with it in this state.
    #[expect(clippy::too_many_lines, reason = "the table: one arm a row")]
    pub fn step(&mut self, state: State, input: Input, policy: &Policy) -> Result<Next, Stray> {
        let input = match self.common(state, input) {
            Ok(next) => return Ok(next),
            Err(input) => *input,
        };
        Ok(match (state, input) {
            (State::New, Input::Start)
            | (State::DrvWanted, Input::Needs { failed: 0, absent: 0 }) => {
                (State::Loading, vec![self.load()])
            }
            (State::Loading, Input::Loaded(loaded)) => self.loaded(loaded, policy),
            (State::DrvWanted, Input::Needs { .. }) => fail(Failure::MissingDerivation),
            (State::OutputsWanted, Input::Needs { failed, .. })
                if failed > 0 && policy.fallback == Fallback::Fail =>
            {
                fail(Failure::SubstitutesFailed)
            }
            (State::OutputsWanted, Input::Needs { .. }) => self.look(vec![]),
            (State::Checking, Input::Checked(valid)) => self.checked(&valid, policy),
            (State::InputsWanted, Input::Needs { failed, absent }) => {
                self.inputs_ended(failed + absent)
            }
            (State::Claiming, Input::Claimed(waited)) => self.claimed(waited, policy),
            (State::Postponed, Input::AskAgain) if self.grown == Growth::Same => {
                self.ask_hook(policy)
            }
            (State::Postponed, Input::AskAgain) | (State::LockWanted, Input::LockFree) => {
                self.look(vec![])
            }
            (State::SlotWanted, Input::Slot) if self.grown == Growth::Grew => {
                self.look(free_both())
            }
            (State::SlotWanted, Input::Slot) => {
                (State::Building, vec![Order::Launch(self.build())])
            }
            (State::Offloaded | State::Ingesting, Input::Ingested) => {
                (State::Registering, vec![Order::FreeUser, Order::Release])
            }
            (State::Registering, Input::Registered) => finish(Outcome::Built),
            (State::UserWanted, Input::UserFree) => {
                (State::SlotWanted, vec![Order::WantSlot(SlotKind::Build, Place::Head)])
            }
            (
                State::Postponed
                | State::Building
                | State::Offloaded
                | State::Ingesting
                | State::Registering
                | State::LockWanted
                | State::UserWanted,
                Input::Failed(why),
            ) => fail(why),
            (State::Asking, input) => return self.asking(input, policy),
            (State::Building, input) => return self.building(input),
            (State::Stopping, input) => return self.stopping(input),
            (
                State::New
                | State::Loading
                | State::DrvWanted
                | State::OutputsWanted
                | State::Checking
                | State::InputsWanted
                | State::Claiming
                | State::Offloaded
                | State::Postponed
                | State::SlotWanted
                | State::Ingesting
                | State::Registering
                | State::LockWanted
                | State::UserWanted
                | State::Done,
                stray,
            ) => return Err(stray.into()),
        })
    }

    /// What is the same in most states: the input comes back if it is not of that kind.
    #[expect(clippy::wildcard_enum_match_arm, reason = "inputs that the row does not name")]
    fn common(&mut self, state: State, input: Input) -> Result<Next, Stray> {
        if let Input::Widen { outputs, forced } = &input {
            if !self.can_join(state, outputs, *forced) {
                return Err(input.into());
            }
            self.remember_names(outputs);
            if self.wanted.widen(outputs) == Growth::Grew || *forced > self.forced {
                self.forced = self.forced.max(*forced);
                self.grown = Growth::Grew;
            }
            return Ok((state, vec![]));
        }
        let verdict = match input {
            Input::Stop => Outcome::Cancelled,
            Input::Spoiled => Outcome::Failed(Failure::InputsFailed { count: 1 }),
            other => return Err(other.into()),
        };
        let spoiled = matches!(verdict, Outcome::Failed(_));
        Ok(match state {
            State::OutputsWanted | State::InputsWanted | State::DrvWanted if spoiled => {
                self.ending.spoiled += 1;
                (state, vec![])
            }
            State::New
            | State::DrvWanted
            | State::OutputsWanted
            | State::InputsWanted
            | State::Claiming
            | State::SlotWanted
            | State::Postponed => finish(verdict),
            State::Loading | State::Checking => self.stop(verdict, vec![]),
            State::Asking
            | State::Offloaded
            | State::Building
            | State::Ingesting
            | State::LockWanted
            | State::UserWanted => self.stop(verdict, vec![Order::Kill]),
            // The commit is under way, or the end is: nothing to add.
            State::Registering | State::Stopping => (state, vec![]),
            State::Done => {
                return Err(Box::new(if spoiled { Input::Spoiled } else { Input::Stop }));
            }
        })
    }

    /// Ends it from outside: for what must not happen.
    pub(super) fn stop(&mut self, verdict: Outcome, orders: Vec<Order>) -> Next {
        self.ending.verdict = Some(Box::new(verdict));
        (State::Stopping, orders)
    }
}

pub(super) fn whole(key: Key) -> Request {
    Request { key, outputs: Outputs::All, forced: Forced::No }
}

/// What a failed need means to the others.
pub(super) fn patience(policy: &Policy) -> OnBadNeed {
    match policy.on_failure {
        OnFailure::KeepGoing => OnBadNeed::AwaitAll,
        OnFailure::Stop => OnBadNeed::ForgetRest,
    }
}

fn free_both() -> Vec<Order> {
    vec![Order::FreeSlot(SlotKind::Build), Order::FreeUser]
}

pub(super) fn finish(outcome: Outcome) -> Next {
    (State::Done, vec![Order::Finish(outcome)])
}

pub(super) fn fail(why: Failure) -> Next {
    finish(Outcome::Failed(why))
}

#[cfg(test)]
mod tests;
