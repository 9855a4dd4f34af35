//! Processes: what `main` settles for this one before its first thread, and plain children whose
//! output is collected. Builders are not made here: see [`super::nursery`].
//!
//! A child here is watched through a pidfd and killed with its whole group, so an inherited pipe
//! that somebody holds open delays nothing. What is process-wide (umask, limits) is set once and
//! early: no thread can change it under another.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, getrlimit, pidfd_open, setrlimit};

use super::cancel::Cancel;
use super::error::{Doing, Error, Result};
use super::fd;

static ORIGINAL_OPEN_FILES: OnceLock<(u64, u64)> = OnceLock::new();

/// The caller's limit of open files (soft, hard), if [`raise_nofile_limit`] looked at it.
pub fn original_open_files() -> Option<(u64, u64)> {
    ORIGINAL_OPEN_FILES.get().copied()
}

/// Raises the soft limit of open files to the hard one; builders get the original
/// back. To be called by `main` before the first thread.
pub fn raise_nofile_limit() {
    let now = getrlimit(Resource::Nofile);
    let number = |limit: Option<u64>| limit.unwrap_or(libc::RLIM_INFINITY);
    let _ = ORIGINAL_OPEN_FILES.set((number(now.current), number(now.maximum)));
    // A refusal leaves a smaller limit, which is no error by itself.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
}

/// How many files this process may have open.
pub fn nofile_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Sets the mask of file modes, which no thread changes later. To be called by `main` before the
/// first thread.
pub fn set_umask(mask: u32) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
}

/// Whether this process ignores `signal` by what it inherited or was set since.
#[expect(unsafe_code, reason = "the action of a signal is asked by the call that sets it")]
pub fn is_ignored(signal: i32) -> bool {
    // SAFETY: without a new action nothing is changed; all zeroes is a valid struct to fill in.
    let (asked, old) = unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(signal, std::ptr::null(), &mut old), old)
    };
    asked == 0 && old.sa_sigaction == libc::SIG_IGN
}

/// Makes a write past the limit of file sizes (`ulimit -f`) an error like that of a full disk: by
/// default it is a signal that ends the process in the middle of what it does. To be called by
/// `main`; builders get the signal's default back, as of all signals.
#[expect(unsafe_code, reason = "the disposition of a signal has no safe wrapper")]
pub fn survive_file_size_limit() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: nothing runs in place of the signal. It cannot fail for a signal that exists.
    let _ = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
}

/// A descriptor that is readable once the process `pid` has ended. `pid` must be a child of ours
/// that is not collected, or it may be another process by now.
pub fn pidfd(pid: u32) -> Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.ok_or(rustix::io::Errno::SRCH)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
        .calling("opening a process")
}

/// A program to run to its end, with all its output collected.
#[derive(Debug, Clone)]
pub struct Tool {
    /// The program; searched along `PATH` when it has no slash.
    pub program: PathBuf,
    /// Arguments after the zeroth.
    pub args: Vec<OsString>,
    /// The complete environment.
    pub env: Vec<(OsString, OsString)>,
    /// What it reads from stdin.
    pub input: Vec<u8>,
    /// When it is killed.
    pub timeout: Option<Duration>,
}

/// A tool that ran.
#[derive(Debug)]
pub struct Collected {
    /// How it ended.
    pub status: ExitStatus,
    /// Its stdout.
    pub stdout: Vec<u8>,
    /// Its stderr.
    pub stderr: Vec<u8>,
}

impl Tool {
    /// Runs it in a process group of its own and waits for the process, not for the end of its
    /// output. Killed with its group at the time-out or when `cancel` is triggered; the status
    /// tells.
    pub fn run(&self, cancel: &Cancel) -> Result<Collected> {
        let mut running = Running::start(self)?;
        let end = self.timeout.map(|timeout| Instant::now() + timeout);
        let mut killed = false;
        loop {
            let left = end.filter(|_| !killed);
            let left = left.map(|end| end.saturating_duration_since(Instant::now()));
            let token = (!killed).then(|| cancel.as_fd());
            let [ended, stop, ..] = running.step(token, left)?;
            if ended {
                return running.finish();
            }
            if stop || left.is_some_and(|left| left.is_zero()) {
                running.kill();
                killed = true;
            }
        }
    }
}

struct Running<'a> {
    child: Child,
    pidfd: OwnedFd,
    input: &'a [u8],
    out: [Vec<u8>; 2],
    open: [bool; 2],
}

