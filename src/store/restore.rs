//! NAR to disk and disk to NAR.
//!
//! Writing goes through open folders and creates every file anew (`O_EXCL`, no following), so a
//! hostile archive can write nothing outside its destination and nothing twice. Files get their
//! final modes and times as they are written; no second pass is needed. Not durable by itself.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::canonicalise::{Trouble, doing, store_times};
use super::ingest::IngestError;
use super::ingest::walk::{File, Sink, open_parent, walk};
use crate::format::nar::{self, Contents, Executable, NarError, Visitor, Writer};

/// Bytes that are copied at once.
const PIECE: usize = 64 * 1024;

/// What modes and times new files get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modes {
    /// Those of a store: 0444, 0555, one second after 1970.
    Store,
    /// Those of any program of the user's: writable, less the umask; the time of today.
    User,
}

/// Why an archive was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The archive is bad or cannot be read.
    #[error(transparent)]
    Nar(#[from] NarError),
    /// A file could not be written; the source keeps the system's error number.
    #[error("{doing} `{}`", path.display())]
    Io {
        /// What we were doing with it.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// Restores the NAR that is all of `source` to `into`, which must not exist.
///
/// # Errors
/// [`RestoreError`]; what was written until then stays.
pub fn restore(source: impl Read, into: &Path, modes: Modes) -> Result<(), RestoreError> {
    nar::read(source, &mut Restore::new(into, modes)?)
}

/// As [`restore`], but takes exactly one NAR from the front of `source` and returns its length.
///
/// # Errors
/// As [`restore`].
pub fn restore_prefix(
    source: &mut impl Read,
    into: &Path,
    modes: Modes,
) -> Result<u64, RestoreError> {
    nar::read_prefix(source, &mut Restore::new(into, modes)?)
}

/// Writes the NAR of the tree at `path` to `out` and changes nothing of the tree.
///
/// # Errors
/// [`IngestError`] if a file cannot be read or has no place in a NAR, or `out` fails.
pub fn dump(path: &Path, out: &mut dyn Write) -> Result<(), IngestError> {
    let failed = |source: io::Error| IngestError::Io {
        doing: "writing the archive of",
        path: path.to_path_buf(),
        source,
    };
    let mut out = io::BufWriter::with_capacity(PIECE, out);
    let nar = Writer::new(&mut out).map_err(|e| IngestError::new(e.into(), path))?;
    walk(path, None, &mut Dump { nar, piece: vec![0; PIECE] })?;
    out.flush().map_err(failed)
}

struct Dump<W> {
    nar: Writer<W>,
    piece: Vec<u8>,
}

impl<W: Write> Dump<W> {
    fn name(&mut self, name: Option<&[u8]>) -> Result<(), Trouble> {
        match name {
            Some(name) => Ok(self.nar.entry(name)?),
            None => Ok(()),
        }
    }
}

impl<W: Write> Sink for Dump<W> {
    fn directory(&mut self, name: Option<&[u8]>, _: BorrowedFd<'_>) -> Result<(), Trouble> {
        self.name(name)?;
        Ok(self.nar.directory()?)
    }

    fn end_directory(&mut self) -> Result<(), Trouble> {
        Ok(self.nar.end_directory()?)
    }

    fn symlink(&mut self, name: Option<&[u8]>, target: &[u8]) -> Result<(), Trouble> {
        self.name(name)?;
        Ok(self.nar.symlink(target)?)
    }

    fn regular(&mut self, name: Option<&[u8]>, file: File<'_>) -> Result<(), Trouble> {
        self.name(name)?;
        self.nar.begin_regular(file.executable, file.size)?;
        loop {
            let got = rustix::io::retry_on_intr(|| rustix::io::read(file.fd, &mut self.piece[..]))
                .map_err(doing("reading"))?;
            if got == 0 {
                // Refuses a file that shrank; one that grew was refused by `contents`.
                return Ok(self.nar.end_regular()?);
            }
            self.nar.contents(&self.piece[..got])?;
        }
    }
}

/// Writes a tree node by node, in the order of a NAR.
pub(super) struct TreeWriter {
    parent: OwnedFd,
    root: CString,
    open: Vec<OwnedFd>,
    modes: Modes,
}

impl TreeWriter {
    /// Prepares to write a tree to `into`, which must not exist.
    pub(super) fn new(into: &Path, modes: Modes) -> Result<Self, Trouble> {
        let (parent, root) = open_parent(into)?;
        Ok(Self { parent, root, open: Vec::new(), modes })
    }

    /// Creates a folder; what follows goes into it.
    pub(super) fn directory(&mut self, name: Option<&[u8]>) -> Result<(), Trouble> {
        let (dir, name) = self.place(name)?;
        let mode = Mode::from_raw_mode(if self.modes == Modes::Store { 0o700 } else { 0o777 });
        rustix::fs::mkdirat(dir, &name, mode).map_err(doing("creating a folder for"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir, &name, flags, Mode::empty())
            .map_err(doing("opening the folder for"))?;
        self.open.push(fd);
        Ok(())
    }

    /// Ends the innermost open folder.
    pub(super) fn end_directory(&mut self) -> Result<(), Trouble> {
        match self.open.pop() {
            Some(fd) => self.seal(fd, Executable::Yes),
            None => Ok(()),
        }
    }

    /// Creates a symlink.
    pub(super) fn symlink(&mut self, name: Option<&[u8]>, target: &[u8]) -> Result<(), Trouble> {
        let (dir, name) = self.place(name)?;
        rustix::fs::symlinkat(target, dir, &name).map_err(doing("creating a symlink for"))?;
        if self.modes == Modes::Store {
            rustix::fs::utimensat(dir, &name, &store_times(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(doing("setting the time of a copy of"))?;
        }
        Ok(())
    }

    /// Creates an empty file, to be written and then sealed.
    pub(super) fn create(
        &mut self,
        name: Option<&[u8]>,
        executable: Executable,
    ) -> Result<OwnedFd, Trouble> {
        let (dir, name) = self.place(name)?;
        let mode = match (self.modes, executable) {
            (Modes::Store, _) => 0o600,
            (Modes::User, Executable::No) => 0o666,
            (Modes::User, Executable::Yes) => 0o777,
        };
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(dir, &name, flags, Mode::from_raw_mode(mode))
            .map_err(doing("creating a file for"))
    }

    /// Gives a finished file or folder its final mode and time.
    pub(super) fn seal(&self, fd: OwnedFd, executable: Executable) -> Result<(), Trouble> {
        if self.modes == Modes::User {
            return Ok(());
        }
        let mode = if executable == Executable::Yes { 0o555 } else { 0o444 };
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))
            .and_then(|()| rustix::fs::futimens(&fd, &store_times()))
            .map_err(doing("setting mode and time of a copy of"))
    }

    fn place(&self, name: Option<&[u8]>) -> Result<(BorrowedFd<'_>, CString), Trouble> {
        let Some(name) = name else {
            return Ok((self.parent.as_fd(), self.root.clone()));
        };
        nar::check_name(name).map_err(Trouble::Nar)?;
        let name = CString::new(name)
            .map_err(|e| Trouble::Io("creating", io::Error::new(io::ErrorKind::InvalidInput, e)))?;
        let dir = self.open.last().unwrap_or(&self.parent);
        Ok((dir.as_fd(), name))
    }
}

struct Restore {
    tree: TreeWriter,
    /// The open folder, for errors.
    path: PathBuf,
    piece: Vec<u8>,
}

impl Restore {
    fn new(into: &Path, modes: Modes) -> Result<Self, RestoreError> {
        let tree = TreeWriter::new(into, modes).map_err(|t| failed(t, into, None))?;
        Ok(Self { tree, path: into.to_path_buf(), piece: vec![0; PIECE] })
    }
}

fn failed(trouble: Trouble, folder: &Path, name: Option<&[u8]>) -> RestoreError {
    use std::os::unix::ffi::OsStrExt;
    let path = match name {
        Some(name) => folder.join(std::ffi::OsStr::from_bytes(name)),
        None => folder.to_path_buf(),
    };
    match trouble {
        Trouble::Io(doing, source) => RestoreError::Io { doing, path, source },
        Trouble::Nar(error) => RestoreError::Nar(error),
        Trouble::Ownership(_) | Trouble::Suspicious(_) | Trouble::Type(_) => {
            let source = io::ErrorKind::PermissionDenied.into();
            RestoreError::Io { doing: "checking", path, source }
        }
    }
}

impl Visitor for Restore {
    type Error = RestoreError;

    fn directory(&mut self, name: Option<&[u8]>) -> Result<(), RestoreError> {
        use std::os::unix::ffi::OsStrExt;
        self.tree.directory(name).map_err(|t| failed(t, &self.path, name))?;
        if let Some(name) = name {
            self.path.push(std::ffi::OsStr::from_bytes(name));
        }
        Ok(())
    }

    fn end_directory(&mut self) -> Result<(), RestoreError> {
        self.tree.end_directory().map_err(|t| failed(t, &self.path, None))?;
        if !self.tree.open.is_empty() {
            self.path.pop();
        }
        Ok(())
    }

    fn symlink(&mut self, name: Option<&[u8]>, target: &[u8]) -> Result<(), RestoreError> {
        self.tree.symlink(name, target).map_err(|t| failed(t, &self.path, name))
    }

    fn regular(
        &mut self,
        name: Option<&[u8]>,
        executable: Executable,
        contents: &mut Contents<'_>,
    ) -> Result<(), RestoreError> {
        let place = |t| failed(t, &self.path, name);
        let fd = self.tree.create(name, executable).map_err(place)?;
        loop {
            let got = contents.read(&mut self.piece).map_err(NarError::Io)?;
            if got == 0 {
                break;
            }
            super::ingest::write_all(fd.as_fd(), &self.piece[..got]).map_err(place)?;
        }
        self.tree.seal(fd, executable).map_err(place)
    }
}
