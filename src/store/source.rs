//! Copies files and folders of anybody into the store, addressed by their contents.
//!
//! The source is read, never changed, and may change while it is read: the copy is hashed as it
//! is written, and what is registered is what was copied. It does not know recipes or commands.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;

use super::Store;
use super::add::LaidOut;
use super::db::Registration;
use super::error::StoreError;
use super::ingest::sync_tree;
use super::restore::{Modes, RestoreError, dump, restore};
use crate::format::hash::Hasher;
use crate::format::output_path::{Modulo, SelfReference, source_path};
use crate::format::{Algorithm, ContentAddress, Hash, Method, Origin, StorePath, ValidPathInfo};

/// The hash and length of a NAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NarSum {
    /// sha256, or whatever was asked for.
    pub hash: Hash,
    /// Bytes.
    pub size: u64,
}

/// Hashes the NAR of the tree at `path`, which is not changed.
///
/// # Errors
/// [`StoreError::Io`] if a file cannot be read or has no place in a NAR.
pub fn nar_sum(path: &Path, algorithm: Algorithm) -> Result<NarSum, StoreError> {
    let mut sum = Summing { hasher: Hasher::new(algorithm), size: 0, inner: io::sink() };
    dump(path, &mut sum).map_err(|e| failed("reading", path, io::Error::other(e)))?;
    Ok(sum.end())
}

impl Store {
    /// Copies the tree at `source` to the path of its contents and `name`; durable as the store
    /// is. A tree that is there already costs reading it.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read, the name is wrong, or the store cannot be written.
    pub fn add_source(&self, source: &Path, name: &str) -> Result<StorePath, StoreError> {
        let added = self.add_sources(&[(source, name)]).map_err(|(_, error)| error)?;
        added.into_iter().next().ok_or_else(|| StoreError::NotValid(name.to_owned()))
    }

    /// As [`Store::add_source`] for several at once: what is there already is asked together. Paths
    /// are in the order of `sources`.
    ///
    /// # Errors
    /// As there, with the place of the source that is wrong; some may have been added before it.
    pub fn add_sources(
        &self,
        sources: &[(&Path, &str)],
    ) -> Result<Vec<StorePath>, (usize, StoreError)> {
        let mut paths = Vec::with_capacity(sources.len());
        for (place, (source, name)) in sources.iter().enumerate() {
            paths.push(self.measured(source, name).map_err(|error| (place, error))?);
        }
        let of_none = |error| (0, error);
        self.add_temp_roots(&paths).map_err(of_none)?;
        let valid = self.view().valid(&paths).map_err(of_none)?;
        for (place, (source, name)) in sources.iter().enumerate() {
            if !valid.contains(&paths[place]) {
                paths[place] = self.copy_source(source, name).map_err(|error| (place, error))?;
            }
        }
        Ok(paths)
    }

    /// Where a source would go.
    fn measured(&self, source: &Path, name: &str) -> Result<StorePath, StoreError> {
        crate::format::store_path::check_name(name.as_bytes())?;
        self.path_of_source(name, &nar_sum(source, Algorithm::Sha256)?.hash)
    }

    fn copy_source(&self, source: &Path, name: &str) -> Result<StorePath, StoreError> {
        let syncer = self.syncer(flush)?;
        let temp = self.temp_dir()?;
        let copy = temp.path().join("copy");
        // The source may have changed meanwhile: what counts from here on is the copy.
        let sum = copy_tree(source, &copy)?;
        let path = self.path_of_source(name, &sum.hash)?;
        let ca = ContentAddress { method: Method::Recursive, hash: sum.hash };
        let info = ValidPathInfo {
            path: path.clone(),
            nar_hash: sum.hash,
            nar_size: sum.size,
            references: BTreeSet::new(),
            deriver: None,
            registration_time: 0,
            origin: Origin::Elsewhere,
            signatures: BTreeSet::new(),
            ca: Some(ca.to_string()),
        };
        let entries = count(&copy).map_err(|e| failed("looking at", &copy, e))?;
        let outputs = match path.is_derivation() {
            true => {
                let mut memo = Modulo::new(self.layout().store_dir.clone());
                self.stated_outputs(&path, &copy, &mut memo)?
            }
            false => BTreeMap::new(),
        };
        let registration = Registration { info, outputs };
        self.add_tree(LaidOut { temp: &temp, at: &copy, entries, registration }, &syncer)?;
        Ok(path)
    }

    fn path_of_source(&self, name: &str, hash: &Hash) -> Result<StorePath, StoreError> {
        let dir = &self.layout().store_dir;
        Ok(source_path(dir, name, hash, &BTreeSet::new(), SelfReference::No)?)
    }
}

/// Flushes every file of a tree, for a [`super::durable::Syncer`].
///
/// # Errors
/// If a file cannot be opened or flushed.
pub fn flush(path: &Path) -> io::Result<()> {
    sync_tree(path).map(drop).map_err(|e| match e.io().map(io::Error::kind) {
        Some(kind) => io::Error::new(kind, e),
        None => io::Error::other(e),
    })
}

/// Reads on one thread and writes on another; the pipe between them bounds the memory.
fn copy_tree(source: &Path, copy: &Path) -> Result<NarSum, StoreError> {
    let broken = |e| failed("copying", source, e);
    let (reader, writer) = io::pipe().map_err(broken)?;
    let (dumped, restored) = std::thread::scope(|scope| {
        let dumping = scope.spawn(move || {
            let hasher = Hasher::new(Algorithm::Sha256);
            let mut sum = Summing { hasher, size: 0, inner: writer };
            dump(source, &mut sum).map(|()| sum.end())
        });
        let restored = restore(reader, copy, Modes::Store);
        (dumping.join(), restored)
    });
    let dumped = dumped.map_err(|_| broken(io::Error::other("the reading thread panicked")))?;
    match (dumped, restored) {
        (Ok(sum), Ok(())) => Ok(sum),
        // A failed write ends the reading with a broken pipe, and a failed read ends the archive
        // early: the other one is the cause.
        (_, Err(RestoreError::Io { doing, path, source })) => {
            Err(StoreError::Io { doing, path, source })
        }
        (Err(e), _) => Err(broken(io::Error::other(e))),
        (Ok(_), Err(e)) => Err(broken(io::Error::other(e))),
    }
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { doing, path: path.to_path_buf(), source }
}

/// Files, folders and links in the tree, itself included.
fn count(root: &Path) -> io::Result<u64> {
    let mut entries = 1;
    let mut folders = Vec::new();
    if root.symlink_metadata()?.is_dir() {
        folders.push(root.to_path_buf());
    }
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            entries += 1;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(entries)
}

struct Summing<W> {
    hasher: Hasher,
    size: u64,
    inner: W,
}

impl<W> Summing<W> {
    fn end(self) -> NarSum {
        NarSum { hash: self.hasher.finish(), size: self.size }
    }
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let len = self.inner.write(data)?;
        self.hasher.update(&data[..len]);
        self.size += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
