//! Texts in the store: `.drv` files and files of recipes, many at once.
//!
//! Every step is done for all texts of a batch before the next one: roots, locks,
//! a second look, files, one flush, one transaction. A text that is valid already costs its share
//! of one question. The locks of a batch are held to its commit, so a batch is no larger than the
//! process may have files open; thousands of `.drv` files are a batch where the limit is raised.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, UNIX_EPOCH};

use super::Store;
use super::db::Registration;
use super::durable::{Syncer, Tree};
use super::error::StoreError;
use super::temp_dir::put_in_place;
use crate::base::lock::{Deletion, PathLocks};
use crate::format::nar::{Executable, NarError, Writer};
use crate::format::output_path::text_path;
use crate::format::store_path::StorePathError;
use crate::format::{Hash, Origin, StoreDir, StorePath, ValidPathInfo};

/// Files left for everything else when a batch takes its locks.
const SPARE_FILES: u64 = 32;
/// Most texts in a batch: bounds memory and the time others wait for the database.
const MOST_TEXTS: u64 = 16_384;

/// A text to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Name of its path, with `.drv` for a derivation.
    pub name: String,
    /// The text.
    pub contents: Vec<u8>,
    /// Valid paths, or texts of the same call, that it refers to.
    pub references: BTreeSet<StorePath>,
    /// For a derivation: its outputs whose paths are known.
    pub outputs: BTreeMap<String, StorePath>,
}

impl Text {
    /// The path that it has in `dir`.
    ///
    /// # Errors
    /// [`StorePathError::Name`] if its name breaks the rules.
    pub fn path(&self, dir: &StoreDir) -> Result<StorePath, StorePathError> {
        text_path(dir, &self.name, &Hash::sha256(&self.contents), &self.references)
    }
}

impl Store {
    /// Adds one text; see [`Store::add_texts`].
    ///
    /// # Errors
    /// As there.
    pub fn add_text(&self, text: Text) -> Result<StorePath, StoreError> {
        let name = text.name.clone();
        let missing = || StoreError::NotValid(name);
        self.add_texts(&[text])?.pop().ok_or_else(missing)
    }

    /// Adds texts; returns their paths in order. Each has a temporary root when this returns. A
    /// text may refer to texts before it.
    ///
    /// # Errors
    /// [`StoreError`]; batches before the one that failed are registered.
    pub fn add_texts(&self, texts: &[Text]) -> Result<Vec<StorePath>, StoreError> {
        let dir = &self.layout().store_dir;
        let infos: Vec<ValidPathInfo> =
            texts.iter().map(|text| info_of(dir, text)).collect::<Result<_, _>>()?;
        self.add_temp_roots(infos.iter().map(|info| &info.path))?;
        let valid = self.view().valid(infos.iter().map(|info| &info.path))?;
        let mut seen = valid;
        let missing: Vec<(&Text, &ValidPathInfo)> =
            texts.iter().zip(&infos).filter(|(_, info)| seen.insert(info.path.clone())).collect();
        for batch in missing.chunks(texts_a_batch()) {
            self.add_missing_texts(batch)?;
        }
        Ok(infos.into_iter().map(|info| info.path).collect())
    }

    fn add_missing_texts(&self, batch: &[(&Text, &ValidPathInfo)]) -> Result<(), StoreError> {
        let layout = self.layout();
        let syncer = Syncer::new(&layout.real_store_dir, self.options().durability, sync_file)?;
        let lock_files = batch.iter().map(|(_, info)| layout.lock_file(&info.path));
        let locks = PathLocks::acquire(lock_files, &AtomicBool::new(false))?;
        // Somebody may have added them while we waited for the locks.
        let valid = self.view().valid(batch.iter().map(|(_, info)| &info.path))?;
        let temp = self.temp_dir()?;
        let (mut registrations, mut trees) = (Vec::new(), Vec::new());
        for (text, info) in batch.iter().filter(|(_, info)| !valid.contains(&info.path)) {
            let (draft, place) = (temp.path().join(info.path.as_str()), layout.real(&info.path));
            write_text(&draft, &text.contents)?;
            put_in_place(&temp, &draft, &place)?;
            let outputs = text.outputs.clone();
            registrations.push(Registration { info: (*info).clone(), outputs });
            trees.push(Tree { path: place, entries: 1 });
        }
        syncer.sync(&trees)?;
        self.db().register(&registrations)?;
        Ok(locks.release(Deletion::Delete)?)
    }
}

/// How many lock files may be open at once.
fn texts_a_batch() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let free = limit.current.unwrap_or(u64::MAX).saturating_sub(SPARE_FILES) / 2;
    usize::try_from(free.clamp(1, MOST_TEXTS)).unwrap_or(1)
}

fn sync_file(path: &Path) -> std::io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

/// As the store has its files: mode 0444, time 1.
fn write_text(path: &Path, contents: &[u8]) -> Result<(), StoreError> {
    let write = || -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(contents)?;
        file.set_permissions(Permissions::from_mode(0o444))?;
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1))
    };
    write().map_err(StoreError::io("writing", path))
}

fn info_of(dir: &StoreDir, text: &Text) -> Result<ValidPathInfo, StoreError> {
    let hash = Hash::sha256(&text.contents);
    let path = text_path(dir, &text.name, &hash, &text.references)?;
    let archiving = |e| StoreError::io("archiving", Path::new(path.as_str()))(io::Error::other(e));
    let nar = nar_of_file(&text.contents).map_err(archiving)?;
    Ok(ValidPathInfo {
        path,
        nar_hash: Hash::sha256(&nar),
        nar_size: nar.len() as u64,
        references: text.references.clone(),
        deriver: None,
        registration_time: 0,
        origin: Origin::Elsewhere,
        signatures: BTreeSet::new(),
        ca: Some(format!("text:{}", hash.typed_base32())),
    })
}

/// The NAR of a regular file without the execute bit.
pub(super) fn nar_of_file(contents: &[u8]) -> Result<Vec<u8>, NarError> {
    let mut nar = Writer::new(Vec::with_capacity(contents.len() + 128))?;
    nar.regular(Executable::No, contents.len() as u64, &mut &contents[..])?;
    nar.finish()
}

#[cfg(test)]
mod tests;
