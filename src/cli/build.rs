//! `drover build`: targets to requests, a run, and what comes of it: paths, links, a report.
//!
//! It decides nothing about building: the engine gets requests and settings and gives a report
//! back. Paths go to standard output and everything else to the console. Failures of builds are no
//! errors here: they are in the report, and only the exit code and the summary tell of them.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::args::{BuildArgs, Global};
use super::config::Config;
use super::config_store::Placement;
use super::console::{Console, Logs, Look, Talk};
use super::store::{open_store, open_to_ask};
use super::targets::{self, Refused};
use super::{CliError, engine_settings, exit_code, output, report_json, summary};
use crate::base::error::with_causes;
use crate::engine::missing::{Missing, missing};
use crate::engine::report::{RunReport, TargetReport};
use crate::engine::settings::LiveLog;
use crate::engine::{self, Mode, Request};
use crate::store::{Access, Store, StoreError, gc_roots};

/// How long the end of an interrupted run waits for a terminal that takes nothing.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Runs the command.
///
/// # Errors
/// [`CliError`] if there was nothing to run: bad targets, no store. Failures of builds are in the
/// exit code.
pub fn run(args: &BuildArgs, global: &Global, config: &Config) -> Result<ExitCode, CliError> {
    let mode = if args.check { Mode::Check } else { Mode::Normal };
    let prepared = prepare(args, config, mode);
    let (store, requests) = match prepared {
        Ok(prepared) => prepared,
        Err(refused) => {
            if args.json {
                let report = report_json::refused(&args.targets, &refused);
                output::line(&report.to_string())?;
            }
            return Err(*refused.error);
        }
    };
    if args.dry_run {
        return dry_run(&store, &requests);
    }
    realise(args, global, config, (&store, requests))
}

/// Everything that can be wrong before the first builder is started.
fn prepare(
    args: &BuildArgs,
    config: &Config,
    mode: Mode,
) -> Result<(Arc<Store>, Vec<Request>), Refused> {
    // A plan writes nothing, unless there is a recipe to write down first.
    let store = match args.dry_run {
        true => open_to_ask(config)?,
        false => open_to_build(config)?,
    };
    let requests = targets::requests(&store, config, &args.targets, mode)?;
    if !args.dry_run {
        refuse_diverted(&store, config, &requests, mode)?;
    }
    Ok((store, requests))
}

/// A store that is not there yet is made, unless nothing could be built into it.
fn open_to_build(config: &Config) -> Result<Arc<Store>, CliError> {
    if config.store.placement == Placement::InPlace {
        return open_store(config, Access::Create);
    }
    match open_store(config, Access::ReadWrite) {
        Err(CliError::Store(StoreError::Missing { what: "db/schema", .. })) => {
            Err(cannot_divert(config))
        }
        other => other,
    }
}

fn realise(
    args: &BuildArgs,
    global: &Global,
    config: &Config,
    (store, requests): (&Arc<Store>, Vec<Request>),
) -> Result<ExitCode, CliError> {
    let logs = if args.print_build_logs { Logs::Shown } else { Logs::Hidden };
    let talk = match (global.quiet, global.verbose) {
        (true, _) => Talk::Quiet,
        (false, 0) => Talk::Normal,
        (false, _) => Talk::Verbose,
    };
    let look = Look::of(&config.environment, talk, logs);
    let console = Console::start(store.layout().store_dir.clone(), look)?;
    let teller = console.teller();
    let live = if args.print_build_logs { LiveLog::Shown } else { LiveLog::Hidden };
    let settings = Arc::new(engine_settings::settings(config, live));
    let ran = engine::run(store, &settings, requests, Box::new(move |n| teller.tell(n)));
    let report = match ran {
        Ok(report) => report,
        Err(error) => {
            console.finish(String::new());
            let refused = Refused::from(error);
            if args.json {
                output::line(&report_json::refused(&args.targets, &refused).to_string())?;
            }
            return Err(*refused.error);
        }
    };
    let links = if args.no_link { Ok(()) } else { make_links(store, &report, &args.out_link) };
    let mut words = summary::summary(&report, style(store, config, talk, look));
    if args.check && talk != Talk::Quiet {
        words.insert_str(0, &summary::same_again(&report));
    }
    match report.interrupted {
        Some(_) => console.finish_within(words, LAST_WORDS),
        None => console.finish(words),
    }
    print_results(args, store, &report)?;
    links?;
    Ok(ExitCode::from(exit_code::exit_code(&report)))
}

