//! Waits for a lock that another process holds: no slot, no other lock and no CPU meanwhile.
//!
//! The thread that sleeps in `flock` cannot be woken for a cancel without signals, so it is a
//! second one that holds nothing else: a cancelled job leaves it behind, and it ends with the
//! lock's release or with the process.

use std::path::PathBuf;
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
    match wait(shared, file, cancel) {
        Ok(Waited::Free) => Input::LockFree,
        Ok(Waited::Cancelled) => Input::Failed(Failure::Cancelled),
        Err(why) => Input::Failed(Failure::Engine(why)),
    }
}

enum Waited {
    Free,
    Cancelled,
}

fn wait(shared: &Shared, file: PathBuf, cancel: &Cancel) -> Result<Waited, String> {
    let freed = Cancel::new().map_err(|e| e.to_string())?;
    let (answer, answered) = bounded(1);
    let (in_thread, lock_file) = (freed.clone(), file.clone());
    thread::Builder::new()
        .name("lock".into())
        .stack_size(64 << 10)
        .spawn(move || sleep_in_flock(&lock_file, &answer, &in_thread))
        .map_err(|e| format!("cannot start a thread to wait for `{}`: {e}", file.display()))?;
    let mut patience = Some(PATIENCE);
    loop {
        let mut fds = [PollFd::new(cancel, PollFlags::IN), PollFd::new(&freed, PollFlags::IN)];
        let timeout = patience.map(|p| Timespec { tv_sec: p.as_secs() as i64, tv_nsec: 0 });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => {
                let holder =
                    lock::holder_of(&file).map(|h| LockHolder { pid: h.pid, command: h.command });
                shared.tell(Notice::WaitingForLock { path: file.clone(), holder });
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

fn sleep_in_flock(file: &std::path::Path, answer: &Sender<Result<(), LockError>>, freed: &Cancel) {
    let result = lock::wait_until_free(file, &AtomicBool::new(false));
    // Whoever waited may have been cancelled meanwhile.
    let _ = answer.send(result);
    freed.trigger(Urgency::Stop);
}
