//! The registrar: one thread, the process's only writer while it builds, that commits in groups.
//!
//! Whenever it is idle it takes what is ready, in the order of ingest, and never waits for more:
//! alone a build is committed at once, under load one flush serves many. Contents are flushed
//! outside any transaction, so the database is never locked for the length of a flush. It takes no
//! file lock and waits for no job.
//!
//! Every build that is submitted gets exactly one verdict. A failure of the disk or the database,
//! or a panic, takes back the whole batch and ends the run: all later builds get that verdict too.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::Store;
use super::db::{Group, Registration, Standing};
use super::durable::{SyncTree, Syncer, Tree};
use super::error::StoreError;
use crate::base::mailbox::{Inbox, Outbox, mailbox};

/// Builds in one commit at most.
pub const MOST_BUILDS: usize = 64;

/// An ingested build that is to be registered.
#[derive(Debug, Clone)]
pub struct Build {
    /// Names it in the verdict and in [`Build::built_on`].
    pub id: u64,
    /// Its outputs.
    pub registrations: Vec<Registration>,
    /// Their contents, to be flushed.
    pub trees: Vec<Tree>,
    /// Builds submitted before that this one used: it does not count if one of them does not.
    pub built_on: BTreeSet<u64>,
}

/// What became of a build.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Committed; with a durable store it is on disk.
    Registered,
    /// Refused, this one alone.
    Rejected(Arc<StoreError>),
    /// The store failed: not registered, nor will anything else be.
    Fatal(Arc<StoreError>),
}

/// Hears the verdicts, on the registrar's thread; it must not block for long.
pub type Report = Box<dyn Fn(u64, Verdict) + Send>;

/// A handle on the thread.
#[derive(Debug)]
pub struct Registrar {
    store: Arc<Store>,
    queue: Option<Outbox<Build>>,
    thread: Option<JoinHandle<()>>,
}

impl Registrar {
    /// Starts the thread. To be called before anything is written that it is to flush.
    ///
    /// # Errors
    /// [`StoreError`] if the store folder cannot be opened or the thread cannot be made.
    pub fn start(
        store: Arc<Store>,
        sync_tree: SyncTree,
        report: Report,
    ) -> Result<Self, StoreError> {
        let folder = &store.layout().real_store_dir;
        let syncer = Syncer::new(folder, store.options().durability, sync_tree)?;
        let (queue, builds) = mailbox();
        let worker = Worker {
            store: Arc::clone(&store),
            syncer,
            report,
            rejected: BTreeSet::new(),
            fatal: None,
        };
        let thread = std::thread::Builder::new()
            .name("registrar".to_owned())
            .spawn(move || worker.run(&builds))
            .map_err(StoreError::io("starting a thread for", folder))?;
        Ok(Self { store, queue: Some(queue), thread: Some(thread) })
    }

    /// Hands a build over. From now on it is pending, so every view of the store has it; its locks
    /// and temporary roots must be held until its verdict.
    ///
    /// # Errors
    /// [`StoreError::RegistrarGone`] if the thread has ended; the build is not pending then.
    pub fn submit(&self, build: Build) -> Result<(), StoreError> {
        let infos = || build.registrations.iter().map(|r| &r.info);
        self.store.pending().insert(infos());
        let gone = || StoreError::RegistrarGone("it takes no more builds".to_owned());
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        queue.send(build).map_err(|refused| {
            let paths = refused.0.registrations.iter().map(|r| &r.info.path);
            self.store.pending().remove(paths);
            gone()
        })
    }

    /// Waits until everything submitted has its verdict, and ends the thread.
    ///
    /// # Errors
    /// [`StoreError::RegistrarGone`] if the thread panicked outside a batch.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.join()
    }

    fn join(&mut self) -> Result<(), StoreError> {
        self.queue = None;
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().map_err(|panic| StoreError::RegistrarGone(words_of(&*panic)))
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        // `finish` reports this; who drops does not want to know.
        let _ = self.join();
    }
}

struct Worker {
    store: Arc<Store>,
    syncer: Syncer,
    report: Report,
    rejected: BTreeSet<u64>,
    fatal: Option<Arc<StoreError>>,
}

impl Worker {
    fn run(mut self, builds: &Inbox<Build>) {
        while let Ok(first) = builds.recv() {
            let mut batch = vec![first];
            batch.extend(builds.try_iter().take(MOST_BUILDS - 1));
            let verdicts = self.judge(&batch);
            // Out of pending only now, after the commit: see `pending`.
            for (build, verdict) in batch.iter().zip(&verdicts) {
                let infos = build.registrations.iter().map(|r| &r.info);
                match verdict {
                    Verdict::Registered => self.store.pending().committed(infos),
                    Verdict::Rejected(_) | Verdict::Fatal(_) => {
                        self.store.pending().remove(infos.map(|info| &info.path));
                        self.rejected.insert(build.id);
                    }
                }
            }
            for (build, verdict) in batch.iter().zip(verdicts) {
                // Who hears a verdict and panics must not keep the others from theirs.
                let _ = catch_unwind(AssertUnwindSafe(|| (self.report)(build.id, verdict)));
            }
        }
    }

    /// One verdict for each build of `batch`, in order.
    fn judge(&mut self, batch: &[Build]) -> Vec<Verdict> {
        if self.fatal.is_none() {
            let committed = catch_unwind(AssertUnwindSafe(|| self.commit(batch)));
            let committed =
                committed.unwrap_or_else(|panic| Err(StoreError::RegistrarGone(words_of(&*panic))));
            match committed {
                Ok(verdicts) => return verdicts,
                Err(error) => self.fatal = Some(Arc::new(error)),
            }
        }
        let fatal = self.fatal.iter().cycle().map(|e| Verdict::Fatal(Arc::clone(e)));
        fatal.take(batch.len()).collect()
    }

    fn commit(&self, batch: &[Build]) -> Result<Vec<Verdict>, StoreError> {
        let doomed = |build: &Build| !build.built_on.is_disjoint(&self.rejected);
        let places: Vec<Vec<usize>> = batch.iter().map(|b| places_of(&b.built_on, batch)).collect();
        let trees: Vec<Tree> = batch.iter().flat_map(|build| build.trees.clone()).collect();
        self.syncer.sync(&trees)?;
        let groups: Vec<Group<'_>> = batch
            .iter()
            .zip(&places)
            .map(|(build, built_on)| Group {
                registrations: &build.registrations,
                built_on,
                standing: if doomed(build) { Standing::Doomed } else { Standing::Sound },
            })
            .collect();
        let results = self.store.db().register_groups(&groups)?;
        Ok(results
            .into_iter()
            .map(|result| match result {
                Ok(()) => Verdict::Registered,
                Err(error) => Verdict::Rejected(Arc::new(error)),
            })
            .collect())
    }
}

/// Where in `batch` the builds `ids` stand.
fn places_of(ids: &BTreeSet<u64>, batch: &[Build]) -> Vec<usize> {
    if ids.is_empty() {
        return Vec::new();
    }
    let wanted = batch.iter().enumerate().filter(|(_, build)| ids.contains(&build.id));
    wanted.map(|(place, _)| place).collect()
}

/// What a panic said.
fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "it panicked".to_owned())
}

#[cfg(test)]
mod tests;
