//! The folders builds run in: `<root>/drover-<pid>-<n>`, flocked for life. A folder whose lock is
//! free has lost its owner, and a later start reclaims it; `kept-...` ones are the user's and never
//! touched. Removal runs with the lock held, so two that reclaim never meet in one folder.
//!
//! A folder that comes back as it was made serves again: on ext4 each inode that is freed makes
//! those that are made in the next minute dearer, and most small builds write nothing here.

mod looks;

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use looks::Looks;

use super::error::{Doing, Result};
use super::fs::{self, Removed};

const LIVE: &str = "drover-";
const KEPT: &str = "kept-";

/// Tries to lock a folder for its life; false when somebody else has it. To be joined with the
/// other locks of this floor.
fn try_lock_dir(folder: &File) -> io::Result<bool> {
    match flock(folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Makes build folders under one root.
#[derive(Debug)]
pub struct BuildDirs {
    root: PathBuf,
    next: AtomicU64,
    /// Folders to be used again; `None` once the end has come.
    idle: Mutex<Option<Vec<BuildDir>>>,
}

/// Folders that may wait to be used again.
const MOST_IDLE: usize = 64;

impl BuildDirs {
    /// Folders under `root`, which must exist.
    pub fn new(root: impl Into<PathBuf>) -> BuildDirs {
        let idle = Mutex::new(Some(Vec::new()));
        BuildDirs { root: root.into(), next: AtomicU64::new(0), idle }
    }

    /// Where they lie.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder of mode 0700, empty and locked.
    pub fn create(&self) -> Result<BuildDir> {
        loop {
            let idle = self.idle.lock().as_mut().and_then(Vec::pop);
            match idle {
                // One whose times cannot be set is no longer ours to give: it is removed.
                Some(dir) if dir.set_times().is_ok() => return Ok(dir),
                Some(_) => {}
                None => return self.make(),
            }
        }
    }

    /// Takes a folder back that nobody works in any more. It is used again if it is as it was made;
    /// otherwise, or after [`BuildDirs::close`], it is removed.
    pub fn take_back(&self, dir: BuildDir) {
        if dir.is_as_made() {
            let mut idle = self.idle.lock();
            if let Some(idle) = idle.as_mut().filter(|idle| idle.len() < MOST_IDLE) {
                return idle.push(dir);
            }
        }
        drop(dir);
    }

    /// Removes the folders that wait; from now on none does.
    pub fn close(&self) {
        drop(self.idle.lock().take());
    }

    fn make(&self) -> Result<BuildDir> {
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            let path = self.root.join(format!("{LIVE}{}-{n}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                // Of an owner long dead that had our pid, or of another container's.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other.doing("creating the build folder", &path)?,
            }
            // Somebody may reclaim it between creation and lock: then its name is gone or
            // another's.
            let folder = match open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                // Without a descriptor to be had, say, another name would fare no better.
                other => other.inspect_err(|_| drop(std::fs::remove_dir(&path))),
            };
            let folder = folder.doing("opening the build folder", &path)?;
            if try_lock_dir(&folder).doing("locking", &path)? && is_at(&folder, &path) {
                let made = Looks::of(&folder);
                return Ok(BuildDir { path, lock: Some(folder), made });
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

fn is_at(folder: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(named)) = (rustix::fs::fstat(folder), rustix::fs::lstat(path)) else {
        return false;
    };
    (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino)
}

/// A build folder; removed on drop unless kept.
#[derive(Debug)]
pub struct BuildDir {
    path: PathBuf,
    lock: Option<File>,
    made: Option<Looks>,
}

impl BuildDir {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open folder, for files made relative to it.
    pub fn folder(&self) -> Option<&File> {
        self.lock.as_ref()
    }

    /// Makes it look new: its times are the last builder's.
    fn set_times(&self) -> io::Result<()> {
        use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};
        let Some(folder) = &self.lock else { return Err(Errno::BADF.into()) };
        let now = || Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        Ok(futimens(folder, &Timestamps { last_access: now(), last_modification: now() })?)
    }

    /// Whether it is empty and like a new one.
    fn is_as_made(&self) -> bool {
        let (Some(folder), Some(made)) = (&self.lock, &self.made) else { return false };
        let empty = || {
            let mut entries = rustix::fs::Dir::read_from(folder).ok()?;
            entries.try_fold((), |(), entry| {
                let entry = entry.ok()?;
                matches!(entry.file_name().to_bytes(), b"." | b"..").then_some(())
            })
        };
        Looks::of(folder).as_ref() == Some(made) && is_at(folder, &self.path) && empty().is_some()
    }

    /// Leaves the folder to the user under a name that is never reclaimed: its new path.
    pub fn keep(mut self) -> Result<PathBuf> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = name.strip_prefix(LIVE).unwrap_or(&name).to_string();
        for n in 0u32.. {
            let suffix = if n == 0 { String::new() } else { format!("-{n}") };
            let kept = self.path.with_file_name(format!("{KEPT}{name}{suffix}"));
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            let cwd = rustix::fs::CWD;
            match rustix::fs::renameat_with(cwd, &self.path, cwd, &kept, flags) {
                Err(Errno::EXIST) => {}
                other => {
                    other.doing("keeping the build folder", &self.path)?;
                    // Others may look at what failed, as with Nix.
                    let readable = rustix::fs::Mode::from_raw_mode(0o755);
                    let folder = self.lock.take();
                    folder
                        .map_or(Ok(()), |f| rustix::fs::fchmod(&f, readable))
                        .doing("opening up", &kept)?;
                    return Ok(kept);
                }
            }
        }
        Err(Errno::EXIST).doing("keeping the build folder", &self.path)
    }

    /// Removes it now and says what went.
    pub fn remove(mut self) -> Result<Removed> {
        let removed = fs::remove_tree(&self.path);
        if removed.is_ok() {
            self.lock = None;
        }
        removed
    }
}

impl Drop for BuildDir {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // An empty one goes without a descriptor, also where none is to be had. What cannot be
            // removed now is tried again by the next start.
            if std::fs::remove_dir(&self.path).is_err() {
                let _ = fs::remove_tree(&self.path);
            }
        }
    }
}

