//! Orders of a goal, obeyed: the counters and edges inside, the rest becomes effects.
//!
//! It does not know why a goal orders something. What a goal holds is kept in its record, so that
//! its end gives back all of it, whatever it was doing.

use std::mem;

use super::goals::{Pending, Standing};
use super::graph::Terms;
use super::vocab::{
    Effect, End, GoalId, Input, Job, Kind, LocalSlot, Notice, OnFailure, Order, Outcome, SlotKind,
    Waited,
};
use super::{Failure, Machine, Task, derivation};

impl Machine {
    pub(super) fn obey(&mut self, id: GoalId, order: Order) {
        match order {
            Order::Need { requests, edge, on_bad, absence } => {
                self.need(id, requests, &Terms { edge, on_bad, absence });
            }
            Order::Ask(question) => {
                self.outstanding(id, Pending::Probe);
                self.turn.effects.push(Effect::Probe { goal: id, question });
            }
            Order::AskSource(source) => {
                self.outstanding(id, Pending::Query);
                let path = self.goals[id.0 as usize].key.path.clone();
                self.turn.queries.entry(source).or_default().push((id, path));
            }
            Order::Claim(paths) => {
                let mut heirs = Vec::new();
                if self.shared.claims.claim(id, paths, &mut heirs).is_some() {
                    self.work.push_back(Task::Input(id, Input::Claimed(Waited::No)));
                }
                self.granted(heirs);
            }
            Order::Unclaim => self.unclaim(id),
            Order::WantSlot(kind, place) => {
                let ticket = match kind {
                    SlotKind::Build => self.shared.builds.join(id, place),
                    SlotKind::Fetch => self.shared.fetches.join(id, place),
                };
                self.goals[id.0 as usize].held.ticket = Some((kind, ticket));
            }
            Order::FreeSlot(_) => self.free_slot(id),
            Order::FreeUser => self.free_user(id),
            Order::WantUser => {
                self.shared.users.join(id);
                self.turn.effects.push(Effect::Tell(Notice::WaitsForUser { goal: id }));
            }
            Order::Postpone => self.postpone(id),
            Order::HookSettled => self.wake_next_of_class(id),
            Order::Launch(job) => self.launch(id, job),
            Order::Kill => self.kill(id),
            Order::Release => self.release(id),
            Order::Say(notice) => self.turn.effects.push(Effect::Tell(notice)),
            Order::Finish(outcome) => self.finish(id, outcome),
        }
    }

    fn outstanding(&mut self, id: GoalId, pending: Pending) {
        debug_assert_eq!(self.goals[id.0 as usize].pending, Pending::Nothing, "one at a time");
        self.goals[id.0 as usize].pending = pending;
        self.counts.outstanding += 1;
        if pending.runs() {
            self.counts.running += 1;
        }
    }

    fn launch(&mut self, id: GoalId, mut job: Job) {
        let free = self.shared.builds.has_free();
        let pending = match &mut job {
            Job::Build { .. } => {
                self.shared.hooks.started();
                Pending::Build
            }
            Job::Hook { local_slot, .. } => {
                self.shared.hooks.asked();
                if !free {
                    *local_slot = LocalSlot::Taken;
                }
                Pending::HookAsked
            }
            Job::Substitute { .. } => Pending::Fetch,
            Job::AwaitLock { path } => {
                let notice = Notice::WaitsForLock { goal: id, path: path.clone() };
                self.turn.effects.push(Effect::Tell(notice));
                Pending::LockWait
            }
            Job::AwaitUser => Pending::UserWait,
        };
        self.outstanding(id, pending);
        self.turn.effects.push(Effect::Launch { goal: id, job });
    }

    fn kill(&mut self, id: GoalId) {
        if self.goals[id.0 as usize].pending == Pending::Nothing {
            // It only queued: there is no job whose last word could come.
            self.work.push_back(Task::Input(id, Input::Failed(Failure::Cancelled)));
        } else {
            self.turn.effects.push(Effect::Kill { goal: id });
        }
    }

    fn free_slot(&mut self, id: GoalId) {
        match self.goals[id.0 as usize].held.slot.take() {
            Some(SlotKind::Build) => self.shared.builds.free(),
            Some(SlotKind::Fetch) => self.shared.fetches.free(),
            None => {}
        }
    }

    fn free_user(&mut self, id: GoalId) {
        if mem::take(&mut self.goals[id.0 as usize].held.user) {
            self.shared.users.free();
        }
    }

    fn unclaim(&mut self, id: GoalId) {
        let mut heirs = Vec::new();
        self.shared.claims.drop(id, &mut heirs);
        self.granted(heirs);
    }

