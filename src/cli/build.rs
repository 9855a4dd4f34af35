//! `drover build`: targets to requests, a run, and what comes of it: paths, links, a report.
//!
//! It decides nothing about building: the engine gets requests and settings and gives a report
//! back. Paths go to standard output and everything else to the console. Failures of builds are no
//! errors here: they are in the report, and only the exit code and the summary tell of them.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::args::{BuildArgs, Global};
use super::config::Config;
use super::config_store::Placement;
use super::console::{Console, Logs, Look, Talk};
use super::instantiate::{instantiate_recipe, split_argument};
use super::store::{open_store, open_to_ask, resolve};
use super::{CliError, engine_settings, exit_code, output, report_json, summary};
use crate::engine::missing::{Missing, missing};
use crate::engine::report::{RunReport, TargetReport};
use crate::engine::settings::LiveLog;
use crate::engine::{self, Forced, Key, Mode, Outputs, Request};
use crate::format::derived_path::{DerivedPath, OutputsSpec};
use crate::store::{Access, Store, gc_roots};

/// How long the end of an interrupted run waits for a terminal that takes nothing.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Runs the command.
///
/// # Errors
/// [`CliError`] if there was nothing to run: bad targets, no store. Failures of builds are in the
/// exit code.
pub fn run(args: &BuildArgs, global: &Global, config: &Config) -> Result<ExitCode, CliError> {
    // A plan writes nothing, unless there is a recipe to write down first.
    let store = match args.dry_run {
        true => open_to_ask(config)?,
        false => open_store(config, Access::Create)?,
    };
    let mode = if args.check { Mode::Check } else { Mode::Normal };
    let mut requests = Vec::new();
    for target in &args.targets {
        requests.extend(requests_of(&store, config, target, mode)?);
    }
    if args.dry_run {
        return dry_run(&store, &requests);
    }
    refuse_diverted(&store, config, &requests, mode)?;
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
    let ran = engine::run(&store, &settings, requests, Box::new(move |n| teller.tell(n)));
    let report = match ran {
        Ok(report) => report,
        Err(error) => {
            console.finish(String::new());
            return Err(error.into());
        }
    };
    let links = if args.no_link { Ok(()) } else { make_links(&store, &report, &args.out_link) };
    let words = summary::summary(&report, style(&store, config, talk, look));
    match report.interrupted {
        Some(_) => console.finish_within(words, LAST_WORDS),
        None => console.finish(words),
    }
    print_results(args, &store, &report)?;
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
    let choice = &config.store;
    if choice.placement == Placement::InPlace {
        return Ok(());
    }
    if mode != Mode::Check && missing(store, requests)?.will_build.is_empty() {
        return Ok(());
    }
    Err(CliError::Input(format!(
        "cannot build into the store at `{}`: its paths begin with `{}`, and builders see them \
         there only in a sandbox, which this version has not; build into `{1}` as a user who may \
         write it, or set NIX_STORE_DIR, NIX_STATE_DIR and NIX_LOG_DIR to folders of your own",
        choice.real_store.display(),
        choice.store_dir
    )))
}

fn style<'s>(store: &'s Store, config: &Config, talk: Talk, look: Look) -> summary::Style<'s> {
    let amount = if talk == Talk::Quiet { summary::Amount::Quiet } else { summary::Amount::Full };
    let dir = &store.layout().store_dir;
    let log_lines = config.logging.lines;
    summary::Style { dir, amount, colours: look.colours, log_lines }
}

fn requests_of(
    store: &Arc<Store>,
    config: &Config,
    target: &OsStr,
    mode: Mode,
) -> Result<Vec<Request>, CliError> {
    if let Some((file, table)) = split_argument(target) {
        let tables: Vec<&str> = table.into_iter().collect();
        let made = instantiate_recipe(store, &file, &tables, &config.platform.system)?;
        let request = |drv| request(Key::derivation(drv, mode), Outputs::All);
        return Ok(made.into_iter().map(|one| request(one.drv)).collect());
    }
    Ok(vec![match derived_path(store, target)? {
        DerivedPath::Opaque(path) => request(Key::path(path, Mode::Normal), Outputs::All),
        DerivedPath::Built { drv, outputs } => {
            let outputs = match outputs {
                OutputsSpec::All => Outputs::All,
                OutputsSpec::Names(names) => Outputs::named(names.iter().map(String::as_str)),
            };
            request(Key::derivation(drv, mode), outputs)
        }
    }])
}

/// A path of the store, or something that leads there, with outputs behind `^` or `!`.
fn derived_path(store: &Store, target: &OsStr) -> Result<DerivedPath, CliError> {
    let dir = &store.layout().store_dir;
    let text = target.to_string_lossy();
    if let Ok(parsed) = DerivedPath::parse(&text, dir) {
        return Ok(parsed);
    }
    let split = text.find(['^', '!']).unwrap_or(text.len());
    let path = resolve(store.layout(), OsStr::new(&text[..split]))?;
    let whole = format!("{}{}", dir.print(&path), &text[split..]);
    DerivedPath::parse(&whole, dir)
        .map_err(|error| CliError::Input(format!("cannot build `{text}`: {error}")))
}

fn request(key: Key, outputs: Outputs) -> Request {
    Request { key, outputs, forced: Forced::No }
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
            gc_roots::add_root(store.layout(), &place, &path)?;
        }
    }
    Ok(())
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
