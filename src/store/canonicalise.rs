//! Makes a file of an output what files of a store are: mode 0444 or 0555, modified one second
//! after 1970, owned by us, without extended attributes (the rules are those of
//! `src/libstore/posix-fs-canonicalise.cc` of Nix).
//!
//! Works through open fds, or (folder fd, name) for symlinks: no path is resolved twice, so what
//! was checked is what is changed. It does not walk and does not read contents. Invariant: a file
//! that another than the expected user owns is never touched. A hard link to such a file
//! (`ln /etc/shadow $out/x`) is an attack.

use std::collections::HashSet;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

use crate::base::fs::kind_word;

/// Modification time of everything in a store, in seconds since 1970.
pub const STORE_MTIME: i64 = 1;

/// Hard-linked files that were canonicalised, by device and inode: shared by all outputs of one
/// build, since links may go from one output to another.
#[derive(Debug, Default)]
pub struct InodesSeen(HashSet<(u64, u64)>);

/// What is right for the files of one build.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'r> {
    /// Who must own each file: the build user, or `None` where builds run as ourselves.
    pub owner: Option<u32>,
    /// Extended attributes that stay (`ignored-acls`).
    pub ignored_acls: &'r [String],
}

/// Why one file cannot be taken into the store.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A call failed: what we were doing and why it failed.
    Io(&'static str, io::Error),
    /// This is not the user who should own it.
    Ownership(u32),
    /// The output itself may be written by others, or another owns it: what was found.
    Suspicious(String),
    /// Neither file nor folder nor symlink, but this.
    Type(&'static str),
    /// The tree cannot be written as a NAR.
    Nar(crate::format::nar::NarError),
}

impl From<crate::format::nar::NarError> for Trouble {
    fn from(error: crate::format::nar::NarError) -> Self {
        match error {
            crate::format::nar::NarError::Io(cause) => Self::Io("writing the archive of", cause),
            other => Self::Nar(other),
        }
    }
}

/// Turns an error of the system into [`Trouble`] while doing this.
pub(super) fn doing<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Trouble {
    move |cause| Trouble::Io(what, cause.into())
}

/// Canonicalises files one by one.
pub(super) struct Canonicaliser<'r> {
    rules: Rules<'r>,
    seen: &'r mut InodesSeen,
    uid: Uid,
    gid: Gid,
}

