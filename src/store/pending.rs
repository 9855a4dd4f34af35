//! What is ingested and not yet committed, and the view of both that the engine reads.
//!
//! Invariant: a path that was inserted is seen by every later read until it is removed, and it is
//! removed only after its row is committed (or refused). So a view looks here *first* and at the
//! database *then*: the other order would miss a path that moves in between.
//!
//! References of what was committed lately stay here: they never change while a path is valid, and
//! what this process made it also keeps from the collector. The closure of a build's inputs, which
//! grows along a chain of builds, then costs no question for each path of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::db::{Db, Direction};
use super::error::StoreError;
use crate::format::{StorePath, ValidPathInfo};

/// Pending paths as they were at one moment.
pub type Snapshot = Arc<BTreeMap<StorePath, Arc<ValidPathInfo>>>;

/// The paths between ingest and commit.
#[derive(Debug, Default)]
pub struct Pending {
    infos: Mutex<Snapshot>,
    /// References of committed paths.
    known: Mutex<Known>,
}

/// What is remembered of committed paths.
#[derive(Debug, Default)]
struct Known {
    infos: HashMap<StorePath, Arc<ValidPathInfo>>,
    /// Paths and references of paths in it: a path may have any number of these.
    weight: usize,
}

/// Paths and references that are remembered: some megabytes.
const MOST_KNOWN: usize = 1 << 16;

impl Known {
    /// Remembers one; when there are too many, all others are forgotten.
    fn insert(&mut self, info: Arc<ValidPathInfo>) {
        let weight = 1 + info.references.len();
        if self.weight + weight > MOST_KNOWN {
            *self = Self::default();
        }
        // One that was there stays in the sum: it is only ever too large.
        if weight <= MOST_KNOWN {
            self.weight += weight;
            self.infos.insert(info.path.clone(), info);
        }
    }
}

impl Pending {
    /// Adds paths whose contents are in place.
    pub fn insert<'i>(&self, infos: impl IntoIterator<Item = &'i ValidPathInfo>) {
        let mut guard = self.infos.lock();
        let map = Arc::make_mut(&mut guard);
        map.extend(infos.into_iter().map(|i| (i.path.clone(), Arc::new(i.clone()))));
    }

    /// Takes paths out whose rows are committed.
    pub fn committed<'i>(&self, infos: impl IntoIterator<Item = &'i ValidPathInfo>) {
        let mut guard = self.infos.lock();
        let map = Arc::make_mut(&mut guard);
        let mut known = self.known.lock();
        for info in infos {
            if let Some(info) = map.remove(&info.path) {
                known.insert(info);
            }
        }
    }

    /// Takes paths out that were refused.
    pub fn remove<'p>(&self, paths: impl IntoIterator<Item = &'p StorePath>) {
        let mut guard = self.infos.lock();
        let map = Arc::make_mut(&mut guard);
        for path in paths {
            map.remove(path);
        }
    }

    /// The pending paths now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Arc::clone(&self.infos.lock())
    }
}

/// The store as the engine sees it: committed and pending paths.
#[derive(Debug, Clone, Copy)]
pub struct View<'s> {
    db: &'s Db,
    pending: &'s Pending,
}

impl<'s> View<'s> {
    /// A view of both.
    #[must_use]
    pub fn new(db: &'s Db, pending: &'s Pending) -> Self {
        Self { db, pending }
    }

