//! Runs a plan to its end: has a keeper start the process, hands its log on as it comes, ends it
//! when a limit is reached or a token triggered, and returns when it is dead with all it left
//! behind.
//!
//! The end of the process is what its keeper reports, never the end of its log: a builder may close
//! its output and go on, and a background child may hold it for ever.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::log::LogSink;
use super::order;
use super::plan::{Limits, SpawnPlan};
use super::steps::{self, Step};
use crate::base::error::Doing;
use crate::base::nursery::{self, Answers, Death, Kept, Line, Report};
use crate::base::{self, Cancel, fd};

/// How the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal, which was not ours.
    Signalled(i32),
    /// By us: `Limits::timeout`.
    TimedOut,
    /// By us: `Limits::max_silent`.
    Silent,
    /// By us: `Limits::max_log_size`.
    LogLimit,
    /// By us: the token was triggered.
    Cancelled,
}

/// What is known of the processes the builder left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// None lives any more.
    Gone,
    /// Some could not be ended within a second, or nobody was left to look.
    MayLive,
}

/// What the process and all it waited for used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// Largest resident set of any one process, in bytes.
    pub max_rss: u64,
}

/// A process that ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// How it ended.
    pub ended: Ended,
    /// What it left behind.
    pub family: Family,
    /// What it used.
    pub usage: Usage,
    /// Wall clock from the request to the end.
    pub duration: Duration,
}

/// The process did not run, or we lost it.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A step between clone and exec failed.
    #[error("cannot set up the build environment: in step {step}: {cause}")]
    Setup {
        /// The step, e.g. "executing `/bin/sh`".
        step: String,
        /// The system's word for it.
        cause: std::io::Error,
    },
    /// The plan cannot be told to the system (a NUL byte in an argument, for instance).
    #[error("cannot run `{program}`: {why}")]
    BadPlan {
        /// The program.
        program: String,
        /// What is wrong.
        why: String,
    },
    /// The process that keeps the builder was killed.
    #[error("the keeper of the build process was killed; the build was ended")]
    KeeperLost,
    /// The system refused what we need for any process.
    #[error(transparent)]
    Base(#[from] crate::base::Error),
}

/// How long a keeper that was asked to end its builder may take.
const PATIENCE: Duration = Duration::from_millis(950);

/// Runs `plan` until its process ends, handing its log to `sink`. Returns as soon as the process
/// has ended and what it left behind is killed, whether or not its log is still held open.
pub fn run(
    plan: &SpawnPlan,
    limits: &Limits,
    sink: &mut dyn LogSink,
    cancel: &Cancel,
) -> Result<Exit, SandboxError> {
    let started = Instant::now();
    let program = || plan.program.display().to_string();
    let steps = steps::steps(plan).map_err(|nul| SandboxError::BadPlan {
        program: program(),
        why: format!("{} has a NUL byte", nul.place),
    })?;
    let payload = order::encode(&steps);
    let locks: Vec<_> = plan.locks.iter().collect();
    for _ in 0..3 {
        let watch = Watch {
            kept: nursery::start(&payload, &locks)?,
            started,
            heard: Instant::now(),
            limits,
            logged: 0,
            log_open: true,
            buffer: vec![0; BUFFER],
        };
        if let Some(exit) = watch.into_exit(&steps, sink, cancel)? {
            return Ok(exit);
        }
    }
    Err(SandboxError::KeeperLost)
}

/// Bytes read from the log at once.
const BUFFER: usize = 64 << 10;

/// A process that runs, and what we know of its log.
struct Watch<'a> {
    kept: Kept,
    started: Instant,
    /// When the builder was last known not to be silent.
    heard: Instant,
    limits: &'a Limits,
    logged: u64,
    log_open: bool,
    buffer: Vec<u8>,
}

