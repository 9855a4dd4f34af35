//! Runs a derivation's builder: what it gets, how it is started, how it ended.
//!
//! Between [`super::build`], which owns the locks and folders, and the sandbox, which knows no
//! derivations: here a derivation becomes a [`SpawnPlan`], and an exit becomes a [`Failure`] or
//! nothing. A builder that succeeded but left processes which cannot be ended has failed: they
//! could change its outputs after they were hashed.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bstr::{BString, ByteSlice};

use super::build::Work;
use super::build_log::BuildLog;
use super::environment::{Environment, Given, Structured, environment};
use super::failures::failure;
use super::{graphs, outputs};
use crate::base::fs::{Room, room};
use crate::base::tempdir::BuildDir;
use crate::format::structured_attrs;
use crate::machine::Failure;
use crate::sandbox::{self, Ended, Family, Limits, Personality, SandboxError, SpawnPlan};

/// Below this much room a failure of a builder is put down to the disk.
const SCARCE: u64 = 8 << 20;
/// What `HOME` points at: must not exist, or builders would find a home there.
const HOMELESS: &str = "/homeless-shelter";

/// A builder ready to start.
pub(super) struct Prepared {
    plan: SpawnPlan,
}

/// Writes the builder's files into `dir` and decides how it is started.
pub(super) fn prepare(work: &Work<'_>, build_dir: &BuildDir) -> Result<Prepared, Failure> {
    let dir = build_dir.path();
    check_host()?;
    let made = builder_environment(work, dir)?;
    for (name, contents) in &made.files {
        let file = dir.join(name);
        write_new(&file, contents).map_err(|e| failure(&format!("writing `{name}`"), &e))?;
    }
    let settings = &work.task.shared.settings;
    let mut plan = match work.drv.builder.strip_prefix(b"builtin:".as_slice()) {
        Some(builtin) => {
            let mut plan = SpawnPlan::new(&settings.places.own_program, dir);
            plan.argv = vec!["drover".into(), "__builtin".into(), builtin.into()];
            plan
        }
        None => plain_plan(work, dir, &made),
    };
    plan.env = made.vars;
    let system = work.drv.platform.to_str_lossy();
    plan.personality = Personality::of(&system, &settings.platforms.system);
    plan.locks = work.locks.clone();
    if let Some(folder) = build_dir.folder() {
        let folder = folder.try_clone().map_err(|e| failure("sharing the build folder", &e))?;
        plan.locks.push(folder.into());
    }
    Ok(Prepared { plan })
}

fn plain_plan(work: &Work<'_>, dir: &Path, made: &Environment) -> SpawnPlan {
    let builder = outputs::input_rewrites(work.task.shared, &work.planned).apply(&work.drv.builder);
    let mut plan = SpawnPlan::new(builder.to_path_lossy().into_owned(), dir);
    let base = builder.rsplit(|&b| b == b'/').next().unwrap_or_default();
    plan.argv = vec![base.into()];
    plan.argv.extend(made.args.iter().cloned());
    plan
}

fn write_new(file: &Path, contents: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    std::fs::File::create_new(file)?.write_all(contents)
}

fn check_host() -> Result<(), Failure> {
    if std::fs::symlink_metadata(HOMELESS).is_ok() {
        return Err(Failure::Engine(format!(
            "home directory '{HOMELESS}' exists; please remove it to assure purity of builds \
             without sandboxing"
        )));
    }
    Ok(())
}

fn builder_environment(work: &Work<'_>, dir: &Path) -> Result<Environment, Failure> {
    let shared = work.task.shared;
    let exports = &work.options.exports;
    let structured = structured(work)?;
    let graphs = match structured {
        Some(_) => graphs::build_graph_files(shared, exports)?,
        None => graphs::exported_files(shared, exports, &work.inputs)?,
    };
    let mut made = environment(&Given {
        drv: &work.drv,
        store_dir: shared.store_dir(),
        build_dir: dir.as_os_str().as_bytes().as_bstr(),
        cores: shared.settings.schedule.cores,
        pass_as_file: &work.options.pass_as_file,
        structured,
        impure: impure(work),
        rewrites: &outputs::input_rewrites(shared, &work.planned),
    });
    made.files.extend(graphs.into_iter().map(|(name, text)| (name, text.into())));
    Ok(made)
}

