//! The end of a run: the summary, and what to do when nothing moves any more.
//!
//! It does not know words for failures. A run in which nothing moves ends with a named failure,
//! never with a wait. Both cost time linear in goals and edges, once.

use std::collections::BTreeMap;

use super::goals::Goal;
use super::vocab::{FailedGoal, GoalId, Outcome, Summary, Tally, TopResult};
use super::{Failure, Machine};

impl Machine {
    pub(super) fn summarise(&self) -> Summary {
        let mut blocked: BTreeMap<GoalId, usize> = BTreeMap::new();
        for (&id, &root) in &self.roots {
            *blocked.entry(root).or_default() += usize::from(self.is_derivation(id));
        }
        let tops = self.tops.iter().map(|(request, id)| TopResult {
            request: request.clone(),
            goal: *id,
            outcome: self.outcome(*id).cloned().unwrap_or(Outcome::Cancelled),
        });
        let listed = |(id, failure): &(GoalId, Failure)| {
            let root = self.roots.get(id).copied().unwrap_or(*id);
            let count = if root == *id { blocked.get(id).copied().unwrap_or(0) } else { 0 };
            let key = self.goals[id.0 as usize].key.clone();
            FailedGoal { goal: *id, key, failure: failure.clone(), root, blocked: count }
        };
        let mut failures: Vec<FailedGoal> = self.failures.iter().map(listed).collect();
        failures.sort_by_key(|failed| failed.root != failed.goal);
        Summary { end: self.end, tops: tops.collect(), failures, tally: self.tally() }
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for (index, goal) in self.goals.iter().enumerate() {
            let id = GoalId(u32::try_from(index).unwrap_or(u32::MAX));
            let count = match goal.outcome.as_deref() {
                Some(Outcome::Built) => &mut tally.built,
                Some(Outcome::Substituted) => &mut tally.substituted,
                Some(Outcome::AlreadyValid) => &mut tally.already_valid,
                Some(Outcome::Absent) => &mut tally.absent,
                Some(Outcome::Failed(_)) if self.roots.contains_key(&id) => &mut tally.blocked,
                Some(Outcome::Failed(_)) => &mut tally.failed,
                Some(Outcome::Cancelled) | None => &mut tally.cancelled,
            };
            *count += 1;
        }
        tally
    }

    /// Nothing is under way, nothing can be granted, and goals are left: they wait in circles, or
    /// the machine has a fault. Each circle fails by name and the rest goes on.
    pub(super) fn unstick(&mut self) {
        let cycles = self.cycles();
        if cycles.is_empty() {
            return self.give_up();
        }
        for cycle in cycles {
            let path = |id: &GoalId| self.goals[id.0 as usize].key.path.clone();
            let paths: Vec<_> = cycle.iter().map(path).collect();
            for &id in &cycle {
                if self.goals[id.0 as usize].is_live() {
                    if id != cycle[0] {
                        self.roots.insert(id, cycle[0]);
                    }
                    let why = Failure::DependencyCycle { paths: paths.clone() };
                    self.finish(id, Outcome::Failed(why));
                }
            }
        }
    }

    fn give_up(&mut self) {
        let live = |(index, goal): (usize, &Goal)| goal.is_live().then_some(index);
        let left: Vec<usize> = self.goals.iter().enumerate().filter_map(live).collect();
        for index in left {
            let what = format!("stuck: {} waits for nothing", self.goals[index].state_name());
            let id = GoalId(u32::try_from(index).unwrap_or(u32::MAX));
            if self.goals[index].is_live() {
                self.finish(id, Outcome::Failed(Failure::Engine(what)));
            }
        }
    }

    /// Circles among waiting goals, not all that could be named: at least one if there is any.
    fn cycles(&self) -> Vec<Vec<GoalId>> {
        let mut seen = vec![Mark::New; self.goals.len()];
        let mut cycles = Vec::new();
        for start in 0..self.goals.len() {
            if seen[start] == Mark::New {
                self.walk(start, &mut seen, &mut cycles);
            }
        }
        cycles
    }

    /// Depth first from `start` along what each waits for.
    fn walk(&self, start: usize, seen: &mut [Mark], cycles: &mut Vec<Vec<GoalId>>) {
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        seen[start] = Mark::OnPath;
        while let Some((at, next)) = path.last_mut() {
            let goal = &self.goals[*at];
            let open = if goal.is_live() { goal.needs.goals.as_slice() } else { &[] };
            let Some(&id) = open.get(*next) else {
                if seen[*at] == Mark::OnPath {
                    seen[*at] = Mark::Left;
                }
                path.pop();
                continue;
            };
            *next += 1;
            let below = id.0 as usize;
            match seen[below] {
                Mark::New if self.goals[below].is_live() => {
                    seen[below] = Mark::OnPath;
                    path.push((below, 0));
                }
                Mark::OnPath => {
                    let from = path.iter().position(|(at, _)| *at == below).unwrap_or(0);
                    let circle = path[from..].iter().map(|(at, _)| *at);
                    let circle: Vec<usize> = circle.collect();
                    for &at in &circle {
                        seen[at] = Mark::Left;
                    }
                    let ids = circle.iter().filter_map(|&at| u32::try_from(at).ok());
                    cycles.push(ids.map(GoalId).collect());
                }
                Mark::New | Mark::Left => {}
            }
        }
    }
}

/// What the walk knows of a goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    OnPath,
    Left,
}
