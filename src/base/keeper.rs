//! What ends a builder's whole family. Runs in processes of its own, never in drover's:
//!
//! - the **nursery** (one, see [`super::nursery`]) receives requests, forks a keeper for each and
//!   ends the descendants of a keeper that was killed: it is the subreaper above them;
//! - a **keeper** (one a builder) is the builder's parent and the subreaper of all its descendants.
//!   It holds no descriptor but the line and locks. When the builder ends it kills every descendant
//!   left, setsid'd and daemonised ones too, then reports; with none left it takes the next order.
//!   When the line ends (drover was killed, or asks) it does the same and exits.
//!
//! All signals are blocked in both and they are in a session of their own, so neither a terminal
//! nor `kill(0)` of a builder reaches them. What is not held: a builder of the same user can kill
//! keeper and nursery together and then daemons of its own survive; that takes intent, and
//! isolation (another user, a pid namespace) is the answer to it.

#![expect(unsafe_code, reason = "fork and waitid, for which no safe wrapper serves")]

mod descendants;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};

use descendants::descendants;

use super::fd;
use super::nursery::{Death, HEADER, MOST_LOCKS, Report, VERB};

/// How long a report waits for descendants to die.
const PATIENCE: Duration = Duration::from_millis(900);

/// Descriptors of an order.
const MOST_FDS: usize = 2 + MOST_LOCKS;

/// Starts the process that a payload describes, with the log as its output: its pid, or the number
/// of the step that failed and the system's error number.
pub type Launch = fn(payload: &[u8], log: BorrowedFd<'_>) -> Result<i32, (u32, i32)>;

/// Turns this process into a nursery if it was started as one. `main` calls this before anything
/// else: no thread runs yet.
pub fn main_if_keeper(launch: Launch) -> Option<ExitCode> {
    if std::env::args_os().nth(1)? != VERB {
        return None;
    }
    let socket_type = rustix::io::dup(rustix::stdio::stdin())
        .ok()
        .and_then(|fd| nix::sys::socket::getsockopt(&fd, nix::sys::socket::sockopt::SockType).ok());
    if socket_type != Some(nix::sys::socket::SockType::SeqPacket) {
        return Some(ExitCode::from(2));
    }
    match nurse(launch) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(_) => Some(ExitCode::FAILURE),
    }
}

/// The nursery's life: until drover closes its end of the socket.
fn nurse(launch: Launch) -> std::io::Result<()> {
    fd::close_from(3);
    let _ = nix::unistd::setsid();
    SigSet::all().thread_block()?;
    let _ = nix::sys::prctl::set_name(c"drover-nursery");
    nix::sys::prctl::set_child_subreaper(true)?;
    let _ = nix::unistd::chdir("/");
    let signals = SignalFd::with_flags(
        &SigSet::from(Signal::SIGCHLD),
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )?;
    let mut keepers = BTreeSet::new();
    loop {
        let [request, death] = fd::wait_readable([rustix::stdio::stdin(), signals.as_fd()], None)?;
        if death {
            while let Ok(Some(_)) = signals.read_signal() {}
            collect(&mut keepers);
        }
        if request {
            let Some(fds) = fd::receive_fds::<1>(rustix::stdio::stdin())? else {
                return Ok(());
            };
            keepers.extend(fds.into_iter().filter_map(|line| fork_keeper(&line, &signals, launch)));
        }
    }
}

/// Collects keepers that ended; the orphans of one that was killed are ended too. One that its
/// builder has stopped goes on: a limit or an interrupt must find it awake.
fn collect(keepers: &mut BTreeSet<i32>) {
    let mut killed = false;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Exited(pid, _)) => {
                keepers.remove(&pid.as_raw());
            }
            Ok(WaitStatus::Signaled(pid, ..)) => killed |= keepers.remove(&pid.as_raw()),
            Ok(WaitStatus::Stopped(pid, _)) => {
                let _ = kill(pid, Signal::SIGCONT);
            }
            Ok(WaitStatus::StillAlive) | Err(_) => break,
            Ok(_) => {}
        }
    }
    if killed {
        // Whoever cannot be ended in one go sends SIGCHLD later or is beyond our power.
        strike(keepers);
    }
}

