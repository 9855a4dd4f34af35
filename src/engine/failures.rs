//! Our own errors as reasons for a goal: full disks are told apart from everything else, since
//! they are nobody's fault and go away.
//!
//! The whole chain of causes is asked, so it does not matter which floor wrapped the error. Limits
//! of the process or its user come with advice on which one to raise.

use std::error::Error;
use std::io;

use crate::base::error::with_causes;
use crate::machine::Failure;
use crate::store::StoreError;

/// The reason that `error` is for a goal; `place` says what was being written or read.
pub(super) fn failure(place: &str, error: &(dyn Error + 'static)) -> Failure {
    if is_no_space(error) {
        return Failure::NoSpace { place: format!("{place}: {}", with_causes(error)) };
    }
    Failure::Engine(format!("{place}: {}{}", with_causes(error), advice(error)))
}

/// What to do about a limit of the process or its user that was reached.
fn advice(error: &(dyn Error + 'static)) -> &'static str {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        match io {
            Some(libc::EMFILE | libc::ENFILE) => {
                return "; raise the limit of open files (`ulimit -n`) or lower `max-jobs`";
            }
            Some(libc::EAGAIN) => {
                return "; raise the limit of processes (`ulimit -u`) or lower `max-jobs`";
            }
            _ => cause = error.source(),
        }
    }
    ""
}

/// Whether a full disk or an exceeded quota is behind `error`.
pub(super) fn is_no_space(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<StoreError>().is_some_and(StoreError::is_no_space) {
            return true;
        }
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        let errno = error.downcast_ref::<rustix::io::Errno>();
        if matches!(errno, Some(&rustix::io::Errno::NOSPC | &rustix::io::Errno::DQUOT)) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("writing the thing")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_full_disk_is_found_behind_other_errors() {
        let full = Outer(io::Error::from_raw_os_error(libc::ENOSPC));
        assert!(matches!(failure("x", &full), Failure::NoSpace { .. }));
        let other = Outer(io::Error::from_raw_os_error(libc::EACCES));
        assert_eq!(
            failure("making an output", &other),
            Failure::Engine(
                "making an output: writing the thing: Permission denied (os error 13)".into()
            )
        );
    }
}
