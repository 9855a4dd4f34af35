//! The substitution goal: gets one store path from the sources, one after the other.
//!
//! It does not know what a source is nor what a path contains: a lying source is found out by the
//! job and is a `Failed` here. References come first, so that a valid path's closure is valid.
//! Fetches have slots of their own.
//!
//! | state \[in Nix\] | on | next | orders |
//! |---|---|---|---|
//! | New | Start | Probing | Ask(Check) |
//! | Probing \[init\] | valid, or its references are | Claiming | Claim(path) |
//! | | otherwise | *next source* | Unclaim |
//! | *next source* \[tryNext\] | one is left | Asking | `AskSource` |
//! | | none, one that had it failed / none had it | - | Finish(that failure) / Finish(Absent) |
//! | Asking \[gotInfo\] | Has | `RefsWanted` | Need(references) |
//! | | `HasNot`, Broken | *next source* | |
//! | `RefsWanted` \[referencesValid\] | bad n / ok | - / Claiming | Finish(`InputsFailed` n) / Claim(path) |
//! | Claiming | after a wait / valid / not | Probing / - / `SlotWanted` | Ask(Check) / Finish(`AlreadyValid`) / `WantSlot` |
//! | `SlotWanted` \[tryToRun\] | Slot | Fetching | Launch(Substitute) |
//! | Fetching \[finished\] | Exited | Ingesting | `FreeSlot` |
//! | | `LockBusy` / `AlreadyValid` / Failed | `LockWanted` / - / *next source* | `FreeSlot` first |
//! | Ingesting | Ingested / Failed | Registering / *next source* | Release / |
//! | Registering | Registered / Failed | - | Finish |
//! | `LockWanted` | `LockFree` / Failed | Probing / - | Ask(Check) / Finish |
//! | Stopping | the last word of what is under way | - | Finish(why it stops) |
//! | any | Stop, without / with something under way | - / Stopping | Finish(Cancelled) / Kill |

use super::Failure;
use super::derivation::{Stray, fail, finish as finished, patience, whole};
use super::vocab::{
    Absence, Answer, Edge, Input, Job, Key, Mode, Order, Outcome, Place, Policy, Question,
    SlotKind, SourceId, Validity, Waited,
};
use crate::format::StorePath;

/// Where a substitution goal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Made, not started.
    New,
    /// The store is asked whether the path is valid.
    Probing,
    /// A source is asked.
    Asking,
    /// Its references are being realised.
    RefsWanted,
    /// It waits to be the only goal that makes the path.
    Claiming,
    /// It waits for a slot.
    SlotWanted,
    /// The fetch runs.
    Fetching,
    /// What was fetched is taken over.
    Ingesting,
    /// It is in the store, not yet committed.
    Registering,
    /// Another process holds the lock.
    LockWanted,
    /// It has to end once what is under way has.
    Stopping,
    /// It has ended.
    Done,
}

/// The next state and what is asked for.
pub type Next = (State, Vec<Order>);

/// What a substitution goal remembers.
#[derive(Debug)]
pub struct Substitution {
    /// The path.
    pub path: StorePath,
    /// Normal or repair.
    pub mode: Mode,
    /// The source to ask next.
    next: u16,
    /// Whether it was valid at the last look.
    validity: Validity,
    /// The source that has it, once its references are valid.
    ready: Option<SourceId>,
    /// How the last source that had it failed.
    failed: Option<Box<Failure>>,
    verdict: Option<Box<Outcome>>,
}

impl Substitution {
    /// A goal in [`State::New`].
    #[must_use]
    pub fn new(path: StorePath, mode: Mode) -> Self {
        let validity = Validity::Invalid;
        Self { path, mode, next: 0, validity, ready: None, failed: None, verdict: None }
    }

    /// Whether a request can still join this goal in `state`.
    #[must_use]
    pub fn can_join(&self, state: State) -> bool {
        !matches!(state, State::Stopping | State::Done)
    }

    /// One thing happened: what now.
    ///
    /// # Errors
    /// The input, if nothing is known to do with it in this state.
    #[expect(clippy::wildcard_enum_match_arm, reason = "inputs that the row does not name")]
    pub fn step(&mut self, state: State, input: Input, policy: &Policy) -> Result<Next, Stray> {
        match input {
            Input::Stop => self.stopped(state),
            Input::Widen { .. } if self.can_join(state) => Ok((state, vec![])),
            other => self.advance(state, other, policy),
        }
    }

