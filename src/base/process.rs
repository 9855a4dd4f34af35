//! What `main` settles for this process before its first thread: limits, the umask, signals.
//! Builders are not made here: see [`super::nursery`].
//!
//! All of it is process-wide and set once, so no thread changes it under another; a builder gets
//! back what the caller of drover had.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

static ORIGINAL_OPEN_FILES: OnceLock<(u64, u64)> = OnceLock::new();

/// The caller's limit of open files (soft, hard), if [`raise_nofile_limit`] looked at it.
pub fn original_open_files() -> Option<(u64, u64)> {
    ORIGINAL_OPEN_FILES.get().copied()
}

/// Raises the soft limit of open files to the hard one; builders get the original
/// back. To be called by `main` before the first thread.
pub fn raise_nofile_limit() {
    let now = getrlimit(Resource::Nofile);
    let number = |limit: Option<u64>| limit.unwrap_or(libc::RLIM_INFINITY);
    let _ = ORIGINAL_OPEN_FILES.set((number(now.current), number(now.maximum)));
    // A refusal leaves a smaller limit, which is no error by itself.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
}

/// How many files this process may have open.
pub fn nofile_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Sets the mask of file modes, which no thread changes later. To be called by `main` before the
/// first thread.
pub fn set_umask(mask: u32) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
}

/// Whether this process ignores `signal` by what it inherited or was set since.
#[expect(unsafe_code, reason = "the action of a signal is asked by the call that sets it")]
pub fn is_ignored(signal: i32) -> bool {
    // SAFETY: without a new action nothing is changed; all zeroes is a valid struct to fill in.
    let (asked, old) = unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(signal, std::ptr::null(), &mut old), old)
    };
    asked == 0 && old.sa_sigaction == libc::SIG_IGN
}

/// Makes a write past the limit of file sizes (`ulimit -f`) an error like that of a full disk: by
/// default it is a signal that ends the process in the middle of what it does. To be called by
/// `main`; builders get the signal's default back, as of all signals.
#[expect(unsafe_code, reason = "the disposition of a signal has no safe wrapper")]
pub fn survive_file_size_limit() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: nothing runs in place of the signal. It cannot fail for a signal that exists.
    let _ = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
}