/// What [`reclaim_stale`] did.
#[derive(Debug, Default)]
pub struct Reclaimed {
    /// What the folders held.
    pub removed: Removed,
    /// How many folders went.
    pub folders: usize,
    /// Folders that could not be removed, and why.
    pub failed: Vec<super::Error>,
}

/// Removes the folders of owners that are gone: those under `root` that can be locked. A root that
/// is not there has none.
pub fn reclaim_stale(root: &Path) -> Result<Reclaimed> {
    let mut done = Reclaimed::default();
    let entries = match std::fs::read_dir(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(done),
        other => other.doing("listing", root)?,
    };
    for entry in entries {
        let name = entry.doing("listing", root)?.file_name();
        if !is_live_name(&name.to_string_lossy()) {
            continue;
        }
        let path = root.join(&name);
        // Not ours to open, or gone already: not ours to remove.
        let Ok(folder) = open(&path) else { continue };
        if !try_lock_dir(&folder).doing("locking", &path)? || !is_at(&folder, &path) {
            continue;
        }
        match fs::remove_tree(&path) {
            Ok(removed) => {
                done.folders += 1;
                done.removed.bytes += removed.bytes;
                done.removed.entries += removed.entries;
            }
            Err(e) => done.failed.push(e),
        }
    }
    Ok(done)
}

