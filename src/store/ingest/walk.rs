//! The one walk over a tree on disk: each folder listed once and in the order of a NAR, each file
//! opened once, canonicalised if asked, and handed to a [`Sink`].
//!
//! Everything is relative to open folders and follows no symlink, so a tree that changes under
//! the walk can make it fail but never leave the tree. Open fds grow with the depth alone, which
//! ends where NARs end. Knows nothing of what a sink does.

use std::ffi::{CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use super::IngestError;
use crate::base::fs::kind_word;
use crate::format::nar::{Executable, MAX_DEPTH, NarError};
use crate::store::canonicalise::{Canonicaliser, Trouble, doing};

/// Bytes for the answers of getdents.
const LIST_BUFFER: usize = 32 * 1024;

/// What takes a tree in the order of a NAR. `name` is `None` for the root.
pub(in crate::store) trait Sink {
    /// The name under which `name` shall appear, if it is another.
    fn rename(&self, _name: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// A folder begins.
    fn directory(&mut self, name: Option<&[u8]>, fd: BorrowedFd<'_>) -> Result<(), Trouble>;

    /// The innermost folder ends.
    fn end_directory(&mut self) -> Result<(), Trouble>;

    /// A symlink.
    fn symlink(&mut self, name: Option<&[u8]>, target: &[u8]) -> Result<(), Trouble>;

    /// A regular file, open at its start.
    fn regular(&mut self, name: Option<&[u8]>, file: File<'_>) -> Result<(), Trouble>;
}

/// An open regular file.
#[derive(Clone, Copy)]
pub(in crate::store) struct File<'f> {
    pub(in crate::store) fd: BorrowedFd<'f>,
    pub(in crate::store) executable: Executable,
    /// Bytes when it was opened.
    pub(in crate::store) size: u64,
}

/// An entry of a folder that is still to be visited.
struct Entry {
    disk: CString,
    /// Its name in the result, if another than on disk.
    placed: Option<Vec<u8>>,
    kind: FileType,
}

impl Entry {
    fn placed(&self) -> &[u8] {
        self.placed.as_deref().unwrap_or(self.disk.as_bytes())
    }
}

struct Folder {
    fd: OwnedFd,
    entries: std::vec::IntoIter<Entry>,
}

/// Walks the tree at `root`; with a canonicaliser each file is made canonical before `sink` gets
/// it, so before its contents are read.
pub(in crate::store) fn walk<S: Sink>(
    root: &Path,
    canonicaliser: Option<Canonicaliser<'_>>,
    sink: &mut S,
) -> Result<(), IngestError> {
    let list = vec![MaybeUninit::uninit(); LIST_BUFFER];
    let mut walk =
        Walk { sink, canonicaliser, path: root.to_path_buf(), list, folders: Vec::new() };
    walk.run(root).map_err(|trouble| IngestError::new(trouble, &walk.path))
}

/// The open folder that holds `path`, and the name in it.
pub(in crate::store) fn open_parent(path: &Path) -> Result<(OwnedFd, CString), Trouble> {
    let invalid = || Trouble::Io("opening", std::io::ErrorKind::InvalidInput.into());
    let name = path.file_name().map(OsStr::as_bytes).ok_or_else(invalid)?;
    let name = CString::new(name).map_err(|_| invalid())?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(parent, flags, Mode::empty())
        .map_err(doing("opening the folder that holds"))?;
    Ok((fd, name))
}

struct Walk<'w, S> {
    sink: &'w mut S,
    canonicaliser: Option<Canonicaliser<'w>>,
    /// Where the walk is, for errors.
    path: PathBuf,
    list: Vec<MaybeUninit<u8>>,
    folders: Vec<Folder>,
}

impl<S: Sink> Walk<'_, S> {
    fn run(&mut self, root: &Path) -> Result<(), Trouble> {
        let (parent, name) = open_parent(root)?;
        let stat = stat_link(parent.as_fd(), &name)?;
        if let Some(canonicaliser) = &self.canonicaliser {
            canonicaliser.check_root(&stat)?;
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        let root = Entry { disk: name, placed: None, kind };
        if let Some(folder) = self.node(parent.as_fd(), &root, None)? {
            self.folders.push(folder);
        }
        while let Some(mut folder) = self.folders.pop() {
            let Some(entry) = folder.entries.next() else {
                self.sink.end_directory()?;
                if !self.folders.is_empty() {
                    self.path.pop();
                }
                continue;
            };
            self.path.push(OsStr::from_bytes(entry.disk.as_bytes()));
            if self.folders.len() + 1 >= MAX_DEPTH {
                return Err(Trouble::Nar(NarError::Depth));
            }
            let inner = self.node(folder.fd.as_fd(), &entry, Some(entry.placed()))?;
            self.folders.push(folder);
            match inner {
                Some(inner) => self.folders.push(inner),
                None => drop(self.path.pop()),
            }
        }
        Ok(())
    }

    /// Visits one node; a folder is returned for its entries to be visited.
    fn node(
        &mut self,
        dir: BorrowedFd<'_>,
        entry: &Entry,
        name: Option<&[u8]>,
    ) -> Result<Option<Folder>, Trouble> {
        let mut kind = entry.kind;
        if kind == FileType::Unknown {
            kind = FileType::from_raw_mode(stat_link(dir, &entry.disk)?.st_mode);
        }
        match kind {
            FileType::RegularFile => self.regular(dir, entry, name).map(|()| None),
            FileType::Directory => self.directory(dir, entry, name).map(Some),
            FileType::Symlink => self.symlink(dir, entry, name).map(|()| None),
            other => Err(Trouble::Type(kind_word(other))),
        }
    }

    fn regular(
        &mut self,
        dir: BorrowedFd<'_>,
        entry: &Entry,
        name: Option<&[u8]>,
    ) -> Result<(), Trouble> {
        // Should a FIFO stand here by now, opening it does not block.
        let (fd, stat) = self.open(dir, entry, OFlags::NONBLOCK)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if !kind.is_file() {
            return Err(Trouble::Type(kind_word(kind)));
        }
        let executable = if stat.st_mode & 0o100 != 0 { Executable::Yes } else { Executable::No };
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.sink.regular(name, File { fd: fd.as_fd(), executable, size })
    }

    fn directory(
        &mut self,
        dir: BorrowedFd<'_>,
        entry: &Entry,
        name: Option<&[u8]>,
    ) -> Result<Folder, Trouble> {
        let (fd, _) = self.open(dir, entry, OFlags::DIRECTORY)?;
        self.sink.directory(name, fd.as_fd())?;
        let entries = self.entries(fd.as_fd())?.into_iter();
        Ok(Folder { fd, entries })
    }

    fn symlink(
        &mut self,
        dir: BorrowedFd<'_>,
        entry: &Entry,
        name: Option<&[u8]>,
    ) -> Result<(), Trouble> {
        if let Some(canonicaliser) = &mut self.canonicaliser {
            let stat = stat_link(dir, &entry.disk)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            if !kind.is_symlink() {
                return Err(Trouble::Type(kind_word(kind)));
            }
            canonicaliser.symlink(dir, &entry.disk, &stat)?;
        }
        let target = rustix::fs::readlinkat(dir, &entry.disk, Vec::new())
            .map_err(doing("reading the symlink"))?;
        self.sink.symlink(name, target.as_bytes())
    }

    /// Opens a file or folder and canonicalises it; returns its state from before that.
    fn open(
        &mut self,
        dir: BorrowedFd<'_>,
        entry: &Entry,
        kind: OFlags,
    ) -> Result<(OwnedFd, Stat), Trouble> {
        let mut opened = open_quietly(dir, entry, kind);
        if let (Err(Errno::ACCESS), Some(canonicaliser)) = (&opened, &mut self.canonicaliser) {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(dir, &entry.disk, flags, Mode::empty())
                .map_err(doing("opening"))?;
            let stat = rustix::fs::fstat(&fd).map_err(doing("looking at"))?;
            canonicaliser.unlock(fd.as_fd(), &stat)?;
            opened = open_quietly(dir, entry, kind);
        }
        let fd = opened.map_err(doing("opening"))?;
        let stat = rustix::fs::fstat(&fd).map_err(doing("looking at"))?;
        if let Some(canonicaliser) = &mut self.canonicaliser {
            let kind = FileType::from_raw_mode(stat.st_mode);
            if !kind.is_file() && !kind.is_dir() {
                return Err(Trouble::Type(kind_word(kind)));
            }
            canonicaliser.opened(fd.as_fd(), &stat)?;
        }
        Ok((fd, stat))
    }

    /// The entries of an open folder in the order of their names in the result.
    fn entries(&mut self, fd: BorrowedFd<'_>) -> Result<Vec<Entry>, Trouble> {
        let mut entries = Vec::new();
        let mut listing = RawDir::new(fd, &mut self.list);
        while let Some(found) = listing.next() {
            let found = found.map_err(doing("listing"))?;
            let name = found.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let placed = self.sink.rename(name.to_bytes());
            entries.push(Entry { disk: name.to_owned(), placed, kind: found.file_type() });
        }
        entries.sort_unstable_by(|a, b| a.placed().cmp(b.placed()));
        Ok(entries)
    }
}

fn stat_link(dir: BorrowedFd<'_>, name: &CString) -> Result<Stat, Trouble> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(doing("looking at"))
}

/// Opens for reading without a trace in the time of last access, where we may.
fn open_quietly(dir: BorrowedFd<'_>, entry: &Entry, kind: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | kind;
    match rustix::fs::openat(dir, &entry.disk, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(dir, &entry.disk, flags, Mode::empty()),
        other => other,
    }
}
