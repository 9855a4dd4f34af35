//! Which store is worked on, and where its folders lie.
//!
//! Knows the layout that Nix gives the system store (`NIX_STORE_DIR`, `NIX_STATE_DIR`,
//! `NIX_LOG_DIR`) and a store below a folder (`DIR/nix/store`, `DIR/nix/var/nix`,
//! `DIR/nix/var/log/nix`, logical paths as ever). It makes no folder and opens no database: it
//! only asks what may be written.

use std::path::{Component, Path, PathBuf};

use nix::unistd::{AccessFlags, Uid, access};

use crate::format::StoreDir;

use super::config_files::{ConfigError, Value};
use super::environment::Environment;

/// Whether files lie where their store paths say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The real folder is the logical one.
    InPlace,
    /// The real folder is elsewhere: builders need isolation to see it under its logical name.
    Diverted,
}

/// The folders of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreChoice {
    /// The logical store folder, as hashes and references know it.
    pub store_dir: StoreDir,
    /// Where its contents lie on this machine.
    pub real_store: PathBuf,
    /// Database, locks and roots.
    pub state_dir: PathBuf,
    /// Build logs.
    pub log_dir: PathBuf,
    /// Whether the first two are one.
    pub placement: Placement,
}

/// Chooses by the value of the setting `store`.
///
/// # Errors
/// [`ConfigError::Store`] if it is nothing that drover has.
pub fn choose(env: &Environment, value: &Value) -> Result<StoreChoice, ConfigError> {
    let fail = |why: String| {
        let (origin, value) = (value.origin.clone(), value.text.clone());
        ConfigError::Store { origin, value, why }
    };
    let system = || system_store(env).map_err(&fail);
    match value.text.as_str() {
        // Whoever works through a daemon has the system store in mind.
        "" | "auto" | "daemon" => {
            let system = system()?;
            // Who names the folders of the system store, as Nix lets them, does not mean another.
            let named = ["NIX_STORE_DIR", "NIX_STATE_DIR"].iter().any(|n| env.path(n).is_some());
            if named || may_be_written(&system) {
                return Ok(system);
            }
            let home = env.xdg("XDG_DATA_HOME", ".local/share").ok_or_else(|| {
                fail(
                    "the system store cannot be written, and without HOME there is no other \
                      place: set HOME, or NIX_STORE_DIR, NIX_STATE_DIR and NIX_LOG_DIR to folders \
                      of your own"
                        .into(),
                )
            })?;
            Ok(below(&home.join("nix/root"), system.store_dir))
        }
        "local" => system(),
        text if text.contains("://") || text.contains('?') => Err(fail(
            "only `auto`, `local` and the folder of a store are supported: give a folder".into(),
        )),
        text => {
            let root = std::path::absolute(text).map_err(|e| fail(e.to_string()))?;
            Ok(below(&normal(&root), system()?.store_dir))
        }
    }
}

fn system_store(env: &Environment) -> Result<StoreChoice, String> {
    let folder = |name: &str, default: &str| {
        let path = env.path(name).unwrap_or_else(|| default.into());
        if path.is_absolute() {
            Ok(normal(&path))
        } else {
            Err(format!(
                "${name} is `{}`, which is no absolute path: give a full one",
                path.display()
            ))
        }
    };
    let real_store = folder("NIX_STORE_DIR", "/nix/store")?;
    let text = real_store.to_str().ok_or("$NIX_STORE_DIR is not UTF-8")?;
    Ok(StoreChoice {
        store_dir: StoreDir::new(text).map_err(|e| format!("$NIX_STORE_DIR: {e}"))?,
        state_dir: folder("NIX_STATE_DIR", "/nix/var/nix")?,
        log_dir: folder("NIX_LOG_DIR", "/nix/var/log/nix")?,
        real_store,
        placement: Placement::InPlace,
    })
}

