//! Where everything of a store lies: contents, database, roots, locks, logs.
//!
//! Paths only: nothing here looks at the disk. The *logical* store folder is part of every hash
//! and reference; the *real* one is where the files are, and differs where a store is diverted.

use std::path::{Path, PathBuf};

use crate::format::{StoreDir, StorePath};

/// The folders of one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The store folder as paths and builders name it.
    pub store_dir: StoreDir,
    /// The store folder on this machine.
    pub real_store_dir: PathBuf,
    /// `/nix/var/nix` unless set otherwise.
    pub state_dir: PathBuf,
    /// `/nix/var/log/nix` unless set otherwise.
    pub log_dir: PathBuf,
}

impl Layout {
    /// A store that lies where its paths say.
    #[must_use]
    pub fn new(store_dir: StoreDir, state_dir: PathBuf, log_dir: PathBuf) -> Self {
        let real_store_dir = PathBuf::from(store_dir.as_str());
        Self { store_dir, real_store_dir, state_dir, log_dir }
    }

    /// Whether the files lie elsewhere than their paths say.
    #[must_use]
    pub fn is_diverted(&self) -> bool {
        self.real_store_dir != Path::new(self.store_dir.as_str())
    }

    /// Where `path` lies on this machine.
    #[must_use]
    pub fn real(&self, path: &StorePath) -> PathBuf {
        self.real_store_dir.join(path.as_str())
    }

    /// The lock file of `path`.
    #[must_use]
    pub fn lock_file(&self, path: &StorePath) -> PathBuf {
        self.real_store_dir.join(format!("{path}.lock"))
    }

    /// The folder of the database.
    #[must_use]
    pub fn db_dir(&self) -> PathBuf {
        self.state_dir.join("db")
    }

    /// The database.
    #[must_use]
    pub fn db_file(&self) -> PathBuf {
        self.db_dir().join("db.sqlite")
    }

    /// The text file that holds the number of the schema.
    #[must_use]
    pub fn schema_file(&self) -> PathBuf {
        self.db_dir().join("schema")
    }

    /// The lock that every process holds shared while it uses the store.
    #[must_use]
    pub fn big_lock(&self) -> PathBuf {
        self.db_dir().join("big-lock")
    }

    /// Space kept in reserve for the collector on a full disk.
    #[must_use]
    pub fn reserved_file(&self) -> PathBuf {
        self.db_dir().join("reserved")
    }

    /// The folder with a file of temporary roots per process.
    #[must_use]
    pub fn temp_roots_dir(&self) -> PathBuf {
        self.state_dir.join("temproots")
    }

    /// The roots of the collector.
    #[must_use]
    pub fn gc_roots_dir(&self) -> PathBuf {
        self.state_dir.join("gcroots")
    }

    /// Links to links that are roots.
    #[must_use]
    pub fn auto_roots_dir(&self) -> PathBuf {
        self.gc_roots_dir().join("auto")
    }

    /// The lock that the collector holds exclusively while it runs.
    #[must_use]
    pub fn gc_lock(&self) -> PathBuf {
        self.state_dir.join("gc.lock")
    }

    /// Where a running collector takes new roots.
    #[must_use]
    pub fn gc_socket(&self) -> PathBuf {
        self.state_dir.join("gc-socket/socket")
    }

    /// Profiles, roots all of them.
    #[must_use]
    pub fn profiles_dir(&self) -> PathBuf {
        self.state_dir.join("profiles")
    }

    /// Lock files of the build users.
    #[must_use]
    pub fn user_pool_dir(&self) -> PathBuf {
        self.state_dir.join("userpool")
    }

    /// The log of a derivation while it builds, uncompressed: `drvs/xx/rest`.
    #[must_use]
    pub fn log_file(&self, drv: &StorePath) -> PathBuf {
        let (folder, rest) = drv.as_str().split_at(2);
        self.log_dir.join("drvs").join(folder).join(rest)
    }

    /// The finished, compressed log.
    #[must_use]
    pub fn compressed_log_file(&self, drv: &StorePath) -> PathBuf {
        let mut path = self.log_file(drv).into_os_string();
        path.push(".bz2");
        path.into()
    }

    /// Where old tools wrote logs: `drvs/<base name>`, plain; `.bz2` beside it.
    #[must_use]
    pub fn flat_log_file(&self, drv: &StorePath) -> PathBuf {
        self.log_dir.join("drvs").join(drv.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_a_path() {
        let layout = Layout::new(StoreDir::default(), "/nix/var/nix".into(), "/l".into());
        let path = StorePath::from_base_name(b"7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-a.drv").unwrap();
        let shown = |p: PathBuf| p.display().to_string();
        let base = "7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-a.drv";
        assert_eq!(shown(layout.real(&path)), format!("/nix/store/{base}"));
        assert_eq!(shown(layout.lock_file(&path)), format!("/nix/store/{base}.lock"));
        assert_eq!(shown(layout.log_file(&path)), format!("/l/drvs/7h/{}", &base[2..]));
        let compressed = format!("/l/drvs/7h/{}.bz2", &base[2..]);
        assert_eq!(shown(layout.compressed_log_file(&path)), compressed);
        assert!(!layout.is_diverted());
    }
}
