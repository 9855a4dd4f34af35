use std::os::unix::fs::MetadataExt;
use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::mpsc;

use super::holder::find_holder;
use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn entries(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name());
    let mut names: Vec<String> = names.map(|n| n.into_string().unwrap()).collect();
    names.sort();
    names
}

/// Waits until `/proc/locks` shows somebody blocked on the file: the event a test waits for.
fn await_waiter(path: &Path) {
    let meta = std::fs::metadata(path).unwrap();
    let (major, minor) = (libc::major(meta.dev()), libc::minor(meta.dev()));
    let id = format!("{major:02x}:{minor:02x}:{}", meta.ino());
    let blocked = |line: &str| line.contains("->") && line.contains(&id);
    while !std::fs::read_to_string("/proc/locks").unwrap().lines().any(blocked) {
        std::thread::yield_now();
    }
}

#[test]
fn two_opens_in_one_process_exclude_each_other() {
    let dir = folder();
    let path = dir.path().join("a.lock");
    let held = PathLocks::try_acquire([path.clone()]).unwrap().unwrap();
    assert!(PathLocks::try_acquire([path.clone()]).unwrap().is_err());
    held.release(Deletion::Keep).unwrap();
    assert!(path.exists());
    assert!(PathLocks::try_acquire([path.clone()]).unwrap().is_ok());
    assert!(!path.exists(), "dropping removes the file");
}

#[test]
fn all_or_none() {
    let dir = folder();
    let path = |name: &str| dir.path().join(name);
    let held = PathLocks::try_acquire([path("b")]).unwrap().unwrap();
    assert!(PathLocks::try_acquire([path("c"), path("a"), path("b")]).unwrap().is_err());
    assert_eq!(entries(dir.path()), ["b"], "what was taken is let go and leaves no file");
    held.release(Deletion::Delete).unwrap();
    let all = PathLocks::try_acquire([path("c"), path("a"), path("b"), path("a")]);
    assert_eq!(all.unwrap().unwrap().held.len(), 3, "a path that is named twice is one lock");
}

/// Two that want the same locks meet at the first one, whatever order they name them in.
#[test]
fn locks_are_taken_in_order() {
    let dir = folder();
    let path = |name: &str| dir.path().join(name);
    let held = PathLocks::try_acquire([path("c")]).unwrap().unwrap();
    let wanted = [path("c"), path("b"), path("a")];
    assert_eq!(PathLocks::try_acquire(wanted.clone()).unwrap().unwrap_err(), path("c"));
    let first = PathLocks::try_acquire([path("a")]).unwrap().unwrap();
    assert_eq!(PathLocks::try_acquire(wanted).unwrap().unwrap_err(), path("a"));
    drop((held, first));
}

#[test]
fn a_file_with_a_byte_in_it_is_opened_again() {
    let dir = folder();
    let path = dir.path().join("a.lock");
    let first = PathLocks::try_acquire([path.clone()]).unwrap().unwrap();
    let (send, taken) = mpsc::channel();
    let waiting = path.clone();
    let second = std::thread::spawn(move || {
        let locks = PathLocks::acquire([waiting], &AtomicBool::new(false)).unwrap();
        send.send(()).unwrap();
        locks
    });
    await_waiter(&path);
    assert!(taken.try_recv().is_err());
    first.release(Deletion::Delete).unwrap();
    let second = second.join().unwrap();
    // The file that the waiter waited for is gone; it must hold the one that others find.
    assert!(path.exists());
    assert!(PathLocks::try_acquire([path.clone()]).unwrap().is_err());
    second.release(Deletion::Delete).unwrap();
    assert!(entries(dir.path()).is_empty());
}

#[test]
fn a_file_that_somebody_wrote_to_is_no_reason_to_look_for_ever() {
    let dir = folder();
    let path = dir.path().join("a.lock");
    let cancelled = AtomicBool::new(false);
    std::fs::write(&path, "x").unwrap();
    wait_until_free(&path, &cancelled).unwrap();
    assert!(path.exists(), "whoever only waits removes nothing");
    let held = PathLocks::try_acquire([path.clone()]).unwrap().unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0, "it is a new one");
    assert!(PathLocks::try_acquire([path.clone()]).unwrap().is_err());
    held.release(Deletion::Delete).unwrap();
    std::fs::write(&path, "x").unwrap();
    drop(PathLocks::acquire([path.clone()], &cancelled).unwrap());
    assert!(entries(dir.path()).is_empty());
}