/// `drover-<pid>-<n>`.
fn is_live_name(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let parts = name.strip_prefix(LIVE).and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(pid, n)| digits(pid) && digits(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_lives_as_long_as_its_guard() {
        let scratch = tempfile::tempdir().unwrap();
        let dirs = BuildDirs::new(scratch.path());
        let one = dirs.create().unwrap();
        let two = dirs.create().unwrap();
        let path = one.path().to_path_buf();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
        std::fs::write(path.join("file"), "x").unwrap();
        assert_eq!(reclaim_stale(scratch.path()).unwrap().folders, 0, "both are locked");
        drop(one);
        assert!(!path.exists() && two.path().exists());
        assert_eq!(two.remove().unwrap().entries, 1);
    }

    #[test]
    fn one_that_comes_back_untouched_serves_again() {
        let scratch = tempfile::tempdir().unwrap();
        let dirs = BuildDirs::new(scratch.path());
        let first = dirs.create().unwrap();
        let path = first.path().to_path_buf();
        std::fs::write(path.join("gone"), "x").unwrap();
        std::fs::remove_file(path.join("gone")).unwrap();
        dirs.take_back(first);
        assert_eq!(reclaim_stale(scratch.path()).unwrap().folders, 0, "it is locked");
        let touches: [fn(&Path); 5] = [
            |path| std::fs::write(path.join(".file"), "x").unwrap(),
            |path| std::fs::create_dir(path.join("folder")).unwrap(),
            |path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o750)).unwrap(),
            |path| {
                let flags = rustix::fs::XattrFlags::empty();
                rustix::fs::setxattr(path, c"user.x", b"y", flags).unwrap();
            },
            |path| {
                std::fs::remove_dir(path).unwrap();
                std::fs::create_dir(path).unwrap();
            },
        ];
        for touch in touches {
            let again = dirs.create().unwrap();
            touch(again.path());
            let touched = again.path().to_path_buf();
            dirs.take_back(again);
            assert!(!touched.exists());
        }
        let last = dirs.create().unwrap();
        let after = last.path().to_path_buf();
        dirs.take_back(last);
        let another = dirs.create().unwrap();
        assert_eq!(another.path(), after);
        let beside = dirs.create().unwrap();
        assert_ne!(beside.path(), after, "it is in use");
        dirs.take_back(another);
        assert!(after.exists());
        dirs.close();
        assert!(!after.exists());
        dirs.take_back(beside);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "{path:?}");
    }

    #[test]
    fn nothing_a_builder_set_on_a_folder_reaches_the_next() {
        use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
        use std::os::unix::fs::MetadataExt;
        let scratch = tempfile::tempdir().unwrap();
        let dirs = BuildDirs::new(scratch.path());
        let dir = dirs.create().unwrap();
        let path = dir.path().to_path_buf();
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(77);
        let times = std::fs::FileTimes::new().set_accessed(long_ago).set_modified(long_ago);
        dir.folder().unwrap().set_times(times).unwrap();
        dirs.take_back(dir);
        let dir = dirs.create().unwrap();
        assert_eq!(dir.path(), path, "times alone do not make it unfit");
        let meta = std::fs::metadata(&path).unwrap();
        assert!(meta.mtime() > 77 && meta.atime() > 77, "{meta:?}");
        // Flags that statx does not tell, where the file system has them.
        let folder = dir.folder().unwrap();
        if let Ok(flags) = ioctl_getflags(folder)
            && ioctl_setflags(folder, flags | IFlags::NOATIME).is_ok()
        {
            dirs.take_back(dir);
            assert!(!path.exists());
        }
    }

    #[test]
    fn an_attribute_of_the_root_that_a_builder_rewrote_is_seen() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = open(scratch.path()).unwrap();
        let set = |value: &[u8]| {
            rustix::fs::fsetxattr(&folder, "user.x", value, rustix::fs::XattrFlags::empty())
        };
        // The names of a list alone say nothing: a folder may be born with some.
        if set(b"1").is_ok() {
            let before = Looks::of(&folder);
            assert!(before.is_some());
            set(b"2").unwrap();
            assert_ne!(Looks::of(&folder), before);
        }
    }

    #[test]
    fn stale_ones_are_reclaimed_and_kept_ones_never() {
        let scratch = tempfile::tempdir().unwrap();
        let dirs = BuildDirs::new(scratch.path());
        let kept = dirs.create().unwrap();
        std::fs::write(kept.path().join("file"), "x").unwrap();
        let kept = kept.keep().unwrap();
        assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o7777, 0o755);
        // As one whose owner was killed.
        dirs.create().unwrap().lock = None;
        for name in ["drover-x", "drover-1-2-3", "drover-1-", "other"] {
            std::fs::create_dir(scratch.path().join(name)).unwrap();
        }
        std::fs::create_dir_all(scratch.path().join("drover-1-2/sub")).unwrap();
        // A name of ours that is taken is passed over, not shared.
        let name = |n| format!("drover-{}-{n}", std::process::id());
        std::fs::create_dir(scratch.path().join(name(2))).unwrap();
        assert!(dirs.create().unwrap().path().ends_with(name(3)));
        let done = reclaim_stale(scratch.path()).unwrap();
        assert_eq!((done.folders, done.removed.entries, done.failed.len()), (3, 4, 0));
        assert!(kept.join("file").exists());
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 5);
        assert_eq!(reclaim_stale(&scratch.path().join("no")).unwrap().folders, 0);
    }
}