fn fork_keeper(line: &OwnedFd, signals: &SignalFd, launch: Launch) -> Option<i32> {
    // SAFETY: this process has one thread, so the child may go on as any program would.
    match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Parent { child }) => Some(child.as_raw()),
        Ok(ForkResult::Child) => {
            keep(line, signals, launch);
            // SAFETY: ends this process without running what the nursery registered for its exit.
            unsafe { libc::_exit(0) }
        }
        Err(errno) => {
            let _ = rustix::io::write(line, &Report::NoKeeper(errno as i32).encode());
            None
        }
    }
}

/// The keeper's life: one order after the other, until the line ends.
fn keep(line: &OwnedFd, signals: &SignalFd, launch: Launch) {
    let _ = nix::sys::prctl::set_name(c"drover-keeper");
    // The nursery's socket: while a keeper held it, drover would not see the nursery's death.
    let _ = rustix::stdio::dup2_stdin(rustix::stdio::stdout());
    if let Err(errno) = nix::sys::prctl::set_child_subreaper(true) {
        let _ = rustix::io::write(line, &Report::NoKeeper(errno as i32).encode());
        return;
    }
    while let Ok(Some(fds)) = fd::receive_fds::<MOST_FDS>(line.as_fd()) {
        let mut fds = fds.into_iter();
        let (Some(order), Some(log)) = (fds.next(), fds.next()) else { return };
        // What else came are locks. They are never touched: this process has them open until all
        // it keeps is dead.
        let _locks: Vec<OwnedFd> = fds.collect();
        serve(File::from(order), log, line, signals, launch);
    }
}

/// One builder from its start until nothing of it lives.
fn serve(order: File, log: OwnedFd, line: &OwnedFd, signals: &SignalFd, launch: Launch) {
    let _ = order.write_all_at(&nix::unistd::getpid().as_raw().to_ne_bytes(), 0);
    let builder = match read_payload(&order).and_then(|payload| launch(&payload, log.as_fd())) {
        Ok(pid) => Pid::from_raw(pid),
        Err((step, errno)) => {
            let _ = rustix::io::write(line, &Report::NotStarted { step, errno }.encode());
            return;
        }
    };
    let _ = order.write_all_at(&builder.as_raw().to_ne_bytes(), 4);
    drop((order, log));
    let mut used = Used::default();
    let status = await_end(builder, line.as_fd(), signals, &mut used);
    let gone = end_family(signals, PATIENCE, &mut used);
    let _ = rustix::io::write(line, &Report::Ended(used.death(status, gone)).encode());
    if gone == Gone::No {
        // Somebody sits in the kernel or forks faster than we kill: keep at it.
        while end_family(signals, Duration::from_secs(60), &mut used) == Gone::No {}
    }
}

fn read_payload(order: &File) -> Result<Vec<u8>, (u32, i32)> {
    let lost = |e: std::io::Error| (u32::MAX, e.raw_os_error().unwrap_or(libc::EIO));
    let size = order.metadata().map_err(lost)?.len() as usize;
    let mut payload = vec![0; size.saturating_sub(HEADER)];
    order.read_exact_at(&mut payload, HEADER as u64).map_err(lost)?;
    Ok(payload)
}

/// Waits for the builder, collecting orphans meanwhile; kills it when the line ends. Its code or
/// negated signal.
fn await_end(builder: Pid, line: BorrowedFd<'_>, signals: &SignalFd, used: &mut Used) -> i32 {
    let mut watched = Some(line);
    loop {
        if let Some(status) = collect_builder(builder, used) {
            return status;
        }
        let ready = fd::wait_some([watched, Some(signals.as_fd())], None);
        if matches!(ready, Ok([true, _])) {
            // Nothing is ever sent to us: readable means ended.
            watched = None;
            kill_group(builder);
        }
        while let Ok(Some(_)) = signals.read_signal() {}
    }
}

/// Collects whoever ended. The builder's group is killed before the builder is collected: until
/// then nobody else can have its number.
fn collect_builder(builder: Pid, used: &mut Used) -> Option<i32> {
    while let Some((pid, status)) = ended_child() {
        if pid == builder {
            kill_group(builder);
        }
        let _ = used.collect(pid.as_raw());
        if pid == builder {
            return Some(status);
        }
    }
    None
}