    fn advance(&mut self, state: State, input: Input, policy: &Policy) -> Result<Next, Stray> {
        Ok(match (state, input) {
            (State::New, Input::Start) | (State::LockWanted, Input::LockFree) => self.look(vec![]),
            (State::Probing, Input::Checked(valid)) => self.checked(&valid, policy),
            (State::Asking, Input::Answered(answer)) => self.answered(answer, policy),
            (State::RefsWanted, Input::Needs { failed: 0, absent: 0 }) => {
                self.ready = Some(SourceId(self.next - 1));
                self.claim()
            }
            (State::RefsWanted, Input::Needs { failed, absent }) => {
                fail_done(Failure::InputsFailed { count: failed + absent })
            }
            (State::Claiming, Input::Claimed(Waited::Yes)) => self.look(vec![]),
            (State::Claiming, Input::Claimed(Waited::No)) if self.satisfied() => {
                done(Outcome::AlreadyValid)
            }
            (State::Claiming, Input::Claimed(Waited::No)) => {
                (State::SlotWanted, vec![Order::WantSlot(SlotKind::Fetch, Place::Tail)])
            }
            (State::SlotWanted, Input::Slot) => (State::Fetching, vec![Order::Launch(self.job())]),
            (State::Ingesting, Input::Ingested) => (State::Registering, vec![Order::Release]),
            (State::Ingesting, Input::Failed(why)) => self.source_failed(why, policy),
            (State::Registering, Input::Registered) => done(Outcome::Substituted),
            (State::Registering | State::LockWanted, Input::Failed(why)) => fail_done(why),
            (State::Fetching, input) => return self.fetching(input, policy),
            (State::Stopping, input) => return self.stopping(input),
            (
                State::New
                | State::Probing
                | State::Asking
                | State::RefsWanted
                | State::Claiming
                | State::SlotWanted
                | State::Ingesting
                | State::Registering
                | State::LockWanted
                | State::Done,
                stray,
            ) => return Err(stray.into()),
        })
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "inputs that the row does not name")]
    fn fetching(&mut self, input: Input, policy: &Policy) -> Result<Next, Stray> {
        Ok(match input {
            Input::Exited => (State::Ingesting, vec![free()]),
            Input::LockBusy(path) => {
                (State::LockWanted, vec![free(), Order::Launch(Job::AwaitLock { path })])
            }
            Input::AlreadyValid => done(Outcome::AlreadyValid),
            Input::Failed(why) => {
                let (state, mut orders) = self.source_failed(why, policy);
                orders.insert(0, free());
                (state, orders)
            }
            other => return Err(other.into()),
        })
    }

    fn stopped(&mut self, state: State) -> Result<Next, Stray> {
        self.verdict.get_or_insert_with(|| Box::new(Outcome::Cancelled));
        Ok(match state {
            State::New | State::RefsWanted | State::Claiming | State::SlotWanted => {
                done(Outcome::Cancelled)
            }
            State::Probing => (State::Stopping, vec![]),
            State::Asking | State::Fetching | State::Ingesting | State::LockWanted => {
                (State::Stopping, vec![Order::Kill])
            }
            State::Registering | State::Stopping => (state, vec![]),
            State::Done => return Err(Input::Stop.into()),
        })
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "inputs that the row does not name")]
    fn stopping(&mut self, input: Input) -> Result<Next, Stray> {
        let verdict = self.verdict.as_deref().cloned().unwrap_or(Outcome::Cancelled);
        Ok(match input {
            Input::Exited => (State::Stopping, vec![free()]),
            Input::Ingested => (State::Stopping, vec![]),
            Input::Registered if verdict == Outcome::Cancelled => done(Outcome::Substituted),
            Input::Registered
            | Input::Checked(_)
            | Input::Answered(_)
            | Input::LockBusy(_)
            | Input::LockFree
            | Input::AlreadyValid
            | Input::Failed(_) => done(verdict),
            other => return Err(other.into()),
        })
    }

    /// Ends it from outside: for what must not happen.
    pub(super) fn stop(&mut self, verdict: Outcome, orders: Vec<Order>) -> Next {
        self.verdict = Some(Box::new(verdict));
        (State::Stopping, orders)
    }

    fn satisfied(&self) -> bool {
        self.mode == Mode::Normal && self.validity == Validity::Valid
    }

    fn look(&self, mut first: Vec<Order>) -> Next {
        first.push(Order::Ask(Question::Check { paths: vec![self.path.clone()] }));
        (State::Probing, first)
    }

    fn checked(&mut self, valid: &[StorePath], policy: &Policy) -> Next {
        let there = valid.contains(&self.path);
        self.validity = if there { Validity::Valid } else { Validity::Invalid };
        if self.satisfied() || self.ready.is_some() {
            self.claim()
        } else {
            self.next_source(policy)
        }
    }

    fn answered(&mut self, answer: Answer, policy: &Policy) -> Next {
        let references = match answer {
            Answer::Has { references } => references,
            Answer::HasNot => return self.next_source(policy),
            Answer::Broken(why) => return self.source_failed(why, policy),
        };
        let others = references.into_iter().filter(|path| *path != self.path);
        let requests = others.map(|path| whole(Key::path(path, Mode::Normal))).collect();
        let (on_bad, absence) = (patience(policy), Absence::Failure);
        let needs = Order::Need { requests, edge: Edge::Registered, on_bad, absence };
        (State::RefsWanted, vec![needs])
    }

    fn source_failed(&mut self, why: Failure, policy: &Policy) -> Next {
        self.failed = Some(Box::new(why));
        self.next_source(policy)
    }

    fn next_source(&mut self, policy: &Policy) -> Next {
        self.ready = None;
        if self.next < policy.sources {
            let source = SourceId(self.next);
            self.next += 1;
            return (State::Asking, vec![Order::Unclaim, Order::AskSource(source)]);
        }
        match self.failed.take() {
            Some(why) => fail_done(*why),
            None => done(Outcome::Absent),
        }
    }

    fn claim(&self) -> Next {
        (State::Claiming, vec![Order::Claim(vec![self.path.clone()])])
    }

    fn job(&self) -> Job {
        let source = self.ready.unwrap_or(SourceId(0));
        Job::Substitute { path: self.path.clone(), source, mode: self.mode }
    }
}

