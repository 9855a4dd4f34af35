//! What the threads of a run share: the store, the settings and the books of what happened.
//!
//! No rules live here, and nothing that decides what comes next: that is the machine's. Locks are
//! held for a look or an entry, never across I/O or a wait, with one exception that is meant: the
//! first temporary folder of a run is made under its lock, so that there is only one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};

use super::failures::failure;
use super::moments::Message;
use super::report::{Notice, Times};
use super::settings::Settings;
use crate::base::fs::remove_tree;
use crate::base::mailbox::{Inbox, Outbox, mailbox};
use crate::base::tempdir::BuildDirs;
use crate::format::{StoreDir, StorePath};
use crate::machine::Failure;
use crate::machine::vocab::{Key, Outcome, OutputFacts};
use crate::store::registrar::Verdict;
use crate::store::registrar::{Build, Registrar};
use crate::store::temp_dir::StoreTempDir;
use crate::store::{Store, StoreError, View};

/// Who hears notices. Called from many threads; must not block.
pub type Tell = Box<dyn Fn(Notice) + Send + Sync>;

/// Outputs of a derivation by name.
pub(super) type OutputPaths = Arc<BTreeMap<Arc<str>, StorePath>>;

/// What all threads of a run see.
pub(super) struct Shared {
    pub store: Arc<Store>,
    pub settings: Arc<Settings>,
    pub build_dirs: BuildDirs,
    /// Bounds how many outputs are hashed at a time.
    pub ingest: Gate,
    /// Bounds how many builds there are between their slot and their last word.
    pub under_way: Gate,
    pub books: Arc<Books>,
    registrar: Mutex<Option<Registrar>>,
    temp: Mutex<Option<StoreTempDir>>,
    next: AtomicU64,
    tell: Tell,
}

/// What is noted down while a run goes on.
#[derive(Default)]
pub(super) struct Books {
    /// Outputs of every derivation that was read.
    pub outputs: Mutex<BTreeMap<StorePath, OutputPaths>>,
    /// Builds that ran, by derivation.
    pub records: Mutex<BTreeMap<StorePath, Record>>,
    /// Jobs that wait for the registrar, by build.
    pub waiting: Mutex<BTreeMap<u64, Outbox<Verdict>>>,
    /// Builds that are ingested and not committed, by output.
    pub uncommitted: Mutex<BTreeMap<StorePath, u64>>,
    /// Whether the level of isolation was told.
    isolation: AtomicBool,
}

/// One build that ran.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub times: Times,
    pub log: Option<PathBuf>,
    pub last_lines: Vec<Vec<u8>>,
    /// Whether its outputs are registered.
    pub registered: bool,
}

impl Shared {
    pub(super) fn new(
        store: Arc<Store>,
        settings: Arc<Settings>,
        build_dirs: BuildDirs,
        tell: Tell,
    ) -> Self {
        let ingest = Gate::new(settings.schedule.cores.max(1));
        let under_way = Gate::new(super::affordable_jobs() as usize);
        let (registrar, temp) = (Mutex::new(None), Mutex::new(None));
        let (books, next) = (Arc::default(), AtomicU64::new(0));
        Self { store, settings, build_dirs, ingest, under_way, books, registrar, temp, next, tell }
    }

