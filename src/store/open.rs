//! Opening a store: its folders, its big lock, the number of its schema.
//!
//! Cheap on a store that exists: a few looks, one lock, one small read, one connection; nothing is
//! scanned. A new store is made under the exclusive big lock, and its `schema` file comes last: a
//! crash before that leaves a store that the next start makes anew.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::db::{Db, Tables};
use super::error::StoreError;
use super::layout::Layout;
use crate::base::lock::{FileLock, Mode, open_lock_file};

/// The schema that we read and write.
pub const SCHEMA_VERSION: u64 = 10;
/// Bytes of `db/reserved`, Nix's default of `gc-reserved-space`.
const RESERVED_BYTES: u64 = 8 << 20;

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read and write; made if it is not there.
    Create,
    /// Read and write; must be there.
    ReadWrite,
    /// Read only, without locks; nobody may write it meanwhile.
    ReadOnly,
}

/// Whether registered means on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Contents are flushed before their row is written, and rows when they are committed.
    Durable,
    /// As Nix by default: a crash of the machine may lose or damage the latest.
    Relaxed,
}

/// How the database keeps its journal (`use-sqlite-wal`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    /// A write-ahead log, with shared memory.
    Wal,
    /// A truncated journal and lock files, for folders where shared memory does not work. All
    /// processes on the store must agree.
    Truncate,
}

/// Whether the store folder may be reached through symlinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symlinks {
    /// Refused.
    Refuse,
    /// `allow-symlinked-store`.
    Allow,
}

/// Who hears each SQL statement before it runs, with its values. Called from any thread.
pub type Listener = fn(&str);

/// How a store is opened.
#[derive(Debug, Clone, Copy)]
pub struct OpenOptions {
    /// What for.
    pub access: Access,
    /// Whether registered means on disk.
    pub durability: Durability,
    /// How the database keeps its journal.
    pub journal: Journal,
    /// Whether the store folder may be reached through symlinks.
    pub symlinks: Symlinks,
    /// Who hears the statements that the database is asked, if somebody does.
    pub listener: Option<Listener>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            access: Access::Create,
            durability: Durability::Durable,
            journal: Journal::Wal,
            symlinks: Symlinks::Refuse,
            listener: None,
        }
    }
}

/// Opens the parts of a store: the big lock, held shared (none if read-only), and the database.
pub(super) fn open(
    layout: &Layout,
    options: OpenOptions,
) -> Result<(Option<FileLock>, Db), StoreError> {
    if options.symlinks == Symlinks::Refuse {
        refuse_symlinks(&layout.real_store_dir)?;
    }
    let version = read_schema(layout)?;
    let mut lock = None;
    let mut tables = Tables::Exist;
    match (options.access, version) {
        (Access::ReadOnly, Some(_)) => {}
        (Access::ReadWrite, Some(_)) | (Access::Create, Some(_)) => {
            lock = Some(big_lock(layout, Mode::Shared)?);
        }
        (Access::Create, None) => {
            create_folders(layout)?;
            let exclusive = big_lock(layout, Mode::Exclusive)?;
            // Another process may have made the store while we waited.
            if read_schema(layout)?.is_none() {
                tables = Tables::Create;
            }
            lock = Some(exclusive);
        }
        (Access::ReadWrite | Access::ReadOnly, None) => {
            return Err(StoreError::Missing { path: layout.state_dir.clone(), what: "db/schema" });
        }
    }
    check_schema(layout)?;
    if tables == Tables::Exist {
        both_there(layout)?;
    }
    let db = Db::open(layout.db_file(), layout.store_dir.clone(), options, tables)
        .map_err(|e| or_no_permission(e, layout))?;
    if options.access != Access::ReadOnly {
        reserve_space(&layout.reserved_file())?;
    }
    if tables == Tables::Create {
        write_schema(layout, options.durability)?;
    }
    let shared = |l: FileLock| l.convert(Mode::Shared);
    let lock = lock.map(shared).transpose();
    Ok((lock.map_err(StoreError::io("locking", layout.big_lock()))?, db))
}

/// No component of the store's path may be a symlink: who owns the link could exchange the store.
fn refuse_symlinks(dir: &Path) -> Result<(), StoreError> {
    let is_link = |p: &&Path| p.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
    match dir.ancestors().find(is_link) {
        Some(link) => Err(StoreError::Symlink(link.into())),
        None => Ok(()),
    }
}