impl Running<'_> {
    #[expect(clippy::disallowed_methods, reason = "plain children are made here")]
    fn start(tool: &Tool) -> Result<Running<'_>> {
        use std::os::unix::process::CommandExt;
        let mut child = Command::new(&tool.program)
            .args(&tool.args)
            .env_clear()
            .envs(tool.env.iter().map(|(name, value)| (name, value)))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .doing("running", &tool.program)?;
        let ready = pidfd(child.id()).and_then(|pidfd| {
            let ends =
                [child.stdin.as_ref().map(AsFd::as_fd), child.stdout.as_ref().map(AsFd::as_fd)];
            let ends = ends.into_iter().chain([child.stderr.as_ref().map(AsFd::as_fd)]);
            ends.flatten().try_for_each(fd::set_nonblocking)?;
            Ok(pidfd)
        });
        match ready {
            Ok(pidfd) => Ok(Running {
                child,
                pidfd,
                input: &tool.input,
                out: [Vec::new(), Vec::new()],
                open: [true; 2],
            }),
            Err(e) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(e)
            }
        }
    }

    /// One wait: feeds stdin, takes what is there. Says whether it ended and whether `token` did.
    fn step(
        &mut self,
        token: Option<std::os::fd::BorrowedFd<'_>>,
        left: Option<Duration>,
    ) -> Result<[bool; 2]> {
        self.feed();
        let [out, err] = self.open;
        let stdout = self.child.stdout.as_ref().filter(|_| out).map(AsFd::as_fd);
        let stderr = self.child.stderr.as_ref().filter(|_| err).map(AsFd::as_fd);
        // Input that does not fit yet is offered again soon; tools read small inputs at once.
        let soon = (!self.input.is_empty()).then_some(Duration::from_millis(5));
        let left = left.into_iter().chain(soon).min();
        let fds = [Some(self.pidfd.as_fd()), token, stdout, stderr];
        let [ended, stop, out, err] = fd::wait_some(fds, left).calling("waiting for a process")?;
        if out || err {
            self.take();
        }
        Ok([ended, stop])
    }

    fn feed(&mut self) {
        let Some(stdin) = &mut self.child.stdin else { return };
        match stdin.write(self.input) {
            Ok(written) => self.input = &self.input[written..],
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
            // It does not want more.
            Err(_) => self.input = &[],
        }
        if self.input.is_empty() {
            self.child.stdin = None;
        }
    }

    /// Takes what both outputs hold now. A full 64 KiB at a time: a writer that never stops leaves
    /// room for the look at the clock.
    fn take(&mut self) {
        let mut chunk = [0u8; 64 << 10];
        if let Some(pipe) = &mut self.child.stdout {
            self.open[0] = take_from(pipe, &mut chunk, &mut self.out[0]);
        }
        if let Some(pipe) = &mut self.child.stderr {
            self.open[1] = take_from(pipe, &mut chunk, &mut self.out[1]);
        }
    }

    fn kill(&mut self) {
        if let Ok(group) = i32::try_from(self.child.id()).map(nix::unistd::Pid::from_raw) {
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        }
    }

    fn finish(mut self) -> Result<Collected> {
        // Ended but not collected: the group's number is still ours.
        self.kill();
        for _ in 0..32 {
            self.take();
        }
        let waited = self.child.wait();
        let status =
            waited.map_err(|source| Error::Call { doing: "collecting a process", source })?;
        let [stdout, stderr] = self.out;
        Ok(Collected { status, stdout, stderr })
    }
}

/// One read; whether more may come.
fn take_from(pipe: &mut impl Read, chunk: &mut [u8], out: &mut Vec<u8>) -> bool {
    match pipe.read(chunk) {
        Ok(0) => false,
        Ok(got) => {
            out.extend_from_slice(&chunk[..got]);
            true
        }
        Err(e) => e.kind() == std::io::ErrorKind::WouldBlock,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Urgency;
    use std::os::unix::process::ExitStatusExt;

    fn sh(script: &str) -> Tool {
        Tool {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: vec![("A".into(), "b".into())],
            input: Vec::new(),
            timeout: None,
        }
    }

    #[test]
    fn output_input_environment_and_code() {
        let mut tool = sh("cat; echo $A >&2; exit 3");
        tool.input = vec![b'x'; 300_000];
        let got = tool.run(&Cancel::new().unwrap()).unwrap();
        assert_eq!(got.status.code(), Some(3));
        assert_eq!(got.stdout.len(), 300_000);
        assert_eq!(got.stderr, b"b\n");
    }

    #[test]
    fn a_child_left_behind_is_not_waited_for() {
        let start = Instant::now();
        let got = sh("sleep 1000 & echo done").run(&Cancel::new().unwrap()).unwrap();
        assert_eq!(got.stdout, b"done\n");
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_timeout_and_a_token_kill() {
        let mut tool = sh("sleep 1000; :");
        tool.timeout = Some(Duration::from_millis(20));
        assert_eq!(tool.run(&Cancel::new().unwrap()).unwrap().status.signal(), Some(9));
        let cancel = Cancel::new().unwrap();
        cancel.trigger(Urgency::Stop);
        assert_eq!(sh("sleep 1000; :").run(&cancel).unwrap().status.signal(), Some(9));
    }

    #[test]
    fn a_missing_program_is_named() {
        let tool = Tool { program: "/no/such".into(), ..sh("") };
        let error = tool.run(&Cancel::new().unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("running `/no/such`: No such file"), "{error}");
    }
}
