//! Links that keep paths alive: `result` links and the indirect roots that name them.
//!
//! Every link is made under another name and renamed into place, so a reader sees the old or the
//! new one; nothing that is not a link into the store is ever replaced.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::layout::Layout;
use crate::format::{Algorithm, Hash, StorePath};

/// The link of the `index`-th target's output `output`, as nix-build names them: `result`,
/// `result-dev`, `result-2`, `result-2-dev`.
#[must_use]
pub fn link_name(base: &Path, index: usize, output: &str) -> PathBuf {
    let mut name = OsString::from(base);
    if index > 0 {
        name.push(format!("-{}", index + 1));
    }
    if output != "out" {
        name.push(format!("-{output}"));
    }
    name.into()
}

/// Makes `link` (absolute, without `.` and `..`) point to `target` and a root of the collector.
/// `target` must be protected by a temporary root. Where the store is diverted the link leads to
/// the real place.
///
/// # Errors
/// [`StoreError::LinkInTheWay`] if `link` is there and is no link into the store;
/// [`StoreError::RootInStore`]; [`StoreError::Io`].
pub fn add_root(layout: &Layout, link: &Path, target: &StorePath) -> Result<(), StoreError> {
    if is_in_store(layout, link) {
        return Err(StoreError::RootInStore(link.into()));
    }
    match std::fs::read_link(link) {
        Ok(old) if is_in_store(layout, &old) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        // Something else than a link (EINVAL) or a link elsewhere.
        Ok(_) => return Err(StoreError::LinkInTheWay(link.into())),
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
            return Err(StoreError::LinkInTheWay(link.into()));
        }
        Err(e) => return Err(StoreError::io("looking at", link)(e)),
    }
    replace_link(link, &layout.real(target))?;
    add_indirect_root(layout, link)
}

/// Makes `link` a root for as long as it is there: `gcroots/auto/<base 32 sha1 of its path>` leads
/// to it.
///
/// # Errors
/// [`StoreError::Io`].
pub fn add_indirect_root(layout: &Layout, link: &Path) -> Result<(), StoreError> {
    let name = Hash::of(Algorithm::Sha1, link.as_os_str().as_bytes()).base32();
    let root = layout.auto_roots_dir().join(name);
    if std::fs::read_link(&root).is_ok_and(|old| old == link) {
        return Ok(());
    }
    replace_link(&root, link)
}

/// At or below the store folder, by either of its names.
fn is_in_store(layout: &Layout, path: &Path) -> bool {
    let inside = |dir: &Path| path != dir && path.starts_with(dir);
    inside(Path::new(layout.store_dir.as_str())) || inside(&layout.real_store_dir)
}

/// Makes or replaces a symlink in one step; its folder is created.
fn replace_link(link: &Path, target: &Path) -> Result<(), StoreError> {
    if let Some(folder) = link.parent() {
        std::fs::create_dir_all(folder).map_err(StoreError::io("creating the folder", folder))?;
    }
    let mut number = 0_u32;
    let temp = loop {
        let mut temp = OsString::from(link);
        temp.push(format!(".tmp-{}-{number}", std::process::id()));
        match symlink(target, &temp) {
            Ok(()) => break PathBuf::from(temp),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(e) => return Err(StoreError::io("creating the link", link)(e)),
        }
    };
    std::fs::rename(&temp, link).map_err(|e| {
        // The rename is what failed; a link left under a temporary name harms nobody.
        let _ = std::fs::remove_file(&temp);
        StoreError::io("creating the link", link)(e)
    })
}

#[cfg(test)]
mod tests;