/// Builders see the store where it lies; without isolation that must be where its paths say.
fn refuse_diverted(
    store: &Store,
    config: &Config,
    requests: &[Request],
    mode: Mode,
) -> Result<(), CliError> {
    if config.store.placement == Placement::InPlace {
        return Ok(());
    }
    if mode != Mode::Check && missing(store, requests)?.will_build.is_empty() {
        return Ok(());
    }
    Err(cannot_divert(config))
}

fn cannot_divert(config: &Config) -> CliError {
    let choice = &config.store;
    CliError::Input(format!(
        "cannot build into the store at `{}`: its paths begin with `{}`, and builders see them \
         there only in a sandbox, which this version has not; build into `{1}` as a user who may \
         write it, or set NIX_STORE_DIR, NIX_STATE_DIR and NIX_LOG_DIR to folders of your own",
        choice.real_store.display(),
        choice.store_dir
    ))
}

fn style<'s>(store: &'s Store, config: &Config, talk: Talk, look: Look) -> summary::Style<'s> {
    let amount = if talk == Talk::Quiet { summary::Amount::Quiet } else { summary::Amount::Full };
    let dir = &store.layout().store_dir;
    let log_lines = config.logging.lines;
    summary::Style { dir, amount, colours: look.colours, log_lines }
}

fn dry_run(store: &Store, requests: &[Request]) -> Result<ExitCode, CliError> {
    let plan = missing(store, requests)?;
    super::say(&dry_run_text(store, &plan));
    Ok(if plan.bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn dry_run_text(store: &Store, plan: &Missing) -> String {
    let dir = &store.layout().store_dir;
    let mut text = String::new();
    let mut list = |one: &str, many: &str, paths: Vec<String>| {
        if !paths.is_empty() {
            let count = paths.len();
            text +=
                &if count == 1 { one.to_owned() } else { many.replace("{}", &count.to_string()) };
            text += "\n";
            paths.iter().for_each(|path| text += &format!("  {path}\n"));
        }
    };
    list(
        "this derivation will be built:",
        "these {} derivations will be built:",
        plan.will_build.iter().map(|path| dir.print(path)).collect(),
    );
    let unknown = plan.unknown.iter().map(|path| dir.print(path)).collect();
    let words = "don't know how to build these paths:";
    list(words, words, unknown);
    let why = |(path, why): &(_, _)| engine::failure_words::long(why, path, dir);
    let words = "these derivations cannot be used:";
    list(words, words, plan.bad.iter().map(why).collect());
    text
}

fn make_links(store: &Store, report: &RunReport, link: &Path) -> Result<(), CliError> {
    let link = std::path::absolute(link).map_err(|error| {
        let shown = link.display();
        CliError::Input(format!("cannot make the link `{shown}` in this working folder: {error}"))
    })?;
    for (index, target) in report.targets.iter().enumerate() {
        if target.failure.is_some() {
            continue;
        }
        for (name, path) in outputs_of(target) {
            let place = gc_roots::link_name(&link, index, &name);
            gc_roots::add_root(store.layout(), &place, &path)
                .map_err(|why| no_link(&place, &why))?;
        }
    }
    Ok(())
}

fn no_link(place: &Path, why: &StoreError) -> CliError {
    CliError::Input(format!(
        "cannot make the link `{}`: {}; what was built is in the store, where nothing keeps it \
         from the collector: give another place with `-o`, or make no link with `--no-link`",
        place.display(),
        with_causes(why)
    ))
}

/// Outputs of a derivation, or the plain path that was asked for.
fn outputs_of(target: &TargetReport) -> Vec<(String, crate::format::StorePath)> {
    if target.outputs.is_empty() {
        return vec![("out".to_owned(), target.path.clone())];
    }
    target.outputs.iter().map(|(name, path)| (name.clone(), path.clone())).collect()
}

fn print_results(args: &BuildArgs, store: &Store, report: &RunReport) -> Result<(), CliError> {
    let dir = &store.layout().store_dir;
    if args.json {
        return Ok(output::line(&report_json::report(report, dir).to_string())?);
    }
    let done = report.targets.iter().filter(|target| target.failure.is_none());
    let lines: Vec<String> =
        done.flat_map(outputs_of).map(|(_, path)| dir.print(&path) + "\n").collect();
    Ok(output::write(lines.concat().as_bytes())?)
}
