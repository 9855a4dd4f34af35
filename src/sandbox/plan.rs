//! What is to be run: every decision made, nothing left to look up. Plain data; knows neither
//! derivations nor the machine it will run on.
//!
//! Whoever makes a plan may allocate, fail and read files; whoever carries it out in a fresh child
//! may not. So all that could go wrong with a plan must go wrong before it is one.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bstr::BString;

/// One process, fully decided. stdin is `/dev/null`, stdout and stderr are the
/// log, every other descriptor is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpawnPlan {
    /// The file to execute, as the builder sees it; used as it is, no search along a path.
    pub program: PathBuf,
    /// All arguments, the zeroth included.
    pub argv: Vec<BString>,
    /// The complete environment.
    pub env: BTreeMap<BString, BString>,
    /// Working folder, as the builder sees it.
    pub cwd: PathBuf,
    /// File mode creation mask.
    pub umask: u32,
    /// Limit of open files (soft, hard); `None` leaves what the keeper has.
    pub open_files: Option<(u64, u64)>,
    /// What machine the process believes to be on.
    pub personality: Personality,
    /// Locks that last until the process and all its descendants are dead, even if this program is
    /// killed before.
    pub locks: Locks,
}

/// Open files with locks on them, shared by all clones. The process itself does not get them.
#[derive(Debug, Clone, Default)]
pub struct Locks(Vec<Arc<OwnedFd>>);

impl Locks {
    /// Adds one.
    pub fn push(&mut self, file: OwnedFd) {
        self.0.push(Arc::new(file));
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|file| file.as_fd())
    }
}

impl PartialEq for Locks {
    fn eq(&self, other: &Locks) -> bool {
        let numbers = |locks: &Locks| locks.iter().map(|f| f.as_raw_fd()).collect::<Vec<_>>();
        numbers(self) == numbers(other)
    }
}

impl Eq for Locks {}

/// The personality of the process. Addresses are never randomised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Personality {
    /// That of this machine.
    #[default]
    Native,
    /// `uname` says a 32-bit machine: i686-linux on x86_64, the 32-bit ARMs on aarch64.
    Linux32,
}

impl Personality {
    /// What a derivation of `system` needs on a `host` (both as in `x86_64-linux`).
    pub fn of(system: &str, host: &str) -> Personality {
        let arm32 = ["armv5tel-linux", "armv6l-linux", "armv7l-linux"].contains(&system);
        match (system, host) {
            ("i686-linux", "x86_64-linux") => Personality::Linux32,
            (_, "aarch64-linux") if arm32 => Personality::Linux32,
            _ => Personality::Native,
        }
    }
}

impl SpawnPlan {
    /// A plan with the defaults of a build: umask 0022, the caller's original limit of open files.
    pub fn new(program: impl Into<PathBuf>, cwd: impl Into<PathBuf>) -> SpawnPlan {
        SpawnPlan {
            program: program.into(),
            argv: Vec::new(),
            env: BTreeMap::new(),
            cwd: cwd.into(),
            umask: 0o022,
            open_files: crate::base::process::original_open_files(),
            personality: Personality::Native,
            locks: Locks::default(),
        }
    }
}

/// When a process is ended for us. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Wall clock from the start.
    pub timeout: Option<Duration>,
    /// Time without any output of the process.
    pub max_silent: Option<Duration>,
    /// Bytes of log.
    pub max_log_size: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn personality_by_system() {
        let table = [
            ("i686-linux", "x86_64-linux", Personality::Linux32),
            ("x86_64-linux", "x86_64-linux", Personality::Native),
            ("armv7l-linux", "aarch64-linux", Personality::Linux32),
            ("armv7l-linux", "x86_64-linux", Personality::Native),
            ("i686-linux", "i686-linux", Personality::Native),
            ("builtin", "x86_64-linux", Personality::Native),
        ];
        for (system, host, want) in table {
            assert_eq!(Personality::of(system, host), want, "{system} on {host}");
        }
    }
}
