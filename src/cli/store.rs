//! From the configuration to an open store, and from an argument to a store path.
//!
//! An argument may be a full store path, a file inside one, a symlink or folder of symlinks that
//! leads into the store (`./result/bin`), or the place where a diverted store keeps a path. What
//! names a path of the store is never looked up on disk: it may be missing there.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::format::StorePath;
use crate::store::{Access, Durability, Journal, Layout, Listener, OpenOptions};
use crate::store::{Store, StoreError, Symlinks};

use super::config::Config;
use super::{CliError, guess};

/// Links followed before a path counts as a circle; what the kernel allows.
const MOST_LINKS: usize = 40;

/// Opens the store that the configuration chose.
///
/// # Errors
/// [`CliError::Store`] if it is missing, forbidden or of another schema.
pub fn open_store(config: &Config, access: Access) -> Result<Arc<Store>, CliError> {
    let (choice, storing) = (&config.store, &config.storing);
    let layout = Layout {
        store_dir: choice.store_dir.clone(),
        real_store_dir: choice.real_store.clone(),
        state_dir: choice.state_dir.clone(),
        log_dir: choice.log_dir.clone(),
    };
    let durable = storing.fsync_store_paths && storing.fsync_metadata;
    let options = OpenOptions {
        access,
        durability: if durable { Durability::Durable } else { Durability::Relaxed },
        journal: if storing.use_sqlite_wal { Journal::Wal } else { Journal::Truncate },
        symlinks: if storing.allow_symlinked_store { Symlinks::Allow } else { Symlinks::Refuse },
        listener: listener(config),
    };
    Ok(Arc::new(Store::open(layout, options)?))
}

/// As Nix, every statement is shown on standard error if `NIX_DEBUG_SQLITE_TRACES` is 1.
fn listener(config: &Config) -> Option<Listener> {
    let wanted = config.environment.get("NIX_DEBUG_SQLITE_TRACES").is_some_and(|v| v == "1");
    wanted.then_some(|statement| super::complain(&format!("SQL<[{statement}]>")))
}

/// Opens the store for questions: a store that cannot be written is read as it lies, and that is
/// said, since what somebody writes meanwhile is then not seen.
///
/// # Errors
/// As [`open_store`].
pub fn open_to_ask(config: &Config) -> Result<Arc<Store>, CliError> {
    match open_store(config, Access::Create) {
        Err(CliError::Store(StoreError::NoPermission { path, .. })) => {
            let store = open_store(config, Access::ReadOnly)?;
            super::complain(&format!(
                "warning: no permission to write `{}`: the store is read as it lies, without what \
                 is being written to it now",
                path.display()
            ));
            Ok(store)
        }
        other => other,
    }
}

/// The store path that `argument` names or leads to.
///
/// # Errors
/// [`CliError::Input`] if it does not lead into the store, or to no store path there.
pub fn resolve(layout: &Layout, argument: &OsStr) -> Result<StorePath, CliError> {
    resolve_inside(layout, argument).map(|(path, _)| path)
}

/// As [`resolve`] for each argument.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_all(layout: &Layout, arguments: &[OsString]) -> Result<Vec<StorePath>, CliError> {
    arguments.iter().map(|argument| resolve(layout, argument)).collect()
}

/// As [`resolve`]; the second value is what follows the store path, relative to it.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_inside(layout: &Layout, argument: &OsStr) -> Result<(StorePath, PathBuf), CliError> {
    let wrong = |why: String| {
        CliError::Input(format!("cannot use `{}`: {why}", Path::new(argument).display()))
    };
    if argument.is_empty() {
        return Err(wrong("it is empty; give a path of the store".to_owned()));
    }
    let absolute = std::path::absolute(argument).map_err(|e| wrong(e.to_string()))?;
    let mut left: VecDeque<OsString> = parts(&absolute);
    let mut done = PathBuf::from("/");
    let mut links = 0;
    loop {
        let whole: PathBuf =
            std::iter::once(done.as_os_str()).chain(left.iter().map(OsString::as_os_str)).collect();
        if let Some(rest) = in_store(layout, &whole) {
            return split(layout, rest).map_err(wrong);
        }
        let Some(target) = follow(&mut done, &mut left) else {
            return Err(wrong(guess::why(Path::new(argument), &layout.store_dir)));
        };
        links += 1;
        if links > MOST_LINKS {
            return Err(wrong("too many symlinks".to_owned()));
        }
        let mut ahead = parts(&target);
        ahead.append(&mut left);
        left = ahead;
    }
}

/// Walks to the next symlink; returns where it leads, absolute, with `done` at the root again.
fn follow(done: &mut PathBuf, left: &mut VecDeque<OsString>) -> Option<PathBuf> {
    while let Some(part) = left.pop_front() {
        let next = done.join(part);
        if let Ok(target) = std::fs::read_link(&next) {
            let target = done.join(target);
            *done = PathBuf::from("/");
            return Some(target);
        }
        *done = next;
    }
    None
}

/// Names of an absolute path; `.` and `..` are resolved by text, as Nix does.
fn parts(path: &Path) -> VecDeque<OsString> {
    let mut parts = VecDeque::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push_back(name.to_owned()),
            Component::ParentDir => drop(parts.pop_back()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    parts
}

/// What follows the store folder, logical or real, if `path` lies below it.
fn in_store<'p>(layout: &Layout, path: &'p Path) -> Option<&'p Path> {
    let logical = path.strip_prefix(layout.store_dir.as_str());
    let rest = logical.or_else(|_| path.strip_prefix(&layout.real_store_dir)).ok()?;
    (!rest.as_os_str().is_empty()).then_some(rest)
}

fn split(layout: &Layout, rest: &Path) -> Result<(StorePath, PathBuf), String> {
    let mut text = layout.store_dir.as_str().as_bytes().to_vec();
    text.push(b'/');
    text.extend_from_slice(rest.as_os_str().as_bytes());
    let (path, _) = layout.store_dir.parse_inside(&text).map_err(|e| e.to_string())?;
    Ok((path, rest.components().skip(1).collect()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::format::StoreDir;

    const BASE: &str = "7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-hello";

    #[test]
    fn arguments_lead_into_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let real = root.join("real/nix/store");
        std::fs::create_dir_all(&real).unwrap();
        let layout = Layout {
            store_dir: StoreDir::default(),
            real_store_dir: real.clone(),
            state_dir: root.join("var"),
            log_dir: root.join("log"),
        };
        symlink(format!("/nix/store/{BASE}"), root.join("result")).unwrap();
        symlink("result", root.join("again")).unwrap();
        symlink(root, root.join("folder")).unwrap();
        symlink("circle", root.join("circle")).unwrap();
        let cases = [
            (format!("/nix/store/{BASE}"), ""),
            (format!("/nix/store/{BASE}/"), ""),
            (format!("/nix/store/../store/{BASE}/bin/x"), "bin/x"),
            (format!("{}/again", root.display()), ""),
            (format!("{}/folder/folder/again/bin", root.display()), "bin"),
            (format!("{}/{BASE}/lib", real.display()), "lib"),
        ];
        for (argument, rest) in cases {
            let got = resolve_inside(&layout, OsStr::new(&argument)).unwrap();
            assert_eq!((got.0.as_str(), got.1.as_path()), (BASE, Path::new(rest)), "{argument}");
        }
        let circle = format!("{}/circle", root.display());
        for bad in ["", "/nix/store", "/nix/store/x", "/etc/passwd", "/no/such", &circle] {
            let error = resolve(&layout, OsStr::new(bad)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot use `{bad}`: ")), "{error}");
        }
    }
}
