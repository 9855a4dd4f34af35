//! One build from top to bottom, on its own thread.
//!
//! Each line of [`attempt`] is a step and each resource a value whose scope is its life. What takes
//! long and nobody waits for (unlinking folders, compressing the log) comes after the last word, so
//! neither a slot nor a lock is held by it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::RecvError;

use super::build_log::BuildLog;
use super::builder::{self, Prepared};
use super::check;
use super::failures::failure;
use super::graphs;
use super::judge;
use super::mismatch;
use super::moments::Moments;
use super::outputs::{self, Intake, Planned, Rejected, Taken};
use super::probe::read_derivation;
use super::report::{Notice, Times};
use super::settings::KeepFailed;
use super::shared::{Record, Shared};
use crate::base::Cancel;
use crate::base::lock::{Deletion, PathLocks};
use crate::base::mailbox::Inbox;
use crate::base::tempdir::BuildDir;
use crate::format::options::DerivationOptions;
use crate::format::{Derivation, StorePath};
use crate::machine::Failure;
use crate::machine::vocab::{GoalId, Input, Mode, Outputs};
use crate::sandbox::Locks;
use crate::store::registrar::{Build, Verdict};

/// What a build job is to do.
pub(super) struct Task<'a> {
    pub shared: &'a Shared,
    pub goal: GoalId,
    pub drv: &'a StorePath,
    pub mode: Mode,
    pub outputs: &'a Outputs,
    pub moments: &'a Moments,
    pub cancel: &'a Cancel,
}

/// What is left to do after the last word.
#[derive(Default)]
struct Leftovers<'a> {
    paths: Vec<PathBuf>,
    dir: Option<BuildDir>,
    log: Option<BuildLog<'a>>,
    started: Option<Started>,
}

/// When the builder was started, by both clocks.
#[derive(Clone, Copy)]
pub(super) struct Started {
    wall: SystemTime,
    steady: Instant,
}

/// A build that is under way: its derivation and what its outputs are to be.
pub(super) struct Work<'a> {
    pub task: &'a Task<'a>,
    pub drv: Derivation,
    pub options: DerivationOptions,
    pub planned: Vec<Planned>,
    pub inputs: BTreeSet<StorePath>,
    /// The locks of its outputs.
    pub locks: Locks,
}

/// Builds, tells every moment, and cleans up.
pub(super) fn run(task: &Task<'_>) {
    let mut left = Leftovers::default();
    // Builds whose rows are not written yet hold no slot, but locks and threads: on a slow disk
    // they would pile up until no descriptor is left.
    let _under_way = task.shared.under_way.enter();
    let result = stop_if_cancelled(task).and_then(|()| attempt(task, &mut left));
    let failed = result.as_ref().err().cloned();
    let record = left.record(result.is_ok());
    if let Some(record) = record {
        task.shared.books.records.lock().insert(task.drv.clone(), record);
    }
    task.moments.say(result.unwrap_or_else(Input::Failed));
    left.tidy(task, failed.as_ref());
}

fn attempt<'a>(task: &'a Task<'a>, left: &mut Leftovers<'a>) -> Result<Input, Failure> {
    let shared = task.shared;
    let drv = read_derivation(shared, task.drv)?;
    let locks = match lock_outputs(shared, &drv)? {
        Ok(locks) => locks,
        Err(busy) => return Ok(Input::LockBusy(busy)),
    };
    let planned = outputs::plan(shared, task.drv, &drv)?;
    if task.mode == Mode::Normal && all_valid(task.outputs, &planned) {
        return Ok(Input::AlreadyValid);
    }
    let result = keepers_share(&locks).and_then(|held| build(task, drv, planned, held, left));
    let _ = locks.release(Deletion::Delete);
    result.map(|()| Input::Registered)
}

/// The locks as the keeper of the builder gets them: when this process is killed they last until
/// nothing can write to the outputs any more.
fn keepers_share(locks: &PathLocks) -> Result<Locks, Failure> {
    let mut held = Locks::default();
    for file in locks.files() {
        let file = file.try_clone().map_err(|e| failure("sharing the locks", &e))?;
        held.push(file.into());
    }
    Ok(held)
}

