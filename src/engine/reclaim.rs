//! What a killed process left behind is taken back at the next start: build folders, lock files,
//! unfinished outputs, temporary folders in the store.
//!
//! The store folder is never scanned: a dead process's file of temporary roots names the paths it
//! worked on, and only their lock files are looked for. All is done under the locks that a build
//! would take, so living processes, drover's and real Nix's, are never disturbed: what is locked is
//! theirs. It runs on a thread of its own beside the run, and what it does not get done by the end
//! of the run the next one finds again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::report::{Notice, Reclaimed};
use super::shared::Shared;
use crate::base::error::with_causes;
use crate::base::lock::{Deletion, PathLocks};
use crate::base::tempdir::reclaim_stale;
use crate::format::StorePath;
use crate::machine::Failure;
use crate::store::dead_roots::{self, DeadRoots};
use crate::store::temp_dir;

/// The thread that takes things back.
pub(super) struct Reclaimer {
    stop: Arc<AtomicBool>,
    ended: Receiver<()>,
}

impl Reclaimer {
    /// Starts it. Without a thread to be had, the next run does it.
    pub(super) fn start(shared: &Arc<Shared>) -> Option<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (end, ended) = bounded(1);
        let worker = Worker { shared: Arc::clone(shared), stop: Arc::clone(&stop) };
        let work = move || {
            worker.run();
            // Whoever hears the end may take the run apart: nothing of it is held then.
            drop(worker);
            drop(end);
        };
        thread::Builder::new().name("reclaim".into()).spawn(work).ok()?;
        Some(Self { stop, ended })
    }

    /// Lets it go on for `patience`, then until the end of the step it is at, but no longer than
    /// the same again.
    pub(super) fn finish(self, patience: Duration) {
        // Nothing is ever sent: an answer of any kind but a time-out is the end of the thread.
        let ended = |r: &Receiver<()>| {
            r.recv_timeout(patience) != Err(crossbeam_channel::RecvTimeoutError::Timeout)
        };
        if !ended(&self.ended) {
            self.stop.store(true, Ordering::Relaxed);
            ended(&self.ended);
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
}

/// Whether there is time for more.
#[derive(PartialEq, Eq)]
enum Go {
    On,
    Stop,
}

/// How far a dead process's things were taken back.
#[derive(PartialEq, Eq)]
enum State {
    Done,
    /// Something is still held or not looked at.
    Busy,
}

impl Worker {
    fn run(&self) {
        let mut done = Reclaimed::default();
        if let Err(why) = self.dead_processes(&mut done) {
            self.warn(&why);
        }
        if self.go() == Go::On {
            self.build_folders(&mut done);
        }
        if done != Reclaimed::default() {
            self.shared.tell(Notice::Reclaimed(done));
        }
    }

    fn go(&self) -> Go {
        if self.stop.load(Ordering::Relaxed) { Go::Stop } else { Go::On }
    }

    fn warn(&self, why: &str) {
        let text = format!("taking back what a killed process left: {why}");
        self.shared.tell(Notice::Warning(text));
    }

    fn build_folders(&self, done: &mut Reclaimed) {
        match reclaim_stale(self.shared.build_dirs.root()) {
            Ok(reclaimed) => {
                done.build_folders += reclaimed.folders;
                done.bytes += reclaimed.removed.bytes;
                reclaimed.failed.iter().for_each(|error| self.warn(&with_causes(error)));
            }
            Err(error) => self.warn(&with_causes(&error)),
        }
    }

    fn dead_processes(&self, done: &mut Reclaimed) -> Result<(), String> {
        let layout = self.shared.store.layout();
        for file in dead_roots::files(layout).map_err(|e| with_causes(&e))? {
            let Some(dead) = DeadRoots::take(&file).map_err(|e| with_causes(&e))? else { continue };
            // A process that died just now leaves its locks to those that end its builders: then
            // its paths must be found once more.
            if self.dead_process(&dead, done)? == State::Done {
                dead.finish().map_err(|e| with_causes(&e))?;
            }
        }
        Ok(())
    }

    fn dead_process(&self, dead: &DeadRoots, done: &mut Reclaimed) -> Result<State, String> {
        let layout = self.shared.store.layout();
        let mut busy = false;
        for path in dead.paths(&layout.store_dir) {
            if self.go() == Go::Stop {
                return Ok(State::Busy);
            }
            // Whoever wrote at the path had made its lock file first, and nobody removed it since.
            if layout.lock_file(&path).symlink_metadata().is_ok() {
                busy |= self.locked_path(&path, done)? == State::Busy;
            }
        }
        done.temp_folders += temp_dir::reclaim(layout, dead.pid()).map_err(|e| with_causes(&e))?;
        Ok(if busy { State::Busy } else { State::Done })
    }

    /// Removes the lock file of `path`, and what lies there if it is not valid.
    fn locked_path(&self, path: &StorePath, done: &mut Reclaimed) -> Result<State, String> {
        let file = self.shared.store.layout().lock_file(path);
        let Ok(locks) = PathLocks::try_acquire([file]).map_err(|e| with_causes(&e))? else {
            return Ok(State::Busy);
        };
        let aside = self.set_aside_unless_valid(path);
        locks.release(Deletion::Delete).map_err(|e| with_causes(&e))?;
        done.locks += 1;
        if let Some(aside) = aside? {
            self.remove(&aside, path)?;
            done.outputs += 1;
        }
        Ok(State::Done)
    }

    fn set_aside_unless_valid(&self, path: &StorePath) -> Result<Option<PathBuf>, String> {
        let real = self.shared.real(path);
        if real.symlink_metadata().is_err() {
            return Ok(None);
        }
        let valid = self.shared.view().valid([path]).map_err(|e| with_causes(&e))?;
        if !valid.is_empty() {
            return Ok(None);
        }
        self.shared.set_aside(&real).map(Some).map_err(|why| self.words(&why, path))
    }

    fn remove(&self, aside: &Path, path: &StorePath) -> Result<(), String> {
        self.shared.remove(aside).map_err(|why| self.words(&why, path))
    }

    fn words(&self, why: &Failure, path: &StorePath) -> String {
        self.shared.words(why, path)
    }
}
