//! Where keepers come from, seen from drover: one small process (this program's own file, executed
//! once) that makes a keeper for each request. Forking drover itself would cost milliseconds per
//! hundred megabytes; executing a keeper for every build costs a program start; a fork of the small
//! nursery costs a tenth of that.
//!
//! A request is one end of the *line*, a socket that is the life-line of the keeper (its end means:
//! kill all), carries orders to it and its reports back. An order is descriptors: the plan and the
//! log. Locks may follow: the keeper holds them open until all it keeps is dead, so that after the
//! death of drover nobody takes over what a dying builder may still write to.
//! A keeper that has reported the end of a whole family is idle and takes the next order: only as
//! many are made as work at a time. Nothing of a build depends on the nursery after the fork: when
//! it is killed, builds in flight go on and the next request starts another. Knows nothing of what
//! an order says.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::error::{Doing, Error, Result};
use super::fd;

/// The argument that makes this program a nursery.
pub(super) const VERB: &str = "__keeper";
/// Bytes the log pipe should hold: a fast writer then needs few wake-ups.
const LOG_PIPE: usize = 256 << 10;
/// Locks that go with a request at most; the kernel carries 253 descriptors in a message.
pub(super) const MOST_LOCKS: usize = 240;
/// Start of the order: the keeper's pid and the builder's, written by the keeper.
pub(super) const HEADER: usize = 8;

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
static NURSERY: Mutex<Option<Arc<Nursery>>> = Mutex::new(None);
/// Lines of keepers that wait for an order.
static IDLE: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());
/// Keepers that may wait; more than work at a time there never are.
const MOST_IDLE: usize = 64;

/// Takes another program than this one as nursery; for programs that use drover as a library and
/// do not call [`super::keeper::main_if_keeper`]. Only the first call before the first build
/// counts.
pub fn use_program(path: impl Into<PathBuf>) {
    let _ = PROGRAM.set(path.into());
}

struct Nursery {
    socket: OwnedFd,
    process: Mutex<Child>,
}

impl Nursery {
    #[expect(clippy::disallowed_methods, reason = "the nursery itself is made here")]
    fn start() -> Result<Nursery> {
        let own = PathBuf::from("/proc/self/exe");
        let program = PROGRAM.get().unwrap_or(&own);
        let (ours, theirs) = fd::message_pair()?;
        let process = Command::new(program)
            .arg0("drover-nursery")
            .arg(VERB)
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .doing("starting the keeper process", program)?;
        Ok(Nursery { socket: ours, process: Mutex::new(process) })
    }
}

fn send(socket: &OwnedFd, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    loop {
        match fd::send_fds(socket.as_fd(), fds) {
            // Too many descriptors on their way for this user: the other side takes them off.
            Err(e) if e.raw_os_error() == Some(libc::ETOOMANYREFS) => {
                fd::wait_readable([], Some(Duration::from_millis(1)))?;
            }
            other => return other,
        }
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        // Reached only when it no longer answers; a zombie is collected, a hung one ended. Keepers
        // do not need it.
        let mut process = self.process.lock();
        let _ = process.kill();
        let _ = process.wait();
    }
}

/// The nursery that runs, started when there is none or `dead` is the one that ran.
fn nursery(dead: Option<&Arc<Nursery>>) -> Result<Arc<Nursery>> {
    let mut slot = NURSERY.lock();
    if let (Some(current), Some(dead)) = (&*slot, dead)
        && Arc::ptr_eq(current, dead)
    {
        *slot = None;
        // Nobody would end the orphans of its keepers, should they be killed.
        IDLE.lock().clear();
    }
    match &*slot {
        Some(current) => Ok(current.clone()),
        None => Ok(slot.insert(Arc::new(Nursery::start()?)).clone()),
    }
}

/// The pid of the nursery, if one runs; for tests and for whoever looks after processes.
pub fn nursery_pid() -> Option<u32> {
    NURSERY.lock().as_ref().map(|n| n.process.lock().id())
}

/// What a keeper says, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// No keeper could be made; the system's error number.
    NoKeeper(i32),
    /// The process did not start: the number of the step, the system's error number.
    NotStarted {
        /// Index of the step.
        step: u32,
        /// The system's error number.
        errno: i32,
    },
    /// The process ended.
    Ended(Death),
}

/// How a kept process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// The code it exited with, or the negated signal that ended it.
    pub status: i32,
    /// Whether all its descendants are known to be dead.
    pub family_gone: bool,
    /// CPU time in user mode, microseconds.
    pub user: u64,
    /// CPU time in the kernel, microseconds.
    pub system: u64,
    /// Largest resident set of one process, KiB.
    pub max_rss: u64,
}

impl Report {
    /// Size of a report on the line.
    pub(super) const SIZE: usize = 5 * 8;

    /// The report as five 64-bit numbers in this machine's order: kind, two values, two times; the
    /// resident set shares the kind's word.
    pub(super) fn encode(self) -> [u8; Self::SIZE] {
        let words: [u64; 5] = match self {
            Report::NoKeeper(errno) => [1, errno as u64, 0, 0, 0],
            Report::NotStarted { step, errno } => [2, errno as u64, u64::from(step), 0, 0],
            Report::Ended(d) => {
                let kind = 3 | u64::from(d.family_gone) << 8 | d.max_rss << 16;
                [kind, i64::from(d.status) as u64, 0, d.user, d.system]
            }
        };
        let mut bytes = [0; Self::SIZE];
        for (at, word) in bytes.chunks_exact_mut(8).zip(words) {
            at.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8; Self::SIZE]) -> Option<Report> {
        let mut words = [0u64; 5];
        for (word, at) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*at);
        }
        match words[0] & 0xff {
            1 => Some(Report::NoKeeper(words[1] as i32)),
            2 => Some(Report::NotStarted { step: words[2] as u32, errno: words[1] as i32 }),
            3 => Some(Report::Ended(Death {
                status: words[1] as i64 as i32,
                family_gone: words[0] >> 8 & 0xff != 0,
                user: words[3],
                system: words[4],
                max_rss: words[0] >> 16,
            })),
            _ => None,
        }
    }
}

