//! Decides: goals, edges, slots. Values in, values out; no clock, no threads, no I/O.
//!
//! [`Machine::handle`] takes an [`Event`] and returns the [`Effect`]s of that turn. One goal's life
//! is a table ([`derivation`], [`substitution`]); the machine gives each its inputs, obeys its
//! orders, and knows the edges between goals and who holds slots, users and paths.
//!
//! Invariants: every goal ends exactly once; whoever waits is woken by name, no queue is ever
//! scanned or woken as a whole; all collections are ordered, so that the same events give the same
//! effects; a run in which nothing is under way and something is unfinished ends with a named
//! error (`ends`), never hangs.

#![deny(clippy::wildcard_enum_match_arm)]

mod claims;
pub mod derivation;
mod ends;
pub mod failure;
mod goals;
mod graph;
mod hooks;
mod obey;
#[doc(hidden)]
pub mod sim;
mod slots;
pub mod substitution;
mod users;
pub mod vocab;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use claims::Claims;
pub use failure::Failure;
use goals::{Goal, Pending, Standing};
use hooks::Hooks;
use slots::Slots;
use users::Users;
use vocab::{
    Effect, End, Event, GoalId, Input, Key, Notice, OnFailure, Outcome, Policy, Progress, Report,
    Request, SlotKind, SourceId, Summary, Waited,
};

use crate::format::StorePath;

/// What is still to be done in this turn.
#[derive(Debug)]
enum Task {
    Input(GoalId, Input),
    /// Stop it if still nobody needs it.
    Unneeded(GoalId),
}

/// Counts over all goals.
#[derive(Debug, Default)]
struct Counts {
    live: usize,
    done: usize,
    failed: usize,
    blocked: usize,
    running: usize,
    /// Probes, queries and jobs that have not had their last word.
    outstanding: usize,
    /// Inputs given to goals, and edges resolved: the work done so far.
    steps: usize,
    edges: usize,
}

/// Counters and queues that goals share.
#[derive(Debug)]
struct Shared {
    builds: Slots,
    fetches: Slots,
    users: Users,
    claims: Claims,
    hooks: Hooks,
}

/// All goals of a run.
#[derive(Debug)]
pub struct Machine {
    policy: Policy,
    goals: Vec<Goal>,
    index: BTreeMap<Key, GoalId>,
    tops: Vec<(Request, GoalId)>,
    shared: Shared,
    work: VecDeque<Task>,
    turn: Turn,
    counts: Counts,
    end: End,
    blame: Blame,
}

/// What went wrong, and whose fault it is.
#[derive(Debug, Default)]
struct Blame {
    /// In the order in which the goals ended.
    failures: Vec<(GoalId, Failure)>,
    /// Root causes of failed goals that failed because of another.
    roots: BTreeMap<GoalId, GoalId>,
    /// Paths that are listed as failures since no source has them.
    missing: BTreeSet<GoalId>,
}

/// What this turn has brought so far.
#[derive(Debug, Default)]
struct Turn {
    effects: Vec<Effect>,
    queries: BTreeMap<SourceId, Vec<(GoalId, StorePath)>>,
    /// A build has ended, which may change the hook's mind.
    stirred: bool,
    /// A target has failed, which ends the run once all that depend on it have failed of it.
    failed: bool,
}