impl Watch<'_> {
    /// Watches until the process has ended. `None`: the keeper was lost before it began.
    fn into_exit(
        mut self,
        steps: &[Step],
        sink: &mut dyn LogSink,
        cancel: &Cancel,
    ) -> Result<Option<Exit>, SandboxError> {
        let (line, ours) = match self.pump(sink, cancel)? {
            Stop::Line => (Some(self.kept.receive()), None),
            Stop::Ours(why) => (self.end()?, Some(why)),
        };
        let line_is_whole = ours.is_none();
        let death = match (line, ours) {
            (Some(Line::Report(Report::Ended(death))), _) => Some(death),
            (Some(Line::Report(Report::NotStarted { step, errno })), None) => {
                return Err(not_started(steps, step, errno));
            }
            (Some(Line::Report(Report::NoKeeper(errno))), None) => {
                let source = std::io::Error::from_raw_os_error(errno);
                return Err(base::Error::Call { doing: "making a keeper process", source }.into());
            }
            (Some(Line::NeverBegun), None) => return Ok(None),
            (Some(Line::Lost), None) => {
                self.kept.kill_by_pid(Answers::Dead);
                return Err(SandboxError::KeeperLost);
            }
            // Ended by us: how well the keeper did matters no more.
            (_, _) => None,
        };
        // A log too long is that whoever was first, we or the end of the process.
        let too_much = ours.is_none() && self.drain(sink)? == Read::TooMuch;
        let ours = ours.or(too_much.then_some(Ended::LogLimit));
        let own = death.map_or(Ended::Signalled(libc::SIGKILL), |death| match death.status {
            code if code >= 0 => Ended::Exited(code),
            signal => Ended::Signalled(-signal),
        });
        let family_gone = death.is_some_and(|death| death.family_gone);
        if family_gone && line_is_whole {
            self.kept.release();
        }
        Ok(Some(Exit {
            ended: ours.unwrap_or(own),
            family: if family_gone { Family::Gone } else { Family::MayLive },
            usage: death.map(usage).unwrap_or_default(),
            duration: self.started.elapsed(),
        }))
    }

    /// Hands the log on until the line speaks or we have a reason to end the process.
    fn pump(&mut self, sink: &mut dyn LogSink, cancel: &Cancel) -> Result<Stop, SandboxError> {
        loop {
            let log = self.log_open.then(|| self.kept.log());
            let fds = [Some(self.kept.line()), Some(cancel.as_fd()), log];
            let ready = fd::wait_some(fds, self.time_left()).calling("waiting for a process")?;
            match ready {
                [true, _, _] => return Ok(Stop::Line),
                [_, true, _] => return Ok(Stop::Ours(Ended::Cancelled)),
                [_, _, true] => {
                    if self.read(sink)? == Read::TooMuch {
                        return Ok(Stop::Ours(Ended::LogLimit));
                    }
                    if self.left(self.started, self.limits.timeout).is_some_and(|t| t.is_zero()) {
                        return Ok(Stop::Ours(Ended::TimedOut));
                    }
                }
                [false, false, false] => {
                    if let Some(why) = self.expired() {
                        return Ok(Stop::Ours(why));
                    }
                }
            }
        }
    }

    /// One read of the log. What the sink takes is not the builder's silence.
    fn read(&mut self, sink: &mut dyn LogSink) -> Result<Read, SandboxError> {
        let got = match rustix::io::read(self.kept.log(), &mut self.buffer) {
            Ok(got) => got,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(Read::Empty),
            Err(e) => return Err(e).calling("reading the log of a process")?,
        };
        if got == 0 {
            self.log_open = false;
            return Ok(Read::Empty);
        }
        let room = self.limits.max_log_size.map_or(u64::MAX, |most| most - self.logged);
        let taken = got.min(usize::try_from(room).unwrap_or(usize::MAX));
        self.logged += taken as u64;
        if taken > 0 {
            sink.write(&self.buffer[..taken]);
        }
        self.heard = Instant::now();
        Ok(if taken < got { Read::TooMuch } else { Read::Some })
    }

    /// What is still in the pipe of a process that ended, never waiting. Bounded by what a pipe can
    /// hold, in case somebody outside the family writes on.
    fn drain(&mut self, sink: &mut dyn LogSink) -> Result<Read, SandboxError> {
        for _ in 0..64 {
            if !self.log_open {
                break;
            }
            match self.read(sink)? {
                Read::Some => {}
                other => return Ok(other),
            }
        }
        Ok(Read::Empty)
    }

    /// Ends the process and its family, by the keeper or past it.
    fn end(&mut self) -> Result<Option<Line>, SandboxError> {
        self.kept.end();
        let line = [self.kept.line()];
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if let [true] = fd::wait_readable(line, Some(left)).calling("waiting for a process")? {
                let line = self.kept.receive();
                if line == Line::Lost {
                    self.kept.kill_by_pid(Answers::Dead);
                }
                return Ok(Some(line));
            }
            if left.is_zero() {
                self.kept.kill_by_pid(Answers::No);
                return Ok(None);
            }
        }
    }

    fn left(&self, since: Instant, limit: Option<Duration>) -> Option<Duration> {
        limit.map(|limit| limit.saturating_sub(since.elapsed()))
    }

    fn time_left(&self) -> Option<Duration> {
        let timeout = self.left(self.started, self.limits.timeout);
        let silence = self.left(self.heard, self.limits.max_silent);
        timeout.into_iter().chain(silence).min()
    }

    fn expired(&self) -> Option<Ended> {
        if self.left(self.started, self.limits.timeout).is_some_and(|t| t.is_zero()) {
            return Some(Ended::TimedOut);
        }
        self.left(self.heard, self.limits.max_silent)
            .is_some_and(|t| t.is_zero())
            .then_some(Ended::Silent)
    }
}

/// Why the pump stopped.
enum Stop {
    /// The keeper has something to say, or is lost.
    Line,
    /// We have a reason to end the process.
    Ours(Ended),
}

#[derive(PartialEq, Eq)]
enum Read {
    Some,
    Empty,
    TooMuch,
}

fn not_started(steps: &[Step], step: u32, errno: i32) -> SandboxError {
    let name = steps.get(step as usize).map(Step::name);
    SandboxError::Setup {
        step: name.unwrap_or_else(|| "making the process".into()),
        cause: std::io::Error::from_raw_os_error(errno),
    }
}

fn usage(death: Death) -> Usage {
    Usage {
        user: Duration::from_micros(death.user),
        system: Duration::from_micros(death.system),
        max_rss: death.max_rss.saturating_mul(1024),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rest is in `tests/sandbox.rs`; this holds that unit tests of any floor can run a
    /// process, the test program being its own nursery.
    #[test]
    fn a_process_runs_under_the_test_program() {
        let mut plan = SpawnPlan::new("/bin/sh", "/");
        plan.argv = vec!["sh".into(), "-c".into(), "echo hello; exit 3".into()];
        let mut log = Vec::new();
        let cancel = Cancel::new().unwrap();
        let exit = run(&plan, &Limits::default(), &mut log, &cancel).unwrap();
        assert_eq!((exit.ended, exit.family), (Ended::Exited(3), Family::Gone));
        assert_eq!(log, b"hello\n");
    }

    #[test]
    fn a_step_that_fails_reads_as_a_sentence() {
        let plan = SpawnPlan::new("/no/such", "/");
        let cancel = Cancel::new().unwrap();
        let error = run(&plan, &Limits::default(), &mut Vec::new(), &cancel).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot set up the build environment: in step executing `/no/such`: \
             No such file or directory (os error 2)"
        );
    }
}
