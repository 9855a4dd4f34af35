//! Connects: threads, channels, one build from top to bottom.
//!
//! [`run`] wires a run together and takes it apart again. The [`dispatcher`] feeds the machine and
//! performs its effects; [`probe`] answers what goals ask of the store; [`build`] is the life of
//! one build, with its parts in [`builder`], [`outputs`], [`judge`] and [`check`]. Every thread's
//! words come back through [`moments`].

mod await_lock;
mod build;
mod build_log;
mod builder;
pub mod builtin;
mod check;
mod dispatcher;
mod environment;
pub mod failure_words;
mod failures;
mod graphs;
mod isolation;
mod jobs;
mod judge;
mod mismatch;
pub mod missing;
mod moments;
mod outcome;
mod outputs;
mod probe;
mod reclaim;
pub mod report;
pub mod settings;
mod shared;
mod signals;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};

use crate::base::Urgency;
use crate::base::mailbox::{Inbox, Outbox, mailbox};
use crate::base::tempdir::BuildDirs;
use crate::machine::Machine;
use crate::machine::vocab::{self, Hook, OnFailure, Policy};
use crate::store::ingest::{IngestError, sync_tree};
use crate::store::registrar::Registrar;
use crate::store::{Store, StoreError};
use dispatcher::{Dispatcher, Wiring};
use moments::Message;
use report::RunReport;
use settings::{Fallback, KeepGoing, Settings};
use shared::Shared;

pub use crate::machine::vocab::{Forced, Key, Mode, Outputs, Request};
pub use shared::Tell;

/// How long the end of a run waits for what dead processes left to be taken back, and again for
/// the step at which that is.
const RECLAIM: Duration = Duration::from_millis(250);

/// Files that a run has open beside those of its builds: the database, locks, roots, channels.
const FILES_OF_A_RUN: u64 = 32;
/// Files that a build has open at most, if it has few outputs: pipes, locks, its log, its folder,
/// and those of the ingest of another that waits for its row.
const FILES_OF_A_BUILD: u64 = 16;

/// Why a run could not begin.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store does not allow it.
    #[error("preparing the store for builds")]
    Store(#[from] StoreError),
    /// Folders for builds cannot be made.
    #[error("making the folder for builds `{}`; setting `build-dir` names another", path.display())]
    BuildDir {
        /// The folder.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Threads or signal handlers cannot be made.
    #[error("starting the threads of the run")]
    Threads(#[source] std::io::Error),
}

/// Realises what is asked for, blocking until all is done, has failed or is interrupted.
///
/// # Errors
/// [`EngineError`] if the run could not begin. What happens later is in the report.
pub fn run(
    store: &Arc<Store>,
    settings: &Arc<Settings>,
    requests: Vec<Request>,
    tell: Tell,
) -> Result<RunReport, EngineError> {
    let began = Instant::now();
    let root = &settings.places.build_dir;
    std::fs::create_dir_all(root)
        .map_err(|source| EngineError::BuildDir { path: root.clone(), source })?;
    let build_dirs = BuildDirs::new(root);
    let shared = Arc::new(Shared::new(Arc::clone(store), Arc::clone(settings), build_dirs, tell));
    let (outbox, inbox) = mailbox();
    start_registrar(&shared, &outbox)?;
    let reclaimer = reclaim::Reclaimer::start(&shared);
    let (probes, questions) = mailbox();
    let (alive, all_ended) = unbounded();
    let signals = signals::Watch::start(outbox.clone()).map_err(EngineError::Threads)?;
    let prober = start_prober(&shared, questions, outbox.clone()).map_err(EngineError::Threads)?;
    let wiring = Wiring { probes, outbox, inbox, alive };
    let machine = Machine::new(policy(settings));
    let (machine, ended_by) = Dispatcher::new(machine, Arc::clone(&shared), wiring).run(requests);
    let summary = machine.summary();
    signals.over();
    if ended_by.urgency != Some(Urgency::AtOnce) {
        // Its questions ended with the dispatcher. A panic was told when it happened.
        let _ = prober.join();
        wind_up(&shared, &all_ended, signals.time_left());
        let patience = if ended_by.signal.is_some() { Duration::ZERO } else { RECLAIM };
        reclaimer.into_iter().for_each(|reclaimer| reclaimer.finish(patience));
    }
    shared.build_dirs.close();
    let report = outcome::run_report(&shared, summary, ended_by.clone(), began.elapsed());
    if ended_by.urgency == Some(Urgency::AtOnce) {
        // What is still running ends with the process; waiting for it is not what was asked for.
        std::mem::forget(shared);
    }
    Ok(report)
}

fn policy(settings: &Settings) -> Policy {
    let schedule = &settings.schedule;
    Policy {
        max_jobs: u32::try_from(schedule.max_jobs).unwrap_or(u32::MAX).min(affordable_jobs()),
        on_failure: match schedule.keep_going {
            KeepGoing::Yes => OnFailure::KeepGoing,
            KeepGoing::No => OnFailure::Stop,
        },
        fallback: match schedule.fallback {
            Fallback::Build => vocab::Fallback::Build,
            Fallback::Fail => vocab::Fallback::Fail,
        },
        hook: Hook::None,
        sources: 0,
        ..Policy::default()
    }
}

/// How many builds the limit of open files allows at a time, at least one. Fewer builds are slower;
/// a build that finds no descriptor fails.
fn affordable_jobs() -> u32 {
    let for_builds = crate::base::process::nofile_limit().saturating_sub(FILES_OF_A_RUN);
    u32::try_from(for_builds / FILES_OF_A_BUILD).unwrap_or(u32::MAX).max(1)
}

fn start_registrar(shared: &Arc<Shared>, outbox: &Outbox<Message>) -> Result<(), StoreError> {
    let (books, outbox) = (Arc::clone(&shared.books), outbox.clone());
    let report = Box::new(move |id, verdict| books.verdict(id, verdict, &outbox));
    let registrar = Registrar::start(Arc::clone(&shared.store), sync, report)?;
    shared.set_registrar(registrar);
    Ok(())
}

/// Flushes a tree, for the registrar.
fn sync(path: &std::path::Path) -> std::io::Result<()> {
    let kind =
        |error: &IngestError| error.io().map_or(std::io::ErrorKind::Other, std::io::Error::kind);
    sync_tree(path).map(drop).map_err(|error| std::io::Error::new(kind(&error), error))
}

fn start_prober(
    shared: &Arc<Shared>,
    questions: Inbox<Vec<probe::Probe>>,
    outbox: Outbox<Message>,
) -> std::io::Result<thread::JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let work = move || probe::run(&shared, &questions, &outbox);
    thread::Builder::new().name("prober".into()).spawn(work)
}

/// Waits for the threads of jobs, which tidy up after their last word, and for the registrar; an
/// interrupted run no longer than the `last` second.
fn wind_up(shared: &Shared, all_ended: &Receiver<()>, last: Option<Duration>) {
    // Nothing is ever sent: this returns when the last sender is gone.
    let ended = match last {
        Some(left) => all_ended.recv_timeout(left),
        None => all_ended.recv().map_err(RecvTimeoutError::from),
    };
    if ended == Err(RecvTimeoutError::Timeout) {
        return;
    }
    if let Err(error) = shared.finish_registrar() {
        shared.tell(report::Notice::Warning(crate::base::error::with_causes(&error)));
    }
}
