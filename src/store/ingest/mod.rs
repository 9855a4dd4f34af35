//! Takes a built output into the store in one walk: canonicalise, scan for references, hash.
//!
//! Each file is opened once and read once, canonicalised before it is read, and the
//! NAR of the tree, which is never kept, goes through the scan and the hashes in one stream.
//! [`ingest`] leaves the files where they are; [`ingest_rewriting`] and [`ingest_copying`] write
//! them a second time, for outputs of scratch paths and for fixed outputs. It does not know
//! derivations or what references are allowed, does not register and does not make durable:
//! [`sync_tree`] is for whoever registers.

mod copy;
mod difference;
mod stream;
mod sync;
pub(super) mod walk;

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

pub(super) use copy::write_all;
pub use copy::{add_copy, ingest_copying, ingest_rewriting, move_into_place};
pub use difference::first_difference;
pub use sync::sync_tree;

use super::canonicalise::{Canonicaliser, InodesSeen, Rules, Trouble};
use crate::format::derivation::Method;
use crate::format::nar::{Executable, NarError, Writer};
use crate::format::refs::Scanner;
use crate::format::{Algorithm, Hash, StorePath};
use stream::{Digests, Stream};
use walk::{File, Sink, walk};

/// What to take in.
#[derive(Debug, Clone, Copy)]
pub struct IngestRequest<'r> {
    /// Where the output really lies.
    pub path: &'r Path,
    /// Paths that it may refer to.
    pub candidates: &'r BTreeSet<StorePath>,
    /// The hash of a fixed output, if it is one.
    pub fixed: Option<(Method, Algorithm)>,
    /// What is right for its files.
    pub rules: Rules<'r>,
}

/// What stands at the top of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// A regular file.
    Regular(Executable),
    /// A folder.
    Directory,
    /// A symlink.
    Symlink,
}

/// An output that was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// sha256 of its NAR.
    pub nar_hash: Hash,
    /// Bytes of its NAR.
    pub nar_size: u64,
    /// The candidates that it refers to.
    pub references: BTreeSet<StorePath>,
    /// The hash that was asked for; `None` also where a flat hash was asked of what is not a
    /// regular file.
    pub fixed_hash: Option<Hash>,
    /// What it is, for the rule on flat outputs.
    pub root: Root,
    /// Files, folders and symlinks in it, itself included.
    pub entries: u64,
    /// Bytes of all its files.
    pub bytes: u64,
}

/// Why a tree could not be taken in. Each names the file by its real path.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A call failed; the source keeps the system's error number.
    #[error("{doing} `{}`", path.display())]
    Io {
        /// What we were doing with it.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Neither file nor folder nor symlink, but this.
    #[error("file `{}` has an unsupported type: it is {}", .0.display(), .1)]
    UnsupportedType(PathBuf, &'static str),
    /// Another owner than the build's user: this one.
    #[error("invalid ownership on file `{}`: it belongs to user {}", .0.display(), .1)]
    InvalidOwnership(PathBuf, u32),
    /// The output may be written by others than its owner, or is not the build user's: what was
    /// found.
    #[error("suspicious ownership or permission on `{}`: it is {}", .0.display(), .1)]
    Suspicious(PathBuf, String),
    /// The tree has no NAR: too deep, or names that clash after rewriting.
    #[error("`{}` cannot be archived", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// The rule that it breaks.
        source: NarError,
    },
    /// Hashes of this method are not known here.
    #[error("content addresses of method `git` are not supported yet")]
    GitHash,
}

impl IngestError {
    pub(super) fn new(trouble: Trouble, path: &Path) -> Self {
        let path = path.to_path_buf();
        match trouble {
            Trouble::Io(doing, source) => Self::Io { doing, path, source },
            Trouble::Ownership(owner) => Self::InvalidOwnership(path, owner),
            Trouble::Suspicious(found) => Self::Suspicious(path, found),
            Trouble::Type(kind) => Self::UnsupportedType(path, kind),
            Trouble::Nar(source) => Self::Archive { path, source },
        }
    }

    /// The file that made the trouble.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. } | Self::Archive { path, .. } => Some(path),
            Self::UnsupportedType(path, _)
            | Self::InvalidOwnership(path, _)
            | Self::Suspicious(path, _) => Some(path),
            Self::GitHash => None,
        }
    }

    /// The system's error, if a call failed: callers class no space apart from the rest.
    #[must_use]
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Canonicalises, scans and hashes the output where it lies. `seen` is one for all outputs of a
/// build.
///
/// # Errors
/// [`IngestError`]; the tree may then be canonical in part.
pub fn ingest(request: &IngestRequest<'_>, seen: &mut InodesSeen) -> Result<Ingested, IngestError> {
    let mut sink = Sums::new(request)?;
    walk(request.path, Some(Canonicaliser::new(request.rules, seen)), &mut sink)?;
    sink.finish(request.path)
}

