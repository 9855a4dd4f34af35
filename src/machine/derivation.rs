//! The derivation goal: what becomes of one derivation, one transition a line.
//!
//! It does not know other goals, counters, threads or the store: it gets an [`Input`] and answers
//! with its next state and [`Order`]s. `decide` is the heart: all that follows a look at the store
//! (Loading, Checking). Every state also takes `Widen`, `Spoiled` and `Stop` (the last rows).
//!
//! | state (seed) | on | next | orders |
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
//! | | inputs not realised | `InputsWanted` | Unclaim, Need(inputs) |
//! | | otherwise | Claiming | Claim(outputs) |
//! | `OutputsWanted` \[outputsSubstituted\] | failed, no fallback / otherwise | - / Checking | Finish(`SubstitutesFailed`) / Ask(Check) |
//! | Checking | Checked | *decide* | |
//! | `InputsWanted` \[inputsRealised\] | failed n / ok | - / Checking | Finish(`InputsFailed` n) / Ask(Check) |
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

use std::sync::Arc;

use super::Failure;
use super::vocab::{
    Absence, DrvFacts, Edge, Fallback, Forced, Growth, Here, Hook, HookReply, Input, Job, Key,
    Loaded, LocalSlot, Locality, Mode, OnBadNeed, OnFailure, Order, Outcome, Outputs, Place,
    Policy, Question, Request, SlotKind, Substitutes, Validity, Waited,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tries {
    First,
    Second,
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
    /// What the `.drv` says, while it is of use.
    pub facts: Option<Box<DrvFacts>>,
    /// Wants that came since the store was last looked at.
    grown: Growth,
    /// Looks for the `.drv` so far.
    tries: Tries,
    /// Outputs that sources were asked for.
    sought: Option<Outputs>,
    inputs: Inputs,
    /// Why it stops, while it stops; inputs spoiled, while it waits.
    ending: Ending,
}

#[derive(Debug, Default)]
struct Ending {
    verdict: Option<Outcome>,
    spoiled: usize,
}

/// The next state and what is asked for.
pub type Next = (State, Vec<Order>);

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
            tries: Tries::First,
            sought: None,
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
            State::Stopping => matches!(self.ending.verdict, Some(Outcome::Failed(_))),
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

    /// One thing happened: what now.
    ///
    /// # Errors
    /// The input, if nothing is known to do with it in this state.
    pub fn step(&mut self, state: State, input: Input, policy: &Policy) -> Result<Next, Input> {
        let input = match self.common(state, input) {
            Ok(next) => return Ok(next),
            Err(input) => input,
        };
        let next = match state {
            State::New => match input {
                Input::Start => (State::Loading, vec![self.load()]),
                other => return Err(other),
            },
            State::Loading => match input {
                Input::Loaded(loaded) => self.loaded(loaded, policy),
                other => return Err(other),
            },
            State::DrvWanted => match input {
                Input::Needs { failed: 0, absent: 0 } => (State::Loading, vec![self.load()]),
                Input::Needs { .. } => fail(Failure::MissingDerivation),
                other => return Err(other),
            },
            State::OutputsWanted => match input {
                Input::Needs { failed, .. } if failed > 0 && policy.fallback == Fallback::Fail => {
                    fail(Failure::SubstitutesFailed)
                }
                Input::Needs { .. } => self.look(vec![]),
                other => return Err(other),
            },
            State::Checking => match input {
                Input::Checked(valid) => self.checked(&valid, policy),
                other => return Err(other),
            },
            State::InputsWanted => match input {
                Input::Needs { failed, absent } => self.inputs_ended(failed + absent),
                other => return Err(other),
            },
            State::Claiming => match input {
                Input::Claimed(waited) => self.claimed(waited, policy),
                other => return Err(other),
            },
            State::Asking => return self.asking(input, policy),
            State::Postponed => match input {
                Input::AskAgain if self.grown == Growth::Grew => self.look(vec![]),
                Input::AskAgain => self.ask_hook(policy),
                Input::Failed(why) => fail(why),
                other => return Err(other),
            },
            State::SlotWanted => match input {
                Input::Slot if self.grown == Growth::Grew => self.look(free_both()),
                Input::Slot => (State::Building, vec![Order::Launch(self.build())]),
                other => return Err(other),
            },
            State::Building => return self.building(input),
            State::Offloaded | State::Ingesting => match input {
                Input::Ingested => (State::Registering, vec![Order::FreeUser, Order::Release]),
                Input::Failed(why) => fail(why),
                other => return Err(other),
            },
            State::Registering => match input {
                Input::Registered => finish(Outcome::Built),
                Input::Failed(why) => fail(why),
                other => return Err(other),
            },
            State::LockWanted => match input {
                Input::LockFree => self.look(vec![]),
                Input::Failed(why) => fail(why),
                other => return Err(other),
            },
            State::UserWanted => match input {
                Input::UserFree => {
                    (State::SlotWanted, vec![Order::WantSlot(SlotKind::Build, Place::Head)])
                }
                Input::Failed(why) => fail(why),
                other => return Err(other),
            },
            State::Stopping => return self.stopping(input),
            State::Done => return Err(input),
        };
        Ok(next)
    }

    /// What is the same in most states: the input comes back if it is not of that kind.
    fn common(&mut self, state: State, input: Input) -> Result<Next, Input> {
        if let Input::Widen { outputs, forced } = &input {
            if !self.can_join(state, outputs, *forced) {
                return Err(input);
            }
            if self.wanted.widen(outputs) == Growth::Grew || *forced > self.forced {
                self.forced = self.forced.max(*forced);
                self.grown = Growth::Grew;
            }
            return Ok((state, vec![]));
        }
        let verdict = match input {
            Input::Stop => Outcome::Cancelled,
            Input::Spoiled => Outcome::Failed(Failure::InputsFailed { count: 1 }),
            other => return Err(other),
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
            State::Done => return Err(if spoiled { Input::Spoiled } else { Input::Stop }),
        })
    }

    /// Ends it from outside: for what must not happen.
    pub(super) fn stop(&mut self, verdict: Outcome, orders: Vec<Order>) -> Next {
        self.ending.verdict = Some(verdict);
        (State::Stopping, orders)
    }

    fn load(&self) -> Order {
        Order::Ask(Question::Load { drv: self.drv.clone(), mode: self.mode })
    }

    fn build(&self) -> Job {
        Job::Build { drv: self.drv.clone(), mode: self.mode, outputs: self.wanted.clone() }
    }

    /// Looks at the store again; `first` is ordered before.
    fn look(&mut self, mut first: Vec<Order>) -> Next {
        self.grown = Growth::Same;
        first.push(Order::Ask(Question::Check { paths: self.paths() }));
        (State::Checking, first)
    }

    fn loaded(&mut self, loaded: Loaded, policy: &Policy) -> Next {
        match loaded {
            Loaded::Missing if self.tries == Tries::Second => fail(Failure::MissingDerivation),
            Loaded::Missing => {
                self.tries = Tries::Second;
                let requests = vec![whole(Key::path(self.drv.clone(), Mode::Normal))];
                let on_bad = OnBadNeed::AwaitAll;
                let absence = Absence::Harmless;
                let edge = Edge::Registered;
                (State::DrvWanted, vec![Order::Need { requests, edge, on_bad, absence }])
            }
            Loaded::Bad(why) => fail(why),
            Loaded::Facts(facts) => {
                self.facts = Some(facts);
                self.decide(policy)
            }
        }
    }

    fn checked(&mut self, valid: &[StorePath], policy: &Policy) -> Next {
        for output in self.facts.iter_mut().flat_map(|f| &mut f.outputs) {
            let there = valid.contains(&output.path);
            output.validity = if there { Validity::Valid } else { Validity::Invalid };
        }
        self.decide(policy)
    }

    /// Wanted outputs that are not valid, as `(name, path)`.
    fn missing(&self) -> impl Iterator<Item = (&Arc<str>, &StorePath)> {
        self.facts
            .iter()
            .flat_map(|f| &f.outputs)
            .filter(|o| o.validity == Validity::Invalid && self.wanted.contains(&o.name))
            .map(|o| (&o.name, &o.path))
    }

    fn inputs_suffice(&self) -> bool {
        self.inputs >= Inputs::Realised(self.forced)
    }

    /// Whether there is nothing left to do.
    fn satisfied(&self) -> bool {
        self.mode == Mode::Normal
            && self.missing().next().is_none()
            && (self.forced == Forced::No || self.inputs_suffice())
    }

    fn decide(&mut self, policy: &Policy) -> Next {
        self.grown = Growth::Same;
        let strangers = self.strangers(&self.wanted);
        if !strangers.is_empty() {
            let derivation = self.drv.clone();
            return fail(Failure::NoSuchOutputs { derivation, outputs: strangers });
        }
        if self.mode == Mode::Check && self.missing().next().is_some() {
            let missing = self.missing().map(|(_, path)| path.clone()).collect();
            return fail(Failure::CheckImpossible { missing });
        }
        if self.satisfied() {
            return self.claim();
        }
        let sought = self.unsought(policy);
        if !sought.is_empty() {
            self.sought.get_or_insert(Outputs::named([""; 0])).widen(&self.wanted);
            let fallback = policy.fallback == Fallback::Build;
            let needs = Order::Need {
                requests: sought,
                edge: Edge::Registered,
                on_bad: if fallback { OnBadNeed::AwaitAll } else { patience(policy) },
                absence: Absence::Harmless,
            };
            return (State::OutputsWanted, vec![Order::Unclaim, needs]);
        }
        let must_build = self.mode != Mode::Normal || self.missing().next().is_some();
        let obstacle = self.facts.as_ref().and_then(|f| f.obstacle.clone());
        if let Some(why) = obstacle.filter(|_| must_build) {
            return fail(why);
        }
        if self.inputs_suffice() { self.claim() } else { self.need_inputs(policy) }
    }

    /// Outputs to ask the sources for.
    fn unsought(&self, policy: &Policy) -> Vec<Request> {
        let allowed = self.facts.as_ref().is_some_and(|f| f.substitutes == Substitutes::Allowed);
        if self.mode != Mode::Normal || policy.sources == 0 || !allowed {
            return Vec::new();
        }
        let asked = |name: &str| self.sought.as_ref().is_some_and(|s| s.contains(name));
        self.missing()
            .filter(|(name, _)| !asked(name))
            .map(|(_, path)| whole(Key::path(path.clone(), Mode::Normal)))
            .collect()
    }

    fn need_inputs(&mut self, policy: &Policy) -> Next {
        let mut requests = Vec::new();
        if let Some(facts) = &self.facts {
            requests.extend(facts.input_drvs.iter().map(|(drv, outputs)| Request {
                key: Key::derivation(drv.clone(), Mode::Normal),
                outputs: outputs.clone(),
                forced: self.forced,
            }));
            requests.extend(facts.forced_drvs.iter().map(|drv| Request {
                key: Key::derivation(drv.clone(), Mode::Normal),
                outputs: Outputs::All,
                forced: Forced::Yes,
            }));
            let path = |p: &StorePath| whole(Key::path(p.clone(), Mode::Normal));
            requests.extend(facts.invalid_srcs.iter().map(path));
        }
        self.inputs = Inputs::Realised(self.forced);
        if requests.is_empty() {
            return self.claim();
        }
        let edge = if self.hook_first(policy) { Edge::Registered } else { Edge::Ingested };
        let (on_bad, absence) = (patience(policy), Absence::Failure);
        let needs = Order::Need { requests, edge, on_bad, absence };
        (State::InputsWanted, vec![Order::Unclaim, needs])
    }

    fn inputs_ended(&mut self, bad: usize) -> Next {
        match bad + self.ending.spoiled {
            0 => {
                // Forced since: the next look asks for the inputs again.
                self.look(vec![])
            }
            count => fail(Failure::InputsFailed { count }),
        }
    }

    fn claim(&self) -> Next {
        (State::Claiming, vec![Order::Claim(self.paths())])
    }

    fn claimed(&mut self, waited: Waited, policy: &Policy) -> Next {
        if waited == Waited::Yes || self.grown == Growth::Grew {
            self.look(vec![])
        } else if self.satisfied() {
            finish(Outcome::AlreadyValid)
        } else if self.hook_first(policy) {
            self.ask_hook(policy)
        } else {
            self.local(policy, vec![])
        }
    }

    fn can_build_here(&self, policy: &Policy) -> bool {
        policy.max_jobs > 0 && self.facts.as_ref().is_some_and(|f| f.here == Here::Can)
    }

    /// Whether the hook is asked before this host is tried.
    fn hook_first(&self, policy: &Policy) -> bool {
        let local_first = self.facts.as_ref().is_some_and(|f| f.locality == Locality::LocalFirst);
        policy.hook == Hook::Asked
            && self.mode == Mode::Normal
            && !(local_first && self.can_build_here(policy))
    }

    fn ask_hook(&self, policy: &Policy) -> Next {
        // The machine corrects this by its counter.
        let here = self.can_build_here(policy);
        let local_slot = if here { LocalSlot::Free } else { LocalSlot::Taken };
        let job = Job::Hook { drv: self.drv.clone(), outputs: self.wanted.clone(), local_slot };
        (State::Asking, vec![Order::Launch(job)])
    }

    /// Queues for a slot of this host, if that is of use.
    fn local(&self, policy: &Policy, mut orders: Vec<Order>) -> Next {
        if self.can_build_here(policy) {
            orders.push(Order::WantSlot(SlotKind::Build, Place::Tail));
            return (State::SlotWanted, orders);
        }
        let needs = self.facts.iter().map(|f| f.needs.to_string()).collect();
        let offered = match self.facts.as_ref().map(|f| &f.here) {
            Some(Here::Cannot { offered }) => offered.to_string(),
            Some(Here::Can) | None => "nothing: `max-jobs` is 0".to_owned(),
        };
        orders.push(Order::Finish(Outcome::Failed(Failure::NobodyCanBuild { needs, offered })));
        (State::Done, orders)
    }

    fn asking(&mut self, input: Input, policy: &Policy) -> Result<Next, Input> {
        let settled = vec![Order::HookSettled];
        Ok(match input {
            Input::HookSaid(HookReply::Accepted) => (State::Offloaded, settled),
            Input::HookSaid(HookReply::Declined) => self.local(policy, settled),
            Input::HookSaid(HookReply::Postponed) => (State::Postponed, vec![Order::Postpone]),
            Input::LockBusy(path) => await_lock(path, settled),
            Input::AlreadyValid if self.grown == Growth::Grew => self.look(settled),
            Input::AlreadyValid => {
                (State::Done, vec![Order::HookSettled, Order::Finish(Outcome::AlreadyValid)])
            }
            Input::Failed(why) => {
                (State::Done, vec![Order::HookSettled, Order::Finish(Outcome::Failed(why))])
            }
            other => return Err(other),
        })
    }

    fn building(&mut self, input: Input) -> Result<Next, Input> {
        Ok(match input {
            Input::Exited => (State::Ingesting, vec![Order::FreeSlot(SlotKind::Build)]),
            Input::LockBusy(path) => await_lock(path, free_both()),
            Input::UserBusy => {
                let mut orders = free_both();
                orders.push(Order::WantUser);
                (State::UserWanted, orders)
            }
            Input::AlreadyValid if self.grown == Growth::Grew => self.look(free_both()),
            Input::AlreadyValid => finish(Outcome::AlreadyValid),
            Input::Failed(why) => fail(why),
            other => return Err(other),
        })
    }

    fn stopping(&mut self, input: Input) -> Result<Next, Input> {
        let verdict = self.ending.verdict.clone().unwrap_or(Outcome::Cancelled);
        Ok(match input {
            Input::Exited => (State::Stopping, vec![Order::FreeSlot(SlotKind::Build)]),
            Input::Ingested | Input::HookSaid(HookReply::Accepted) => (State::Stopping, vec![]),
            Input::Registered if verdict == Outcome::Cancelled => finish(Outcome::Built),
            Input::Registered
            | Input::Loaded(_)
            | Input::Checked(_)
            | Input::LockBusy(_)
            | Input::LockFree
            | Input::UserBusy
            | Input::UserFree
            | Input::HookSaid(HookReply::Declined | HookReply::Postponed)
            | Input::AlreadyValid
            | Input::Failed(_) => finish(verdict),
            other => return Err(other),
        })
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

fn await_lock(path: StorePath, mut orders: Vec<Order>) -> Next {
    orders.push(Order::Launch(Job::AwaitLock { path }));
    (State::LockWanted, orders)
}

pub(super) fn finish(outcome: Outcome) -> Next {
    (State::Done, vec![Order::Finish(outcome)])
}

pub(super) fn fail(why: Failure) -> Next {
    finish(Outcome::Failed(why))
}