/// A process under its keeper. Dropping it ends the process and all its descendants.
#[derive(Debug)]
pub struct Kept {
    line: OwnedFd,
    log: OwnedFd,
    order: File,
}

/// What the line says now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// The report has come.
    Report(Report),
    /// The keeper was killed and the builder with it.
    Lost,
    /// The keeper was lost before it did anything: the request may be made again.
    NeverBegun,
}

/// Has a keeper start the process that `payload` describes, and hold `locks` (only the first 240)
/// until all of it is dead. Returns before it runs.
pub fn start(payload: &[u8], locks: &[BorrowedFd<'_>]) -> Result<Kept> {
    let (log, write) = fd::pipe(LOG_PIPE)?;
    fd::set_nonblocking(&log)?;
    let order = rustix::fs::memfd_create(c"drover-order", rustix::fs::MemfdFlags::CLOEXEC)
        .calling("making memory for a process's plan")?;
    let order = File::from(order);
    order
        .write_all_at(&[0; HEADER], 0)
        .and_then(|()| order.write_all_at(payload, HEADER as u64))
        .calling("writing a process's plan")?;
    let mut fds = vec![order.as_fd(), write.as_fd()];
    fds.extend(locks.iter().take(MOST_LOCKS));
    loop {
        let idle = IDLE.lock().pop();
        let fresh = idle.is_none();
        let line = idle.map_or_else(new_keeper, Ok)?;
        match send(&line, &fds) {
            // A new one that is gone has left word why, or the nursery was killed under it: the
            // line tells.
            Err(e) if fresh && is_gone(&e) => {}
            Err(e) if is_gone(&e) => continue,
            other => other.calling("giving a keeper its order")?,
        }
        return Ok(Kept { line, log, order });
    }
}

/// Has the nursery make a keeper: its line.
fn new_keeper() -> Result<OwnedFd> {
    let (line, theirs) = fd::message_pair()?;
    let mut nurse = nursery(None)?;
    for _ in 0..3 {
        match send(&nurse.socket, &[theirs.as_fd()]) {
            Ok(()) => return Ok(line),
            Err(e) if is_gone(&e) => nurse = nursery(Some(&nurse))?,
            Err(source) => return Err(Error::Call { doing: "asking for a keeper", source }),
        }
    }
    Err(Error::Call {
        doing: "asking for a keeper",
        source: io::Error::other("the process that makes them is killed again and again"),
    })
}

fn is_gone(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET | libc::ENOTCONN))
}

impl Kept {
    /// Becomes readable when the report is there or the keeper is lost.
    pub fn line(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }

    /// The log's reading end, not blocking.
    pub fn log(&self) -> BorrowedFd<'_> {
        self.log.as_fd()
    }

    /// Reads the line; blocks until something is there.
    pub fn receive(&self) -> Line {
        let mut bytes = [0; Report::SIZE];
        let got = loop {
            match rustix::io::read(&self.line, &mut bytes) {
                // Reset: it went without reading its order. What it said before is still there.
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
                other => break other,
            }
        };
        match got {
            Ok(Report::SIZE) => Report::decode(&bytes).map_or(Line::Lost, Line::Report),
            _ if self.pids().0.is_none() => Line::NeverBegun,
            _ => Line::Lost,
        }
    }

    /// Lets the keeper take another order. Only after its report that the whole family is dead, and
    /// not after [`Kept::end`].
    pub fn release(self) {
        let mut idle = IDLE.lock();
        if idle.len() < MOST_IDLE {
            idle.push(self.line);
        }
    }

    /// Asks the keeper to end the builder and all its descendants; it still reports.
    pub fn end(&self) {
        let _ = nix::sys::socket::shutdown(
            std::os::fd::AsRawFd::as_raw_fd(&self.line),
            nix::sys::socket::Shutdown::Write,
        );
    }

    /// The pids of keeper and builder, once they have begun.
    pub fn pids(&self) -> (Option<i32>, Option<i32>) {
        let mut header = [0; HEADER];
        if self.order.read_exact_at(&mut header, 0).is_err() {
            return (None, None);
        }
        let (words, _) = header.as_chunks::<4>();
        let pid = |n: usize| Some(i32::from_ne_bytes(words[n])).filter(|pid| *pid > 0);
        (pid(0), pid(1))
    }

    /// The last resort when the keeper is dead or does not answer: kills it and the builder's
    /// group. The pids are ours only as long as nobody else could take them, so this follows the
    /// loss at once.
    pub fn kill_by_pid(&self, keeper: Answers) {
        let (keeper_pid, builder) = self.pids();
        if keeper == Answers::No {
            kill(keeper_pid);
        }
        kill(builder.map(|pid| -pid));
    }
}

/// Whether a keeper is still there although it does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// It lives but hangs (stopped by its builder): kill it too.
    No,
    /// It is dead already.
    Dead,
}

fn kill(pid: Option<i32>) {
    if let Some(pid) = pid {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_survive_the_line() {
        let death = Death { status: -9, family_gone: true, user: 1, system: u64::MAX, max_rss: 77 };
        for report in [
            Report::NoKeeper(11),
            Report::NotStarted { step: 7, errno: 2 },
            Report::Ended(death),
            Report::Ended(Death { status: 255, family_gone: false, ..death }),
        ] {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        assert_eq!(Report::decode(&[0; Report::SIZE]), None);
    }
}
