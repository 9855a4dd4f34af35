//! Remembers: the store folder, its database, its logs, its locks and roots.
//!
//! A [`Store`] is one open store. Validity is a row in the database, never existence on disk;
//! what is ingested and not yet committed is pending, and [`Store::view`] sees both.

pub mod add;
pub mod canonicalise;
pub mod db;
pub mod dead_roots;
pub mod derivations;
pub mod durable;
pub mod error;
pub mod gc_roots;
pub mod ingest;
pub mod layout;
pub mod logs;
pub mod open;
pub mod pending;
pub mod registrar;
pub mod restore;
pub mod roots;
pub mod source;
pub mod temp_dir;
#[cfg(test)]
mod test_support;
pub mod texts;

use parking_lot::Mutex;

use crate::base::lock::FileLock;
use crate::format::StorePath;

pub use db::{Db, Direction, Registration};
pub use durable::Tree;
pub use error::StoreError;
pub use layout::Layout;
pub use open::{Access, Durability, Journal, Listener, OpenOptions, Symlinks};
pub use pending::{Pending, View};
pub use roots::TempRoots;
pub use texts::Text;

/// An open store.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    options: OpenOptions,
    db: Db,
    pending: Pending,
    temp_roots: Mutex<Option<TempRoots>>,
    // Held for the life of the value: upgrades of the schema wait for it.
    _big_lock: Option<FileLock>,
}

impl Store {
    /// Opens the store at `layout`.
    ///
    /// # Errors
    /// [`StoreError`] saying what is missing, forbidden or of another schema.
    pub fn open(layout: Layout, options: OpenOptions) -> Result<Self, StoreError> {
        let (big_lock, db) = open::open(&layout, options)?;
        let pending = Pending::default();
        let temp_roots = Mutex::new(None);
        Ok(Self { layout, options, db, pending, temp_roots, _big_lock: big_lock })
    }

    /// Where its parts lie.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// How it was opened.
    #[must_use]
    pub fn options(&self) -> &OpenOptions {
        &self.options
    }

    /// What is committed.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// What is ingested and not yet committed.
    #[must_use]
    pub fn pending(&self) -> &Pending {
        &self.pending
    }

    /// Both.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View::new(&self.db, &self.pending)
    }

    /// Keeps `paths`, valid or not, from the collector for as long as this store is open; they are
    /// safe when this returns. Protects by hash part, so lock files and leftovers of the same hash
    /// too. Nothing is deleted from a store that is read only.
    ///
    /// # Errors
    /// [`StoreError`] if the state folder or the collector cannot be written to.
    pub fn add_temp_roots<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p StorePath>,
    ) -> Result<(), StoreError> {
        if self.options.access == Access::ReadOnly {
            return Ok(());
        }
        let mut guard = self.temp_roots.lock();
        let roots = match &mut *guard {
            Some(roots) => roots,
            None => guard.insert(TempRoots::open(&self.layout)?),
        };
        roots.add(paths, |path| self.layout.store_dir.print(path))
    }

    /// A temporary folder in the store. The file of temporary roots is there before it: by that
    /// file a later run learns of a process that died, and of its folders.
    ///
    /// # Errors
    /// [`StoreError`] if the store or the state folder cannot be written.
    pub fn temp_dir(&self) -> Result<temp_dir::StoreTempDir, StoreError> {
        self.add_temp_roots(&[])?;
        temp_dir::StoreTempDir::create(&self.layout)
    }

    /// The log of a derivation, or of the derivation that made an output.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn find_log(&self, path: &StorePath) -> Result<Option<logs::LogFile>, StoreError> {
        if path.is_derivation() {
            return Ok(logs::find_log(&self.layout, path));
        }
        let known = self.db.deriver(path)?;
        let others = self.db.valid_derivers([path])?.remove(path).unwrap_or_default();
        Ok(known.into_iter().chain(others).find_map(|drv| logs::find_log(&self.layout, &drv)))
    }
}
