//! The operating system, said politely. Knows nothing of derivations or stores.
//!
//! Everything here either works on file descriptors or names the path it failed on. Process-wide
//! state (umask, limits) is touched only by the functions of [`process`] that `main` calls before
//! the first thread.

pub mod cancel;
pub mod error;
pub mod fd;
pub mod fs;
pub mod keeper;
pub mod lock;
pub mod mailbox;
pub mod nursery;
pub mod process;
pub mod tempdir;

pub use cancel::{Cancel, Urgency};
pub use error::{Error, Result};
