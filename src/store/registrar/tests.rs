use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::*;
use crate::format::{StorePath, ValidPathInfo};
use crate::store::test_support::{Scratch, path};
use crate::store::{Direction, Durability, OpenOptions};

fn start(store: &Arc<Store>, sync: SyncTree) -> (Registrar, mpsc::Receiver<(u64, Verdict)>) {
    let (send, verdicts) = mpsc::channel();
    let report = move |id, verdict| send.send((id, verdict)).unwrap();
    (Registrar::start(Arc::clone(store), sync, Box::new(report)).unwrap(), verdicts)
}

fn build(id: u64, info: &ValidPathInfo, built_on: &[u64]) -> Build {
    let trees = vec![Tree { path: info.path.as_str().into(), entries: 1 }];
    let built_on = built_on.iter().copied().collect();
    Build { id, registrations: vec![info.clone().into()], trees, built_on }
}

/// A build `name` that refers to `references`.
fn info(scratch: &Scratch, digit: char, references: &[&StorePath]) -> ValidPathInfo {
    let mut info = scratch.file(digit, "x", b"x");
    info.references = references.iter().map(|&path| path.clone()).collect();
    info
}

fn no_sync(_: &Path) -> std::io::Result<()> {
    Ok(())
}

#[test]
fn every_build_gets_its_verdict_in_order() {
    let scratch = Scratch::new();
    let store = Arc::new(scratch.open());
    let a = info(&scratch, 'a', &[]);
    let bad = info(&scratch, 'b', &[&path('f', "f")]);
    let on_bad = info(&scratch, 'c', &[]);
    let on_a = info(&scratch, 'd', &[&a.path]);
    let (registrar, verdicts) = start(&store, no_sync);
    for (id, info, on) in [(1, &a, &[][..]), (2, &bad, &[]), (3, &on_bad, &[2]), (4, &on_a, &[1])] {
        registrar.submit(build(id, info, on)).unwrap();
    }
    registrar.finish().unwrap();
    let verdicts: Vec<(u64, Verdict)> = verdicts.iter().collect();
    assert!(matches!(verdicts[0], (1, Verdict::Registered)));
    assert!(matches!(&verdicts[1], (2, Verdict::Rejected(e))
        if matches!(**e, StoreError::ReferenceNotValid { .. })));
    assert!(matches!(&verdicts[2], (3, Verdict::Rejected(e))
        if matches!(**e, StoreError::BuiltOnRejected)));
    assert!(matches!(verdicts[3], (4, Verdict::Registered)));
    assert_eq!(store.db().all_valid().unwrap(), [a.path, on_a.path].into());
    assert!(store.pending().snapshot().is_empty());
}

#[test]
fn what_is_built_on_an_earlier_refusal_is_refused() {
    let scratch = Scratch::new();
    let store = Arc::new(scratch.open());
    let bad = info(&scratch, 'b', &[&path('f', "f")]);
    let on_bad = info(&scratch, 'c', &[]);
    let (registrar, verdicts) = start(&store, no_sync);
    registrar.submit(build(1, &bad, &[])).unwrap();
    // Only when its verdict is there does the next one go: another batch.
    assert!(matches!(verdicts.recv().unwrap().1, Verdict::Rejected(_)));
    registrar.submit(build(2, &on_bad, &[1])).unwrap();
    assert!(matches!(verdicts.recv().unwrap().1, Verdict::Rejected(_)));
    assert!(store.db().all_valid().unwrap().is_empty());
}

#[test]
fn a_failed_flush_ends_everything() {
    let scratch = Scratch::new();
    let store = Arc::new(scratch.open());
    let full = |_: &Path| Err(std::io::Error::from_raw_os_error(libc::ENOSPC));
    let (registrar, verdicts) = start(&store, full);
    let (a, b) = (info(&scratch, 'a', &[]), info(&scratch, 'b', &[]));
    registrar.submit(build(1, &a, &[])).unwrap();
    let fatal = |verdict| matches!(verdict, Verdict::Fatal(e) if e.is_no_space());
    assert!(fatal(verdicts.recv().unwrap().1));
    registrar.submit(build(2, &b, &[])).unwrap();
    assert!(fatal(verdicts.recv().unwrap().1));
    registrar.finish().unwrap();
    assert!(store.db().all_valid().unwrap().is_empty());
    assert!(store.pending().snapshot().is_empty());
}

#[test]
fn a_panic_becomes_a_verdict() {
    let scratch = Scratch::new();
    let store = Arc::new(scratch.open());
    let (registrar, verdicts) = start(&store, |_| panic!("flushing went wrong"));
    registrar.submit(build(1, &info(&scratch, 'a', &[]), &[])).unwrap();
    let verdict = verdicts.recv().unwrap().1;
    assert!(matches!(verdict, Verdict::Fatal(e) if e.to_string().contains("went wrong")));
    registrar.finish().unwrap();
}

#[test]
fn a_relaxed_store_flushes_nothing() {
    let scratch = Scratch::new();
    let options = OpenOptions { durability: Durability::Relaxed, ..OpenOptions::default() };
    let store = Arc::new(Store::open(scratch.layout.clone(), options).unwrap());
    let (registrar, verdicts) = start(&store, |_| panic!("no flush was asked for"));
    registrar.submit(build(1, &info(&scratch, 'a', &[]), &[])).unwrap();
    assert!(matches!(verdicts.recv().unwrap().1, Verdict::Registered));
}

