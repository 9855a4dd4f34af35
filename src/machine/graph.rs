//! Edges: who needs whom, how far it must be, and what a failure does to those above it.
//!
//! It does not know why a goal needs another. Each edge is made once and resolved once: the cost
//! of a run is linear in its edges. An edge that its needer has forgotten stays in the list and is
//! recognised by its round.

use super::goals::{Goal, Standing, Waiter};
use super::vocab::{Absence, Edge, GoalId, Input, OnBadNeed, Outcome, Request};
use super::{Failure, Machine, Task};

/// How an edge was resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resolved {
    Well,
    Failed,
    Absent,
}

/// What a goal asks for when it needs others.
pub(super) struct Terms {
    pub(super) edge: Edge,
    pub(super) on_bad: OnBadNeed,
    pub(super) absence: Absence,
}

impl Machine {
    /// The goal for `request`: one that it can join, or a new one.
    pub(super) fn goal_for(&mut self, request: Request) -> GoalId {
        if let Some(&id) = self.index.get(&request.key) {
            let policy = &self.policy;
            let goal = &mut self.goals[id.0 as usize];
            if goal.covers(&request.outputs, request.forced) {
                if goal.is_live() && !goal.is_stopping() {
                    let (outputs, forced) = (request.outputs, request.forced);
                    let joined = goal.step(Input::Widen { outputs, forced }, policy);
                    debug_assert!(joined.is_ok_and(|orders| orders.is_empty()));
                }
                return id;
            }
        }
        let id = GoalId(u32::try_from(self.goals.len()).unwrap_or(u32::MAX));
        self.goals.push(Goal::new(&request));
        self.index.insert(request.key, id);
        self.counts.live += 1;
        self.work.push_back(Task::Input(id, Input::Start));
        id
    }

    /// Makes `needer` wait for `requests`.
    pub(super) fn need(&mut self, needer: GoalId, requests: Vec<Request>, terms: &Terms) {
        let goals: Vec<GoalId> = requests.into_iter().map(|r| self.goal_for(r)).collect();
        let needs = &mut self.goals[needer.0 as usize].needs;
        needs.round += 1;
        (needs.failed, needs.absent, needs.root) = (0, 0, None);
        (needs.edge, needs.on_bad, needs.absence) = (terms.edge, terms.on_bad, terms.absence);
        needs.open = u32::try_from(goals.len()).unwrap_or(u32::MAX);
        needs.goals.clone_from(&goals);
        let round = needs.round;
        if goals.is_empty() {
            self.needs_done(needer);
            return;
        }
        let edge = terms.edge;
        for &id in &goals {
            let goal = &mut self.goals[id.0 as usize];
            goal.needers += 1;
            if !goal.has_let_go(edge) {
                goal.waiters.push(Waiter { goal: needer, round, edge });
            }
        }
        // Those that are done already, each as if it ended now.
        for id in goals {
            if self.goals[id.0 as usize].has_let_go(edge) {
                self.resolve(id, Waiter { goal: needer, round, edge });
            }
        }
    }

    /// `id` has got as far as `waiter` needs it.
    fn resolve(&mut self, id: GoalId, waiter: Waiter) {
        if self.goals[waiter.goal.0 as usize].needs.round != waiter.round {
            return;
        }
        self.counts.edges += 1;
        let goal = &mut self.goals[id.0 as usize];
        goal.needers -= 1;
        let resolved = match goal.outcome.as_deref() {
            Some(Outcome::Failed(_) | Outcome::Cancelled) => Resolved::Failed,
            Some(Outcome::Absent) => Resolved::Absent,
            Some(Outcome::Built | Outcome::Substituted | Outcome::AlreadyValid) => Resolved::Well,
            None => {
                goal.built_on_it.get_or_insert_default().push(waiter.goal);
                Resolved::Well
            }
        };
        let root = self.blame.roots.get(&id).copied().unwrap_or(id);
        let needs = &mut self.goals[waiter.goal.0 as usize].needs;
        needs.open -= 1;
        let bad = match resolved {
            Resolved::Well => false,
            Resolved::Failed => {
                needs.failed += 1;
                true
            }
            Resolved::Absent => {
                needs.absent += 1;
                needs.absence == Absence::Failure
            }
        };
        if bad {
            needs.root.get_or_insert(root);
        }
        let forget = bad && needs.on_bad == OnBadNeed::ForgetRest;
        if needs.open == 0 || forget {
            self.needs_done(waiter.goal);
        }
        if bad && resolved == Resolved::Absent {
            self.mark_missing(id);
        }
    }

    /// All that `needer` waited for has ended, or the rest is of no interest.
    fn needs_done(&mut self, needer: GoalId) {
        let needs = &self.goals[needer.0 as usize].needs;
        let (failed, absent) = (needs.failed as usize, needs.absent as usize);
        self.forget_needs(needer);
        self.work.push_back(Task::Input(needer, Input::Needs { failed, absent }));
    }

    /// Takes back all open edges of `needer`.
    pub(super) fn forget_needs(&mut self, needer: GoalId) {
        let needs = &mut self.goals[needer.0 as usize].needs;
        let (goals, edge) = (std::mem::take(&mut needs.goals), needs.edge);
        let open = std::mem::take(&mut needs.open);
        needs.round += 1;
        if open == 0 {
            return;
        }
        for id in goals {
            let goal = &mut self.goals[id.0 as usize];
            if goal.has_let_go(edge) {
                continue;
            }
            goal.needers -= 1;
            if goal.needers == 0 && goal.standing == Standing::Inner {
                self.work.push_back(Task::Unneeded(id));
            }
        }
    }

    /// What `id` makes may be built upon: wakes those for whom that is enough.
    pub(super) fn release(&mut self, id: GoalId) {
        let goal = &mut self.goals[id.0 as usize];
        goal.built_on_it.get_or_insert_default();
        let waiters = std::mem::take(&mut goal.waiters);
        let (now, later) = waiters.into_iter().partition(|w| w.edge == Edge::Ingested);
        goal.waiters = later;
        let now: Vec<Waiter> = now;
        for waiter in now {
            self.resolve(id, waiter);
        }
    }

    /// `id` has ended: wakes its waiters, and calls back those that were let go too early.
    pub(super) fn end_edges(&mut self, id: GoalId) {
        self.forget_needs(id);
        let goal = &mut self.goals[id.0 as usize];
        let waiters = std::mem::take(&mut goal.waiters);
        let early = goal.built_on_it.take().unwrap_or_default();
        let spoiled = !goal.outcome.as_deref().is_some_and(Outcome::is_success);
        for waiter in waiters {
            self.resolve(id, waiter);
        }
        if !spoiled {
            return;
        }
        let root = self.blame.roots.get(&id).copied().unwrap_or(id);
        for above in early {
            let goal = &mut self.goals[above.0 as usize];
            if goal.is_live() {
                goal.needs.spoiler.get_or_insert(root);
                self.work.push_back(Task::Input(above, Input::Spoiled));
            }
        }
    }

    /// A path that no source has turns out to be a failure: named once.
    fn mark_missing(&mut self, id: GoalId) {
        if self.blame.missing.insert(id) {
            self.blame.failures.push((id, Failure::NoSubstituter));
        }
    }
}