fn free() -> Order {
    Order::FreeSlot(SlotKind::Fetch)
}

fn done(outcome: Outcome) -> Next {
    (State::Done, finished(outcome).1)
}

fn fail_done(why: Failure) -> Next {
    (State::Done, fail(why).1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::vocab::Loaded;

    fn path() -> StorePath {
        StorePath::from_base_name(format!("{}-p", "1".repeat(32)).as_bytes()).unwrap()
    }

    fn goal(asked: u16, ready: Option<SourceId>) -> Substitution {
        Substitution { next: asked, ready, ..Substitution::new(path(), Mode::Normal) }
    }

    fn word<T: std::fmt::Debug>(value: &T) -> String {
        format!("{value:?}").split([' ', '(', '{']).next().unwrap_or_default().to_owned()
    }

    fn failed() -> Input {
        Input::Failed(Failure::ExitCode(1))
    }

    /// State, sources asked, input, next state, orders.
    fn rows() -> Vec<(State, u16, Input, State, &'static str)> {
        use State::*;
        let has = |references| Input::Answered(Answer::Has { references });
        let broken = || Input::Answered(Answer::Broken(Failure::ExitCode(2)));
        let needs = |failed, absent| Input::Needs { failed, absent };
        let busy = || Input::LockBusy(path());
        vec![
            (New, 0, Input::Start, Probing, "Ask"),
            (Probing, 0, Input::Checked(vec![path()]), Claiming, "Claim"),
            (Probing, 0, Input::Checked(vec![]), Asking, "Unclaim AskSource"),
            (Probing, 2, Input::Checked(vec![]), Done, "Finish"),
            (Asking, 1, has(vec![path()]), RefsWanted, "Need"),
            (Asking, 1, Input::Answered(Answer::HasNot), Asking, "Unclaim AskSource"),
            (Asking, 2, broken(), Done, "Finish"),
            (RefsWanted, 1, needs(0, 0), Claiming, "Claim"),
            (RefsWanted, 1, needs(0, 1), Done, "Finish"),
            (Claiming, 1, Input::Claimed(Waited::Yes), Probing, "Ask"),
            (Claiming, 1, Input::Claimed(Waited::No), SlotWanted, "WantSlot"),
            (SlotWanted, 1, Input::Slot, Fetching, "Launch"),
            (Fetching, 1, Input::Exited, Ingesting, "FreeSlot"),
            (Fetching, 1, busy(), LockWanted, "FreeSlot Launch"),
            (Fetching, 1, Input::AlreadyValid, Done, "Finish"),
            (Fetching, 1, failed(), Asking, "FreeSlot Unclaim AskSource"),
            (Fetching, 2, failed(), Done, "FreeSlot Finish"),
            (Ingesting, 1, Input::Ingested, Registering, "Release"),
            (Ingesting, 1, failed(), Asking, "Unclaim AskSource"),
            (Registering, 1, Input::Registered, Done, "Finish"),
            (Registering, 1, failed(), Done, "Finish"),
            (LockWanted, 1, Input::LockFree, Probing, "Ask"),
            (LockWanted, 1, failed(), Done, "Finish"),
            (New, 0, Input::Stop, Done, "Finish"),
            (Probing, 0, Input::Stop, Stopping, ""),
            (Asking, 1, Input::Stop, Stopping, "Kill"),
            (RefsWanted, 1, Input::Stop, Done, "Finish"),
            (Claiming, 1, Input::Stop, Done, "Finish"),
            (SlotWanted, 1, Input::Stop, Done, "Finish"),
            (Fetching, 1, Input::Stop, Stopping, "Kill"),
            (Ingesting, 1, Input::Stop, Stopping, "Kill"),
            (Registering, 1, Input::Stop, Registering, ""),
            (LockWanted, 1, Input::Stop, Stopping, "Kill"),
            (Stopping, 1, Input::Exited, Stopping, "FreeSlot"),
            (Stopping, 1, Input::Ingested, Stopping, ""),
            (Stopping, 1, Input::Registered, Done, "Finish"),
            (Stopping, 1, Input::Checked(vec![]), Done, "Finish"),
            (Stopping, 1, broken(), Done, "Finish"),
            (Stopping, 1, busy(), Done, "Finish"),
            (Stopping, 1, Input::LockFree, Done, "Finish"),
            (Stopping, 1, Input::AlreadyValid, Done, "Finish"),
            (Stopping, 1, failed(), Done, "Finish"),
        ]
    }

    #[test]
    fn every_row_of_the_table() {
        let policy = Policy { sources: 2, ..Policy::default() };
        for (state, asked, input, next, orders) in rows() {
            let told = format!("{state:?} on {input:?}");
            let (got, list) = goal(asked, None).step(state, input, &policy).unwrap();
            let list: Vec<String> = list.iter().map(word).collect();
            assert_eq!((got, list.join(" ").as_str()), (next, orders), "{told}");
        }
    }

    #[test]
    fn a_source_that_had_it_and_failed_is_no_absence() {
        let policy = Policy { sources: 1, ..Policy::default() };
        let (_, orders) = goal(1, None).step(State::Fetching, failed(), &policy).unwrap();
        let why = Outcome::Failed(Failure::ExitCode(1));
        assert_eq!(orders.last(), Some(&Order::Finish(why)));
        let nothing = Input::Answered(Answer::HasNot);
        let (_, orders) = goal(1, None).step(State::Asking, nothing, &policy).unwrap();
        assert_eq!(orders, [Order::Finish(Outcome::Absent)]);
    }

    #[test]
    fn what_has_no_row_is_refused() {
        let strays = [Input::UserFree, Input::AskAgain, Input::Loaded(Loaded::Missing)];
        for (state, asked, ..) in rows() {
            for stray in &strays {
                let got = goal(asked, None).step(state, stray.clone(), &Policy::default());
                assert_eq!(got.unwrap_err(), stray.clone().into(), "{state:?}");
            }
        }
    }

    #[test]
    fn references_that_are_ready_are_not_asked_for_again() {
        let ready = Some(SourceId(0));
        let seen = Input::Checked(vec![]);
        let (state, _) = goal(1, ready).step(State::Probing, seen, &Policy::default()).unwrap();
        assert_eq!(state, State::Claiming);
    }
}
