//! The log of one build: into its file, its last lines into the summary, each line to whoever
//! watches live.
//!
//! A log is never a reason to fail a build: when the file cannot be written the build goes on, and
//! a warning says why the log is incomplete. Called on the job's thread as output arrives, so
//! nothing here may wait for a terminal; those who watch get lines through a queue that may drop
//! them.

use std::path::PathBuf;

use super::isolation;
use super::report::Notice;
use super::settings::{KeepLog, LiveLog, Sandbox};
use super::shared::Shared;
use crate::base::error::with_causes;
use crate::format::StorePath;
use crate::sandbox::{Lines, LogSink, Tail};
use crate::store::logs::{LogPolicy, LogWriter};

/// Where a builder's output goes.
pub(super) struct BuildLog<'s> {
    shared: &'s Shared,
    drv: &'s StorePath,
    file: LogWriter,
    lines: Lines,
    tail: Tail,
    /// Why the file could not be written; the build goes on without it.
    trouble: Option<String>,
    ends_in_line: LineEnd,
}

#[derive(PartialEq, Eq)]
enum LineEnd {
    Ended,
    Open,
}

impl<'s> BuildLog<'s> {
    pub(super) fn new(shared: &'s Shared, drv: &'s StorePath) -> Self {
        let policy = match shared.settings.logs.keep {
            KeepLog::Compressed => LogPolicy::Compressed,
            KeepLog::Plain => LogPolicy::Plain,
            KeepLog::No => LogPolicy::Dropped,
        };
        Self {
            shared,
            drv,
            file: LogWriter::new(shared.store.layout(), drv, policy),
            lines: Lines::default(),
            tail: Tail::new(shared.settings.logs.lines),
            trouble: None,
            ends_in_line: LineEnd::Ended,
        }
    }

    /// The builder has ended: a last line without end is a line now.
    pub(super) fn end_line(&mut self) {
        let (shared, drv, tail) = (self.shared, self.drv, &mut self.tail);
        self.lines.finish(|line| each_line(shared, drv, tail, line));
    }

    /// The last lines so far, but for one that has no end yet.
    pub(super) fn last_lines(&self) -> Vec<Vec<u8>> {
        self.tail.lines().map(<[u8]>::to_vec).collect()
    }

    /// Where the file will lie, unless none is kept.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.file.path().map(PathBuf::from)
    }

    /// Adds the engine's own words, the level of isolation where another was wished for and the
    /// verdict, and puts the file where it stays.
    pub(super) fn finish(mut self, verdict: Option<&str>) -> Option<PathBuf> {
        let wanted = self.shared.settings.sandbox == Sandbox::Wanted;
        let level = wanted.then(|| format!("isolation level: {}", isolation::LEVEL));
        for words in level.iter().map(String::as_str).chain(verdict) {
            let start = if self.ends_in_line == LineEnd::Open { "\n" } else { "" };
            self.write_file(format!("{start}drover: {words}\n").as_bytes());
            self.ends_in_line = LineEnd::Ended;
        }
        if self.trouble.is_none() {
            match self.file.finish() {
                Ok(path) => return path,
                Err(error) => self.trouble = Some(with_causes(&error)),
            }
        }
        let why = self.trouble.unwrap_or_default();
        let text = format!("the log of `{}` is not complete: {why}", self.drv);
        self.shared.tell(Notice::Warning(text));
        None
    }

    fn write_file(&mut self, bytes: &[u8]) {
        if self.trouble.is_none() {
            self.trouble = self.file.write(bytes).err().map(|error| with_causes(&error));
        }
    }
}

impl LogSink for BuildLog<'_> {
    fn write(&mut self, bytes: &[u8]) {
        self.write_file(bytes);
        self.ends_in_line = if bytes.ends_with(b"\n") { LineEnd::Ended } else { LineEnd::Open };
        let (shared, drv, tail) = (self.shared, self.drv, &mut self.tail);
        self.lines.push(bytes, |line| each_line(shared, drv, tail, line));
    }
}

fn each_line(shared: &Shared, drv: &StorePath, tail: &mut Tail, line: &[u8]) {
    tail.push(line);
    if shared.settings.logs.live == LiveLog::Shown {
        shared.tell(Notice::LogLine { drv: drv.clone(), line: line.to_vec() });
    }
}