static MANY: AtomicUsize = AtomicUsize::new(0);

#[test]
fn many_files_are_flushed_by_one_call() {
    let scratch = Scratch::new();
    let store = Arc::new(scratch.open());
    let count = |_: &Path| {
        MANY.fetch_add(1, Ordering::SeqCst);
        Ok(())
    };
    let (registrar, verdicts) = start(&store, count);
    for (id, digit, entries) in [(1, 'a', 1000), (2, 'b', 1001)] {
        let mut build = build(id, &info(&scratch, digit, &[]), &[]);
        build.trees[0].entries = entries;
        registrar.submit(build).unwrap();
        assert!(matches!(verdicts.recv().unwrap().1, Verdict::Registered));
    }
    assert_eq!(MANY.load(Ordering::SeqCst), 1, "the second went through syncfs");
}

#[test]
fn a_view_sees_pending_and_committed_paths() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let a = info(&scratch, 'a', &[]);
    let b = info(&scratch, 'b', &[&a.path]);
    let c = info(&scratch, 'c', &[&b.path]);
    store.db().register(&[a.clone().into()]).unwrap();
    store.pending().insert([&b, &c]);
    let view = store.view();
    let all = [a.path.clone(), b.path.clone(), c.path.clone()].into();
    assert_eq!(view.valid([&a.path, &b.path, &c.path, &path('f', "f")]).unwrap(), all);
    assert_eq!(view.infos([&a.path, &b.path]).unwrap()[&b.path], b);
    assert_eq!(view.closure([&c.path], Direction::References).unwrap(), all);
    assert_eq!(view.closure([&a.path], Direction::Referrers).unwrap(), all);
    assert_eq!(view.closure([&c.path], Direction::Referrers).unwrap(), [c.path.clone()].into());
    store.db().register(&[b.clone().into(), c.clone().into()]).unwrap();
    store.pending().committed([&b, &c]);
    assert!(store.pending().snapshot().is_empty());
    assert_eq!(view.closure([&a.path], Direction::Referrers).unwrap(), all);
    assert_eq!(view.closure([&c.path], Direction::References).unwrap(), all);
}

#[test]
fn closures_are_those_of_the_database_whatever_is_remembered() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let digest = |n: u64| -> [u8; 20] { std::array::from_fn(|i| n.to_le_bytes()[i % 8]) };
    let paths: Vec<StorePath> =
        (0..9000).map(|n| StorePath::from_parts(&digest(n), "x").unwrap()).collect();
    // Each refers to the one before, the one at half its place and itself.
    let infos: Vec<ValidPathInfo> = paths
        .iter()
        .enumerate()
        .map(|(n, path)| {
            let mut info = info(&scratch, 'a', &[]);
            info.path = path.clone();
            info.references =
                [path, &paths[n.saturating_sub(1)], &paths[n / 2]].map(Clone::clone).into();
            info
        })
        .collect();
    for some in infos.chunks(1000) {
        let rows: Vec<_> = some.iter().cloned().map(Into::into).collect();
        store.pending().insert(some);
        store.db().register(&rows).unwrap();
        store.pending().committed(some);
        let last = &some[some.len() - 1].path;
        let closure = store.view().closure([last, &path('d', "d")], Direction::References).unwrap();
        assert_eq!(closure, store.db().closure([last], Direction::References).unwrap());
    }
    // What was refused is not remembered.
    let refused = info(&scratch, 'f', &[]);
    store.pending().insert([&refused]);
    store.pending().remove([&refused.path]);
    assert!(store.view().closure([&refused.path], Direction::References).unwrap().is_empty());
}

#[test]
fn no_path_is_missed_while_it_moves() {
    let scratch = Scratch::new();
    let store = Arc::new(scratch.open());
    let (registrar, verdicts) = start(&store, no_sync);
    let template = info(&scratch, 'a', &[]);
    for id in 0..200_u64 {
        let mut info = template.clone();
        let digest: [u8; 20] = std::array::from_fn(|i| id.to_le_bytes()[i % 8]);
        info.path = StorePath::from_parts(&digest, "x").unwrap();
        registrar.submit(build(id, &info, &[])).unwrap();
        while verdicts.try_recv().is_err() {
            assert!(store.view().valid([&info.path]).unwrap().contains(&info.path));
        }
        assert!(store.view().valid([&info.path]).unwrap().contains(&info.path));
    }
}

/// Outlives the callbacks of the test below, which cannot carry anything.
static WATCHED: std::sync::OnceLock<Arc<Store>> = std::sync::OnceLock::new();

#[test]
fn contents_are_flushed_before_their_row_is_written() {
    static FLUSHED: AtomicUsize = AtomicUsize::new(0);
    fn sync(_: &Path) -> std::io::Result<()> {
        let store = WATCHED.get().unwrap();
        assert!(store.db().all_valid().unwrap().is_empty(), "no row yet");
        FLUSHED.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    let scratch = Scratch::new();
    let store = WATCHED.get_or_init(|| Arc::new(scratch.open()));
    let (registrar, verdicts) = start(store, sync);
    registrar.submit(build(0, &info(&scratch, 'a', &[]), &[])).unwrap();
    let (_, verdict) = verdicts.recv().unwrap();
    assert!(matches!(verdict, Verdict::Registered), "{verdict:?}");
    assert_eq!(FLUSHED.load(Ordering::SeqCst), 1);
    assert_eq!(store.db().all_valid().unwrap().len(), 1);
}
