//! Folders in the store where a path is laid out before it gets its name, and the move into place.
//!
//! Named `tmp-<pid>-<n>` and locked for life: the collector removes those it can lock. They lie in
//! the store folder itself, so that a rename is all it takes.

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::dead_roots::is_at;
use super::error::StoreError;
use super::layout::Layout;
use super::open::denied;
use crate::base::lock::{FileLock, Mode};

/// Numbers in a row without a folder after which no more are looked for.
const GAP: u32 = 8;

/// A locked folder in the store; removed with what is in it when dropped.
#[derive(Debug)]
pub struct StoreTempDir {
    path: PathBuf,
    _lock: FileLock,
}

impl StoreTempDir {
    /// Makes one that nobody else has.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be written.
    pub fn create(layout: &Layout) -> Result<Self, StoreError> {
        let mut number = 0_u32;
        loop {
            let name = format!("tmp-{}-{number}", std::process::id());
            let path = layout.real_store_dir.join(name);
            number += 1;
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(denied("creating the folder", &path, e)),
                Ok(()) => {}
            }
            // The collector may have removed it before we had the lock.
            if let Some(lock) = lock_folder(&path)? {
                return Ok(Self { path, _lock: lock });
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn lock_folder(path: &Path) -> Result<Option<FileLock>, StoreError> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(StoreError::io("opening", path))?,
    };
    let lock = FileLock::lock(file, Mode::Exclusive).map_err(StoreError::io("locking", path))?;
    let ours = lock.file().metadata().map_err(StoreError::io("looking at", path))?.ino();
    let still = path.symlink_metadata().is_ok_and(|meta| meta.ino() == ours);
    Ok(still.then_some(lock))
}

impl Drop for StoreTempDir {
    fn drop(&mut self) {
        // What stays is garbage with a name that the collector knows.
        let _ = remove_tree(&self.path);
    }
}

/// Removes the folders that the dead process `pid` left in the store; says how many. One that is
/// locked belongs to a living process of that number, here or in another pid namespace.
///
/// # Errors
/// [`StoreError`] if one cannot be locked or removed.
pub fn reclaim(layout: &Layout, pid: &str) -> Result<usize, StoreError> {
    let (mut removed, mut missed) = (0, 0);
    for number in 0_u32.. {
        // Numbers begin at 0 and the lowest free one is taken; a few may have been let go.
        if missed == GAP {
            break;
        }
        let path = layout.real_store_dir.join(format!("tmp-{pid}-{number}"));
        let Ok(folder) = File::open(&path) else {
            missed += 1;
            continue;
        };
        missed = 0;
        let tried = FileLock::try_lock(folder, Mode::Exclusive);
        let Ok(lock) = tried.map_err(StoreError::io("locking", &path))? else { continue };
        let is_folder = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
        if is_folder && is_at(lock.file(), &path) {
            remove_whole(&path)?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn remove_whole(path: &Path) -> Result<(), StoreError> {
    let removed = crate::base::fs::remove_tree(path);
    let as_io = |e: crate::base::Error| StoreError::io("removing", path)(io::Error::other(e));
    removed.map(drop).map_err(as_io)
}

/// Puts `from`, a tree in `temp`, at `to`. What lies at `to` is not valid, the caller has its lock
/// and has looked: it is moved aside into `temp`.
///
/// # Errors
/// [`StoreError::Io`].
pub fn put_in_place(temp: &StoreTempDir, from: &Path, to: &Path) -> Result<(), StoreError> {
    if to.symlink_metadata().is_ok_and(|meta| meta.is_dir() || from.is_dir()) {
        let mut aside = to.file_name().unwrap_or_default().to_owned();
        aside.push(".old");
        rename(to, &temp.path().join(aside))?;
    }
    rename(from, to)
}

/// Renames; a folder without write permission must get it for that moment, unless we are root.
fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    let fail = StoreError::io("moving into place", to);
    let meta = from.symlink_metadata().map_err(StoreError::io("looking at", from))?;
    let mode = meta.permissions().mode() & 0o7777;
    if !meta.is_dir() || mode & 0o200 != 0 {
        return std::fs::rename(from, to).map_err(fail);
    }
    let set = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode));
    set(from, mode | 0o200)
        .and_then(|()| std::fs::rename(from, to))
        .and_then(|()| set(to, mode))
        .map_err(fail)
}

/// Removes a tree whose folders may lack write permission.
fn remove_tree(path: &Path) -> io::Result<()> {
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        std::fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    std::fs::remove_dir_all(path)
}
