//! What the store knows of a valid path, and the registration text of
//! `nix-store --register-validity` and `--load-db`.

use std::collections::BTreeSet;

use super::{Hash, StorePath};

/// Where a valid path came from: the database's `ultimate` column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Origin {
    /// Built or added here: `ultimate` is 1.
    BuiltHere,
    /// Copied or registered from elsewhere: `ultimate` is null.
    #[default]
    Elsewhere,
}

/// A row of `ValidPaths` with its references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidPathInfo {
    /// The path.
    pub path: StorePath,
    /// sha256 of the path's NAR.
    pub nar_hash: Hash,
    /// Bytes of the path's NAR.
    pub nar_size: u64,
    /// Paths that its contents name, itself included where they do.
    pub references: BTreeSet<StorePath>,
    /// The derivation that made it, if known.
    pub deriver: Option<StorePath>,
    /// Seconds since 1970 of the registration; 0 until it is registered.
    pub registration_time: i64,
    /// Whether it was made here.
    pub origin: Origin,
    /// Signatures, `key:base64` each.
    pub signatures: BTreeSet<String>,
    /// Content address (`fixed:…` or `text:…`), if it has one.
    pub ca: Option<String>,
}
