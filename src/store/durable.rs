//! Contents reach the disk before the row that calls them valid.
//!
//! Few files: each is flushed by itself, so that foreign dirty data on the same file system does
//! not hold us up. Many: one `syncfs`, on a descriptor opened before the writes, so that a write
//! error since then is reported by it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::open::Durability;

/// Files and folders up to which each is flushed by itself. A flush of a small file costs about
/// what a `syncfs` does, but the latter writes everybody's data.
pub const MOST_FSYNCS: u64 = 1000;

/// Flushes every file and folder of one tree (fsync).
pub type SyncTree = fn(&Path) -> io::Result<()>;

/// A tree that is to be on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Where it lies.
    pub path: PathBuf,
    /// Files, folders and links in it, itself included.
    pub entries: u64,
}

/// Flushes trees of one store folder.
#[derive(Debug)]
pub struct Syncer {
    durability: Durability,
    folder: File,
    folder_path: PathBuf,
    sync_tree: SyncTree,
}

impl Syncer {
    /// To be made before the writes that it is to flush.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the store folder cannot be opened.
    pub fn new(
        folder: &Path,
        durability: Durability,
        sync_tree: SyncTree,
    ) -> Result<Self, StoreError> {
        let file = File::open(folder).map_err(StoreError::io("opening", folder))?;
        Ok(Self { durability, folder: file, folder_path: folder.into(), sync_tree })
    }

    /// Returns when `trees` and their names in the store folder are on disk.
    ///
    /// # Errors
    /// [`StoreError::Io`]: they may not be, and must not be registered.
    pub fn sync(&self, trees: &[Tree]) -> Result<(), StoreError> {
        if self.durability == Durability::Relaxed || trees.is_empty() {
            return Ok(());
        }
        let fail = StoreError::io("flushing to disk", &self.folder_path);
        if trees.iter().map(|tree| tree.entries).sum::<u64>() > MOST_FSYNCS {
            return rustix::fs::syncfs(&self.folder).map_err(|e| fail(e.into()));
        }
        for tree in trees {
            (self.sync_tree)(&tree.path).map_err(StoreError::io("flushing to disk", &tree.path))?;
        }
        self.folder.sync_all().map_err(fail)
    }
}