impl<'r> Canonicaliser<'r> {
    pub(super) fn new(rules: Rules<'r>, seen: &'r mut InodesSeen) -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Self { rules, seen, uid, gid }
    }

    /// Checks the output itself before anything in it is touched.
    pub(super) fn check_root(&self, stat: &Stat) -> Result<(), Trouble> {
        let link = FileType::from_raw_mode(stat.st_mode).is_symlink();
        let open_to_others = !link && stat.st_mode & 0o022 != 0;
        let foreign = self.rules.owner.is_some_and(|uid| uid != stat.st_uid);
        if !open_to_others && !foreign {
            return Ok(());
        }
        let kind = kind_word(FileType::from_raw_mode(stat.st_mode));
        let (owner, mode) = (stat.st_uid, stat.st_mode & 0o7777);
        let asked = self.rules.owner.filter(|&uid| uid != owner);
        let asked = asked.map(|uid| format!(", not of user {uid}")).unwrap_or_default();
        Err(Trouble::Suspicious(format!("{kind} of user {owner}{asked}, mode {mode:04o}")))
    }

    /// Whether the file is still to be canonicalised; an error if it is another's. Files
    /// that were chowned under another name of theirs are known by their inode.
    fn admit(&mut self, stat: &Stat, directory: bool) -> Result<bool, Trouble> {
        let inode = (stat.st_dev, stat.st_ino);
        if self.rules.owner.is_some_and(|uid| uid != stat.st_uid) {
            let known = !directory && self.seen.0.contains(&inode);
            return if known { Ok(false) } else { Err(Trouble::Ownership(stat.st_uid)) };
        }
        if stat.st_nlink > 1 && !directory {
            self.seen.0.insert(inode);
        }
        Ok(true)
    }

    /// Makes a file or folder readable that its builder made unreadable for us. `fd` is an
    /// `O_PATH` one; the final mode comes later.
    pub(super) fn unlock(&mut self, fd: BorrowedFd<'_>, stat: &Stat) -> Result<(), Trouble> {
        let directory = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
        if !self.admit(stat, directory)? {
            return Ok(());
        }
        let mode = (stat.st_mode & 0o777) | if directory { 0o500 } else { 0o400 };
        // The link in /proc leads to exactly this inode; fchmod refuses `O_PATH`.
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        rustix::fs::chmodat(rustix::fs::CWD, &link, Mode::from_raw_mode(mode), AtFlags::empty())
            .map_err(doing("making readable"))
    }

    /// Canonicalises the open file or folder; `stat` is its state.
    pub(super) fn opened(&mut self, fd: BorrowedFd<'_>, stat: &Stat) -> Result<(), Trouble> {
        let directory = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
        if !self.admit(stat, directory)? {
            return Ok(());
        }
        let stripped = self.strip(fd, stat)?;
        let mode = stat.st_mode & 0o7777;
        let keep = (mode == 0o444 && !directory) || mode == 0o555;
        if !keep || stripped == Stripped::ModeChanged {
            let execute = if directory || mode & 0o100 != 0 { 0o111 } else { 0 };
            rustix::fs::fchmod(fd, Mode::from_raw_mode(0o444 | execute))
                .map_err(doing("setting the mode of"))?;
        }
        if stat.st_uid != self.uid.as_raw() {
            rustix::fs::fchown(fd, Some(self.uid), Some(self.gid))
                .map_err(doing("changing the owner of"))?;
        }
        if !has_store_time(stat) {
            rustix::fs::futimens(fd, &store_times()).map_err(doing("setting the time of"))?;
        }
        Ok(())
    }

    /// Canonicalises the symlink `name` in the folder `dir`.
    pub(super) fn symlink(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
    ) -> Result<(), Trouble> {
        if !self.admit(stat, false)? {
            return Ok(());
        }
        self.strip_symlink(dir, name)?;
        if stat.st_uid != self.uid.as_raw() {
            let (uid, gid) = (Some(self.uid), Some(self.gid));
            rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(doing("changing the owner of"))?;
        }
        if !has_store_time(stat) {
            rustix::fs::utimensat(dir, name, &store_times(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(doing("setting the time of"))?;
        }
        Ok(())
    }

    /// Removes extended attributes and ACLs, but for those that stay.
    fn strip(&self, fd: BorrowedFd<'_>, stat: &Stat) -> Result<Stripped, Trouble> {
        let mut result = Stripped::ModeKept;
        let size = rustix::fs::flistxattr_query(fd);
        let names = self.names(size, |list| rustix::fs::flistxattr(fd, list))?;
        for name in names {
            let removed = match rustix::fs::fremovexattr(fd, &name[..]) {
                // Who owns a read-only file may still not remove its `user.` attributes.
                Err(Errno::ACCESS) => {
                    let writable = Mode::from_raw_mode((stat.st_mode & 0o777) | 0o200);
                    result = Stripped::ModeChanged;
                    rustix::fs::fchmod(fd, writable)
                        .and_then(|()| rustix::fs::fremovexattr(fd, &name[..]))
                }
                other => other,
            };
            ignore_absent(removed)?;
        }
        Ok(result)
    }

    /// As [`Canonicaliser::strip`]. There are no calls for attributes by (folder, name), but the
    /// folder's link in /proc is no name that anyone could exchange.
    fn strip_symlink(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Trouble> {
        let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(name.to_bytes());
        let size = rustix::fs::llistxattr_query(&path[..]);
        let names = self.names(size, |list| rustix::fs::llistxattr(&path[..], list))?;
        for name in names {
            ignore_absent(rustix::fs::lremovexattr(&path[..], &name[..]))?;
        }
        Ok(())
    }

    /// The attributes to remove, given the answer to the question for their size.
    fn names(
        &self,
        size: rustix::io::Result<usize>,
        list: impl FnOnce(&mut [u8]) -> rustix::io::Result<usize>,
    ) -> Result<Vec<Vec<u8>>, Trouble> {
        let listing = doing("listing the extended attributes of");
        let size = match size {
            Ok(0) | Err(Errno::NOTSUP | Errno::NODATA) => return Ok(Vec::new()),
            Ok(size) => size,
            Err(e) => return Err(listing(e)),
        };
        let mut names = vec![0; size];
        let len = list(&mut names).map_err(listing)?;
        let ignored = |n: &[u8]| self.rules.ignored_acls.iter().any(|i| i.as_bytes() == n);
        let names = names[..len].split(|&b| b == 0).filter(|n| !n.is_empty() && !ignored(n));
        Ok(names.map(<[u8]>::to_vec).collect())
    }
}

/// What removing attributes did to the mode.
#[derive(PartialEq, Eq)]
enum Stripped {
    ModeKept,
    ModeChanged,
}

fn ignore_absent(removed: rustix::io::Result<()>) -> Result<(), Trouble> {
    match removed {
        Ok(()) | Err(Errno::NODATA) => Ok(()),
        Err(e) => Err(Trouble::Io("removing extended attributes of", e.into())),
    }
}

fn has_store_time(stat: &Stat) -> bool {
    stat.st_mtime == STORE_MTIME && stat.st_mtime_nsec == 0
}

/// The time of last access stays, the time of modification is [`STORE_MTIME`].
pub(super) fn store_times() -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: STORE_MTIME, tv_nsec: 0 },
    }
}
