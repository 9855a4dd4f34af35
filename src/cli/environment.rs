//! The environment of the process, taken once: the only place that reads it.
//!
//! Everything else gets an [`Environment`] as a value, so it can be tested with one of its own.
//! Like Nix, an empty variable counts as one that is not set, except in
//! [`Environment::variable`], which serves `impureEnvVars`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Variables by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// The environment of this process.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn capture() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// An environment of given variables.
    pub fn of<K: Into<OsString>, V: Into<OsString>>(
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self(variables.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }

    /// All variables.
    pub fn all(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// A variable as it is, empty or not.
    #[must_use]
    pub fn variable(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.0.get(name.as_ref()).map(OsString::as_os_str)
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.variable(name).filter(|value| !value.is_empty())
    }

    /// A variable that is set, as a path.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// The folder `$name`, or `fallback` below the home folder; `None` without both.
    #[must_use]
    pub fn xdg(&self, name: &str, fallback: &str) -> Option<PathBuf> {
        // A relative XDG folder is to be ignored, says the specification.
        let own = self.path(name).filter(|path| path.is_absolute());
        own.or_else(|| Some(self.path("HOME")?.join(fallback)))
    }
}