#[test]
fn nothing_but_a_regular_file_is_a_lock() {
    let dir = folder();
    let path = dir.path().join("a.lock");
    let victim = dir.path().join("victim");
    let cancelled = AtomicBool::new(false);
    let refused = || {
        let errors = [
            PathLocks::try_acquire([path.clone()]).unwrap_err(),
            PathLocks::acquire([path.clone()], &cancelled).unwrap_err(),
            wait_until_free(&path, &cancelled).unwrap_err(),
        ];
        errors.map(|error| error.to_string())
    };
    std::os::unix::fs::symlink(&victim, &path).unwrap();
    assert!(refused().iter().all(|error| error.contains("it is a symlink")), "{:?}", refused());
    assert!(!victim.exists(), "nothing is made where it leads");
    std::fs::write(&victim, "").unwrap();
    assert!(refused().iter().all(|error| error.contains("it is a symlink")), "{:?}", refused());
    assert_eq!(std::fs::read(&victim).unwrap(), b"");
    std::fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(refused().iter().all(|error| error.contains("not a regular")), "{:?}", refused());
}

#[test]
fn many_takers_never_hold_a_lock_together() {
    let dir = folder();
    let path = dir.path().join("a.lock");
    let inside = Arc::new(AtomicBool::new(false));
    let takers: Vec<_> = (0..4)
        .map(|_| {
            let (path, inside) = (path.clone(), Arc::clone(&inside));
            std::thread::spawn(move || {
                for _ in 0..500 {
                    let locks =
                        PathLocks::acquire([path.clone()], &AtomicBool::new(false)).unwrap();
                    assert!(!inside.swap(true, Ordering::SeqCst), "two hold the lock");
                    inside.store(false, Ordering::SeqCst);
                    locks.release(Deletion::Delete).unwrap();
                }
            })
        })
        .collect();
    takers.into_iter().for_each(|t| t.join().unwrap());
    assert!(entries(dir.path()).is_empty());
}

#[test]
fn waiting_ends_with_the_release_and_holds_nothing() {
    let dir = folder();
    let path = dir.path().join("a.lock");
    wait_until_free(&path, &AtomicBool::new(false)).unwrap();
    assert!(!path.exists(), "waiting makes no file");
    let held = PathLocks::try_acquire([path.clone()]).unwrap().unwrap();
    let waiting = path.clone();
    let waiter =
        std::thread::spawn(move || wait_until_free(&waiting, &AtomicBool::new(false)).unwrap());
    await_waiter(&path);
    held.release(Deletion::Keep).unwrap();
    waiter.join().unwrap();
    assert!(PathLocks::try_acquire([path]).unwrap().is_ok());
}

extern "C" fn ignore(_: i32) {}

#[test]
#[expect(unsafe_code, reason = "installs a signal action that only interrupts")]
fn a_signal_ends_a_cancelled_wait() {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    let action = SigAction::new(SigHandler::Handler(ignore), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing, and no other test uses this signal.
    unsafe { sigaction(Signal::SIGWINCH, &action) }.unwrap();
    let dir = folder();
    let path = dir.path().join("a.lock");
    let _held = PathLocks::try_acquire([path.clone()]).unwrap().unwrap();
    let cancelled = Arc::new(AtomicBool::new(false));
    let (waiting, flag) = (path.clone(), Arc::clone(&cancelled));
    let waiter = std::thread::spawn(move || wait_until_free(&waiting, &flag));
    await_waiter(&path);
    let thread = waiter.as_pthread_t();
    // SAFETY: the thread is not joined yet, so its id is good.
    let interrupt = || unsafe { libc::pthread_kill(thread, libc::SIGWINCH) };
    assert_eq!(interrupt(), 0);
    await_waiter(&path); // not cancelled: it goes on waiting
    cancelled.store(true, Ordering::SeqCst);
    while !waiter.is_finished() {
        interrupt();
        std::thread::yield_now();
    }
    assert!(matches!(waiter.join().unwrap(), Err(LockError::Cancelled(_))));
}

#[test]
fn the_holder_is_named() {
    let dir = folder();
    let path = dir.path().join("a.lock");
    assert_eq!(holder_of(&path), None);
    let _held = PathLocks::try_acquire([path.clone()]).unwrap().unwrap();
    let holder = holder_of(&path).unwrap();
    assert_eq!(holder.pid, std::process::id());
    assert!(holder.command.contains("drover"), "{}", holder.command);
}

#[test]
fn waiters_in_the_table_are_not_holders() {
    let table = "1: FLOCK  ADVISORY  WRITE 17 fe:00:5 0 EOF\n\
                 1: -> FLOCK  ADVISORY  WRITE 18 fe:00:5 0 EOF\n\
                 2: POSIX  ADVISORY  WRITE 19 fe:00:6 0 EOF\n\
                 3: -> FLOCK  ADVISORY  WRITE 20 fe:00:7 0 EOF\nrubbish\n";
    assert_eq!(find_holder(table, "fe:00:5"), Some(17));
    assert_eq!(find_holder(table, "fe:00:6"), None);
    assert_eq!(find_holder(table, "fe:00:7"), None);
}

#[test]
fn locks_are_close_on_exec() {
    let dir = folder();
    let file = open_lock_file(&dir.path().join("a")).unwrap();
    let flags = rustix::io::fcntl_getfd(&file).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
}