/// A database that is gone is not made anew: an empty one would call everything garbage.
fn both_there(layout: &Layout) -> Result<(), StoreError> {
    let gone = |path: &Path| path.metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
    if gone(&layout.db_file()) {
        return Err(StoreError::Missing { path: layout.state_dir.clone(), what: "db/db.sqlite" });
    }
    if gone(&layout.real_store_dir) {
        return Err(StoreError::NoFolder(layout.real_store_dir.clone()));
    }
    Ok(())
}

fn create_folders(layout: &Layout) -> Result<(), StoreError> {
    let per_user = ["profiles/per-user", "gcroots/per-user"];
    let state = per_user.map(|name| layout.state_dir.join(name));
    let own = [layout.real_store_dir.clone(), layout.db_dir(), layout.temp_roots_dir()];
    for dir in own.into_iter().chain(state) {
        std::fs::create_dir_all(&dir).map_err(|e| denied("creating the folder", &dir, e))?;
    }
    Ok(())
}

/// A failed call on `path`, told as missing permission where it is that.
pub(super) fn denied(doing: &'static str, path: &Path, source: io::Error) -> StoreError {
    let path = PathBuf::from(path);
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::NoPermission { path, source }
        }
        _ => StoreError::Io { doing, path, source },
    }
}

/// SQLite says "cannot open" for files it may not write; say why.
fn or_no_permission(error: StoreError, layout: &Layout) -> StoreError {
    let StoreError::Database { .. } = &error else { return error };
    match std::fs::OpenOptions::new().read(true).write(true).open(layout.db_file()) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            denied("opening the database", &layout.db_file(), e)
        }
        _ => error,
    }
}

fn big_lock(layout: &Layout, mode: Mode) -> Result<FileLock, StoreError> {
    use crate::base::lock::LockError;
    let path = layout.big_lock();
    let file = open_lock_file(&path).map_err(|e| match e {
        LockError::Open { path, source } => denied("opening the lock", &path, source),
        other => other.into(),
    })?;
    FileLock::lock(file, mode).map_err(StoreError::io("locking", path))
}

/// The number in `db/schema`; `None` for a store that is not there.
fn read_schema(layout: &Layout) -> Result<Option<u64>, StoreError> {
    let path = layout.schema_file();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound) => return Ok(None),
        Err(e) => return Err(denied("reading", &path, e)),
    };
    match text.trim().parse() {
        Ok(version) => Ok(Some(version)),
        Err(_) => Err(StoreError::BadSchema { path, text: text.trim().chars().take(80).collect() }),
    }
}

fn check_schema(layout: &Layout) -> Result<(), StoreError> {
    match read_schema(layout)? {
        Some(version) if version > SCHEMA_VERSION => {
            Err(StoreError::NewerSchema { path: layout.db_dir(), version })
        }
        Some(version) if version < SCHEMA_VERSION => {
            Err(StoreError::OlderSchema { path: layout.db_dir(), version })
        }
        Some(_) | None => Ok(()),
    }
}

fn write_schema(layout: &Layout, durability: Durability) -> Result<(), StoreError> {
    let path = layout.schema_file();
    let temp = path.with_extension("tmp");
    let write = || -> io::Result<()> {
        let mut file = File::create(&temp)?;
        file.write_all(SCHEMA_VERSION.to_string().as_bytes())?;
        if durability == Durability::Durable {
            file.sync_all()?;
        }
        std::fs::rename(&temp, &path)?;
        if durability == Durability::Durable {
            File::open(layout.db_dir())?.sync_all()?;
        }
        Ok(())
    };
    write().map_err(StoreError::io("writing", path.clone()))
}

/// Keeps space that the collector can free on a full disk. A disk too full for that is no reason
/// to refuse the store: reading still works.
fn reserve_space(path: &Path) -> Result<(), StoreError> {
    if path.metadata().is_ok_and(|meta| meta.len() == RESERVED_BYTES) {
        return Ok(());
    }
    let file = open_lock_file(path)?;
    // Real blocks: a hole would free nothing. File systems that cannot reserve get none.
    let flags = rustix::fs::FallocateFlags::empty();
    let _ = rustix::fs::fallocate(&file, flags, 0, RESERVED_BYTES);
    Ok(())
}

#[cfg(test)]
mod tests;
