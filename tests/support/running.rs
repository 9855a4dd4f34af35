//! Programs that run while a test looks on: their words, signals to them, their end, and what they
//! touch.

use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::World;

/// A hang is a failure that says where.
pub const LONG: Duration = Duration::from_secs(30);

/// A drover that runs, and its words.
pub struct Run {
    /// The process.
    pub child: Child,
    words: Receiver<String>,
}

/// Starts `drover build` of `drv` with eight slots and live logs.
pub fn start(world: &World, args: &[&str], drv: &str) -> Run {
    let mut command = world.drover(["build", "--no-link", "-L", "-j8"]);
    spawn(command.args(args).arg(drv))
}

/// Starts a program whose words are its standard error.
pub fn spawn(command: &mut Command) -> Run {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (send, words) = channel();
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|l| drop(send.send(l))));
    Run { child, words }
}

impl Run {
    /// Waits until `count` lines have `word` in them.
    pub fn hear(&self, word: &str, count: usize) {
        let mut heard = 0;
        while heard < count {
            let line = self.words.recv_timeout(LONG).expect("drover does not say it");
            heard += usize::from(line.contains(word));
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Its exit code, the rest of its words, and how long that took.
    pub fn end(mut self) -> (Option<i32>, String, Duration) {
        let start = Instant::now();
        let code = wait(&mut self.child);
        let took = start.elapsed();
        let rest: Vec<String> = self.words.iter().collect();
        (code, rest.join("\n"), took)
    }
}

/// Readable when the process has ended.
pub fn pidfd(pid: u32) -> OwnedFd {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap()
}

/// Waits for the end of a process.
pub fn must_end(process: impl AsFd, who: &str) {
    let time = Timespec { tv_sec: LONG.as_secs() as i64, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&time)).unwrap();
    assert_eq!(ended, 1, "{who} lives on");
}

/// Waits for the end of drover; its exit code.
pub fn wait(child: &mut Child) -> Option<i32> {
    must_end(pidfd(child.id()), "drover");
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), None, "drover ends by an exit code");
    status.code()
}

/// Waits until all these processes have ended.
pub fn all_dead(family: Vec<(u32, OwnedFd)>) {
    for (pid, process) in family {
        must_end(process, &format!("process {pid}"));
    }
}

/// Waits until something happens to files.
pub struct Watcher(OwnedFd);

impl Watcher {
    /// Watches `folder` (and what lies in it directly) for `what`.
    pub fn new(folder: &Path, what: WatchFlags) -> Self {
        let fd = inotify::init(CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&fd, folder, what).unwrap();
        Self(fd)
    }

    /// Returns when it has happened to a file whose name `is` says yes to.
    pub fn wait(&self, is: impl Fn(&str) -> bool) {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.0, &mut buffer);
        loop {
            if events.is_buffer_empty() {
                let time = Timespec { tv_sec: LONG.as_secs() as i64, tv_nsec: 0 };
                let came = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&time)).unwrap();
                assert_eq!(came, 1, "nothing happens");
            }
            let event = events.next().unwrap();
            if event.file_name().is_some_and(|name| is(name.to_str().unwrap())) {
                return;
            }
        }
    }
}
