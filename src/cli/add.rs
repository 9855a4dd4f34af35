//! `drover add`: copies files and folders into the store and prints their paths.
//!
//! The name is the file's own: `.` and `..` are resolved by text, symlinks are copied as symlinks,
//! as `nix-store --add` does.

use std::path::{Component, Path, PathBuf};

use crate::base::Cancel;
use crate::format::StorePath;
use crate::format::store_path::check_name;
use crate::store::{Access, Store};

use super::args::AddArgs;
use super::config::Config;
use super::interrupt::guarded;
use super::store::open_store;
use super::{CliError, output};

/// Adds each path in turn; what was added before an error stays.
///
/// # Errors
/// [`CliError`] naming the path that cannot be read, its bad name, or the store's trouble.
pub fn run(config: &Config, args: &AddArgs) -> Result<(), CliError> {
    if args.name.is_some() && args.paths.len() > 1 {
        let text = "`--name` names one path only: call `drover add` once for each path";
        return Err(CliError::Input(text.to_owned()));
    }
    let store = open_store(config, Access::Create)?;
    guarded(|cancel| {
        for path in &args.paths {
            let added = add(&store, path, args.name.as_deref(), cancel)?;
            output::line(&store.layout().store_dir.print(&added))?;
        }
        Ok(())
    })
}

fn add(
    store: &Store,
    path: &Path,
    name: Option<&str>,
    cancel: &Cancel,
) -> Result<StorePath, CliError> {
    let shown = path.display();
    let own = own_name(path)?;
    let name = match name {
        Some(name) => name,
        None => own.file_name().and_then(|n| n.to_str()).ok_or_else(|| {
            CliError::Input(format!("`{shown}` has no name for the store: give one with `--name`"))
        })?,
    };
    check_name(name.as_bytes()).map_err(|e| {
        CliError::Input(format!("cannot add `{shown}`: {e}; give another name with `--name`"))
    })?;
    Ok(store.add_source(&own, name, cancel)?)
}

/// The absolute path without `.`, `..` and a slash at the end.
fn own_name(path: &Path) -> Result<PathBuf, CliError> {
    let absolute = std::path::absolute(path)
        .map_err(|e| CliError::Input(format!("cannot add `{}`: {e}", path.display())))?;
    let mut normal = PathBuf::from("/");
    for part in absolute.components() {
        match part {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(normal)
}
