//! Goals that the hook put off ("postpone"), in a queue per class of work.
//!
//! It does not know what a hook is. Only the head of each queue asks again, after some job has
//! ended; when it leaves its queue the next one may ask. Invariant: with nothing running and
//! nothing being asked nobody is put off, since nothing could ever call it again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::vocab::GoalId;

/// The queues.
#[derive(Debug, Default)]
pub struct Hooks {
    classes: BTreeMap<Arc<str>, VecDeque<GoalId>>,
    /// Goals whose question is under way.
    asking: usize,
    /// Builds under way, here or at the hook.
    running: usize,
}

impl Hooks {
    /// The hook is being asked.
    pub fn asked(&mut self) {
        self.asking += 1;
    }

    /// The hook has answered, anything.
    pub fn answered(&mut self) {
        self.asking = self.asking.saturating_sub(1);
    }

    /// A build runs.
    pub fn started(&mut self) {
        self.running += 1;
    }

    /// A build has ended.
    pub fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Whether nothing is under way that could change the hook's mind.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.asking == 0 && self.running == 0
    }

    /// Puts `goal` at the end of its class: each is heard in turn.
    pub fn put_off(&mut self, class: Arc<str>, goal: GoalId) {
        self.classes.entry(class).or_default().push_back(goal);
    }

    /// Takes the head of one class that still waits.
    pub fn next(&mut self, class: &str, waits: impl Fn(GoalId) -> bool) -> Option<GoalId> {
        let queue = self.classes.get_mut(class)?;
        let next = std::iter::from_fn(|| queue.pop_front()).find(|goal| waits(*goal));
        if queue.is_empty() {
            self.classes.remove(class);
        }
        next
    }

    /// Takes the head of every class.
    pub fn heads(&mut self, waits: impl Fn(GoalId) -> bool) -> Vec<GoalId> {
        let classes: Vec<Arc<str>> = self.classes.keys().cloned().collect();
        classes.iter().filter_map(|class| self.next(class, &waits)).collect()
    }
}
