//! The substitution goal: gets one store path from the sources, one after the other.
//!
//! It does not know what a source is nor what a path contains: a lying source is found out by the
//! job and is a `Failed` here. References come first, so that a valid path's closure is valid.
//! Fetches have slots of their own.
//!
//! | state (seed) | on | next | orders |
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
use super::derivation::{fail, finish as finished, patience, whole};
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
    failed: Option<Failure>,
    verdict: Option<Outcome>,
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
    pub fn step(&mut self, state: State, input: Input, policy: &Policy) -> Result<Next, Input> {
        match input {
            Input::Stop => return self.stopped(state),
            Input::Widen { .. } if self.can_join(state) => return Ok((state, vec![])),
            other => self.advance(state, other, policy),
        }
    }

    fn advance(&mut self, state: State, input: Input, policy: &Policy) -> Result<Next, Input> {
        Ok(match state {
            State::New => match input {
                Input::Start => self.look(vec![]),
                other => return Err(other),
            },
            State::Probing => match input {
                Input::Checked(valid) => self.checked(&valid, policy),
                other => return Err(other),
            },
            State::Asking => match input {
                Input::Answered(answer) => self.answered(answer, policy),
                other => return Err(other),
            },
            State::RefsWanted => match input {
                Input::Needs { failed: 0, absent: 0 } => {
                    self.ready = Some(SourceId(self.next - 1));
                    self.claim()
                }
                Input::Needs { failed, absent } => {
                    fail_done(Failure::InputsFailed { count: failed + absent })
                }
                other => return Err(other),
            },
            State::Claiming => match input {
                Input::Claimed(Waited::Yes) => self.look(vec![]),
                Input::Claimed(Waited::No) if self.satisfied() => done(Outcome::AlreadyValid),
                Input::Claimed(Waited::No) => {
                    (State::SlotWanted, vec![Order::WantSlot(SlotKind::Fetch, Place::Tail)])
                }
                other => return Err(other),
            },
            State::SlotWanted => match input {
                Input::Slot => (State::Fetching, vec![Order::Launch(self.job())]),
                other => return Err(other),
            },
            State::Fetching => return self.fetching(input, policy),
            State::Ingesting => match input {
                Input::Ingested => (State::Registering, vec![Order::Release]),
                Input::Failed(why) => self.source_failed(why, policy),
                other => return Err(other),
            },
            State::Registering => match input {
                Input::Registered => done(Outcome::Substituted),
                Input::Failed(why) => fail_done(why),
                other => return Err(other),
            },
            State::LockWanted => match input {
                Input::LockFree => self.look(vec![]),
                Input::Failed(why) => fail_done(why),
                other => return Err(other),
            },
            State::Stopping => return self.stopping(input),
            State::Done => return Err(input),
        })
    }

    fn fetching(&mut self, input: Input, policy: &Policy) -> Result<Next, Input> {
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
            other => return Err(other),
        })
    }

    fn stopped(&mut self, state: State) -> Result<Next, Input> {
        self.verdict.get_or_insert(Outcome::Cancelled);
        Ok(match state {
            State::New | State::RefsWanted | State::Claiming | State::SlotWanted => {
                done(Outcome::Cancelled)
            }
            State::Probing => (State::Stopping, vec![]),
            State::Asking | State::Fetching | State::Ingesting | State::LockWanted => {
                (State::Stopping, vec![Order::Kill])
            }
            State::Registering | State::Stopping => (state, vec![]),
            State::Done => return Err(Input::Stop),
        })
    }

    fn stopping(&mut self, input: Input) -> Result<Next, Input> {
        let verdict = self.verdict.clone().unwrap_or(Outcome::Cancelled);
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
            other => return Err(other),
        })
    }

    /// Ends it from outside: for what must not happen.
    pub(super) fn stop(&mut self, verdict: Outcome, orders: Vec<Order>) -> Next {
        self.verdict = Some(verdict);
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
        self.failed = Some(why);
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
            Some(why) => fail_done(why),
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
