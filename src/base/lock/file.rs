//! Lock files as they are found: opened without being led astray, and told whether they are locks
//! to be held.
//!
//! A file that has bytes in it but still has its name was left by no holder: it is unlinked, or
//! whoever wants the lock would look for ever. A symlink is never followed: in a store that several
//! users write to, one of them could have the mark of the stale protocol written to any file of
//! another. It takes no lock.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::{FileLock, LockError};

/// Opens or creates a lock file as Nix does: read and write, mode 0600, never truncated.
///
/// # Errors
/// [`LockError::Open`].
pub fn open_lock_file(path: &Path) -> Result<File, LockError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(NO_TRICKS)
        .open(path)
        .map_err(not_openable(path))
        .and_then(|file| regular(file, path))
}

/// Opens a lock file that is there.
pub(super) fn open_if_there(path: &Path) -> Result<Option<File>, LockError> {
    let opened = OpenOptions::new().read(true).write(true).custom_flags(NO_TRICKS).open(path);
    match opened {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map_err(not_openable(path)).and_then(|file| regular(file, path)).map(Some),
    }
}

/// Neither a symlink is followed nor a pipe waited for.
const NO_TRICKS: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

fn not_openable(path: &Path) -> impl FnOnce(io::Error) -> LockError {
    move |source| match source.raw_os_error() {
        // What the kernel calls a loop is a symlink here.
        Some(libc::ELOOP) => foreign(path, "a symlink"),
        _ => LockError::Open { path: path.into(), source },
    }
}

fn regular(file: File, path: &Path) -> Result<File, LockError> {
    let meta = file.metadata().map_err(|source| LockError::Open { path: path.into(), source })?;
    if meta.is_file() { Ok(file) } else { Err(foreign(path, "not a regular file")) }
}

fn foreign(path: &Path, what: &str) -> LockError {
    let why = format!("it is {what}, which no lock file is: look who put it there and remove it");
    LockError::Open { path: path.into(), source: io::Error::other(why) }
}

/// Whether the locked file is no lock any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It is one.
    Good,
    /// Its last holder unlinked it.
    Stale,
    /// It has bytes in it, but its name as well.
    Spoilt,
}

pub(super) fn examine(file: &File, path: &Path) -> Result<Found, LockError> {
    let meta = file.metadata().map_err(|source| LockError::Lock { path: path.into(), source })?;
    if meta.len() == 0 {
        return Ok(Found::Good);
    }
    let named = path.symlink_metadata();
    let same = named.is_ok_and(|named| (named.dev(), named.ino()) == (meta.dev(), meta.ino()));
    Ok(if same { Found::Spoilt } else { Found::Stale })
}

/// Whether `lock` is one to be held. A spoilt file is unlinked: that is ours to do, since we have
/// it locked, and whoever has it open as well sees the byte and comes back.
pub(super) fn is_good(lock: &FileLock, path: &Path) -> Result<bool, LockError> {
    let found = examine(lock.file(), path)?;
    if found == Found::Spoilt {
        std::fs::remove_file(path)
            .map_err(|source| LockError::Remove { path: path.into(), source })?;
    }
    Ok(found == Found::Good)
}
