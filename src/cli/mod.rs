//! Talks: arguments in, text out.
//!
//! [`main`] parses, resolves the configuration once and hands both to the file of the command.
//! Results go to standard output through `output`, everything else to standard error through
//! `console`. It knows exit codes; what a build is it does not know.

pub mod add;
pub mod args;
pub mod build;
pub mod completions;
pub mod config;
pub mod config_files;
pub mod config_show;
pub mod config_store;
pub mod console;
pub mod derivation;
pub mod derivation_read;
pub mod dump_db;
pub mod engine_settings;
pub mod environment;
pub mod exit_code;
pub mod guess;
pub mod hash_file;
pub mod hash_path;
pub mod input;
pub mod instantiate;
pub mod interrupt;
pub mod log;
pub mod man;
pub mod nar;
pub mod nar_ls;
pub mod output;
pub mod path_info;
pub mod plan_json;
mod platform;
pub mod query;
pub mod query_tree;
pub mod register;
pub mod report_json;
pub mod sanitise;
pub mod settings;
pub mod status;
pub mod store;
pub mod summary;
pub mod targets;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, ConfigCommand, HashCommand};
use config::Config;
use environment::Environment;

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] config_files::ConfigError),
    /// Reading or writing failed; the text says what.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The store failed or refused.
    #[error("{}", crate::base::error::with_causes(.0))]
    Store(crate::store::StoreError),
    /// A run could not begin.
    #[error("{}", crate::base::error::with_causes(.0))]
    Engine(#[from] crate::engine::EngineError),
    /// A signal stopped it.
    #[error("interrupted by {}", interrupt::name(*.0))]
    Interrupted(i32),
    /// What was given cannot be used; the text says where, why and what to do.
    #[error("{0}")]
    Input(String),
    /// The command line cannot be followed; the text says why and what to do.
    #[error("{0}")]
    Usage(String),
}

impl CliError {
    /// Whether the command line is what is wrong.
    fn is_usage(&self) -> bool {
        match self {
            Self::Config(wrong) => wrong.is_usage(),
            Self::Usage(_) => true,
            Self::Io(_)
            | Self::Store(_)
            | Self::Engine(_)
            | Self::Interrupted(_)
            | Self::Input(_) => false,
        }
    }
}

impl From<crate::store::StoreError> for CliError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Store(error)
    }
}

/// The exit code of a command line that cannot be followed, as of clap.
const USAGE: u8 = 2;

/// Runs the command line.
pub fn main() -> ExitCode {
    if let Some(code) = crate::sandbox::main_if_keeper() {
        return code;
    }
    if let Some(code) = main_if_builtin() {
        return code;
    }
    crate::base::process::raise_nofile_limit();
    crate::base::process::set_umask(0o022);
    crate::base::process::survive_file_size_limit();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            if let Some(why) = guess::refusal(&error) {
                complain(&format!("error: {why}"));
                return ExitCode::from(USAGE);
            }
            // Help goes to standard output; that nobody reads it is no error.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    run(&cli).unwrap_or_else(|error| {
        if let CliError::Interrupted(signal) = error {
            complain(&error.to_string());
            return ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX));
        }
        complain(&format!("error: {error}"));
        if error.is_usage() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
    })
}

/// Builtin builders are this program again, in a builder's place and environment.
fn main_if_builtin() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    if words.next()? != "__builtin" {
        return None;
    }
    let name = words.next().unwrap_or_default();
    let bytes = |text: &std::ffi::OsStr| bstr::BString::from(text.as_encoded_bytes());
    let environment = Environment::capture();
    let variables = environment.all().map(|(name, value)| (bytes(name), bytes(value))).collect();
    match crate::engine::builtin::run(&name.to_string_lossy(), &variables) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(why) => {
            complain(&format!("error: {why}"));
            Some(ExitCode::FAILURE)
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode, CliError> {
    if !needs_config(&cli.command) {
        // A broken file of settings keeps none of these from its work; a wrong flag does.
        warn(cli, &Config::check(&Environment::capture(), &cli.overrides())?);
    }
    match &cli.command {
        Command::Completions(args) => completions::run(args)?,
        Command::Man => man::run()?,
        Command::Hash(HashCommand::File(args)) => hash_file::run(args)?,
        Command::Hash(HashCommand::Path(args)) => hash_path::run(args)?,
        Command::Nar(command) => nar::run(command)?,
        command => return with_config(cli, command),
    }
    Ok(ExitCode::SUCCESS)
}

fn needs_config(command: &Command) -> bool {
    use Command::{Completions, Hash, Man, Nar};
    !matches!(command, Completions(_) | Man | Hash(_) | Nar(_))
}

fn warn(cli: &Cli, warnings: &[String]) {
    if !cli.global.quiet {
        warnings.iter().for_each(|warning| complain(&format!("warning: {warning}")));
    }
}

fn with_config(cli: &Cli, command: &Command) -> Result<ExitCode, CliError> {
    let config = Config::resolve(Environment::capture(), &cli.overrides())?;
    warn(cli, config.warnings());
    let done = match command {
        Command::Config(ConfigCommand::Show { json, name }) => {
            let form = match (json, cli.global.verbose) {
                (true, _) => config_show::Form::Json,
                (false, 0) => config_show::Form::Plain,
                (false, _) => config_show::Form::Verbose,
            };
            config_show::run(&config, name.as_deref(), form)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Build(args) => return build::run(args, &cli.global, &config),
        Command::Add(args) => add::run(&config, args),
        Command::Derivation(command) => derivation::run(&config, command),
        Command::Query(args) => query::run(&config, args),
        Command::PathInfo(args) => path_info::run(&config, args),
        Command::Log(args) => log::run(&config, args),
        Command::Register(args) => register::run(&config, args),
        Command::DumpDb(args) => dump_db::run(&config, args),
        // These need no configuration: `run` has done them.
        Command::Nar(_) | Command::Hash(_) | Command::Completions(_) | Command::Man => Ok(()),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Says something on standard error; that nobody hears it is no error.
fn say(text: &str) {
    let _ = write!(io::stderr().lock(), "{text}");
}

/// As [`say`], a line. What it names may come from a hostile file: see [`sanitise`].
fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", harmless(text));
}

/// Each line of `text` without what a terminal would obey.
fn harmless(text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        let line = line.replace('\r', "");
        sanitise::line(line.as_bytes(), sanitise::Colours::Strip)
    });
    lines.collect::<Vec<_>>().join("\n")
}
