//! Remembers: the store folder, its database, its logs, its locks and roots.

pub mod canonicalise;
pub mod ingest;
pub mod restore;