    /// Those of `paths` that are valid.
    ///
    /// # Errors
    /// As [`Db::valid`].
    pub fn valid<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p StorePath>,
    ) -> Result<BTreeSet<StorePath>, StoreError> {
        let pending = self.pending.snapshot();
        let (mut found, mut rest) = (BTreeSet::new(), Vec::new());
        for path in paths {
            if pending.contains_key(path) {
                found.insert(path.clone());
            } else {
                rest.push(path);
            }
        }
        if !rest.is_empty() {
            found.append(&mut self.db.valid(rest)?);
        }
        Ok(found)
    }

    /// What is known of those of `paths` that are valid.
    ///
    /// # Errors
    /// As [`Db::infos`].
    pub fn infos<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p StorePath>,
    ) -> Result<BTreeMap<StorePath, ValidPathInfo>, StoreError> {
        let pending = self.pending.snapshot();
        let (mut found, mut rest) = (BTreeMap::new(), Vec::new());
        for path in paths {
            match pending.get(path) {
                Some(info) => {
                    found.insert(path.clone(), ValidPathInfo::clone(info));
                }
                None => rest.push(path),
            }
        }
        if !rest.is_empty() {
            found.append(&mut self.db.infos(rest)?);
        }
        Ok(found)
    }

    /// All that `paths` reach in `direction`, the valid ones of `paths` themselves included.
    ///
    /// # Errors
    /// As [`Db::closure`].
    pub fn closure<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p StorePath>,
        direction: Direction,
    ) -> Result<BTreeSet<StorePath>, StoreError> {
        let pending = self.pending.snapshot();
        match direction {
            Direction::References => self.references_closure(paths, &pending),
            Direction::Referrers => self.referrers_closure(paths, &pending),
        }
    }

    /// Pending paths refer to pending and committed ones; committed ones only to committed ones.
    fn references_closure<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p StorePath>,
        pending: &Snapshot,
    ) -> Result<BTreeSet<StorePath>, StoreError> {
        let mut stack: Vec<&StorePath> = paths.into_iter().collect();
        let (mut found, mut committed) = (BTreeSet::new(), BTreeSet::new());
        let known = self.pending.known.lock();
        while let Some(path) = stack.pop() {
            let Some(info) = pending.get(path).or_else(|| known.infos.get(path)) else {
                committed.insert(path.clone());
                continue;
            };
            if found.insert(path.clone()) {
                stack.extend(&info.references);
            }
        }
        drop(known);
        if !committed.is_empty() {
            found.append(&mut self.db.closure(&committed, Direction::References)?);
        }
        Ok(found)
    }

    fn referrers_closure<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p StorePath>,
        pending: &Snapshot,
    ) -> Result<BTreeSet<StorePath>, StoreError> {
        let start: BTreeSet<StorePath> = paths.into_iter().cloned().collect();
        let mut found = self.db.closure(&start, Direction::Referrers)?;
        found.extend(start.into_iter().filter(|path| pending.contains_key(path)));
        loop {
            let reaches = |info: &ValidPathInfo| info.references.iter().any(|r| found.contains(r));
            let more: Vec<StorePath> = pending
                .values()
                .filter(|info| !found.contains(&info.path) && reaches(info))
                .map(|info| info.path.clone())
                .collect();
            if more.is_empty() {
                return Ok(found);
            }
            found.extend(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Algorithm, Hash, Origin};

    fn path(n: usize) -> StorePath {
        StorePath::from_base_name(format!("{n:032}-x").as_bytes()).unwrap()
    }

    fn info(n: usize, references: BTreeSet<StorePath>) -> ValidPathInfo {
        ValidPathInfo {
            path: path(n),
            nar_hash: Hash::new(Algorithm::Sha256, &[0; 32]).unwrap(),
            nar_size: 1,
            references,
            deriver: None,
            registration_time: 0,
            origin: Origin::BuiltHere,
            signatures: BTreeSet::new(),
            ca: None,
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_by_references_not_by_paths() {
        let pending = Pending::default();
        let many: BTreeSet<StorePath> = (0..MOST_KNOWN / 4).map(path).collect();
        for n in 0..20 {
            let one = info(1_000_000 + n, many.clone());
            pending.insert([&one]);
            pending.committed([&one]);
            let known = pending.known.lock();
            let sum: usize = known.infos.values().map(|info| 1 + info.references.len()).sum();
            assert!(known.infos.contains_key(&one.path) && sum <= MOST_KNOWN, "{sum}");
        }
        let too_large = info(2_000_000, (0..MOST_KNOWN).map(path).collect());
        pending.insert([&too_large]);
        pending.committed([&too_large]);
        assert!(pending.known.lock().infos.is_empty() && pending.snapshot().is_empty());
    }
}
