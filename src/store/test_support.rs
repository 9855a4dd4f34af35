//! Scratch stores for tests, and real Nix on them.
//!
//! Every store has folders of its own that go when the value does, so tests run side by side and
//! the machine's own store is never touched.
#![expect(clippy::disallowed_methods, reason = "tests run real Nix to compare with")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use super::{Layout, OpenOptions, Store};
use crate::format::{Hash, StoreDir, StorePath, ValidPathInfo};

/// A store in a folder of its own; the folder goes when the value does.
pub(crate) struct Scratch {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) layout: Layout,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let store_dir = StoreDir::new(root.join("store").to_str().unwrap()).unwrap();
        let layout = Layout::new(store_dir, root.join("state"), root.join("log"));
        Self { dir, layout }
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(self.layout.clone(), OpenOptions::default()).unwrap()
    }

    /// A command of real Nix on this store.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("NIX_STORE_DIR", self.layout.store_dir.as_str())
            .env("NIX_STATE_DIR", &self.layout.state_dir)
            .env("NIX_LOG_DIR", &self.layout.log_dir)
            .env("NIX_CONF_DIR", self.dir.path().join("conf"))
            .env("NIX_REMOTE", "")
            .env("HOME", self.dir.path())
            .env("NIX_CONFIG", "build-users-group =\nsandbox = false\nsubstituters =\n");
        command
    }

    pub(crate) fn nix(&self, program: &str, args: &[&str]) -> String {
        said(self.command(program).args(args).output().unwrap())
    }

    /// Runs the collector of Nix 2.8. It reads the open files of all processes and gives up on
    /// one whose name is too long, such as a file of another test: then it is run again.
    pub(crate) fn collect_garbage(&self, args: &[&str]) -> String {
        for _ in 0..500 {
            let output = self.command("nix-store").arg("--gc").args(args).output().unwrap();
            if !String::from_utf8_lossy(&output.stderr).contains("File name too long") {
                return said(output);
            }
        }
        panic!("the collector never got through");
    }

    /// A file with `text` in the store, and what is to be registered of it.
    pub(crate) fn file(&self, digit: char, name: &str, text: &[u8]) -> ValidPathInfo {
        let path = path(digit, name);
        std::fs::write(self.layout.real(&path), text).unwrap();
        freeze(&self.layout.real(&path));
        let nar = crate::store::texts::nar_of_file(text).unwrap();
        ValidPathInfo {
            path,
            nar_hash: Hash::sha256(&nar),
            nar_size: nar.len() as u64,
            references: BTreeSet::new(),
            deriver: None,
            registration_time: 0,
            origin: crate::format::Origin::BuiltHere,
            signatures: BTreeSet::new(),
            ca: None,
        }
    }
}

/// Mode and time as the store has them.
fn freeze(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o444)).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
    std::fs::File::open(file).unwrap().set_modified(time).unwrap();
}

/// What a command said; it must have succeeded.
pub(crate) fn said(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A store path whose hash part is one digit many times.
pub(crate) fn path(digit: char, name: &str) -> StorePath {
    let hash: String = std::iter::repeat_n(digit, 32).collect();
    StorePath::from_base_name(format!("{hash}-{name}").as_bytes()).unwrap()
}