fn below(root: &Path, store_dir: StoreDir) -> StoreChoice {
    let real_store = root.join("nix/store");
    let in_place = real_store == Path::new(store_dir.as_str());
    StoreChoice {
        store_dir,
        state_dir: root.join("nix/var/nix"),
        log_dir: root.join("nix/var/log/nix"),
        placement: if in_place { Placement::InPlace } else { Placement::Diverted },
        real_store,
    }
}

/// Root always may: a read-only system store is then an error that names it, never a silent
/// move elsewhere.
fn may_be_written(store: &StoreChoice) -> bool {
    let writable = |path: &Path| {
        let there = path.ancestors().find(|p| p.symlink_metadata().is_ok());
        there.is_some_and(|p| access(p, AccessFlags::W_OK | AccessFlags::X_OK).is_ok())
    };
    Uid::effective().is_root() || (writable(&store.real_store) && writable(&store.state_dir))
}

/// Drops `.`, double and trailing slashes, and resolves `..` by text, as Nix does.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(out.pop()),
            Component::RootDir | Component::Prefix(_) | Component::Normal(_) => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::config_files::Origin;
    use super::*;

    fn choose_by(text: &str, env: &[(&str, &str)]) -> Result<StoreChoice, String> {
        let value = Value { text: text.into(), origin: Origin::Flag("--store".into()) };
        choose(&Environment::of(env.iter().copied()), &value).map_err(|e| e.to_string())
    }

    #[test]
    fn a_folder_holds_a_store_like_nix_lays_it() {
        let got = choose_by("/tmp/x//a/../r/", &[]).unwrap();
        assert_eq!(got.store_dir, StoreDir::default());
        assert_eq!(got.real_store, Path::new("/tmp/x/r/nix/store"));
        assert_eq!(got.state_dir, Path::new("/tmp/x/r/nix/var/nix"));
        assert_eq!(got.log_dir, Path::new("/tmp/x/r/nix/var/log/nix"));
        assert_eq!(got.placement, Placement::Diverted);
        assert_eq!(choose_by("/", &[]).unwrap().placement, Placement::InPlace);
        assert!(choose_by("rel", &[]).unwrap().real_store.ends_with("rel/nix/store"));
    }

    #[test]
    fn the_environment_places_the_system_store() {
        let env = [("NIX_STORE_DIR", "/a/store/"), ("NIX_STATE_DIR", "/a/var")];
        let got = choose_by("local", &env).unwrap();
        assert_eq!(got.store_dir.as_str(), "/a/store");
        assert_eq!(got.real_store, Path::new("/a/store"));
        assert_eq!(got.state_dir, Path::new("/a/var"));
        assert_eq!(got.log_dir, Path::new("/nix/var/log/nix"));
        assert_eq!(got.placement, Placement::InPlace);
        let error = choose_by("local", &[("NIX_STATE_DIR", "a/b")]).unwrap_err();
        assert!(error.contains("$NIX_STATE_DIR is `a/b`"), "{error}");
    }

    #[test]
    fn what_is_not_supported_is_said() {
        for text in ["ssh://h", "https://cache.nixos.org", "local?root=/x", "unix:///s"] {
            let error = choose_by(text, &[]).unwrap_err();
            assert!(error.starts_with(&format!("--store: cannot use the store `{text}`")));
        }
    }

    #[test]
    fn auto_takes_what_may_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let (store, state) = (path("s/store"), path("s/var"));
        let env = [("NIX_STORE_DIR", store.as_str()), ("NIX_STATE_DIR", state.as_str())];
        let got = choose_by("auto", &env).unwrap();
        assert_eq!(got.real_store, Path::new(&store));
        if Uid::effective().is_root() {
            return;
        }
        let env = [("NIX_STORE_DIR", "/proc/no/store"), ("XDG_DATA_HOME", "/data")];
        assert_eq!(choose_by("auto", &env).unwrap().placement, Placement::InPlace);
        let got = choose_by("auto", &env[1..]).unwrap();
        assert_eq!(got.store_dir.as_str(), "/nix/store");
        assert_eq!(got.real_store, Path::new("/data/nix/root/nix/store"));
        assert_eq!(got.placement, Placement::Diverted);
    }
}
