//! What follows a look at the store: is it done, can it come from a source, must it be built, by
//! whom.
//!
//! It does not know the states but those that it leads to; the table is one floor up.

use std::sync::Arc;

use super::{Derivation, Inputs, Next, State, Tries, fail, finish, patience, whole};
use crate::format::StorePath;
use crate::machine::Failure;
use crate::machine::vocab::{
    Absence, Edge, Fallback, Forced, Growth, Here, Hook, Job, Key, Loaded, LocalSlot, Locality,
    Mode, OnBadNeed, Order, Outcome, Outputs, Place, Policy, Question, Request, SlotKind,
    Substitutes, Validity, Waited,
};

impl Derivation {
    pub(super) fn load(&self) -> Order {
        Order::Ask(Question::Load { drv: self.drv.clone(), mode: self.mode })
    }

    pub(super) fn build(&self) -> Job {
        Job::Build { drv: self.drv.clone(), mode: self.mode, outputs: self.wanted.clone() }
    }

    /// Looks at the store again; `first` is ordered before.
    pub(super) fn look(&mut self, mut first: Vec<Order>) -> Next {
        self.grown = Growth::Same;
        first.push(Order::Ask(Question::Check { paths: self.paths() }));
        (State::Checking, first)
    }

    pub(super) fn loaded(&mut self, loaded: Loaded, policy: &Policy) -> Next {
        match loaded {
            Loaded::Missing if self.search.tries == Tries::Second => {
                fail(Failure::MissingDerivation)
            }
            Loaded::Missing => {
                self.search.tries = Tries::Second;
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

    pub(super) fn checked(&mut self, valid: &[StorePath], policy: &Policy) -> Next {
        for output in self.facts.iter_mut().flat_map(|f| &mut f.outputs) {
            let there = valid.contains(&output.path);
            output.validity = if there { Validity::Valid } else { Validity::Invalid };
        }
        self.decide(policy)
    }

    /// Wanted outputs that are not valid, as `(name, path)`.
    pub(super) fn missing(&self) -> impl Iterator<Item = (&Arc<str>, &StorePath)> {
        self.facts
            .iter()
            .flat_map(|f| &f.outputs)
            .filter(|o| o.validity == Validity::Invalid && self.wanted.contains(&o.name))
            .map(|o| (&o.name, &o.path))
    }

    pub(super) fn inputs_suffice(&self) -> bool {
        self.inputs >= Inputs::Realised(self.forced)
    }

    /// Whether there is nothing left to do.
    pub(super) fn satisfied(&self) -> bool {
        self.mode == Mode::Normal
            && self.missing().next().is_none()
            && (self.forced == Forced::No || self.inputs_suffice())
    }

    pub(super) fn decide(&mut self, policy: &Policy) -> Next {
        self.grown = Growth::Same;
        let mut strangers = self.strangers(&self.wanted);
        let hidden = Outputs::Named(std::mem::take(&mut self.search.named));
        strangers.extend(self.strangers(&hidden));
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
            self.search.sought.get_or_insert(Outputs::named([""; 0])).widen(&self.wanted);
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
    pub(super) fn unsought(&self, policy: &Policy) -> Vec<Request> {
        let allowed = self.facts.as_ref().is_some_and(|f| f.substitutes == Substitutes::Allowed);
        if self.mode != Mode::Normal || policy.sources == 0 || !allowed {
            return Vec::new();
        }
        let asked = |name: &str| self.search.sought.as_ref().is_some_and(|s| s.contains(name));
        self.missing()
            .filter(|(name, _)| !asked(name))
            .map(|(_, path)| whole(Key::path(path.clone(), Mode::Normal)))
            .collect()
    }

    /// The list of inputs is given away with this: the edges are the machine's from here on, and
    /// for all goals that wait they are most of the memory.
    pub(super) fn need_inputs(&mut self, policy: &Policy) -> Next {
        if self.inputs != Inputs::Open {
            // Forced since: the list is read again.
            self.inputs = Inputs::Open;
            return (State::Loading, vec![Order::Unclaim, self.load()]);
        }
        let mut requests = Vec::new();
        if let Some(facts) = &mut self.facts {
            let input_drvs = std::mem::take(&mut facts.input_drvs);
            requests.extend(input_drvs.into_iter().map(|(drv, outputs)| Request {
                key: Key::derivation(drv, Mode::Normal),
                outputs,
                forced: self.forced,
            }));
            requests.extend(facts.forced_drvs.iter().map(|drv| Request {
                key: Key::derivation(drv.clone(), Mode::Normal),
                outputs: Outputs::All,
                forced: Forced::Yes,
            }));
            let path = |path| whole(Key::path(path, Mode::Normal));
            requests.extend(std::mem::take(&mut facts.invalid_srcs).into_iter().map(path));
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

    pub(super) fn inputs_ended(&mut self, bad: usize) -> Next {
        match bad + self.ending.spoiled {
            // Wants that came since: the look asks for the inputs again where it must.
            0 if self.grown == Growth::Grew => self.look(vec![]),
            // Whoever made the outputs meanwhile: the job looks again under their locks.
            0 => self.claim(),
            count => fail(Failure::InputsFailed { count }),
        }
    }

    pub(super) fn claim(&self) -> Next {
        (State::Claiming, vec![Order::Claim(self.paths())])
    }

    pub(super) fn claimed(&mut self, waited: Waited, policy: &Policy) -> Next {
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

    pub(super) fn can_build_here(&self, policy: &Policy) -> bool {
        policy.max_jobs > 0 && self.facts.as_ref().is_some_and(|f| f.here == Here::Can)
    }

    /// Whether the hook is asked before this host is tried.
    pub(super) fn hook_first(&self, policy: &Policy) -> bool {
        let local_first = self.facts.as_ref().is_some_and(|f| f.locality == Locality::LocalFirst);
        policy.hook == Hook::Asked
            && self.mode == Mode::Normal
            && !(local_first && self.can_build_here(policy))
    }

    pub(super) fn ask_hook(&self, policy: &Policy) -> Next {
        // The machine corrects this by its counter.
        let here = self.can_build_here(policy);
        let local_slot = if here { LocalSlot::Free } else { LocalSlot::Taken };
        let job = Job::Hook { drv: self.drv.clone(), outputs: self.wanted.clone(), local_slot };
        (State::Asking, vec![Order::Launch(job)])
    }

    /// Queues for a slot of this host, if that is of use.
    pub(super) fn local(&self, policy: &Policy, mut orders: Vec<Order>) -> Next {
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
}
