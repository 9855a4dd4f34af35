//! Counters with a queue: build slots, fetch slots.
//!
//! It does not know what a slot is used for. First come, first served within a [`Place`]; joining,
//! leaving and granting cost O(log n). Invariant: never more granted than there are.

use std::collections::BTreeMap;

use super::vocab::{GoalId, Place};

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(Place, u64);

/// One kind of slot.
#[derive(Debug)]
pub struct Slots {
    capacity: u32,
    used: u32,
    queue: BTreeMap<Ticket, GoalId>,
    next: u64,
}

impl Slots {
    /// All free, nobody waiting.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        Self { capacity, used: 0, queue: BTreeMap::new(), next: 0 }
    }

    /// Joins the queue.
    pub fn join(&mut self, goal: GoalId, place: Place) -> Ticket {
        self.next += 1;
        let ticket = Ticket(place, self.next);
        self.queue.insert(ticket, goal);
        ticket
    }

    /// Leaves the queue.
    pub fn leave(&mut self, ticket: Ticket) {
        self.queue.remove(&ticket);
    }

    /// Grants a slot to the first in the queue, if both are there.
    pub fn grant(&mut self) -> Option<GoalId> {
        if self.used >= self.capacity {
            return None;
        }
        let (_, goal) = self.queue.pop_first()?;
        self.used += 1;
        Some(goal)
    }

    /// Takes a slot back.
    pub fn free(&mut self) {
        debug_assert!(self.used > 0, "a slot is freed that nobody holds");
        self.used = self.used.saturating_sub(1);
    }

    /// Slots in use.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Whether one is free.
    #[must_use]
    pub fn has_free(&self) -> bool {
        self.used < self.capacity
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_come_first_served_but_the_head_first() {
        let mut slots = Slots::new(2);
        let tail = slots.join(GoalId(1), Place::Tail);
        slots.join(GoalId(2), Place::Tail);
        slots.join(GoalId(3), Place::Tail);
        slots.join(GoalId(4), Place::Head);
        slots.leave(tail);
        assert_eq!(slots.grant(), Some(GoalId(4)));
        assert_eq!(slots.grant(), Some(GoalId(2)));
        assert_eq!((slots.grant(), slots.used(), slots.waiting()), (None, 2, 1));
        slots.free();
        assert_eq!(slots.grant(), Some(GoalId(3)));
    }
}
