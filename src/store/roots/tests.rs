use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;

use super::*;
use crate::store::test_support::{Scratch, path};

fn records(file: &Path) -> Vec<String> {
    let bytes = std::fs::read(file).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn a_rooted_path_survives_the_collector_of_nix() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let (kept, lost) = (scratch.file('a', "kept", b"k"), scratch.file('b', "lost", b"l"));
    store.db().register(&[kept.clone().into(), lost.clone().into()]).unwrap();
    store.add_temp_roots([&kept.path]).unwrap();
    scratch.collect_garbage(&[]);
    assert_eq!(store.db().valid([&kept.path, &lost.path]).unwrap(), [kept.path.clone()].into());
    assert!(store.layout().real(&kept.path).exists());
    drop(store);
    scratch.collect_garbage(&[]);
    assert!(!scratch.layout.real(&kept.path).exists(), "roots end with the store value");
}

#[test]
fn each_value_has_a_file_of_its_own() {
    let scratch = Scratch::new();
    let _store = scratch.open();
    let dir = scratch.layout.temp_roots_dir();
    let pid = std::process::id();
    // What a dead process of our number left behind.
    std::fs::write(dir.join(pid.to_string()), "/old\0").unwrap();
    let first = TempRoots::open(&scratch.layout).unwrap();
    let second = TempRoots::open(&scratch.layout).unwrap();
    let print = |p: &StorePath| format!("/s/{p}");
    let (a, b) = (path('a', "a"), path('b', "b"));
    first.add([&a, &b, &a], print).unwrap();
    first.add([&b], print).unwrap();
    second.add([&b], print).unwrap();
    assert_eq!(first.path, dir.join(format!("{pid}-1")));
    assert_eq!(second.path, dir.join(format!("{pid}-2")));
    assert_eq!(records(&first.path), [print(&a), print(&b)], "each root once");
    assert_eq!(records(&second.path), [print(&b)]);
    drop((first, second));
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "the dead one's");
}

/// A collector that acknowledges roots until `most` of them, then hangs up and ends.
fn collector(layout: &Layout, most: usize) -> std::thread::JoinHandle<Vec<String>> {
    let lock = open_lock_file(&layout.gc_lock()).unwrap();
    let lock = FileLock::lock(lock, Mode::Exclusive).unwrap();
    std::fs::create_dir_all(layout.gc_socket().parent().unwrap()).unwrap();
    let listener = UnixListener::bind(layout.gc_socket()).unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        // Roots that never come are a failure, not a test that hangs.
        stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut heard = Vec::new();
        while heard.len() < most {
            heard.push(lines.next().unwrap().unwrap());
            (&stream).write_all(b"1").unwrap();
        }
        drop(lock);
        heard
    })
}

#[test]
fn a_running_collector_is_told() {
    let scratch = Scratch::new();
    let _store = scratch.open();
    let roots = TempRoots::open(&scratch.layout).unwrap();
    let paths: Vec<StorePath> = (0..200).map(|n| path('a', &format!("p{n:03}"))).collect();
    let print = |p: &StorePath| format!("/s/{p}");
    let collector = collector(&scratch.layout, paths.len());
    roots.add(&paths, print).unwrap();
    let heard = collector.join().unwrap();
    assert_eq!(heard, paths.iter().map(print).collect::<Vec<_>>());
    assert_eq!(records(&roots.path), heard, "written for the next collector, too");
}

#[test]
fn a_collector_that_ends_meanwhile_is_no_error() {
    let scratch = Scratch::new();
    let _store = scratch.open();
    let roots = TempRoots::open(&scratch.layout).unwrap();
    let paths: Vec<StorePath> = (0..10).map(|n| path('a', &format!("p{n}"))).collect();
    let collector = collector(&scratch.layout, 3);
    roots.add(&paths, |p| format!("/s/{p}")).unwrap();
    assert_eq!(collector.join().unwrap().len(), 3);
    assert_eq!(records(&roots.path).len(), 10);
}

#[test]
fn a_wrong_answer_is_an_error() {
    let scratch = Scratch::new();
    let _store = scratch.open();
    let roots = TempRoots::open(&scratch.layout).unwrap();
    let _lock = FileLock::lock(open_lock_file(&scratch.layout.gc_lock()).unwrap(), Mode::Exclusive);
    std::fs::create_dir_all(scratch.layout.gc_socket().parent().unwrap()).unwrap();
    let listener = UnixListener::bind(scratch.layout.gc_socket()).unwrap();
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"0").unwrap();
        stream
    });
    let result = roots.add([&path('a', "a")], |p| format!("/s/{p}"));
    assert!(matches!(result, Err(StoreError::BadAck { answer: b'0', .. })), "{result:?}");
    answer.join().unwrap();
}

#[test]
fn sockets_at_long_paths_can_be_reached() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("x".repeat(120));
    std::fs::create_dir(&long).unwrap();
    assert_eq!(connect(&long.join("socket")).unwrap_err().kind(), io::ErrorKind::NotFound);
    let folder = std::fs::File::open(&long).unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&folder);
    let _listener = UnixListener::bind(format!("/proc/self/fd/{number}/socket")).unwrap();
    connect(&long.join("socket")).unwrap();
}
