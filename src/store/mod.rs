//! Remembers: the store folder, its database, its logs, its locks and roots.

pub mod error;
pub mod layout;

pub use error::StoreError;
pub use layout::Layout;
