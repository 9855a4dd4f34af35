//! The summary at the end of a run: what was built, and each root failure once.
//!
//! Pure: a report in, text out. Whatever happened, it has at most [`MAX_LINES`] lines: failures
//! are shown in full while they fit, the rest is grouped by reason.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::engine::report::{Counts, FailureReport, RunReport, Status};
use crate::format::{StoreDir, StorePath};

use super::sanitise::{self, Colours};
use crate::engine::failure_words::{long, short};

/// No summary is longer.
pub const MAX_LINES: usize = 60;
/// Failures in full take no more than this many lines together.
const IN_FULL: usize = 44;
/// A message is cut after this many lines.
const MESSAGE: usize = 12;
/// Bytes shown of a line of log.
const LINE: usize = 1000;
/// Groups of the other failures.
const GROUPS: usize = 8;
/// Names in one line.
const NAMES: usize = 8;

/// How much to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// All.
    Full,
    /// Nothing where nothing went wrong.
    Quiet,
}

/// How to write it.
#[derive(Debug, Clone, Copy)]
pub struct Style<'s> {
    /// The logical store folder.
    pub dir: &'s StoreDir,
    /// How much.
    pub amount: Amount,
    /// Whether colours of logs stay.
    pub colours: Colours,
    /// Most lines of log with a failure.
    pub log_lines: usize,
}

/// The summary, each line with its end.
#[must_use]
pub fn summary(report: &RunReport, style: Style<'_>) -> String {
    let mut out = String::new();
    if style.amount == Amount::Full && !report.built.is_empty() {
        let names: Vec<String> = report.built.iter().map(|b| name(&b.drv)).collect();
        let _ = writeln!(out, "built {}", listed(&names));
    }
    failures(&mut out, &report.failures, style);
    if let Some(error) = &report.error {
        let _ = writeln!(out, "error: {}", cut(error, MESSAGE / 2));
    }
    if let Some(signal) = report.interrupted {
        let by = super::interrupt::name(signal);
        let c = report.counts;
        let done = c.built + c.already_valid + c.substituted;
        let _ = writeln!(out, "interrupted by {by}: {done} done, {} left", c.cancelled);
    }
    let wrong = report.error.is_some()
        || report.interrupted.is_some()
        || !report.failures.is_empty()
        || report.counts.failed > 0;
    if wrong || style.amount == Amount::Full {
        let _ = writeln!(out, "{} in {}", counts(report.counts), seconds(report.duration));
    }
    out
}

/// The line that says which targets a second build made as they were, if any.
#[must_use]
pub fn same_again(report: &RunReport) -> String {
    let same = report.targets.iter().filter(|target| target.status == Status::Built);
    let names: Vec<String> = same.map(|target| name(&target.path)).collect();
    if names.is_empty() { String::new() } else { format!("the same again: {}\n", listed(&names)) }
}

