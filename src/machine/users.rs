//! Build users, counted; and the queue for users that other processes hold.
//!
//! It does not know names or ids of users. Invariant: at most one goal at a time waits for another
//! process to give a user back; the others queue behind it.

use std::collections::VecDeque;

use super::vocab::GoalId;

/// The pool.
#[derive(Debug)]
pub struct Users {
    /// `None`: builds need no user.
    capacity: Option<u32>,
    used: u32,
    queue: VecDeque<GoalId>,
    watcher: Option<GoalId>,
}

impl Users {
    /// All free.
    #[must_use]
    pub fn new(capacity: Option<u32>) -> Self {
        Self { capacity, used: 0, queue: VecDeque::new(), watcher: None }
    }

    /// Whether a build could have one.
    #[must_use]
    pub fn has_free(&self) -> bool {
        self.capacity.is_none_or(|capacity| self.used < capacity)
    }

    /// Takes one; the caller has asked [`Users::has_free`].
    pub fn take(&mut self) {
        self.used += 1;
    }

    /// Gives one back.
    pub fn free(&mut self) {
        debug_assert!(self.used > 0, "a user is freed that nobody holds");
        self.used = self.used.saturating_sub(1);
    }

    /// Users in use.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Queues for a user of another process.
    pub fn join(&mut self, goal: GoalId) {
        self.queue.push_back(goal);
    }

    /// The next to watch the pool, if nobody does. `waits` tells who still queues.
    pub fn next_watcher(&mut self, waits: impl Fn(GoalId) -> bool) -> Option<GoalId> {
        if self.watcher.is_some() {
            return None;
        }
        // Those that stopped leave the queue here, each once.
        while let Some(goal) = self.queue.pop_front() {
            if waits(goal) {
                self.watcher = Some(goal);
                return self.watcher;
            }
        }
        None
    }

    /// A job has had its last word: if it watched the pool, nobody does now.
    pub fn watched(&mut self, goal: GoalId) {
        if self.watcher == Some(goal) {
            self.watcher = None;
        }
    }
}
