//! File locks: `flock` guards, the `.lock` files of store paths, and who holds one.
//!
//! The only user of fs2, called by full path: with its trait in scope `try_lock_shared` and
//! `unlock` would resolve to std's methods. Every guard unlocks explicitly in `Drop`, because a
//! forked child keeps a lock that its parent merely closed. All files are opened close-on-exec.
//!
//! The stale protocol of Nix: who deletes a lock file unlinks it first and then
//! writes one byte to it; who gets a lock looks whether its file is empty, and if not opens the
//! path again. So a lock is never held on a file that nobody else can find. This makes it safe to
//! remove lock files at any end of a build, failed or not.
//!
//! It does not know what the files stand for.
#![expect(clippy::disallowed_methods, reason = "this is the module that locks")]

mod file;
mod holder;

pub use file::open_lock_file;
pub use holder::{Holder, holder_of};

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use file::{Found, examine, is_good, open_if_there};

/// What went wrong with a lock file.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The file cannot be opened or created.
    #[error("opening lock file `{}`: {source}", path.display())]
    Open {
        /// The lock file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The lock call itself failed.
    #[error("locking `{}`: {source}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The file cannot be unlinked.
    #[error("removing lock file `{}`: {source}", path.display())]
    Remove {
        /// The lock file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The wait was cancelled.
    #[error("waiting for the lock `{}` was cancelled", .0.display())]
    Cancelled(PathBuf),
}

/// How a lock excludes others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Many may hold it.
    Shared,
    /// One may hold it.
    Exclusive,
}

/// What happens to the lock files when locks are released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Unlinked by the stale protocol.
    Delete,
    /// Left where they are.
    Keep,
}

