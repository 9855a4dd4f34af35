//! Adds a tree that is laid out and measured: the end of every copy into the store.
//!
//! It does not know how the tree was made or measured. The order is what counts: root, lock, a
//! second look, the move, the flush, the row; then the lock goes.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::Store;
use super::db::Registration;
use super::durable::{SyncTree, Syncer, Tree};
use super::error::StoreError;
use super::temp_dir::{StoreTempDir, put_in_place};
use crate::base::lock::{Deletion, PathLocks};

/// A tree in a [`StoreTempDir`], canonical and measured.
#[derive(Debug)]
pub struct LaidOut<'t> {
    /// The folder that holds it.
    pub temp: &'t StoreTempDir,
    /// Where it lies in there.
    pub at: &'t Path,
    /// Files, folders and links in it, itself included.
    pub entries: u64,
    /// What is to be registered; it says where the tree goes.
    pub registration: Registration,
}

/// Whether a path had to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is new.
    Now,
    /// It was valid already; the tree was not used.
    Before,
}

impl Store {
    /// Flushes what is laid out from here on; see [`Store::add_tree`].
    ///
    /// # Errors
    /// [`StoreError::Io`] if the store folder cannot be opened.
    pub fn syncer(&self, sync_tree: SyncTree) -> Result<Syncer, StoreError> {
        Syncer::new(&self.layout().real_store_dir, self.options().durability, sync_tree)
    }

    /// Moves a laid out tree to its path and registers it. `syncer` was made before the tree was
    /// written.
    ///
    /// # Errors
    /// [`StoreError`]; the path is not registered then, and what lies there is garbage.
    pub fn add_tree(&self, tree: LaidOut<'_>, syncer: &Syncer) -> Result<Added, StoreError> {
        let path = tree.registration.info.path.clone();
        self.add_temp_roots([&path])?;
        let lock_file = self.layout().lock_file(&path);
        let locks = PathLocks::acquire([lock_file], &AtomicBool::new(false))?;
        let added = if self.view().valid([&path])?.contains(&path) {
            Added::Before
        } else {
            let place = self.layout().real(&path);
            put_in_place(tree.temp, tree.at, &place)?;
            syncer.sync(&[Tree { path: place, entries: tree.entries }])?;
            self.db().register(&[tree.registration])?;
            Added::Now
        };
        locks.release(Deletion::Delete)?;
        Ok(added)
    }
}
