//! `drover completions SHELL`: a script that completes drover's commands and flags.
//!
//! Made from the same definitions that parse the arguments, so it cannot go out of date. Needs no
//! store and no settings: packagers run it while they build.

use std::io;

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs};
use super::output;

/// Prints the script.
///
/// # Errors
/// If standard output cannot be written.
pub fn run(args: &CompletionsArgs) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "drover", &mut script);
    output::write(&script)
}