/// A held lock on one open file; dropping it unlocks.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl FileLock {
    /// Takes the lock of `file`, waiting as long as it takes. Interrupted waits go on.
    ///
    /// # Errors
    /// The system's word where locks cannot be had at all.
    pub fn lock(file: File, mode: Mode) -> io::Result<Self> {
        loop {
            match flock(&file, mode) {
                Ok(()) => return Ok(Self { file }),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Takes the lock of `file` if nobody is in the way; gives the file back if somebody is.
    ///
    /// # Errors
    /// As [`FileLock::lock`].
    pub fn try_lock(file: File, mode: Mode) -> io::Result<Result<Self, File>> {
        Ok(if try_flock(&file, mode)? { Ok(Self { file }) } else { Err(file) })
    }

    /// Changes the mode, waiting as long as it takes. Not atomic: another process may have held
    /// the lock in between.
    ///
    /// # Errors
    /// As [`FileLock::lock`].
    pub fn convert(self, mode: Mode) -> io::Result<Self> {
        loop {
            match flock(&self.file, mode) {
                Ok(()) => return Ok(self),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The locked file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Nothing can be done about a failure; closing the file frees the lock all the same
        // unless a child still has the file open.
        let _ = fs2::FileExt::unlock(&self.file);
    }
}

/// A lock that is taken and let go many times on one open file, such as the collector's.
#[derive(Debug)]
pub struct Lockable {
    file: File,
    path: PathBuf,
}

/// A lock held on a [`Lockable`]; dropping it unlocks.
#[derive(Debug)]
pub struct Held<'f>(&'f File);

impl Lockable {
    /// Opens or creates the file at `path` (mode 0600).
    ///
    /// # Errors
    /// [`LockError::Open`].
    pub fn open(path: &Path) -> Result<Self, LockError> {
        Ok(Self { file: open_lock_file(path)?, path: path.into() })
    }

    /// Takes the lock if nobody is in the way.
    ///
    /// # Errors
    /// [`LockError::Lock`] where locks cannot be had at all.
    pub fn try_lock(&self, mode: Mode) -> Result<Option<Held<'_>>, LockError> {
        let tried = try_flock(&self.file, mode);
        let fail = |source| LockError::Lock { path: self.path.clone(), source };
        Ok(tried.map_err(fail)?.then_some(Held(&self.file)))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let _ = fs2::FileExt::unlock(self.0);
    }
}

fn flock(file: &File, mode: Mode) -> io::Result<()> {
    match mode {
        Mode::Shared => fs2::FileExt::lock_shared(file),
        Mode::Exclusive => fs2::FileExt::lock_exclusive(file),
    }
}

fn try_flock(file: &File, mode: Mode) -> io::Result<bool> {
    let contended = fs2::lock_contended_error().raw_os_error();
    loop {
        let tried = match mode {
            Mode::Shared => fs2::FileExt::try_lock_shared(file),
            Mode::Exclusive => fs2::FileExt::try_lock_exclusive(file),
        };
        match tried {
            Ok(()) => return Ok(true),
            Err(e) if e.raw_os_error() == contended => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Takes the exclusive lock of the file at `path`, creating it, without waiting.
fn try_acquire_file(path: &Path) -> Result<Option<FileLock>, LockError> {
    loop {
        let file = open_lock_file(path)?;
        let tried = FileLock::try_lock(file, Mode::Exclusive)
            .map_err(|source| LockError::Lock { path: path.into(), source })?;
        match tried {
            Err(_busy) => return Ok(None),
            Ok(lock) if is_good(&lock, path)? => return Ok(Some(lock)),
            Ok(_) => {}
        }
    }
}

/// Takes the exclusive lock of the file at `path`, creating it and waiting for it.
fn acquire_file(path: &Path, cancelled: &AtomicBool) -> Result<FileLock, LockError> {
    loop {
        let file = open_lock_file(path)?;
        flock_until(&file, path, cancelled)?;
        let lock = FileLock { file };
        if is_good(&lock, path)? {
            return Ok(lock);
        }
    }
}

/// Blocks in `flock`; a signal that interrupts it ends the wait if `cancelled` is set.
fn flock_until(file: &File, path: &Path, cancelled: &AtomicBool) -> Result<(), LockError> {
    loop {
        if cancelled.load(Ordering::SeqCst) {
            return Err(LockError::Cancelled(path.into()));
        }
        match flock(file, Mode::Exclusive) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(LockError::Lock { path: path.into(), source }),
        }
    }
}

/// Locks on a set of lock files, held all or none.
///
/// Dropping without [`PathLocks::release`] deletes the files as well: that is safe at any moment,
/// and a job that panics must not leave them behind.
#[derive(Debug)]
pub struct PathLocks {
    held: Vec<(PathBuf, FileLock)>,
}

impl PathLocks {
    /// Takes the locks of all files in `paths`, in sorted order, without waiting. An inner `Err`
    /// is the first that is held elsewhere; those already taken were let go and their files
    /// removed.
    ///
    /// # Errors
    /// [`LockError`] if a file cannot be opened or locked at all.
    pub fn try_acquire(
        paths: impl IntoIterator<Item = PathBuf>,
    ) -> Result<Result<Self, PathBuf>, LockError> {
        let mut locks = Self { held: Vec::new() };
        for path in sorted(paths) {
            match try_acquire_file(&path)? {
                Some(lock) => locks.held.push((path, lock)),
                None => return Ok(Err(path)),
            }
        }
        Ok(Ok(locks))
    }

    /// As [`PathLocks::try_acquire`], but waits. Free of deadlock among processes that take
    /// theirs in sorted order and hold no others. For cancelling see [`wait_until_free`].
    ///
    /// # Errors
    /// [`LockError`], [`LockError::Cancelled`] among them.
    pub fn acquire(
        paths: impl IntoIterator<Item = PathBuf>,
        cancelled: &AtomicBool,
    ) -> Result<Self, LockError> {
        let mut locks = Self { held: Vec::new() };
        for path in sorted(paths) {
            let lock = acquire_file(&path, cancelled)?;
            locks.held.push((path, lock));
        }
        Ok(locks)
    }

    /// The open lock files: whoever else has them open holds the locks as well, until they are let
    /// go here or closed there.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.held.iter().map(|(_, lock)| lock.file())
    }

    /// Lets all go.
    ///
    /// # Errors
    /// [`LockError::Remove`], the first, if a file cannot be unlinked; all are unlocked anyway.
    pub fn release(mut self, deletion: Deletion) -> Result<(), LockError> {
        let mut result = Ok(());
        for (path, lock) in self.held.drain(..) {
            if deletion == Deletion::Delete {
                result = result.and(delete_lock_file(&path, &lock));
            }
        }
        result
    }
}

impl Drop for PathLocks {
    fn drop(&mut self) {
        for (path, lock) in self.held.drain(..) {
            // A file that stays behind is found and taken over by the next who wants it.
            let _ = delete_lock_file(&path, &lock);
        }
    }
}

fn sorted(paths: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = paths.into_iter().collect();
    paths.sort();
    paths.dedup();
    paths
}

/// Unlinks the file of a held lock, then marks it: whoever waits for the old file sees the byte
/// and opens the path again. The other order would let a waiter lock a file that is then unlinked.
fn delete_lock_file(path: &Path, lock: &FileLock) -> Result<(), LockError> {
    let removed = match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    };
    let mut file = lock.file();
    let marked = file.write_all(b"d");
    removed.and(marked).map_err(|source| LockError::Remove { path: path.into(), source })
}

/// Blocks until the lock file at `path` can be locked, and holds nothing afterwards. Uses no CPU
/// meanwhile: the thread sleeps in `flock`. A path without a lock file is free, and none is
/// created.
///
/// To cancel: set `cancelled`, then signal this thread (`pthread_kill`) with a signal whose action
/// was installed *without* `SA_RESTART`, and repeat that until the call returns: one signal may
/// fall between the look at `cancelled` and the system call.
///
/// # Errors
/// [`LockError::Cancelled`], or the system's word.
pub fn wait_until_free(path: &Path, cancelled: &AtomicBool) -> Result<(), LockError> {
    loop {
        let Some(file) = open_if_there(path)? else { return Ok(()) };
        flock_until(&file, path, cancelled)?;
        let lock = FileLock { file };
        // A spoilt one is for whoever takes the lock.
        if examine(lock.file(), path)? != Found::Stale {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