/// Makes a tree canonical without reading its files.
///
/// # Errors
/// As [`ingest`].
pub fn canonicalise_tree(
    path: &Path,
    rules: Rules<'_>,
    seen: &mut InodesSeen,
) -> Result<(), IngestError> {
    struct Ignore;
    impl Sink for Ignore {
        fn directory(&mut self, _: Option<&[u8]>, _: BorrowedFd<'_>) -> Result<(), Trouble> {
            Ok(())
        }
        fn end_directory(&mut self) -> Result<(), Trouble> {
            Ok(())
        }
        fn symlink(&mut self, _: Option<&[u8]>, _: &[u8]) -> Result<(), Trouble> {
            Ok(())
        }
        fn regular(&mut self, _: Option<&[u8]>, _: File<'_>) -> Result<(), Trouble> {
            Ok(())
        }
    }
    walk(path, Some(Canonicaliser::new(rules, seen)), &mut Ignore)
}

/// The sink that ingests: what it is given becomes a NAR that goes through scan and hashes.
struct Sums {
    nar: Writer<Stream>,
    fixed: Fixed,
    root: Option<Root>,
    entries: u64,
    bytes: u64,
}

/// Where the hash of a fixed output comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fixed {
    None,
    /// The sha256 of the NAR, which is made anyway.
    Nar,
    /// A hash of the whole NAR beside it.
    Second,
    /// A hash of the contents of the root file.
    Contents,
}

impl Sums {
    fn new(request: &IngestRequest<'_>) -> Result<Self, IngestError> {
        let (fixed, second) = match request.fixed {
            None => (Fixed::None, None),
            Some((Method::Recursive, Algorithm::Sha256)) => (Fixed::Nar, None),
            Some((Method::Recursive, algorithm)) => (Fixed::Second, Some((algorithm, 0..u64::MAX))),
            // Nothing of the stream until the root turns out to be a file.
            Some((Method::Flat | Method::Text, algorithm)) => {
                (Fixed::Contents, Some((algorithm, 0..0)))
            }
            Some((Method::Git, _)) => return Err(IngestError::GitHash),
        };
        let stream = Stream::new(Scanner::new(request.candidates), Digests::new(second));
        let nar =
            Writer::new(stream).map_err(|e| IngestError::new(Trouble::from(e), request.path))?;
        Ok(Self { nar, fixed, root: None, entries: 0, bytes: 0 })
    }

    /// Notes a node and its name; the first node is the root.
    fn node(&mut self, name: Option<&[u8]>, kind: Root) -> Result<(), Trouble> {
        self.entries += 1;
        self.root.get_or_insert(kind);
        match name {
            Some(name) => Ok(self.nar.entry(name)?),
            None => Ok(()),
        }
    }

    /// Starts a regular file whose contents are then written to [`Sums::stream`].
    fn begin(
        &mut self,
        name: Option<&[u8]>,
        executable: Executable,
        size: u64,
    ) -> Result<(), Trouble> {
        self.node(name, Root::Regular(executable))?;
        self.bytes += size;
        self.nar.begin_regular(executable, size)?;
        if name.is_none() && self.fixed == Fixed::Contents {
            let start = self.stream().position();
            self.stream().set_second_range(start..start.saturating_add(size));
        }
        Ok(())
    }

    fn end(&mut self, size: u64) -> Result<(), Trouble> {
        self.nar.wrote(size)?;
        Ok(self.nar.end_regular()?)
    }

    fn stream(&mut self) -> &mut Stream {
        self.nar.get_mut()
    }

    fn finish(self, path: &Path) -> Result<Ingested, IngestError> {
        let failed = |trouble| IngestError::new(trouble, path);
        let stream = self.nar.finish().map_err(|e| failed(e.into()))?;
        let sums = stream.finish().map_err(|e| failed(Trouble::Io("hashing", e)))?;
        let root = self.root.unwrap_or(Root::Directory);
        let fixed_hash = match (self.fixed, root) {
            (Fixed::None, _) => None,
            (Fixed::Nar, _) => Some(sums.nar_hash),
            (Fixed::Contents, Root::Directory | Root::Symlink) => None,
            (Fixed::Second | Fixed::Contents, _) => sums.second,
        };
        Ok(Ingested {
            nar_hash: sums.nar_hash,
            nar_size: sums.size,
            references: sums.references,
            fixed_hash,
            root,
            entries: self.entries,
            bytes: self.bytes,
        })
    }
}

impl Sink for Sums {
    fn directory(&mut self, name: Option<&[u8]>, _: BorrowedFd<'_>) -> Result<(), Trouble> {
        self.node(name, Root::Directory)?;
        Ok(self.nar.directory()?)
    }

    fn end_directory(&mut self) -> Result<(), Trouble> {
        Ok(self.nar.end_directory()?)
    }

    fn symlink(&mut self, name: Option<&[u8]>, target: &[u8]) -> Result<(), Trouble> {
        self.node(name, Root::Symlink)?;
        Ok(self.nar.symlink(target)?)
    }

    fn regular(&mut self, name: Option<&[u8]>, file: File<'_>) -> Result<(), Trouble> {
        self.begin(name, file.executable, file.size)?;
        self.stream().read_from(file.fd, file.size).map_err(|e| Trouble::Io("reading", e))?;
        self.end(file.size)
    }
}

impl Sums {
    /// Contents that were already read.
    fn contents(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.stream().write_all(bytes).map_err(|e| Trouble::Io("hashing", e))
    }
}

#[cfg(test)]
mod tests;
