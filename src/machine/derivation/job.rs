//! The rows of states in which a job is under way that may answer in many ways: Asking, Building
//! and Stopping.
//!
//! As the table in the head of `derivation`; an input that a row does not name comes back.

use super::super::vocab::{Growth, HookReply, Input, Job, Order, Outcome, Policy, SlotKind};
use super::{Derivation, Next, State, Stray, fail, finish, free_both};
use crate::format::StorePath;

impl Derivation {
    #[expect(clippy::wildcard_enum_match_arm, reason = "inputs that the row does not name")]
    pub(super) fn asking(&mut self, input: Input, policy: &Policy) -> Result<Next, Stray> {
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
            other => return Err(other.into()),
        })
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "inputs that the row does not name")]
    pub(super) fn building(&mut self, input: Input) -> Result<Next, Stray> {
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
            other => return Err(other.into()),
        })
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "inputs that the row does not name")]
    pub(super) fn stopping(&mut self, input: Input) -> Result<Next, Stray> {
        let verdict = self.ending.verdict.as_deref().cloned().unwrap_or(Outcome::Cancelled);
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
            other => return Err(other.into()),
        })
    }
}

fn await_lock(path: StorePath, mut orders: Vec<Order>) -> Next {
    orders.push(Order::Launch(Job::AwaitLock { path }));
    (State::LockWanted, orders)
}
