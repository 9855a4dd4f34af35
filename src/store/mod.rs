//! Remembers: the store folder, its database, its logs, its locks and roots.