    /// Lets the first that needs another process's user watch for one.
    pub(super) fn watch_users(&mut self) {
        let goals = &self.goals;
        let waits = |id: GoalId| {
            goals[id.0 as usize]
                .derivation()
                .is_some_and(|(state, _)| state == derivation::State::UserWanted)
        };
        if let Some(id) = self.shared.users.next_watcher(waits) {
            self.launch(id, Job::AwaitUser);
        }
    }

    fn postpone(&mut self, id: GoalId) {
        let class = self.goals[id.0 as usize]
            .derivation()
            .and_then(|(_, goal)| goal.facts.as_ref().map(|facts| facts.needs.clone()));
        match class {
            Some(class) if !self.shared.hooks.is_quiet() => self.shared.hooks.put_off(class, id),
            Some(_) | None => {
                let why = Failure::InappropriatePostpone;
                self.work.push_back(Task::Input(id, Input::Failed(why)));
            }
        }
    }

    fn wake_next_of_class(&mut self, id: GoalId) {
        let Some((_, goal)) = self.goals[id.0 as usize].derivation() else { return };
        let Some(class) = goal.facts.as_ref().map(|facts| facts.needs.clone()) else { return };
        let goals = &self.goals;
        if let Some(next) = self.shared.hooks.next(&class, |id| is_put_off(goals, id)) {
            self.work.push_back(Task::Input(next, Input::AskAgain));
        }
    }

    /// After the end of a build, or when nothing else will happen, the heads may ask again.
    pub(super) fn wake_hooks(&mut self) {
        let stirred = mem::take(&mut self.turn.stirred);
        if !stirred && !self.shared.hooks.is_quiet() {
            return;
        }
        let goals = &self.goals;
        let heads = self.shared.hooks.heads(|id| is_put_off(goals, id));
        let tasks = heads.into_iter().map(|id| Task::Input(id, Input::AskAgain));
        self.work.extend(tasks);
    }

    /// The end of a goal: gives back what it holds and tells all concerned.
    pub(super) fn finish(&mut self, id: GoalId, outcome: Outcome) {
        self.free_slot(id);
        self.free_user(id);
        self.unclaim(id);
        let goal = &mut self.goals[id.0 as usize];
        if let Some((kind, ticket)) = goal.held.ticket.take() {
            match kind {
                SlotKind::Build => self.shared.builds.leave(ticket),
                SlotKind::Fetch => self.shared.fetches.leave(ticket),
            }
        }
        let key = goal.key.clone();
        debug_assert!(goal.outcome.is_none(), "a goal ends once");
        goal.outcome = Some(Box::new(outcome.clone()));
        self.counts.live -= 1;
        self.counts.done += usize::from(outcome.is_success());
        if let Outcome::Failed(why) = &outcome {
            let blocked = matches!(why, Failure::InputsFailed { .. });
            self.counts.blocked += usize::from(blocked);
            self.counts.failed += usize::from(!blocked);
            self.blame.failures.push((id, why.clone()));
            self.note_root(id, why.clone());
        }
        let goal = &self.goals[id.0 as usize];
        let standing = goal.standing;
        let bad = !outcome.is_success();
        self.turn.effects.push(Effect::Tell(Notice::Finished { goal: id, key, outcome }));
        self.end_edges(id);
        self.goals[id.0 as usize].shrink();
        let stop = self.policy.on_failure == OnFailure::Stop;
        if bad && standing == Standing::Top && stop {
            self.turn.failed = true;
        }
    }

    fn note_root(&mut self, id: GoalId, why: Failure) {
        let needs = &self.goals[id.0 as usize].needs;
        let from_needs = matches!(
            why,
            Failure::InputsFailed { .. } | Failure::SubstitutesFailed | Failure::MissingDerivation
        );
        if let Some(root) = needs.spoiler.or(needs.root).filter(|_| from_needs) {
            self.blame.roots.insert(id, root);
        }
    }

    /// Stops all that can be stopped: the only time that all goals are gone through.
    pub(super) fn end_early(&mut self, end: End) {
        let again = self.end != End::Completed;
        if again && !(self.end == End::FailedEarly && end == End::Interrupted) {
            return;
        }
        self.end = end;
        for index in (0..self.goals.len()).rev() {
            let goal = &self.goals[index];
            // What has been built is taken over, unless the user has no time for it.
            let spared = end == End::FailedEarly && goal.has_exited();
            if goal.is_live() && !spared {
                let id = GoalId(u32::try_from(index).unwrap_or(u32::MAX));
                self.work.push_front(Task::Input(id, Input::Stop));
            }
        }
    }

    /// Whether a goal is a derivation's.
    pub(super) fn is_derivation(&self, id: GoalId) -> bool {
        self.goals[id.0 as usize].key.kind == Kind::Derivation
    }
}

fn is_put_off(goals: &[super::Goal], id: GoalId) -> bool {
    goals[id.0 as usize]
        .derivation()
        .is_some_and(|(state, _)| state == derivation::State::Postponed)
}
