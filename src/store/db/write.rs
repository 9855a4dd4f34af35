//! Registration: rows, references and outputs of derivations, in one transaction.
//!
//! Each group has a savepoint of its own: a row that breaks a rule takes back its group alone. A
//! failure of the disk or of SQLite takes back everything.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Savepoint, Transaction, TransactionBehavior, params};

use super::{Db, FIRST_PAUSE, StoreError, is_busy, wait};
use crate::format::{Algorithm, Origin, StorePath, ValidPathInfo};

/// A path to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// What is to be known of it. A registration time of 0 becomes the time of the commit.
    pub info: ValidPathInfo,
    /// For a `.drv`: the outputs that it names, so far as their paths are known.
    pub outputs: BTreeMap<String, StorePath>,
}

impl From<ValidPathInfo> for Registration {
    fn from(info: ValidPathInfo) -> Self {
        Self { info, outputs: BTreeMap::new() }
    }
}

/// Registrations that count together or not at all.
#[derive(Debug, Clone, Copy)]
pub struct Group<'r> {
    /// What to register. May refer to what groups before it register.
    pub registrations: &'r [Registration],
    /// Places of earlier groups without which this one does not count either.
    pub built_on: &'r [usize],
    /// What is known of what it was built on before this commit.
    pub standing: Standing,
}

/// Whether a group may count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Sound,
    /// It was built on something that was refused.
    Doomed,
}

/// As Nix: a known path gets the new hash, size, origin, signatures and content address; its
/// registration time and deriver stay.
const PUT_PATH: &str = "\
    insert into ValidPaths (path, hash, registrationTime, deriver, narSize, ultimate, \
    sigs, ca) \
     values (?1, ?2, coalesce(nullif(?3, 0), cast(strftime('%s', 'now') as integer)), \
     ?4, nullif(?5, 0), ?6, nullif(?7, ''), ?8) on conflict (path) do update set \
     hash = excluded.hash, narSize = excluded.narSize, ultimate = excluded.ultimate, \
     sigs = excluded.sigs, ca = excluded.ca returning id";
const PUT_REFERENCE: &str = "insert or replace into Refs (referrer, reference) \
                             select ?1, id from ValidPaths where path = ?2";
const PUT_OUTPUT: &str = "insert or replace into DerivationOutputs (drv, id, path) \
                          values (?1, ?2, ?3)";

/// What became of the groups of one commit, in their order.
pub type GroupResults = Vec<Result<(), StoreError>>;

impl Db {
    /// Registers all of `registrations` or none.
    ///
    /// # Errors
    /// [`StoreError::ReferenceNotValid`], [`StoreError::Cycle`] and others about what is to be
    /// registered; [`StoreError::Database`] if the database cannot be written.
    pub fn register(&self, registrations: &[Registration]) -> Result<(), StoreError> {
        let group = Group { registrations, built_on: &[], standing: Standing::Sound };
        self.register_groups(&[group])?.pop().unwrap_or(Ok(()))
    }

