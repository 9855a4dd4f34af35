//! What the console shows of each notice: pure, notices in, text out.
//!
//! Knows which notices are worth a line in which [`Manner`] and how the status line reads. It
//! writes nothing and has no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::report::{LockHolder, Notice, Outcome, Progress, Reclaimed};
use crate::format::{StoreDir, StorePath};
use crate::machine::Failure;

use super::sanitise::{self, Colours};
use super::summary::{name, seconds};
use crate::engine::failure_words::short;

/// How much is shown while the run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manner {
    /// Failures and warnings.
    Quiet,
    /// Those, and a status line below: a terminal.
    Live,
    /// A line for each change of state.
    Lines,
}

/// What was seen so far.
#[derive(Debug)]
pub struct Status {
    dir: StoreDir,
    manner: Manner,
    colours: Colours,
    running: BTreeMap<StorePath, String>,
    progress: Progress,
    /// What builds run at, told once.
    isolation: Option<String>,
}

impl Status {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(dir: StoreDir, manner: Manner, colours: Colours) -> Self {
        let progress = Progress::default();
        Self { dir, manner, colours, running: BTreeMap::new(), progress, isolation: None }
    }

    /// Takes a notice; what is to be shown of it, without line end, if anything.
    pub fn take(&mut self, notice: &Notice) -> Option<String> {
        match notice {
            Notice::BuildStarted { drv, name, .. } => {
                self.running.insert(drv.clone(), name.clone());
                self.change(|dir| format!("building '{}'", dir.print(drv)))
            }
            Notice::BuildFinished { drv, outcome, duration } => {
                self.running.remove(drv);
                self.finished(drv, outcome, *duration)
            }
            Notice::LogLine { drv, line } => {
                Some(format!("{}> {}", name(drv), sanitise::line(line, self.colours)))
            }
            Notice::LogLinesDropped { drv, count } => Some(format!(
                "{}> ({count} lines not shown: the terminal is too slow; drover log {})",
                name(drv),
                self.dir.print(drv)
            )),
            Notice::WaitingForLock { path, holder } => {
                let who = holder.as_ref().map(held_by).unwrap_or_default();
                let text = format!("waiting for lock on '{}'{who}", path.display());
                let text = sanitise::line(text.as_bytes(), Colours::Strip);
                (self.manner > Manner::Quiet).then_some(text)
            }
            Notice::Isolation { level, why } => {
                let reason = if why.is_empty() { String::new() } else { format!(": {why}") };
                let text = plain(&format!("builds run at isolation level `{level}`{reason}"));
                let known = self.isolation.replace(text.clone());
                (self.manner > Manner::Quiet && known.as_ref() != Some(&text)).then_some(text)
            }
            Notice::Reclaimed(done) => (self.manner > Manner::Quiet).then(|| reclaimed(done)),
            Notice::Progress(progress) => {
                self.progress = *progress;
                None
            }
            Notice::Warning(text) => Some(plain(&format!("warning: {text}"))),
        }
    }

    fn finished(&self, drv: &StorePath, outcome: &Outcome, duration: Duration) -> Option<String> {
        let took = seconds(duration);
        match outcome {
            Outcome::Built => self.change(|dir| format!("built '{}' in {took}", dir.print(drv))),
            Outcome::Cancelled => self.change(|dir| format!("cancelled '{}'", dir.print(drv))),
            Outcome::Failed(why @ Failure::InputsFailed { .. }) => {
                self.change(|dir| format!("cannot build '{}': {}", dir.print(drv), short(why)))
            }
            Outcome::Failed(failure) if duration.is_zero() => Some(self.failed(drv, failure, "")),
            Outcome::Failed(failure) => Some(self.failed(drv, failure, &format!(" after {took}"))),
        }
    }

    fn change(&self, text: impl FnOnce(&StoreDir) -> String) -> Option<String> {
        (self.manner == Manner::Lines).then(|| text(&self.dir))
    }

    /// `took` is empty if nothing ran.
    fn failed(&self, drv: &StorePath, failure: &Failure, took: &str) -> String {
        let text = format!("failed '{}'{took}: {}", self.dir.print(drv), short(failure));
        plain(&text)
    }

    /// The status line, at most `width` columns; empty where nothing is going on.
    #[must_use]
    pub fn line(&self, width: usize) -> String {
        let Progress { running, done, failed, blocked, waiting } = self.progress;
        if self.progress == Progress::default() && self.running.is_empty() {
            return String::new();
        }
        let running = running.max(self.running.len());
        let some = |n: usize, what| if n > 0 { format!(", {n} {what}") } else { String::new() };
        let bad = some(failed, "failed") + &some(blocked, "not built");
        let mut line = format!("[{running} running, {done} done{bad}, {waiting} waiting]");
        for name in self.running.values() {
            if line.len() >= width {
                break;
            }
            line.push(' ');
            line.push_str(name);
        }
        // Names of the store are ASCII: bytes are columns.
        line.truncate(width);
        line
    }
}