fn failures(out: &mut String, failures: &[FailureReport], style: Style<'_>) {
    let mut lines = 0;
    let mut shown = 0;
    for failure in failures {
        let text = block(failure, style);
        let height = text.lines().count();
        if lines + height > IN_FULL {
            break;
        }
        lines += height;
        shown += 1;
        out.push_str(&text);
    }
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for failure in &failures[shown..] {
        groups.entry(short(&failure.failure)).or_default().push(name(&failure.path));
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    for (reason, names) in groups.iter().take(GROUPS) {
        let more = if shown > 0 { " more" } else { "" };
        let line = format!("{}{more} failed: {reason}: {}", names.len(), listed(names));
        let _ = writeln!(out, "{}", sanitise::line(line.as_bytes(), Colours::Strip));
    }
    let rest: usize = groups.iter().skip(GROUPS).map(|(_, names)| names.len()).sum();
    if rest > 0 {
        let _ = writeln!(out, "{rest} more failed for other reasons: see their logs");
    }
}

/// One failure in full: what, why, the end of its log and where the rest is.
fn block(failure: &FailureReport, style: Style<'_>) -> String {
    let mut out = String::new();
    let took = failure.times.map(|t| format!(" after {}", seconds(t.duration))).unwrap_or_default();
    let blocked = match failure.blocked {
        0 => String::new(),
        1 => ", 1 dependent not built".to_owned(),
        n => format!(", {n} dependents not built"),
    };
    let why = cut(&long(&failure.failure, &failure.path, style.dir), MESSAGE);
    let _ = writeln!(out, "failed: {}{took}{blocked}", name(&failure.path));
    for line in why.lines() {
        let _ = writeln!(out, "  {}", sanitise::line(line.as_bytes(), Colours::Strip));
    }
    let above = out.lines().count() + usize::from(failure.log.is_some());
    let most = style.log_lines.min(IN_FULL.saturating_sub(above));
    let skip = failure.last_lines.len().saturating_sub(most);
    for line in &failure.last_lines[skip..] {
        let end = line.len().min(LINE);
        let _ = writeln!(out, "  > {}", sanitise::line(&line[..end], style.colours));
    }
    if failure.log.is_some() {
        let _ = writeln!(out, "  full log: drover log {}", style.dir.print(&failure.path));
    }
    out
}

fn counts(c: Counts) -> String {
    let parts = [
        (c.built, "built"),
        (c.substituted, "fetched"),
        (c.failed, "failed"),
        (c.dependency_failed, "not built for failed inputs"),
        (c.cancelled, "cancelled"),
        (c.already_valid, "already valid"),
    ];
    let some: Vec<_> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if some.is_empty() { "nothing to do".to_owned() } else { some.join(", ") }
}

/// A derivation's name without `.drv`.
#[must_use]
pub fn name(path: &StorePath) -> String {
    path.name().strip_suffix(".drv").unwrap_or(path.name()).to_owned()
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn cut(text: &str, lines: usize) -> String {
    let all = text.lines().count();
    if all <= lines {
        return text.to_owned();
    }
    let kept: Vec<_> = text.lines().take(lines - 1).collect();
    format!("{}\n({} more lines)", kept.join("\n"), all - kept.len())
}

/// A duration as people read it.
#[must_use]
pub fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    match whole {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::report::{BuiltReport, Times};
    use crate::machine::Failure;

    fn path(name: &str) -> StorePath {
        StorePath::from_parts(&[1; 20], name).unwrap()
    }

    fn failed(name: &str, failure: Failure, lines: usize) -> FailureReport {
        let times = Times { duration: Duration::from_millis(1234), ..Times::default() };
        FailureReport {
            path: path(&format!("{name}.drv")),
            failure,
            blocked: 3,
            outputs: std::collections::BTreeMap::new(),
            log: Some("/log".into()),
            times: Some(times),
            last_lines: (0..lines).map(|i| format!("line {i}\x1b[2J").into_bytes()).collect(),
        }
    }

    fn show(report: &RunReport, amount: Amount) -> String {
        let dir = StoreDir::default();
        let style = Style { dir: &dir, amount, colours: Colours::Strip, log_lines: 10 };
        summary(report, style)
    }

    #[test]
    fn one_failure_is_told_in_full() {
        let counts = Counts { built: 1, failed: 1, dependency_failed: 3, ..Counts::default() };
        let built =
            BuiltReport { drv: path("a.drv"), outputs: BTreeMap::new(), times: Times::default() };
        let failures = vec![failed("b", Failure::ExitCode(7), 12)];
        let built = vec![built];
        let duration = Duration::from_secs(65);
        let report = RunReport { failures, built, counts, duration, ..RunReport::default() };
        let text = show(&report, Amount::Full);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "built a");
        assert_eq!(lines[1], "failed: b after 1.2 s, 3 dependents not built");
        assert_eq!(lines[2], "  builder failed with exit code 7");
        assert_eq!((lines[3], lines[12]), ("  > line 2", "  > line 11"));
        let drv = StoreDir::default().print(&path("b.drv"));
        assert_eq!(lines[13], format!("  full log: drover log {drv}"));
        assert_eq!(lines[14], "1 built, 1 failed, 3 not built for failed inputs in 1 min 5 s");
        assert_eq!(lines.len(), 15);
    }

    #[test]
    fn a_thousand_failures_fit() {
        let failures = (0..1000)
            .map(|i| failed(&format!("f{i}"), Failure::ExitCode(i % 20 + 1), 10))
            .collect::<Vec<_>>();
        let counts = Counts { failed: 1000, ..Counts::default() };
        let error = Some("e\n".repeat(100));
        let report = RunReport { failures, counts, error, ..RunReport::default() };
        let text = show(&report, Amount::Full);
        let height = text.lines().count();
        assert!(height <= 60, "{height}:\n{text}");
        assert!(text.contains("failed: f0 after") && text.contains("failed: f2 after"));
        assert!(text.contains("50 more failed: builder failed with exit code 10: f9, f29,"));
        assert!(text.contains("more failed for other reasons"));
    }

    #[test]
    fn a_huge_failure_fits() {
        let forbidden: Vec<_> = (0..500).map(|i| path(&format!("p{i}"))).collect();
        let rule = crate::machine::failure::ReferenceRule::AllowedReferences;
        let failure = Failure::ForbiddenReferences { path: path("x"), rule, forbidden };
        let failures = vec![failed("x", failure, 300); 3];
        let report = RunReport { failures, ..RunReport::default() };
        let dir = StoreDir::default();
        let amount = Amount::Full;
        let style = Style { dir: &dir, amount, colours: Colours::Strip, log_lines: 500 };
        let text = summary(&report, style);
        assert!(text.lines().count() <= 60, "{text}");
        assert!(text.contains("(490 more lines)"), "{text}");
        assert!(text.contains("2 more failed: output has forbidden references: x, x"), "{text}");
    }

    #[test]
    fn quiet_says_only_what_went_wrong() {
        let counts = Counts { already_valid: 2, ..Counts::default() };
        let fine = RunReport { counts, ..RunReport::default() };
        assert_eq!(show(&fine, Amount::Quiet), "");
        assert_eq!(show(&fine, Amount::Full), "2 already valid in 0.0 s\n");
        let empty = RunReport::default();
        assert_eq!(show(&empty, Amount::Full), "nothing to do in 0.0 s\n");
    }

    #[test]
    fn interrupts_say_what_is_left() {
        let counts = Counts { built: 5, cancelled: 3, ..Counts::default() };
        let report = RunReport { interrupted: Some(2), counts, ..RunReport::default() };
        let text = show(&report, Amount::Quiet);
        assert_eq!(text, "interrupted by SIGINT: 5 done, 3 left\n5 built, 3 cancelled in 0.0 s\n");
    }
}