fn structured(work: &Work<'_>) -> Result<Option<Structured>, Failure> {
    let shared = work.task.shared;
    let attrs = structured_attrs::parse(&work.drv)
        .map_err(|error| Failure::BadDerivation(error.to_string()))?;
    let Some(attrs) = attrs else { return Ok(None) };
    let print = |output: &outputs::Planned| {
        (output.name.clone(), shared.store_dir().print(&output.written))
    };
    let written: BTreeMap<String, String> = work.planned.iter().map(print).collect();
    let graphs = graphs::exported_json(shared, &work.options.exports, &work.inputs)?;
    let attrs = structured_attrs::for_builder(attrs, &written, graphs);
    Ok(Some(Structured {
        json: structured_attrs::json_text(&attrs).into(),
        shell: structured_attrs::shell_text(&attrs).into(),
    }))
}

/// `impureEnvVars` of a fixed derivation; one that is not set is empty.
fn impure(work: &Work<'_>) -> BTreeMap<BString, BString> {
    let known = &work.task.shared.settings.impure_env;
    let value = |name: &BString| (name.clone(), known.get(name).cloned().unwrap_or_default());
    work.options.impure_env_vars.iter().map(value).collect()
}

/// Runs the builder to its end.
pub(super) fn run(
    work: &Work<'_>,
    prepared: &Prepared,
    log: &mut BuildLog<'_>,
) -> Result<(), Failure> {
    let set = work.task.shared.settings.limits;
    let limits =
        Limits { timeout: set.timeout, max_silent: set.max_silent, max_log_size: set.max_log_size };
    let exit =
        sandbox::run(&prepared.plan, &limits, log, work.task.cancel).map_err(cannot_start)?;
    if exit.family == Family::MayLive && exit.ended == Ended::Exited(0) {
        // Whoever still runs could change the outputs after they were hashed.
        return Err(Failure::Engine(
            "processes that the builder left behind could not be ended within a second; its \
             outputs are not trusted"
                .to_owned(),
        ));
    }
    let seconds = |limit: Option<std::time::Duration>| limit.map_or(0, |l| l.as_secs());
    match exit.ended {
        Ended::Exited(0) => Ok(()),
        Ended::Exited(code) => Err(disk_or(work, Failure::ExitCode(code))),
        Ended::Signalled(signal) => Err(disk_or(work, Failure::Signal(signal))),
        Ended::TimedOut => Err(Failure::Timeout { limit: seconds(set.timeout) }),
        Ended::Silent => Err(Failure::Silence { limit: seconds(set.max_silent) }),
        Ended::LogLimit => Err(Failure::LogLimit { limit: set.max_log_size.unwrap_or(0) }),
        Ended::Cancelled => Err(Failure::Cancelled),
    }
}

fn cannot_start(error: SandboxError) -> Failure {
    match error {
        // Not a fault of the derivation: it would start on a machine with room.
        SandboxError::Setup { step, cause } if is_short(&cause) => {
            failure(&format!("starting the builder, in step {step}"), &cause)
        }
        SandboxError::Setup { step, cause } => {
            Failure::CannotStart { step, cause: cause.to_string() }
        }
        // Something of the derivation has a NUL byte, which no program can be given.
        bad @ SandboxError::BadPlan { .. } => Failure::BadDerivation(bad.to_string()),
        lost @ (SandboxError::KeeperLost | SandboxError::Base(_)) => {
            failure("running the builder", &lost)
        }
    }
}

/// Whether processes, descriptors or memory have run out.
fn is_short(cause: &std::io::Error) -> bool {
    let short = [libc::EAGAIN, libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOSPC];
    cause.raw_os_error().is_some_and(|errno| short.contains(&errno))
}

/// `why`, unless a disk is full: then that is why.
fn disk_or(work: &Work<'_>, why: Failure) -> Failure {
    let shared = work.task.shared;
    let places = [&shared.store.layout().real_store_dir, &shared.settings.places.build_dir];
    let full = places.into_iter().find_map(|place| Some((place, lacking(room(place).ok()?)?)));
    match full {
        None => why,
        Some((place, what)) => Failure::NoSpace {
            place: format!("the builder failed, and `{}` has no {what}", place.display()),
        },
    }
}

/// What a file system with so much room has too little of, if it has.
fn lacking(room: Room) -> Option<String> {
    if room.inodes == 0 {
        return Some("room for another file (no inodes)".to_owned());
    }
    (room.bytes < SCARCE).then(|| format!("space left (less than {} MiB)", SCARCE >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_inodes_is_not_called_short_of_bytes() {
        assert_eq!(lacking(Room { bytes: SCARCE, inodes: 1 }), None);
        let bytes = lacking(Room { bytes: SCARCE - 1, inodes: 1 });
        assert_eq!(bytes.as_deref(), Some("space left (less than 8 MiB)"));
        let inodes = lacking(Room { bytes: SCARCE, inodes: 0 });
        assert_eq!(inodes.as_deref(), Some("room for another file (no inodes)"));
    }
}
