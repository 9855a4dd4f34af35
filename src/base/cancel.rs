//! A token by which the dispatcher stops a job: cheap to ask, and a descriptor to poll on beside
//! pipes and processes, so that no wait needs a time-out only to look whether it was cancelled.
//!
//! It knows neither jobs nor why they are stopped. It is only ever set, never reset, and urgency
//! only grows; all clones see the same state.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::event::{EventfdFlags, eventfd};

use super::error::{Doing, Result};

/// How soon a job has to end. The later stage only shortens what is left to be cleaned up;
/// processes are killed at once in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// End processes, then tidy up.
    Stop = 1,
    /// End processes and leave the rest to the next start.
    AtOnce = 2,
}

/// The token. The descriptor is readable for ever after the first trigger.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stage: AtomicU8,
    event: OwnedFd,
}

impl Cancel {
    /// A token that nobody has triggered. Takes one descriptor.
    pub fn new() -> Result<Cancel> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .calling("making an event descriptor")?;
        Ok(Cancel(Arc::new(Inner { stage: AtomicU8::new(0), event })))
    }

    /// Asks all holders to stop. A lesser urgency than before changes nothing.
    pub fn trigger(&self, urgency: Urgency) {
        self.0.stage.fetch_max(urgency as u8, Ordering::SeqCst);
        // An eventfd write fails only when its counter is full, and then it is readable anyway.
        let _ = rustix::io::write(&self.0.event, &1u64.to_ne_bytes());
    }

    /// What was asked for, if anything.
    pub fn urgency(&self) -> Option<Urgency> {
        match self.0.stage.load(Ordering::SeqCst) {
            0 => None,
            1 => Some(Urgency::Stop),
            _ => Some(Urgency::AtOnce),
        }
    }

    /// Whether anything was asked for.
    pub fn is_triggered(&self) -> bool {
        self.urgency().is_some()
    }
}

impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn readable(cancel: &Cancel) -> bool {
        let mut fds = [PollFd::new(cancel, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn stages_only_rise_and_all_clones_see_them() {
        let cancel = Cancel::new().unwrap();
        let other = cancel.clone();
        assert!(!readable(&other));
        assert_eq!(other.urgency(), None);
        cancel.trigger(Urgency::AtOnce);
        cancel.trigger(Urgency::Stop);
        assert_eq!(other.urgency(), Some(Urgency::AtOnce));
        assert!(readable(&other) && readable(&cancel));
    }
}
