//! Starts jobs: each on a thread that does nothing else, whose only word back goes through its
//! [`Moments`].
//!
//! A thread whose job is over waits for another one, so a run has as many as work at a time, not as
//! many as builds. Whatever happens to a thread (a panic, or none to be had) becomes a moment of its
//! goal: nobody waits for one that is gone. Invariant: nothing of a run is held by a thread that
//! waits.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::Sender;
use parking_lot::Mutex;

use super::moments::{Message, Moments};
use super::report::Notice;
use super::shared::Shared;
use super::{await_lock, build};
use crate::base::Cancel;
use crate::base::mailbox::{Outbox, mailbox};
use crate::machine::Failure;
use crate::machine::vocab::{GoalId, Input, Job};

/// Stack of a job thread. Nothing in a job recurses; the kernel commits only what is touched.
const STACK: usize = 1 << 20;

/// What ties a job to its run.
pub(super) struct Line {
    /// Where its words go.
    pub outbox: Outbox<Message>,
    /// By what it is stopped.
    pub cancel: Cancel,
    /// Dropped when its thread ends.
    pub alive: Sender<()>,
}

/// The threads of a run. Dropping it ends those that wait.
#[derive(Default)]
pub(super) struct Threads {
    idle: Arc<Mutex<Vec<Outbox<Next>>>>,
}

/// What a waiting thread is given.
struct Next {
    work: Work,
    /// Where the thread hears of the work after that: it puts this back when it waits again.
    door: Outbox<Next>,
}

type Work = Box<dyn FnOnce() + Send>;

impl Threads {
    /// Does `work` on a thread that waits, or on a new one.
    fn run(&self, work: Work) -> io::Result<()> {
        let idle = self.idle.lock().pop();
        if let Some(door) = idle {
            let next = Next { work, door: door.clone() };
            // A thread ends only when nobody has its door, so it is there.
            return door.send(next).map_err(|_| io::Error::other("a waiting thread is gone"));
        }
        let (door, knocks) = mailbox();
        let waiting = Arc::downgrade(&self.idle);
        let life = move || {
            let mut next = Next { work, door };
            loop {
                (next.work)();
                match waiting.upgrade() {
                    Some(idle) => idle.lock().push(next.door),
                    None => return,
                }
                let Ok(another) = knocks.recv() else { return };
                next = another;
            }
        };
        thread::Builder::new().name("job".into()).stack_size(STACK).spawn(life).map(drop)
    }
}

/// Starts `job` on a thread. If there can be no thread (`ulimit -u`), that is its last word.
pub(super) fn start(threads: &Threads, shared: &Arc<Shared>, goal: GoalId, job: Job, line: Line) {
    let for_job = Arc::clone(shared);
    let Line { outbox, cancel, alive } = line;
    let moments = Moments::new(goal, outbox);
    let work = move || {
        let moments = moments;
        let run = AssertUnwindSafe(|| perform(&for_job, goal, job, &moments, &cancel));
        if let Err(panic) = catch_unwind(run) {
            moments.say(Input::Failed(Failure::Engine(panic_text(&*panic))));
        }
        // Who learns that the last job is over may take the run apart: nothing of it is held then.
        drop((moments, for_job, cancel));
        drop(alive);
    };
    if let Err(error) = threads.run(Box::new(work)) {
        // The closure is gone and with it its `Moments`, whose last word failed the goal.
        shared.tell(Notice::Warning(format!("cannot start a thread: {error}")));
    }
}

fn perform(shared: &Arc<Shared>, goal: GoalId, job: Job, moments: &Moments, cancel: &Cancel) {
    match job {
        Job::Build { drv, mode, outputs } => {
            let (drv, outputs) = (&drv, &outputs);
            build::run(&build::Task { shared, goal, drv, mode, outputs, moments, cancel });
        }
        Job::AwaitLock { path } => moments.say(await_lock::run(shared, &path, cancel)),
        Job::Hook { .. } => moments.say(none_configured("build hook")),
        Job::Substitute { .. } => moments.say(none_configured("source of paths")),
        Job::AwaitUser => moments.say(none_configured("build user")),
    }
}

fn none_configured(what: &str) -> Input {
    Input::Failed(Failure::Engine(format!("asked for a {what}, but none is configured")))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("a job thread panicked: {}", text.unwrap_or("no text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_thread_that_waits_is_taken_and_all_end_with_the_pool() {
        let threads = Threads::default();
        let (said, heard) = mpsc::channel();
        let mut ids = std::collections::HashSet::new();
        for _ in 0..200 {
            let said = said.clone();
            threads.run(Box::new(move || said.send(thread::current().id()).unwrap())).unwrap();
            ids.insert(heard.recv().unwrap());
            // It waits once its door is back.
            while threads.idle.lock().is_empty() {
                thread::yield_now();
            }
        }
        assert_eq!(ids.len(), 1, "one at a time needs one");
        let (hold, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        for _ in 0..3 {
            let (said, held) = (said.clone(), Arc::clone(&held));
            let work = move || {
                let _ = held.lock().recv();
                said.send(thread::current().id()).unwrap();
            };
            threads.run(Box::new(work)).unwrap();
        }
        drop((threads, hold));
        let ids: std::collections::HashSet<_> = (0..3).map(|_| heard.recv().unwrap()).collect();
        assert_eq!(ids.len(), 3, "three at a time need three");
        drop(said);
        assert!(heard.recv().is_err(), "every thread is over");
    }
}
