//! The ways to take a tree in that write it a second time.
//!
//! Copying breaks the file descriptors that a builder may have passed to another process: those
//! point at inodes that are thrown away, and what was hashed is what only we can write. Rewriting
//! puts the final hash parts in the place of those of scratch paths: in contents, symlink targets
//! and file names, as Nix does, which streams the whole NAR through its rewriter. All give what
//! [`super::ingest`] gives, computed over the bytes as they are written.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::walk::{File, Sink, walk};
use super::{IngestError, IngestRequest, Ingested, Sums};
use crate::format::StorePath;
use crate::format::refs::{HashPart, Rewriter, hash_part};
use crate::store::canonicalise::{Canonicaliser, InodesSeen, Trouble, doing};
use crate::store::restore::{Modes, TreeWriter};

/// Bytes read at once.
const PIECE: usize = 256 * 1024;

/// Takes an output in as a copy at `into`, which must not exist and lie in a folder of ours alone.
/// Shares blocks where the file system can.
///
/// # Errors
/// As [`super::ingest`]; what was written to `into` until then stays there.
pub fn ingest_copying(
    request: &IngestRequest<'_>,
    seen: &mut InodesSeen,
    into: &Path,
) -> Result<Ingested, IngestError> {
    let canonicaliser = Canonicaliser::new(request.rules, seen);
    copy(request, Some(canonicaliser), None, into)
}

/// Copies a tree that stays as it is, such as a source of the user's, to `into`, which must not
/// exist. `request.rules` do not apply: the copy is ours and canonical, whatever the tree is.
///
/// # Errors
/// As [`super::ingest`]; what was written to `into` until then stays there.
pub fn add_copy(request: &IngestRequest<'_>, into: &Path) -> Result<Ingested, IngestError> {
    copy(request, None, None, into)
}

/// Takes an output of a scratch path in as a copy at `into`, in which each path of `rewrites` is
/// replaced by its value. `into` must not exist. `request.candidates` are the paths as they are
/// after that.
///
/// # Errors
/// As [`super::ingest`]; what was written to `into` until then stays there.
pub fn ingest_rewriting(
    request: &IngestRequest<'_>,
    seen: &mut InodesSeen,
    rewrites: &BTreeMap<StorePath, StorePath>,
    into: &Path,
) -> Result<Ingested, IngestError> {
    let parts = rewrites.iter().map(|(from, to)| (hash_part(from), hash_part(to)));
    let rewriter = Rewriter::new(parts.collect::<Vec<(HashPart, HashPart)>>());
    let canonicaliser = Canonicaliser::new(request.rules, seen);
    copy(request, Some(canonicaliser), Some(rewriter), into)
}

/// Renames a tree of ours to its place, which must not exist or be an empty folder.
///
/// # Errors
/// [`IngestError::Io`] of the rename.
pub fn move_into_place(from: &Path, to: &Path) -> Result<(), IngestError> {
    let failed =
        |source| IngestError::Io { doing: "moving into place", path: from.to_path_buf(), source };
    match std::fs::rename(from, to) {
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {}
        other => return other.map_err(failed),
    }
    // Who is not root can only move a folder to another one if it is writable, for its `..`.
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    let is_dir = std::fs::symlink_metadata(from).map_err(failed)?.is_dir();
    if !is_dir {
        return Err(failed(std::io::ErrorKind::PermissionDenied.into()));
    }
    std::fs::set_permissions(from, mode(0o755)).map_err(failed)?;
    let moved = std::fs::rename(from, to);
    let place = if moved.is_ok() { to } else { from };
    std::fs::set_permissions(place, mode(0o555)).map_err(failed)?;
    moved.map_err(failed)
}

fn copy(
    request: &IngestRequest<'_>,
    canonicaliser: Option<Canonicaliser<'_>>,
    rewriter: Option<Rewriter>,
    into: &Path,
) -> Result<Ingested, IngestError> {
    let tree = TreeWriter::new(into, Modes::Store).map_err(|t| IngestError::new(t, into))?;
    let sums = Sums::new(request)?;
    let mut sink = Copy { sums, tree, rewriter, piece: vec![0; PIECE] };
    walk(request.path, canonicaliser, &mut sink)?;
    sink.sums.finish(request.path)
}