/// A child that ended and is not collected yet, with its code or negated signal.
fn ended_child() -> Option<(Pid, i32)> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the kernel fills in a struct that lives through the call; all zeroes is a valid one,
    // and `si_pid`, `si_status` are what it holds for a child, or zeroes when none ended.
    let (pid, code, status) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        if libc::waitid(libc::P_ALL, 0, &mut info, flags) != 0 {
            return None;
        }
        (info.si_pid(), info.si_code, info.si_status())
    };
    let status = if code == libc::CLD_EXITED { status } else { -status };
    (pid != 0).then(|| (Pid::from_raw(pid), status))
}

fn kill_group(builder: Pid) {
    let _ = kill(Pid::from_raw(-builder.as_raw()), Signal::SIGKILL);
    let _ = kill(builder, Signal::SIGKILL);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gone {
    Yes,
    No,
}

/// Kills and collects until no child is left: every descendant is a child of ours or has a living
/// ancestor that is. Gives up after `patience`.
fn end_family(signals: &SignalFd, patience: Duration, used: &mut Used) -> Gone {
    let end = Instant::now() + patience;
    let mut pause = Duration::from_millis(2);
    let mut due = Instant::now() + pause;
    loop {
        while let Ok(Some(_)) = signals.read_signal() {}
        if collect_all(used) == Gone::Yes {
            return Gone::Yes;
        }
        // By the clock, not when all is quiet: each generation of those who fork all the time ends
        // as our child, so it is never quiet.
        if Instant::now() >= due {
            strike(&BTreeSet::new());
            pause = (pause * 2).min(Duration::from_millis(100));
            due = Instant::now() + pause;
        } else {
            // The group is dying already: often this wait is all that is needed.
            let left = due.saturating_duration_since(Instant::now());
            let _ = fd::wait_readable([signals.as_fd()], Some(left));
        }
        if Instant::now() >= end {
            return collect_all(used);
        }
    }
}

fn collect_all(used: &mut Used) -> Gone {
    loop {
        match used.collect(-1) {
            Ok(0) => return Gone::No,
            Ok(_) | Err(libc::EINTR) => {}
            Err(libc::ECHILD) => return Gone::Yes,
            Err(_) => return Gone::No,
        }
    }
}

/// What the processes of one builder used, as far as they are collected.
#[derive(Default)]
struct Used {
    /// Microseconds.
    user: u64,
    /// Microseconds.
    system: u64,
    /// KiB, of the largest.
    max_rss: u64,
}

impl Used {
    /// Collects a child that ended, or any for -1: its pid, 0 if none has ended, or the system's
    /// error number. What it used, and all it waited for itself, is added.
    fn collect(&mut self, pid: i32) -> Result<i32, i32> {
        // SAFETY: the kernel fills in a number and a struct that live through the call; all zeroes
        // is a valid one.
        let (got, usage) = unsafe {
            let (mut status, mut usage) = (0, std::mem::zeroed::<libc::rusage>());
            (libc::wait4(pid, &mut status, libc::WNOHANG, &mut usage), usage)
        };
        if got < 0 {
            return Err(nix::errno::Errno::last_raw());
        }
        if got > 0 {
            let micros = |t: libc::timeval| t.tv_sec as u64 * 1_000_000 + t.tv_usec as u64;
            self.user += micros(usage.ru_utime);
            self.system += micros(usage.ru_stime);
            self.max_rss = self.max_rss.max(usage.ru_maxrss as u64);
        }
        Ok(got)
    }

    fn death(&self, status: i32, gone: Gone) -> Death {
        let Used { user, system, max_rss } = *self;
        Death { status, family_gone: gone == Gone::Yes, user, system, max_rss }
    }
}

/// Kills all descendants but `spared` children and theirs. Stops them first, in rounds until no new
/// one appears: a process that is stopped forks no more, so even those that fork all the time and
/// leave session after session are caught.
fn strike(spared: &BTreeSet<i32>) {
    let mut stopped = BTreeSet::new();
    for _ in 0..20 {
        let before = stopped.len();
        for pid in descendants(spared) {
            if stopped.insert(pid) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
            }
        }
        if stopped.len() == before {
            break;
        }
    }
    for pid in stopped {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
