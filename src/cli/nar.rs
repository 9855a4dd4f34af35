//! `drover nar dump | restore | ls`: archives without a store.
//!
//! Nothing is registered and no store is opened. Archives are streams: their size is bound by the
//! disk, not by memory. `restore` never writes into what is there already, so a hostile archive has
//! no link of the user's to follow.

use std::io;
use std::path::Path;

use crate::store::restore::{Modes, dump, restore};

use super::args::NarCommand;
use super::{CliError, nar_ls, output};
use crate::base::error::with_causes;

/// Runs the subcommand.
///
/// # Errors
/// [`CliError`] with the file or the place in the archive.
pub fn run(command: &NarCommand) -> Result<(), CliError> {
    match command {
        NarCommand::Dump { path } => write_archive(path),
        NarCommand::Restore { path } => unpack(path),
        NarCommand::Ls(args) => nar_ls::run(args),
    }
}

fn write_archive(path: &Path) -> Result<(), CliError> {
    Ok(output::stream(|out| {
        dump(path, out).map_err(|e| {
            // The kind stays: that nobody reads any more is no error.
            let kind = e.io().map_or(io::ErrorKind::Other, io::Error::kind);
            io::Error::new(kind, with_causes(&e))
        })
    })?)
}

fn unpack(path: &Path) -> Result<(), CliError> {
    if path.symlink_metadata().is_ok() {
        let shown = path.display();
        return Err(CliError::Input(format!(
            "cannot restore to `{shown}`: it is there already; remove it or name another place"
        )));
    }
    restore(io::stdin().lock(), path, Modes::User).map_err(|e| {
        let shown = path.display();
        CliError::Input(format!(
            "cannot restore the archive on standard input to `{shown}`: {}; what was unpacked \
             before that is left there",
            with_causes(&e)
        ))
    })
}