/// All locks or the path of one that another process holds.
fn lock_outputs(
    shared: &Shared,
    drv: &Derivation,
) -> Result<Result<PathLocks, StorePath>, Failure> {
    let layout = shared.store.layout();
    let paths: BTreeMap<PathBuf, &StorePath> = drv
        .outputs
        .keys()
        .filter_map(|name| drv.output_path(name))
        .map(|path| (layout.lock_file(path), path))
        .collect();
    let tried = PathLocks::try_acquire(paths.keys().cloned())
        .map_err(|e| failure("locking the outputs", &e))?;
    Ok(match tried {
        Ok(locks) => Ok(locks),
        Err(busy) => match paths.get(&busy) {
            Some(path) => Err((*path).clone()),
            None => {
                let busy = busy.display();
                return Err(Failure::Engine(format!("`{busy}` is busy, but is no lock of ours")));
            }
        },
    })
}

fn all_valid(wanted: &Outputs, planned: &[Planned]) -> bool {
    planned.iter().all(|output| !wanted.contains(&output.name) || output.registered.is_some())
}

fn build<'a>(
    task: &'a Task<'a>,
    drv: Derivation,
    planned: Vec<Planned>,
    locks: Locks,
    left: &mut Leftovers<'a>,
) -> Result<(), Failure> {
    let shared = task.shared;
    let options = DerivationOptions::from(&drv, shared.store_dir())
        .map_err(|e| Failure::BadDerivation(crate::base::error::with_causes(&e)))?;
    left.paths.extend(outputs::clear(shared, planned.iter())?);
    let inputs = graphs::input_closure(shared, &drv)?;
    let work = Work { task, drv, options, planned, inputs, locks };
    let result = run_and_register(&work, left);
    if result.is_err() {
        // Whatever the builder left at its outputs' places is nobody's, and the locks are still
        // ours. What is valid all the same (a commit whose verdict got lost) is not touched.
        let written = work.planned.iter().map(|output| &output.written);
        if let Ok(valid) = shared.store.db().valid(written) {
            let invalid = work.planned.iter().filter(|output| !valid.contains(&output.written));
            left.paths.extend(outputs::clear(shared, invalid).unwrap_or_default());
        }
    }
    result
}

fn run_and_register<'a>(work: &Work<'a>, left: &mut Leftovers<'a>) -> Result<(), Failure> {
    let task = work.task;
    let shared = task.shared;
    let dir = shared.build_dirs.create().map_err(|e| failure("making a build folder", &e))?;
    let dir = left.dir.insert(dir);
    let prepared = builder::prepare(work, dir)?;
    let log = left.log.insert(BuildLog::new(shared, task.drv));
    left.started = Some(announce(work));
    run_builder(work, prepared, log)?;
    let taken = {
        let _inside = shared.ingest.enter();
        stop_if_cancelled(task)?;
        let litter = RefCell::default();
        let taken = take_in(work, &litter);
        left.paths.extend(litter.into_inner());
        taken?
    };
    if task.mode == Mode::Check {
        left.paths.extend(taken.values().map(|t| t.at.clone()));
        left.paths.extend(scratch(work));
        check::compare(work, &taken, &mut left.paths)?;
        // Nothing new to register: what waits can go on with what is there.
        task.moments.say(Input::Ingested);
        return Ok(());
    }
    left.paths.extend(scratch(work));
    register(work, &taken)
}

fn announce(work: &Work<'_>) -> Started {
    let task = work.task;
    super::isolation::say_once(task.shared);
    task.shared.tell(Notice::BuildStarted {
        drv: task.drv.clone(),
        name: work.drv.name.clone(),
        outputs: work.planned.iter().map(|output| output.path.clone()).collect(),
    });
    Started { wall: SystemTime::now(), steady: Instant::now() }
}

fn run_builder(work: &Work<'_>, prepared: Prepared, log: &mut BuildLog<'_>) -> Result<(), Failure> {
    let task = work.task;
    let result = builder::run(work, &prepared, log);
    // Many wait for their ingest and commit at a time: not with descriptors they need no more.
    drop(prepared);
    log.end_line();
    // The slot is free whatever came of it.
    task.moments.say(Input::Exited);
    result
}

fn stop_if_cancelled(task: &Task<'_>) -> Result<(), Failure> {
    if task.cancel.is_triggered() { Err(Failure::Cancelled) } else { Ok(()) }
}