struct Copy {
    sums: Sums,
    tree: TreeWriter,
    rewriter: Option<Rewriter>,
    piece: Vec<u8>,
}

impl Sink for Copy {
    fn rename(&self, name: &[u8]) -> Option<Vec<u8>> {
        let rewriter = self.rewriter.as_ref()?;
        let mut renamed = name.to_vec();
        rewriter.rewrite(&mut renamed);
        (renamed != name).then_some(renamed)
    }

    fn directory(&mut self, name: Option<&[u8]>, fd: BorrowedFd<'_>) -> Result<(), Trouble> {
        self.sums.directory(name, fd)?;
        self.tree.directory(name)
    }

    fn end_directory(&mut self) -> Result<(), Trouble> {
        self.sums.end_directory()?;
        self.tree.end_directory()
    }

    fn symlink(&mut self, name: Option<&[u8]>, target: &[u8]) -> Result<(), Trouble> {
        let mut target = target.to_vec();
        if let Some(rewriter) = &self.rewriter {
            rewriter.rewrite(&mut target);
        }
        self.sums.symlink(name, &target)?;
        self.tree.symlink(name, &target)
    }

    fn regular(&mut self, name: Option<&[u8]>, file: File<'_>) -> Result<(), Trouble> {
        self.sums.begin(name, file.executable, file.size)?;
        let out = self.tree.create(name, file.executable)?;
        let cloned = self.rewriter.is_none() && rustix::fs::ioctl_ficlone(&out, file.fd).is_ok();
        if cloned {
            // Read from the clone: whoever holds the original open can no longer change it.
            self.sums.stream().read_from(out.as_fd(), file.size).map_err(doing("reading"))?;
            check_size(out.as_fd(), file.size)?;
        } else {
            self.copy_contents(file, out.as_fd())?;
        }
        self.sums.end(file.size)?;
        self.tree.seal(out, file.executable)
    }
}

impl Copy {
    fn copy_contents(&mut self, file: File<'_>, out: BorrowedFd<'_>) -> Result<(), Trouble> {
        let mut left = file.size;
        while left > 0 {
            let want = self.piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let piece = &mut self.piece[..want];
            let got = rustix::io::retry_on_intr(|| rustix::io::read(file.fd, &mut *piece))
                .map_err(doing("reading"))?;
            if got == 0 {
                return Err(changed());
            }
            left -= got as u64;
            match &mut self.rewriter {
                None => {
                    write_all(out, &piece[..got])?;
                    self.sums.contents(&piece[..got])?;
                }
                Some(rewriter) => {
                    let certain = rewriter.update(&piece[..got]);
                    write_all(out, &certain)?;
                    self.sums.contents(&certain)?;
                }
            }
        }
        if let Some(rewriter) = &mut self.rewriter {
            let rest = rewriter.finish();
            write_all(out, &rest)?;
            self.sums.contents(&rest)?;
        }
        Ok(())
    }
}

fn check_size(fd: BorrowedFd<'_>, size: u64) -> Result<(), Trouble> {
    let stat = rustix::fs::fstat(fd).map_err(doing("looking at the copy of"))?;
    if u64::try_from(stat.st_size) == Ok(size) { Ok(()) } else { Err(changed()) }
}

fn changed() -> Trouble {
    Trouble::Io("reading", std::io::Error::other("the file changed its size while it was read"))
}

/// Writes all of `bytes`.
pub(in crate::store) fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Trouble> {
    while !bytes.is_empty() {
        let wrote = rustix::io::retry_on_intr(|| rustix::io::write(fd, bytes))
            .map_err(doing("writing a copy of"))?;
        bytes = &bytes[wrote..];
    }
    Ok(())
}
