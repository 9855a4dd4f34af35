//! Who makes which path: two goals that share an output never build together.
//!
//! It does not know what a goal does with its paths. A goal claims all its paths in path order and
//! waits at the first that another holds, keeping those before it: since all take them in one
//! order nobody waits in a circle. What is given up goes to the first that waits for it, never to
//! all of them at once.

use std::collections::{BTreeMap, VecDeque};

use super::vocab::{GoalId, Waited};
use crate::format::StorePath;

/// Claims of one goal.
#[derive(Debug, Default)]
struct Claim {
    /// Sorted, each once; the first `held` are its own.
    paths: Vec<StorePath>,
    held: usize,
}

#[derive(Debug)]
struct Owner {
    goal: GoalId,
    waiting: VecDeque<GoalId>,
}

/// All claims.
#[derive(Debug, Default)]
pub struct Claims {
    owners: BTreeMap<StorePath, Owner>,
    claims: BTreeMap<GoalId, Claim>,
}

impl Claims {
    /// Claims `paths`, instead of what `goal` had claimed before. Answers whether all are its own
    /// now; if not, [`Claims::drop`] of another goal will name it later. Those that got theirs
    /// because others were given up are added to `granted`.
    pub fn claim(
        &mut self,
        goal: GoalId,
        mut paths: Vec<StorePath>,
        granted: &mut Vec<GoalId>,
    ) -> Option<Waited> {
        paths.sort_unstable();
        paths.dedup();
        if self.claims.get(&goal).is_some_and(|c| c.paths == paths && c.held == paths.len()) {
            return Some(Waited::No);
        }
        self.drop(goal, granted);
        if paths.is_empty() {
            return Some(Waited::No);
        }
        self.claims.insert(goal, Claim { paths, held: 0 });
        self.go_on(goal).then_some(Waited::No)
    }

    /// Gives up all that `goal` holds or waits for; goals that now hold all of theirs are added to
    /// `granted`, to look at the store again.
    pub fn drop(&mut self, goal: GoalId, granted: &mut Vec<GoalId>) {
        let Some(claim) = self.claims.remove(&goal) else { return };
        for path in &claim.paths[..claim.held] {
            if let Some(heir) = self.hand_on(path)
                && self.go_on(heir)
            {
                granted.push(heir);
            }
        }
    }

    /// Whether nobody claims anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty() && self.claims.is_empty()
    }

    /// The next owner of a path whose owner has given it up.
    fn hand_on(&mut self, path: &StorePath) -> Option<GoalId> {
        let owner = self.owners.get_mut(path)?;
        while let Some(heir) = owner.waiting.pop_front() {
            // Those that gave up waiting leave the queue here, each once.
            let claim = self.claims.get_mut(&heir);
            if let Some(claim) = claim.filter(|c| c.paths.get(c.held) == Some(path)) {
                claim.held += 1;
                owner.goal = heir;
                return Some(heir);
            }
        }
        self.owners.remove(path);
        None
    }

    /// Takes path after path; whether all are held now.
    fn go_on(&mut self, goal: GoalId) -> bool {
        let Some(claim) = self.claims.get_mut(&goal) else { return false };
        while let Some(path) = claim.paths.get(claim.held) {
            if let Some(owner) = self.owners.get_mut(path) {
                owner.waiting.push_back(goal);
                return false;
            }
            self.owners.insert(path.clone(), Owner { goal, waiting: VecDeque::new() });
            claim.held += 1;
        }
        true
    }

    /// Who holds `path`.
    #[must_use]
    pub fn owner(&self, path: &StorePath) -> Option<GoalId> {
        self.owners.get(path).map(|owner| owner.goal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(digit: char) -> StorePath {
        StorePath::from_base_name(format!("{}-p", digit.to_string().repeat(32)).as_bytes()).unwrap()
    }

    #[test]
    fn crossed_claims_are_granted_in_turn() {
        let mut claims = Claims::default();
        let mut granted = Vec::new();
        let (p, q) = (path('1'), path('2'));
        let (a, b, c) = (GoalId(1), GoalId(2), GoalId(3));
        assert_eq!(claims.claim(a, vec![q.clone()], &mut granted), Some(Waited::No));
        assert_eq!(claims.claim(b, vec![q.clone(), p.clone()], &mut granted), None);
        assert_eq!(claims.claim(c, vec![p.clone(), q.clone()], &mut granted), None);
        assert_eq!((claims.owner(&p), claims.owner(&q)), (Some(b), Some(a)));
        claims.drop(a, &mut granted);
        assert_eq!(granted, [b]);
        assert_eq!(claims.claim(b, vec![p.clone(), q.clone()], &mut granted), Some(Waited::No));
        claims.drop(b, &mut granted);
        assert_eq!(granted, [b, c]);
        claims.drop(c, &mut granted);
        assert!(claims.is_empty());
    }

    #[test]
    fn who_gives_up_waiting_is_passed_over() {
        let mut claims = Claims::default();
        let mut granted = Vec::new();
        let p = path('1');
        for id in 1..=3 {
            claims.claim(GoalId(id), vec![p.clone()], &mut granted);
        }
        claims.drop(GoalId(2), &mut granted);
        claims.drop(GoalId(1), &mut granted);
        assert_eq!(granted, [GoalId(3)]);
    }
}