fn take_in(
    work: &Work<'_>,
    litter: &RefCell<Vec<PathBuf>>,
) -> Result<BTreeMap<String, Taken>, Failure> {
    let task = work.task;
    let intake = Intake {
        shared: task.shared,
        drv_path: task.drv,
        options: &work.options,
        planned: &work.planned,
        inputs: &work.inputs,
        mode: task.mode,
        cancel: task.cancel,
        litter,
    };
    let taken = intake.take_all().map_err(|rejected| match rejected {
        Rejected::Failed(failure) => failure,
        Rejected::OtherHash(misnamed) => mismatch::keep(task, *misnamed),
    })?;
    let made = outputs::made(&work.planned, &taken);
    let closure = |roots: &BTreeSet<StorePath>| graphs::closure_sizes(task.shared, roots);
    judge::judge(&work.options.outputs, &made, &closure)?;
    Ok(taken)
}

/// Paths that the builder wrote instead of the final ones.
fn scratch(work: &Work<'_>) -> Vec<PathBuf> {
    let moved = work.planned.iter().filter(|output| output.written != output.path);
    moved.map(|output| work.task.shared.real(&output.written)).collect()
}

fn register(work: &Work<'_>, taken: &BTreeMap<String, Taken>) -> Result<(), Failure> {
    let task = work.task;
    let shared = task.shared;
    let made = outputs::made(&work.planned, taken);
    let ordered = judge::in_order(&made)?;
    let id = u64::from(task.goal.0);
    let built_on = {
        let uncommitted = shared.books.uncommitted.lock();
        work.inputs.iter().filter_map(|path| uncommitted.get(path).copied()).collect()
    };
    let build = Build {
        id,
        registrations: outputs::registrations(&ordered, taken),
        trees: taken.values().map(|t| t.tree.clone()).collect(),
        built_on,
    };
    let paths: Vec<StorePath> = taken.values().map(|t| t.info.path.clone()).collect();
    shared.books.uncommitted.lock().extend(paths.iter().map(|path| (path.clone(), id)));
    let verdict = submit(shared, build).map(|verdict| {
        task.moments.say(Input::Ingested);
        verdict.recv()
    });
    let mut uncommitted = shared.books.uncommitted.lock();
    for path in &paths {
        uncommitted.remove(path);
    }
    drop(uncommitted);
    understood(verdict?)
}

/// Hands a build to the registrar; its verdict will arrive at what is returned.
pub(super) fn submit(shared: &Shared, build: Build) -> Result<Inbox<Verdict>, Failure> {
    let verdict = shared.books.await_verdict(build.id);
    shared.submit(build).map_err(|e| failure("registering the outputs", &e))?;
    Ok(verdict)
}

/// What a verdict means for the build.
pub(super) fn understood(verdict: Result<Verdict, RecvError>) -> Result<(), Failure> {
    match verdict {
        Ok(Verdict::Registered) => Ok(()),
        Ok(Verdict::Rejected(error) | Verdict::Fatal(error)) => {
            Err(failure("registering the outputs", &*error))
        }
        Err(_) => Err(Failure::Engine("registering the outputs: no verdict came".to_owned())),
    }
}

impl Leftovers<'_> {
    fn record(&self, registered: bool) -> Option<Record> {
        let started = self.started?;
        let seconds = |t: SystemTime| t.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let duration = started.steady.elapsed();
        let log = self.log.as_ref()?;
        Some(Record {
            times: Times {
                start: seconds(started.wall),
                stop: seconds(started.wall + duration),
                duration,
            },
            log: log.path(),
            last_lines: log.last_lines(),
            registered,
        })
    }

    fn tidy(self, task: &Task<'_>, failed: Option<&Failure>) {
        let verdict = failed.map(|why| task.shared.words(why, task.drv));
        let keep = task.shared.settings.keep_failed == KeepFailed::Keep
            && failed.is_some_and(|why| *why != Failure::Cancelled);
        match self.dir {
            Some(dir) if keep => keep_dir(task, dir),
            // After a failure somebody may still live in it.
            Some(dir) if failed.is_none() => task.shared.build_dirs.take_back(dir),
            Some(_) | None => {}
        }
        if let Some(log) = self.log {
            log.finish(verdict.as_deref());
        }
        for path in self.paths {
            if let Err(why) = task.shared.remove(&path) {
                task.shared.tell(Notice::Warning(task.shared.words(&why, task.drv)));
            }
        }
    }
}

fn keep_dir(task: &Task<'_>, dir: BuildDir) {
    let text = match dir.keep() {
        Ok(path) => format!("keeping build directory '{}'", path.display()),
        Err(error) => format!("cannot keep the build directory: {error}"),
    };
    task.shared.tell(Notice::Warning(text));
}
