//! Temporary roots of processes that were killed: what they worked on, without a look over the
//! whole store.
//!
//! A file of temporary roots is locked for the life of its process, so one that can be locked has
//! lost its owner. It is held locked while it is read, so that no two processes
//! take the same one, and it goes by the stale protocol: unlinked, then marked with a byte, so that
//! a process that had just opened it makes another.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::layout::Layout;
use crate::base::lock::{FileLock, Mode};
use crate::format::{StoreDir, StorePath};

/// The temporary roots of one dead process, locked.
#[derive(Debug)]
pub struct DeadRoots {
    path: PathBuf,
    pid: String,
    lock: FileLock,
    bytes: Vec<u8>,
}

/// The files of temporary roots, of the living and the dead.
///
/// # Errors
/// [`StoreError`] if the folder cannot be read; that there is none is no error.
pub fn files(layout: &Layout) -> Result<Vec<PathBuf>, StoreError> {
    let dir = layout.temp_roots_dir();
    let fail = || StoreError::io("listing", &dir);
    let entries = match std::fs::read_dir(&dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(fail())?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(fail())?.path();
        if pid_of(&path).is_some() {
            files.push(path);
        }
    }
    Ok(files)
}

/// `<pid>` or `<pid>-<n>`.
fn pid_of(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (pid, number) = name.split_once('-').unwrap_or((name, "0"));
    (digits(pid) && digits(number)).then_some(pid)
}

impl DeadRoots {
    /// Locks and reads the file at `path`: `None` if its process lives, if it is gone, or if it is
    /// not ours to write.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be locked or read.
    pub fn take(path: &Path) -> Result<Option<Self>, StoreError> {
        let Some(pid) = pid_of(path) else { return Ok(None) };
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(e) if is_not_ours(&e) => return Ok(None),
            Err(e) => return Err(StoreError::io("opening", path)(e)),
        };
        let tried = FileLock::try_lock(file, Mode::Exclusive);
        let Ok(lock) = tried.map_err(StoreError::io("locking", path))? else { return Ok(None) };
        if !is_at(lock.file(), path) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        lock.file().read_to_end(&mut bytes).map_err(StoreError::io("reading", path))?;
        Ok(Some(Self { path: path.into(), pid: pid.into(), lock, bytes }))
    }

    /// The number its process had.
    #[must_use]
    pub fn pid(&self) -> &str {
        &self.pid
    }

    /// What the process protected. A record that was not written whole does not count.
    pub fn paths<'a>(&'a self, dir: &'a StoreDir) -> impl Iterator<Item = StorePath> + 'a {
        let whole = self.bytes.iter().rposition(|byte| *byte == 0).unwrap_or(0);
        let records = self.bytes[..whole].split(|byte| *byte == 0);
        records.filter_map(|record| dir.parse(record).ok())
    }

    /// Removes the file: there is nothing left to do for this process.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be unlinked.
    pub fn finish(self) -> Result<(), StoreError> {
        // Real Nix unlinks a file of its own number without asking: then another is there now.
        if is_at(self.lock.file(), &self.path) {
            match std::fs::remove_file(&self.path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("removing the stale file", &self.path)(e));
                }
                _ => {}
            }
        }
        let mut file = self.lock.file();
        file.write_all(b"d").map_err(StoreError::io("marking the stale file", &self.path))
    }
}

fn is_not_ours(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

/// Whether the open file is the one that `path` names.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), path.symlink_metadata()) else { return false };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::roots::TempRoots;
    use crate::store::test_support::{Scratch, path};

    #[test]
    fn the_dead_are_told_from_the_living() {
        let scratch = Scratch::new();
        let store = scratch.open();
        let living = path('a', "a");
        store.add_temp_roots([&living]).unwrap();
        let dir = &scratch.layout.store_dir;
        let dead = scratch.layout.temp_roots_dir().join("999999999-3");
        let text = format!("{}\0nonsense\0{}", dir.print(&path('b', "b")), dir.print(&living));
        std::fs::write(&dead, text).unwrap();
        std::fs::write(dead.with_file_name(".hidden"), "").unwrap();
        std::fs::write(dead.with_file_name("1-2-3"), "").unwrap();
        let files = files(&scratch.layout).unwrap();
        assert_eq!(files.len(), 2, "{files:?}");
        let taken: Vec<DeadRoots> =
            files.iter().filter_map(|file| DeadRoots::take(file).unwrap()).collect();
        assert_eq!(taken.len(), 1);
        assert!(DeadRoots::take(&dead).unwrap().is_none(), "taken once");
        for roots in taken {
            assert_eq!(roots.pid(), "999999999");
            assert_eq!(roots.paths(dir).collect::<Vec<_>>(), [path('b', "b")]);
            roots.finish().unwrap();
        }
        assert!(!dead.exists());
        assert!(DeadRoots::take(&dead).unwrap().is_none());
    }

    #[test]
    fn a_process_that_opened_the_file_meanwhile_makes_another() {
        let scratch = Scratch::new();
        let _store = scratch.open();
        let file = scratch.layout.temp_roots_dir().join("999999999");
        std::fs::write(&file, "").unwrap();
        let opened = File::open(&file).unwrap();
        DeadRoots::take(&file).unwrap().unwrap().finish().unwrap();
        assert_eq!(opened.metadata().unwrap().len(), 1, "marked");
        // Another file of that name is not taken for the one that was read.
        std::fs::write(&file, "").unwrap();
        let dead = DeadRoots::take(&file).unwrap().unwrap();
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, "new").unwrap();
        dead.finish().unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
    }

    #[test]
    fn what_a_process_of_our_number_left_is_kept_for_who_takes_it_back() {
        let scratch = Scratch::new();
        let _store = scratch.open();
        let file = scratch.layout.temp_roots_dir().join(std::process::id().to_string());
        std::fs::write(&file, "/old\0").unwrap();
        let _roots = TempRoots::open(&scratch.layout).unwrap();
        assert!(DeadRoots::take(&file).unwrap().is_some());
    }
}