/// Only what was there, in one line.
fn reclaimed(done: &Reclaimed) -> String {
    let count = |n: usize, what: &str| match n {
        0 => None,
        1 => Some(format!("1 {what}")),
        n => Some(format!("{n} {what}s")),
    };
    let parts = [
        count(done.build_folders, "build folder"),
        count(done.locks, "lock file"),
        count(done.outputs, "unfinished output"),
        count(done.temp_folders, "temporary folder"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let size = match done.bytes >> 20 {
        0 => String::new(),
        mib => format!(" ({mib} MiB)"),
    };
    format!("removed what killed processes had left: {}{size}", parts.join(", "))
}

/// Characters of the command line of a holder that are shown: it may have thousands of targets.
const COMMAND: usize = 100;

fn held_by(holder: &LockHolder) -> String {
    let mut command: String = holder.command.chars().take(COMMAND).collect();
    if command.len() < holder.command.len() {
        command.push_str("...");
    }
    if command.is_empty() {
        // A lock outlives who took it in a child that has it open.
        return format!(", held by a child of process {}, which has ended", holder.pid);
    }
    format!(", held by process {} ({command})", holder.pid)
}

fn plain(text: &str) -> String {
    text.lines()
        .map(|l| sanitise::line(l.as_bytes(), Colours::Strip))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn drv() -> StorePath {
        StorePath::from_parts(&[1; 20], "hello.drv").unwrap()
    }

    fn started() -> Notice {
        Notice::BuildStarted { drv: drv(), name: "hello".into(), outputs: Vec::new() }
    }

    fn finished(outcome: Outcome) -> Notice {
        Notice::BuildFinished { drv: drv(), outcome, duration: Duration::from_millis(500) }
    }

    fn status(manner: Manner) -> Status {
        Status::new(StoreDir::default(), manner, Colours::Strip)
    }

    #[test]
    fn lines_tell_each_change() {
        let mut status = status(Manner::Lines);
        let path = StoreDir::default().print(&drv());
        assert_eq!(status.take(&started()), Some(format!("building '{path}'")));
        let built = status.take(&finished(Outcome::Built));
        assert_eq!(built, Some(format!("built '{path}' in 0.5 s")));
        let failed = status.take(&finished(Outcome::Failed(Failure::ExitCode(1))));
        let want = format!("failed '{path}' after 0.5 s: builder failed with exit code 1");
        assert_eq!(failed, Some(want));
        let (drv, duration) = (drv(), Duration::ZERO);
        let outcome = Outcome::Failed(Failure::MissingDerivation);
        let failed = status.take(&Notice::BuildFinished { drv: drv.clone(), outcome, duration });
        assert_eq!(failed, Some(format!("failed '{path}': derivation is missing")));
        let outcome = Outcome::Failed(Failure::InputsFailed { count: 2 });
        let blocked = status.take(&Notice::BuildFinished { drv, outcome, duration });
        assert_eq!(blocked, Some(format!("cannot build '{path}': 2 dependencies failed")));
    }

    #[test]
    fn quiet_tells_failures_and_warnings() {
        let mut status = status(Manner::Quiet);
        let holder = Some(LockHolder { pid: 1, command: "x".into() });
        let lock = Notice::WaitingForLock { path: "/l".into(), holder };
        for notice in [started(), finished(Outcome::Built), lock] {
            assert_eq!(status.take(&notice), None, "{notice:?}");
        }
        assert!(status.take(&finished(Outcome::Failed(Failure::Cancelled))).is_some());
        let warning = status.take(&Notice::Warning("a\x1b[2Jb".into()));
        assert_eq!(warning.as_deref(), Some("warning: ab"));
    }

    #[test]
    fn the_status_line_is_cut_to_the_width() {
        let mut status = status(Manner::Live);
        assert_eq!(status.line(80), "");
        assert_eq!(status.take(&started()), None);
        let progress = Progress { running: 1, done: 2, failed: 3, blocked: 0, waiting: 4 };
        status.take(&Notice::Progress(progress));
        assert_eq!(status.line(80), "[1 running, 2 done, 3 failed, 4 waiting] hello");
        assert_eq!(status.line(12), "[1 running, ");
        status.take(&finished(Outcome::Built));
        assert_eq!(status.line(80), "[1 running, 2 done, 3 failed, 4 waiting]");
        status.take(&Notice::Progress(Progress { failed: 1, blocked: 5, ..progress }));
        assert_eq!(status.line(80), "[1 running, 2 done, 1 failed, 5 not built, 4 waiting]");
    }

    #[test]
    fn what_was_taken_back_is_one_line() {
        let done = Reclaimed { build_folders: 2, locks: 1, bytes: 3 << 20, ..Reclaimed::default() };
        let want = "removed what killed processes had left: 2 build folders, 1 lock file (3 MiB)";
        let notice = Notice::Reclaimed(done);
        assert_eq!(status(Manner::Live).take(&notice).as_deref(), Some(want));
        assert_eq!(status(Manner::Quiet).take(&notice), None);
    }

    #[test]
    fn logs_are_prefixed_and_harmless() {
        let mut status = status(Manner::Live);
        let line = Notice::LogLine { drv: drv(), line: b"a\x1b[31mb\x1b[2J".to_vec() };
        assert_eq!(status.take(&line).as_deref(), Some("hello> ab"));
        let holder = Some(LockHolder { pid: 7, command: "nix\nx".into() });
        let lock = Notice::WaitingForLock { path: "/l".into(), holder };
        let want = "waiting for lock on '/l', held by process 7 (nixx)";
        assert_eq!(status.take(&lock).as_deref(), Some(want));
        let holder = Some(LockHolder { pid: 7, command: "\u{e9}".repeat(COMMAND + 1) });
        let lock = Notice::WaitingForLock { path: "/l".into(), holder };
        let want = format!("held by process 7 ({}...)", "\u{e9}".repeat(COMMAND));
        assert!(status.take(&lock).is_some_and(|line| line.ends_with(&want)));
        let holder = Some(LockHolder { pid: 7, command: String::new() });
        let lock = Notice::WaitingForLock { path: "/l".into(), holder };
        let want = "waiting for lock on '/l', held by a child of process 7, which has ended";
        assert_eq!(status.take(&lock).as_deref(), Some(want));
        let level = Notice::Isolation { level: "none".into(), why: "not built in".into() };
        assert!(status.take(&level).is_some());
        assert_eq!(status.take(&level), None);
    }
}
