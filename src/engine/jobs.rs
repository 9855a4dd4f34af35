//! Starts jobs: each on a thread of its own, whose only word back goes through its [`Moments`].
//!
//! The dispatcher hands a job a copy of what it needs and forgets it. Whatever happens to the
//! thread (a panic, or none to be had) becomes a moment of its goal: nobody waits for a thread that
//! is gone. The end of a thread is told only after it has let go of everything that belongs to the
//! run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::Sender;

use super::moments::{Message, Moments};
use super::report::Notice;
use super::shared::Shared;
use super::{await_lock, build};
use crate::base::Cancel;
use crate::base::mailbox::Outbox;
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

/// Starts `job` on a thread. If there can be no thread (`ulimit -u`), that is its last word.
pub(super) fn start(shared: &Arc<Shared>, goal: GoalId, job: Job, line: Line) {
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
    let spawned = thread::Builder::new().name("job".into()).stack_size(STACK).spawn(work);
    if let Err(error) = spawned {
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