    pub(super) fn view(&self) -> View<'_> {
        self.store.view()
    }

    pub(super) fn store_dir(&self) -> &StoreDir {
        &self.store.layout().store_dir
    }

    /// Where `path` lies on this machine.
    pub(super) fn real(&self, path: &StorePath) -> PathBuf {
        self.store.layout().real(path)
    }

    pub(super) fn tell(&self, notice: Notice) {
        (self.tell)(notice);
    }

    /// Keeps the collector off these paths while this process lives.
    pub(super) fn protect<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p StorePath>,
    ) -> Result<(), StoreError> {
        self.store.add_temp_roots(paths)
    }

    /// A path in a folder of ours in the store, on the file system of the store.
    pub(super) fn temporary(&self) -> Result<PathBuf, Failure> {
        let mut temp = self.temp.lock();
        let dir = match temp.take() {
            Some(dir) => dir,
            None => self
                .store
                .temp_dir()
                .map_err(|e| failure("making a temporary folder in the store", &e))?,
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = dir.path().join(number.to_string());
        *temp = Some(dir);
        Ok(path)
    }

    /// Renames `path` to a temporary one, which is returned: out of the way at once, to be removed
    /// later.
    pub(super) fn set_aside(&self, path: &Path) -> Result<PathBuf, Failure> {
        let aside = self.temporary()?;
        let moved = crate::store::ingest::move_into_place(path, &aside);
        moved.map_err(|e| failure(&format!("moving `{}` out of the way", path.display()), &e))?;
        Ok(aside)
    }

    pub(super) fn remove(&self, path: &Path) -> Result<(), Failure> {
        let removed = remove_tree(path).map(drop);
        removed.map_err(|e| failure(&format!("removing `{}`", path.display()), &e))
    }

    pub(super) fn remember_outputs(&self, drv: &StorePath, outputs: &[OutputFacts]) {
        let paths = outputs.iter().map(|o| (Arc::clone(&o.name), o.path.clone())).collect();
        self.books.outputs.lock().insert(drv.clone(), Arc::new(paths));
    }

    /// Outputs of a derivation, read again if no goal has read it.
    pub(super) fn outputs_of(&self, drv: &StorePath) -> Result<OutputPaths, Failure> {
        if let Some(known) = self.books.outputs.lock().get(drv) {
            return Ok(Arc::clone(known));
        }
        let read = super::probe::read_derivation(self, drv)?;
        let one = |name: &String| Some((Arc::from(name.as_str()), read.output_path(name)?.clone()));
        Ok(Arc::new(read.outputs.keys().filter_map(one).collect()))
    }

    /// A failure of ours as a sentence.
    pub(super) fn words(&self, why: &Failure, about: &StorePath) -> String {
        super::failure_words::long(why, about, self.store_dir())
    }

    /// The notice for a goal that has ended, if it was a build.
    pub(super) fn finished(&self, key: &Key, outcome: Outcome) -> Option<Notice> {
        super::outcome::build_finished(self, key, outcome)
    }

    pub(super) fn set_registrar(&self, registrar: Registrar) {
        *self.registrar.lock() = Some(registrar);
    }

    /// Hands a build to the registrar.
    pub(super) fn submit(&self, build: Build) -> Result<(), StoreError> {
        match &*self.registrar.lock() {
            Some(registrar) => registrar.submit(build),
            None => Err(StoreError::RegistrarGone("the run is over".to_owned())),
        }
    }

    /// Waits until everything that was handed over has its verdict.
    pub(super) fn finish_registrar(&self) -> Result<(), StoreError> {
        let registrar = self.registrar.lock().take();
        registrar.map_or(Ok(()), Registrar::finish)
    }
}

impl Books {
    /// Where the verdict on build `id` will arrive.
    pub(super) fn await_verdict(&self, id: u64) -> Inbox<Verdict> {
        let (answer, verdict) = mailbox();
        self.waiting.lock().insert(id, answer);
        verdict
    }

    /// Passes a verdict of the registrar on; a store that is broken ends the run.
    pub(super) fn verdict(&self, id: u64, verdict: Verdict, outbox: &Outbox<Message>) {
        if let Verdict::Fatal(error) = &verdict {
            let _ = outbox.send(Message::Broken(crate::base::error::with_causes(&**error)));
        }
        if let Some(answer) = self.waiting.lock().remove(&id) {
            let _ = answer.send(verdict);
        }
    }

    /// Whether the level of isolation was told before; it is from now on.
    pub(super) fn said_isolation(&self) -> bool {
        self.isolation.swap(true, Ordering::Relaxed)
    }
}

/// Lets a number of threads in at a time.
#[derive(Debug)]
pub(super) struct Gate {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A place inside a [`Gate`]; dropping it lets the next one in.
pub(super) struct Inside<'g>(&'g Gate);

impl Gate {
    fn new(places: usize) -> Self {
        Self { free: Mutex::new(places), freed: Condvar::new() }
    }

    pub(super) fn enter(&self) -> Inside<'_> {
        let mut free = self.free.lock();
        while *free == 0 {
            self.freed.wait(&mut free);
        }
        *free -= 1;
        Inside(self)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
        self.0.freed.notify_one();
    }
}
