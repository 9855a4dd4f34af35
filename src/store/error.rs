//! What can go wrong with a store: what we were doing, which path, the cause, what to do.
//!
//! Knows no goals: the engine decides what an error means for one, and asks only two things of it,
//! whether a disk is full and whether the fault lies in one registration alone. The second keeps
//! one bad build from ending a run; a variant that is not sorted there ends it.

use std::io;
use std::path::{Path, PathBuf};

use crate::base::lock::LockError;
use crate::format::StorePath;

/// Could not do the store's work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A call of the system failed.
    #[error("{doing} `{}`: {source}", path.display())]
    Io {
        /// What we were doing, as "creating the folder".
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// No permission to use the store.
    #[error(
        "no permission to write `{}`: {source}; run as its owner (often root) or choose \
         another store with `--store`",
        path.display()
    )]
    NoPermission {
        /// What could not be written.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The folder is missing and was not to be created.
    #[error("there is no store at `{}` (its `{what}` is missing)", path.display())]
    Missing {
        /// The folder that is not there.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// There is a database and no store folder.
    #[error(
        "the store folder `{}` is missing although there is a database of its paths; put it back, \
         or choose another store with `--store`",
        .0.display()
    )]
    NoFolder(PathBuf),
    /// Writing to a store that was opened to read.
    #[error("the store at `{}` is open for reading only", .0.display())]
    ReadOnly(PathBuf),
    /// A link on the way to the store: its owner could exchange the store.
    #[error(
        "the path `{}` is a symlink; this is not allowed for the Nix store and its parent \
         directories (set `allow-symlinked-store` to use it all the same)",
        .0.display()
    )]
    Symlink(PathBuf),
    /// The database was made by something newer.
    #[error(
        "current Nix store schema is version {version}, but I only support 10 (`{}`); use a drover \
         or a Nix as new as what wrote it",
        path.display()
    )]
    NewerSchema {
        /// The database's folder.
        path: PathBuf,
        /// Its schema.
        version: u64,
    },
    /// The database was made by something older.
    #[error(
        "the Nix store at `{}` has schema {version}, which is too old: open it once with Nix \
         (for example `nix-store --verify`), which upgrades it to 10",
        path.display()
    )]
    OlderSchema {
        /// The database's folder.
        path: PathBuf,
        /// Its schema.
        version: u64,
    },
    /// `db/schema` holds something else than a number.
    #[error("`{}` is not the number of a store schema: `{text}`", path.display())]
    BadSchema {
        /// The file.
        path: PathBuf,
        /// What it holds.
        text: String,
    },
    /// The file is no database, or not that of a store.
    #[error(
        "the store database `{}` is damaged ({why}); move it away and put a copy of it in its \
         place, or register what is in the store anew (`drover register`)",
        path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// SQLite's word.
        why: String,
    },
    /// SQLite failed.
    #[error("{doing} in the store database `{}`: {source}", path.display())]
    Database {
        /// What we were doing.
        doing: &'static str,
        /// The database.
        path: PathBuf,
        /// SQLite's word.
        source: rusqlite::Error,
    },
    /// A row that breaks the rules, written by something else.
    #[error("the store database has a bad row: path `{path}`, column `{column}`: {why}")]
    BadRow {
        /// The row's path as it stands.
        path: String,
        /// The column.
        column: &'static str,
        /// The rule that it breaks.
        why: String,
    },
    /// A path that must be valid is not.
    #[error("path `{0}` is not valid")]
    NotValid(String),
    /// A registration names a reference that is not valid.
    #[error("cannot register `{path}`: its reference `{reference}` is not valid")]
    ReferenceNotValid {
        /// What was to be registered.
        path: String,
        /// The reference.
        reference: String,
    },
    /// References go in a circle.
    #[error("cycle detected in the references of '{path}' from '{parent}'")]
    Cycle {
        /// A path on the circle.
        path: String,
        /// What refers to it.
        parent: String,
    },
    /// A registration that no store may hold.
    #[error("cannot register `{path}`: {why}")]
    BadRegistration {
        /// What was to be registered.
        path: String,
        /// The rule that it breaks.
        why: String,
    },
    /// What this was built on could not be registered.
    #[error("not registered because what it was built on could not be registered")]
    BuiltOnRejected,
    /// A link that would replace something of the user's.
    #[error("cannot create symlink '{}'; already exists", .0.display())]
    LinkInTheWay(PathBuf),
    /// A root in the store.
    #[error("creating a garbage collector root (`{}`) in the Nix store is forbidden", .0.display())]
    RootInStore(PathBuf),
    /// The collector broke the protocol of its socket.
    #[error("the garbage collector at `{}` answered {answer:#04x} to a new root", path.display())]
    BadAck {
        /// The socket.
        path: PathBuf,
        /// The byte it sent.
        answer: u8,
    },
    /// A path whose place is taken by something that cannot be removed, or a name that is refused.
    #[error("{0}")]
    BadName(#[from] crate::format::store_path::StorePathError),
    /// A lock failed.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The thread that writes the database ended early.
    #[error("the registrar thread ended: {0}")]
    RegistrarGone(String),
}

impl StoreError {
    /// Wraps a failed call: to be used as `map_err(StoreError::io("reading", path))`.
    pub fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    /// SQLite failed: told apart by whether the file itself is bad.
    pub(super) fn database(doing: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        let bad = matches!(source.sqlite_error_code(), Some(NotADatabase | DatabaseCorrupt));
        let why = source.to_string();
        if bad || why.starts_with("no such table") {
            return Self::Damaged { path: path.into(), why };
        }
        Self::Database { doing, path: path.into(), source }
    }

    /// Whether the cause is a full disk or quota: the user's to mend, not a build's failure.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Io { source, .. } | Self::NoPermission { source, .. } => io_is_no_space(source),
            Self::Database { source, .. } => {
                source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
            }
            Self::Lock(
                LockError::Open { source, .. }
                | LockError::Lock { source, .. }
                | LockError::Remove { source, .. },
            ) => io_is_no_space(source),
            _ => false,
        }
    }

    /// Whether the fault lies in what was to be registered, so that others are not touched by it.
    /// Everything else (disk, database, memory) ends the run.
    #[must_use]
    pub fn is_about_the_registration(&self) -> bool {
        match self {
            Self::NotValid(_)
            | Self::ReferenceNotValid { .. }
            | Self::Cycle { .. }
            | Self::BadRegistration { .. }
            | Self::BuiltOnRejected => true,
            Self::Database { source, .. } => {
                source.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
            }
            _ => false,
        }
    }

    /// The error of not having `path`.
    #[must_use]
    pub fn not_valid(path: &StorePath) -> Self {
        Self::NotValid(path.to_string())
    }
}

/// ENOSPC, EDQUOT.
fn io_is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disks_are_told_apart() {
        for errno in [libc::ENOSPC, libc::EDQUOT] {
            let error = StoreError::io("writing", "/x")(io::Error::from_raw_os_error(errno));
            assert!(error.is_no_space(), "{error}");
        }
        let denied = StoreError::io("writing", "/x")(io::Error::from_raw_os_error(libc::EACCES));
        assert!(!denied.is_no_space());
        assert!(!denied.is_about_the_registration());
    }
}
