//! Work of a command that a signal stops midway, so that it can remove what it has half done.
//!
//! For what leaves things in the store. A command that only reads, or that writes where the user
//! told it to, is ended by the signal itself.

use nix::sys::signal::Signal;

use super::CliError;
use crate::base::Cancel;
use crate::engine::signals::Guard;

/// Does `work`, whose token a signal triggers. It has a second from then on.
///
/// # Errors
/// [`CliError::Interrupted`] after a signal, whatever the work came to; else its own error.
pub fn guarded<T>(work: impl FnOnce(&Cancel) -> Result<T, CliError>) -> Result<T, CliError> {
    let guard = Guard::start()?;
    let done = work(guard.cancel());
    match guard.signal() {
        Some(signal) => Err(CliError::Interrupted(signal)),
        None => done,
    }
}

/// What a signal is called.
pub(super) fn name(signal: i32) -> String {
    Signal::try_from(signal).map_or(format!("signal {signal}"), |s| s.as_str().to_owned())
}