    /// Registers each group whole or not at all, all in one transaction.
    ///
    /// # Errors
    /// [`StoreError`] if nothing was registered at all; a group of its own has its error in the
    /// result.
    pub fn register_groups(&self, groups: &[Group<'_>]) -> Result<GroupResults, StoreError> {
        let mut guard = self.writer()?;
        let Some(connection) = guard.as_mut() else {
            return Err(StoreError::ReadOnly(self.store_dir.as_str().into()));
        };
        let mut pause = FIRST_PAUSE;
        loop {
            match self.commit_groups(connection, groups) {
                Err(StoreError::Database { source, .. }) if is_busy(&source) => wait(&mut pause),
                other => return other,
            }
        }
    }

    fn commit_groups(
        &self,
        connection: &mut Connection,
        groups: &[Group<'_>],
    ) -> Result<GroupResults, StoreError> {
        // Immediate: a transaction that began by reading could be refused when it first writes.
        let mut transaction = Transaction::new(connection, TransactionBehavior::Immediate)
            .map_err(self.fail("beginning to register"))?;
        let mut results: GroupResults = Vec::with_capacity(groups.len());
        for group in groups {
            let refused = |&at: &usize| matches!(results.get(at), Some(Err(_)));
            if group.standing == Standing::Doomed || group.built_on.iter().any(refused) {
                results.push(Err(StoreError::BuiltOnRejected));
                continue;
            }
            let savepoint =
                transaction.savepoint().map_err(self.fail("beginning to register a build"))?;
            let result = self.put_group(&savepoint, group.registrations);
            match &result {
                Ok(()) => savepoint.commit().map_err(self.fail("registering"))?,
                Err(e) if e.is_about_the_registration() => {
                    savepoint.finish().map_err(self.fail("taking back a registration"))?;
                }
                Err(_) => return result.map(|()| Vec::new()),
            }
            results.push(result);
        }
        transaction.commit().map_err(self.fail("committing registrations"))?;
        Ok(results)
    }

    fn put_group(
        &self,
        savepoint: &Savepoint<'_>,
        group: &[Registration],
    ) -> Result<(), StoreError> {
        let mut ids = Vec::with_capacity(group.len());
        for registration in group {
            ids.push(self.put_path(savepoint, registration)?);
        }
        for (registration, id) in group.iter().zip(ids) {
            self.put_references(savepoint, id, &registration.info)?;
        }
        self.refuse_cycle(group)
    }

    fn put_path(&self, to: &Connection, registration: &Registration) -> Result<i64, StoreError> {
        let info = &registration.info;
        let path = self.store_dir.print(&info.path);
        let bad = |why: &str| StoreError::BadRegistration { path: path.clone(), why: why.into() };
        if info.nar_hash.algorithm() != Algorithm::Sha256 {
            return Err(bad("its NAR hash is not a sha256"));
        }
        let size = i64::try_from(info.nar_size).map_err(|_| bad("its NAR size is too large"))?;
        let signatures: Vec<&str> = info.signatures.iter().map(String::as_str).collect();
        let deriver = info.deriver.as_ref().map(|deriver| self.store_dir.print(deriver));
        let ultimate = (info.origin == Origin::BuiltHere).then_some(1);
        let hash = info.nar_hash.typed_base16();
        let (time, signatures) = (info.registration_time, signatures.join(" "));
        let values = params![path, hash, time, deriver, size, ultimate, signatures, info.ca];
        let id = to
            .prepare_cached(PUT_PATH)
            .and_then(|mut put| put.query_row(values, |row| row.get::<_, i64>(0)))
            .map_err(self.fail("registering a path"))?;
        if !registration.outputs.is_empty() {
            let mut put = to.prepare_cached(PUT_OUTPUT).map_err(self.fail("registering"))?;
            for (name, output) in &registration.outputs {
                put.execute(params![id, name, self.store_dir.print(output)])
                    .map_err(self.fail("registering the outputs of a derivation"))?;
            }
        }
        Ok(id)
    }

    fn put_references(
        &self,
        to: &Connection,
        id: i64,
        info: &ValidPathInfo,
    ) -> Result<(), StoreError> {
        let doing = "registering references";
        let mut put = to.prepare_cached(PUT_REFERENCE).map_err(self.fail(doing))?;
        for reference in &info.references {
            let reference = self.store_dir.print(reference);
            if put.execute(params![id, reference]).map_err(self.fail(doing))? == 0 {
                let path = self.store_dir.print(&info.path);
                return Err(StoreError::ReferenceNotValid { path, reference });
            }
        }
        Ok(())
    }

    /// A circle can only be among paths that are registered together: each of them would have
    /// to be valid before the other.
    fn refuse_cycle(&self, group: &[Registration]) -> Result<(), StoreError> {
        let Some((path, parent)) = find_cycle(group) else { return Ok(()) };
        Err(StoreError::Cycle {
            path: self.store_dir.print(&path),
            parent: self.store_dir.print(&parent),
        })
    }
}

/// An edge that closes a circle: the path and what refers to it. A path that refers to itself is
/// no circle. Depth-first without recursion: references may go as deep as there are paths.
fn find_cycle(group: &[Registration]) -> Option<(StorePath, StorePath)> {
    let edges: BTreeMap<&StorePath, &BTreeSet<StorePath>> =
        group.iter().map(|r| (&r.info.path, &r.info.references)).collect();
    let mut done: BTreeSet<&StorePath> = BTreeSet::new();
    for start in edges.keys().copied() {
        let mut on_path: BTreeSet<&StorePath> = BTreeSet::new();
        let mut stack = Vec::new();
        if done.insert(start) {
            on_path.insert(start);
            stack.push((start, edges[start].iter()));
        }
        while let Some((node, rest)) = stack.last_mut() {
            let node = *node;
            let Some(next) = rest.next() else {
                on_path.remove(node);
                stack.pop();
                continue;
            };
            if next != node && on_path.contains(next) {
                return Some((next.clone(), node.clone()));
            }
            if let Some((&next, references)) = edges.get_key_value(next)
                && done.insert(next)
            {
                on_path.insert(next);
                stack.push((next, references.iter()));
            }
        }
    }
    None
}
