//! From a plan to the ordered, named steps that a new process performs before it becomes the
//! builder. Pure: the same plan gives the same steps, and a step that fails is told by its name.
//!
//! To add one: a variant here with its name and its place in [`steps`], its row in `order.rs` and
//! its arm in `child.rs`.

use bstr::{BString, ByteSlice};
use std::os::unix::ffi::OsStrExt;

use super::plan::{Personality, SpawnPlan};

/// One thing the new process does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A session and a process group of its own.
    NewSession,
    /// SIGKILL when the keeper dies; ends at once if it is dead already.
    DieWithKeeper,
    /// stdin from `/dev/null`, stdout and stderr to the log.
    Streams,
    /// Closes all other descriptors.
    CloseOthers,
    /// Limits of open files, soft and hard.
    OpenFiles(u64, u64),
    /// No core file unless the builder asks for one.
    NoCore,
    /// A 32-bit machine.
    Linux32,
    /// Addresses are the same in every run.
    FixedAddresses,
    /// File mode creation mask.
    Umask(u32),
    /// Working folder.
    Enter(BString),
    /// No signal blocked, ignored or handled.
    CleanSignals,
    /// Becomes the builder.
    Execute {
        /// The file.
        program: BString,
        /// All arguments.
        argv: Vec<BString>,
        /// `NAME=value`, all.
        env: Vec<BString>,
    },
}

/// What happens when a step is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The build does not start.
    Fatal,
    /// The build goes on without.
    Tolerated,
}

impl Step {
    /// What the step does, for "in step ...".
    pub fn name(&self) -> String {
        let path = |p: &BString| p.to_str_lossy().into_owned();
        match self {
            Step::NewSession => "creating a session".into(),
            Step::DieWithKeeper => "tying the process to its keeper".into(),
            Step::Streams => "opening `/dev/null` and the log".into(),
            Step::CloseOthers => "closing descriptors".into(),
            Step::OpenFiles(soft, hard) => format!("limiting open files to {soft}, {hard}"),
            Step::NoCore => "limiting core files".into(),
            Step::Linux32 => "taking the personality of a 32-bit machine".into(),
            Step::FixedAddresses => "fixing addresses".into(),
            Step::Umask(mask) => format!("setting the umask to {mask:04o}"),
            Step::Enter(folder) => format!("changing into `{}`", path(folder)),
            Step::CleanSignals => "resetting signals".into(),
            Step::Execute { program, .. } => format!("executing `{}`", path(program)),
        }
    }

    /// Whether a build goes on when the system refuses this: container run-times refuse some
    /// personalities, and Nix ignores a refused core limit.
    pub fn refusal(&self) -> Refusal {
        match self {
            Step::NoCore | Step::FixedAddresses => Refusal::Tolerated,
            _ => Refusal::Fatal,
        }
    }
}

/// Why a plan has no steps: a NUL byte, which no system call can carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NulByte {
    /// Where it is, e.g. "argument 3".
    pub place: String,
}

/// The steps of a plan, in order.
pub fn steps(plan: &SpawnPlan) -> Result<Vec<Step>, NulByte> {
    check(plan)?;
    let mut steps = vec![Step::NewSession, Step::DieWithKeeper, Step::Streams, Step::CloseOthers];
    steps.extend(plan.open_files.map(|(soft, hard)| Step::OpenFiles(soft, hard)));
    steps.push(Step::NoCore);
    if plan.personality == Personality::Linux32 {
        steps.push(Step::Linux32);
    }
    steps.push(Step::FixedAddresses);
    steps.push(Step::Umask(plan.umask));
    steps.push(Step::Enter(plan.cwd.as_os_str().as_bytes().into()));
    steps.push(Step::CleanSignals);
    steps.push(Step::Execute {
        program: plan.program.as_os_str().as_bytes().into(),
        argv: plan.argv.clone(),
        env: plan.env.iter().map(|(name, value)| assignment(name, value)).collect(),
    });
    Ok(steps)
}

fn assignment(name: &[u8], value: &[u8]) -> BString {
    let mut text = Vec::with_capacity(name.len() + value.len() + 1);
    text.extend_from_slice(name);
    text.push(b'=');
    text.extend_from_slice(value);
    text.into()
}

fn check(plan: &SpawnPlan) -> Result<(), NulByte> {
    let fixed =
        [("the program's path", plan.program.as_os_str()), ("the folder", plan.cwd.as_os_str())];
    for (place, text) in fixed {
        if text.as_bytes().contains(&0) {
            return Err(NulByte { place: place.into() });
        }
    }
    if let Some(n) = plan.argv.iter().position(|arg| arg.contains(&0)) {
        return Err(NulByte { place: format!("argument {n}") });
    }
    let bad = |(name, value): &(&BString, &BString)| name.contains(&0) || value.contains(&0);
    match plan.env.iter().find(bad) {
        Some((name, _)) => Err(NulByte { place: format!("environment variable `{name}`") }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_these_steps_in_this_order() {
        let mut plan = SpawnPlan::new("/bin/sh", "/build");
        plan.argv = vec!["sh".into(), "-e".into()];
        plan.env.insert("out".into(), "/nix/store/x".into());
        plan.open_files = Some((1024, 4096));
        plan.personality = Personality::Linux32;
        let names: Vec<String> = steps(&plan).unwrap().iter().map(Step::name).collect();
        assert_eq!(
            names,
            [
                "creating a session",
                "tying the process to its keeper",
                "opening `/dev/null` and the log",
                "closing descriptors",
                "limiting open files to 1024, 4096",
                "limiting core files",
                "taking the personality of a 32-bit machine",
                "fixing addresses",
                "setting the umask to 0022",
                "changing into `/build`",
                "resetting signals",
                "executing `/bin/sh`",
            ]
        );
        plan.open_files = None;
        plan.personality = Personality::Native;
        assert_eq!(steps(&plan).unwrap().len(), 10);
    }

    #[test]
    fn a_nul_byte_is_named() {
        let mut plan = SpawnPlan::new("/bin/sh", "/build");
        plan.argv = vec!["sh".into(), b"a\0b".into()];
        assert_eq!(steps(&plan).unwrap_err().place, "argument 1");
        plan.argv.clear();
        plan.env.insert("a".into(), b"\0".into());
        assert_eq!(steps(&plan).unwrap_err().place, "environment variable `a`");
    }
}
