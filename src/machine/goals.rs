//! The record of one goal: its step machine and what the other goals see of it.
//!
//! It does not know the other goals but by id. Invariant: `outcome` is set exactly once, and a
//! goal with an outcome holds nothing.

use super::slots::Ticket;
use super::vocab::{Absence, Edge, GoalId, Input, Key, Kind, OnBadNeed, Order, Outcome, Outputs};
use super::vocab::{Forced, Policy, Request, SlotKind};
use super::{Failure, derivation, substitution};

/// The step machine and its state.
#[derive(Debug)]
pub(super) enum Body {
    Derivation(derivation::State, derivation::Derivation),
    Path(substitution::State, substitution::Substitution),
}

/// What is under way for a goal at the dispatcher: one thing at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pending {
    Nothing,
    Probe,
    Query,
    Build,
    /// The hook has not answered.
    HookAsked,
    /// The hook builds.
    Hooked,
    Fetch,
    LockWait,
    UserWait,
}

impl Pending {
    /// Whether it counts as running for a status line.
    pub(super) fn runs(self) -> bool {
        matches!(self, Self::Build | Self::Hooked | Self::Fetch)
    }
}

/// Who waits for a goal: stale once the waiter is in another round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter {
    pub(super) goal: GoalId,
    pub(super) round: u32,
    pub(super) edge: Edge,
}

/// What a goal waits for.
#[derive(Debug)]
pub(super) struct Needs {
    /// Goals of this round.
    pub(super) goals: Vec<GoalId>,
    pub(super) round: u32,
    pub(super) open: u32,
    pub(super) failed: u32,
    pub(super) absent: u32,
    pub(super) edge: Edge,
    pub(super) on_bad: OnBadNeed,
    pub(super) absence: Absence,
    /// Root cause of the first bad need.
    pub(super) root: Option<GoalId>,
    /// Root cause of the first need that was taken back.
    pub(super) spoiler: Option<GoalId>,
}

/// What a goal has of the counters.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) slot: Option<SlotKind>,
    pub(super) user: bool,
    pub(super) ticket: Option<(SlotKind, Ticket)>,
}

/// One goal.
#[derive(Debug)]
pub(super) struct Goal {
    pub(super) key: Key,
    pub(super) body: Body,
    pub(super) pending: Pending,
    pub(super) needs: Needs,
    pub(super) waiters: Vec<Waiter>,
    /// Waiters that count on it; with none it may be stopped, unless it is a request of the run.
    pub(super) needers: u32,
    pub(super) standing: Standing,
    /// Goals that were let go on before it was registered; `None` until then.
    pub(super) built_on_it: Option<Vec<GoalId>>,
    pub(super) held: Held,
    pub(super) outcome: Option<Box<Outcome>>,
}

/// Whether the run itself asked for a goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Top,
    Inner,
}

impl Goal {
    pub(super) fn new(request: &Request) -> Self {
        let path = request.key.path.clone();
        let mode = request.key.mode;
        let body = match request.key.kind {
            Kind::Path => {
                Body::Path(substitution::State::New, substitution::Substitution::new(path, mode))
            }
            Kind::Derivation => {
                let outputs = request.outputs.clone();
                let goal = derivation::Derivation::new(path, mode, outputs, request.forced);
                Body::Derivation(derivation::State::New, goal)
            }
        };
        Self {
            key: request.key.clone(),
            body,
            pending: Pending::Nothing,
            needs: Needs {
                goals: Vec::new(),
                round: 0,
                open: 0,
                failed: 0,
                absent: 0,
                edge: Edge::Ingested,
                on_bad: OnBadNeed::AwaitAll,
                absence: Absence::Harmless,
                root: None,
                spoiler: None,
            },
            waiters: Vec::new(),
            needers: 0,
            standing: Standing::Inner,
            built_on_it: None,
            held: Held::default(),
            outcome: None,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.outcome.is_none()
    }

    /// Whether its edge of this kind is satisfied, as far as the edge goes.
    pub(super) fn has_let_go(&self, edge: Edge) -> bool {
        self.outcome.is_some() || (edge == Edge::Ingested && self.built_on_it.is_some())
    }

    /// Runs the step machine. The input comes back if the state does not know it.
    pub(super) fn step(
        &mut self,
        input: Input,
        policy: &Policy,
    ) -> Result<Vec<Order>, derivation::Stray> {
        Ok(match &mut self.body {
            Body::Derivation(state, goal) => {
                let (next, orders) = goal.step(*state, input, policy)?;
                *state = next;
                orders
            }
            Body::Path(state, goal) => {
                let (next, orders) = goal.step(*state, input, policy)?;
                *state = next;
                orders
            }
        })
    }

    /// Makes it end as soon as what is under way has ended.
    pub(super) fn abort(&mut self, verdict: Outcome) {
        match &mut self.body {
            Body::Derivation(state, goal) => *state = goal.stop(verdict, vec![]).0,
            Body::Path(state, goal) => *state = goal.stop(verdict, vec![]).0,
        }
    }

    /// Whether a request can join it, or is answered by how it ended.
    #[expect(clippy::wildcard_enum_match_arm, reason = "most failures are not of the request")]
    pub(super) fn covers(&self, outputs: &Outputs, forced: Forced) -> bool {
        match (&self.body, self.outcome.as_deref()) {
            (Body::Derivation(state, goal), None) => goal.can_join(*state, outputs, forced),
            (Body::Path(state, goal), None) => goal.can_join(*state),
            (_, Some(Outcome::Cancelled)) => false,
            (Body::Path(..), Some(_)) => true,
            (Body::Derivation(_, goal), Some(Outcome::Failed(why))) => match why {
                Failure::NoSuchOutputs { .. }
                | Failure::CheckImpossible { .. }
                | Failure::SubstitutesFailed => goal.wanted.covers(outputs),
                Failure::InputsFailed { .. } => forced >= goal.forced,
                _ => true,
            },
            // A build makes all outputs.
            (Body::Derivation(_, goal), Some(Outcome::Built)) => forced <= goal.forced,
            (Body::Derivation(_, goal), Some(_)) => {
                forced <= goal.forced && goal.wanted.covers(outputs)
            }
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        match &self.body {
            Body::Derivation(state, _) => *state == derivation::State::Stopping,
            Body::Path(state, _) => *state == substitution::State::Stopping,
        }
    }

    /// Whether its process has ended and its outputs are being taken over.
    pub(super) fn has_exited(&self) -> bool {
        match &self.body {
            Body::Derivation(state, _) => {
                matches!(state, derivation::State::Ingesting | derivation::State::Registering)
            }
            Body::Path(state, _) => {
                matches!(state, substitution::State::Ingesting | substitution::State::Registering)
            }
        }
    }

    pub(super) fn state_name(&self) -> String {
        match &self.body {
            Body::Derivation(state, _) => format!("derivation goal in {state:?}"),
            Body::Path(state, _) => format!("substitution goal in {state:?}"),
        }
    }

    pub(super) fn derivation(&self) -> Option<(derivation::State, &derivation::Derivation)> {
        match &self.body {
            Body::Derivation(state, goal) => Some((*state, goal)),
            Body::Path(..) => None,
        }
    }

    /// Lets go of what only a live goal needs.
    pub(super) fn shrink(&mut self) {
        if let Body::Derivation(_, goal) = &mut self.body {
            goal.facts = None;
        }
        self.needs.goals = Vec::new();
        self.waiters = Vec::new();
        self.built_on_it = None;
    }
}
