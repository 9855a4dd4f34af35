//! Waits for a lock that another process holds: no slot, no other lock and no CPU meanwhile.
//!
//! The thread that sleeps in `flock` cannot be woken for a cancel without signals, so it is a
//! second one that holds nothing else: a cancelled job leaves it behind, and it ends with the
//! lock's release or with the process.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::report::{LockHolder, Notice};
use super::shared::Shared;
use crate::base::lock::{self, LockError};
use crate::base::{Cancel, Urgency};
use crate::format::StorePath;
use crate::machine::Failure;
use crate::machine::vocab::Input;

/// How long a wait stays silent.
const PATIENCE: Duration = Duration::from_secs(5);

/// Waits until the lock of `path` is free; returns the job's last word.
pub(super) fn run(shared: &Shared, path: &StorePath, cancel: &Cancel) -> Input {
    let file = shared.store.layout().lock_file(path);
    let told = |holder| shared.tell(Notice::WaitingForLock { path: file.clone(), holder });
    match wait(&file, cancel, PATIENCE, &told) {
        Ok(Waited::Free) => Input::LockFree,
        Ok(Waited::Cancelled) => Input::Failed(Failure::Cancelled),
        Err(why) => Input::Failed(Failure::Engine(why)),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Waited {
    Free,
    Cancelled,
}

/// Waits; once `patience` is over, `tell` hears who holds the lock.
fn wait(
    file: &Path,
    cancel: &Cancel,
    patience: Duration,
    tell: &dyn Fn(Option<LockHolder>),
) -> Result<Waited, String> {
    let freed = Cancel::new().map_err(|e| e.to_string())?;
    let (answer, answered) = bounded(1);
    let (in_thread, lock_file) = (freed.clone(), file.to_path_buf());
    thread::Builder::new()
        .name("lock".into())
        .stack_size(64 << 10)
        .spawn(move || sleep_in_flock(&lock_file, &answer, &in_thread))
        .map_err(|e| format!("cannot start a thread to wait for `{}`: {e}", file.display()))?;
    let mut patience = Some(patience);
    loop {
        let mut fds = [PollFd::new(cancel, PollFlags::IN), PollFd::new(&freed, PollFlags::IN)];
        let timeout = patience.map(|patience| Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => {
                let holder = lock::holder_of(file);
                tell(holder.map(|h| LockHolder { pid: h.pid, command: h.command }));
                patience = None;
            }
            Ok(_) if cancel.is_triggered() => return Ok(Waited::Cancelled),
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(format!("waiting for `{}`: {error}", file.display())),
        }
    }
    match answered.recv() {
        Ok(Ok(())) => Ok(Waited::Free),
        Ok(Err(error)) => Err(crate::base::error::with_causes(&error)),
        Err(_) => Err(format!("the thread that waited for `{}` is gone", file.display())),
    }
}

fn sleep_in_flock(file: &Path, answer: &Sender<Result<(), LockError>>, freed: &Cancel) {
    let result = lock::wait_until_free(file, &AtomicBool::new(false));
    // Whoever waited may have been cancelled meanwhile.
    let _ = answer.send(result);
    freed.trigger(Urgency::Stop);
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::base::lock::{FileLock, Mode};

    /// Longer than any run of these tests.
    const LONG: Duration = Duration::from_secs(24 * 3600);

    /// Returns once somebody sleeps until the lock of `file` is free: the kernel lists those.
    fn somebody_waits_for(file: &Path) {
        let inode = format!(":{} ", file.metadata().unwrap().ino());
        let waits = |line: &str| line.contains("->") && line.contains(&inode);
        while !std::fs::read_to_string("/proc/locks").unwrap().lines().any(waits) {
            thread::yield_now();
        }
    }

    /// Holds a lock, waits for it with `patience` in a thread, lets `meanwhile` run once that
    /// thread sleeps, and frees the lock. Returns how the wait ended and what it told.
    fn waited(
        patience: Duration,
        meanwhile: impl FnOnce(&Cancel, &crossbeam_channel::Receiver<Option<LockHolder>>),
    ) -> (Waited, Vec<Option<LockHolder>>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let held = FileLock::lock(File::create(&path).unwrap(), Mode::Exclusive).unwrap();
        let cancel = Cancel::new().unwrap();
        let (told, hears) = crossbeam_channel::unbounded();
        let tell = &move |holder| told.send(holder).unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| wait(&path, &cancel, patience, tell));
            somebody_waits_for(&path);
            meanwhile(&cancel, &hears);
            drop(held);
            let waited = waiter.join().unwrap().unwrap();
            (waited, hears.try_iter().collect())
        })
    }

    #[test]
    fn nothing_is_said_before_patience_is_over() {
        let (end, told) = waited(LONG, |_, _| ());
        assert_eq!((end, told), (Waited::Free, Vec::new()));
    }

    #[test]
    fn after_it_the_holder_is_named_once() {
        let (end, told) = waited(Duration::from_millis(1), |_, hears| {
            let holder = hears.recv().unwrap().expect("we hold it ourselves");
            assert_eq!(holder.pid, std::process::id());
            // Who tells at each end of its patience would have told again by then.
            assert!(hears.recv_timeout(Duration::from_millis(100)).is_err(), "told twice");
        });
        assert_eq!((end, told), (Waited::Free, Vec::new()), "told before it was free, and once");
    }

    #[test]
    fn a_cancel_ends_the_wait() {
        let (end, told) = waited(LONG, |cancel, _| cancel.trigger(Urgency::Stop));
        assert!(told.is_empty());
        // The lock came free as well, but later.
        assert_eq!(end, Waited::Cancelled);
    }

    #[test]
    fn runs_are_patient_for_five_seconds() {
        assert_eq!(PATIENCE, Duration::from_secs(5));
    }
}
