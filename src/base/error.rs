//! What can go wrong between us and the operating system: what we were doing, on which path, and
//! the system's word for it. Knows no derivations; the floors above wrap it in their own errors.
//!
//! Errors are values for whoever called: nothing on this floor prints or logs one. A cause is kept
//! as [`io::Error`], never as text, since callers ask it for its kind (no space, no permission).

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

/// A call to the operating system failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operation on a path failed.
    #[error("{doing} `{}`: {source}", path.display())]
    Path {
        /// What we were doing, e.g. "removing".
        doing: &'static str,
        /// The path it was done to.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An operation that concerns no path failed.
    #[error("{doing}: {source}")]
    Call {
        /// What we were doing, e.g. "making a pipe".
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
}

/// A result of this floor.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The cause, to be classed (no space, no permission).
    pub fn io(&self) -> &io::Error {
        match self {
            Error::Path { source, .. } | Error::Call { source, .. } => source,
        }
    }
}

/// Says what was being done when a call failed.
pub trait Doing<T> {
    /// An operation on `path`.
    fn doing(self, doing: &'static str, path: &Path) -> Result<T>;
    /// An operation that concerns no path.
    fn calling(self, doing: &'static str) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T> {
        self.map_err(|e| Error::Path { doing, path: path.to_path_buf(), source: e.into() })
    }
    fn calling(self, doing: &'static str) -> Result<T> {
        self.map_err(|e| Error::Call { doing, source: e.into() })
    }
}

/// An error and its causes, outermost first, joined by colons.
#[must_use]
pub fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        // Some errors print their source themselves.
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = inner.source();
    }
    text
}