impl Machine {
    /// A machine without goals.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let shared = Shared {
            builds: Slots::new(policy.max_jobs),
            fetches: Slots::new(policy.max_substitutions.max(1)),
            users: Users::new(policy.users.map(|users| users.max(1))),
            claims: Claims::default(),
            hooks: Hooks::default(),
        };
        Self {
            policy,
            goals: Vec::new(),
            index: BTreeMap::new(),
            tops: Vec::new(),
            shared,
            work: VecDeque::new(),
            turn: Turn::default(),
            counts: Counts::default(),
            end: End::Completed,
            blame: Blame::default(),
        }
    }

    /// Takes in what happened and answers what is to be done.
    pub fn handle(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Wanted(requests) => {
                for request in requests {
                    let id = self.goal_for(request.clone());
                    self.goals[id.0 as usize].standing = Standing::Top;
                    self.tops.push((request, id));
                    let outcome = self.goals[id.0 as usize].outcome.as_ref();
                    let bad = outcome.is_some_and(|outcome| !outcome.is_success());
                    if bad && self.policy.on_failure == OnFailure::Stop {
                        self.end_early(End::FailedEarly);
                    }
                    if self.end != End::Completed {
                        self.work.push_front(Task::Input(id, Input::Stop));
                    }
                }
            }
            Event::For(id, input) => self.report(id, input),
            Event::Interrupted => self.end_early(End::Interrupted),
        }
        self.run();
        for (source, paths) in std::mem::take(&mut self.turn.queries) {
            self.turn.effects.push(Effect::Query { source, paths });
        }
        std::mem::take(&mut self.turn.effects)
    }

    /// Whether every goal has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.counts.live == 0
    }

    /// Counts for a status line, at no cost.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let Counts { live, done, failed, blocked, running, .. } = self.counts;
        Progress { running, done, failed, blocked, waiting: live.saturating_sub(running) }
    }

    /// What a goal is about.
    #[must_use]
    pub fn key(&self, goal: GoalId) -> Option<&Key> {
        self.goals.get(goal.0 as usize).map(|goal| &goal.key)
    }

    /// How a goal ended, if it has.
    #[must_use]
    pub fn outcome(&self, goal: GoalId) -> Option<&Outcome> {
        self.goals.get(goal.0 as usize).and_then(|goal| goal.outcome.as_deref())
    }

    /// The run, looked back at. Complete once [`Machine::is_finished`].
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.summarise()
    }

    /// Inputs given to goals plus edges resolved: what the run has cost so far.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.counts.steps + self.counts.edges
    }

    /// Works until nothing is left to do in this turn.
    fn run(&mut self) {
        loop {
            while let Some(task) = self.work.pop_front() {
                match task {
                    Task::Input(id, input) => self.deliver(id, input),
                    Task::Unneeded(id) => self.stop_unneeded(id),
                }
            }
            if std::mem::take(&mut self.turn.failed) {
                self.end_early(End::FailedEarly);
                continue;
            }
            // Only when all news has spread: a failure may have ended the run.
            if self.grant() {
                continue;
            }
            if self.counts.outstanding > 0 || self.counts.live == 0 {
                return;
            }
            self.unstick();
        }
    }

    /// A word from outside: checks that it can have been said.
    fn report(&mut self, id: GoalId, input: Input) {
        let Some(goal) = self.goals.get(id.0 as usize) else {
            return self.unexpected(id, format!("no such goal got {input:?}"));
        };
        let pending = goal.pending;
        let fits = match input.report() {
            Report::Inner => false,
            Report::Probe => pending == Pending::Probe,
            Report::Query => pending == Pending::Query,
            Report::Moment | Report::LastWord => {
                !matches!(pending, Pending::Nothing | Pending::Probe | Pending::Query)
            }
        };
        if !fits {
            return self.astray(id, &input);
        }
        if input.report() != Report::Moment {
            self.last_word(id);
        } else if matches!(input, Input::HookSaid(_)) && pending == Pending::HookAsked {
            self.shared.hooks.answered();
            self.shared.hooks.started();
            self.counts.running += 1;
            self.goals[id.0 as usize].pending = Pending::Hooked;
        }
        self.work.push_back(Task::Input(id, input));
    }

    /// Nothing is under way for `id` any more.
    fn last_word(&mut self, id: GoalId) {
        let pending = std::mem::replace(&mut self.goals[id.0 as usize].pending, Pending::Nothing);
        self.counts.outstanding -= 1;
        if pending.runs() {
            self.counts.running -= 1;
        }
        match pending {
            Pending::HookAsked => self.shared.hooks.answered(),
            Pending::Build | Pending::Hooked => {
                self.shared.hooks.ended();
                self.turn.stirred = true;
            }
            Pending::UserWait => self.shared.users.watched(id),
            Pending::Nothing
            | Pending::Probe
            | Pending::Query
            | Pending::Fetch
            | Pending::LockWait => {}
        }
    }

    /// Gives an input to a goal and obeys it.
    fn deliver(&mut self, id: GoalId, input: Input) {
        let goal = &mut self.goals[id.0 as usize];
        // The machine's own words may cross with a goal's end.
        let crossed = !goal.is_live() || goal.is_stopping();
        if crossed && input.report() == Report::Inner {
            return;
        }
        self.counts.steps += 1;
        match goal.step(input, &self.policy) {
            Ok(orders) => {
                for order in orders {
                    self.obey(id, order);
                }
            }
            Err(input) => self.astray(id, &input),
        }
    }

    /// A goal got what it cannot have got: it fails, the rest goes on.
    fn astray(&mut self, id: GoalId, input: &Input) {
        let goal = &mut self.goals[id.0 as usize];
        let what = format!("{} got {input:?}", goal.state_name());
        let verdict = Outcome::Failed(Failure::Engine(format!("internal error: {what}")));
        if goal.is_live() && !goal.is_stopping() {
            if goal.pending == Pending::Nothing {
                self.finish(id, verdict);
            } else {
                goal.abort(verdict);
                self.obey(id, vocab::Order::Kill);
            }
        } else if goal.is_live() && goal.pending == Pending::Nothing {
            self.finish(id, verdict);
        }
        self.unexpected(id, what);
    }

    fn unexpected(&mut self, goal: GoalId, what: String) {
        self.turn.effects.push(Effect::Tell(Notice::Unexpected { goal, what }));
    }

    fn stop_unneeded(&mut self, id: GoalId) {
        let goal = &self.goals[id.0 as usize];
        // What has been built is taken over all the same.
        if goal.needers == 0 && goal.standing == Standing::Inner && !goal.has_exited() {
            self.deliver(id, Input::Stop);
        }
    }

    /// Hands out what is free to those that wait for it; whether somebody got something.
    fn grant(&mut self) -> bool {
        let before = self.work.len();
        while self.shared.builds.has_free() && self.shared.users.has_free() {
            let Some(id) = self.shared.builds.grant() else { break };
            let held = &mut self.goals[id.0 as usize].held;
            (held.slot, held.ticket) = (Some(SlotKind::Build), None);
            if self.policy.users.is_some() {
                held.user = true;
                self.shared.users.take();
            }
            self.work.push_back(Task::Input(id, Input::Slot));
        }
        while let Some(id) = self.shared.fetches.grant() {
            let held = &mut self.goals[id.0 as usize].held;
            (held.slot, held.ticket) = (Some(SlotKind::Fetch), None);
            self.work.push_back(Task::Input(id, Input::Slot));
        }
        self.watch_users();
        self.wake_hooks();
        self.work.len() > before
    }

    fn granted(&mut self, heirs: Vec<GoalId>) {
        for heir in heirs {
            self.work.push_back(Task::Input(heir, Input::Claimed(Waited::Yes)));
        }
    }
}

#[cfg(test)]
mod tests;
